"""What a permutation of the components moves in the draws of a PyMC model, checked by its density.

A relabelled draw is the same point of the posterior under other names. Whether it is, the model can
tell: under exchangeable components its log posterior does not change. So the model is asked twice:
before relabelling, which dimensions index components; afterwards, whether the moved draws are what
they were. PyMC is imported inside the functions, so that ``import labelswitch`` works without it.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from labelswitch.draws import are_weights, stack_siblings
from labelswitch.mixture import SAMPLE_DIMS, kind, mixture_graph, mixtures, observation_dims
from labelswitch.validation import type_that_holds

if TYPE_CHECKING:
    import pymc as pm

# How far the log posterior of a moved draw may differ: rounding of a reordered sum, and no more.
TOLERANCE = 1e-8
# Draws at which the dimensions are looked for, and at which moved draws are checked.
N_SEARCHED, N_CHECKED = 2, 8
# Draws of which the spread of a variable is taken.
N_SPREAD = 100
# Evaluated as often, a loop is compiled: Python's would take longer than the sampling.
N_COMPILED = 100
# Of weights with respect to what stands behind them, as many as fit into memory.
MAX_DERIVATIVES = 10_000_000
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
        Free variables that cannot be permuted but follow from permuted ones, and deterministic
        variables that are computed from these.
    given : tuple of str
        The deterministic variables behind which the dropped ones hide: what the data read of them.
    recomputed : tuple of str
        Deterministic variables that are neither permuted nor left alone.
    """

    dims: tuple[str, ...] = ()
    allocations: tuple[str, ...] = ()
    siblings: tuple[tuple[str, ...], ...] = ()
    dropped: tuple[str, ...] = ()
    given: tuple[str, ...] = ()
    recomputed: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """A model at one draw: log density by term, components of the mixture."""

    priors: Mapping[str, float]
    potentials: Mapping[str, float]
    data: Mapping[str, float]
    components: np.ndarray | None


class Joint:
    """The log posterior of a model on the scale of the draws, without Jacobians.

    Parameters
    ----------
    model : pymc.Model
    given : sequence of str
        Deterministic variables that are taken from the draws instead of being computed.
    mixture : str, optional
        The name of the mixture whose components are evaluated as well.
    n_draws : int, optional
        At how many draws it will be evaluated.
    """

    def __init__(
        self,
        model: pm.Model,
        *,
        given: Sequence[str] = (),
        mixture: str | None = None,
        n_draws: int = 1,
    ):
        from pymc.logprob.basic import conditional_logp
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
        n_free, n_potentials = len(model.free_RVs), len(model.potentials)
        potentials = [potential.sum() for potential in rest[:n_potentials]]
        if latent is not None:
            rest = graph_replace(rest, {latent: inputs[mixture]}, strict=False)
        names = [rv.name for rv in random]
        computed = rest[n_potentials : n_potentials + len(model.deterministics)]
        self.inputs = inputs
        self._n_draws = n_draws
        self._outputs = {
            "priors": dict(zip(names[:n_free], terms[:n_free], strict=True)),
            "potentials": {
                rv.name: term for rv, term in zip(model.potentials, potentials, strict=True)
            },
            "data": dict(zip(names[n_free:], terms[n_free:], strict=True)),
            "components": dict(enumerate(rest[n_potentials + len(model.deterministics) :])),
            "deterministics": {
                rv.name: graph for rv, graph in zip(model.deterministics, computed, strict=True)
            },
        }
        self._functions: dict[str, Callable] = {}

    def missing(self, posterior: xr.Dataset) -> list[str]:
        """Name the variables that the draws lack."""
        return [name for name in self.inputs if name not in posterior]

    def values(self, part: str, draw: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Evaluate one part at one draw.

        It is one of "priors", "potentials", "data", "components" and "deterministics".
        """
        from pymc.pytensorf import compile as compile_pymc
        from pytensor.compile.mode import Mode
        from pytensor.graph.traversal import ancestors
        from pytensor.scan.op import Scan

        outputs = self._outputs[part]
        if not outputs:
            return {}
        if part not in self._functions:
            loops = self._n_draws >= N_COMPILED and any(
                variable.owner is not None and isinstance(variable.owner.op, Scan)
                for variable in ancestors(list(outputs.values()))
            )
            # Python's linker otherwise, so that nothing is compiled.
            self._functions[part] = compile_pymc(
                list(self.inputs.values()),
                list(outputs.values()),
                mode=None if loops else Mode(linker="py", optimizer="fast_compile"),
                on_unused_input="ignore",
            )
        arguments = [
            np.asarray(draw[name]).astype(value.dtype) for name, value in self.inputs.items()
        ]
        with np.errstate(all="ignore"):
            return dict(zip(outputs, self._functions[part](*arguments), strict=True))

    def is_random(self, name: str) -> bool:
        """Return whether a deterministic variable is drawn anew at each evaluation."""
        return is_random(self._outputs["deterministics"][name])

    def reads(self, names: Iterable[str]) -> list[str]:
        """Name the deterministic variables that are computed from any of these inputs."""
        from pytensor.graph.traversal import ancestors

        inputs = {self.inputs[name] for name in names}
        computed = self._outputs["deterministics"]
        return [name for name, graph in computed.items() if inputs & set(ancestors([graph]))]

    def __call__(self, draw: Mapping[str, np.ndarray]) -> Evaluation:
        """Evaluate the log posterior and the components at one draw."""
        found = {
            part: {name: float(value) for name, value in self.values(part, draw).items()}
            for part in ("priors", "potentials", "data")
        }
        table = None
        if self._outputs["components"]:
            log_density, log_weights = self.values("components", draw).values()
            table = np.stack(np.broadcast_arrays(log_density, log_weights))
        return Evaluation(components=table, **found)


def is_random(graph) -> bool:
    """Return whether a graph draws random numbers."""
    from pytensor.graph.traversal import ancestors
    from pytensor.tensor.random.type import RandomType

    return any(isinstance(variable.type, RandomType) for variable in ancestors([graph]))


def check_data(model: pm.Model, groups: Iterable[xr.Dataset]) -> None:
    """Raise where the data that the model has now are not those stored with the draws."""
    from pymc.pytensorf import extract_obs_data
    from pytensor.graph.traversal import ancestors

    graphs = {rv.name: model.rvs_to_values[rv] for rv in model.observed_RVs}
    variables = [*model.basic_RVs, *model.deterministics, *model.potentials, *graphs.values()]
    read = set(ancestors(variables))
    # What serves as a start of the chains only may have changed.
    graphs |= {data.name: data for data in model.data_vars if data in read}
    other = set()
    for dataset in groups:
        for name in graphs.keys() & dataset.data_vars.keys():
            try:
                now = None if is_random(graphs[name]) else extract_obs_data(graphs[name])
            except TypeError:  # what is not known before sampling
                continue
            if now is not None and not _close(dataset[name].values, np.asarray(now)):
                other.add(name)
    if other:
        raise ValueError(
            f"model: its data {', '.join(map(repr, sorted(other)))} are not those that dt holds. "
            "The draws belong to the data that were sampled: set these back with pm.set_data, or "
            "pass the model that was sampled."
        )


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
        if out.chunks is not None:  # a block must hold all components
            out = out.chunk({name: -1})
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
    """Give allocations their new labels, by the inverse of the permutation of their draw.

    In a wider type where theirs does not hold all of them.
    """
    size = permutations.sizes[dim]
    if values.size and not (values.min() >= 0 and values.max() < size):
        raise ValueError(
            f"allocations: {values.name!r} holds labels from {int(values.min())} to "
            f"{int(values.max())} in one of the groups, but {size} components have the labels 0 to "
            f"{size - 1}. Mend or drop it there."
        )
    inverse = permutations.copy(data=np.argsort(permutations.values, axis=-1))
    labels = values.astype(np.intp).load()
    out = inverse.drop_vars(dim, errors="ignore").isel({dim: labels})
    kind = type_that_holds(values.dtype, size)
    if kind != values.dtype:
        values = values.astype(kind)  # without the encoding, whose type is the narrow one
    return values.copy(data=out.transpose(*values.dims).data.astype(kind))


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
            stacked = permute(stack_siblings(dataset, names), permutations, ["_sibling"], dim)
            for k, name in enumerate(names):
                ordered = dataset[name].transpose(*SAMPLE_DIMS, ...)
                values = ordered.copy(data=stacked.isel(_sibling=k).data)
                moved[name] = values.transpose(*dataset[name].dims)
    return moved


# Before relabelling: which dimensions index components? ------------------------------------------


def _some_draws(
    posterior: xr.Dataset, n_wanted: int, names: Sequence[str], alike: Iterable[Sequence[str]]
) -> xr.Dataset:
    """Take draws spread over the chains, with dimensions chain (of length one) and draw.

    What is the same in all components looks as if it need not move. So further draws are taken
    until each variable differs along each of its dimensions, variables that are alike differ from
    each other, and discrete ones change, wherever there are draws at which they do.
    """
    lead = tuple(posterior.sizes[name] for name in SAMPLE_DIMS)
    ends = [np.unique(np.linspace(0, size - 1, n_wanted).astype(int)) for size in lead]
    chosen = [chain * lead[1] + draw for chain, draw in itertools.product(*ends)]
    differ = []
    for name in names:
        values = posterior[name].transpose(*SAMPLE_DIMS, ...).values
        differ += [
            _unequal(values, axis) for axis in range(2, values.ndim) if values.shape[axis] > 1
        ]
        if values.dtype.kind in "iub":
            differ.append((values != values[:1, :1]).reshape(*lead, -1).any(axis=2))
    differ += [_unequal(stack_siblings(posterior, group).values, -1) for group in alike]
    for where in differ:
        found = np.flatnonzero(where)
        if len(found) and not where.ravel()[chosen].any():
            chosen.append(int(found[len(found) // 2]))
    at = np.unravel_index(chosen, lead)
    index = {
        name: xr.DataArray(item, dims="draw") for name, item in zip(SAMPLE_DIMS, at, strict=True)
    }
    return posterior.drop_vars(SAMPLE_DIMS, errors="ignore").isel(index).expand_dims("chain")


def _unequal(values: np.ndarray, axis: int) -> np.ndarray:
    """Return at which draws the entries along an axis are not all equal."""
    other = values != np.take(values, [0], axis=axis)
    return other.reshape(*values.shape[:2], -1).any(axis=2)


def _alike_in_kind(model: pm.Model, names: Iterable[str], posterior: xr.Dataset) -> list[tuple]:
    """Group variables of the same distribution and shape, as those of single components are."""
    groups: dict[tuple, list[str]] = {}
    for name in names:
        groups.setdefault((kind(model[name]), posterior[name].shape), []).append(name)
    return [tuple(group) for group in groups.values()]


def _each(dataset: xr.Dataset) -> Iterable[xr.Dataset]:
    for chain, draw in itertools.product(*(range(dataset.sizes[name]) for name in SAMPLE_DIMS)):
        yield dataset.isel(chain=chain, draw=draw)


def _generators(size: int) -> list[np.ndarray]:
    """Return a cycle and an exchange, of which every permutation is composed."""
    identity = np.arange(size)
    return [np.roll(identity, 1), *([np.r_[1, 0, identity[2:]]] if size > 2 else [])]


def _alike(first: Mapping[str, float], second: Mapping[str, float]) -> bool:
    """Return whether some terms of a log density have the same sum, but for rounding."""
    scale = sum(abs(value) for value in first.values())
    change = sum(second[name] - value for name, value in first.items())
    return abs(change) <= TOLERANCE * max(scale, 1.0)


def _without(terms: Mapping[str, float], labels: Labels) -> dict[str, float]:
    return {name: value for name, value in terms.items() if name not in labels.dropped}


class _Search:
    """The draws and evaluations that a search for the labels compares."""

    def __init__(self, model: pm.Model, posterior: xr.Dataset, mixture: str | None, given=()):
        self.mixture = mixture
        self.joint = Joint(model, given=given, mixture=mixture)
        missing = self.joint.missing(posterior)
        if missing:
            raise ValueError(
                f"dt: its posterior lacks {', '.join(map(repr, missing))}, which the model needs. "
                "Pass the draws of this model with all its free variables, or leave model out and "
                "pass what the method reads; the relabelled draws are then not checked."
            )
        free = [rv.name for rv in model.free_RVs]
        alike = [group for group in _alike_in_kind(model, free, posterior) if len(group) > 1]
        draws = _some_draws(posterior, N_SEARCHED, list(self.joint.inputs), alike)
        self.draws, self.before = draws, [self.evaluate(draw) for draw in _each(draws)]

    def evaluate(self, draw: xr.Dataset) -> Evaluation:
        try:
            return self.joint(draw)
        except Exception as error:
            error.add_note("labelswitch evaluated the model's log posterior at a draw of dt.")
            raise

    def moved(self, labels: Labels, n_components: int) -> Iterable[tuple[np.ndarray, xr.Dataset]]:
        """Yield permutations that generate all others, and the draws that each has moved."""
        for generator in _generators(n_components):
            shape = (self.draws.sizes["chain"], self.draws.sizes["draw"], 1)
            permutations = xr.DataArray(
                np.tile(generator, shape), dims=(*SAMPLE_DIMS, "_component")
            )
            yield generator, self.draws.assign(move(self.draws, permutations, labels, "_component"))

    def holds(self, labels: Labels, n_components: int, others: bool = False) -> bool:
        """Return whether moving these labels leaves the density, and takes the components along.

        Where there is a mixture its components decide; with `others`, all other terms as well.
        """
        for generator, moved in self.moved(labels, n_components):
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
                if before.components is None or others:
                    first, second = (_without(item.priors, labels) for item in (before, after))
                    if not _alike(first, second):
                        return False
                    first, second = ({**item.data, **item.potentials} for item in (before, after))
                    # Beside the mixture, which the components have judged, other data go under.
                    first.pop(self.mixture, None)
                    if not _alike(first, second):
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


def _siblings(
    model: pm.Model, mixture, posterior: xr.Dataset, size: int
) -> list[tuple[tuple[str, ...], ...]]:
    """Find free variables of which each component may have its own; return what to try.

    In a list of components each reads its own; they are paired in the order in which they were
    declared, or in which the components read them. Where components are batched, as many variables
    as there are components, alike in distribution and shape, may have been stacked. What is
    computed from them is not permuted but computed anew.
    """
    from pytensor.graph.traversal import ancestors

    components = mixture.owner.inputs[2:]
    if len(components) > 1:
        free = set(model.free_RVs)
        reads = [list(dict.fromkeys(ancestors([component]))) for component in components]
        users = Counter(itertools.chain(*reads))
        read = [[rv for rv in graph if rv in free and users[rv] == 1] for graph in reads]
        declared = [[rv for rv in model.free_RVs if rv in set(one)] for one in read]
        options = []
        for own in (declared, read):  # the first may be mixed up, the second written otherwise
            names = [[rv.name for rv in one] for one in own]
            shapes = [[posterior[name].shape for name in one] for one in names]
            if names[0] and all(shape == shapes[0] for shape in shapes):
                options.append(tuple(zip(*names, strict=True)))
        return options or [()]
    upstream = set(ancestors(mixture.owner.inputs))
    read = [rv.name for rv in model.free_RVs if rv in upstream and rv is not mixture]
    groups = [names for names in _alike_in_kind(model, read, posterior) if len(names) == size]
    return [(), *_subsets(groups, 1)]


def _subsets(items: Sequence, smallest: int) -> Iterable[tuple]:
    for size in range(smallest, len(items) + 1):
        yield from itertools.combinations(items, size)


def _minimal(
    search: _Search,
    n_components: int,
    dims: list[str],
    allocations: list[str],
    base: Labels,
    named: bool = False,
) -> list[Labels]:
    """Return the smallest sets of candidates that may be permuted, disjoint from each other.

    Where they are too many to try, those that the caller has named are tried together.
    """
    items = [*dims, *allocations]
    if len(items) > MAX_CANDIDATES and named:
        together = replace(base, dims=tuple(dims), allocations=tuple(allocations))
        return [together] if search.holds(together, n_components) else []
    if len(items) > MAX_CANDIDATES:
        raise ValueError(
            f"dim: {len(items)} dimensions and variables could carry labels; name those that do."
        )

    def labels(chosen: Iterable[str]) -> Labels:
        return replace(
            base,
            dims=tuple(item for item in dims if item in chosen),
            allocations=tuple(item for item in allocations if item in chosen),
        )

    smallest = 0 if base.siblings else 1

    def holds(chosen: Sequence[str]) -> bool:
        return len(chosen) >= smallest and search.holds(labels(chosen), n_components)

    found: list[tuple] = []
    # Most often all belong together, or have nothing to do with the components of the mixture.
    if search.before[0].components is not None:
        rest = tuple(items)
        while holds(rest):
            found.append(_shrunk(rest, holds))
            if not found[-1]:  # the variables of single components are all
                break
            rest = tuple(item for item in rest if item not in found[-1])
    if not found:
        for chosen in _subsets(items, smallest):
            if not any(set(one) <= set(chosen) for one in found) and holds(chosen):
                found.append(chosen)
    return [labels(one) for one in found]


def _shrunk(items: tuple, holds: Callable[[Sequence[str]], bool]) -> tuple:
    """Leave out one item, or two at a time, wherever the others still hold."""
    for left_out in itertools.chain(*(itertools.combinations(items, n) for n in (1, 2))):
        fewer = tuple(item for item in items if item not in left_out)
        if holds(fewer):
            return _shrunk(fewer, holds)
    return items


def find_labels(
    model: pm.Model,
    posterior: xr.Dataset,
    *,
    var_name: str | None = None,
    dims: Sequence[str] = (),
    allocations: Sequence[str] | None = None,
    groups: Mapping[str, xr.Dataset] | None = None,
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
    groups : dict of str to xarray.Dataset, optional
        All groups of these draws, the posterior among them.

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
        for size in sizes:
            near, labelled = _candidates(model, posterior, size, free)
            labelled = labelled if allocations is None else [*allocations]
            if len(near) + len(labelled) > MAX_CANDIDATES and dims:
                near = [name for name in near if name in dims]
            found_here: list[Labels] = []
            for siblings in [()] if mixture is None else _siblings(model, mixture, posterior, size):
                base = Labels(siblings=siblings)
                found_here = found_here or _minimal(search, size, near, labelled, base, bool(dims))
            if not found_here and mixture is not None:
                found_here = _behind_deterministics(model, posterior, mixture.name, size, labelled)
            found_here = [_with_others(search, size, near, labelled, item) for item in found_here]
            results += [item for item in found_here if item not in results]
    _check_independent(model, posterior, found, results)
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
    return _with_deterministics(model, groups or {"posterior": posterior}, searches[0], labels)


def _merged(results: list[Labels]) -> list[Labels]:
    """Join the labels of mixtures that share a variable, and so share their labels."""
    merged: list[Labels] = []
    for item in results:
        for other in [one for one in merged if _carriers(one) & _carriers(item)]:
            merged.remove(other)
            joined = {
                name: tuple(dict.fromkeys([*getattr(other, name), *getattr(item, name)]))
                for name in ("dims", "allocations", "siblings", "dropped", "given")
            }
            item = replace(item, **joined)
        merged.append(item)
    return merged


def _carriers(labels: Labels) -> set:
    return {*labels.dims, *labels.allocations, *labels.siblings}


def _is_free(model: pm.Model, posterior: xr.Dataset, dim: str) -> bool:
    return any(dim in posterior[rv.name].dims for rv in model.free_RVs)


def _check_independent(
    model: pm.Model, posterior: xr.Dataset, found: Sequence, results: Sequence[Labels]
) -> None:
    """Refuse two mixtures that share a dimension and no variable: their labels are independent."""
    from pytensor.graph.traversal import ancestors

    dims = {dim for item in results for dim in item.dims}
    carriers = {}
    for mixture in found:
        upstream = set(ancestors(mixture.owner.inputs))
        carriers[mixture.name] = {
            rv.name: set(posterior[rv.name].dims) & dims
            for rv in model.free_RVs
            if rv in upstream and set(posterior[rv.name].dims) & dims
        }
    for (one, first), (two, second) in itertools.combinations(carriers.items(), 2):
        shared = set().union(*first.values()) & set().union(*second.values())
        if shared and not set(first) & set(second):
            raise ValueError(
                f"dim: the mixtures {one!r} and {two!r} share the dimension {sorted(shared)[0]!r} "
                "but no variable, so their labels are independent of each other and one "
                "permutation cannot serve both. Give the components of each a dimension of its "
                "own, and relabel in two calls."
            )


def _with_others(
    search: _Search, size: int, dims: list[str], allocations: list[str], labels: Labels
) -> Labels:
    """Add what other terms need: variables of components that the mixture does not read."""
    if search.holds(labels, size, others=True):
        return labels
    more = [
        item for item in (*dims, *allocations) if item not in (*labels.dims, *labels.allocations)
    ]
    for chosen in _subsets(more[:MAX_CANDIDATES], 1):
        wider = replace(
            labels,
            dims=(*labels.dims, *(item for item in chosen if item in dims)),
            allocations=(*labels.allocations, *(item for item in chosen if item in allocations)),
        )
        if search.holds(wider, size, others=True):
            return wider
    return labels  # the moved draws will tell


def _behind_deterministics(
    model: pm.Model,
    posterior: xr.Dataset,
    mixture: str,
    n_components: int,
    allocations: list[str],
) -> list[Labels]:
    """Look for labels with weights taken as given, such as w of stick-breaking."""
    given = [
        rv.name
        for rv in model.deterministics
        if rv.name in posterior and n_components in posterior[rv.name].shape[2:]
    ]
    hidden = _unread(model, given)
    if not hidden:
        return []
    given = _read(model, given, hidden)
    search = _Search(model, posterior, mixture, given)
    names = [rv.name for rv in model.free_RVs if rv.name not in hidden]
    dims, _ = _candidates(model, posterior, n_components, [*names, *given])
    base = Labels(dropped=hidden, given=tuple(given))
    found = [item for item in _minimal(search, n_components, dims, allocations, base) if item.dims]
    for item in found:
        for name in given:
            carried = [dim for dim in item.dims if dim in posterior[name].dims]
            if not (carried and are_weights(posterior[name], carried[0])):
                raise ValueError(
                    f"model: {name!r} is computed from {', '.join(map(repr, hidden))}, which "
                    "cannot be permuted, so whether a relabelled draw has a density under the "
                    "prior cannot be told; only weights that sum to one always have. If this "
                    "orders the components, their labels have a meaning already: use the draws as "
                    "they are. Otherwise give the components one variable with a dimension of "
                    "theirs."
                )
        if not _reached(model, search, item, n_components):
            raise ValueError(
                f"model: {', '.join(map(repr, given))} is computed from "
                f"{', '.join(map(repr, hidden))} and its weights are restricted: in another order "
                "they are no value that the model can take, so a relabelled draw would be no point "
                "of the posterior. The labels have a meaning already: use the draws as they are, "
                "or give the components weights of which every order is possible, such as a "
                "Dirichlet or the softmax of one row of coefficients for each component."
            )
    return found


def _reached(model: pm.Model, search: _Search, labels: Labels, n_components: int) -> bool:
    """Return whether the dropped variables have values that give the weights in another order.

    They are solved for, on their unconstrained scale, at some draws. To count them would not tell:
    those of ordered weights are as many as are needed, and those of a softmax that is linear in
    covariates are fewer.
    """
    from pymc.pytensorf import compile as compile_pymc
    from pytensor.compile.mode import Mode
    from pytensor.graph.replace import graph_replace
    from scipy.optimize import least_squares

    inputs = {rv: rv.type(rv.name) for rv in model.free_RVs if rv.name not in labels.dropped}
    weights = graph_replace([model[name] for name in labels.given], inputs, strict=False)
    weights = model.replace_rvs_by_values(weights)
    hidden = [model.rvs_to_values[model[name]] for name in labels.dropped]
    function = compile_pymc(
        [*hidden, *inputs.values()],
        weights,
        mode=Mode(linker="py", optimizer="fast_compile"),
        on_unused_input="ignore",
    )
    point = model.initial_point()
    start = [np.asarray(point[value.name]) for value in hidden]
    ends = np.cumsum([item.size for item in start])
    n_weights = sum(search.draws[name][0, 0].size for name in labels.given)
    if ends[-1] * n_weights > MAX_DERIVATIVES:
        raise ValueError(
            f"model: behind {', '.join(map(repr, labels.given))} stand {ends[-1]} values of "
            f"{', '.join(map(repr, labels.dropped))}, too many to find out whether the model can "
            "take its weights in another order. Leave model out and pass what the method reads; "
            "the relabelled draws are then not checked."
        )
    rng = np.random.default_rng(0)
    for _, moved in search.moved(labels, n_components):
        draws = list(_each(moved))
        for draw in (draws[0], draws[-1]):
            others = [np.asarray(draw[rv.name]).astype(rv.dtype) for rv in inputs]
            # The square root shows small weights as well, and zeros do no harm.
            wanted = np.concatenate([np.sqrt(draw[name]).values.ravel() for name in labels.given])

            def distance(values, others=others, wanted=wanted):
                parts = [
                    part.reshape(item.shape).astype(item.dtype)
                    for part, item in zip(np.split(values, ends[:-1]), start, strict=True)
                ]
                with np.errstate(all="ignore"):
                    found = np.concatenate([w.ravel() for w in function(*parts, *others)])
                    return np.nan_to_num(np.sqrt(found), posinf=1e6) - wanted

            first = np.concatenate([item.ravel() for item in start]).astype(float)
            for jitter in (0, 1, 1):  # a second and a third start, lest the first is a bad one
                at = first + jitter * rng.normal(size=first.size)
                exact = dict.fromkeys(("xtol", "ftol", "gtol"), 1e-14)
                solver = "exact" if first.size <= 300 else "lsmr"
                solved = least_squares(distance, at, x_scale="jac", tr_solver=solver, **exact)
                if abs(solved.fun).max() < 1e-5:
                    break
            else:
                return False
    return True


def _read(model: pm.Model, given: Sequence[str], hidden: Sequence[str]) -> list[str]:
    """Name those deterministic variables through which the model reads the hidden ones."""
    from pytensor.graph.replace import graph_replace
    from pytensor.graph.traversal import ancestors

    cut = {model[name]: model[name].type(name) for name in given}
    others = [rv for rv in model.free_RVs if rv.name not in hidden]
    graphs = graph_replace([*model.observed_RVs, *model.potentials, *others], cut, strict=False)
    left = set(ancestors(graphs))
    concealed = {model[name] for name in hidden}
    return [
        name
        for name in given
        if cut[model[name]] in left and concealed & set(ancestors([model[name]]))
    ]


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


def _n_components(posterior: xr.Dataset, labels: Labels) -> int:
    for dim in labels.dims:  # the first may be that of another group
        if dim in posterior.dims:
            return posterior.sizes[dim]
    if labels.siblings:
        return len(labels.siblings[0])
    return int(max(posterior[name].max() for name in labels.allocations)) + 1


def _with_deterministics(
    model: pm.Model, groups: Mapping[str, xr.Dataset], search: _Search, labels: Labels
) -> Labels:
    """Add the dimensions of deterministic variables that follow, and list those that do not."""
    posterior = groups["posterior"]
    size = _n_components(posterior, labels)
    where = {}  # the first group that has each deterministic variable
    for dataset in groups.values():
        for rv in model.deterministics:
            if rv.name in dataset and set(SAMPLE_DIMS) <= set(dataset[rv.name].dims):
                where.setdefault(rv.name, dataset[rv.name])
    joint = Joint(model, given=labels.given) if labels.dropped else search.joint
    lost = [name for name in joint.reads(labels.dropped) if name in where]
    names = [name for name in where if name not in (*lost, *labels.given)]
    # A dimension that something else has as well is not that of the components.
    taken = {
        dim
        for dataset in groups.values()
        for name, variable in dataset.data_vars.items()
        if name not in names
        for dim in variable.dims
    }.union(*observation_dims(model))

    def computed(draws: xr.Dataset) -> dict[str, np.ndarray]:
        found = [joint.values("deterministics", draw) for draw in _each(draws)]
        lead = tuple(draws.sizes[name] for name in SAMPLE_DIMS)
        return {
            name: np.array([item[name] for item in found]).reshape(*lead, *found[0][name].shape)
            for name in names
        }

    before = computed(search.draws)
    pairs = [(generator, computed(moved)) for generator, moved in search.moved(labels, size)]

    def follows(name: str, chosen: Iterable[str]) -> bool:
        """Return whether permuting these dimensions gives what is computed from moved draws."""
        dims = where[name].transpose(*SAMPLE_DIMS, ...).dims
        for generator, after in pairs:
            expected = before[name]
            for dim in chosen:
                expected = np.take(expected, generator, axis=dims.index(dim) - len(dims))
            if not _same(expected, after[name], spread[name]):
                return False
        return True

    spread = {name: _spread_of(where[name]) for name in names}
    chosen_of: dict[str, set] = {}
    for name in names:
        shape = where[name].transpose(*SAMPLE_DIMS, ...).shape[2:]
        if before[name].shape[2:] != shape:  # computed with other data
            chosen_of[name] = set(labels.dims) & set(where[name].dims)
            continue
        sizes = {dim: n for dim, n in where[name].sizes.items() if dim not in SAMPLE_DIMS}
        free = [dim for dim, n in sizes.items() if n == size]
        own = [dim for dim in free if dim in labels.dims]
        further = [dim for dim in free if dim not in labels.dims and dim not in taken]
        options = [[*own, *more] for more in _subsets(further, 0)]
        chosen_of[name] = next((set(item) for item in options if follows(name, item)), {""})
    dims = [*labels.dims]
    for name, chosen in chosen_of.items():
        dims += [dim for dim in where[name].dims if dim in chosen and dim not in dims]
    recomputed = [
        name for name, chosen in chosen_of.items() if chosen != set(dims) & set(where[name].dims)
    ]
    return replace(
        labels,
        dims=tuple(dims),
        dropped=(*labels.dropped, *lost),
        recomputed=tuple(recomputed),
    )


def _close(first: np.ndarray, second: np.ndarray) -> bool:
    if first.shape != second.shape:
        return False
    if first.dtype.kind not in "fc":
        return np.array_equal(first, second)
    scale = np.abs(second[np.isfinite(second)]).max(initial=0)
    single = first.dtype == np.float32 or second.dtype == np.float32
    relative = 1e-4 if single else 1e-6
    return np.allclose(first, second, rtol=relative, atol=1e-3 * relative * scale, equal_nan=True)


def _spread_of(values: xr.DataArray) -> np.ndarray:
    """Return how far each element goes over the draws: the distance between its quartiles."""
    values = values.transpose(*SAMPLE_DIMS, ...).values
    if values.dtype.kind not in "iuf":
        return np.zeros(values.shape[2:])
    values = values.reshape(-1, *values.shape[2:])
    low, high = np.quantile(values[:: 1 + len(values) // N_SPREAD], [0.25, 0.75], axis=0)
    with np.errstate(invalid="ignore"):
        return np.nan_to_num(high - low, posinf=0)


def _same(first: np.ndarray, second: np.ndarray, spread: np.ndarray) -> bool:
    """Return whether two values of a variable are equal, but for rounding.

    An offset, such as that of a date, may exceed by far what a permutation changes, so the
    magnitude allows for a few of its last digits only, and beyond them the spread counts.
    """
    if first.shape != second.shape:
        return False
    if first.dtype.kind not in "fc":
        return np.array_equal(first, second)
    single = first.dtype == np.float32 or second.dtype == np.float32
    digit = np.finfo(np.float32 if single else float).eps
    with np.errstate(invalid="ignore"):
        near = abs(first - second) <= 2 * digit * abs(second) + np.sqrt(digit) * spread
    near &= np.isfinite(second)
    return bool((near | (first == second) | (np.isnan(first) & np.isnan(second))).all())


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

    drawn = [rv.name for rv in model.observed_RVs if is_random(model.rvs_to_values[rv])]
    if drawn:
        return (
            f"model: the data of {', '.join(map(repr, drawn))} are minibatches, so each evaluation "
            "reads others and the log posterior of two draws cannot be compared. Build the model "
            "with the complete data."
        )
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
            "shape, declared or read in the same order, or stacked in one variable with a "
            "dimension of the components."
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
    joint = Joint(model, given=labels.given, n_draws=len(where))
    values = [_Values(dataset, joint, before) for dataset in (before, after)]
    at_data = _differing(model, labels, before)[moved]
    at_data[_spread(len(where))] = True
    for number, (chain, draw) in enumerate(where):
        one, two = (
            {
                part: {name: float(x) for name, x in joint.values(part, at[chain, draw]).items()}
                # Priors and potentials of every draw; what the data say, which costs more, at some.
                for part in ("priors", "potentials", *(("data",) if at_data[number] else ()))
            }
            for at in values
        )
        one["priors"], two["priors"] = (_without(item["priors"], labels) for item in (one, two))
        bad = [name for part in one.values() for name, x in part.items() if not np.isfinite(x)]
        if bad:
            raise ValueError(
                f"dt: the log posterior of draw {draw} of chain {chain} (counted from 0) is "
                f"{sum(sum(part.values()) for part in one.values())}, because of "
                f"{', '.join(map(repr, bad))}. Do the draws belong to this model and its data? A "
                "weight of exactly 0 has no density under a Dirichlet prior: drop such draws, or "
                "pass what the method reads without the model."
            )
        if all(_alike(terms, two[part]) for part, terms in one.items()):
            continue
        changed = [
            name
            for part, terms in one.items()
            for name, x in terms.items()
            if not _alike({name: x}, two[part])
        ]
        first, second = (sum(sum(part.values()) for part in item.values()) for item in (one, two))
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
            "move, or constants such as fixed weights, or a potential, tell the components apart."
        )


def _differing(model: pm.Model, labels: Labels, posterior: xr.Dataset) -> np.ndarray:
    """Return the draws at which something that stays, and may be about components, differs.

    It is what the data depend on and has as many entries as there are components.
    """
    from pytensor.graph.traversal import ancestors

    out = np.zeros([posterior.sizes[name] for name in SAMPLE_DIMS], bool)
    size = _n_components(posterior, labels)
    read = set(ancestors(model.observed_RVs))
    moving = {*labels.allocations, *labels.dropped, *itertools.chain(*labels.siblings)}
    stays = [
        rv.name
        for rv in model.free_RVs
        if rv in read
        and rv.name not in moving
        and not set(labels.dims) & {*posterior[rv.name].dims}
    ]
    for name in stays:
        values = posterior[name].transpose(*SAMPLE_DIMS, ...).values
        for axis in range(2, values.ndim):
            if values.shape[axis] == size:
                out |= _unequal(values, axis)
    for names in _alike_in_kind(model, stays, posterior):
        if len(names) == size > 1:
            out |= _unequal(stack_siblings(posterior, names).values, -1)
    return out


def _spread(n_draws: int) -> np.ndarray:
    """Choose some of a number of draws."""
    return np.unique(np.linspace(0, n_draws - 1, N_CHECKED).astype(int))


class _Values:
    """What a model reads of the draws of a dataset, as arrays with chain and draw in front."""

    def __init__(self, dataset: xr.Dataset, joint: Joint, otherwise: xr.Dataset):
        # The model is called with variables that the result lacks; nothing reads them.
        self._arrays = {
            name: (dataset if name in dataset else otherwise)[name]
            .transpose(*SAMPLE_DIMS, ...)
            .values
            for name in joint.inputs
        }

    def __getitem__(self, at: tuple[int, int]) -> dict[str, np.ndarray]:
        return {name: array[at] for name, array in self._arrays.items()}


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
    model: pm.Model,
    labels: Labels,
    before: xr.Dataset,
    after: xr.Dataset,
    moved: np.ndarray,
) -> dict[str, xr.DataArray]:
    """Compute the deterministic variables of all moved draws; return those that have not followed.

    Parameters
    ----------
    model : pymc.Model
    labels : Labels
    before, after : xarray.Dataset
        The posterior as sampled, and with what carries labels permuted.
    moved : (chain, draw) bool array
        The draws whose permutation is not the identity.

    Raises
    ------
    ValueError
        If the model does not compute what is stored with the draws as sampled.
    """
    names = [
        rv.name
        for rv in model.deterministics
        if rv.name in after and rv.name not in (*labels.dropped, *labels.given)
    ]
    if not names:
        return {}
    where = np.argwhere(moved)
    joint = Joint(model, given=labels.given, n_draws=len(where))
    _check_stored(joint, names, before, where[_spread(len(where))])
    values = _Values(after, joint, before)
    out = {name: after[name].transpose(*SAMPLE_DIMS, ...).copy(deep=True) for name in names}
    spread = {name: _spread_of(before[name]) for name in names}
    follows = dict.fromkeys(names, True)
    for chain, draw in where:
        computed = joint.values("deterministics", values[chain, draw])
        for name in names:
            at = out[name].values[chain, draw]
            follows[name] = follows[name] and _same(at, computed[name], spread[name])
            # Those that have followed at every draw keep their bits: this copy is not returned.
            out[name].values[chain, draw] = computed[name]
    return {
        name: out[name].transpose(*after[name].dims)
        for name in names
        if name in labels.recomputed or not follows[name]
    }


def _check_stored(
    joint: Joint, names: Sequence[str], before: xr.Dataset, where: np.ndarray
) -> None:
    """Raise where the model does not compute the deterministic variables that the draws hold."""
    values = _Values(before, joint, before)
    computed = [joint.values("deterministics", values[chain, draw]) for chain, draw in where]
    changed = []
    for name in names:
        stored = before[name].transpose(*SAMPLE_DIMS, ...).values[tuple(where.T)]
        now = [item[name] for item in computed]
        same = now[0].shape == stored.shape[1:]
        if same and not joint.is_random(name):
            size = np.abs(stored[np.isfinite(stored)]).max(initial=0)
            same = np.allclose(stored, now, rtol=1e-4, atol=1e-4 * size + 1e-8, equal_nan=True)
        if not same:
            changed.append(name)
    if changed:
        raise ValueError(
            f"model: it does not give back the {', '.join(map(repr, changed))} that the draws hold "
            "as sampled, so its data or its code have changed since. Set the data back with "
            "pm.set_data, or pass the model that was sampled."
        )


def stray(
    model: pm.Model,
    labels: Labels,
    groups: Iterable[xr.Dataset],
    before: xr.Dataset,
    after: xr.Dataset,
    permutations: xr.DataArray,
    moved: np.ndarray,
) -> list[str]:
    """Name the deterministic variables outside the posterior that do not follow all moved draws.

    They may be predictions, at other data than the model's. So what is computed before and after is
    compared, and not what is stored.

    Parameters
    ----------
    model : pymc.Model
    labels : Labels
    groups : iterable of xarray.Dataset
        The groups of these draws.
    before, after : xarray.Dataset
        The posterior as sampled, and with what carries labels permuted.
    permutations : xarray.DataArray
    moved : (chain, draw) bool array
        The draws whose permutation is not the identity.
    """
    known = {rv.name for rv in model.deterministics} - before.data_vars.keys()
    known -= {*labels.dropped, *labels.given, *labels.recomputed}
    dims = {
        name: [dim for dim in variable.dims if dim not in SAMPLE_DIMS]
        for dataset in groups
        for name, variable in dataset.data_vars.items()
        if name in known and set(SAMPLE_DIMS) <= set(variable.dims)
    }
    if not dims:
        return []
    where = np.argwhere(moved)
    joint = Joint(model, given=labels.given, n_draws=len(where))
    was, now = (
        [joint.values("deterministics", values[chain, draw]) for chain, draw in where]
        for values in (_Values(before, joint, before), _Values(after, joint, before))
    )
    outer = permutations.dims[2:]
    by = xr.DataArray(permutations.values[moved], dims=("_moved", *outer))
    found = []
    for name, own in dims.items():
        expected = xr.DataArray(np.array([item[name] for item in was]), dims=("_moved", *own))
        if set(outer[:-1]) <= set(own):
            expected = permute(expected, by, labels.dims, outer[-1])
        spread = _spread_of(expected.expand_dims("chain").rename(_moved="draw"))
        pairs = zip(expected.values, now, strict=True)
        if not joint.is_random(name) and not all(
            _same(one, two[name], spread) for one, two in pairs
        ):
            found.append(name)
    return found
