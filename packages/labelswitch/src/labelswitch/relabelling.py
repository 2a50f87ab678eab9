"""The front door: take a DataTree of draws, return it with its labels undone."""

from __future__ import annotations

import inspect
import time
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from scipy.optimize import linear_sum_assignment

from labelswitch import algorithms, validation
from labelswitch.algorithms import AlgorithmResult, apply_to_allocations, near_input
from labelswitch.draws import (
    Draws,
    as_tuple,
    component_order,
    draw_coords,
    draw_groups,
    find_responsibilities,
    has_densities,
    in_place,
    unconstrained,
    without_labels,
)
from labelswitch.exchangeability import (
    Labels,
    check_data,
    check_moved,
    find_labels,
    move,
    permute,
    recompute,
    stray,
)
from labelswitch.mixture import SAMPLE_DIMS, check_dim_order, get_posterior

if TYPE_CHECKING:
    import pymc as pm


@dataclass(frozen=True)
class Method:
    """What the front door has to know about an algorithm.

    Attributes
    ----------
    function : callable
        The array function.
    inputs : tuple of str
        The arrays that it takes, in the order of its signature: attributes of `Draws`, or "pivot".
    counts : bool
        Whether it has to be told the number of components, which allocations may not show.
    sweeps : bool
        Whether it sweeps over the draws until nothing changes, and reports its progress.
    """

    function: Callable[..., AlgorithmResult]
    inputs: tuple[str, ...]
    counts: bool = False
    sweeps: bool = False


METHODS = {
    "ecr": Method(algorithms.ecr, ("z", "pivot"), counts=True),
    "ecr_iterative_1": Method(algorithms.ecr_iterative_1, ("z",), counts=True, sweeps=True),
    "ecr_iterative_2": Method(algorithms.ecr_iterative_2, ("z", "p"), sweeps=True),
    "stephens": Method(algorithms.stephens, ("p",), sweeps=True),
    "pra": Method(algorithms.pra, ("parameters", "pivot")),
    "sjw": Method(algorithms.sjw, ("parameters", "z"), sweeps=True),
    "data_based": Method(algorithms.data_based, ("x", "z"), counts=True),
    "order": Method(algorithms.order, ("parameters",)),
}
# The inputs that only some methods read: argument of `relabel`, name in Method.inputs.
_OPTIONAL = {"data": "x", "pivot": "pivot", "var_names": "parameters"}


@dataclass(frozen=True, repr=False, kw_only=True)
class Relabelled:
    """Draws whose labels agree, and how they were made to agree.

    Attributes
    ----------
    dt : xarray.DataTree
        The draws with every variable that carries labels permuted, and allocations mapped.
        Everything else is as it was.
    permutations : xarray.DataArray
        Dimensions chain, draw and the component dimension; with ``by`` the group dimension before
        the last: ``relabelled[t, j] = original[t, permutations[t, j]]``.
    method : str
        Name of the relabelling method, or "permutations" where they were given.
    result : AlgorithmResult or None
        What the algorithm returned: objective, trace, whether it converged. Its permutations
        pool the chains: row ``c * n_draws + t`` is draw ``t`` of chain ``c``. None where there is
        not exactly one: with ``by``, or where the permutations were given.
    confidence : xarray.DataArray or None
        How sure the permutation of each draw is, dimensions chain, draw (and the groups'): see
        :class:`AlgorithmResult`. None where the method has no alternative to compare.
    converged : bool
        Whether the algorithm stopped by itself, in all groups.
    dims : tuple of str
        The dimensions that index components; the first is that of ``permutations``.
    by : str or None
        The dimension of the groups whose labels are independent of each other.
    allocations : tuple of str
        Names of the variables that hold labels.
    siblings : tuple of tuple of str
        Variables of single components that exchange their values, in the order of the components.
    permuted : tuple of str
        Names of the variables that were permuted or mapped.
    recomputed : tuple of str
        Names of the deterministic variables that were computed anew from permuted ones.
    dropped : tuple of str
        Names of the variables that the result lacks, because they cannot be permuted.
    """

    dt: xr.DataTree
    permutations: xr.DataArray
    method: str
    result: AlgorithmResult | None
    confidence: xr.DataArray | None
    converged: bool
    dims: tuple[str, ...]
    by: str | None = None
    allocations: tuple[str, ...] = ()
    siblings: tuple[tuple[str, ...], ...] = ()
    permuted: tuple[str, ...] = ()
    recomputed: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()

    def apply(self, values: xr.DataArray) -> xr.DataArray:
        """Permute another array of the same draws, such as responsibilities.

        Parameters
        ----------
        values : xarray.DataArray
            With dimensions chain, draw and at least one that indexes components, in any order
            where its coordinate has the labels of the posterior's. Dask arrays stay lazy.

        Returns
        -------
        xarray.DataArray
            The same dimensions, coordinates, attributes and dtype.

        Raises
        ------
        ValueError
            If a dimension is missing, or chains and draws or the labels of components are others.
        TypeError
            If values is no DataArray.
        """
        if not isinstance(values, xr.DataArray):
            raise TypeError(
                f"values: a DataArray is needed, not {type(values).__name__}. Name its dimensions: "
                f"xr.DataArray(values, dims={[*SAMPLE_DIMS, '...', self.dims[0]]})."
            )
        needed = [*SAMPLE_DIMS, *([self.by] if self.by else [])]
        if not set(self.dims) & set(values.dims) or not set(needed) <= set(values.dims):
            raise ValueError(
                f"values: dimensions {', '.join(needed)} and "
                f"{' or '.join(map(repr, self.dims))} are needed; it has {values.dims}."
            )
        for name in needed:
            own, wanted = (item.indexes.get(name) for item in (values, self.permutations))
            differ = own is not None and wanted is not None and not own.equals(wanted)
            if differ or values.sizes[name] != self.permutations.sizes[name]:
                raise ValueError(
                    f"values: their {name!r} differs from that of the relabelled draws. Select the "
                    "same ones in the same order."
                )
        posterior = self.dt["posterior"].to_dataset()
        order = component_order(values, posterior, self.dims, "values")
        permutations = without_labels(self.permutations, self.dims[0])
        permuted = permute(values.isel(order), permutations, self.dims, self.dims[0])
        return permuted.isel(in_place(order))

    def __repr__(self) -> str:
        """Summarise in a few lines."""
        sizes = self.permutations.sizes
        identity = np.arange(sizes[self.dims[0]])
        n_moved = int((self.permutations.values != identity).any(axis=-1).sum())
        n_all = self.permutations.size // len(identity)
        groups = f" x {sizes[self.by]} groups" if self.by else ""
        state = "converged" if self.converged else "NOT converged: raise max_sweeps"
        lines = [
            f"<Relabelled by {self.method}>",
            f"  draws      {sizes['chain']} chains x {sizes['draw']} draws{groups}, "
            f"{len(identity)} components in {', '.join(map(repr, self.dims))}",
            f"  moved      {n_moved} of {n_all} draws",
            f"  permuted   {', '.join(self.permuted)}",
        ]
        for name in ("recomputed", "dropped"):
            if getattr(self, name):
                lines.append(f"  {name:<10} {', '.join(getattr(self, name))}")
        if self.result is not None:
            if len(self.result.trace) > 1:
                state += f" after {len(self.result.trace)} sweeps"
            if self.result.start is not None:
                state += f", best start {self.result.start!r}"
            lines.append(f"  objective  {self.result.objective:.6g} ({state})")
        return "\n".join([*lines, "  see        .dt, .permutations, .confidence, .apply(values)"])


def _method(name: str) -> Method:
    if name not in METHODS:
        raise ValueError(f"method: {name!r} is unknown. Choose one of {', '.join(METHODS)}.")
    return METHODS[name]


def _check_options(draws: Draws, name: str, options: dict[str, Any]) -> None:
    """Refuse options that the method does not have, or another number of components."""
    parameters = inspect.signature(_method(name).function).parameters.values()
    known = [item.name for item in parameters if item.kind is item.KEYWORD_ONLY]
    for option in options:
        if option not in known:
            raise TypeError(
                f"{option}: {name!r} has no such option (it has {', '.join(known)}). What it reads "
                "comes from dt; see the arguments of relabel."
            )
    wanted = options.get("n_components", draws.n_components)
    if wanted != draws.n_components:
        raise ValueError(
            f"n_components: {wanted} are asked for, but {draws.dims[0]!r} has "
            f"{draws.n_components} components. Leave it out."
        )


def _run(draws: Draws, name: str, options: dict[str, Any]) -> AlgorithmResult:
    """Run one method on the arrays that it takes."""
    method = _method(name)
    _check_options(draws, name, options)
    arguments: list[Any] = []
    for needed in method.inputs:
        arguments.append(
            draws.pivot_for(arguments[0]) if needed == "pivot" else getattr(draws, needed)
        )
    if method.counts:
        options = {"n_components": draws.n_components} | options
    if method.sweeps:
        options = {"progress": draws.progress} | options
    if name == "sjw":
        if "log_density" not in options:
            # The model's function includes the weights, batched or not.
            options = {"log_density": draws.log_density()} | options
        if isinstance(options.get("weights"), str):
            options = options | {"weights": draws.weights(options["weights"])}
    if name == "order" and "index" not in options and arguments[0].shape[2] > 1:
        raise ValueError(
            f"var_names: 'order' sorts by one value of each component, but "
            f"{', '.join(draws.parameter_names)} hold {arguments[0].shape[2]}. Name one variable, "
            "or pass index=<the index of one value>."
        )
    try:
        result = method.function(*arguments, **options)
    except (TypeError, ValueError) as error:
        error.add_note(
            f"While relabelling by {name!r}: p stands for the responsibilities, z for the "
            "allocations, x for the data, parameters for the variables in var_names."
        )
        raise
    if "pivot" in method.inputs and draws.pivot_is_default:
        # The labels of a pivot that nobody chose mean nothing, so leave them open as well.
        permutations = near_input(replace(result, pivot=None)).permutations
        order = permutations[draws.pivot_draw]
        pivot = result.pivot[order] if name == "pra" else np.argsort(order)[result.pivot]
        result = replace(result, permutations=permutations, pivot=pivot)
    return result


def default_method(
    model: pm.Model | None,
    responsibilities: str | xr.DataArray | None,
    allocations: Sequence[str],
) -> str:
    """Return the method that uses most of what is there."""
    from labelswitch.mixture import mixtures

    if responsibilities is not None or (model is not None and len(mixtures(model)) == 1):
        return "stephens"
    return "ecr_iterative_1" if allocations else "pra"


def _find(
    dt: xr.DataTree,
    model: pm.Model | None,
    dim: str | Sequence[str] | None,
    allocations: str | Sequence[str] | None,
    responsibilities: str | xr.DataArray | None,
) -> Labels:
    """Say what carries labels: from the model, or from what the caller names."""
    posterior = get_posterior(dt)
    dims = as_tuple(dim, "dim")
    if len(set(dims)) < len(dims):
        raise ValueError(f"dim: {list(dims)} names a dimension twice.")
    names = None if allocations is None else as_tuple(allocations, "allocations")
    if model is not None:
        check_dim_order(model, posterior)
        groups = draw_groups(dt)
        stored = ("observed_data", "constant_data")
        check_data(model, [dt[name].to_dataset() for name in stored if name in dt.children])
        labels = find_labels(model, posterior, dims=dims, allocations=names, groups=groups)
        extra = (labels.allocations if names is None else names,)[0]
        first = [*dims, *(["component"] if "component" in labels.dims else [])]
        ordered = tuple(dict.fromkeys([*first, *labels.dims]))
        if not ordered:
            ordered = _dims_of(responsibilities, dt) or ("component",)
        return replace(labels, dims=ordered, allocations=tuple(extra))
    if dim is not None and not dims:
        raise ValueError("dim: name at least one dimension that indexes components.")
    return Labels(dims=dims or ("component",), allocations=names or ())


def _dims_of(p: str | xr.DataArray | None, dt: xr.DataTree) -> tuple[str, ...]:
    return () if p is None else find_responsibilities(dt, p).dims[-1:]


def _relabelled(
    draws: Draws,
    labels: Labels,
    permutations: xr.DataArray,
    by: str | None,
    allocations_open: bool,
) -> dict[str, Any]:
    """Permute everything that carries labels, and check the result against the model."""
    dt, model, dim = draws.dt, draws.model, labels.dims[0]
    draws.warn_of_what_stays(allocations_open=allocations_open, by=by)
    out = dt.copy()
    permuted: list[str] = []
    moved = (permutations.values != np.arange(permutations.sizes[dim])).any(axis=-1)
    moved = moved.reshape(*moved.shape[:2], -1).any(axis=2)
    recomputed, dropped = (), ()
    stale = set(labels.recomputed)
    groups = draw_groups(dt)
    bare = without_labels(permutations, dim)
    for group, dataset in groups.items():
        if group == "unconstrained_posterior":
            if moved.any():
                warnings.warn(
                    "The group 'unconstrained_posterior' cannot be relabelled, so the result lacks "
                    "it.",
                    UserWarning,
                    stacklevel=4,
                )
                del out[group]
            continue
        aligned = all(
            dataset.sizes[name] == permutations.sizes[name]
            and dataset.get_index(name).equals(permutations.get_index(name))
            for name in SAMPLE_DIMS
        )
        if not aligned:
            stay = [
                name
                for name, variable in dataset.data_vars.items()
                if set(labels.dims) & set(variable.dims) or name in labels.allocations
            ]
            if stay:
                warnings.warn(
                    f"The group {group!r} has other draws than the posterior, so "
                    f"{', '.join(map(repr, stay))} in it stay as they were.",
                    UserWarning,
                    stacklevel=4,
                )
            continue
        order = component_order(dataset, draws.posterior, labels.dims, f"dt: in {group!r}")
        dataset = dataset.isel(order)
        own = _in_group(labels, group, dataset)
        if moved.any():
            _warn_of_summaries(dataset, group, labels.dims)
            hidden = unconstrained(dataset, group, model)
            if hidden:
                warnings.warn(
                    f"{', '.join(map(repr, hidden))} in the group {group!r} cannot be relabelled, "
                    "so the result lacks it.",
                    UserWarning,
                    stacklevel=4,
                )
                dataset = dataset.drop_vars(hidden)
                dropped += tuple(hidden) if group == "posterior" else ()
        changed = move(dataset, bare, own, dim)
        if group == "posterior" and model is not None and moved.any():
            before, after = dt["posterior"].to_dataset(), _assigned(dataset, changed)
            check_moved(model, labels, before, after, moved)
            anew = recompute(model, labels, before, after, moved)
            changed = {name: item for name, item in changed.items() if name not in anew} | anew
            recomputed = tuple(anew)
            stale = {*labels.recomputed, *anew}
            stale.update(stray(model, labels, groups.values(), before, after, bare, moved))
            lost = _in(dataset, labels.dropped)
            dropped += lost
            if lost:
                warnings.warn(
                    f"{', '.join(map(repr, lost))} cannot be permuted, so the result lacks it. "
                    "The relabelled components give the same density to the data. Their prior was "
                    "not compared: under stick-breaking the order of the weights has a prior of "
                    "its own.",
                    UserWarning,
                    stacklevel=4,
                )
        else:
            # What follows from labels can be computed anew in the posterior only.
            lost = _in(dataset, {*labels.dropped, *stale}) if moved.any() else ()
            if lost:
                warnings.warn(
                    f"{', '.join(map(repr, lost))} in the group {group!r} cannot be permuted, so "
                    "the result lacks it there. Compute it from the relabelled posterior.",
                    UserWarning,
                    stacklevel=4,
                )
        permuted += [name for name in changed if name not in (*permuted, *recomputed)]
        dataset = _assigned(dataset, changed).drop_vars(lost).isel(in_place(order))
        out[group].dataset = dataset.set_coords(_in(dataset, draw_coords(out[group].to_dataset())))
    return {
        "dt": out,
        "allocations": labels.allocations,
        "siblings": labels.siblings,
        "permuted": tuple(permuted),
        "recomputed": recomputed,
        "dropped": dropped,
    }


def _in_group(labels: Labels, group: str, dataset: xr.Dataset) -> Labels:
    """Leave out the variables of a group that have the name of allocations and hold no labels.

    What ``log_prior`` holds under this name is a density, which does not change with the labels.
    """
    own = []
    for name in labels.allocations:
        if name not in dataset:
            continue
        values = dataset[name]
        kind = values.dtype.kind
        if kind in "iu":
            own.append(name)
            continue
        if has_densities(group):
            continue
        if kind == "b" or (kind == "f" and (values.isnull() | (values == values.round())).all()):
            raise TypeError(
                f"allocations: {name!r} in {group!r} holds {values.dtype}, not integer labels. "
                f"Convert it first, dt[{group!r}][{name!r}] = dt[{group!r}][{name!r}].astype(int), "
                "without the entries that are NaN; or rename it there if it holds no labels."
            )
        warnings.warn(
            f"{name!r} in the group {group!r} holds {values.dtype}, no integer labels, so it stays "
            "as it was.",
            UserWarning,
            stacklevel=5,
        )
    return replace(labels, allocations=tuple(own))


def _warn_of_summaries(dataset: xr.Dataset, group: str, dims: Sequence[str]) -> None:
    """Warn of what carries labels for a chain, or for the draws of all chains, alone."""
    for name, variable in dataset.data_vars.items():
        carried = [dim for dim in variable.dims if dim in dims]
        if carried and len(set(SAMPLE_DIMS) & set(variable.dims)) == 1:
            warnings.warn(
                f"{name!r} in the group {group!r} has the dimension {carried[0]!r} but not both "
                f"chain and draw {variable.dims}, so it cannot be relabelled and stays as it was. "
                "Compute it anew from the relabelled draws.",
                UserWarning,
                stacklevel=5,
            )


def _assigned(dataset: xr.Dataset, changed: dict[str, xr.DataArray]) -> xr.Dataset:
    """Assign without coordinates, which are the dataset's: Xarray warns of several levels."""
    return dataset.assign({name: item.variable for name, item in changed.items()})


def _in(dataset: xr.Dataset, names: Iterable[str]) -> tuple[str, ...]:
    return tuple(name for name in dataset.data_vars if name in set(names))


def _given(permutations: np.ndarray | xr.DataArray, draws: Draws, by: str | None) -> xr.DataArray:
    """Check the caller's own permutations, and give them dimensions and coordinates."""
    n_groups = draws.posterior.sizes[by] if by else 1
    template = draws.as_permutations(
        np.zeros((draws.n_chains * draws.n_draws * n_groups, draws.n_components), np.intp), by
    )
    order = {}
    if isinstance(permutations, xr.DataArray):
        if set(permutations.dims) != set(template.dims):
            raise ValueError(
                f"permutations: dimensions {template.dims} are needed; it has {permutations.dims}."
            )
        for name in template.dims[:-1]:
            own = permutations.indexes.get(name)
            if own is not None and not own.equals(template.get_index(name)):
                raise ValueError(
                    f"permutations: their {name!r} differs from that of the posterior. Select the "
                    "same ones in the same order, or pass an array without coordinates."
                )
        order = component_order(permutations, draws.posterior, template.dims[-1:], "permutations")
        permutations = permutations.transpose(*template.dims).values
    permutations = np.asanyarray(permutations)  # a mask is to be refused, not dropped
    if permutations.shape != template.shape:
        raise ValueError(
            f"permutations: shape {template.shape} {template.dims} is needed; it has "
            f"{permutations.shape}."
        )
    flat = permutations.reshape(-1, draws.n_components)
    flat = validation.check_permutations(flat, None, None, "permutations")
    for index in order.values():  # both where and what they permute
        flat = np.argsort(index)[flat[:, index]]
    return template.copy(data=flat.reshape(template.shape))


def by_group(dt: xr.DataTree, by: str, labels: Labels | Relabelled) -> list[xr.DataTree]:
    """Split the draws into trees of one group each."""
    posterior = get_posterior(dt)
    if not isinstance(by, str) or by not in posterior.dims or by in SAMPLE_DIMS + labels.dims:
        others = [d for d in posterior.dims if d not in SAMPLE_DIMS + labels.dims]
        raise ValueError(
            f"by: a dimension of groups is needed, not {by!r}. Dimensions: "
            f"{', '.join(others) or 'none'}."
        )
    for group, dataset in draw_groups(dt).items():
        for name, variable in dataset.data_vars.items():
            if by in variable.dims or not set(SAMPLE_DIMS) <= set(variable.dims):
                continue
            if name in labels.allocations and variable.dtype.kind in "iu":
                raise ValueError(
                    f"by: the allocations {name!r} in {group!r} lack the dimension {by!r}."
                )
            if set(labels.dims) & set(variable.dims):
                raise ValueError(
                    f"by: {name!r} carries {labels.dims[0]!r} but not {by!r}, so its labels are "
                    "shared by all groups and cannot be permuted group by group. Leave by out, or "
                    f"drop it from {group!r}."
                )
    groups = {
        "/" if path == "." else path: node.to_dataset() for path, node in dt.subtree_with_keys
    }
    return [
        xr.DataTree.from_dict(
            {
                name: dataset.isel({by: index}) if by in dataset.dims else dataset
                for name, dataset in groups.items()
            }
        )
        for index in range(posterior.sizes[by])
    ]


def relabel(
    dt: xr.DataTree,
    *,
    method: str | None = None,
    model: pm.Model | None = None,
    dim: str | Sequence[str] | None = None,
    by: str | None = None,
    responsibilities: str | xr.DataArray | None = None,
    allocations: str | Sequence[str] | None = None,
    var_names: str | Sequence[str] | None = None,
    permutations: np.ndarray | xr.DataArray | None = None,
    pivot: tuple[int, int] | np.ndarray | None = None,
    data: str | np.ndarray | None = None,
    progress: bool = False,
    **options: Any,
) -> Relabelled:
    """Undo the label switching in the draws of a mixture model.

    The chains are pooled, one permutation of the components is found for each draw, and every
    variable that carries labels is permuted with it. A relabelled draw is the same point of the
    posterior under other names; with ``model`` this is checked, and a draw that would be another
    point raises. The input is not changed.

    Parameters
    ----------
    dt : xarray.DataTree
        Draws with a group ``posterior`` and the dimensions chain and draw, as ``pm.sample``
        returns them or ArviZ reads them.
    method : str, optional
        One of the eight of the table below. By default ``stephens`` with responsibilities or a
        model with one mixture, ``ecr_iterative_1`` with allocations, and ``pra`` with neither.
    model : pymc.Model, optional
        The model that the draws come from. What a method needs is read from its mixture:
        responsibilities, most probable allocations, component densities. It also says which
        dimensions index components, and judges the result: the log prior and the
        potentials of every moved draw must be what they were, and at eight of them the log density
        of the data.
    dim : str or sequence of str, optional
        The dimensions that index the components. With ``model`` they are found. Without it
        "component" by default; several, if several do: both axes of a transition matrix,
        ``["state", "next_state"]``, or the automatic names of variables without dims,
        ``["mu_dim_0", "w_dim_0"]``.
    by : str, optional
        A dimension of groups whose labels are independent of each other, such as a mixture for
        each school. One permutation is found for each draw and group. All that is read must have
        this dimension.
    responsibilities : str or xarray.DataArray, optional
        P(z | y) at each draw, as a variable of the posterior or an array with dimensions chain,
        draw, those of the observations, and ``dim``. Components are matched by the labels in the
        coordinates of ``dim`` where both have them, otherwise by position. For draws that do not
        come from PyMC, or for :func:`responsibilities` with ``chunks``.
    allocations : str or sequence of str, optional
        Integer variables that hold sampled labels 0, ..., K - 1. The methods that need
        allocations read them, and every method maps them to the new labels, in all groups of these
        draws where they are integers. With ``model`` they are found. Without sampled ones the most
        probable component at each draw stands in. ``()`` says that there are none.
    var_names : str or sequence of str, optional
        Parameters that the methods ``pra``, ``sjw`` and ``order`` read. By default all that carry
        ``dim`` and have no dimension of the observations (those of the model's mixture, the
        responsibilities or the allocations).
    permutations : numpy.ndarray or xarray.DataArray, optional
        Permutations of your own, (chain, draw, component), with ``by`` (chain, draw, group,
        component): ``relabelled[t, j] = original[t, permutations[t, j]]``. Components are matched
        by their labels, as for ``responsibilities``. No method is run.
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
        ``index`` for ``order``, or ``log_density`` for ``sjw`` without a model.

    Returns
    -------
    Relabelled
        With the draws in ``.dt``, the permutations and the result of the algorithm.

    Raises
    ------
    ValueError
        If a relabelled draw would not be the same point of the posterior (with ``model``): a
        variable that carries labels cannot be permuted, priors or a potential differ between the
        components, a transform or a sum of gaps orders them, or two mixtures share a dimension and
        no variable.
        If the model's data are not those in ``observed_data`` or ``constant_data``, or it does not
        compute the deterministic variables that the draws hold.
        If the method is unknown, no variable has ``dim``, the numbers of components or the labels
        in their coordinates disagree, labels are not 0, ..., K - 1, values are NaN, the method
        lacks an input, or an input is given that the method does not use.
    TypeError
        If ``dt`` is no DataTree, an input is of the wrong type, or the method has no such option.

    Warns
    -----
    UserWarning
        If a variable that ``model`` does not know looks like allocations (of one observation or
        many, padded with NaN or not) and was not named, or has a further dimension as long as
        ``dim``. If a variable was dropped that cannot be permuted but follows from permuted ones,
        such as the sticks behind the weights, or holds unconstrained values. If a group has other
        draws than the posterior, or what carries ``dim`` lacks the chains or the draws. If what has
        the name of allocations is no integers in another group.

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

    All groups with the posterior's chains and draws are permuted where they carry ``dim``, so
    component-wise arrays in ``log_likelihood`` and ``posterior_predictive`` as well, what is at the
    root of the tree or in a group below another, and coordinates.

    Deterministic variables of ``model`` are computed at every moved draw; those that have not
    followed the permutation get what was computed. In other groups they are dropped with a
    warning, as are, in all groups, the variables behind weights that cannot be permuted, and what
    is computed from them. Variables of which each component has its own, such as one Cholesky
    factor per component, exchange their values.

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
    >>> relabelled = labelswitch.relabel(dt, method="pra")
    >>> relabelled.permutations.mean("draw").values
    array([[0., 1.],
           [1., 0.]])
    >>> az.rhat(relabelled.dt)["mu"].values.round(1)
    array([1., 1.])
    """
    labels = _find(dt, model, dim, allocations, responsibilities)
    shared = {
        "dims": labels.dims,
        "model": model,
        "allocations": labels.allocations,
        "siblings": labels.siblings,
        "var_names": as_tuple(var_names, "var_names"),
        "data": data,
        "progress": progress,
    }
    draws = Draws(dt, responsibilities=responsibilities, pivot=pivot, **shared)
    trees = [] if by is None else by_group(dt, by, labels)
    if permutations is not None:
        unused = {
            "method": method,
            "responsibilities": responsibilities,
            "pivot": pivot,
            "data": data,
            "var_names": var_names,
            **options,
        }
        for name, value in unused.items():
            if value is not None:
                raise ValueError(
                    f"{name}: permutations are given, so it is not used. Leave it out."
                )
        found = _given(permutations, draws, by)
        return Relabelled(
            permutations=found,
            method="permutations",
            result=None,
            confidence=None,
            converged=True,
            dims=labels.dims,
            by=by,
            **_relabelled(draws, labels, found, by, allocations is None),
        )
    method = method or default_method(model, responsibilities, labels.allocations)
    _check_use(method, {"data": data, "pivot": pivot, "var_names": var_names})
    if by is None:
        results = [_run(draws, method, options)]
    else:
        p = draws.responsibilities if "p" in _method(method).inputs else None
        if p is not None and by not in p.dims:
            raise ValueError(
                f"by: the responsibilities lack the dimension {by!r}; they have {p.dims}."
            )
        results = [
            _run(
                Draws(
                    tree,
                    responsibilities=None if p is None else p.isel({by: index}),
                    pivot=pivot,
                    **shared,
                ),
                method,
                options,
            )
            for index, tree in enumerate(trees)
        ]
    # Draws of all chains, then groups.
    stacked = np.stack([result.permutations for result in results], axis=1)
    found = draws.as_permutations(stacked.reshape(-1, draws.n_components), by)
    sure = [result.confidence for result in results]
    confidence = None
    if all(item is not None for item in sure):
        like = without_labels(found, labels.dims[0]).isel({labels.dims[0]: 0})
        confidence = like.copy(data=np.stack(sure, axis=1).reshape(like.shape))
        confidence = confidence.rename("confidence")
    return Relabelled(
        permutations=found,
        method=method,
        result=results[0] if by is None else None,
        confidence=confidence,
        converged=all(result.converged for result in results),
        dims=labels.dims,
        by=by,
        **_relabelled(draws, labels, found, by, allocations is None),
    )


def _check_use(method: str, given: dict[str, Any]) -> None:
    """Refuse an input that the method does not read."""
    for name, value in given.items():
        if value is not None and _OPTIONAL[name] not in _method(method).inputs:
            users = [key for key, item in METHODS.items() if _OPTIONAL[name] in item.inputs]
            raise ValueError(
                f"{name}: {method!r} does not use it. Leave it out, or use {' or '.join(users)}."
            )


def compare(
    dt: xr.DataTree,
    *,
    methods: Sequence[str],
    model: pm.Model | None = None,
    dim: str | Sequence[str] | None = None,
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
        As :func:`relabel`, and if ``methods`` is empty or names one twice, or ``options`` are
        those of another method.

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
    >>> comparison = labelswitch.compare(
    ...     dt, methods=["ecr", "pra", "order"], allocations="z"
    ... )
    >>> comparison["draws_agreement"].values
    array([[1., 1., 1.],
           [1., 1., 1.],
           [1., 1., 1.]])
    >>> comparison["clusters"].sel(algorithm="order").values
    array([0, 0, 0, 0, 0, 1, 1, 1, 1, 1])
    """
    methods = as_tuple(methods, "methods")
    if not methods or len(set(methods)) < len(methods):
        raise ValueError(f"methods: different names are needed, not {list(methods)}.")
    options = options or {}
    if others := set(options) - set(methods):
        raise ValueError(
            f"options: {', '.join(map(repr, sorted(others)))} is not among the methods "
            f"({', '.join(methods)}). Its keys are names of methods."
        )
    needs = {name: _method(name).inputs for name in methods}
    if pivot is not None and not isinstance(pivot, tuple):
        raise TypeError("pivot: compare takes the labels of a draw, (chain, draw).")
    labels = _find(dt, model, dim, allocations, responsibilities)
    draws = Draws(
        dt,
        dims=labels.dims,
        model=model,
        responsibilities=responsibilities,
        allocations=labels.allocations,
        siblings=labels.siblings,
        var_names=as_tuple(var_names, "var_names"),
        pivot=pivot,
        data=data,
        progress=progress,
    )
    results, seconds = [], []
    for name, inputs in needs.items():
        for shared in {"z", "p"} & set(inputs):
            getattr(draws, shared)  # made here, so that no method's time includes it
        start = time.perf_counter()
        results.append(_run(draws, name, options.get(name, {})))
        seconds.append(time.perf_counter() - start)

    k = draws.n_components
    draws_agreement = np.array(
        [[share_alike(a.permutations, b.permutations) for b in results] for a in results]
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
    return comparison.assign_coords(draws.observation_coords)


def _clusters(draws: Draws, result: AlgorithmResult) -> np.ndarray:
    """Return the best single clustering, (n,): the mode of z or the largest mean of p."""
    k = draws.n_components
    if draws.allocation_names:
        z = apply_to_allocations(draws.z, result.permutations)
        counts = np.stack([(z == label).sum(axis=0) for label in range(k)], axis=1)
        return counts.argmax(axis=1)
    p = draws.responsibilities
    dim = next(name for name in draws.dims if name in p.dims)
    permutations = without_labels(draws.as_permutations(result.permutations), draws.dims[0])
    relabelled = permute(p, permutations, draws.dims, draws.dims[0])
    return relabelled.mean(SAMPLE_DIMS).transpose(..., dim).values.reshape(-1, k).argmax(axis=1)


def _aligned(reference: np.ndarray, labels: np.ndarray, n_labels: int) -> np.ndarray:
    """Rename labels so that most of them equal the reference."""
    counts = np.zeros((n_labels, n_labels), dtype=np.int64)
    np.add.at(counts, (labels, reference), 1)
    return linear_sum_assignment(counts, maximize=True)[1][labels]


def share_alike(first: np.ndarray, second: np.ndarray) -> float:
    """Share of draws with the same permutation, up to one relabelling of all draws of second."""
    # Where second[t, g] == first[t], g renames draw t; the most frequent g renames all draws best.
    renamings = np.take_along_axis(np.argsort(second, axis=1), first, axis=1)
    return float(np.unique(renamings, axis=0, return_counts=True)[1].max() / len(renamings))
