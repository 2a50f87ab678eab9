"""Relabelling algorithms on plain arrays.

Shapes: m draws, n observations, K components, J parameters per component, d data dimensions.
Labels are 0-based. A permutation gathers: ``relabelled[t, j] = original[t, permutations[t, j]]``;
allocations are mapped by the inverse.
"""

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.special import xlogy

from labelswitch import kernels, validation

# So many numbers of p are read at a time: enough to hide the cost of a block, and next to nothing
# beside p. Blocks do not depend on the number of cores, nor does the result.
BLOCK = 2**19
# Up to here SJW sums over all K! permutations, by a recursion of 2^K steps.
EXACT_COMPONENTS = 12


@dataclass(frozen=True, eq=False)
class AlgorithmResult:
    """What a relabelling algorithm found.

    Attributes
    ----------
    permutations : (m, K) intp array
        ``relabelled[t, j] = original[t, permutations[t, j]]``.
    objective : float
        What the method minimises, at these permutations. Each method says what it is.
    trace : 1-d float array
        The objective after each sweep over the draws.
    converged : bool
        Whether the sweeps stopped by themselves. True for the methods that need one sweep.
    method : str
        The name of the function.
    start : str or None
        The start that won, for methods that compare several.
    pivot : array or None
        The allocation (n,) or the parameters (K, J) that the draws were assigned to.
    q : (n, K) array or None
        The mean relabelled probabilities of ``stephens`` and ``ecr_iterative_2``.
    parameters : (K, J) array or None
        The expected relabelled parameters of ``sjw``; the centres (K, d) of ``data_based``.
    confidence : (m,) float array or None
        How sure the permutation of each draw is. For ``sjw`` its probability; for ``order`` the
        smallest difference between neighbours, in standard deviations of the sorted values; for
        the others how much more the second best permutation costs, in the units of the objective.
        0 is a tie. None for ``sjw`` with more than 12 components.
    """

    permutations: np.ndarray
    objective: float
    trace: np.ndarray
    converged: bool
    method: str
    start: str | None = None
    pivot: np.ndarray | None = None
    q: np.ndarray | None = None
    parameters: np.ndarray | None = None
    confidence: np.ndarray | None = None

    def __repr__(self) -> str:
        """Return the result in one line."""
        n_draws, n_components = self.permutations.shape
        moved = np.count_nonzero((self.permutations != np.arange(n_components)).any(axis=1))
        start = f", start={self.start!r}" if self.start else ""
        return (
            f"<AlgorithmResult {self.method}: {n_draws} draws, {n_components} components, "
            f"{moved} draws permuted, objective={self.objective:.6g}, sweeps={self.trace.size}, "
            f"converged={self.converged}{start}>"
        )


def apply_permutations(values, permutations, *, axis: int = 1) -> np.ndarray:
    """Permute the components of every draw.

    Parameters
    ----------
    values : (m, ...) array
        Draws along axis 0, components along `axis`.
    permutations : (m, K) int array
    axis : int
        The axis of the components. For a K x K matrix per draw, call once per axis.

    Returns
    -------
    array of the shape and dtype of values, masked where they are
        ``result[t, j] = values[t, permutations[t, j]]`` along `axis`.

    Raises
    ------
    ValueError
        If the shapes do not fit or a row is no permutation.

    Examples
    --------
    >>> import labelswitch
    >>> labelswitch.apply_permutations([[10, 20, 30]], [[2, 0, 1]])
    array([[30, 10, 20]])
    """
    values = np.asanyarray(values)  # a mask moves with its values
    permutations = validation.check_permutations(permutations, None, None, "permutations")
    if not -values.ndim < axis < values.ndim or axis == 0:
        raise ValueError(
            f"axis is {axis} but values has {values.ndim} axes; axis 0 is the draw, so the "
            "components lie on another."
        )
    if (len(values), values.shape[axis]) != permutations.shape:
        raise ValueError(
            f"values has {len(values)} draws and {values.shape[axis]} components along axis "
            f"{axis}, but permutations has shape {permutations.shape}."
        )
    shape = [1] * values.ndim
    shape[0], shape[axis] = permutations.shape
    return np.take_along_axis(values, permutations.reshape(shape), axis=axis)


def apply_to_allocations(z, permutations) -> np.ndarray:
    """Relabel allocations, by the inverse of each permutation.

    Parameters
    ----------
    z : (m, n) int array
        Labels 0, ..., K - 1.
    permutations : (m, K) int array

    Returns
    -------
    (m, n) array of the dtype of z, or of a wider one where it does not hold K - 1
        ``result[t, i] = argsort(permutations[t])[z[t, i]]``.

    Raises
    ------
    ValueError
        If the shapes do not fit, a row is no permutation, or a label is out of range.

    Examples
    --------
    >>> import labelswitch
    >>> labelswitch.apply_to_allocations([[0, 1, 2, 2]], [[2, 0, 1]])
    array([[1, 2, 0, 0]])
    """
    permutations = validation.check_permutations(permutations, None, None, "permutations")
    labels, _ = validation.check_allocations(z, permutations.shape[1])
    if len(labels) != len(permutations):
        raise ValueError(f"z has {len(labels)} draws but permutations has {len(permutations)}.")
    kind = validation.type_that_holds(np.asarray(z).dtype, permutations.shape[1])
    inverse = np.argsort(permutations, axis=1).astype(kind)
    return np.take_along_axis(inverse, labels.astype(np.intp), axis=1)


def _identity(n_draws: int, n_components: int) -> np.ndarray:
    return np.tile(np.arange(n_components), (n_draws, 1))


def _report(progress: bool, text: str) -> None:
    if progress:
        print(text, file=sys.stderr, flush=True)


def _named_starts(starts: list, rng: np.random.Generator) -> Iterator[tuple]:
    for start in starts:
        if isinstance(start, str):
            yield start, start, int(rng.integers(2**63))
        else:
            yield "permutations", start, 0


def _best(results: Iterable[AlgorithmResult | None]) -> AlgorithmResult:
    """Return the lowest objective, a converged result before one that is not, the first of ties."""
    best = None
    for result in results:
        if result is None:
            continue
        if best is None or (result.converged, -result.objective) > (
            best.converged,
            -best.objective + kernels.TIE * abs(best.objective),
        ):
            best = result
    return best


def near_input(result: AlgorithmResult) -> AlgorithmResult:
    """Choose the global relabelling that leaves most labels as they were in the input.

    A method without a fixed pivot leaves it open. This choice makes relabelling idempotent.
    """
    n_components = result.permutations.shape[1]
    kept = np.stack(
        [np.bincount(column, minlength=n_components) for column in result.permutations.T]
    ).astype(float)
    # Of several, the one that leaves more labels of the first draw.
    kept[np.arange(n_components), result.permutations[0]] += 0.5 / n_components
    old, new = linear_sum_assignment(kept.T, maximize=True)
    order = new[np.argsort(old)]
    changes = {"permutations": np.ascontiguousarray(result.permutations[:, order])}
    if result.q is not None:
        changes["q"] = result.q[:, order]
    if result.parameters is not None:
        changes["parameters"] = result.parameters[order]
    if result.pivot is not None:
        changes["pivot"] = np.argsort(order)[result.pivot]
    return replace(result, **changes)


def ecr(z, pivot, *, n_components: int | None = None) -> AlgorithmResult:
    """Relabel each draw to agree best with a pivot allocation (equivalence class representatives).

    Parameters
    ----------
    z : (m, n) int array
        Allocations of n observations in m draws, labels 0, ..., K - 1.
    pivot : (n,) int array
        A good allocation, such as the draw of highest posterior density.
    n_components : int, optional
        K; by default the largest label of z plus one.

    Returns
    -------
    AlgorithmResult
        The objective is the number of allocations that differ from the pivot.

    Raises
    ------
    TypeError, ValueError
        If labels are not integers, are out of range or look 1-based, or the pivot is too short.

    Notes
    -----
    Among equally good permutations of a draw the identity wins, if it is one of them.

    References
    ----------
    Papastamoulis and Iliopoulos (2010), Journal of Computational and Graphical Statistics 19,
    313-331.

    Examples
    --------
    >>> import labelswitch
    >>> result = labelswitch.ecr([[0, 0, 1], [1, 1, 0]], pivot=[0, 0, 1])
    >>> result.permutations
    array([[0, 1],
           [1, 0]])
    """
    n_components = validation.check_n_components(n_components)
    z = validation.check_integers(z, "z", 2, "(draws, observations)")
    pivot = validation.check_integers(pivot, "pivot", 1, "(observations,)")
    permutations, objective, gaps = _agree_at_once(z, pivot, n_components) or _agree(
        *validation.check_allocations(z, n_components), pivot
    )
    return AlgorithmResult(
        permutations,
        objective,
        np.array([objective]),
        True,
        "ecr",
        pivot=pivot.astype(np.intp),
        confidence=gaps,
    )


def _agree_at_once(z, pivot, n_components):
    """Assign the draws and look at their labels in one reading of z, if K is what the pivot says.

    Mostly it is. Returns None where anything is unusual; then the labels are looked at first.
    """
    size = n_components or int(pivot.max()) + 1
    is_usual = z.flags.c_contiguous and pivot.size == z.shape[1] and pivot.min() >= 0
    if not is_usual or not pivot.max() < size <= validation.MOST_COMPONENTS:
        return None
    *found, (lowest, highest) = kernels.sweep_allocations(
        z, pivot.astype(validation.label_type(size)), _identity(len(z), size), True, True
    )
    is_all = n_components or (lowest == 0 and highest == size - 1)
    return found if is_all and highest < size else None


def _agree(z, n_components, pivot):
    """Do the same with labels that have been looked at."""
    pivot = validation.check_allocation_pivot(pivot, z.shape[1], n_components)
    return kernels.sweep_allocations(z, pivot, _identity(len(z), n_components), True, True)[:3]


def ecr_iterative_1(
    z,
    *,
    n_components: int | None = None,
    starts: str | Sequence = ("identity", "ecr", "random", "random"),
    seed: int | np.random.Generator = 0,
    max_sweeps: int = 100,
    progress: bool = False,
) -> AlgorithmResult:
    """Relabel by ECR against a pivot that is re-estimated: each observation's most frequent label.

    Parameters
    ----------
    z : (m, n) int array
        Allocations, labels 0, ..., K - 1.
    n_components : int, optional
        K; by default the largest label of z plus one.
    starts : sequence of str or (m, K) int arrays
        Where to start; the best result is returned. ``"identity"`` leaves the labels,
        ``"ecr"`` relabels against the last draw, ``"random"`` against a draw chosen at random
        (name it twice for two), and an array gives permutations.
    seed : int or numpy.random.Generator
        For the random starts.
    max_sweeps : int
        Sweeps over the draws, per start.
    progress : bool
        Write a line per start to the standard error stream.

    Returns
    -------
    AlgorithmResult
        The objective is the number of allocations that differ from the pivot.

    Raises
    ------
    TypeError, ValueError
        If labels are not integers, are out of range or look 1-based, or a start is unknown.

    Notes
    -----
    R's label.switching 1.8 relabels the allocations with the permutation where its inverse is
    needed. The two agree for K = 2 and may differ for K >= 3, where R's objective may rise.

    References
    ----------
    Papastamoulis and Iliopoulos (2010), Journal of Computational and Graphical Statistics 19,
    313-331; Papastamoulis (2016), Journal of Statistical Software 69, Code Snippet 1, section 2.4.

    Examples
    --------
    >>> import labelswitch
    >>> result = labelswitch.ecr_iterative_1([[0, 0, 1], [0, 0, 1], [1, 1, 0]])
    >>> result.permutations.tolist(), result.objective
    ([[0, 1], [0, 1], [1, 0]], 0.0)
    """
    z, n_components = validation.check_allocations(z, n_components)
    starts = validation.check_starts(starts, ("identity", "ecr", "random"), len(z), n_components)
    max_sweeps = validation.check_count(max_sweeps, "max_sweeps")
    identity = _identity(len(z), n_components)

    def n_mismatches(votes):
        return float(z.size - votes.max(axis=1).sum())

    seen = _Seen()

    def run(name, start, start_seed):
        if name == "permutations":
            permutations = start
        elif name == "identity":
            permutations = identity
        else:
            draw = np.random.default_rng(start_seed).integers(len(z)) if name == "random" else -1
            permutations = kernels.sweep_allocations(z, z[draw], identity, True, False)[0]
        trace = []
        assigned, objective, converged = np.inf, np.inf, False
        votes = moved = None
        while not converged and len(trace) < max_sweeps:
            if moved is not None:
                permutations = moved
            if votes is None:
                votes = kernels.count_votes(z, permutations)
                objective = assigned = n_mismatches(votes)
            previous = objective, assigned
            pivot = votes.argmax(axis=1)
            if seen.by_another(pivot, trace):
                return None
            moved, assigned, _, _ = kernels.sweep_allocations(
                z, pivot.astype(z.dtype), permutations, False, False
            )
            votes = kernels.count_votes(z, moved)
            objective = n_mismatches(votes)
            trace.append(objective)
            # Neither the assignment nor the next pivot can raise this whole number. A sweep in
            # which neither lowers it moves ties only, and is not taken.
            converged = (objective, assigned) == previous
        if not converged:
            permutations, pivot = moved, votes.argmax(axis=1)
        _report(progress, f"ecr_iterative_1, start {name}: {len(trace)} sweeps, {objective:.6g}")
        return AlgorithmResult(
            permutations,
            objective,
            np.array(trace),
            converged,
            "ecr_iterative_1",
            start=name,
            pivot=pivot,
        )

    rng = validation.check_seed(seed)
    best = _best(run(*start) for start in _named_starts(starts, rng))
    return near_input(_with_gaps(best, z))


def _with_gaps(result: AlgorithmResult, z: np.ndarray) -> AlgorithmResult:
    """Add the gaps to the second best permutations, which only the winner of the starts needs."""
    permutations, pivot = result.permutations, result.pivot.astype(z.dtype)
    _, _, gaps, _ = kernels.sweep_allocations(z, pivot, permutations, True, True)
    return replace(result, confidence=gaps)


def _up_to_renaming(place: np.ndarray) -> bytes:
    """Return permutations (m, K) or a pivot (n,) as a key that new names of the labels share."""
    if place.ndim == 2:
        return place[:, np.argsort(place[0])].astype(np.int16).tobytes()
    return kernels.compact(place[np.newaxis].astype(np.int64)).tobytes()


class _Seen:
    """Where starts have been. Labels are compared up to one renaming."""

    def __init__(self) -> None:
        self._owner: dict[bytes, object] = {}

    def by_another(self, place: np.ndarray, start: object) -> bool:
        """Return whether another start was at these permutations (m, K) or at this pivot (n,).

        Then this one leads where that led.
        """
        return self._owner.setdefault(_up_to_renaming(place), start) is not start


@dataclass
class _Sweep:
    """What one start has found so far, and what it wants of the next pass over p."""

    name: str
    permutations: np.ndarray
    targets: np.ndarray | None  # (K, n); None keeps the permutations and only sums
    total: np.ndarray | None = None
    gaps: np.ndarray | None = None


class _Probabilities:
    """Allocation probabilities p (m, n, K), in memory or in a Dask array's chunks of draws.

    A pass reads every chunk once, for all starts. Between the chunks only sums over draws are kept,
    never p.
    """

    def __init__(self, p, eps: float = 0.0):
        self.p = validation.check_probabilities_form(p)
        self.shape = tuple(int(size) for size in self.p.shape)
        self.eps = validation.check_eps(eps, self.shape[2])

    def draw(self, index: int) -> np.ndarray:
        """Return one draw, (n, K)."""
        return np.asarray(self.p[index], np.float64)

    def sweep(self, starts: Sequence[_Sweep], check: bool = False) -> None:
        """Assign every draw to each start's targets, and sum the relabelled draws.

        With `check`, every row is looked at first; one that is no distribution raises.
        """
        move = np.array([one.targets is not None for one in starts])
        targets = np.empty((move.sum(), *self.shape[:0:-1]))
        targets[:] = [one.targets for one in starts if one.targets is not None] or 0.0
        function = partial(_sweep_chunk, targets=targets, move=move, eps=self.eps, check=check)
        found, totals = self._over_chunks(function, [one.permutations for one in starts])
        first = 0
        for bad, moved in found:
            if bad is not None:
                draw, observation = first + bad[0], bad[1]
                validation.raise_for_row(self.draw(draw)[observation], draw, observation)
            first += len(moved[0][0])
        for index, one in enumerate(starts):
            one.permutations = np.concatenate([moved[index][0] for _, moved in found])
            one.gaps = np.concatenate([moved[index][1] for _, moved in found])
            one.total = totals[index]

    def _over_chunks(self, function: Callable, current: list[np.ndarray]) -> tuple[list, list]:
        """Map function(chunk of p, chunks of current) -> (found, totals) over the chunks.

        Returns the list of what was found and the sums of the totals.
        """
        if validation.is_dask(self.p):
            return self._over_dask_chunks(function, current)
        n_cores = (
            len(os.sched_getaffinity(0))
            if hasattr(os, "sched_getaffinity")
            else os.cpu_count() or 1
        )
        step = max(1, BLOCK // (self.shape[1] * self.shape[2]))
        is_fortran = self.p.strides[0] < self.p.strides[2]
        if is_fortran:  # 64 draws lie side by side; all blocks together hold a twentieth of p
            step = max(step, min(64, self.p.itemsize * self.shape[0] // (160 * n_cores)))
        parts = [slice(start, start + step) for start in range(0, self.shape[0], step)]
        spare = []  # blocks to write into again: new memory costs as much as the copy

        def run(part):
            p, own = self.p[part], [one[part] for one in current]
            if not is_fortran:
                return function(np.ascontiguousarray(p), own)
            block = spare.pop() if spare else np.empty((step, *p.shape[:0:-1]))
            draws = block[: len(p)]
            kernels.in_draw_order(p, draws)
            result = function(draws.transpose(0, 2, 1), own, draws=draws)
            spare.append(block)
            return result

        n_threads = min(n_cores, len(parts))
        found, sums = [], None
        if n_threads == 1:
            results = map(run, parts)
            for one, totals in results:
                found.append(one)
                sums = totals if sums is None else _added(sums, totals)
            return found, sums
        with ThreadPoolExecutor(n_threads) as pool:  # the kernels release the GIL
            for one, totals in pool.map(run, parts):
                found.append(one)
                sums = totals if sums is None else _added(sums, totals)
        return found, sums

    def _over_dask_chunks(self, function: Callable, current: list[np.ndarray]):
        import dask

        found, sums = [], None
        shared = dask.delayed(function, traverse=False)  # once in the graph, not once a chunk
        start = 0
        for chunk, size in zip(self.p.to_delayed().ravel(), self.p.chunks[0], strict=True):
            part = [one[start : start + size] for one in current]
            result = dask.delayed(_on_chunk, nout=2, pure=False)(shared, chunk, part)
            found.append(result[0])
            sums = result[1] if sums is None else dask.delayed(_added, pure=False)(sums, result[1])
            start += size
        return dask.compute(found, sums)


def _added(sums: list[np.ndarray], totals: list[np.ndarray]) -> list[np.ndarray]:
    # A chunk with a bad row has no totals; the first such row raises once all chunks are read.
    return [first + second for first, second in zip(sums, totals, strict=False)]


def _on_chunk(function, chunk, current):
    chunk = np.ascontiguousarray(chunk)
    if chunk.dtype not in (np.float32, np.float64):
        chunk = chunk.astype(np.float64)
    return function(chunk, current)


def _sweep_chunk(p, current, targets, move, eps, check, draws=None):
    """Sweep one chunk for every start: ((bad row or None, [(moved, gaps)]), [total])."""
    moved, totals, gaps, bad = kernels.sweep_probabilities(
        p,
        np.empty((1, *p.shape[:0:-1])) if draws is None else draws,
        targets,
        np.ascontiguousarray(current),
        eps,
        move,
        validation.SUM_TOLERANCE if check else -1.0,
    )
    if bad[0] >= 0:
        return (bad, [(one, None) for one in current]), []
    return (None, list(zip(moved, gaps, strict=True))), list(totals)


def _first_sweeps(probabilities: _Probabilities, starts: list, seed) -> list[_Sweep]:
    """Check p and make the first sweep of every start, in one pass over p."""
    n_draws, _, n_components = probabilities.shape
    rng = validation.check_seed(seed)
    identity = _identity(n_draws, n_components)
    sweeps = []
    for name, permutations, start_seed in _named_starts(starts, rng):
        targets = None
        if name in ("pra", "ecr", "random"):
            draw = -1
            if name == "random":
                draw = int(np.random.default_rng(start_seed).integers(n_draws))
            targets = probabilities.draw(draw)
            if name == "ecr":
                targets = np.eye(n_components)[targets.argmax(axis=1)]
            targets = targets.T
        start = permutations if name == "permutations" else identity
        sweeps.append(_Sweep(name, start, targets))
    probabilities.sweep(sweeps, check=True)
    return sweeps


def stephens(
    p,
    *,
    eps: float = 0.0,
    starts: str | Sequence = ("identity", "pra", "ecr", "random"),
    seed: int | np.random.Generator = 0,
    max_sweeps: int = 100,
    tol: float = 1e-6,
    progress: bool = False,
) -> AlgorithmResult:
    """Relabel so that the allocation probabilities agree best (Stephens' algorithm 2).

    Parameters
    ----------
    p : (m, n, K) array
        Probability that observation i belongs to component k, in each draw. float32 is used as it
        is. A Dask array is streamed over its chunks of draws.
    eps : float
        Clip probabilities to [eps, 1 - eps] and renormalise. R uses 1e-6; 0 takes p as it is.
    starts : sequence of str or (m, K) int arrays
        Where to start; the best result is returned. ``"identity"`` leaves the labels; ``"pra"``
        and ``"ecr"`` relabel against the last draw's probabilities and its most probable
        allocation; ``"random"`` against the probabilities of a draw chosen at random (name it
        twice for two); an array gives permutations.
    seed : int or numpy.random.Generator
        For the random starts.
    max_sweeps : int
        Sweeps over the draws, per start.
    tol : float
        Stop when a sweep lowers the objective by less.
    progress : bool
        Write a line per sweep to the standard error stream.

    Returns
    -------
    AlgorithmResult
        The objective is the cross entropy of the relabelled probabilities and their mean q,
        ``-sum p log q`` over draws, observations and components: the Kullback-Leibler divergence
        that the method minimises, but for ``sum p log p``, which no permutation changes.

    Raises
    ------
    TypeError, ValueError
        If p has a wrong shape, NaN or negative values, or rows that do not sum to one; if eps, tol
        or a start makes no sense.

    Notes
    -----
    As sum p log p does not depend on the permutations, the cost of a draw is one matrix product,
    -log(q)' p, and the sum itself is never computed. Where q is zero, its logarithm is taken at the
    smallest normal number. This bounds the divergence from above and touches it at the current
    permutations, so that no sweep can raise the objective, and a probability of 1e-300 does not
    lock a label as log 0 would.

    All starts share one pass over p in each sweep, and a start that meets another is dropped.
    Memory beyond p is one block of draws for each core, and q and the permutations of each start.
    With Dask it is that for each chunk.

    References
    ----------
    Stephens (2000), Journal of the Royal Statistical Society B 62, 795-809, section 4.1 and
    algorithm 2.

    Examples
    --------
    >>> import labelswitch
    >>> p = [[[0.9, 0.1], [0.2, 0.8]], [[0.1, 0.9], [0.8, 0.2]]]
    >>> labelswitch.stephens(p).permutations
    array([[0, 1],
           [1, 0]])
    """
    probabilities = _Probabilities(p, eps)
    n_draws, _, n_components = probabilities.shape
    names = ("identity", "pra", "ecr", "random")
    starts = validation.check_starts(starts, names, n_draws, n_components)
    max_sweeps = validation.check_count(max_sweeps, "max_sweeps")
    tol = validation.check_tol(tol)

    def cross_entropy(total):
        # The relabelled draws sum to m q, so their cross entropy needs no pass over p.
        # (Dividing total by m could underflow to log 0.)
        return float(np.log(n_draws) * total.sum() - xlogy(total, total).sum())

    seen = _Seen()
    live = _first_sweeps(probabilities, starts, seed)
    objective = {id(one): cross_entropy(one.total) for one in live}
    traces = {id(one): [] for one in live}
    finished = []
    while live:
        live = [one for one in live if not seen.by_another(one.permutations, one)]
        if not live:
            break
        before = [one.permutations for one in live]
        for one in live:
            one.targets = np.log(np.maximum(one.total, kernels.TINY)) - np.log(n_draws)
        probabilities.sweep(live)
        going = []
        for one, previous in zip(live, before, strict=True):
            trace = traces[id(one)]
            lower = objective[id(one)] - cross_entropy(one.total)
            objective[id(one)] = cross_entropy(one.total)
            trace.append(objective[id(one)])
            converged = np.array_equal(one.permutations, previous) or lower < tol
            text = f"stephens, start {one.name}: sweep {len(trace)}, {trace[-1]:.6g}"
            _report(progress, text)
            if not converged and len(trace) < max_sweeps:
                going.append(one)
                continue
            finished.append(
                AlgorithmResult(
                    one.permutations,
                    trace[-1],
                    np.array(trace),
                    converged,
                    "stephens",
                    start=one.name,
                    q=one.total.T / n_draws,
                    confidence=one.gaps,
                )
            )
        live = going
    return near_input(_best(finished))


def ecr_iterative_2(
    z,
    p,
    *,
    starts: str | Sequence = ("identity", "pra", "ecr", "random"),
    seed: int | np.random.Generator = 0,
    max_sweeps: int = 100,
    progress: bool = False,
) -> AlgorithmResult:
    """Relabel by ECR against the pivot of the mean relabelled allocation probabilities.

    Parameters
    ----------
    z : (m, n) int array
        Allocations, labels 0, ..., K - 1.
    p : (m, n, K) array
        Probability that observation i belongs to component k, in each draw. float32 is used as it
        is. A Dask array is streamed over its chunks of draws.
    starts, seed, max_sweeps, progress
        As in `stephens`.

    Returns
    -------
    AlgorithmResult
        The objective is the number of allocations that differ from the pivot.

    Raises
    ------
    TypeError, ValueError
        If z or p is not as above, or their shapes disagree.

    Notes
    -----
    The pivot comes from p and the assignment from z, so the objective may rise, and the sweeps may
    run in a circle. Then ``converged`` is False and the best sweep is returned. Where two
    components are equally probable the pivot takes the last, as R does.

    References
    ----------
    Papastamoulis and Iliopoulos (2010), Journal of Computational and Graphical Statistics 19,
    313-331; Papastamoulis (2016), Journal of Statistical Software 69, Code Snippet 1, section 2.5.

    Examples
    --------
    >>> import labelswitch
    >>> p = [[[0.9, 0.1], [0.2, 0.8]], [[0.1, 0.9], [0.8, 0.2]]]
    >>> labelswitch.ecr_iterative_2([[0, 1], [1, 0]], p).permutations
    array([[0, 1],
           [1, 0]])
    """
    probabilities = _Probabilities(p)
    n_draws, n_observations, n_components = probabilities.shape
    z, _ = validation.check_allocations(z, n_components)
    if z.shape != (n_draws, n_observations):
        raise ValueError(
            f"z has shape {z.shape} but p has {n_draws} draws of {n_observations} observations; "
            "pass the same draws in both."
        )
    names = ("identity", "pra", "ecr", "random")
    starts = validation.check_starts(starts, names, n_draws, n_components)
    max_sweeps = validation.check_count(max_sweeps, "max_sweeps")

    live = _first_sweeps(probabilities, starts, seed)
    own = {id(one): {one.permutations.tobytes()} for one in live}
    traces = {id(one): [] for one in live}
    best = {id(one): (np.inf,) for one in live}
    finished, totals = [], {}
    while live:
        for one in live:
            totals[_up_to_renaming(one.permutations)] = one.permutations[0], one.total
        seen = _Seen()  # starts that stand together go on together
        going = []
        for one in live:
            trace = traces[id(one)]
            q = one.total.T / n_draws
            pivot = n_components - 1 - q[:, ::-1].argmax(axis=1)
            if seen.by_another(pivot, one):
                continue
            moved, objective, _, _ = kernels.sweep_allocations(
                z, pivot.astype(z.dtype), one.permutations, True, False
            )
            converged = np.array_equal(moved, one.permutations)
            if converged or objective < best[id(one)][0]:
                best[id(one)] = (objective, moved, pivot, q)
            trace.append(objective)
            text = f"ecr_iterative_2, start {one.name}: sweep {len(trace)}, {objective:.6g}"
            _report(progress, text)
            circling = not converged and moved.tobytes() in own[id(one)]
            if not (converged or circling) and len(trace) < max_sweeps:
                own[id(one)].add(moved.tobytes())
                one.permutations, one.targets = moved, None
                going.append(one)
                continue
            objective, moved, pivot, q = best[id(one)]
            finished.append(
                AlgorithmResult(
                    moved,
                    objective,
                    np.array(trace),
                    converged,
                    "ecr_iterative_2",
                    start=one.name,
                    pivot=pivot,
                    q=q,
                )
            )
        live = going
        unknown = []
        for one in live:
            names, total = totals.get(_up_to_renaming(one.permutations), (None, None))
            if total is None:
                unknown.append(one)
            else:  # the same but for the names of the labels: p need not be read
                one.total = total[np.argsort(names)[one.permutations[0]]]
        if unknown:
            probabilities.sweep(unknown)
    winner = _best(finished)
    return near_input(_with_gaps(winner, z))


def _squared_distances(parameters: np.ndarray, pivot: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Return the (m, K, K) squared distances from each draw's components to the pivot's."""
    n_draws, n_components, _ = parameters.shape
    cost = np.zeros((n_draws, n_components, n_components))
    for j in range(parameters.shape[2]):
        difference = parameters[:, :, np.newaxis, j] - pivot[:, j]
        cost += (difference / scale[j]) ** 2
    return cost


def pra(parameters, pivot, *, standardise: bool = True) -> AlgorithmResult:
    """Relabel each draw to lie nearest to a pivot (pivotal reordering algorithm).

    Parameters
    ----------
    parameters : (m, K, J) or (m, K) array
        Parameters of each component in each draw.
    pivot : (K, J) or (K,) array
        A good draw, such as the one of highest posterior density.
    standardise : bool
        Measure each parameter in units of its posterior standard deviation within a component.
        False takes the parameters as they are, like R.

    Returns
    -------
    AlgorithmResult
        The objective is the sum of squared distances to the pivot, in the units used. The distance
        falls as the scalar product, which the paper maximises, rises.

    Raises
    ------
    TypeError, ValueError
        If parameters or the pivot are not finite numbers of fitting shapes.

    Notes
    -----
    With raw parameters the one with the largest numbers decides, and a change of units changes the
    answer. Dividing by the pooled standard deviation of draws and components is worse: it blows
    up the parameters in which the components do not differ. Here the unit is the standard
    deviation within a relabelled component. It starts from the draws sorted parameter by parameter
    and is re-estimated until the permutations stay. ``standardise=False`` gives exactly R's result.

    References
    ----------
    Marin, Mengersen and Robert (2005), Handbook of Statistics 25, 459-507; Marin and Robert (2007),
    Bayesian Core, chapter 6.

    Examples
    --------
    >>> import labelswitch
    >>> labelswitch.pra([[-1.0, 1.0], [1.1, -0.9]], pivot=[-1.0, 1.0]).permutations
    array([[0, 1],
           [1, 0]])
    """
    parameters = validation.check_parameters(parameters)
    n_draws, n_components, n_parameters = parameters.shape
    pivot = validation.check_parameter_pivot(pivot, parameters)
    identity = _identity(n_draws, n_components)
    # In units of the largest value nothing over- or underflows; a power of two rounds nothing.
    axes = None if not standardise else (0, 1)
    largest = np.maximum(abs(parameters).max(axis=axes), abs(pivot).max(axis=axes and 0))
    unit = np.exp2(np.floor(np.log2(np.where(largest > 0, largest, 1.0))))
    scaled, target = parameters / unit, pivot / unit
    if not standardise:
        cost = _squared_distances(scaled, target, np.ones(n_parameters))
        permutations, totals, gaps = kernels.assign(cost, identity)
        with np.errstate(over="ignore", under="ignore"):
            trace, converged = [totals.sum() * unit * unit], True
            gaps = gaps * unit * unit
    else:
        validation.check_spread(parameters)
        pooled = scaled.std(axis=(0, 1))
        relabelled = np.sort(scaled, axis=1)
        permutations, trace, converged = identity, [], False
        while not converged and len(trace) < 100:
            # A parameter that never varies within a component gets a large weight, not infinity.
            scale = np.maximum(np.sqrt(relabelled.var(axis=0).mean(axis=0)), 1e-6 * pooled)
            scale[scale == 0] = 1.0
            cost = _squared_distances(scaled, target, scale)
            moved, totals, gaps = kernels.assign(cost, identity)
            converged = bool(trace) and np.array_equal(moved, permutations)
            permutations = moved
            trace.append(totals.sum())
            relabelled = apply_permutations(scaled, permutations)
    if not np.isfinite(trace[-1]):
        raise ValueError(
            "parameters are so far from the pivot that squared distances overflow; standardise, "
            "change the units, or drop those draws."
        )
    return AlgorithmResult(
        permutations,
        float(trace[-1]),
        np.array(trace),
        converged,
        "pra",
        pivot=pivot,
        confidence=gaps,
    )


def sjw(
    parameters,
    z,
    *,
    log_density: Callable[[np.ndarray], np.ndarray],
    weights=None,
    seed: int | np.random.Generator | None = None,
    max_sweeps: int = 100,
    tol: float = 1e-6,
    progress: bool = False,
) -> AlgorithmResult:
    """Relabel by the posterior of the permutations (Sperrin, Jaki and Wit's EM algorithm).

    Parameters
    ----------
    parameters : (m, K, J) or (m, K) array
        Parameters of each component in each draw.
    z : (m, n) int array
        Allocations, labels 0, ..., K - 1.
    log_density : callable
        Maps parameters of the shape of one draw, (K, J) or (K,), to the log density of every
        observation under every component, (n, K).
    weights : (m, K) array, optional
        Mixture weights of each draw. They are relabelled and averaged like a parameter, and their
        logarithm is added to log_density. Leave them out if they are among the parameters and
        log_density adds their logarithm itself, or if they are all equal.
    seed : int or numpy.random.Generator, optional
        With a seed, each draw's permutation is sampled from its posterior, as in the paper.
        Without one, the most probable permutation is taken.
    max_sweeps : int
        Sweeps of the EM algorithm.
    tol : float
        Stop when no expected parameter or weight changes by more.
    progress : bool
        Write a line per sweep to the standard error stream.

    Returns
    -------
    AlgorithmResult
        The objective is minus the log of the summed weight of all permutations, exp of the
        complete log likelihood at the expected parameters, summed over the draws. ``parameters``
        holds the expected relabelled parameters.

    Raises
    ------
    TypeError, ValueError
        If the arrays do not fit together, log_density returns another shape or NaN, or seed is
        given for more than 12 components.

    Notes
    -----
    The E step needs, per draw, only the K x K table of log densities under component j summed over
    the observations with label k. The posterior of the K! permutations follows from it exactly, by
    a recursion over the 2^K sets of labels, up to K = 12. Beyond, the most probable permutation
    stands for the posterior.

    This departs from R's label.switching 1.8 in two ways. R weighs a permutation by the likelihood
    of the allocations *mapped by it*, and then averages the parameters *gathered by it*; one of
    the two must be the inverse, which matters for K >= 3. And R starts from the mean over all
    draws, which is the same for all components once labels have switched, or from one draw; here
    the start is the mean of the draws that `ecr_iterative_1` has relabelled.

    The M step averages parameters, as in the paper. That need not lower the objective.

    References
    ----------
    Sperrin, Jaki and Wit (2010), Statistics and Computing 20, 357-366.

    Examples
    --------
    >>> import numpy as np
    >>> from scipy import stats
    >>> import labelswitch
    >>> x = np.array([-1.1, -0.9, 1.0])
    >>> means = np.array([[-1.0, 1.0], [1.0, -1.0]])
    >>> z = [[0, 0, 1], [1, 1, 0]]
    >>> result = labelswitch.sjw(
    ...     means, z, log_density=lambda mu: stats.norm.logpdf(x[:, None], mu)
    ... )
    >>> result.permutations
    array([[0, 1],
           [1, 0]])
    """
    shape = np.asarray(parameters).shape[1:]
    parameters = validation.check_parameters(parameters)
    n_draws, n_components, _ = parameters.shape
    z, _ = validation.check_allocations(z, n_components)
    if len(z) != n_draws:
        raise ValueError(f"z has {len(z)} draws but parameters has {n_draws}; pass the same draws.")
    max_sweeps = validation.check_count(max_sweeps, "max_sweeps")
    tol = validation.check_tol(tol)
    exact = n_components <= EXACT_COMPONENTS
    if seed is not None and not exact:
        raise ValueError(
            f"seed samples permutations for at most {EXACT_COMPONENTS} components; with "
            f"{n_components}, leave it out to get the most probable ones."
        )
    averaged = parameters
    if weights is not None:
        weights = validation.check_weights(weights, n_draws, n_components)
        averaged = np.concatenate([parameters, weights[:, :, np.newaxis]], axis=2)
    no_sampling = np.empty((0, n_components))

    def e_step(expected, current, uniform=no_sampling):
        theta = expected if weights is None else expected[:, :-1]
        table = log_density(theta.reshape(shape).copy())
        table = validation.check_log_density(table, z.shape[1], n_components)
        if weights is not None:
            with np.errstate(divide="ignore"):
                table = table + np.log(expected[:, -1])
        # An impossible observation costs more than any possible one, but not infinity.
        table = np.maximum(table, -1e9)
        return kernels.permutation_posterior(table, z, current, uniform, exact)

    if not callable(log_density):
        raise TypeError(
            "log_density must be a function of the parameters of one draw, not "
            f"{type(log_density).__name__}."
        )
    rng = None if seed is None else validation.check_seed(seed)
    permutations = ecr_iterative_1(z, n_components=n_components).permutations
    expected = apply_permutations(averaged, permutations).mean(axis=0)
    trace, converged = [], False
    while not converged and len(trace) < max_sweeps:
        permutations, probability, log_sum, sure = e_step(expected, permutations)
        previous = expected
        expected = np.einsum("tjk,tkp->jp", probability, averaged) / n_draws
        converged = bool(abs(expected - previous).max() <= tol)
        trace.append(-log_sum)
        _report(progress, f"sjw: sweep {len(trace)}, {-log_sum:.6g}")
    if seed is not None:
        uniform = rng.random((n_draws, n_components))
        permutations, _, _, sure = e_step(expected, permutations, uniform)
    theta = expected if weights is None else expected[:, :-1]
    return near_input(
        AlgorithmResult(
            permutations,
            trace[-1],
            np.array(trace),
            converged,
            "sjw",
            parameters=theta,
            confidence=sure if exact else None,
        )
    )


def data_based(x, z, *, n_components: int | None = None) -> AlgorithmResult:
    """Relabel by the data that each component holds (Rodriguez and Walker's strategy).

    Parameters
    ----------
    x : (n,) or (n, d) array
        The data.
    z : (m, n) int array
        Allocations, labels 0, ..., K - 1.
    n_components : int, optional
        K; by default the largest label of z plus one.

    Returns
    -------
    AlgorithmResult
        The objective is the sum of squared distances of the observations to the centres of their
        components, in units of the components' standard deviations. ``parameters`` holds the
        centres (K, d).

    Raises
    ------
    TypeError, ValueError
        If x is not finite, labels are out of range or look 1-based, or x and z disagree.

    Notes
    -----
    A first pass over the draws assigns each to the centres found so far, and updates centres and
    standard deviations as running means. A second pass assigns every draw to the final centres.
    The centres start in the order of the data, so labels come out in that order as a rule.

    Two additions keep degenerate draws right. A centre that no draw has used yet takes a non-empty
    component only if no other centre is free; its wide initial deviation would attract all. And a
    standard deviation counts as at least 1e-6 of the data's range, so that a component of equal
    values divides by no zero.

    References
    ----------
    Rodriguez and Walker (2014), Journal of Computational and Graphical Statistics 23, 25-45,
    algorithms 5 and 6.

    Examples
    --------
    >>> import labelswitch
    >>> x = [-1.1, -0.9, 1.0, 1.2]
    >>> labelswitch.data_based(x, [[0, 0, 1, 1], [1, 1, 0, 0]]).permutations
    array([[0, 1],
           [1, 0]])
    """
    z, n_components = validation.check_allocations(z, n_components)
    x = validation.check_data(x, z.shape[1])
    lowest, width = x.min(axis=0), np.ptp(x, axis=0)
    if not np.isfinite(width).all():
        raise ValueError("x spans more than floating point holds; change its units.")
    # In units of the data's range, so that no square over- or underflows.
    unit = np.where(width > 0, width, 1.0)
    steps = np.arange(1, n_components + 1)[:, np.newaxis] / (n_components + 1)
    centre = steps * (width > 0)
    spread = np.tile((width > 0) / n_components, (n_components, 1))
    floor = np.where(width > 0, 1e-6, 1.0)
    moments = kernels.group_moments((x - lowest) / unit, z, n_components)
    permutations, totals, gaps = kernels.sweep_data_based(*moments, centre, spread, floor)
    objective = float(totals.sum())
    return AlgorithmResult(
        permutations,
        objective,
        np.array([objective]),
        True,
        "data_based",
        parameters=lowest + centre * unit,
        confidence=gaps,
    )


def order(parameters, *, index: int = 0) -> AlgorithmResult:
    """Sort the components of each draw by one parameter (artificial identifiability constraint).

    Parameters
    ----------
    parameters : (m, K, J) or (m, K) array
        Parameters of each component in each draw.
    index : int
        Index of the parameter to sort by, increasing.

    Returns
    -------
    AlgorithmResult
        The objective is 0: nothing is left unsorted.

    Raises
    ------
    TypeError, ValueError
        If parameters are not finite numbers of that shape, or index is out of range.

    Notes
    -----
    Equal values keep their order. Sorting is right where the components are far apart in that
    parameter; where they overlap it cuts through them.

    References
    ----------
    Stephens (2000), Journal of the Royal Statistical Society B 62, 795-809, section 3.1, on why
    such constraints fail.

    Examples
    --------
    >>> import labelswitch
    >>> labelswitch.order([[0.5, -0.5], [-0.4, 0.6]]).permutations
    array([[1, 0],
           [0, 1]])
    """
    parameters = validation.check_parameters(parameters)
    index = validation.check_index(index, parameters.shape[2])
    values = parameters[:, :, index]
    permutations = np.argsort(values, axis=1, kind="stable")
    ordered = np.sort(values, axis=1)
    gaps = np.diff(ordered, axis=1).min(axis=1, initial=np.inf)
    spread = np.sqrt(ordered.var(axis=0).mean())
    confidence = gaps / spread if spread > 0 else gaps
    return AlgorithmResult(permutations, 0.0, np.zeros(1), True, "order", confidence=confidence)
