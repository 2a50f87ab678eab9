"""What needs no labels: which observations belong together, and how many groups there are.

A relabelling is one answer to "who is component a?". These functions ask questions that do not have
that problem, so they work on the draws as sampled.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from labelswitch import kernels, validation
from labelswitch.draws import as_tuple, find_responsibilities, find_variable
from labelswitch.mixture import SAMPLE_DIMS, get_posterior
from labelswitch.mixture import responsibilities as compute_responsibilities

if TYPE_CHECKING:
    import pymc as pm

LOSSES = ("vi", "binder")


@dataclass(frozen=True, repr=False, kw_only=True)
class Partition:
    """One clustering of the observations that minimises a posterior expected loss.

    Attributes
    ----------
    labels : xarray.DataArray
        The cluster of each observation, 0, 1, ... in the order of their first observations.
    n_clusters : int
        The number of clusters.
    expected_loss : float
        The mean loss over the draws. In nats for "vi"; for "binder" the share of pairs of
        observations that a draw puts together and the clustering does not, or the reverse.
    loss : str
        "vi" or "binder".
    """

    labels: xr.DataArray
    n_clusters: int
    expected_loss: float
    loss: str

    def __repr__(self) -> str:
        """Summarise in one line."""
        return (
            f"<Partition of {self.labels.size} observations into {self.n_clusters} clusters, "
            f"expected {self.loss} loss {self.expected_loss:.4g}>"
        )


def _source(
    dt: xr.DataTree,
    model: pm.Model | None,
    responsibilities: str | xr.DataArray | None,
    allocations: str | None,
) -> tuple[xr.DataArray, bool]:
    """Return allocations, or responsibilities with components last, and which of them it is."""
    posterior = get_posterior(dt)
    given = sum(item is not None for item in (model, responsibilities, allocations))
    if given != 1:
        raise ValueError(
            "allocations, responsibilities, model: pass exactly one of them; "
            f"{given} were given. Allocations are exact; responsibilities and a model that has "
            "summed the allocations out average over them."
        )
    if allocations is not None:
        if len(as_tuple(allocations, "allocations")) != 1:
            raise ValueError("allocations: name one variable.")
        values = find_variable(dt, as_tuple(allocations, "allocations")[0], "allocations")
        if values.dtype.kind not in "iu":
            raise TypeError(
                f"allocations: {values.name!r} holds {values.dtype}, not integer labels. Convert "
                f"it first with .astype(int)."
            )
        _check_not_empty(values, "allocations")
        low, high = int(values.min()), int(values.max())
        if low < 0 or high > np.iinfo(np.int32).max - 1:
            raise ValueError(
                f"allocations: {values.name!r} has the label {low if low < 0 else high}; number "
                "the components 0, 1, ..."
            )
        return values.transpose(*SAMPLE_DIMS, ...), True
    if model is not None:
        p = compute_responsibilities(dt, model=model)
    else:
        p = find_responsibilities(dt, responsibilities)
    own = [name for name in p.dims if name not in SAMPLE_DIMS]
    if not set(SAMPLE_DIMS) <= set(p.dims) or len(own) < 2:
        raise ValueError(
            "responsibilities: dimensions chain, draw, observation and component are needed; "
            f"these have {p.dims}."
        )
    component = "component" if "component" in own else own[-1]
    if p.sizes["chain"] != posterior.sizes["chain"] or p.sizes["draw"] != posterior.sizes["draw"]:
        raise ValueError("responsibilities: their chains or draws differ from the posterior's.")
    _check_not_empty(p, "responsibilities")
    return p.transpose(*SAMPLE_DIMS, ..., component), False


def _check_not_empty(values: xr.DataArray, argument: str) -> None:
    if values.size == 0:
        raise ValueError(
            f"{argument}: they are empty, with sizes {dict(values.sizes)}. At least one "
            "observation is needed; look at the selection that has left none."
        )


def _normalised(p: np.ndarray, component: str) -> np.ndarray:
    """Return responsibilities (observations, components) divided by their sums.

    Refuse those that are no distributions. What rounding has taken would otherwise count as a share
    of the last component.
    """
    total = p.sum(axis=-1, keepdims=True)
    if not (p >= 0).all() or not (abs(total - 1) <= validation.SUM_TOLERANCE).all():
        raise ValueError(
            f"responsibilities: along {component!r} they are no probabilities that sum to one. The "
            "dimension of the components must be called 'component' or be the last one; NaN and "
            "counts are refused. Divide rounded ones by their sums."
        )
    return p / total


def _one_observation_dim(values: xr.DataArray, n_last: int) -> str:
    own = values.dims[2 : values.ndim - n_last]
    if len(own) != 1:
        raise ValueError(
            f"observations: one dimension is needed, not {own}. Select or stack first."
        )
    return own[0]


def _sampled(values: xr.DataArray, is_allocation: bool, seed) -> np.ndarray:
    """Return allocations (draws, observations): the sampled ones, or a draw from each p."""
    if is_allocation:
        z = np.asarray(values.values)
        z = z.reshape(z.shape[0] * z.shape[1], -1)
        if z.max() >= z.size:  # so that no table of the labels is larger than the draws
            z = np.unique(z, return_inverse=True)[1].reshape(z.shape)
        return np.ascontiguousarray(z, np.int32)
    rng = validation.check_seed(seed)
    n_chains, n_draws, n, _ = values.shape
    z = np.empty((n_chains * n_draws, n), np.int32)
    for chain in range(n_chains):
        for draw in range(n_draws):
            level = rng.random((n, 1))
            p = _normalised(np.asarray(values[chain, draw], np.float64), values.dims[-1])
            cumulative = p.cumsum(axis=1)[:, :-1]
            z[chain * n_draws + draw] = (cumulative < level).sum(axis=1)
    return z


def _share_of_pairs(rows, columns, component: str | None) -> np.ndarray:
    """Return the mean over chains and draws of "row i and column j share a component", float32.

    Allocations (chain, draw, n), or responsibilities (chain, draw, n, K) with the name of the last
    dimension, of the rows and of the columns.
    """
    total = np.zeros((rows.shape[2], columns.shape[2]), np.float32)
    n_chains, n_draws = rows.shape[:2]
    for chain in range(n_chains):
        if component is None:
            left, right = (np.asarray(part[chain], np.int32) for part in (rows, columns))
            kernels.add_pairs(np.ascontiguousarray(left), np.ascontiguousarray(right), total)
            continue
        for draw in range(n_draws):
            left, right = (
                _normalised(np.asarray(part[chain, draw], np.float32), component)
                for part in (rows, columns)
            )
            # A block of rows at a time, so that no second matrix is held.
            for start in range(0, len(left), 256):
                total[start : start + 256] += left[start : start + 256] @ right.T
    total /= n_chains * n_draws
    return total


def _lazy_share_of_pairs(values, n: int, chunks: int, component: str | None):
    """Return the same as a Dask array of blocks; those below the diagonal are transposed ones."""
    if isinstance(chunks, bool) or not isinstance(chunks, int | np.integer) or chunks < 1:
        raise ValueError(f"chunks: a whole number of observations is needed, not {chunks!r}.")
    try:
        import dask
        import dask.array as da
    except ImportError as error:
        raise ImportError(
            "chunks: needs Dask, which is not installed. Install dask[array], or leave chunks out."
        ) from error

    def block(rows, columns, on_diagonal):
        share = _share_of_pairs(rows, columns, component)
        if on_diagonal:
            np.fill_diagonal(share, 1.0)
        return share

    parts = [values[:, :, start : start + chunks] for start in range(0, n, chunks)]
    grid = [[None] * len(parts) for _ in parts]
    for a, rows in enumerate(parts):
        for b, columns in enumerate(parts[a:], start=a):
            made = dask.delayed(block)(rows, columns, a == b)
            shape = (rows.shape[2], columns.shape[2])
            grid[a][b] = da.from_delayed(made, shape, np.float32)
            grid[b][a] = grid[a][b].T
    return da.block(grid)


def similarity(
    dt: xr.DataTree,
    *,
    model: pm.Model | None = None,
    responsibilities: str | xr.DataArray | None = None,
    allocations: str | None = None,
    chunks: int | None = None,
) -> xr.DataArray:
    r"""Probability that two observations share a component, averaged over the draws.

    It does not depend on labels, so it takes the draws as they were sampled.

    Parameters
    ----------
    dt : xarray.DataTree
        Draws with a group ``posterior``.
    model : pymc.Model, optional
        A model with one mixture, from which the responsibilities are computed.
    responsibilities : str or xarray.DataArray, optional
        P(z | y) at each draw; components on the dimension "component", or the last one. They are
        divided by their sums, which rounding may take from one by 1e-4. Dask arrays are read draw
        by draw.
    allocations : str, optional
        An integer variable of sampled labels. Exactly one of the three is needed.
    chunks : int, optional
        Return a lazy Dask array of square blocks of so many observations, each computed from the
        draws when it is asked for. Needs Dask.

    Returns
    -------
    xarray.DataArray
        Float32, symmetric, with a diagonal of one; dimensions that of the observations and the same
        with ``_other`` behind it. It takes 4 bytes for each pair, and nothing else of that size is
        held: 400 MB for 10,000 observations. Beyond, use `chunks`.

    Raises
    ------
    ValueError, TypeError
        If none or several of the three are given, they lack a dimension or observations,
        responsibilities do not sum to one, labels are negative, or chunks is no positive whole
        number.
    ImportError
        If chunks is given and Dask is not installed.

    Notes
    -----
    With allocations it is the share of draws in which :math:`z_i = z_j`. With responsibilities it
    is the mean of :math:`\sum_k p_{ik} p_{jk}`, the expectation of that share given the parameters,
    so that it has less Monte Carlo error.

    References
    ----------
    Fritsch, A. and Ickstadt, K. (2009). Improved criteria for clustering based on the posterior
    similarity matrix. *Bayesian Analysis* 4(2), 367-391.

    Examples
    --------
    >>> import arviz as az, numpy as np
    >>> import labelswitch
    >>> z = np.array([[[0, 0, 1], [1, 1, 0], [0, 1, 1], [1, 1, 0]]])
    >>> dt = az.from_dict({"posterior": {"z": z}}, dims={"z": ["obs"]})
    >>> labelswitch.similarity(dt, allocations="z").values
    array([[1.  , 0.75, 0.  ],
           [0.75, 1.  , 0.25],
           [0.  , 0.25, 1.  ]], dtype=float32)
    """
    values, is_allocation = _source(dt, model, responsibilities, allocations)
    name = _one_observation_dim(values, 0 if is_allocation else 1)
    n = values.sizes[name]
    component = None if is_allocation else values.dims[-1]
    if chunks is None:
        total = _share_of_pairs(values.data, values.data, component)
        np.fill_diagonal(total, 1.0)
    else:
        total = _lazy_share_of_pairs(values.data, n, chunks, component)
    coords = {}
    if name in values.coords:
        labels = values[name].values
        coords = {name: labels, f"{name}_other": labels}
    return xr.DataArray(total, dims=(name, f"{name}_other"), coords=coords, name="similarity")


def partition(
    dt: xr.DataTree,
    *,
    loss: str = "vi",
    model: pm.Model | None = None,
    responsibilities: str | xr.DataArray | None = None,
    allocations: str | None = None,
    n_runs: int = 16,
    seed: int | np.random.Generator = 0,
) -> Partition:
    r"""Find one clustering of the observations that minimises the posterior expected loss.

    Parameters
    ----------
    dt : xarray.DataTree
        Draws with a group ``posterior``, as sampled: labels do not matter.
    loss : {"vi", "binder"}
        The variation of information, or Binder's loss with equal costs.
    model, responsibilities, allocations
        As for :func:`similarity`. From responsibilities an allocation is sampled for each draw,
        which is an exact draw from the posterior of the allocations.
    n_runs : int
        Searches, each in another random order of the observations.
    seed : int or numpy.random.Generator
        For the orders, and for allocations sampled from responsibilities.

    Returns
    -------
    Partition
        The best clustering found, and its expected loss over the sampled clusterings.

    Raises
    ------
    ValueError, TypeError
        If the loss is unknown, n_runs is no positive whole number, or as :func:`similarity`.

    Notes
    -----
    The search builds a clustering observation by observation in a random order, each joining the
    cluster, or opening one, that costs least, and then moves single observations until none lowers
    the expected loss; then clusters are dissolved and their observations placed anew (Dahl, Johnson
    and Mueller 2022). The expectation is that over the draws, not
    the lower bound of Wade and Ghahramani (2018). Such sweeps also start from the best sampled
    clustering or cut of the average-linkage dendrogram of the similarities, so that the result is
    never worse than any draw or any of these cuts: those into up to twice as many clusters as a
    draw has, into single observations, and the best of all for Binder's loss.

    References
    ----------
    Dahl, D. B., Johnson, D. J. and Mueller, P. (2022). Search algorithms and loss functions for
    Bayesian clustering. *Journal of Computational and Graphical Statistics* 31(4), 1189-1201.

    Wade, S. and Ghahramani, Z. (2018). Bayesian cluster analysis: point estimation and credible
    balls. *Bayesian Analysis* 13(2), 559-626.

    Examples
    --------
    >>> import arviz as az, numpy as np
    >>> import labelswitch
    >>> z = np.array([[[0, 0, 1, 1], [1, 1, 0, 0], [0, 0, 1, 1], [1, 0, 0, 0]]])
    >>> dt = az.from_dict({"posterior": {"z": z}}, dims={"z": ["obs"]})
    >>> found = labelswitch.partition(dt, allocations="z")
    >>> found.labels.values
    array([0, 0, 1, 1])
    >>> round(found.expected_loss, 3)
    0.206
    """
    if loss not in LOSSES:
        raise ValueError(f"loss: {loss!r} is unknown. Choose one of {', '.join(LOSSES)}.")
    rng = validation.check_seed(seed)
    n_runs = validation.check_count(n_runs, "n_runs")
    values, is_allocation = _source(dt, model, responsibilities, allocations)
    name = _one_observation_dim(values, 0 if is_allocation else 1)
    z = kernels.compact(_sampled(values, is_allocation, rng))
    is_vi = loss == "vi"
    n = z.shape[1]
    candidates = [*_cuts(z), *np.unique(z, axis=0)]
    losses = [kernels.expected_loss(z, one, is_vi) for one in candidates]
    best, lowest = candidates[int(np.argmin(losses))], min(losses)

    def search(start):
        most = max(2 * (int(max(z.max(), best.max())) + 1), 16)  # room for more than the best has
        labels = kernels.search_partition(z, start, rng.permutation(n), most, is_vi)
        return labels, kernels.expected_loss(z, labels, is_vi)

    for start in [best] + [np.full(n, -1, np.int32)] * n_runs:
        labels, expected = search(start)
        if expected < lowest:
            best, lowest = labels, expected
    improved = True
    while improved:  # dissolve one cluster after the other, and place its observations anew
        improved = False
        # An observation that is alone has been placed anew by the search that left it there.
        for cluster in np.flatnonzero(np.bincount(best) > 1):
            labels, expected = search(np.where(best == cluster, -1, best).astype(np.int32))
            if expected < lowest - 1e-12:
                best, lowest, improved = labels, expected, True
                break
    _, first, inverse = np.unique(best, return_index=True, return_inverse=True)
    labels = np.argsort(np.argsort(first))[inverse]
    found = xr.DataArray(labels, dims=[name], name="partition")
    if name in values.coords:
        found = found.assign_coords({name: values[name].values})
    lowest = max(float(lowest), 0.0)  # a loss of zero may be below by rounding
    return Partition(labels=found, n_clusters=len(first), expected_loss=lowest, loss=loss)


def _cuts(z: np.ndarray) -> list[np.ndarray]:
    """Cut the average-linkage dendrogram of the similarities into few clusters, or many.

    To join two clusters changes Binder's loss by their mean distance less 1/2, for each pair of
    observations, so that the cut at 1/2 is the best of all for it, however many clusters it has.
    """
    from scipy.cluster.hierarchy import fcluster, linkage
    from scipy.spatial.distance import squareform

    n = z.shape[1]
    if n < 2:
        return [np.zeros(n, np.int32)]
    total = np.zeros((n, n), np.float32)
    kernels.add_pairs(z, z, total)
    distance = 1 - total / len(z)
    np.fill_diagonal(distance, 0.0)
    tree = linkage(squareform(distance, checks=False), "average")
    most = int(min(n, 2 * (z.max() + 1)))
    cuts = [fcluster(tree, count, "maxclust") for count in range(1, most + 1)]
    cuts += [fcluster(tree, 0.5, "distance"), np.arange(1, n + 1)]
    cuts = {tuple((cut - 1).tolist()) for cut in cuts}
    return [np.array(cut, np.int32) for cut in cuts]


def n_occupied(
    dt: xr.DataTree,
    *,
    model: pm.Model | None = None,
    responsibilities: str | xr.DataArray | None = None,
    allocations: str | None = None,
    at_least: int = 1,
    seed: int | np.random.Generator = 0,
) -> xr.DataArray:
    """Posterior of the number of components that hold observations.

    Parameters
    ----------
    dt : xarray.DataTree
        Draws with a group ``posterior``, as sampled.
    model, responsibilities, allocations
        As for :func:`similarity`. From responsibilities an allocation is sampled for each draw.
    at_least : int
        How many observations make a component count.
    seed : int or numpy.random.Generator
        For allocations sampled from responsibilities.

    Returns
    -------
    xarray.DataArray
        Probabilities, dimensions chain and ``n_components`` (0, 1, ..., the largest number found).
        Chains that disagree have not converged; their mean is the estimate.

    Raises
    ------
    ValueError, TypeError
        As :func:`similarity`, and if ``at_least`` is no positive whole number.

    Examples
    --------
    >>> import arviz as az, numpy as np
    >>> import labelswitch
    >>> z = np.array([[[0, 0, 1], [1, 1, 0], [2, 2, 2], [1, 1, 0]]])
    >>> dt = az.from_dict({"posterior": {"z": z}}, dims={"z": ["obs"]})
    >>> labelswitch.n_occupied(dt, allocations="z").mean("chain").values
    array([0.  , 0.25, 0.75])
    """
    at_least = validation.check_count(at_least, "at_least")
    values, is_allocation = _source(dt, model, responsibilities, allocations)
    z = _sampled(values, is_allocation, seed)
    counts = np.array([(np.bincount(draw) >= at_least).sum() for draw in kernels.compact(z)])
    counts = counts.reshape(values.sizes["chain"], -1)
    numbers = np.arange(counts.max() + 1)
    share = (counts[:, :, None] == numbers).mean(axis=1)
    coords = {"n_components": numbers}
    if "chain" in values.coords:
        coords["chain"] = values["chain"].values
    return xr.DataArray(share, dims=("chain", "n_components"), coords=coords, name="n_occupied")
