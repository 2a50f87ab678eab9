"""The front door: take a DataTree of draws, return it with its labels undone."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from scipy.optimize import linear_sum_assignment

from labelswitch import algorithms
from labelswitch.algorithms import (
    AlgorithmResult,
    apply_permutations,
    apply_to_allocations,
    near_input,
)
from labelswitch.draws import PERMUTED_GROUPS, Draws, as_tuple
from labelswitch.mixture import SAMPLE_DIMS

if TYPE_CHECKING:
    import pymc as pm

# Each method with the arrays that it takes, in the order of its signature.
_METHODS: dict[str, tuple[Callable[..., AlgorithmResult], tuple[str, ...]]] = {
    "ecr": (algorithms.ecr, ("allocations", "pivot")),
    "ecr_iterative_1": (algorithms.ecr_iterative_1, ("allocations",)),
    "ecr_iterative_2": (algorithms.ecr_iterative_2, ("allocations", "responsibilities")),
    "stephens": (algorithms.stephens, ("responsibilities",)),
    "pra": (algorithms.pra, ("parameters", "pivot")),
    "sjw": (algorithms.sjw, ("parameters", "allocations")),
    "data_based": (algorithms.data_based, ("data", "allocations")),
    "order": (algorithms.order, ("parameters",)),
}
# Where `Draws` keeps each of them.
_ARRAYS = {"responsibilities": "p", "allocations": "z", "parameters": "parameters", "data": "x"}
# Methods that need to be told the number of components, which allocations may not show.
_TAKE_N_COMPONENTS = ("ecr", "ecr_iterative_1", "data_based")
# Methods that sweep over the draws until nothing changes.
_TAKE_PROGRESS = ("ecr_iterative_1", "ecr_iterative_2", "stephens", "sjw")


@dataclass(frozen=True, repr=False)
class Relabelled:
    """Draws whose labels agree, and how they were made to agree.

    Attributes
    ----------
    dt : xarray.DataTree
        The draws with every variable that carries the component dimension permuted, and
        allocations mapped. Everything else is as it was.
    permutations : xarray.DataArray
        Dimensions chain, draw and the component dimension:
        ``relabelled[t, j] = original[t, permutations[t, j]]``.
    result : AlgorithmResult
        What the algorithm returned: objective, trace, whether it converged. Its permutations
        pool the chains: row ``c * n_draws + t`` is draw ``t`` of chain ``c``.
    dims : tuple of str
        The dimensions that index components; the first is that of ``permutations``.
    permuted : tuple of str
        Names of the variables that were permuted or mapped.
    """

    dt: xr.DataTree
    permutations: xr.DataArray
    result: AlgorithmResult
    dims: tuple[str, ...]
    permuted: tuple[str, ...]

    @property
    def method(self) -> str:
        """Name of the relabelling method."""
        return self.result.method

    def apply(self, values: xr.DataArray) -> xr.DataArray:
        """Permute another array of the same draws, such as responsibilities.

        Parameters
        ----------
        values : xarray.DataArray
            With dimensions chain, draw and at least one that indexes components. Dask arrays
            stay lazy.

        Returns
        -------
        xarray.DataArray
            The same dimensions, coordinates, attributes and dtype.
        """
        return _permute(values, self.permutations, self.dims)

    def __repr__(self) -> str:
        """Summarise in a few lines."""
        sizes = self.permutations.sizes
        n_draws = sizes["chain"] * sizes["draw"]
        moved = int((self.permutations.values != np.arange(sizes[self.dims[0]])).any(axis=2).sum())
        result = self.result
        state = "converged" if result.converged else "NOT converged: raise max_sweeps"
        if len(result.trace) > 1:
            state += f" after {len(result.trace)} sweeps"
        if result.start is not None:
            state += f", best start {result.start!r}"
        return "\n".join(
            [
                f"<Relabelled by {self.method}>",
                f"  draws      {sizes['chain']} chains x {sizes['draw']} draws, "
                f"{sizes[self.dims[0]]} components in {', '.join(map(repr, self.dims))}",
                f"  moved      {moved} of {n_draws} draws",
                f"  permuted   {', '.join(self.permuted)}",
                f"  objective  {result.objective:.6g} ({state})",
                "  see        .dt, .permutations, .result, .apply(values)",
            ]
        )


def _permute(values: xr.DataArray, permutations: xr.DataArray, dims: Sequence[str]) -> xr.DataArray:
    """Permute every axis of values that indexes components, with the permutation of its draw."""

    def kernel(block: np.ndarray, by: np.ndarray) -> np.ndarray:
        # block (chain, draw, ..., K); by (chain, draw, [1, ...] K)
        n_components = block.shape[-1]
        pooled = block.reshape(block.shape[0] * block.shape[1], -1, n_components)
        by = by.reshape(len(pooled), n_components)
        return apply_permutations(pooled, by, axis=2).reshape(block.shape)

    present = [name for name in dims if name in values.dims]
    if not present or not set(SAMPLE_DIMS) <= set(values.dims):
        raise ValueError(
            f"values: dimensions chain, draw and {' or '.join(map(repr, dims))} are needed; "
            f"it has {values.dims}."
        )
    out = values.transpose(*SAMPLE_DIMS, ...)
    for name in present:
        by = permutations.drop_vars(dims[0], errors="ignore").rename({dims[0]: name})
        # Chunks of responsibilities never cut through components, so a block is whole.
        out = xr.apply_ufunc(
            kernel,
            out,
            by,
            input_core_dims=[[name], [name]],
            output_core_dims=[[name]],
            dask="parallelized",
            output_dtypes=[values.dtype],
            join="exact",
            keep_attrs="override",
        )
    # Take only the numbers from the calculation: coordinates, attributes, encoding stay.
    return values.copy(data=out.transpose(*values.dims).data)


def _method(name: str) -> tuple[Callable[..., AlgorithmResult], tuple[str, ...]]:
    if name not in _METHODS:
        raise ValueError(f"method: {name!r} is unknown. Choose one of {', '.join(_METHODS)}.")
    return _METHODS[name]


def _run(draws: Draws, method: str, options: dict[str, Any]) -> AlgorithmResult:
    """Run one method on the arrays that it takes."""
    function, inputs = _method(method)
    arguments: list[Any] = []
    for name in inputs:
        arguments.append(
            draws.pivot_for(arguments[0]) if name == "pivot" else getattr(draws, _ARRAYS[name])
        )
    if method in _TAKE_N_COMPONENTS:
        options = {"n_components": draws.n_components} | options
    if method in _TAKE_PROGRESS:
        options = {"progress": draws.progress} | options
    if method == "sjw":
        if "log_density" not in options:
            # The model's function includes the weights, batched or not.
            options = {"log_density": draws.log_density()} | options
        if isinstance(options.get("weights"), str):
            options = options | {"weights": draws.weights(options["weights"])}
    if method == "order" and "by" not in options and arguments[0].shape[2] > 1:
        raise ValueError(
            f"var_names: 'order' sorts by one value of each component, but "
            f"{', '.join(draws.parameter_names)} hold {arguments[0].shape[2]}. Name one variable, "
            "or pass by=<the index of one value>."
        )
    try:
        result = function(*arguments, **options)
    except (TypeError, ValueError) as error:
        error.add_note(
            f"While relabelling by {method!r}: p stands for the responsibilities, z for the "
            "allocations, x for the data, parameters for the variables in var_names."
        )
        raise
    if "pivot" in inputs and draws.pivot_is_default:
        # The labels of a pivot that nobody chose mean nothing, so leave them open as well.
        permutations = near_input(replace(result, pivot=None)).permutations
        order = permutations[draws.pivot_draw]
        pivot = result.pivot[order] if method == "pra" else np.argsort(order)[result.pivot]
        result = replace(result, permutations=permutations, pivot=pivot)
    return result


def _relabelled(draws: Draws, result: AlgorithmResult) -> Relabelled:
    """Permute everything that carries the component dimensions."""
    permutations = draws.as_permutations(result.permutations)
    out = draws.dt.copy()
    permuted: list[str] = []
    for group in PERMUTED_GROUPS:
        if group not in out.children:
            continue
        dataset = draws.dt[group].to_dataset()
        changed = {
            name: variable
            for name, variable in dataset.data_vars.items()
            if set(SAMPLE_DIMS) <= set(variable.dims)
            and (set(draws.dims) & set(variable.dims) or name in draws.allocation_names)
        }
        if changed and not draws.same_draws(dataset):
            warnings.warn(
                f"The group {group!r} has other draws than the posterior, so "
                f"{', '.join(map(repr, changed))} in it stay as they were.",
                UserWarning,
                stacklevel=3,
            )
            continue
        for name, variable in changed.items():
            if name in draws.allocation_names:
                variable = _map_allocations(variable, draws.pool(variable), result)
            if set(draws.dims) & set(variable.dims):
                variable = _permute(variable, permutations, draws.dims)
            changed[name] = variable
        permuted += [name for name in changed if name not in permuted]
        out[group].dataset = dataset.assign(changed)
    return Relabelled(out, permutations, result, draws.dims, tuple(permuted))


def _map_allocations(
    variable: xr.DataArray, pooled: np.ndarray, result: AlgorithmResult
) -> xr.DataArray:
    ordered = variable.transpose(*SAMPLE_DIMS, ...)
    mapped = apply_to_allocations(pooled, result.permutations).astype(variable.dtype)
    return ordered.copy(data=mapped.reshape(ordered.shape)).transpose(*variable.dims)


def relabel(
    dt: xr.DataTree,
    method: str = "stephens",
    dim: str | Sequence[str] = "component",
    model: pm.Model | None = None,
    *,
    responsibilities: str | xr.DataArray | None = None,
    allocations: str | Sequence[str] | None = None,
    var_names: str | Sequence[str] | None = None,
    pivot: tuple[int, int] | np.ndarray | None = None,
    data: str | np.ndarray | None = None,
    progress: bool = False,
    **options: Any,
) -> Relabelled:
    """Undo the label switching in the draws of a mixture model.

    The chains are pooled, one permutation of the components is found for each draw, and every
    variable that carries ``dim`` is permuted with it. The input is not changed.

    Parameters
    ----------
    dt : xarray.DataTree
        Draws with a group ``posterior`` and the dimensions chain and draw, as ``pm.sample``
        returns them or ArviZ reads them.
    method : str, default "stephens"
        One of the eight of the table below.
    dim : str or sequence of str, default "component"
        The dimension that indexes the components. Several, if several do: both axes of a
        transition matrix, ``["state", "next_state"]``, or the automatic names of variables
        without dims, ``["mu_dim_0", "w_dim_0"]``.
    model : pymc.Model, optional
        The model that the draws come from. What a method needs is read from its mixture:
        responsibilities, most probable allocations, component densities.
    responsibilities : str or xarray.DataArray, optional
        P(z | y) at each draw, as a variable of the posterior or an array with dimensions chain,
        draw, those of the observations, and ``dim``. It takes the place of ``model``, for draws
        that do not come from PyMC, or for :func:`responsibilities` with ``chunks``.
    allocations : str or sequence of str, optional
        Integer variables that hold sampled labels 0, ..., K - 1. The methods that need
        allocations read them, and every method maps them to the new labels. Without it the most
        probable component at each draw stands in for a sampled allocation.
    var_names : str or sequence of str, optional
        Parameters that the methods ``pra``, ``sjw`` and ``order`` read. By default all that carry
        ``dim`` and have no dimension of the observations (those of the model's mixture, the
        responsibilities or the allocations).
    pivot : tuple or numpy.ndarray, optional
        For ``ecr`` and ``pra``: the draw to which the others are aligned, as its labels
        (chain, draw), or an array: allocations (n,) for ``ecr``, parameters (K, J) for ``pra``.
        By default the draw whose sorted parameters are nearest to their median.
    data : str or numpy.ndarray, optional
        For ``data_based``: the observations, (n,) or (n, d), or their name in ``observed_data``
        or ``constant_data``. By default the only variable of ``observed_data``.
    progress : bool, default False
        Write a line for each chain evaluated and each sweep to the standard error stream.
    **options
        Passed to the array function of the method, for instance ``starts`` and ``seed``,
        ``by`` for ``order``, or ``log_density`` for ``sjw`` without a model.

    Returns
    -------
    Relabelled
        With the draws in ``.dt``, the permutations and the result of the algorithm.

    Raises
    ------
    ValueError
        If the method is unknown, no variable has ``dim``, the numbers of components disagree,
        labels are not 0, ..., K - 1, values are NaN, the method lacks an input, or an input is
        given that the method does not use.
    TypeError
        If ``dt`` is no DataTree or an input is of the wrong type.

    Warns
    -----
    UserWarning
        If the posterior holds what looks like allocations that were not named, or a variable that
        belongs to some components only without carrying ``dim``, such as one Cholesky factor per
        component. Such a variable stays as sampled, so the model must not be evaluated at the
        relabelled draws.

    See Also
    --------
    diagnose : has it switched, and does relabelling repair it?
    compare : do the methods agree?

    Notes
    -----
    ==================  ==============================  =========================================
    method              reads                           idea
    ==================  ==============================  =========================================
    stephens            responsibilities                nearest to the average classification
    ecr                 allocations, pivot              nearest to the clustering of one draw
    ecr_iterative_1     allocations                     the same, the pivot is improved
    ecr_iterative_2     allocations, responsibilities   the same, the pivot is a probability
    pra                 var_names, pivot                nearest to the parameters of one draw
    sjw                 var_names, allocations, model   most probable under average parameters
    data_based          data, allocations               nearest to the means of the clusters
    order               var_names                       sorted by one parameter
    ==================  ==============================  =========================================

    A result is defined up to one relabelling of all draws. ``order`` and a ``pivot`` of yours fix
    it. Otherwise labels are chosen so that most stay where they were: draws that have not switched
    come back unchanged.

    The groups ``posterior_predictive`` and ``predictions`` are permuted as well where they carry
    ``dim`` and have the same chains and draws. All other groups are kept as they are.

    Examples
    --------
    Two chains, the second with its labels exchanged:

    >>> import arviz as az, numpy as np
    >>> import labelswitch
    >>> rng = np.random.default_rng(1)
    >>> mu = rng.normal([-2.0, 2.0], 0.1, size=(2, 100, 2))
    >>> mu[1] = mu[1, :, ::-1]
    >>> dt = az.from_dict({"posterior": {"mu": mu}}, dims={"mu": ["component"]})
    >>> az.rhat(dt)["mu"].values.round(1) > 1.5
    array([ True,  True])
    >>> relabelled = labelswitch.relabel(dt, "pra")
    >>> relabelled.permutations.mean("draw").values
    array([[0., 1.],
           [1., 0.]])
    >>> az.rhat(relabelled.dt)["mu"].values.round(1)
    array([1., 1.])
    """
    inputs = _method(method)[1]
    used = {"data": "data" in inputs, "pivot": "pivot" in inputs}
    for name, value in {"data": data, "pivot": pivot}.items():
        if value is not None and not used[name]:
            users = [key for key, (_, needs) in _METHODS.items() if name in needs]
            raise ValueError(
                f"{name}: {method!r} does not use it. Leave it out, or use {' or '.join(users)}."
            )
    draws = Draws(dt, dim, model, responsibilities, allocations, var_names, pivot, data, progress)
    return _relabelled(draws, _run(draws, method, options))


def compare(
    dt: xr.DataTree,
    methods: Sequence[str],
    dim: str | Sequence[str] = "component",
    model: pm.Model | None = None,
    *,
    responsibilities: str | xr.DataArray | None = None,
    allocations: str | Sequence[str] | None = None,
    var_names: str | Sequence[str] | None = None,
    pivot: tuple[int, int] | None = None,
    data: str | np.ndarray | None = None,
    progress: bool = False,
    options: dict[str, dict[str, Any]] | None = None,
) -> xr.Dataset:
    """Relabel with several methods and see whether they agree.

    Where methods agree, the choice among them does not matter. Where they do not, components
    overlap, or a method ran into a local optimum.

    Parameters
    ----------
    dt, dim, model, responsibilities, allocations, var_names, data, progress
        As for :func:`relabel`; each method takes what it needs.
    methods : sequence of str
        Names of methods.
    pivot : tuple, optional
        The labels (chain, draw) of the pivot for ``ecr`` and ``pra``.
    options : dict, optional
        Further arguments by method: ``{"stephens": {"starts": ["identity"]}}``.

    Returns
    -------
    xarray.Dataset
        With dimension ``algorithm`` (and ``other`` for pairs):

        - ``draws_agreement`` (algorithm, other): share of draws that both permute alike;
        - ``clusters_agreement`` (algorithm, other): share of observations that both put into the
          same cluster. Only with allocations, responsibilities or a model;
        - ``clusters`` (algorithm, observation): the most frequent relabelled allocation or, without
          allocations, the largest mean responsibility;
        - ``objective`` (each method has its own: compare it between runs, not between methods),
          ``converged``, ``seconds`` (without the time to compute shared inputs).

        Everything is up to one relabelling of all draws.

    Raises
    ------
    ValueError
        As :func:`relabel`, and if ``methods`` is empty or names one twice.

    References
    ----------
    Papastamoulis, P. (2016). label.switching: An R package for dealing with the label
    switching problem in MCMC outputs. *Journal of Statistical Software* 69, code snippet 1.

    Examples
    --------
    >>> import arviz as az, numpy as np
    >>> import labelswitch
    >>> rng = np.random.default_rng(1)
    >>> z = np.repeat([0, 1], 5) ^ rng.integers(2, size=(1, 50, 1))
    >>> mu = np.where(z[..., :1] == 0, [-2.0, 2.0], [2.0, -2.0]) + rng.normal(size=(1, 50, 2)) / 9
    >>> dt = az.from_dict({"posterior": {"mu": mu, "z": z}}, dims={"mu": ["component"]})
    >>> comparison = labelswitch.compare(dt, ["ecr", "pra", "order"], allocations="z")
    >>> comparison["draws_agreement"].values
    array([[1., 1., 1.],
           [1., 1., 1.],
           [1., 1., 1.]])
    >>> comparison["clusters"].sel(algorithm="order").values
    array([0, 0, 0, 0, 0, 1, 1, 1, 1, 1])
    """
    methods = as_tuple(methods)
    if not methods or len(set(methods)) < len(methods):
        raise ValueError(f"methods: different names are needed, not {list(methods)}.")
    inputs = {name: _method(name)[1] for name in methods}
    if pivot is not None and not isinstance(pivot, tuple):
        raise TypeError("pivot: compare takes the labels of a draw, (chain, draw).")
    draws = Draws(dt, dim, model, responsibilities, allocations, var_names, pivot, data, progress)
    results, seconds = [], []
    for name, needs in inputs.items():
        for shared in {"allocations", "responsibilities"} & set(needs):
            getattr(draws, _ARRAYS[shared])  # made here, so that no method's time includes it
        start = time.perf_counter()
        results.append(_run(draws, name, (options or {}).get(name, {})))
        seconds.append(time.perf_counter() - start)

    k = draws.n_components
    draws_agreement = np.array(
        [[_same_draws(a.permutations, b.permutations) for b in results] for a in results]
    )
    comparison = xr.Dataset(
        {
            "draws_agreement": (("algorithm", "other"), draws_agreement),
            "objective": ("algorithm", [result.objective for result in results]),
            "converged": ("algorithm", [result.converged for result in results]),
            "seconds": ("algorithm", seconds),
        },
        coords={"algorithm": list(methods), "other": list(methods)},
    )
    if not (draws.allocation_names or responsibilities is not None or model is not None):
        return comparison
    clusters = [_clusters(draws, result) for result in results]
    clusters = [_aligned(clusters[0], found, k) for found in clusters]
    comparison["clusters_agreement"] = (
        ("algorithm", "other"),
        [[float((a == _aligned(a, b, k)).mean()) for b in clusters] for a in clusters],
    )
    comparison["clusters"] = (("algorithm", "observation"), np.array(clusters))
    return comparison


def _clusters(draws: Draws, result: AlgorithmResult) -> np.ndarray:
    """Return the best single clustering, (n,): the mode of z or the largest mean of p."""
    k = draws.n_components
    if draws.allocation_names:
        z = apply_to_allocations(draws.z, result.permutations)
        counts = np.stack([(z == label).sum(axis=0) for label in range(k)], axis=1)
        return counts.argmax(axis=1)
    p = draws.responsibilities
    dim = next(name for name in draws.dims if name in p.dims)
    relabelled = _permute(p, draws.as_permutations(result.permutations), draws.dims)
    return relabelled.mean(SAMPLE_DIMS).transpose(..., dim).values.reshape(-1, k).argmax(axis=1)


def _aligned(reference: np.ndarray, labels: np.ndarray, n_labels: int) -> np.ndarray:
    """Rename labels so that most of them equal the reference."""
    counts = np.zeros((n_labels, n_labels), dtype=np.int64)
    np.add.at(counts, (labels, reference), 1)
    return linear_sum_assignment(counts, maximize=True)[1][labels]


def _same_draws(first: np.ndarray, second: np.ndarray) -> float:
    """Share of draws with the same permutation, up to one relabelling of all draws of second."""
    # Where second[t, g] == first[t], g renames draw t; the most frequent g renames all draws best.
    renamings = np.take_along_axis(np.argsort(second, axis=1), first, axis=1)
    return float(np.unique(renamings, axis=0, return_counts=True)[1].max() / len(renamings))
