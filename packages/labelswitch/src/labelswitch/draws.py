"""The draws of a DataTree in the form that each relabelling algorithm takes."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from labelswitch.mixture import (
    SAMPLE_DIMS,
    compile_mixture,
    get_posterior,
    observation_dims,
    posterior_values,
)
from labelswitch.mixture import responsibilities as compute_responsibilities
from labelswitch.validation import is_dask, label_type

if TYPE_CHECKING:
    import pymc as pm

# Groups that hold nothing for the draws of the posterior, even where the numbers coincide.
OTHER_DRAWS = ("prior", "prior_predictive", "observed_data", "constant_data", "predictions_data")


def most_probable(p: np.ndarray, kind: type) -> np.ndarray:
    """Return the most probable component of each observation at each draw of a block."""
    return p.argmax(axis=2).astype(kind)


def draw_groups(dt: xr.DataTree) -> dict[str, xr.Dataset]:
    """Return the groups that may hold something for each posterior draw, the posterior first.

    They may lie at the root ("/") or below each other ("posterior/derived"). A coordinate with more
    dimensions than the draws' is returned as a variable, since it may carry labels like one.
    """
    groups = {}
    for path, node in dt.subtree_with_keys:
        parts = path.split("/")
        if any(part in OTHER_DRAWS or part.startswith("warmup") for part in parts):
            continue
        if set(SAMPLE_DIMS) <= set(node.dims):
            dataset = node.to_dataset()
            groups["/" if path == "." else path] = dataset.reset_coords(draw_coords(dataset))
    return dict(sorted(groups.items(), key=lambda item: item[0] != "posterior"))


def draw_coords(dataset: xr.Dataset) -> list[str]:
    """Name the coordinates with more dimensions than those of the draws."""
    return [name for name, item in dataset.coords.items() if set(SAMPLE_DIMS) < set(item.dims)]


def has_densities(group: str) -> bool:
    """Return whether a group holds log densities, such as ``log_prior``, by variable."""
    return any(part.startswith("log_") for part in group.split("/"))


def unconstrained(dataset: xr.Dataset, group: str, model: pm.Model | None) -> list[str]:
    """Name the variables that hold values on the sampler's scale, which cannot be permuted.

    Such are the K - 1 elements behind K weights, under PyMC's name for them, and what a sampler
    says of all parameters in one vector. A number alone, such as Stan's ``lp__``, is none unless
    the model has it.
    """
    values, known = set(), set()
    if model is not None:
        known = {rv.name for rv in (*model.basic_RVs, *model.deterministics)}
        values = {value.name for value in model.value_vars} - known
    found = []
    for name, variable in dataset.data_vars.items():
        hidden = name.endswith("__") and name not in known
        if group == "sample_stats":
            hidden |= "unconstrained_parameter" in variable.dims
            hidden |= name.startswith(("unconstrained_", "transformed_"))
        if name in values or (hidden and set(SAMPLE_DIMS) < set(variable.dims)):
            found.append(name)
    return found


def observed_variables(dt: xr.DataTree) -> dict[str, xr.DataArray]:
    """Return the observed variables by name; none without the group ``observed_data``."""
    return dict(dt["observed_data"].data_vars) if "observed_data" in dt.children else {}


def as_tuple(names: str | Iterable[str] | None, argument: str) -> tuple[str, ...]:
    """Return one name or several as a tuple."""
    if names is None:
        return ()
    if not isinstance(names, Iterable):
        raise TypeError(f"{argument}: a name or several are needed, not {names!r}.")
    return (names,) if isinstance(names, str) else tuple(names)


def find_variable(dt: xr.DataTree, name: str, argument: str) -> xr.DataArray:
    """Return a variable of the posterior or of another group of the same draws."""
    if not isinstance(name, str):
        raise TypeError(
            f"{argument}: the name of a variable is needed, not {type(name).__name__}. Put an "
            "array into the posterior first: dt['posterior']['z'] = <the DataArray>."
        )
    for dataset in draw_groups(dt).values():
        if name in dataset.data_vars:
            return dataset[name]
    raise ValueError(f"{argument}: the posterior has no variable {name!r}.")


def find_responsibilities(dt: xr.DataTree, p: str | xr.DataArray) -> xr.DataArray:
    """Return responsibilities that the caller gave, as an array or by name."""
    if isinstance(p, xr.DataArray):
        return p
    if not isinstance(p, str):
        raise TypeError(
            "responsibilities: a name or a DataArray with dimensions chain, draw, observation and "
            f"that of the components is needed, not {type(p).__name__}."
        )
    return find_variable(dt, p, "responsibilities")


def component_variables(
    dt: xr.DataTree,
    dims: Sequence[str],
    model: pm.Model | None = None,
    responsibilities: str | xr.DataArray | None = None,
    allocations: str | Sequence[str] | None = None,
    sure: bool = False,
    kinds: str = "fiu",
) -> list[str]:
    """Name the variables of the posterior that hold something about whole components.

    Those whose dtype is of one of the kinds, numbers by default.

    What has a value for each observation as well (a mean, an allocation probability) is left out.
    The dimensions of the observations are those of the responsibilities, the allocations and the
    model's mixtures. Only where none of them is given, the first dimension of each observed
    variable stands in: a further one may be that of the features, which the parameters of
    multivariate components carry too. With `sure` all of them stand in, so that nothing is left out
    which may be about groups.
    """
    by_observation = observation_wise(dt, dims, model, responsibilities, allocations, sure)
    return [
        name
        for name, variable in dt["posterior"].data_vars.items()
        if set(dims) & set(variable.dims)
        and set(SAMPLE_DIMS) <= set(variable.dims)
        and not by_observation(variable)
        and variable.dtype.kind in kinds
    ]


def observation_wise(
    dt: xr.DataTree,
    dims: Sequence[str],
    model: pm.Model | None = None,
    responsibilities: str | xr.DataArray | None = None,
    allocations: str | Sequence[str] | None = None,
    sure: bool = True,
) -> Callable[[xr.DataArray], bool]:
    """Return a function that says whether a variable has a value for each observation.

    Such a variable has all dimensions of the observations: where these come in groups, what has
    that of the groups only is about the groups.
    """
    arrays = [
        find_variable(dt, name, "allocations") for name in as_tuple(allocations, "allocations")
    ]
    if responsibilities is not None:
        arrays.append(find_responsibilities(dt, responsibilities))
    observations = [set(array.dims) - {*SAMPLE_DIMS, *dims} for array in arrays]
    if model is not None:
        observations += [set(one) - {*dims} for one in observation_dims(model)]
    if not any(observations):
        observations = [
            set(variable.dims if sure else variable.dims[:1]) - {*dims}
            for variable in observed_variables(dt).values()
            if variable.ndim
        ]
    return lambda variable: any(one and one <= set(variable.dims) for one in observations)


def are_weights(values: xr.DataArray, dim: str) -> bool:
    """Return whether the values are non-negative and sum to one along a dimension."""
    return bool((values >= 0).all()) and np.allclose(values.sum(dim), 1, atol=1e-4)


def component_order(
    values: xr.DataArray | xr.Dataset, posterior: xr.Dataset, dims: Iterable[str], what: str
) -> dict[str, np.ndarray]:
    """Return where values have the components of the posterior, if they stand in another order.

    Only where both have labels in their coordinates; otherwise the position counts.
    """
    order = {}
    for name in dims:
        if name not in values.indexes or name not in posterior.indexes:
            continue
        own, wanted = values.indexes[name], posterior.indexes[name]
        if own.equals(wanted):
            continue
        if not own.is_unique or len(own) != len(wanted) or set(own) != set(wanted):
            raise ValueError(
                f"{what}: the coordinate {name!r} has the labels {', '.join(map(repr, own))}; in "
                f"the posterior they are {', '.join(map(repr, wanted))}. Give both the same "
                f"labels, or drop one coordinate, .drop_vars({name!r}), if the order is the same."
            )
        order[name] = own.get_indexer(wanted)
    return order


def without_labels(permutations: xr.DataArray, dim: str) -> xr.DataArray:
    """Drop all coordinates of the components, in several levels or not."""
    return permutations.drop_vars(
        [name for name, item in permutations.coords.items() if dim in item.dims]
    )


def in_place(order: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return what undoes an order of components."""
    return {name: np.argsort(index) for name, index in order.items()}


def stack_siblings(dataset: xr.Dataset, names: Sequence[str]) -> xr.DataArray:
    """Stack variables of single components along the dimension ``_sibling``."""
    ordered = [dataset[name].transpose(*SAMPLE_DIMS, ...) for name in names]
    return xr.DataArray(np.stack(ordered, axis=-1), dims=[*ordered[0].dims, "_sibling"])


class Draws:
    """The draws of one DataTree in the form that each algorithm takes, each made when asked for."""

    def __init__(
        self,
        dt: xr.DataTree,
        *,
        dims: Sequence[str],
        model: pm.Model | None = None,
        responsibilities: str | xr.DataArray | None = None,
        allocations: Sequence[str] = (),
        siblings: Sequence[Sequence[str]] = (),
        var_names: Sequence[str] = (),
        pivot: tuple[int, int] | np.ndarray | None = None,
        data: str | np.ndarray | None = None,
        progress: bool = False,
    ) -> None:
        self.dt = dt
        self.model = model
        self.posterior = get_posterior(dt)
        self.dims = tuple(dims)
        self.n_chains = self.posterior.sizes["chain"]
        self.n_draws = self.posterior.sizes["draw"]
        self.allocation_names = tuple(allocations)
        self.siblings = tuple(siblings)
        self._responsibilities = responsibilities
        self._var_names = tuple(var_names)
        self._pivot = pivot
        self._data = data
        self.progress = progress
        self.n_components = self._count_components()
        self._check_order()
        for name in self.allocation_names:
            self._check_allocations(name)

    # Checks ----------------------------------------------------------------------------------

    def _count_components(self) -> int:
        carried = {
            name: size
            for dataset in reversed(draw_groups(self.dt).values())  # the posterior counts
            for variable in dataset.data_vars.values()
            if set(SAMPLE_DIMS) <= set(variable.dims)
            for name, size in variable.sizes.items()
            if name not in SAMPLE_DIMS
        }
        absent = [name for name in self.dims if name not in carried]
        if self.siblings and len(absent) == len(self.dims):
            return len(self.siblings[0])  # each component has its own variables, and nothing more
        if absent:
            listing = ", ".join(f"{name} ({size})" for name, size in carried.items()) or "none"
            raise ValueError(
                f"dim: no variable of the posterior has the dimension {absent[0]!r}. Dimensions: "
                f"{listing}. Give the components named dims in the model, or pass all dimensions "
                "that index components, such as dim=['mu_dim_0', 'w_dim_0']."
            )
        sizes = {name: carried[name] for name in self.dims}
        if len(set(sizes.values())) > 1:
            raise ValueError(
                "dim: dimensions that index components must have the same length; these have "
                f"{sizes}."
            )
        return sizes[self.dims[0]]

    def _check_order(self) -> None:
        """Refuse dimensions with the same labels in another order: they are paired by position."""
        indexes = {
            name: list(dataset.indexes[name])
            for dataset in reversed(draw_groups(self.dt).values())  # the posterior counts
            for name in self.dims
            if name in dataset.indexes
        }
        orders, standard = {}, {}
        for name, labels in indexes.items():
            alike = next(other for other in indexes if set(indexes[other]) == set(labels))
            standard[name] = repr(alike), indexes[alike]
            if self.model is not None:
                known = self.model.coords.get(name) or range(self.n_components)
                standard[name] = "the model", list(known)
            wanted = standard[name][1]
            if set(labels) == set(wanted):
                orders[name] = [wanted.index(label) for label in labels]
        if len(set(map(tuple, orders.values()))) > 1:
            name = next(name for name, order in orders.items() if order != sorted(order))
            source, wanted = standard[name]
            raise ValueError(
                f"dim: {name!r} has the labels {', '.join(map(repr, indexes[name]))}, but {source} "
                f"has {', '.join(map(repr, wanted))}, and components are paired by position. Bring "
                f"them into one order, dataset.sel({name}={wanted}), or drop the coordinate, "
                f".drop_vars({name!r}), if the order is the same."
            )

    def _check_allocations(self, name: str) -> None:
        z = find_variable(self.dt, name, "allocations")
        if not self.same_draws(z):
            raise ValueError(f"allocations: {name!r} has other chains or draws than the posterior.")
        if z.dtype.kind not in "iu":
            whole = z.dtype.kind == "b" or (z.dtype.kind == "f" and bool((z == z.round()).all()))
            remedy = (
                f"Convert it first: dt['posterior'][{name!r}] = "
                f"dt['posterior'][{name!r}].astype(int)."
                if whole
                else "Its values are no whole numbers, so they are no labels."
            )
            raise TypeError(f"allocations: {name!r} holds {z.dtype}, not integer labels. {remedy}")
        low, high = int(z.min()), int(z.max())
        if low < 0 or high >= self.n_components:
            remedy = (
                f"They look 1-based: assign dt['posterior'][{name!r}] = "
                f"dt['posterior'][{name!r}] - 1 first."
                if low > 0 and high == self.n_components
                else f"Is {self.dims[0]!r} the dimension of these components?"
            )
            raise ValueError(
                f"allocations: the labels of {name!r} run from {low} to {high}, but "
                f"{self.n_components} components have the labels 0 to {self.n_components - 1}. "
                + remedy
            )

    def warn_of_what_stays(self, *, allocations_open: bool, by: str | None) -> None:
        """Warn by name of what looks as if it carried labels and was not named."""
        given = [self.dt[name] for name in ("observed_data", "constant_data") if name in self.dt]
        observed = {name for group in given for name in group.data_vars}
        # What the data carry are observations or their features.
        known = {*self.dims, by, *(dim for group in given for dim in group.dims)}
        for group, dataset in draw_groups(self.dt).items():
            hidden = unconstrained(dataset, group, self.model)  # dropped, if anything moves
            for name, variable in dataset.data_vars.items():
                if name in hidden:
                    continue
                own = [dim for dim in variable.dims if dim not in SAMPLE_DIMS]
                # The numbers of a sampler about itself are no labels.
                if not set(SAMPLE_DIMS) <= set(variable.dims) or (
                    not own and (variable.dtype.kind not in "iu" or group == "sample_stats")
                ):
                    continue
                if self.model is not None and name in self.model.named_vars:
                    continue  # the model has judged its own variables
                if allocations_open and name not in observed and not set(self.dims) & set(own):
                    self._warn_of_labels(name, variable)
                twins = [
                    dim
                    for dim in own
                    if dim not in known and variable.sizes[dim] == self.n_components
                ]
                if twins and self.n_components > 1:
                    warnings.warn(
                        f"{name!r} has the dimension {twins[0]!r} of length {self.n_components}, "
                        f"like {self.dims[0]!r}. If it indexes components too, pass "
                        f"dim={[*self.dims, *twins]}; otherwise {name!r} is right as it is.",
                        UserWarning,
                        stacklevel=4,
                    )

    def _warn_of_labels(self, name: str, variable: xr.DataArray) -> None:
        if variable.dtype.kind not in "iubf" or not variable.size:
            return
        padded = variable.isnull()  # rows of unequal length
        if variable.dtype.kind == "f" and not bool((padded | (variable == variable.round())).all()):
            return
        low, high = float(variable.min()), float(variable.max())
        one_based = variable.ndim > 2 and low >= 1 and high == self.n_components
        if low == high or low < 0 or not (high < self.n_components or one_based):
            return
        convert = ""
        if padded.any():
            convert = " as integers from 0, without the entries that are NaN,"
        elif variable.dtype.kind not in "iu" or one_based:
            convert = (
                f" as integers from 0 (dt['posterior'][{name!r}].astype(int)"
                f"{' - 1' if one_based else ''})"
            )
        warnings.warn(
            f"The variable {name!r} looks like allocations. Pass allocations={name!r}{convert} to "
            "relabel it too, or allocations=() if it holds no labels.",
            UserWarning,
            stacklevel=5,
        )

    # What the algorithms take ----------------------------------------------------------------

    def pool(self, values: xr.DataArray, *last: str):
        """Return an array (draws of all chains, everything else, *last)."""
        values = values.transpose(*SAMPLE_DIMS, ..., *last)
        split = values.ndim - len(last)
        n_others = int(np.prod(values.shape[2:split]))
        return values.data.reshape((self.n_chains * self.n_draws, n_others, *values.shape[split:]))

    @cached_property
    def responsibilities(self) -> xr.DataArray:
        """P(z | y) per draw, from the argument or from the model."""
        p, source = self._responsibilities, "responsibilities"
        if p is None and self.model is None:
            raise ValueError(
                "responsibilities: this method needs P(z | y) at each draw. Pass model=<the PyMC "
                "model>, or responsibilities=<a variable of the posterior or a DataArray with "
                f"dimensions chain, draw, observation, {self.dims[0]}>. Without either use 'pra', "
                "or 'ecr_iterative_1' with allocations."
            )
        if p is None:
            source = "model"
            p = compute_responsibilities(
                self.dt, model=self.model, dim=self.dims[0], progress=self.progress
            )
        else:
            p = find_responsibilities(self.dt, p)
        dims = [name for name in self.dims if name in p.dims]
        if len(dims) != 1 or not set(SAMPLE_DIMS) <= set(p.dims):
            raise ValueError(
                f"responsibilities: dimensions chain, draw, observation and {self.dims[0]!r} are "
                f"needed; these have {p.dims}."
            )
        if p.sizes[dims[0]] != self.n_components:
            raise ValueError(
                f"{source}: it has {p.sizes[dims[0]]} components, but {dims[0]!r} has "
                f"{self.n_components} in the posterior."
            )
        if not self.same_draws(p):
            raise ValueError(
                "responsibilities: their chains or draws differ from those of the posterior. "
                "Compute them from the same draws."
            )
        return p.isel(component_order(p, self.posterior, dims, source))

    @cached_property
    def p(self):
        """P(z | y) as (draws, observations, components), possibly a Dask array."""
        p = self.responsibilities
        return self.pool(p, next(name for name in self.dims if name in p.dims))

    @cached_property
    def z(self) -> np.ndarray:
        """Allocations as (draws, observations): sampled, or the most probable ones."""
        if self.allocation_names:
            arrays = [find_variable(self.dt, name, "allocations") for name in self.allocation_names]
            return np.concatenate([np.asarray(self.pool(array)) for array in arrays], axis=1)
        if self._responsibilities is None and self.model is None:
            raise ValueError(
                "allocations: this method needs the component of each observation at each draw. "
                "Pass allocations=<the name of an integer variable>. If the model has summed them "
                "out, pass model=<the PyMC model> or responsibilities=..., and the most probable "
                "component of each draw is taken."
            )
        # A block or a chunk of draws at a time, in the smallest integers: at most a sixteenth of p.
        p, kind = self.p, label_type(self.n_components)
        if is_dask(p):
            return np.asarray(p.map_blocks(most_probable, kind, dtype=kind, drop_axis=2))
        z = np.empty(p.shape[:2], kind)
        for start in range(0, len(p), 64):
            z[start : start + 64] = most_probable(p[start : start + 64], kind)
        return z

    @cached_property
    def parameter_names(self) -> tuple[str, ...]:
        """Names of the variables that count as parameters of the components."""
        if self._var_names:
            for name in self._var_names:
                if name not in self.posterior.data_vars:
                    raise ValueError(f"var_names: the posterior has no variable {name!r}.")
                if sum(d in self.dims for d in self.posterior[name].dims) != 1:
                    raise ValueError(
                        f"var_names: {name!r} must have exactly one dimension that indexes "
                        f"components ({', '.join(self.dims)}); it has "
                        f"{self.posterior[name].dims}."
                    )
            return self._var_names
        source = self.dt, self.dims, self.model, self._responsibilities, self.allocation_names
        found = component_variables(*source) or component_variables(*source, sure=True)
        names = [
            name for name in found if sum(d in self.dims for d in self.posterior[name].dims) == 1
        ]
        if self.model is not None:
            free = {rv.name for rv in self.model.free_RVs}
            names = [name for name in names if name in free] or names
        if not names and not self.siblings:
            raise ValueError(
                f"var_names: no variable with the dimension {self.dims[0]!r} looks like a "
                "parameter of the components. Name those to use."
            )
        return tuple(names)

    @cached_property
    def parameters(self) -> np.ndarray:
        """The parameters as (draws, components, parameters)."""
        columns = []
        for name in self.parameter_names:
            variable = self.posterior[name]
            bad = ~np.isfinite(variable)
            if bad.any():
                other = [d for d in variable.dims if d not in SAMPLE_DIMS]
                n_bad = int(bad.any(other).sum())
                raise ValueError(
                    f"dt: {name!r} contains NaN or infinite values in {n_bad} draws. Drop those "
                    "draws, or name other variables in var_names."
                )
            dim = next(d for d in variable.dims if d in self.dims)
            columns.append(np.asarray(self.pool(variable, dim)).swapaxes(1, 2))
        if not self._var_names:
            for names in self.siblings:
                stacked = stack_siblings(self.posterior, names)
                columns.append(np.asarray(self.pool(stacked, "_sibling")).swapaxes(1, 2))
        return np.concatenate(columns, axis=2, dtype=float)

    @property
    def pivot_is_default(self) -> bool:
        """Whether the caller left the pivot to us."""
        return self._pivot is None

    @cached_property
    def pivot_draw(self) -> int:
        """The draw that the caller names, or the most typical draw.

        The most typical draw is the one whose values, sorted over the components, are nearest to
        the median over the draws. Sorted values do not depend on the labels. The draw of highest
        density, which R takes, may be the degenerate one: the density of a normal mixture has no
        upper bound.
        """
        if isinstance(self._pivot, tuple):
            for name in SAMPLE_DIMS:
                if not self.posterior.get_index(name).is_unique:
                    raise ValueError(
                        f"pivot: the labels of {name!r} in the posterior repeat, so a label names "
                        "no single draw. Number them anew: dt['posterior'] = "
                        f"dt['posterior'].drop_vars({name!r})."
                    )
            try:
                chain, draw = self._pivot
                at = self.posterior.get_index("chain").get_loc(chain)
                return at * self.n_draws + self.posterior.get_index("draw").get_loc(draw)
            except (KeyError, ValueError):
                raise ValueError(
                    f"pivot: {self._pivot!r} is not the label of a draw, (chain, draw)."
                ) from None
        values = np.sort(self.parameters, axis=1)
        spread = values.std(axis=0)
        distance = (values - np.median(values, axis=0)) / np.where(spread > 0, spread, 1)
        return int(np.argmin((distance**2).sum(axis=(1, 2))))

    def pivot_for(self, draws: np.ndarray) -> np.ndarray:
        """Return the pivot, as one of these draws or as the caller's array."""
        if self.pivot_is_default or isinstance(self._pivot, tuple):
            return draws[self.pivot_draw]
        pivot = np.asarray(self._pivot)
        if pivot.ndim == 0 or (pivot.shape == (2,) and isinstance(self._pivot, list)):
            raise TypeError(
                f"pivot: the labels of a draw as a tuple (chain, draw) or an array are needed, not "
                f"{self._pivot!r}."
            )
        return pivot

    @cached_property
    def x(self) -> np.ndarray:
        """Return the observations, (n,) or (n, d)."""
        data = self._data
        if data is None:
            names = list(observed_variables(self.dt))
            if len(names) != 1:
                raise ValueError(
                    "data: the observations are needed. Pass data=<their name in observed_data or "
                    f"constant_data, or an array>; observed_data has {names or 'no variables'}."
                )
            data = names[0]
        if isinstance(data, str):
            for group in ("observed_data", "constant_data"):
                if group in self.dt.children and data in self.dt[group].data_vars:
                    return self.dt[group][data].values
            raise ValueError(f"data: neither observed_data nor constant_data has {data!r}.")
        return np.asarray(data)

    def log_density(self) -> Callable[[np.ndarray], np.ndarray]:
        """Build log w_k f_k(y_i | theta_k) as a function of theta (K, J) from the model."""
        if self.model is None:
            raise ValueError(
                "log_density: 'sjw' needs the log-density of each observation under each "
                "component. Pass model=<the PyMC model>, or log_density=<a function of the "
                "parameters (K, J) that returns (n, K)>."
            )
        mixture = compile_mixture(self.model)
        draws = posterior_values(mixture, self.dt)
        unread = [name for name in self.parameter_names if name not in mixture.input_dtypes]
        if unread:
            raise ValueError(
                f"var_names: the mixture does not read {', '.join(map(repr, unread))} directly. "
                "With a model, 'sjw' takes its free variables."
            )
        layout = {}
        for name in self.parameter_names:
            dims = self.posterior[name].transpose(*SAMPLE_DIMS, ...).dims[2:]
            layout[name] = next(axis for axis, d in enumerate(dims) if d in self.dims)
        uncovered = [
            name
            for name in mixture.input_dtypes
            if name not in layout
            and (
                set(self.dims) & set(self.posterior[name].dims)
                or (self._var_names and name in itertools.chain(*self.siblings))
            )
        ]
        if uncovered:
            raise ValueError(
                f"var_names: the mixture also reads {', '.join(map(repr, uncovered))}, which "
                "belong to components. 'sjw' needs all of them; leave var_names out."
            )
        singles = [] if self._var_names else self.siblings
        varied = {*layout, *itertools.chain(*singles)}
        fixed = {
            name: value.mean(axis=(0, 1)).astype(mixture.input_dtypes[name])
            for name, value in draws.items()
            if name not in varied
        }

        def log_density(theta: np.ndarray) -> np.ndarray:
            values, start = dict(fixed), 0
            for name, axis in layout.items():
                shape = draws[name].shape[2:]
                rest = shape[:axis] + shape[axis + 1 :]
                stop = start + int(np.prod(rest))
                part = theta[:, start:stop].reshape(self.n_components, *rest)
                part = np.moveaxis(part, 0, axis).astype(mixture.input_dtypes[name])
                values[name], start = np.ascontiguousarray(part), stop
            for names in singles:  # their columns come last
                shape = draws[names[0]].shape[2:]
                stop = start + int(np.prod(shape))
                for name, row in zip(names, theta[:, start:stop], strict=True):
                    values[name] = row.reshape(shape).astype(mixture.input_dtypes[name])
                start = stop
            density, weights = mixture.evaluate(**values)
            return (density + weights).reshape(-1, self.n_components)

        return log_density

    def weights(self, name: str) -> np.ndarray:
        """Mixture weights as (draws, components)."""
        if name not in self.posterior.data_vars or set(self.posterior[name].dims) != {
            *SAMPLE_DIMS,
            self.dims[0],
        }:
            raise ValueError(
                f"weights: {name!r} must be a variable of the posterior with dimensions chain, "
                f"draw and {self.dims[0]!r}."
            )
        return np.asarray(self.pool(self.posterior[name], self.dims[0]))[:, 0]

    # Back to labelled arrays ------------------------------------------------------------------

    def same_draws(self, other: xr.DataArray | xr.Dataset) -> bool:
        """Return whether other has the chains and draws of the posterior."""
        return all(
            name in other.dims
            and other.sizes[name] == self.posterior.sizes[name]
            and other.get_index(name).equals(self.posterior.get_index(name))
            for name in SAMPLE_DIMS
        )

    @property
    def observation_coords(self) -> dict[str, tuple[str, np.ndarray]]:
        """The coordinate of the observations as one of the dimension ``observation``, if any."""
        names = self.allocation_names[:1]
        source = find_variable(self.dt, names[0], "allocations") if names else self.responsibilities
        dims = [name for name in source.dims if name not in (*SAMPLE_DIMS, *self.dims)]
        if len(dims) != 1 or dims[0] not in source.coords or len(self.allocation_names) > 1:
            return {}
        return {"observation": ("observation", source[dims[0]].values)}

    def as_permutations(self, permutations: np.ndarray, by: str | None = None) -> xr.DataArray:
        """Give pooled permutations their chains, draws (and groups) and coordinates back."""
        dims = (*SAMPLE_DIMS, *([by] if by else []), self.dims[0])
        sizes = {**self.posterior.sizes, self.dims[0]: self.n_components}
        coords = {name: self.posterior[name] for name in dims if name in self.posterior.indexes}
        return xr.DataArray(
            permutations.reshape([sizes[name] for name in dims]),
            dims=dims,
            coords=coords,
            name="permutations",
        )
