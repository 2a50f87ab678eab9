"""Tests and examples that need a package of an extra do not run where it is not installed."""

import os
import re
import sys
from importlib.util import find_spec

import pytest

# All that these test is a PyMC model.
collect_ignore = (
    [] if find_spec("pymc") else ["test_distributions.py", "test_fitting.py", "test_posterior.py"]
)


def pytest_collection_modifyitems(items):
    for item in items:
        if isinstance(item, pytest.DoctestItem):
            code = "".join(example.source for example in item.dtest.examples)
            imported = set(re.findall(r"\b(dask|pymc)\b", code))
            missing = sorted(name for name in imported if find_spec(name) is None)
            if missing:
                item.add_marker(pytest.mark.skip(reason=f"needs {', '.join(missing)}"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """Where all extras are installed, a test that skips has not tested what it is there for."""
    report = yield
    everything = "ALL_EXTRAS" in os.environ and sys.version_info >= (3, 12)  # PyMC's lowest
    if report.skipped and everything and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
    return report
