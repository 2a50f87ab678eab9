"""The exact posterior in a few passes over the rows.

With many rows the posterior of a mixture is nearly Gaussian around its mode. Newton's method finds
the mode; the exact log posterior of draws from the Gaussian there says how nearly, and corrects the
rest.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations, permutations
from math import log
from numbers import Integral
from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
import pymc as pm
import pytensor
import pytensor.tensor as pt
import xarray as xr
from pytensor.compile.mode import Mode
from pytensor.graph.replace import clone_replace, vectorize_graph
from pytensor.graph.rewriting.db import RewriteDatabaseQuery
from pytensor.graph.rewriting.utils import rewrite_graph
from pytensor.graph.traversal import ancestors
from scipy.optimize import linear_sum_assignment

from mixscale import kernels
from mixscale.distributions import NormalMixtureRV, RegressionMixtureRV
from mixscale.likelihood import as_rows
from mixscale.rows import Arrays, Rows, open_rows

if TYPE_CHECKING:
    from numpy.random import Generator

# The smallest share of the proposals that their importance weights may leave as effective, and how
# many there are at least: fewer could not tell.
LEAST_ESS, LEAST_PROPOSALS = 0.9, 400
# Log posterior that Newton's next step would gain: the mode is within 0.0002 posterior sds.
TOLERANCE = 1e-8
# A labelling or a mode whose log posterior is lower by this much has no mass that matters.
NEGLIGIBLE = 10.0
NOT_FINITE = "rows: the log-likelihood is not finite. Look for NaN or infinity in the rows."
# With more components than this, a labelling that moves more than three is not looked for.
ALL_ORDERS = 5
# Rows that EM sees; it only has to find the basin of a mode.
EM_ROWS, EM_STEPS = 4_000, 200
# A component with a smaller weight holds next to no rows, and has no parameters to compare.
FEW = 1e-3


class FitRefusedError(RuntimeError):
    """The posterior is not one Gaussian, nearly enough: sample it with NUTS."""


# The model --------------------------------------------------------------------------------------


class _Posterior:
    """What a PyMC model says beside the rows: priors, transforms, and the likelihood's parameters.

    Theta is the vector of the model's unconstrained values; phi is the vector of log weights,
    coefficients and log sigmas, ordered by component, that the kernels know.
    """

    # Operations that hold graphs would have these compiled by C++, dozens of them.
    @pytensor.config.change_flags(cxx="")
    def __init__(self, model: pm.Model):
        mixture = _mixture(model)
        _, weights, component = mixture.owner.inputs
        x, coefficients, sigma = component.owner.op.dist_params(component.owner)
        unknown = [rv.name for rv in model.free_RVs if rv in set(ancestors([x]))]
        if unknown:
            raise ValueError(
                f"model: the covariates depend on {', '.join(unknown)}; fit needs covariates that "
                "are known."
            )
        self.plain = isinstance(mixture.owner.op, NormalMixtureRV)
        self.own_rows = x, model.rvs_to_values[mixture]

        start = model.initial_point()
        values = model.value_vars
        shapes = [np.shape(start[value.name]) for value in values]
        self.start = np.concatenate([np.ravel(start[value.name]) for value in values])
        theta = pt.vector("theta", shape=self.start.shape)
        parts, at = {}, 0
        for value, shape in zip(values, shapes, strict=True):
            size = int(np.prod(shape, dtype=int))
            parts[value] = theta[at : at + size].reshape(shape)
            at += size

        others = [rv for rv in model.basic_RVs if rv is not mixture]
        rest = model.logp(vars=[*others, *model.potentials])
        point = model.replace_rvs_by_values([pt.log(weights), coefficients.T, sigma])
        names = [value.name for value in model.unobserved_value_vars]
        graphs = clone_replace([rest, *point, *model.unobserved_value_vars], parts)
        # Before they are differentiated: rewriting the derivatives takes four times as long.
        graphs = rewrite_graph(graphs, include=("canonicalize", "stabilize"))
        rest, *point = graphs[:4]
        columns = [point[0][:, None], point[1], pt.log(point[2])[:, None]]
        phi = pt.concatenate(columns, axis=1).ravel()
        gradient, hessian = pt.vector("gradient"), pt.matrix("hessian")
        inner = rest + pt.dot(gradient, phi)
        jacobian = pt.jacobian(phi, theta, vectorize=True)
        inner_hessian = pt.jacobian(pt.grad(inner, theta), theta, vectorize=True)
        outer = inner_hessian + jacobian.T @ hessian @ jacobian
        # A dozen numbers: Numba would compile for a minute what Python runs at once.
        mode = Mode(linker="py", optimizer=RewriteDatabaseQuery(include=["merge"]))
        self.point = pytensor.function([theta], point, mode=mode)
        self.chain = pytensor.function(
            [theta, gradient, hessian], [rest, pt.grad(inner, theta), outer], mode=mode
        )
        thetas = pt.matrix("thetas", shape=(None, self.start.size))
        many = vectorize_graph(graphs, replace={theta: thetas})
        self._many = pytensor.function([thetas], many, mode=mode)
        self._dimensions = [graph.ndim for graph in graphs]
        self._names = names

    def many(self, thetas: np.ndarray) -> tuple[np.ndarray, Arrays, dict[str, np.ndarray]]:
        """Return log prior, kernels' parameters and the model's variables at many points."""
        found = [  # what does not depend on theta comes once, and not for each point
            np.broadcast_to(value, (len(thetas), *value.shape)) if value.ndim == ndim else value
            for value, ndim in zip(self._many(thetas), self._dimensions, strict=True)
        ]
        prior, log_weights, coefficients, sigma, *variables = found
        named = dict(zip(self._names, variables, strict=True))
        return prior, (log_weights, coefficients, sigma), named


# A model is often fitted again, with other rows, and building its graphs takes longer than passes.
_BUILT: WeakKeyDictionary[pm.Model, tuple[tuple, _Posterior]] = WeakKeyDictionary()


def _posterior_of(model: pm.Model) -> _Posterior:
    """Return a model's posterior, which is built once while the model stays as it is."""
    if not isinstance(model, pm.Model):
        raise TypeError(f"model: a pm.Model is needed, not {type(model).__name__}.")
    shapes = [value.shape for value in model.initial_point().values()]
    state = (*model.basic_RVs, *model.potentials, *model.deterministics, *shapes)
    known, posterior = _BUILT.get(model, (None, None))
    if posterior is None or known != state:
        posterior = _Posterior(model)
        _BUILT[model] = state, posterior
    return posterior


def _mixture(model: pm.Model):
    found = [rv for rv in model.observed_RVs if isinstance(rv.owner.op, RegressionMixtureRV)]
    if len(found) != 1:
        raise ValueError(
            f"model: it has {len(found)} observed mixscale.RegressionMixture or "
            "mixscale.NormalMixture; exactly one is needed, without total_size, since all rows are "
            "read, and without missing values."
        )
    if model.discrete_value_vars:
        names = ", ".join(value.name for value in model.discrete_value_vars)
        raise ValueError(f"model: {names} is discrete; the Gaussian needs continuous parameters.")
    return found[0]


def _rows_of(posterior: _Posterior, rows: Any, threads: int | None) -> Rows:
    """Return the rows that were given, or the model's own."""
    if rows is None:
        x, y = (variable.eval() for variable in posterior.own_rows)
        rows = y if posterior.plain else (x.T, y)
    opened = open_rows(rows, threads)
    shape = None if opened.chunks[0][1] is None else rows[0].shape
    wanted = posterior.point(posterior.start)[1].shape[1]
    if posterior.plain != (shape is None) or (shape and (*shape[1:], 1)[0] != wanted):
        needed = "y alone" if posterior.plain else f"(covariates, y) with {wanted} covariates"
        raise ValueError(f"rows: the model's mixture needs {needed}.")
    return opened


def _check_weights(log_weights: np.ndarray) -> None:
    """Refuse log weights (..., K) that are not those of a mixture."""
    weights = np.exp(log_weights)
    if not (np.allclose(weights.sum(axis=-1), 1, rtol=0, atol=1e-6) and (weights > 0).all()):
        example = weights.reshape(-1, weights.shape[-1])[0].round(4).tolist()
        raise ValueError(
            f"model: the weights of the mixture, such as {example}, are not all positive, or do "
            "not sum to 1. Take pm.Dirichlet, or divide them by their sum."
        )


# Modes ------------------------------------------------------------------------------------------


class _Mode(NamedTuple):
    """Where Newton's method has stopped."""

    theta: np.ndarray
    value: float
    hessian: np.ndarray


def _newton(
    posterior: _Posterior, derivatives: Callable[[Arrays], Arrays], theta: np.ndarray
) -> _Mode:
    """Climb to a mode of the log posterior, by damped steps with the exact Hessian."""

    def evaluate(theta):
        value, *rest = derivatives(posterior.point(theta))
        prior, gradient, hessian = posterior.chain(theta, *rest)
        return value + prior, gradient, hessian

    value, gradient, hessian = evaluate(theta)
    for _ in range(100):
        if not np.isfinite(hessian).all():
            break
        # Parameters may have sizes that are worlds apart: each in units of its own curvature.
        unit = 1 / np.sqrt(np.maximum(np.abs(np.diag(hessian)), 1e-300))
        size, axes = np.linalg.eigh(-hessian * np.outer(unit, unit))
        size = np.maximum(np.abs(size), 1e-8 * np.abs(size).max())  # upwards from a saddle, too
        step = unit * (axes @ (axes.T @ (unit * gradient) / size))
        gain = 0.5 * gradient @ step
        if gain < TOLERANCE:
            break
        length = 1.0
        while True:
            new = evaluate(theta + length * step)
            if new[0] >= value + 0.1 * length * gain or length < 1e-6:
                break
            length /= 4
        if not new[0] >= value:
            break  # rounding: nothing to gain along this line
        theta, (value, gradient, hessian) = theta + length * step, new
    return _Mode(theta, float(value), hessian)


def _em(y: np.ndarray, x: np.ndarray, n_components: int, rng: Generator) -> tuple[float, Arrays]:
    """Climb from a random start by EM; return the log-likelihood, and weights, coefficients, sigma.

    Each component starts as the regression through a few random rows.
    """
    n, n_covariates = x.shape
    spread = np.std(y - x @ np.linalg.lstsq(x, y)[0])
    coefficients = np.empty((n_components, n_covariates))
    for k in range(n_components):
        some = rng.choice(n, min(n, n_covariates + 1), replace=False)
        coefficients[k] = np.linalg.lstsq(x[some], y[some])[0]
    weights, sigma = np.full(n_components, 1 / n_components), np.full(n_components, spread)
    size = (x**2).mean(axis=0)
    ridge = np.diag(1e-9 * np.where(size > 0, size, 1.0))
    value = -np.inf
    for _ in range(EM_STEPS):
        residuals = y[:, None] - x @ coefficients.T
        density = np.log(weights / sigma) - 0.5 * (residuals / sigma) ** 2
        top = density.max(axis=1, keepdims=True)
        r = np.exp(density - top)
        total = r.sum(axis=1, keepdims=True)
        previous, value = value, float((top + np.log(total)).sum())
        if value - previous < 1e-3:
            break
        r /= total
        counts = r.sum(axis=0) + 1e-3
        for k in range(n_components):
            weighted = x * r[:, k, None]
            coefficients[k] = np.linalg.solve(weighted.T @ x + ridge, weighted.T @ y)
        squares = (r * (y[:, None] - x @ coefficients.T) ** 2).sum(axis=0)
        # A component that shrinks onto one row is no mode of interest.
        sigma = np.maximum(np.sqrt(squares / counts), 1e-3 * spread)
        weights = counts / counts.sum()
    return value, (weights, coefficients, sigma)


def _project(posterior: _Posterior, target: Arrays, squares: np.ndarray, n_rows: int) -> _Mode:
    """Find the theta whose phi is nearest to a target: what the model can make of it.

    Nearness is that of ``n_rows`` rows with mean squares and products ``squares`` (P, P).
    """
    weights, coefficients, sigma = target
    n_components, n_covariates = coefficients.shape
    size = n_covariates + 2
    phi = np.column_stack([np.log(weights), coefficients, np.log(sigma)]).ravel()
    metric = np.zeros((phi.size, phi.size))
    for k in range(n_components):
        first, last = k * size, (k + 1) * size - 1
        metric[first, first] = n_rows * weights[k]
        metric[first + 1 : last, first + 1 : last] = n_rows * weights[k] * squares / sigma[k] ** 2
        metric[last, last] = 2 * n_rows * weights[k]

    def derivatives(point):
        distance = np.column_stack([point[0], point[1], np.log(point[2])]).ravel() - phi
        return -0.5 * distance @ metric @ distance, -metric @ distance, -metric

    return _newton(posterior, derivatives, posterior.start)


def _relabellings(n_components: int) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Return the exchanges of two components, and all other orders of them.

    Of more than five components, the other orders are those that move three.
    """
    start = np.arange(n_components)
    exchanges, others = [], []
    for size in range(2, n_components + 1 if n_components <= ALL_ORDERS else 4):
        for some in combinations(range(n_components), size):
            for turned in permutations(some):
                if all(one != other for one, other in zip(some, turned, strict=True)):
                    order = start.copy()
                    order[list(some)] = turned
                    (exchanges if size == 2 else others).append(order)
    return exchanges, others


def _relabelled(target: Arrays, order: np.ndarray) -> Arrays:
    return tuple(part[order] for part in target)


def _best_labels(
    posterior: _Posterior, target: Arrays, squares: np.ndarray, n_rows: int
) -> tuple[_Mode, Arrays]:
    """Give a target the labels that the model likes best, by moving some at a time."""
    best = _project(posterior, target, squares, n_rows)
    exchanges, others = _relabellings(len(target[0]))
    improved = True
    while improved:
        improved = told_apart = False
        for orders in (exchanges, others):
            if orders is others and (improved or not told_apart):
                break  # where no exchange matters, no other order does
            for order in orders:
                relabelled = _relabelled(target, order)
                other = _project(posterior, relabelled, squares, n_rows)
                tolerance = 1e-6 * max(1.0, abs(best.value))
                told_apart |= abs(other.value - best.value) > tolerance
                if other.value > best.value + tolerance:
                    best, target, improved = other, relabelled, True
    return best, target


def _search(
    posterior: _Posterior,
    x: np.ndarray,
    y: np.ndarray,
    n_rows: int,
    n_starts: int,
    rng: Generator,
) -> np.ndarray:
    """Return the theta of the best mode on x (P, n) and y (n,), a subsample of ``n_rows`` rows.

    Raises
    ------
    FitRefusedError
        If another mode could be as good on all the rows.
    """
    n = y.size
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise ValueError(NOT_FINITE)
    design = np.broadcast_to(x, (x.shape[0], n)).T
    few = slice(None) if n <= EM_ROWS else rng.choice(n, EM_ROWS, replace=False)
    n_components = len(posterior.point(posterior.start)[0])
    found = [_em(y[few], design[few], n_components, rng) for _ in range(n_starts)]
    found.sort(key=lambda item: -item[0])
    squares = design.T @ design / n
    sizes = np.sqrt(np.diag(squares))
    distinct: list[tuple[float, Arrays]] = []
    for value, target in found:
        # EM stops short of the mode, here and there by a part of the noise.
        if _is_new(value, target, distinct, sizes, tolerance=0.5):
            distinct.append((value, target))

    def derivatives(point):
        return kernels.hessian(x, y, *map(np.ascontiguousarray, point))

    modes: list[_Mode] = []
    for _, target in distinct:
        start, _ = _best_labels(posterior, target, squares, n)
        mode = _newton(posterior, derivatives, start.theta)
        known = [(other.value, _natural(posterior, other.theta)) for other in modes]
        if _is_new(mode.value, _natural(posterior, mode.theta), known, sizes, tolerance=1e-2):
            modes.append(mode)
        if len(modes) == 3:
            break
    modes.sort(key=lambda mode: -mode.value)
    best = modes[0]
    for other in modes[1:]:
        densities = [
            kernels.log_density(x, y, *map(np.ascontiguousarray, posterior.point(mode.theta)))
            for mode in (best, other)
        ]
        # How the difference may come out on all the rows, of which these are a sample.
        error = 0.0 if n == n_rows else 4 * np.std(densities[0] - densities[1]) * np.sqrt(n)
        if (best.value - other.value - error) * n_rows / n < NEGLIGIBLE:
            raise FitRefusedError(
                "model: the posterior has two modes that are no permutations of each other, with "
                f"log posteriors {best.value:.1f} and {other.value:.1f} on {n} of {n_rows} rows. "
                "One Gaussian cannot hold both. Sample with NUTS: pm.sample(model=model); several "
                "chains show both modes."
            )
    return best.theta


def _natural(posterior: _Posterior, theta: np.ndarray) -> Arrays:
    """Return weights, coefficients and sigmas, as EM does."""
    log_weights, coefficients, sigma = posterior.point(theta)
    return np.exp(log_weights), coefficients, sigma


def _is_new(
    value: float,
    mixture: Arrays,
    known: list[tuple[float, Arrays]],
    sizes: np.ndarray,
    tolerance: float,
) -> bool:
    """Return whether none of the known mixtures is the same but for its labels."""
    return not any(
        abs(value - other) < 0.1 and _distance(mixture, one, sizes) < tolerance
        for other, one in known
    )


def _distance(first: Arrays, second: Arrays, sizes: np.ndarray) -> float:
    """Return how far two mixtures are from each other, whatever their labels.

    That is the largest difference of a log weight, and of what components have that hold rows: log
    sigmas, and coefficients in units of the noise at covariates of these sizes (P,).
    """
    (w, b, sigma), (v, c, tau) = first, second
    apart = (np.abs(b[:, None] - c) * sizes).max(axis=2) / np.minimum(sigma[:, None], tau)
    apart = np.maximum(apart, np.abs(np.log(sigma[:, None] / tau)))
    apart *= np.minimum(w[:, None], v) > FEW
    apart = np.maximum(apart, np.abs(np.log((w[:, None] + FEW) / (v + FEW))))
    return apart[linear_sum_assignment(apart)].max()


def _exchangeable(posterior: _Posterior, mode: _Mode, squares: np.ndarray, n_rows: int) -> bool:
    """Return whether another labelling has the same posterior by symmetry.

    Raises
    ------
    FitRefusedError
        If another labelling has a posterior of its own that matters.
    """
    target = _natural(posterior, mode.theta)
    own = _project(posterior, target, squares, n_rows).value
    exchanges, others = _relabellings(len(target[0]))
    alike = np.arange(len(target[0]))  # components that may be exchanged have one number
    exchangeable = False
    for order in exchanges + others:
        moved = np.flatnonzero(order != np.arange(len(order)))
        if len(set(alike[moved])) == 1:
            continue
        gap = own - _project(posterior, _relabelled(target, order), squares, n_rows).value
        if abs(gap) < 1e-4:
            exchangeable = True
            if len(moved) == 2:
                alike[alike == alike[moved[1]]] = alike[moved[0]]
        elif gap < NEGLIGIBLE:
            names = ", ".join(map(str, moved[:-1]))
            raise FitRefusedError(
                f"model: its priors tell the components {names} and {moved[-1]} apart, but not "
                f"surely: the labelling with them exchanged has exp({-gap:.1f}) times the "
                "posterior, and one Gaussian cannot hold both. Give the components the same prior, "
                "or an order (transform=ordered)."
            )
    return exchangeable


# Draws ------------------------------------------------------------------------------------------


def _metropolis(log_weights: np.ndarray, rng: Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return the index of each state, and whether each proposal was taken.

    Independence Metropolis-Hastings: exact, whatever the Gaussian misses.
    """
    weights = np.exp(log_weights - log_weights.max())
    now = rng.choice(len(weights), p=weights / weights.sum())
    levels = np.log(rng.random(len(weights)))
    index = np.empty(len(weights), int)
    accepted = np.empty(len(weights), bool)
    for s, weight in enumerate(log_weights):
        accepted[s] = levels[s] < weight - log_weights[now]
        now = s if accepted[s] else now
        index[s] = now
    return index, accepted


def fit(
    model: pm.Model,
    rows: Any = None,
    *,
    draws: int = 1000,
    starts: int = 20,
    subsample: int = 20_000,
    threads: int | None = None,
    random_seed: int | np.random.Generator | None = None,
) -> xr.DataTree:
    r"""Draw from the exact posterior of a mixture, in a few passes over its rows.

    EM from random starts and Newton's method find the mode on a subsample, and Newton's method on
    all rows, with the exact Hessian. Draws from the Gaussian there are corrected by their exact log
    posterior, of which one pass computes all: rows whose component is certain wherever the draws
    are become sufficient statistics in it. Independence Metropolis-Hastings makes the draws exact.

    Parameters
    ----------
    model : pymc.Model
        With one observed :class:`RegressionMixture` or :class:`NormalMixture`. Its priors,
        transforms, potentials and other likelihoods are all used.
    rows : array, or pair (covariates, y) of arrays, optional
        The rows, y alone for a :class:`NormalMixture`. NumPy arrays, memory maps or Dask arrays,
        of any numeric type; the passes over Dask arrays run on the active cluster. They take the
        place of the model's own rows, of which a few are enough then. By default, the model's own.
    draws : int, default 1000
        Number of draws.
    starts : int, default 20
        Number of random starts of EM. Weights cannot see a mode that no start has found.
    subsample : int, default 20,000
        Number of rows, drawn at random, on which the mode is searched.
    threads : int, optional
        For rows in memory. By default, as many as this process may use cores.
    random_seed : int or numpy.random.Generator, optional
        Makes the result repeatable; it does not depend on the number of threads.

    Returns
    -------
    xarray.DataTree
        ``posterior`` holds one chain of draws, ``sample_stats`` for each of them ``log_weight``
        (exact log posterior minus log density of the Gaussian, of the proposal, up to a constant),
        ``accepted`` and ``lp``. The attributes of ``posterior`` are ``importance_ess``,
        ``acceptance`` and ``log_weight_sd`` (of all proposals: as many as draws, 400 at least),
        ``passes`` (how often all rows were read), ``rows``, ``rows_left`` (of which the component
        was not certain) and ``exchangeable`` (whether another labelling has the same posterior by
        symmetry; the draws have one labelling).

    Raises
    ------
    FitRefusedError
        If the posterior is not nearly one Gaussian: few rows, components that overlap or are empty,
        a second mode, another labelling that the priors do not rule out (of more than five
        components, one that moves two or three). Then ``pm.sample`` is the tool.
    TypeError, ValueError
        If the model has not exactly one such mixture, or the rows do not fit it.

    References
    ----------
    Tierney, L. and Kadane, J. B. (1986). Accurate approximations for posterior moments and marginal
    densities. *Journal of the American Statistical Association* 81(393), 82-86.

    Tierney, L. (1994). Markov chains for exploring posterior distributions. *The Annals of
    Statistics* 22(4), 1701-1728.

    Examples
    --------
    >>> import mixscale, numpy as np, pymc as pm
    >>> rng = np.random.default_rng(1)
    >>> x = rng.uniform(-1, 1, 50_000)
    >>> y = np.where(rng.random(x.size) < 0.3, 3 * x, -x) + rng.normal(0, 0.1, x.size)
    >>> with pm.Model() as model:
    ...     w = pm.Dirichlet("w", np.ones(2))
    ...     slope = pm.Normal("slope", 0, 2, shape=2)
    ...     sigma = pm.HalfNormal("sigma", 1)
    ...     _ = mixscale.RegressionMixture("y", w, x[:9], slope, sigma, observed=y[:9])
    >>> dt = mixscale.fit(model, (x, y), random_seed=1)
    >>> np.sort(dt.posterior["slope"].mean(("chain", "draw"))).round(2)
    array([-1.,  3.])
    """
    numbers = {"draws": draws, "starts": starts, "subsample": subsample}
    if threads is not None:
        numbers["threads"] = threads
    for name, number in numbers.items():
        if not isinstance(number, Integral) or number < 1:
            raise ValueError(f"{name}: {number!r} is no whole number of 1 or more.")
    rng = np.random.default_rng(random_seed)
    posterior = _posterior_of(model)
    _check_weights(posterior.point(posterior.start)[0])
    source = _rows_of(posterior, rows, threads)
    n_rows = len(source)

    size = min(subsample, n_rows)
    positions = np.sort(rng.choice(n_rows, size, replace=False))
    y, covariates = source.take(positions)
    x, y = as_rows(y, covariates)
    theta = _search(posterior, x, y, n_rows, starts, rng)
    mode = _newton(posterior, source.derivatives, theta)
    if not np.isfinite(mode.value):
        raise ValueError(NOT_FINITE)
    design = np.broadcast_to(x, (x.shape[0], size))
    exchangeable = _exchangeable(posterior, mode, design @ design.T / size, n_rows)

    try:
        root = np.linalg.cholesky(np.linalg.inv(-mode.hessian))
    except np.linalg.LinAlgError:
        raise FitRefusedError(
            _refusal("no maximum has a Hessian that is negative definite")
        ) from None
    n_proposals = max(draws, LEAST_PROPOSALS)
    normal = rng.standard_normal((n_proposals, len(root)))
    thetas = mode.theta + normal @ root.T
    prior, points, variables = posterior.many(thetas)
    _check_weights(points[0])
    centre = tuple(posterior.point(mode.theta))
    distances = points[0] - centre[0], points[1] - centre[1], np.log(points[2] / centre[2])
    half_widths = tuple(np.abs(d).max(axis=0) * (1 + 1e-9) + 1e-300 for d in distances)
    # Beyond e**-37 the other components do not change a double.
    margin = 37 + log(len(centre[0]))
    values, n_left = source.values_in_box(points, centre, half_widths, margin)
    lp = values + prior
    log_weights = lp - mode.value + 0.5 * (normal**2).sum(axis=1)
    weights = np.exp(log_weights - log_weights.max())
    ess = weights.sum() ** 2 / (weights**2).sum()
    if not ess >= LEAST_ESS * n_proposals:
        raise FitRefusedError(_refusal(f"{n_proposals} draws from it are worth {ess:.0f}"))
    index, accepted = _metropolis(log_weights, rng)
    attributes = {
        "inference_library": "mixscale",
        "importance_ess": float(ess),
        "acceptance": float(accepted.mean()),
        "log_weight_sd": float(log_weights.std()),
        "passes": source.passes,
        "rows": n_rows,
        "rows_left": n_left,
        "exchangeable": exchangeable,
    }
    index = index[:draws]
    stats = {"log_weight": log_weights[:draws], "accepted": accepted[:draws], "lp": lp[index]}
    return _data_tree(model, {name: v[index] for name, v in variables.items()}, stats, attributes)


def _refusal(reason: str) -> str:
    return (
        f"model: its posterior is not the Gaussian at its mode: {reason}. There are too few rows, "
        "or components that overlap or are empty. Sample with NUTS: pm.sample(model=model), with "
        "the rows in the model."
    )


def _data_tree(model, variables, stats, attributes) -> xr.DataTree:
    from arviz_base import from_dict
    from pymc.backends.arviz import coords_and_dims_for_inferencedata

    coords, dims = coords_and_dims_for_inferencedata(model)
    names = {value.name for value in model.value_vars} - {rv.name for rv in model.free_RVs}
    groups = {
        "posterior": {k: v[None] for k, v in variables.items() if k not in names},
        "sample_stats": {name: values[None] for name, values in stats.items()},
    }
    return from_dict(groups, coords=coords, dims=dims, attrs={"posterior": attributes})
