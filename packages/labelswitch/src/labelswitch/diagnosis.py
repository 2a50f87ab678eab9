"""Tell label switching from other failures to converge."""

from __future__ import annotations

import hashlib
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import xarray as xr
from scipy import stats

from labelswitch.algorithms import apply_permutations
from labelswitch.draws import (
    Draws,
    are_weights,
    as_tuple,
    component_variables,
    draw_groups,
    observation_wise,
    observed_variables,
    stack_siblings,
)
from labelswitch.mixture import SAMPLE_DIMS, get_posterior
from labelswitch.relabelling import Relabelled, by_group, relabel, share_alike

if TYPE_CHECKING:
    import pymc as pm

# Vehtari et al. (2021), section 4: r-hat below 1.01 and an ESS above 100 for each chain.
R_HAT_LIMIT = 1.01
ESS_LIMIT_PER_CHAIN = 100
# The ESS is itself an estimate, with an error of about a fifth at this length, and the smallest of
# several is too low as a rule: below this share of the limit it is certainly small.
ESS_MARGIN = 0.7
# How often converged chains may be called unconverged, over all elements together. Measured on
# 2 x 400 and 4 x 100 to 4 x 1,000 draws of six elements, independent and AR(1) with correlations
# to 0.95: in 0 to 2.5 % of 200 data sets.
FALSE_ALARMS = 0.005
# A chain in which more draws than this leave the usual labelling counts as switching.
STRAGGLERS = 0.01
# Below this confidence of its permutation a draw counts as undecided: odds of 19 to 1 where the
# gap is a difference of log densities or half a squared distance, a quarter of an sd for sorting.
DOUBT = {
    "stephens": np.log(19.0),
    "pra": 2 * np.log(19.0),
    "data_based": 2 * np.log(19.0),
    "sjw": 0.95,
    "order": 0.25,
}
# A share of undecided draws above this is more than chance, and means overlap.
UNDECIDED = 0.05
# A component that holds less than one observation on average, and none in more than half of the
# draws where allocations tell, counts as empty where that is so in every chain.
EMPTY = 1.0
# Two components between which the observations are divided like this, as a share of all that they
# hold, are one under two names: 0 where each observation is in both alike, 1 where in one only.
ALIKE = 0.25
# Permutations that leave components with more than this times the variance that others leave have
# mixed them. Twins and triplets that are only sorted get narrower too, by less than this.
WIDER = 3.0
# The kinds of the dtypes that are judged.
NUMBERS = "fiub"
# Of a variable with more elements those are judged in full whose chains differ most.
MOST_ELEMENTS = 1_000
# A variable without components is judged up to so many values: a gigabyte.
MOST_VALUES = 2**27
# A quantity of which the permutations explain less than this share does not follow the labels.
FOLLOWS = 0.05

# The number of components that hold observations, as the verdict calls it.
OCCUPANCY = "the number of occupied components"

USE = ("use_relabelled", "use_as_sampled")

RECOMMENDATIONS = {
    "use_relabelled": "Use the relabelled draws.",
    "use_as_sampled": "Use the draws as they are.",
    "run_longer": "Run longer chains before you use either.",
    "run_more_chains": "Run four chains.",
    "do_not_use": "Do not use these draws: look at the model, its initial values and the sampler.",
    "use_by": (
        "If {0} are groups with labels of their own, relabel with by={0} and diagnose again; if "
        "they are features of the components, these are different modes: do not use these draws."
    ),
    "compare_methods": (
        "Do not interpret single components: compare methods, or report what does not depend on "
        "labels."
    ),
    "find_nan": "Do not use these draws: find out where the missing values come from.",
    "judge_first": "Do not use these draws before you have judged what you report of them.",
}


@dataclass(frozen=True, repr=False, kw_only=True)
class Diagnosis:
    """Whether labels have switched, and what is left when they are put right.

    Attributes
    ----------
    verdict : str
        The finding in words: is there label switching, did relabelling repair it, what remains,
        what to do.
    findings : tuple of str
        The same for a program: any of "switching_between_chains", "switching_within_chains",
        "no_switching"; "repaired", "not_needed", "not_repaired"; "too_few_draws", "another_mode",
        "overlap", "empty_components", "per_group_labels", "one_chain", "repeated_chains",
        "follows_labels", "nan", "not_judged".
    recommendation : str
        What to do: "use_relabelled", "use_as_sampled", "run_longer", "run_more_chains",
        "do_not_use", "use_by", "compare_methods", "find_nan" or "judge_first".
    table : pandas.DataFrame
        One row for each variable that carries the component dimension, and for each group of
        variables of single components; the worst r-hat and the lowest bulk ESS of its elements,
        those of empty components left out,

        - ``labelled``: as sampled;
        - ``relabelled``;
        - ``sorted``: of its values sorted in each draw, which do not depend on labels;
        - ``total``: of the sum over the components weighted by the mixture's weights, or of the
          plain sum if the posterior has no weights. It does not depend on labels either.

        ``r_hat_limit`` is what r-hat after relabelling may be by chance with as many effective
        draws and elements, and at least 1.01; ``element`` the element whose r-hat exceeds it most.
    switches : pandas.DataFrame
        One row for each chain: its usual ``labelling`` (the most frequent permutation), the
        ``share`` of its draws that have it, and the number of ``changes`` of permutation from one
        draw to the next; empty components do not count.
    relabelled : Relabelled or None
        The relabelled draws; None where missing values forbid to relabel.
    """

    verdict: str
    findings: tuple[str, ...]
    recommendation: str
    table: pd.DataFrame
    switches: pd.DataFrame
    relabelled: Relabelled | None

    def __repr__(self) -> str:
        """Show the verdict and both tables."""
        head = "<Diagnosis>" if self.relabelled is None else "<Diagnosis by "
        if self.relabelled is not None:
            head += f"{self.relabelled.method}>"
        parts = [f"{head}\n{self.verdict}"]
        if len(self.table):
            # Columns in pairs: r-hat to two decimals, ESS to whole draws.
            columns = [name for name in self.table if name not in ("element", "r_hat_limit")]
            formats = {name: "{:.2f}" if "r_hat" in name else "{:.0f}" for name in columns}
            table = self.table[columns]
            table = table.apply(lambda column: column.map(formats[column.name].format))
            switches = self.switches.assign(share=self.switches["share"].map("{:.1%}".format))
            parts += [table.to_string(), switches.to_string()]
        return "\n\n".join(parts)


# What r-hat says ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Judged:
    """r-hat, its limit and the ESS of each element of a variable."""

    r_hat: np.ndarray
    limit: np.ndarray
    ess: np.ndarray
    names: list[str]

    @property
    def worst(self) -> int | None:
        """The element whose r-hat exceeds its limit most, if any has an r-hat."""
        excess = self.r_hat - self.limit
        return None if np.isnan(excess).all() else int(np.nanargmax(excess))

    @property
    def is_bad(self) -> bool:
        return self.worst is not None and self.r_hat[self.worst] > self.limit[self.worst]


def _largest(values: np.ndarray) -> float:
    return float("nan") if np.isnan(values).all() else float(np.nanmax(values))


def _smallest(values: np.ndarray) -> float:
    return float("nan") if np.isnan(values).all() else float(np.nanmin(values))


def r_hat_limit(n_half_chains: int, ess_half_chain: np.ndarray, n_elements: int) -> np.ndarray:
    """Return what r-hat may be by chance.

    With m half-chains of n effective draws whose means differ by chance only, the variance between
    their means over that within them is F / n, with F of m - 1 and m (n - 1) degrees of freedom;
    r-hat is the root of one plus that (Gelman and Rubin 1992). The level allows for the number of
    elements, and for the two r-hats, of ranks and of folded ranks, of which the larger counts.
    """
    n = np.maximum(np.asarray(ess_half_chain, float), 2.0)
    level = 1 - FALSE_ALARMS / (2 * max(n_elements, 1))
    ratio = stats.f.ppf(level, n_half_chains - 1, n_half_chains * (n - 1))
    return np.maximum(np.sqrt(1 - 1 / n + ratio / n), R_HAT_LIMIT)


def _judge(values: xr.DataArray, n_elements: int) -> _Judged:
    """Compute r-hat, its limit and the bulk ESS of every element of a variable."""
    from arviz_stats.base import array_stats

    ordered = values.transpose(*SAMPLE_DIMS, ...)
    array = np.asarray(ordered.values, float).reshape(*ordered.shape[:2], -1)
    judged = np.arange(array.shape[2])
    if array.shape[2] > MOST_ELEMENTS and array.shape[1] > 1:
        judged = _most_apart(array)
        array = array[:, :, judged]
    names = [_element(ordered, np.unravel_index(i, ordered.shape[2:])) for i in judged]
    n_chains, n_draws, n = array.shape
    r_hat, limit, ess = np.full((3, n), np.nan)
    varies = np.ptp(array, axis=(0, 1)) > 0
    if n_draws >= 4 and varies.any():
        array = array[:, :, varies]
        axes = {"chain_axis": 0, "draw_axis": 1}
        # A chain that stands still has neither r-hat nor ESS of its own: that is bad, not missing.
        with np.errstate(invalid="ignore", divide="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            ess[varies] = array_stats.ess(array, **axes)
            if n_chains > 1:
                found = array_stats.rhat(array, **axes)
                r_hat[varies] = np.where(np.isnan(found), np.inf, found)
                # The ESS within the chains: a chain elsewhere shall not excuse itself.
                centred = array - array.mean(axis=1, keepdims=True)
                within = array_stats.ess(centred, method="mean", **axes)
                within = np.where(np.isfinite(within), within, 0.0)
                half = n_draws // 2
                time = n_chains * n_draws / np.maximum(within, 1e-3)
                # Centring takes time / half off each autocovariance, which the ESS does not see.
                time = time / (1 - np.minimum(2 * time / half, 0.8))
                effective = np.minimum(half / time, half)
                limit[varies] = r_hat_limit(2 * n_chains, effective, n_elements)
    return _Judged(r_hat, limit, ess, names)


def _most_apart(array: np.ndarray) -> np.ndarray:
    """Return the elements of (chains, draws, elements) whose half-chains differ most.

    By the plain r-hat, half of them of the values, half of their distances from the median.
    """
    half = array.shape[1] // 2
    halves = np.concatenate([array[:, :half], array[:, half:][:, :half]])
    apart = []
    for kind in range(2):
        if kind == 1:
            halves = abs(halves - np.median(halves, axis=(0, 1)))
        between, within = halves.mean(axis=1).var(axis=0), halves.var(axis=1).mean(axis=0)
        standing = np.where(between > 0, np.inf, 0.0)
        ratio = np.divide(between, within, out=standing, where=within > 0)
        apart.append(np.argsort(-ratio)[: MOST_ELEMENTS // 2])
    return np.unique(apart)


def _element(values: xr.DataArray, index: Sequence[int]) -> str:
    labels = [
        str(values.indexes[dim][i]) if dim in values.indexes else str(i)
        for dim, i in zip(values.dims[2:], index, strict=True)
    ]
    return ", ".join(labels)


# What does not depend on labels -------------------------------------------------------------------


def _weights(posterior: xr.Dataset, dims: Sequence[str]) -> xr.DataArray | None:
    """Find the mixture's weights: one value for each component, non-negative, summing to one."""
    for variable in posterior.data_vars.values():
        carried = [name for name in dims if name in variable.dims]
        if (
            len(carried) == 1
            and set(variable.dims) == {*SAMPLE_DIMS, *carried}
            and variable.dtype.kind == "f"
            and are_weights(variable, carried[0])
        ):
            return variable.rename({carried[0]: "_component"}).drop_vars(
                [carried[0]], errors="ignore"
            )
    return None


def _sorted(values: xr.DataArray, dims: Sequence[str]) -> xr.DataArray:
    carried = [name for name in dims if name in values.dims]
    stacked = values.variable.stack(_component=carried)
    axis = stacked.get_axis_num("_component")
    return xr.DataArray(stacked.copy(data=np.sort(stacked.values, axis=axis)))


def _total(
    values: xr.DataArray, dims: Sequence[str], weights: xr.DataArray | None
) -> xr.DataArray | None:
    carried = [name for name in dims if name in values.dims]
    if len(carried) > 1:  # the sum of a transition matrix is constant
        return None
    values = values.drop_vars(carried, errors="ignore").rename({carried[0]: "_component"})
    return (values if weights is None else values * weights).sum("_component")


# Who is empty, who has switched -------------------------------------------------------------------


def _allocations(relabelled: Relabelled) -> np.ndarray | None:
    """Return the relabelled allocations, (chain, draw, observation), or None without any."""
    found = []
    for name in relabelled.allocations:
        dataset = next(d for d in draw_groups(relabelled.dt).values() if name in d)
        z = np.asarray(dataset[name].transpose(*SAMPLE_DIMS, ...).values)
        found.append(z.reshape(*z.shape[:2], -1))
    return np.concatenate(found, axis=-1) if found else None


def _holding(z: np.ndarray, size: int) -> np.ndarray:
    """Return which components hold any observation, (chain, draw, component)."""
    return np.stack([(z == k).any(axis=2) for k in range(size)], axis=-1)


def _held(z: np.ndarray | None, relabelled: Relabelled) -> tuple[np.ndarray | None, str]:
    """Return how much of each observation each relabelled component holds, in each chain.

    Shape (chains, observations, components): from the allocations, or the mean responsibilities,
    these over all chains. None where neither is there.
    """
    if z is not None:
        size = relabelled.permutations.shape[-1]
        held = np.stack([(z == k).mean(axis=1) for k in range(size)], axis=-1)
        return held, "the allocations"
    if relabelled.result is not None and relabelled.result.q is not None:
        return relabelled.result.q[np.newaxis], "the responsibilities"
    return None, ""


def _occupied(
    dt: xr.DataTree, relabelled: Relabelled, held: np.ndarray | None, holding: np.ndarray | None
) -> tuple[np.ndarray, str]:
    """Return which relabelled components hold observations, and how that was found out.

    From what each observation is held by, else from the weights and the number of observations, the
    larger one where the observed values may be counts. With neither all count as occupied. A
    component that holds some in one chain is occupied.
    """
    everyone = np.ones(relabelled.permutations.shape[-1], bool)
    if relabelled.by is not None:
        return everyone, ""
    observed = observed_variables(dt).values()
    sizes = {size for item in observed for size in (item.size, *np.cumprod(item.shape).tolist())}
    # Responsibilities of a part of the observations do not show that a component is empty. What
    # they say of all chains together may be what one of them says alone.
    if held is not None and (relabelled.allocations or not sizes or held.shape[1] in sizes):
        n_together = relabelled.permutations.sizes["chain"] / len(held)
        is_occupied = n_together * held.sum(axis=1) >= EMPTY
        if holding is not None:  # one observation, in most draws, is less than one on average
            is_occupied |= holding.mean(axis=1) > 0.5
        return is_occupied.any(axis=0), ""
    weights = _weights(relabelled.dt["posterior"].to_dataset(), relabelled.dims)
    if weights is None or len(observed) != 1 or not sizes:
        return everyone, ""
    # Whole numbers may be counts of observations, as in a histogram, or the observations.
    [counts] = (np.asarray(item.values) for item in observed)
    if counts.dtype.kind in "fiu" and (counts >= 0).all() and (counts == np.round(counts)).all():
        sizes.add(counts.sum())
    return (weights.mean("draw").values * max(sizes) >= EMPTY).any(axis=0), "the weights"


def _one_under_two_names(held: np.ndarray | None, occupied: np.ndarray) -> bool:
    """Return whether two occupied components hold the same observations, each in equal parts."""
    if held is None:
        return False
    share = held.mean(axis=0)[:, occupied]
    return any(
        abs(share[:, j] - share[:, k]).sum() < ALIKE * (share[:, j] + share[:, k]).sum()
        for k in range(share.shape[1])
        for j in range(k)
    )


def _by_pra(dt: xr.DataTree, dims: Sequence[str], **how: Any) -> Relabelled | None:
    """Relabel by parameters, for comparison and without a word; None where that cannot be done."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return relabel(dt, method="pra", dim=tuple(dims), **how)
    except (TypeError, ValueError):
        return None


def _whole_components(
    after: xr.Dataset, names: Sequence[str], relabelled: Relabelled, occupied: np.ndarray
) -> xr.DataTree:
    """Return the relabelled parameters of the occupied components, to relabel them once more."""
    components = after[names]
    for siblings in relabelled.siblings:
        stacked = stack_siblings(after, siblings).rename(_sibling=relabelled.dims[0])
        components = components.assign({", ".join(siblings): stacked})
    full = {dim: np.flatnonzero(occupied) for dim in relabelled.dims if dim in components.dims}
    return xr.DataTree.from_dict({"posterior": components.isel(full)})


def _correlation_norm(parameters: np.ndarray) -> float:
    """Return the root of the sum of squared correlations of (draws, components, parameters).

    Within the components: 1 where one parameter says all, the root of their number where they are
    independent, their number where all say the same.
    """
    deviations = (parameters - parameters.mean(axis=0)).reshape(-1, parameters.shape[-1])
    deviations = deviations[:, np.ptp(deviations, axis=0) > 0]
    deviations /= abs(deviations).max(axis=0, initial=0)
    deviations /= np.linalg.norm(deviations, axis=0)
    n, n_parameters = deviations.shape
    gram = deviations @ deviations.T if n < n_parameters else deviations.T @ deviations
    return max(1.0, float(np.linalg.norm(gram)))


def _decided(
    dt: xr.DataTree,
    relabelled: Relabelled,
    model: pm.Model | None = None,
    responsibilities: str | xr.DataArray | None = None,
    var_names: str | Sequence[str] | None = None,
) -> np.ndarray | None:
    """Return which draws, and groups, of dt no other permutation suits nearly as well.

    None where that is not known. The gap of 'pra' adds up what the parameters say. Between
    components that are alike it has an sd of about four times the norm of their correlations: what
    follows from the same parameters says the same many times.
    """
    if relabelled.confidence is None or relabelled.method not in DOUBT:
        return None
    sure = relabelled.confidence.values
    if relabelled.method == "pra":
        n_components = relabelled.permutations.shape[-1]
        trees = [dt]
        if relabelled.by is not None:
            trees = by_group(dt, relabelled.by, relabelled)
            responsibilities = None  # 'pra' is not given those of a group either
        permutations = relabelled.permutations.values.reshape(-1, len(trees), n_components)
        norms = []
        for group, tree in enumerate(trees):
            draws = Draws(
                tree,
                dims=relabelled.dims,
                model=model,
                responsibilities=responsibilities,
                allocations=relabelled.allocations,
                siblings=relabelled.siblings,
                var_names=as_tuple(var_names, "var_names"),
            )
            moved = apply_permutations(draws.parameters, permutations[:, group])
            norms.append(_correlation_norm(moved))
        sure = sure / (norms[0] if relabelled.by is None else norms)
    return sure >= DOUBT[relabelled.method]


def _may_be_narrower(components: xr.DataTree, dims: Sequence[str]) -> bool:
    """Return whether any permutations at all could leave components that are so much narrower.

    No permutations leave narrower ones than sorting each parameter by itself.
    """
    return any(
        bool((variable.var(SAMPLE_DIMS).mean(here) > WIDER * least).any())
        for variable in components["posterior"].data_vars.values()
        for here in [[dim for dim in dims if dim in variable.dims]]
        for least in [_sorted(variable, dims).var(SAMPLE_DIMS).mean("_component")]
    )


def _is_wider(components: xr.DataTree, other: Relabelled) -> bool:
    """Return whether components are far wider than relabelling them by parameters leaves them.

    In any of its groups, where it relabels by group. Where it decides less than half of the draws,
    it has sorted what is alike, and says nothing.
    """
    is_sure = _decided(components, other).mean(axis=(0, 1)) > 0.5
    for name in other.permuted:
        ours, theirs = (dt["posterior"][name].var(SAMPLE_DIMS) for dt in (components, other.dt))
        rest = [dim for dim in ours.dims if dim != other.by]
        ours, theirs = ours.mean(rest).values, theirs.mean(rest).values
        if (is_sure & (ours > WIDER * theirs) & (theirs > 0)).any():
            return True
    return False


def _switches(permutations: xr.DataArray, occupied: np.ndarray) -> pd.DataFrame:
    """Tell how often the permutation of the occupied components changes."""
    rows = []
    for chain in permutations.values:
        chain = chain[..., occupied].reshape(len(chain), -1)
        labelling, count = Counter(map(tuple, chain.tolist())).most_common(1)[0]
        changes = int((chain[1:] != chain[:-1]).any(axis=1).sum())
        rows.append({"labelling": labelling, "share": count / len(chain), "changes": changes})
    # The labels are a range where there is no coordinate. Those of concatenated runs repeat.
    return pd.DataFrame(rows, index=pd.Index(permutations["chain"].values, name="chain"))


def _missing(posterior: xr.Dataset) -> list[str]:
    """Say which variables hold NaN or infinite values, in which chains and in how many draws."""
    found = []
    for name, variable in posterior.data_vars.items():
        if variable.dtype.kind != "f" or not set(SAMPLE_DIMS) <= set(variable.dims):
            continue
        bad = ~np.isfinite(variable)
        bad = bad.any([dim for dim in variable.dims if dim not in SAMPLE_DIMS])
        n_draws = int(bad.sum())
        if n_draws:
            chains = bad["chain"].values[bad.any("draw").values].tolist()
            one = len(chains) == 1
            found.append(
                f"{name!r} holds NaN or infinite values in {n_draws} "
                f"draw{'s' if n_draws > 1 else ''} of chain{'' if one else 's'} "
                f"{', '.join(map(str, chains))}."
            )
    return found


def _repeated(posterior: xr.Dataset) -> list:
    """Return the labels of two chains that hold the same draws, if there are two.

    Chains that stand still may be the same all the same.
    """
    chains: dict[str, int] = {}
    for number in range(posterior.sizes["chain"]):
        summary = hashlib.sha256()
        varies = False
        for variable in posterior.data_vars.values():
            if variable.dtype.kind != "f" or not set(SAMPLE_DIMS) <= set(variable.dims):
                continue
            values = variable.isel(chain=number).transpose("draw", ...).values
            summary.update(np.ascontiguousarray(values).tobytes())
            varies |= bool((values != values[:1]).any())
        other = chains.setdefault(summary.hexdigest(), number)
        if varies and other != number:
            return posterior["chain"].values[[other, number]].tolist()
    return []


def _following(others: xr.Dataset, permutations: xr.DataArray) -> list[str]:
    """Name the variables that depend on which labels the components have in a draw.

    The values of such a variable are correlated with the place of a component, though relabelling
    has not moved them: by more than chance, given the effective number of draws, and by enough to
    matter.
    """
    from arviz_stats.base import array_stats

    n_chains, n_draws, *_, n_components = permutations.shape
    places = permutations.values.reshape(n_chains * n_draws, -1, 1) == np.arange(n_components)
    places = places.reshape(n_chains * n_draws, -1).astype(float)
    places = _standardised(places[:, np.ptp(places, axis=0) > 0])
    found = []
    for name, variable in others.items():
        values = np.asarray(variable.transpose(*SAMPLE_DIMS, ...).values, float)
        values = _standardised(values.reshape(n_chains * n_draws, -1))
        correlations = values.T @ places / len(values)
        if not correlations.any():
            continue
        element, place = np.unravel_index(abs(correlations).argmax(), correlations.shape)
        products = (values[:, element] * places[:, place]).reshape(n_chains, n_draws)
        ess = array_stats.ess(products, chain_axis=0, draw_axis=1, method="mean")
        error = products.std() / np.sqrt(max(float(ess), 1.0))
        limit = stats.norm.isf(FALSE_ALARMS / (2 * correlations.size)) * error
        if abs(products.mean()) > max(limit, np.sqrt(FOLLOWS)):
            found.append(name)
    return found


def _standardised(values: np.ndarray) -> np.ndarray:
    """Return columns with mean 0 and sd 1, but for those that do not vary, which are 0."""
    values = values - values.mean(axis=0)
    sd = values.std(axis=0)
    return np.divide(values, sd, out=np.zeros_like(values), where=sd > 0)


def _together(components: xr.DataTree, dims: Sequence[str]) -> _Judged:
    """Judge the sums over the components of the products of two of their parameters.

    They do not depend on labels, but on which values belong to one component.
    """
    parameters = []
    for variable in components["posterior"].data_vars.values():
        carried = [dim for dim in dims if dim in variable.dims]
        if len(carried) == 1:
            values = variable.transpose(*SAMPLE_DIMS, *carried, ...).values.astype(float)
            parameters.append(values.reshape(*values.shape[:3], -1))
    if not parameters:  # the rows and columns of a matrix are no parameters of one component
        return _Judged(*np.empty((3, 0)), [])
    # As many as have MOST_ELEMENTS pairs.
    values = np.concatenate(parameters, axis=-1)[..., : int(np.sqrt(2 * MOST_ELEMENTS))]
    values = _standardised(values.reshape(-1, values.shape[-1])).reshape(values.shape)
    first, second = np.triu_indices(values.shape[-1], 1)
    sums = (values[..., first] * values[..., second]).sum(axis=2)
    return _judge(xr.DataArray(sums, dims=(*SAMPLE_DIMS, "pair")), len(first))


def _do_groups_differ(dt: xr.DataTree, grouped: Relabelled) -> bool:
    """Return whether groups have permutations of their own, where both are decided."""
    decided = _decided(dt, grouped)
    decided = decided.reshape(-1, decided.shape[-1])
    permutations = grouped.permutations.values.reshape(*decided.shape, -1)
    first, *rest = np.flatnonzero(decided.mean(axis=0) > 0.5)
    for group in rest:
        both = decided[:, first] & decided[:, group]
        if share_alike(permutations[both, first], permutations[both, group]) < 1 - UNDECIDED:
            return True
    return False


def _group_dim(
    components: xr.DataTree, dims: Sequence[str], other: Relabelled | None
) -> str | None:
    """Look for a dimension of groups whose labels are independent of each other.

    Relabelled group by group, the components are far narrower than these permutations leave them,
    and than the other ones do that are the same for all groups; and the groups' permutations are
    not one and the same.
    """
    variables = components["posterior"].data_vars.values()
    shared = set.intersection(*(set(variable.dims) for variable in variables))
    for by in sorted(shared - {*SAMPLE_DIMS, *dims}):
        grouped = _by_pra(components, dims, by=by)
        if (
            grouped is not None
            and _is_wider(components, grouped)
            and (other is None or _is_wider(other.dt, grouped))
            and _do_groups_differ(components, grouped)
        ):
            return by
    return None


# The verdict --------------------------------------------------------------------------------------


def diagnose(
    dt: xr.DataTree,
    *,
    method: str | None = None,
    model: pm.Model | None = None,
    dim: str | Sequence[str] | None = None,
    **inputs: Any,
) -> Diagnosis:
    """Find out whether a bad r-hat is label switching, and whether relabelling repairs it.

    Three causes of a large r-hat look the same in a summary: chains that settled in different
    labellings, chains that change labels on the way, and chains that have not converged. This
    compares r-hat and ESS as labelled, after relabelling, and of quantities that do not depend on
    labels. If the last are bad, labels are not the problem.

    Parameters
    ----------
    dt : xarray.DataTree
        Draws with a group ``posterior``.
    method : str, optional
        How to relabel; by default as :func:`relabel` chooses.
    model : pymc.Model, optional
        The model that the draws come from.
    dim : str or sequence of str, optional
        The dimensions that index components, as for :func:`relabel`.
    **inputs
        Further arguments of :func:`relabel`.

    Returns
    -------
    Diagnosis
        With ``.verdict`` in words, ``.findings`` and ``.recommendation`` for a program,
        ``.table``, ``.switches`` and ``.relabelled``.

    Raises
    ------
    ValueError, TypeError
        As :func:`relabel`.

    Notes
    -----
    r-hat is judged against what chance allows, given the effective number of draws within the
    half-chains and the number of elements (Gelman and Rubin 1992, with the ranks of Vehtari et al.
    2021), and never below 1.01.

    A switch is a change of the permutation that relabelling found. Where components overlap,
    single draws may be put right either way, so one per cent of stray draws in a chain is not
    called switching. Components that hold less than one observation on average in every chain (by
    the allocations, the mean responsibilities, or the weights), and by the allocations none in most
    draws, are left out of every judgement.

    Parameters without components are judged too, and so is whether they follow the labels: in draws
    whose labels have moved, the weight of one component is another one. A variable that is not
    judged (its values are no numbers, or too many) is named, and nothing is recommended for use.

    References
    ----------
    Vehtari, A., Gelman, A., Simpson, D., Carpenter, B. and Buerkner, P.-C. (2021).
    Rank-normalization, folding, and localization: an improved R-hat for assessing convergence
    of MCMC. *Bayesian Analysis* 16(2), 667-718. (The limits 1.01 and 100 for each chain.)

    Gelman, A. and Rubin, D. B. (1992). Inference from iterative simulation using multiple
    sequences. *Statistical Science* 7(4), 457-472. (The F distribution of the ratio.)

    Examples
    --------
    Four chains, two of them with their labels exchanged:

    >>> import arviz as az, numpy as np
    >>> import labelswitch
    >>> rng = np.random.default_rng(1)
    >>> mu = rng.normal([-2.0, 2.0], 0.1, size=(4, 1000, 2))
    >>> mu[1::2] = mu[1::2, :, ::-1]
    >>> dt = az.from_dict({"posterior": {"mu": mu}}, dims={"mu": ["component"]})
    >>> diagnosis = labelswitch.diagnose(dt)
    >>> print(diagnosis.verdict)
    The labels switch between chains: 4 chains, 2 labellings.
    Relabelling takes the worst r-hat from 1.73 to 1.00: the labels were the fault.
    Use the relabelled draws.
    >>> diagnosis.findings
    ('switching_between_chains', 'repaired')
    >>> diagnosis.switches["labelling"].tolist()
    [(0, 1), (1, 0), (0, 1), (1, 0)]
    """
    before = get_posterior(dt)
    sentences = _missing(before)
    if sentences:
        return Diagnosis(
            verdict="\n".join([*sentences, RECOMMENDATIONS["find_nan"]]),
            findings=("nan",),
            recommendation="find_nan",
            table=pd.DataFrame(),
            switches=pd.DataFrame(),
            relabelled=None,
        )
    relabelled = relabel(dt, method=method, model=model, dim=dim, **inputs)
    after = relabelled.dt["posterior"].to_dataset()
    z = _allocations(relabelled)
    held, source = _held(z, relabelled)
    holding = None if z is None else _holding(z, relabelled.permutations.shape[-1])
    occupied, by_weights = _occupied(dt, relabelled, held, holding)
    source = by_weights or source
    given = (inputs.get("responsibilities"), relabelled.allocations)
    names = component_variables(
        relabelled.dt, relabelled.dims, model, *given, sure=True, kinds=NUMBERS
    )
    by_observation = observation_wise(relabelled.dt, relabelled.dims, model, *given)
    # Of several observed variables some may be those of groups. Who names the others need not ask.
    is_open = model is None and given[0] is None and not relabelled.allocations
    observed = observed_variables(dt).values()
    is_open = is_open and len({frozenset(variable.dims) for variable in observed}) > 1
    others, unjudged = _others(after, names, relabelled, by_observation, is_open)
    if holding is not None and relabelled.by is None:
        after = after.assign({OCCUPANCY: (SAMPLE_DIMS, holding.sum(axis=-1))})
        others.append(OCCUPANCY)
    switches = _switches(relabelled.permutations, occupied)
    judged = _judge_all(before, after, names, others, relabelled, occupied, switches)
    of_components = {name: kinds for name, kinds in judged.items() if name not in others}
    table = _table(of_components)

    findings, sentences = _switching(switches, relabelled)
    repeated = _repeated(before)
    if repeated:
        findings.append("repeated_chains")
        sentences.append(
            f"Chains {' and '.join(map(str, repeated))} hold the same draws and are one chain, "
            "which r-hat and ESS count more than once: give each chain a seed of its own."
        )
    moves = switches["labelling"].nunique() > 1 or bool((switches["share"] < 1).any())
    more, recommendation = _repair(of_components, findings, sentences, relabelled, moves)
    disagree = [name for name in others if judged[name]["relabelled"].is_bad]
    if disagree and recommendation != "run_more_chains":
        findings.append("another_mode")
        worst = _largest(
            np.array([_largest(judged[name]["relabelled"].r_hat) for name in disagree])
        )
        more.append(
            f"The chains disagree about {', '.join(disagree)} (r-hat {worst:.2f}): they have not "
            "converged, or it belongs to one component and was not relabelled."
        )
        recommendation = "do_not_use"
    more += [f"Not judged, {why}: {', '.join(left)}." for why, left in unjudged.items()]
    components = _whole_components(after, names, relabelled, occupied)
    dims = [dim for dim in relabelled.dims if dim in components["posterior"].dims]
    by = other = None
    if relabelled.by is None and recommendation in ("overlap", *USE):
        may_be_narrower = _may_be_narrower(components, dims)
        if may_be_narrower or recommendation == "overlap":
            other = _by_pra(components, dims)
        if may_be_narrower:
            by = _group_dim(components, dims, other)
    if by is not None:
        findings.append("per_group_labels")
        sentences.append(
            f"Relabelled by group of {by!r}, the components are far narrower: one permutation for "
            "all groups does not repair labels that are independent by group."
        )
        recommendation = "use_by"
    elif recommendation == "overlap" and (together := _together(components, dims)).is_bad:
        findings.append("another_mode")
        sentences.append(
            "The chains disagree about which values belong to one component, which does not "
            f"depend on labels (r-hat {_largest(together.r_hat):.2f}). They have not converged, "
            "and no relabelling repairs that."
        )
        recommendation = "do_not_use"
    elif recommendation == "overlap":
        n_elements = sum(item["relabelled"].r_hat.size for item in judged.values())
        other_method = other is not None and not any(
            _judge(variable, n_elements).is_bad
            for variable in other.dt["posterior"].data_vars.values()
        )
        findings.append("overlap")
        sentences.append(
            "What does not depend on labels agrees: the method is the wrong one, for 'pra' "
            "repairs these draws."
            if other_method
            else "What does not depend on labels agrees: the components overlap too much for "
            "these labels, or the method is the wrong one."
        )
        recommendation = "compare_methods"
    if recommendation in USE:
        undecided = _undecided(dt, relabelled, occupied, components, model, inputs)
        doubt = _doubt(
            relabelled, undecided, _one_under_two_names(held, occupied), components, other
        )
        if doubt:
            findings.append("overlap")
            sentences.append(doubt)
            recommendation = "compare_methods"
    sentences += more
    if not occupied.all():
        findings.append("empty_components")
        n_empty = int((~occupied).sum())
        sentences.append(
            f"By {source}, {n_empty} of {occupied.size} components hold"
            f"{'s' if n_empty == 1 else ''} less than one observation on average: their values are "
            "draws from the prior, their labels mean nothing, and they are left out above."
        )
    if recommendation in USE:
        rest = {name: judged[name]["relabelled"] for name in others if name != OCCUPANCY}
        following = _following(after[list(rest)], relabelled.permutations) if moves else []
        limit = ESS_LIMIT_PER_CHAIN * after.sizes["chain"]
        slow = {name: _smallest(item.ess) for name, item in rest.items()}
        slow = {name: ess for name, ess in slow.items() if ess < ESS_MARGIN * limit}
        if following:
            findings.append("follows_labels")
            sentences.append(
                f"The labels have moved {', '.join(following)}, and relabelling has not: name the "
                "dimension of the components, or compute anew from the relabelled draws."
            )
            recommendation = "judge_first"
        elif unjudged:
            findings.append("not_judged")
            recommendation = "judge_first"
        elif slow:
            findings.append("too_few_draws")
            sentences.append(
                f"The smallest ESS of {', '.join(slow)} is {min(slow.values()):.0f}, where {limit} "
                "are wanted: r-hat itself is unreliable."
            )
            recommendation = "run_longer"
        elif repeated:
            recommendation = "run_more_chains"
    if not relabelled.converged:
        sentences.append("The relabelling has not converged: raise max_sweeps.")
        if recommendation == "use_relabelled":
            recommendation = "compare_methods"
    sentences.append(RECOMMENDATIONS[recommendation].format(repr(by)))
    return Diagnosis(
        verdict="\n".join(sentences),
        findings=tuple(findings),
        recommendation=recommendation,
        table=table,
        switches=switches,
        relabelled=relabelled,
    )


def _doubt(
    relabelled: Relabelled,
    undecided: float,
    is_one_twice: bool,
    components: xr.DataTree,
    other: Relabelled | None,
) -> str:
    """Say why labels with a small r-hat may be wrong all the same; nothing if they seem right."""
    if undecided > UNDECIDED:
        return (
            f"The labels of {undecided:.0%} of the draws are undecided: another permutation is "
            "nearly as good, so a small r-hat does not show that they are right."
        )
    if is_one_twice:
        return (
            "Two components hold the same observations, each in equal parts: no labels tell them "
            "apart, and a small r-hat does not show that these are right."
        )
    if relabelled.method == "pra" or other is None or not _is_wider(components, other):
        return ""
    questions = {
        "permutations": "are they the inverse ones?",
        "order": "does what they are sorted by tell them apart?",
    }
    others = "are the responsibilities or allocations of these draws, in their order?"
    return (
        "The components are wider than 'pra' leaves them, so these permutations mix them: "
        + questions.get(relabelled.method, others)
    )


def _undecided(
    dt: xr.DataTree,
    relabelled: Relabelled,
    occupied: np.ndarray,
    components: xr.DataTree,
    model: pm.Model | None,
    inputs: dict[str, Any],
) -> float:
    """Return the share of draws for which another permutation is nearly as good.

    Empty components exchange their values at will. Where some are empty, only how sure a
    relabelling of the others by their parameters is counts, and without parameters of whole
    components nothing is known.
    """
    if relabelled.confidence is None or relabelled.method not in DOUBT:
        return 0.0
    how = {"var_names": inputs.get("var_names")}
    if occupied.all():
        how |= {"model": model, "responsibilities": inputs.get("responsibilities")}
    else:
        dims = [dim for dim in relabelled.dims if dim in components["posterior"].dims]
        dt, relabelled = components, _by_pra(components, dims, **how)
    decided = None if relabelled is None else _decided(dt, relabelled, **how)
    return 0.0 if decided is None else float((~decided).mean())


def _judge_all(
    before: xr.Dataset,
    after: xr.Dataset,
    names: Sequence[str],
    others: Sequence[str],
    relabelled: Relabelled,
    occupied: np.ndarray,
    switches: pd.DataFrame,
) -> dict[str, dict[str, _Judged | None]]:
    """Judge each variable as labelled, as relabelled, sorted and in total, without the empty."""
    for siblings in relabelled.siblings:
        name = ", ".join(siblings)
        before = before.assign({name: stack_siblings(before, siblings)})
        after = after.assign({name: stack_siblings(after, siblings)})
        names = [*names, name]
    dims = (*relabelled.dims, "_sibling")
    weights = _weights(after, dims)
    full = {dim: occupied for name in names for dim in after[name].dims if dim in dims}
    keep = {dim: np.flatnonzero(mask) for dim, mask in full.items()}
    # As labelled, an empty component has a name only where all chains have the same labelling.
    # Where they have not, none is left out.
    first = list(switches["labelling"].iloc[0])
    is_one = not occupied.all() and switches["labelling"].nunique() == 1
    keep_labelled = dict.fromkeys(keep, first) if is_one else {}
    if weights is not None:
        weights = weights.isel(_component=np.flatnonzero(occupied))
    n_elements = sum(
        after[name].isel(_here(after[name], keep))[{"chain": 0, "draw": 0}].size for name in names
    )
    n_elements += sum(after[name][{"chain": 0, "draw": 0}].size for name in others)
    judged = {}
    for name in names:
        here = _here(after[name], keep)
        moved = after[name].isel(here)
        values = {
            "labelled": before[name].isel(_here(before[name], keep_labelled)),
            "relabelled": moved,
            "sorted": _sorted(moved, dims),
            "total": _total(moved, dims, weights),
        }
        judged[name] = {
            kind: None if array is None else _judge(array, n_elements)
            for kind, array in values.items()
        }
    for name in others:
        judged[name] = {"relabelled": _judge(after[name], n_elements)}
    return judged


def _others(
    after: xr.Dataset,
    judged: Sequence[str],
    relabelled: Relabelled,
    by_observation: Callable[[xr.DataArray], bool],
    is_open: bool,
) -> tuple[list[str], dict[str, list[str]]]:
    """Name the further variables that are judged, and those that are not, by reason.

    What has a value for each observation and component is passed over without a word, unless it is
    open which dimensions are those of the observations.
    """
    found, unjudged = [], {}
    siblings = {name for names in relabelled.siblings for name in names}
    for name, variable in after.data_vars.items():
        if name in (*judged, *relabelled.allocations, *siblings):
            continue
        if not set(SAMPLE_DIMS) <= set(variable.dims):
            continue
        if variable.dtype.kind not in NUMBERS:
            why = "for its values are no real numbers"
        elif set(relabelled.dims) & set(variable.dims) and by_observation(variable) and not is_open:
            continue
        elif variable.size > MOST_VALUES:
            why = "for its size"
        else:
            found.append(name)
            continue
        unjudged.setdefault(why, []).append(name)
    return found, unjudged


def _here(variable: xr.DataArray, keep: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {dim: index for dim, index in keep.items() if dim in variable.dims}


def _table(judged: dict[str, dict[str, _Judged | None]]) -> pd.DataFrame:
    rows = {}
    for name, kinds in judged.items():
        rows[name] = {}
        for kind, item in kinds.items():
            worst = None if item is None else item.worst
            empty = item is None or np.isnan(item.ess).all()
            rows[name][f"r_hat_{kind}"] = np.nan if item is None else _largest(item.r_hat)
            rows[name][f"ess_{kind}"] = np.nan if empty else float(np.nanmin(item.ess))
            if kind == "relabelled":
                rows[name]["r_hat_limit"] = np.nan if worst is None else float(item.limit[worst])
                rows[name]["element"] = "" if worst is None else item.names[worst]
    return pd.DataFrame.from_dict(rows, orient="index")


def _switching(switches: pd.DataFrame, relabelled: Relabelled) -> tuple[list[str], list[str]]:
    """Say whether labels have switched."""
    n_chains, n_labellings = len(switches), switches["labelling"].nunique()
    n_draws = relabelled.permutations.sizes["draw"]
    stray = 1 - switches["share"]
    # Two stray draws of a short chain are no switching either.
    is_within = (stray > STRAGGLERS) & (stray * n_draws > 2.5)
    within = switches[is_within]
    findings, sentences = [], []
    if n_labellings > 1:
        findings.append("switching_between_chains")
        sentences.append(
            f"The labels switch between chains: {n_chains} chains, {n_labellings} labellings."
        )
    if len(within):
        findings.append("switching_within_chains")
        sentences.append(
            f"The labels switch within chains ({', '.join(map(str, within.index))}): the "
            f"permutation changes {within['changes'].sum()} times."
        )
    if not findings:
        findings.append("no_switching")
        sentences.append("No label switching was found.")
    n_stray = round((stray * n_draws)[~is_within].sum())
    if n_stray:
        sentences.append(f"Single draws that leave the labelling of their chain: {n_stray}.")
    return findings, sentences


def _repair(
    judged: dict[str, dict[str, _Judged | None]],
    findings: list[str],
    sentences: list[str],
    relabelled: Relabelled,
    moves: bool,
) -> tuple[list[str], str]:
    """Say what relabelling repaired; return what remains to be said, and what to do.

    Draws that relabelling moves are wrong as sampled, though they may be too few to be called a
    switch.
    """

    def worst(kind: str) -> float:
        items = [kinds[kind] for kinds in judged.values() if kinds[kind] is not None]
        return _largest(np.array([_largest(item.r_hat) for item in items] or [np.nan]))

    def bad(kind: str) -> list[str]:
        return [name for name, kinds in judged.items() if kinds[kind] and kinds[kind].is_bad]

    sizes = relabelled.permutations.sizes
    n_chains, n_draws = sizes["chain"], sizes["draw"]
    switched = "no_switching" not in findings
    labelled, repaired = worst("labelled"), worst("relabelled")
    invariant = max(worst("sorted"), worst("total")) if judged else np.nan
    if np.isnan(invariant):
        invariant = worst("sorted")
    disagree = sorted(set(bad("sorted")) | set(bad("total")))
    remain: list[str] = []
    if n_draws < 4:
        findings.append("too_few_draws")
        size = "One draw" if n_draws == 1 else f"{n_draws} draws"
        remain.append(f"{size} a chain cannot tell whether the chains agree.")
        return remain, "run_longer"
    if n_chains == 1:
        findings.append("one_chain")
        remain.append("One chain cannot show switching between chains and has no r-hat.")
        return remain, "run_more_chains"
    if np.isnan(repaired):
        findings.append("not_judged")
        if not judged:
            remain.append("No variable of whole components was found to judge.")
            return remain, "judge_first"
        remain.append(
            "No value of a component varies, so there is no r-hat: the chains stand still."
        )
        return remain, "do_not_use"

    is_repaired = bool(bad("labelled")) and not bad("relabelled")
    if is_repaired or (switched and bad("labelled") and repaired < labelled):
        if is_repaired:
            findings.append("repaired")
            sentences.append(
                f"Relabelling takes the worst r-hat from {labelled:.2f} to {repaired:.2f}: the "
                "labels were the fault."
            )
        else:
            findings.append("not_repaired")
            sentences.append(
                f"Relabelling takes the worst r-hat from {labelled:.2f} to {repaired:.2f} "
                f"({', '.join(bad('relabelled'))}): the labels were not the only fault."
            )
    elif bad("relabelled"):
        findings.append("not_repaired")
        sentences.append(
            f"r-hat is {repaired:.2f} after relabelling ({', '.join(bad('relabelled'))}) and was "
            f"{labelled:.2f} before: relabelling does not repair it."
        )
    elif switched:
        findings.append("repaired")
        small = "was small" if labelled <= R_HAT_LIMIT else "is no more than chance allows"
        sentences.append(
            f"r-hat {small} all the same ({labelled:.2f}), for the chains visit the labellings "
            "alike. Means by label are still means over labellings."
        )
    else:
        findings.append("not_needed")
        if repaired > R_HAT_LIMIT:
            sentences.append(
                f"r-hat is at most {repaired:.2f}, which chance allows with so few effective draws."
            )
        else:
            sentences.append(f"r-hat is at most {repaired:.2f}.")

    ess = _smallest_ess(judged)
    limit = ESS_LIMIT_PER_CHAIN * n_chains
    few = ess < ESS_MARGIN * limit
    if disagree:
        findings.append("another_mode")
        remain.append(
            f"The chains disagree about what does not depend on labels ({', '.join(disagree)}: "
            f"r-hat {invariant:.2f}). They have not converged, and no relabelling repairs that."
        )
        return remain, "do_not_use"
    if bad("relabelled"):
        return remain, "overlap"
    if few:
        findings.append("too_few_draws")
        remain.append(
            f"The smallest ESS after relabelling is {ess:.0f}, where {limit} are wanted for "
            f"{n_chains} chains: r-hat itself is unreliable."
        )
        return remain, "run_longer"
    return remain, "use_relabelled" if moves or is_repaired else "use_as_sampled"


def _smallest_ess(judged: dict[str, dict[str, _Judged | None]]) -> float:
    return _smallest(np.array([_smallest(item["relabelled"].ess) for item in judged.values()]))
