"""A record of the models that a cell builds, so that a changed prior does not pass unnoticed."""

import sys
from weakref import WeakKeyDictionary

import numpy as np
from IPython import get_ipython
from IPython.display import display

RECORD = "application/vnd.mixbook.models+json"  # the type of the record in a cell's output


def log_densities(model) -> dict[str, float]:
    """Return the log density of each variable of a model at one point.

    The point lies a little off the model's initial point on the unconstrained scale, each element
    by another amount, so that no two arguments of a prior can be exchanged unseen.

    Parameters
    ----------
    model : pymc.Model
        With its data; parts whose log density is random, as with minibatches, are left out.

    Returns
    -------
    dict of str to float
        From the names of free and observed variables and potentials to sums over their elements,
        with the Jacobian of the transform.

    Examples
    --------
    >>> import pymc as pm
    >>> with pm.Model() as model:
    ...     shift = pm.Normal("shift", 0, 2)
    >>> round(log_densities(model)["shift"] - pm.logp(shift, 0.3).eval().item(), 9)
    0.0
    """
    from pytensor.graph.traversal import ancestors
    from pytensor.tensor.random.type import RandomType

    point = {name: _off(value) for name, value in model.initial_point().items()}
    names = [part.name for part in (*model.basic_RVs, *model.potentials)]
    terms = {}
    for name, term in zip(names, model.logp(sum=False), strict=True):
        if not any(isinstance(node.type, RandomType) for node in ancestors([term])):
            terms[name] = term.sum()
    evaluate = model.compile_fn(
        list(terms.values()),
        inputs=model.value_vars,
        mode="FAST_COMPILE",
        on_unused_input="ignore",
    )
    return dict(zip(terms, map(float, evaluate(point)), strict=True))


def _off(value: np.ndarray) -> np.ndarray:
    value = np.asarray(value)
    if value.dtype.kind != "f":
        return value
    return value + 0.3 + 0.1 * np.arange(value.size).reshape(value.shape)


def _stored(value: float) -> float | str:
    """Return a number in the form in which JSON can hold it."""
    return float(f"{value:.6g}") if np.isfinite(value) else str(value)


def watch_models() -> None:
    """Let each cell of a notebook that builds PyMC models leave a record of them in its outputs.

    It does nothing outside a notebook, and where PyMC has not been imported.
    """
    shell, pymc = get_ipython(), sys.modules.get("pymc")
    if shell is None or pymc is None or hasattr(pymc.Model, "watched"):
        return
    leave, built, sizes = pymc.Model.__exit__, [], WeakKeyDictionary()

    def leave_and_remember(model, kind, *rest):
        result = leave(model, kind, *rest)
        size = len(model.basic_RVs) + len(model.potentials)
        if kind is None and model.parent is None and sizes.get(model, 0) != size:
            sizes[model] = size
            built.append(model)
        return result

    def show(_):
        densities = [log_densities(model) for model in dict.fromkeys(built)]
        records = [{name: _stored(value) for name, value in each.items()} for each in densities]
        built.clear()
        if records:
            display({RECORD: records}, raw=True)

    pymc.Model.__exit__, pymc.Model.watched = leave_and_remember, True
    shell.events.register("post_run_cell", show)
