"""The package as such: what an import loads, which names there are, and what is shipped."""

import ast
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

import mixscale

HEAVY = {"dask", "numba", "pymc", "pytensor", "scipy", "xarray"}


def loaded(code):
    """Return which heavy modules a fresh interpreter has loaded after some code."""
    code += "; import sys; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return HEAVY & set(run.stdout.split())


def test_the_import_loads_nothing():
    assert loaded("import mixscale") == set()


def test_the_array_layer_does_without_pymc():
    some = loaded("from mixscale import gradient, hessian, log_density")
    assert {"numba"} <= some <= {"numba", "scipy"}  # Numba loads SciPy where it is installed


def names_for_type_checkers():
    """Return {name: module} of the imports under TYPE_CHECKING."""
    tree = ast.parse(Path(mixscale.__file__).read_text(encoding="utf-8"))
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    return {alias.name: node.module for node in block.body for alias in node.names}


def test_type_checkers_see_what_there_is():
    assert names_for_type_checkers().keys() == set(mixscale.__all__)


def test_every_name_is_where_it_is_said_to_be():
    pytest.importorskip("pymc")
    for name, module in names_for_type_checkers().items():
        assert getattr(mixscale, name).__module__ == module


def test_dir_names_everything():
    assert {*mixscale.__all__, "__version__"} <= set(dir(mixscale))
    assert mixscale.__all__ == sorted(mixscale.__all__)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="'mixscale' has no attribute 'fitt'"):
        _ = mixscale.fitt


def test_the_version_is_that_of_the_distribution():
    assert mixscale.__version__ == metadata.version("mixscale")


def test_the_dependencies_are_few():
    requirements = metadata.requires("mixscale")
    names = {re.match("[a-z0-9-]+", line)[0] for line in requirements if "extra ==" not in line}
    assert names == {"numba", "numpy"}


def test_the_package_is_typed():
    assert Path(mixscale.__file__).with_name("py.typed").exists()


def test_the_code_of_the_readme_runs():
    pytest.importorskip("pymc")
    text = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```", text, flags=re.M | re.S)
    names = {}
    for block in blocks:
        exec(block, names)
    for code, shown in re.findall(r"^>>> (.*)\n((?:(?!>>>|```).*\n)+)", text, flags=re.M):
        assert repr(eval(code, names)) == shown.strip()
