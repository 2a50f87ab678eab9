"""What a permutation of the components moves in the draws of a PyMC model, checked by its density.

A relabelled draw is the same point of the posterior under other names. Whether it is, the model can
tell: under exchangeable components its log posterior does not change. So the model is asked twice:
before relabelling, which dimensions index components; afterwards, whether the moved draws are what
they were. PyMC is imported inside the functions, so that ``import labelswitch`` works without it.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from labelswitch.mixture import SAMPLE_DIMS, mixture_graph, mixtures

if TYPE_CHECKING:
    import pymc as pm

# How far the log posterior of a moved draw may differ: rounding of a reordered sum, and no more.
TOLERANCE = 1e-8
# Draws at which the dimensions are looked for, and at which moved draws are checked.
N_SEARCHED, N_CHECKED = 2, 8
# Beyond as many candidates the subsets are too many to try.
MAX_CANDIDATES = 12


@dataclass(frozen=True, kw_only=True)
class Labels:
    """What carries labels in the draws of a model.

    Attributes
    ----------
    dims : tuple of str
        Dimensions that index components.
    allocations : tuple of str
        Variables that hold labels.
    siblings : tuple of tuple of str
        Variables of which each component has its own, such as one Cholesky factor per component, in
        the order of the components.
    dropped : tuple of str
        Free variables that cannot be permuted but follow from permuted ones.
    recomputed : tuple of str
        Deterministic variables that are neither permuted nor left alone.
    """

    dims: tuple[str, ...] = ()
    allocations: tuple[str, ...] = ()
    siblings: tuple[tuple[str, ...], ...] = ()
    dropped: tuple[str, ...] = ()
    recomputed: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """A model at one draw: log density by term, components of the mixture, deterministics."""

    terms: Mapping[str, float]
    components: np.ndarray | None
    deterministics: Mapping[str, np.ndarray]

    def total(self, without: Iterable[str] = ()) -> float:
        """Return the log posterior, but for the priors of some variables."""
        return sum(value for name, value in self.terms.items() if name not in set(without))


class Joint:
    """The log posterior of a model on the scale of the draws, without Jacobians.

    Parameters
    ----------
    model : pymc.Model
    given : sequence of str
        Deterministic variables that are taken from the draws instead of being computed.
    mixture : str, optional
        The name of the mixture whose components are evaluated as well.
    """

    def __init__(self, model: pm.Model, *, given: Sequence[str] = (), mixture: str | None = None):
        from pymc.logprob.basic import conditional_logp
        from pymc.pytensorf import compile as compile_pymc
        from pytensor.compile.mode import Mode
        from pytensor.graph.replace import graph_replace

        random = [*model.free_RVs, *model.observed_RVs]
        table = [] if mixture is None else list(mixture_graph(model, model[mixture]))
        latent = table.pop() if table else None
        others = [*model.potentials, *model.deterministics, *table]
        cut = {model[name]: model[name].type(name) for name in given}
        graphs = [*random, *others]
        graphs = graph_replace(graphs, cut, strict=False) if cut else graphs
        free = set(model.free_RVs)
        values = {
            graph: rv.type(rv.name) if rv in free else model.rvs_to_values[rv]
            for rv, graph in zip(random, graphs, strict=False)
        }
        by_value = conditional_logp(values, warn_rvs=False)
        terms = [by_value[value].sum() for value in values.values()]
        inputs = {rv.name: values[graph] for rv, graph in zip(random, graphs, strict=False)}
        inputs = {name: inputs[name] for name in (rv.name for rv in model.free_RVs)}
        inputs |= {given.name: given for given in cut.values()}
        rest = graph_replace(graphs[len(random) :], values, strict=False)
        n_potentials = len(model.potentials)
        terms += [potential.sum() for potential in rest[:n_potentials]]
        if latent is not None:
            rest = graph_replace(rest, {latent: inputs[mixture]}, strict=False)
        self.term_names = [rv.name for rv in random] + [rv.name for rv in model.potentials]
        self.deterministics = [rv.name for rv in model.deterministics]
        self.dtypes = {name: value.dtype for name, value in inputs.items()}
        # A few evaluations only: Python's linker, so that nothing is compiled.
        self._function = compile_pymc(
            list(inputs.values()),
            [*terms, *rest[n_potentials:]],
            mode=Mode(linker="py", optimizer="fast_compile"),
            on_unused_input="ignore",
        )
        self._has_table = bool(table)

    def missing(self, posterior: xr.Dataset) -> list[str]:
        """Name the variables that the draws lack."""
        return [name for name in self.dtypes if name not in posterior]

    def __call__(self, draw: xr.Dataset) -> Evaluation:
        """Evaluate the model at one draw, a Dataset without chain and draw."""
        arguments = [draw[name].values.astype(dtype) for name, dtype in self.dtypes.items()]
        with np.errstate(all="ignore"):
            values = self._function(*arguments)
        n_terms, n_deterministics = len(self.term_names), len(self.deterministics)
        terms = dict(zip(self.term_names, map(float, values[:n_terms]), strict=True))
        rest = values[n_terms : n_terms + n_deterministics]
        table = None
        if self._has_table:
            log_density, log_weights = values[n_terms + n_deterministics :]
            table = np.stack(np.broadcast_arrays(log_density, log_weights))
        named = dict(zip(self.deterministics, rest, strict=True))
        return Evaluation(terms=terms, components=table, deterministics=named)


# Moving ------------------------------------------------------------------------------------------


def permute(
    values: xr.DataArray, permutations: xr.DataArray, dims: Sequence[str], dim: str
) -> xr.DataArray:
    """Permute every axis of values that indexes components, with the permutation of its draw.

    ``permutations`` has the component dimension ``dim`` and any of the dimensions of values:
    chain and draw, and that of groups with labels of their own.
    """

    def kernel(block: np.ndarray, by: np.ndarray) -> np.ndarray:
        by = by.reshape((1,) * (block.ndim - by.ndim) + by.shape)
        return np.take_along_axis(block, by, axis=-1)

    outer = [name for name in permutations.dims if name != dim]
    rest = [name for name in values.dims if name not in outer]
    out = values.transpose(*rest, *outer)
    for name in (name for name in dims if name in values.dims):
        by = permutations.drop_vars(dim, errors="ignore").rename({dim: name})
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


def map_allocations(values: xr.DataArray, permutations: xr.DataArray, dim: str) -> xr.DataArray:
    """Give allocations their new labels, by the inverse of the permutation of their draw."""
    inverse = permutations.copy(data=np.argsort(permutations.values, axis=-1))
    out = inverse.drop_vars(dim, errors="ignore").isel({dim: values.astype(np.intp)})
    return values.copy(data=out.transpose(*values.dims).data.astype(values.dtype))


def move(
    dataset: xr.Dataset, permutations: xr.DataArray, labels: Labels, dim: str
) -> dict[str, xr.DataArray]:
    """Return the variables of a dataset that carry labels, permuted or mapped."""
    outer = {name for name in permutations.dims if name != dim}
    moved = {}
    for name, variable in dataset.data_vars.items():
        if not outer <= set(variable.dims) or name in (*labels.dropped, *labels.recomputed):
            continue
        if name in labels.allocations:
            variable = map_allocations(variable, permutations, dim)
        elif not set(labels.dims) & set(variable.dims):
            continue
        moved[name] = permute(variable, permutations, labels.dims, dim)
    for names in labels.siblings:
        if all(name in dataset for name in names):
            ordered = [dataset[name].transpose(*SAMPLE_DIMS, ...) for name in names]
            dims = [*SAMPLE_DIMS, *(f"_{axis}" for axis in range(2, ordered[0].ndim)), "_sibling"]
            stacked = xr.DataArray(np.stack(ordered, axis=-1), dims=dims)
            stacked = permute(stacked, permutations, ["_sibling"], dim)
            for k, name in enumerate(names):
                values = ordered[k].copy(data=stacked.isel(_sibling=k).data)
                moved[name] = values.transpose(*dataset[name].dims)
    return moved


# Before relabelling: which dimensions index components? ------------------------------------------


def _some_draws(posterior: xr.Dataset, n_wanted: int) -> xr.Dataset:
    """Take draws spread over the chains, with dimensions chain and draw."""
    chains = np.unique(np.linspace(0, posterior.sizes["chain"] - 1, n_wanted).astype(int))
    draws = np.unique(np.linspace(0, posterior.sizes["draw"] - 1, n_wanted).astype(int))
    return posterior.isel(chain=chains, draw=draws[-n_wanted:])


def _each(dataset: xr.Dataset) -> Iterable[xr.Dataset]:
    for chain, draw in itertools.product(*(range(dataset.sizes[name]) for name in SAMPLE_DIMS)):
        yield dataset.isel(chain=chain, draw=draw)


def _same(first: float, second: float, scale: float) -> bool:
    return abs(first - second) <= TOLERANCE * max(scale, 1.0)


class _Search:
    """The draws and evaluations that a search for the labels compares."""

    def __init__(self, model: pm.Model, posterior: xr.Dataset, mixture: str | None, given=()):
        self.joint = Joint(model, given=given, mixture=mixture)
        missing = self.joint.missing(posterior)
        if missing:
            raise ValueError(
                f"dt: its posterior lacks {', '.join(map(repr, missing))}, which the model needs. "
                "Pass the draws of this model with all its free variables, or leave model out and "
                "pass what the method reads; the relabelled draws are then not checked."
            )
        draws = _some_draws(posterior, N_SEARCHED)
        self.draws, self.before = draws, [self.evaluate(draw) for draw in _each(draws)]

    def evaluate(self, draw: xr.Dataset) -> Evaluation:
        try:
            return self.joint(draw)
        except Exception as error:
            error.add_note("labelswitch evaluated the model's log posterior at a draw of dt.")
            raise

    def holds(self, labels: Labels, n_components: int) -> bool:
        """Return whether moving these labels leaves the density, and takes the components along."""
        # Where there is a mixture, its components decide; priors are judged on their own.
        identity = np.arange(n_components)
        generators = [np.roll(identity, 1)]
        if n_components > 2:
            generators.append(np.r_[1, 0, identity[2:]])
        for generator in generators:
            permutations = xr.DataArray(
                np.tile(generator, (self.draws.sizes["chain"], self.draws.sizes["draw"], 1)),
                dims=(*SAMPLE_DIMS, "_component"),
            )
            moved = self.draws.assign(move(self.draws, permutations, labels, "_component"))
            for before, draw in zip(self.before, _each(moved), strict=True):
                try:
                    after = self.joint(draw)
                except Exception:  # such as a label that indexes beyond an array
                    return False
                if before.components is not None:
                    expected = before.components[..., generator]
                    if not np.allclose(
                        after.components, expected, rtol=TOLERANCE, atol=TOLERANCE, equal_nan=True
                    ):
                        return False
                else:
                    first, second = (item.total(labels.dropped) for item in (before, after))
                    if not _same(first, second, abs(first)):
                        return False
        return True


def _candidates(
    model: pm.Model, posterior: xr.Dataset, n_components: int, names: Iterable[str]
) -> tuple[list[str], list[str]]:
    """Return some variables' dimensions of length K, and those that may hold labels."""
    dims: list[str] = []
    allocations: list[str] = []
    for name in names:
        variable = posterior[name]
        dims += [
            dim
            for dim in variable.dims
            if dim not in (*SAMPLE_DIMS, *dims) and posterior.sizes[dim] == n_components
        ]
        is_label = name in model.named_vars and model[name].dtype.startswith(("int", "uint"))
        if is_label and variable.min() >= 0 and variable.max() < n_components:
            allocations.append(name)
    return dims, allocations


def _siblings(model: pm.Model, mixture, posterior: xr.Dataset) -> tuple[tuple[str, ...], ...]:
    """Find the variables of which each component of a listed mixture has its own."""
    from pytensor.graph.traversal import ancestors

    components = mixture.owner.inputs[2:]
    if len(components) == 1:
        return ()
    reads = [set(ancestors([component])) for component in components]
    variables = [*model.free_RVs, *model.deterministics]
    own: list[list[str]] = [[] for _ in components]
    for rv in variables:
        if rv.name not in posterior:
            continue
        users = [k for k, read in enumerate(reads) if rv in read]
        if not users:  # a by-product of one component's variables, such as its correlations
            above = set(ancestors([rv]))
            random = [free for free in model.free_RVs if free in above]
            users = [
                k for k, read in enumerate(reads) if random and all(free in read for free in random)
            ]
        if len(users) == 1:
            own[users[0]].append(rv.name)
    shapes = [[posterior[name].shape for name in names] for names in own]
    if not own[0] or any(shape != shapes[0] for shape in shapes):
        return ()
    return tuple(zip(*own, strict=True))


def _subsets(items: Sequence, smallest: int) -> Iterable[tuple]:
    for size in range(smallest, len(items) + 1):
        yield from itertools.combinations(items, size)


def _minimal(
    search: _Search,
    n_components: int,
    dims: list[str],
    allocations: list[str],
    base: Labels,
) -> list[Labels]:
    """Return the smallest sets of candidates that may be permuted, disjoint from each other."""
    items = [*dims, *allocations]
    if len(items) > MAX_CANDIDATES:
        raise ValueError(
            f"dim: {len(items)} dimensions and variables could carry labels; name those that do."
        )
    # The most common answer is all of them; then nothing smaller has to be tried one by one.
    found: list[set] = []
    for chosen in _subsets(items, 0 if base.siblings else 1):
        if any(one <= set(chosen) for one in found):
            continue
        labels = replace(
            base,
            dims=tuple(item for item in chosen if item in dims),
            allocations=tuple(item for item in chosen if item in allocations),
        )
        if search.holds(labels, n_components):
            found.append(set(chosen))
    return [
        replace(
            base,
            dims=tuple(item for item in dims if item in one),
            allocations=tuple(item for item in allocations if item in one),
        )
        for one in found
    ]


def find_labels(
    model: pm.Model,
    posterior: xr.Dataset,
    *,
    var_name: str | None = None,
    dims: Sequence[str] = (),
    allocations: Sequence[str] | None = None,
) -> Labels:
    """Find out what a permutation of the components has to move.

    Every set of dimensions of the right length is tried: the right one takes the components of the
    mixture along (where the model has no mixture: leaves the log posterior as it is).

    Parameters
    ----------
    model : pymc.Model
    posterior : xarray.Dataset
        Draws with all free variables.
    var_name : str, optional
        The mixture, where the model has several.
    dims : sequence of str, optional
        Dimensions that are known to index components.
    allocations : sequence of str, optional
        Variables that are known to hold labels. By default they are looked for.

    Returns
    -------
    Labels

    Raises
    ------
    ValueError
        If no set, or more than one, does; the message names the variables that do not follow.
    """
    found = mixtures(model)
    if var_name is not None:
        found = [model[var_name]]
    free = [rv.name for rv in model.free_RVs]
    results: list[Labels] = []
    searches = []
    for mixture in found or [None]:
        search = _Search(model, posterior, None if mixture is None else mixture.name)
        searches.append(search)
        if mixture is not None:
            sizes = [search.before[0].components.shape[-1]]
        elif dims:
            sizes = [posterior.sizes[dims[0]]]
        else:
            carried = [posterior[name].sizes[d] for name in free for d in posterior[name].dims[2:]]
            sizes = sorted({size for size in carried if size > 1})
        base = Labels(siblings=() if mixture is None else _siblings(model, mixture, posterior))
        for size in sizes:
            near, labelled = _candidates(model, posterior, size, free)
            labelled = labelled if allocations is None else [*allocations]
            found_here = _minimal(search, size, near, labelled, base)
            results += [item for item in found_here if item not in results]
            if not found_here and mixture is not None:
                results += _behind_deterministics(
                    model, posterior, mixture.name, size, labelled, base
                )
    results = _merged(results)
    if dims:
        matching = [item for item in results if set(dims) & set(item.dims)]
        results = matching or results
    if len(results) > 1:
        listing = "; ".join(", ".join((*item.dims, *item.allocations)) for item in results)
        raise ValueError(
            "dim: the model has several kinds of components whose labels are independent of each "
            f"other ({listing}). Name the dimensions of one of them in dim, and relabel the others "
            "in a second call."
        )
    if not results:
        raise ValueError(_why_none(model, posterior, found, searches[0], dims))
    labels = results[0]
    lacking = [name for name in labels.dims if dims and name not in dims]
    wrong = [name for name in dims if name not in labels.dims and _is_free(model, posterior, name)]
    if lacking or wrong:
        does_not = f" {', '.join(map(repr, wrong))} does not index components." if wrong else ""
        raise ValueError(
            f"dim: labels are carried by {', '.join(map(repr, labels.dims))}; dim names "
            f"{', '.join(map(repr, dims))}, which would relabel half of a draw.{does_not} Leave "
            f"dim out, or pass dim={list(labels.dims)}."
        )
    return _with_deterministics(model, posterior, searches, labels, dims)


def _merged(results: list[Labels]) -> list[Labels]:
    """Join the labels of mixtures that share a variable, and so share their labels."""
    merged: list[Labels] = []
    for item in results:
        for other in [one for one in merged if _carriers(one) & _carriers(item)]:
            merged.remove(other)
            joined = {
                name: tuple(dict.fromkeys([*getattr(other, name), *getattr(item, name)]))
                for name in ("dims", "allocations", "siblings", "dropped")
            }
            item = replace(item, **joined)
        merged.append(item)
    return merged


def _carriers(labels: Labels) -> set:
    return {*labels.dims, *labels.allocations, *labels.siblings}


def _is_free(model: pm.Model, posterior: xr.Dataset, dim: str) -> bool:
    return any(dim in posterior[rv.name].dims for rv in model.free_RVs)


def _behind_deterministics(
    model: pm.Model,
    posterior: xr.Dataset,
    mixture: str,
    n_components: int,
    allocations: list[str],
    base: Labels,
) -> list[Labels]:
    """Look for labels with deterministic variables taken as given, such as w of stick-breaking."""
    given = [
        rv.name
        for rv in model.deterministics
        if rv.name in posterior and n_components in posterior[rv.name].shape[2:]
    ]
    if not given:
        return []
    search = _Search(model, posterior, mixture, given)
    hidden = _unread(model, given)
    names = [rv.name for rv in model.free_RVs if rv.name not in hidden]
    dims, _ = _candidates(model, posterior, n_components, [*names, *given])
    if not hidden:
        return []
    found = _minimal(search, n_components, dims, allocations, replace(base, dropped=hidden))
    return [item for item in found if item.dims]


def _unread(model: pm.Model, given: Sequence[str]) -> tuple[str, ...]:
    """Name the free variables that data and potentials read through deterministic ones only."""
    from pytensor.graph.replace import graph_replace
    from pytensor.graph.traversal import ancestors

    cut = {model[name]: model[name].type(name) for name in given}
    outputs = [*model.observed_RVs, *model.potentials]
    upstream = set(ancestors(outputs))
    graphs = graph_replace([*outputs, *model.free_RVs], cut, strict=False)
    free = dict(zip(model.free_RVs, graphs[len(outputs) :], strict=True))
    left = set(ancestors(graphs[: len(outputs)]))
    direct = {
        rv.name
        for rv, graph in free.items()
        if rv in upstream and rv not in left and graph not in left
    }
    # A hyperparameter of a hidden variable stays: it has a term, and a meaning, of its own.
    feeds = {
        rv.name
        for rv in model.free_RVs
        if any(rv in set(ancestors([model[name]])) - {model[name]} for name in given)
    }
    parents = {
        rv.name
        for rv in model.free_RVs
        for child in model.free_RVs
        if child is not rv and rv in set(ancestors([child])) and child.name in direct
    }
    return tuple(rv.name for rv in model.free_RVs if rv.name in (direct & feeds) - parents)


def _with_deterministics(
    model: pm.Model,
    posterior: xr.Dataset,
    searches: Sequence[_Search],
    labels: Labels,
    dims: Sequence[str],
) -> Labels:
    """Add the dimensions of deterministic variables that follow, and list those that do not."""
    search = searches[0]
    size = (
        posterior.sizes[labels.dims[0]]
        if labels.dims
        else len(labels.siblings[0])
        if labels.siblings
        else int(max(posterior[name].max() for name in labels.allocations)) + 1
    )
    names = [rv.name for rv in model.deterministics if rv.name in posterior]
    names = [name for name in names if name not in {n for pair in labels.siblings for n in pair}]
    draws = search.draws
    generator = np.roll(np.arange(size), 1)
    shape = (draws.sizes["chain"], draws.sizes["draw"], 1)
    permutations = xr.DataArray(np.tile(generator, shape), dims=(*SAMPLE_DIMS, "_component"))
    moved = draws.assign(move(draws, permutations, labels, "_component"))
    joint = search.joint
    if labels.dropped:  # the variables behind which they hide are as given
        given = [name for name in names if set(labels.dims) & set(posterior[name].dims)]
        joint = Joint(model, given=given)
        names = [name for name in names if name not in given]
    computed = [joint(draw).deterministics for draw in _each(moved)]
    found, recomputed = list(labels.dims), []
    for name in names:
        variable = draws[name]
        free = [d for d in variable.dims[2:] if variable.sizes[d] == size]
        target = np.array([item[name] for item in computed])
        options = sorted(_subsets(free, 0), key=len, reverse=True)
        for chosen in options:
            as_moved = permute(variable, permutations, chosen, "_component") if chosen else variable
            flat = as_moved.transpose(*SAMPLE_DIMS, ...).values.reshape(target.shape)
            if np.allclose(flat, target, rtol=1e-6, atol=1e-9 * np.abs(target).max(initial=0)):
                if set(chosen) != set(free) & {*labels.dims, *dims}:
                    shared = set(free) & set(labels.dims) - set(chosen)
                    if shared:  # carries the dimension but does not move, as sorted means do
                        recomputed.append(name)
                        break
                found += [d for d in chosen if d not in found]
                break
        else:
            recomputed.append(name)
    return replace(labels, dims=tuple(found), recomputed=tuple(recomputed))


# What to say ---------------------------------------------------------------------------------


def _why_none(
    model: pm.Model,
    posterior: xr.Dataset,
    found: Sequence,
    search: _Search,
    dims: Sequence[str],
) -> str:
    """Say which variables keep a permutation of the components from being one."""
    from pytensor.graph.traversal import ancestors

    if not found and not dims:
        return (
            "model: no dimension was found that can be permuted without changing the log "
            "posterior, and it has no pm.Mixture of like components that would tell where to look. "
            "The parts of a zero-inflated or hurdle distribution cannot exchange their labels. "
            "Name the dimensions of the components in dim, and sampled labels in allocations."
        )
    free = model.free_RVs
    if found:
        upstream = set(ancestors(found[0].owner.inputs))
        free = [rv for rv in free if rv in upstream and rv is not found[0]]
        size = search.before[0].components.shape[-1]
    else:
        size = posterior.sizes[dims[0]]
    carried = [rv.name for rv in free if size in posterior[rv.name].shape[2:]]
    short = [rv.name for rv in free if size - 1 in posterior[rv.name].shape[2:]]
    others = [rv.name for rv in free if rv.name not in (*carried, *short)]
    sentences = [
        f"model: no permutation of {', '.join(map(repr, carried)) or 'any variable'} takes the "
        f"{size} components along, so a relabelled draw would be another point of the posterior."
    ]
    if short:
        sentences.append(
            f"{', '.join(map(repr, short))} with {size} - 1 elements cannot be permuted. Store "
            "what is computed from it with one element for each component, such as "
            "w = pm.Deterministic('w', ..., dims='component')."
        )
    if others:
        sentences.append(
            f"{', '.join(map(repr, others))}: not one element for each component. Variables of "
            "single components must be alike in all of them: the same number, each of the same "
            "shape, or stacked in one variable with a dimension of the components."
        )
    if not short and not others:
        sentences.append(
            "The components are not alike: constants of the model, such as fixed weights, known "
            "means or different families, tell them apart, so their labels have a meaning already."
        )
    return " ".join(sentences)


def check_moved(
    model: pm.Model,
    labels: Labels,
    before: xr.Dataset,
    after: xr.Dataset,
    moved: np.ndarray,
) -> None:
    """Raise where a relabelled draw is not the point of the posterior that it was.

    Parameters
    ----------
    model : pymc.Model
    labels : Labels
    before, after : xarray.Dataset
        The posterior as sampled and relabelled.
    moved : (chain, draw) bool array
        The draws whose permutation is not the identity.

    Raises
    ------
    ValueError
        If the log posterior of a moved draw differs by more than rounding, or is not finite.
    """
    where = np.argwhere(moved)
    if not len(where):
        return
    ordered = _ordered(model, labels, before)
    if ordered:
        raise ValueError(
            f"model: {', '.join(map(repr, ordered))} has an ordered transform, so its labels have "
            "a meaning already, and a relabelled draw would leave the support of the posterior. "
            f"Relabelling would move {len(where)} draws. Use the draws as they are, or sample "
            "without the transform."
        )
    given = [
        rv.name
        for rv in model.deterministics
        if labels.dropped and rv.name in before and set(labels.dims) & set(before[rv.name].dims)
    ]
    joint = Joint(model, given=given)
    spread = where[np.unique(np.linspace(0, len(where) - 1, N_CHECKED).astype(int))]
    for chain, draw in spread:
        one, two = (
            joint(dataset.isel(chain=chain, draw=draw).assign(_kept(before, labels, chain, draw)))
            for dataset in (before, after)
        )
        first, second = one.total(labels.dropped), two.total(labels.dropped)
        if not np.isfinite(first):
            bad = [name for name, value in one.terms.items() if not np.isfinite(value)]
            raise ValueError(
                f"dt: the log posterior of draw {draw} of chain {chain} (counted from 0) is "
                f"{first}, because of {', '.join(map(repr, bad))}. Do the draws belong to this "
                "model and its data?"
            )
        if _same(first, second, abs(first)):
            continue
        changed = [
            name
            for name in one.terms
            if name not in labels.dropped
            and not _same(one.terms[name], two.terms[name], abs(one.terms[name]))
        ]
        free = {rv.name for rv in model.free_RVs}
        if set(changed) <= free:
            raise ValueError(
                f"model: the priors of {', '.join(map(repr, changed))} differ between the "
                "components. Relabelling its draws changes their density (log posterior "
                f"{first:.6g} before, {second:.6g} after), and its labels have a meaning already. "
                "Use the draws as they are; if chains sit in another labelling, they have not "
                "converged. To relabel all the same, give all components the same prior."
            )
        raise ValueError(
            f"model: the log posterior of draw {draw} of chain {chain} (counted from 0) changes "
            f"from {first:.8g} to {second:.8g} when the components are permuted; the terms that "
            f"change are {', '.join(map(repr, changed))}. Something that carries labels did not "
            "move, or constants such as fixed weights tell the components apart."
        )


def _kept(before: xr.Dataset, labels: Labels, chain: int, draw: int) -> dict[str, xr.DataArray]:
    """Return the dropped variables of a draw: the model is called with them, nothing reads them."""
    return {name: before[name].isel(chain=chain, draw=draw) for name in labels.dropped}


def _ordered(model: pm.Model, labels: Labels, posterior: xr.Dataset) -> list[str]:
    """Name the moved free variables whose transform orders them."""
    return [
        rv.name
        for rv in model.free_RVs
        if "ordered" in repr(_parts(model.rvs_to_transforms.get(rv))).lower()
        and set(labels.dims) & set(posterior[rv.name].dims)
    ]


def _parts(transform) -> list[str]:
    """Name the classes of a transform and of those that it chains."""
    parts = getattr(transform, "transform_list", [transform])
    return [type(part).__name__ for part in parts]


def recompute(
    model: pm.Model, dataset: xr.Dataset, names: Sequence[str], moved: np.ndarray
) -> dict[str, xr.DataArray]:
    """Compute deterministic variables anew at the moved draws."""
    joint = Joint(model)
    out = {name: dataset[name].transpose(*SAMPLE_DIMS, ...).copy(deep=True) for name in names}
    for chain, draw in np.argwhere(moved):
        values = joint(dataset.isel(chain=chain, draw=draw)).deterministics
        for name in names:
            out[name].values[chain, draw] = values[name]
    return {name: out[name].transpose(*dataset[name].dims) for name in names}
