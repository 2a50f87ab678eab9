"""The package as such: what an import loads, which names there are, and what is shipped."""

import ast
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

import labelswitch

HEAVY = {"arviz_stats", "dask", "matplotlib", "numba", "pandas", "pymc", "scipy", "xarray"}


def loaded(code):
    """Return which heavy modules a fresh interpreter has loaded after some code."""
    code += "; import sys; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return HEAVY & set(run.stdout.split())


def test_the_import_loads_nothing():
    assert loaded("import labelswitch") == set()


def test_the_array_layer_does_without_xarray():
    names = [name for name, module in names_for_type_checkers().items() if "algorithms" in module]
    assert "stephens" in names
    assert loaded(f"from labelswitch import {', '.join(names)}") <= {"numba", "scipy"}


def test_no_extra_is_loaded_before_a_function_is_called():
    assert loaded("from labelswitch import *") <= {"numba", "pandas", "scipy", "xarray"}


def names_for_type_checkers():
    """Return {name: module} of the imports under TYPE_CHECKING."""
    tree = ast.parse(Path(labelswitch.__file__).read_text(encoding="utf-8"))
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    return {alias.name: node.module for node in block.body for alias in node.names}


def test_type_checkers_see_what_there_is():
    assert names_for_type_checkers().keys() == set(labelswitch.__all__)
    for name, module in names_for_type_checkers().items():
        assert getattr(labelswitch, name).__module__ == module


def test_dir_names_everything():
    assert {*labelswitch.__all__, "__version__"} <= set(dir(labelswitch))
    assert labelswitch.__all__ == sorted(labelswitch.__all__)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="'labelswitch' has no attribute 'relable'"):
        _ = labelswitch.relable


def test_the_version_is_that_of_the_distribution():
    assert labelswitch.__version__ == metadata.version("labelswitch")


def test_the_dependencies_are_few():
    requirements = metadata.requires("labelswitch")
    names = {re.match("[a-z0-9-]+", line)[0] for line in requirements if "extra ==" not in line}
    assert names == {"arviz-stats", "numba", "numpy", "pandas", "scipy", "xarray"}


def test_the_package_is_typed():
    assert Path(labelswitch.__file__).with_name("py.typed").exists()


def test_the_code_of_the_readme_runs():
    text = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"^```python\n(.*?)^```", text, flags=re.M | re.S)
    names = {}
    exec(block, names)
    shown = re.findall(r"^>>> .*\n((?:(?!>>>|```).*\n)+)", text, flags=re.M)
    assert labelswitch.diagnose(names["dt"]).verdict == shown[0].strip()
    relabelled = labelswitch.relabel(names["dt"])
    means = relabelled.dt.posterior["mu"].mean(("chain", "draw")).values.round(2)
    assert repr(means) == shown[1].strip()
