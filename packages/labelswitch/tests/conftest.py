"""Tests and examples that need a package of an extra do not run where it is not installed."""

import re
from importlib.util import find_spec

import pytest

# All that these test is read out of a PyMC model.
collect_ignore = [] if find_spec("pymc") else ["test_exchangeability.py", "test_mixture.py"]


def pytest_collection_modifyitems(items):
    for item in items:
        if isinstance(item, pytest.DoctestItem):
            code = "".join(example.source for example in item.dtest.examples)
            imported = set(re.findall(r"\b(arviz|dask|matplotlib|pymc)\b", code))
            missing = sorted(name for name in imported if find_spec(name) is None)
            if missing:
                item.add_marker(pytest.mark.skip(reason=f"needs {', '.join(missing)}"))
