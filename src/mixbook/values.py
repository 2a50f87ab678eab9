"""A record of what a cell computes, shown or not, so that a fault on the way leaves a trace."""

import ast
import dataclasses
import re
import sys
from collections.abc import Iterator, Mapping
from itertools import islice

import numpy as np
from IPython import get_ipython
from IPython.display import display

RECORD = "application/vnd.mixbook.values+json"  # the type of the record in a cell's output
SMALL = 1e-6  # what is below may be 0 but for rounding, or for the patience of an optimiser
OURS = ("__main__", "labelswitch", "mixscale")  # the modules whose data classes are looked into
LEAVES = 60  # how many arrays of one name are recorded
ADDRESS = re.compile(r" at 0x[0-9a-f]+")  # in the name of a function that is a key
SIMPLE = 8400  # a multiple of 1 / 8400 may be a count of a few, or a share of them


def assigned(source: str) -> list[str]:
    """Return the names that code binds or changes, in the order of their first mention.

    Parameters
    ----------
    source : str
        The code of a cell. What its functions bind is theirs.

    Returns
    -------
    list of str
        Also those changed in place: by an item, an attribute, or a method whose result is dropped.

    Examples
    --------
    >>> assigned("a = 1; b[0] = a; rows.append(b)")
    ['a', 'b', 'rows']
    """
    found: dict[str, None] = {}
    waiting: list[ast.AST] = [ast.parse(source)]
    while waiting:
        node = waiting.pop(0)
        if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.Lambda | ast.comprehension):
            continue
        target = node
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
            target = node.value.func  # rows.append(...), but also print(...): no array goes by that
        changed = isinstance(getattr(node, "ctx", None), ast.Store) or target is not node
        while isinstance(target, ast.Attribute | ast.Subscript):
            target = target.value
        if changed and isinstance(target, ast.Name):
            found[target.id] = None
        waiting[:0] = ast.iter_child_nodes(node)
    return [name for name in found if name != "_"]


def weighted_mean(values: np.ndarray) -> float:
    """Return one number that tells an array from another, and from itself in another order.

    Parameters
    ----------
    values
        Any array of real numbers.

    Returns
    -------
    float
        The mean over its finite elements, with weights that grow along each axis from 1 to 2, to
        six digits; 0 where it is below `SMALL`.

    Examples
    --------
    >>> weighted_mean(np.array([0.0, 1.0])), weighted_mean(np.array([1.0, 0.0]))
    (0.75, 0.5)
    """
    mean = np.where(np.isfinite(values), values, 0.0)
    size = max(mean.size, 1)
    while mean.ndim:
        mean = mean @ (1 + np.arange(mean.shape[-1]) / max(mean.shape[-1], 1))
    mean = float(mean) / size
    return float(f"{mean:.6g}") if abs(mean) >= SMALL else 0.0


def arrays(value: object, name: str) -> Iterator[tuple[str, np.ndarray]]:
    """Yield the arrays of real numbers in a value, each with the way to it as its name.

    Parameters
    ----------
    value
        Floats are found alone or in arrays, lists, dictionaries, tables, the fields of data classes
        and named tuples, and in `xarray` objects that are in memory, without the statistics of a
        sampler. Whole numbers are left out: those that depend on chance may agree by chance.
    name
        Of the value.

    Yields
    ------
    tuple
        Such as ``"fits['thread'][0]"``, and the array.

    Examples
    --------
    >>> dict(arrays({"mean": 0.5, "rows": 3}, "fit"))
    {"fit['mean']": array(0.5)}
    """
    pandas, xarray = sys.modules.get("pandas"), sys.modules.get("xarray")
    inner: Mapping | None = None
    if xarray and isinstance(value, xarray.DataTree):
        groups = {group.path: group.dataset for group in value.subtree}
        inner = {path: group for path, group in groups.items() if "sample_stats" not in path}
    elif xarray and isinstance(value, xarray.Dataset):
        inner = value.data_vars
    elif xarray and isinstance(value, xarray.DataArray):
        value = value.to_numpy() if value.chunks is None else None
    elif pandas and isinstance(value, pandas.DataFrame):
        inner = dict(value.items())
    elif pandas and isinstance(value, pandas.Series):
        value = value.to_numpy()
    elif isinstance(value, Mapping):
        inner = value
    elif hasattr(value, "_asdict"):
        inner = value._asdict()
    elif dataclasses.is_dataclass(value) and type(value).__module__.startswith(OURS):
        inner = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    elif isinstance(value, list | tuple):
        if all(isinstance(each, float | int | np.number) for each in value):
            value = np.array(value)
        else:
            inner = dict(enumerate(value))
    if inner is not None:
        for key, each in inner.items():
            yield from arrays(each, ADDRESS.sub("", f"{name}[{key!r}]"))
    elif isinstance(value, float | np.floating | np.ndarray):
        array = np.asarray(value)
        if array.dtype.kind == "f":
            yield name, array


def watch_values() -> None:
    """Let each cell of a notebook leave a record of the numbers that its names hold at its end.

    That is the shape of each array, and one number, or None for what chance may have counted. It
    does nothing outside a notebook.
    """
    shell = get_ipython()
    if shell is None or hasattr(shell, "mixbook_values"):
        return

    def show(result) -> None:
        found = {}
        for name in assigned(result.info.raw_cell) if result.success else []:
            for way, array in islice(arrays(shell.user_ns.get(name), name), LEAVES):
                multiples = array[np.isfinite(array)] * SIMPLE
                is_simple = np.all(np.abs(multiples - np.rint(multiples)) < SMALL)
                found[way] = [*array.shape, None if is_simple else weighted_mean(array)]
        if found:
            display({RECORD: found}, raw=True)

    shell.mixbook_values = show
    shell.events.register("post_run_cell", show)
