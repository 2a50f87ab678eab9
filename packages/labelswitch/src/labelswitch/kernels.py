"""Numba kernels: cost matrices, one assignment per draw, and the sums that a sweep needs.

Every kernel reads its large input once, draw by draw, and holds no more than one draw besides its
results. They release the GIL, so that Dask's threads may run them side by side.
"""

import numba
import numpy as np

# The smallest normal number: a probability below it counts as this in a logarithm.
TINY = np.finfo(np.float64).tiny
# A permutation whose cost is within this fraction of the best one is tied with it.
TIE = 1e-12
# Reductions may be reordered (SIMD); NaN and infinity keep their meaning.
REORDER = {"reassoc", "contract", "nsz"}


def _compile(**options):
    """Return numba.njit, cached on disk where some directory can be written."""

    def decorate(function):
        try:
            return numba.njit(nogil=True, cache=True, **options)(function)
        except RuntimeError:  # neither the package nor the user has a writable cache directory
            return numba.njit(nogil=True, **options)(function)

    return decorate


@_compile()
def _workspace(size):
    """Return the scratch arrays of `_assign`.

    The first two rows are the dual vectors, the third the margins of the rows.
    """
    return np.zeros((3, size)), np.zeros((5, size), np.intp)


@_compile(forceinline=True)
def _assign(cost, permutations, t, workspace):
    """Write the cheapest permutation of one square cost matrix into row t.

    ``cost[k, j]`` is the cost of turning the old label k into the new label j. Returns its cost,
    and whether the matrix is clear: each row has one minimum, in a column of its own, and no other
    permutation is tied. Then that is the answer, and the workspace holds each row's minimum, its
    column, and by how much the second is above it. Mostly, it is clear; no branch depends on the
    costs here, and no array is a view, which Numba would count. Otherwise the duals are in the
    workspace: ``u[k] + v[j] <= cost[k, j]``, with equality along the permutation.
    """
    duals, marks = workspace
    size = cost.shape[0]
    for column in range(size):
        marks[0, column] = 0
        duals[1, column] = 0.0
    is_clear = True
    total = 0.0
    least = np.inf
    for row in range(size):
        lowest = cost[row, 0]
        second = np.inf
        best = 0
        for column in range(1, size):
            other = cost[row, column]
            lower = other < lowest
            higher = lowest if lower else other
            second = higher if higher < second else second
            best = column if lower else best
            lowest = other if lower else lowest
        is_clear = is_clear and second > lowest and marks[0, best] == 0
        marks[0, best] = 1
        marks[1, row] = best
        permutations[t, best] = row
        duals[0, row] = lowest
        duals[2, row] = second - lowest
        least = min(least, second - lowest)
        total += lowest
    if is_clear and least > TIE * abs(total) and total < np.inf:
        return total, True
    return _assign_by_paths(cost, permutations[t], workspace), False


@_compile()
def _assign_by_paths(cost, permutation, workspace):
    """Do the same for any costs, by shortest augmenting paths.

    These are those of Jonker and Volgenant (1987), in the form of Crouse (2016); ties fall as they
    do in scipy.optimize.linear_sum_assignment.
    """
    u, v, distance = workspace[0][0], workspace[0][1], workspace[0][2]
    column_of, path, remaining = workspace[1][0], workspace[1][1], workspace[1][2]
    row_seen, column_seen = workspace[1][3], workspace[1][4]
    row_of = permutation
    size = cost.shape[0]
    for k in range(size):
        u[k] = v[k] = 0.0
        row_of[k] = -1
        column_of[k] = -1
    for start in range(size):
        for k in range(size):
            remaining[k] = size - k - 1
            row_seen[k] = 0
            column_seen[k] = 0
            distance[k] = np.inf
        n_remaining = size
        shortest = 0.0
        row = start
        while True:
            row_seen[row] = 1
            lowest = np.inf
            chosen = -1
            for position in range(n_remaining):
                j = remaining[position]
                reduced = shortest + cost[row, j] - u[row] - v[j]
                if reduced < distance[j]:
                    path[j] = row
                    distance[j] = reduced
                if distance[j] < lowest or (distance[j] == lowest and row_of[j] == -1):
                    lowest = distance[j]
                    chosen = position
            if chosen < 0:
                raise ValueError("a cost is NaN or infinite")
            shortest = lowest
            column = remaining[chosen]
            column_seen[column] = 1
            n_remaining -= 1
            remaining[chosen] = remaining[n_remaining]
            if row_of[column] == -1:
                break
            row = row_of[column]
        u[start] += shortest
        for k in range(size):
            if row_seen[k] and k != start:
                u[k] += shortest - distance[column_of[k]]
        for j in range(size):
            if column_seen[j]:
                v[j] -= shortest - distance[j]
        while True:
            row = path[column]
            row_of[column] = row
            following = column_of[row]
            column_of[row] = column
            if row == start:
                break
            column = following

    total = 0.0
    for j in range(size):
        total += cost[permutation[j], j]
    return total


@_compile(forceinline=True)
def _gap(cost, permutations, t, is_clear, step, workspace):
    """Return how much more the second best permutation costs than this one, the best.

    Another permutation differs by a cycle of labels, or by several. Moving the old label of j to
    the new label i adds ``step[j, i]``, so the cheapest change is the shortest cycle. It visits
    other labels, so that a cycle of three or more costs at least the three least of the cheapest
    steps away from each label, which mostly exceeds the best exchange of two. Otherwise Floyd and
    Warshall's algorithm finds it. The duals that `_assign` has left cancel along a cycle and make
    all steps non-negative, so a path as long as a known cycle need not be followed.
    """
    size = cost.shape[0]
    duals, marks = workspace
    best = np.inf
    first = second = third = np.inf  # the three least of the cheapest steps
    if is_clear:
        for row in range(size):
            away = duals[2, row]
            third = min(third, max(second, away))
            second = min(second, max(first, away))
            first = min(first, away)
            for other in range(row):
                there = cost[row, marks[1, other]] - duals[0, row]
                best = min(best, there + (cost[other, marks[1, row]] - duals[0, other]))
        if first + second + third >= best:
            return best
    for j in range(size):
        row = permutations[t, j]
        for i in range(size):
            step[j, i] = cost[row, i] - duals[0, row] - duals[1, i]
    if not is_clear:
        for j in range(size):
            away = np.inf
            for i in range(size):
                if i != j:
                    away = min(away, step[j, i])
                    best = min(best, step[j, i] + step[i, j])
            third = min(third, max(second, away))
            second = min(second, max(first, away))
            first = min(first, away)
        if first + second + third >= best:
            return max(best, 0.0)
    for k in range(size):
        for j in range(size):
            to_k = step[j, k]
            if to_k < best and j != k:
                for i in range(size):
                    length = to_k + step[k, i]
                    if i == j:
                        best = min(best, length)
                    elif length < step[j, i]:
                        step[j, i] = length
    return max(best, 0.0)  # a tie that was kept may be below by rounding


@_compile(forceinline=True)
def _keep(cost, current, permutations, t, lowest):
    """Keep the current permutation where it is as good as the cheapest; return the cost.

    Otherwise ties would make sweeps wander, and a second relabelling undo the first.
    """
    kept = 0.0
    for j in range(cost.shape[0]):
        kept += cost[current[t, j], j]
    if kept > lowest + TIE * abs(lowest):
        return lowest
    for j in range(cost.shape[0]):
        permutations[t, j] = current[t, j]
    return kept


@_compile(forceinline=True)
def _assign_or_keep(cost, current, permutations, t, workspace):
    """Like `_assign`, but keep the current permutation where it is as good."""
    lowest, is_clear = _assign(cost, permutations, t, workspace)
    if not is_clear:
        lowest = _keep(cost, current, permutations, t, lowest)
    return lowest, is_clear


@_compile()
def assign(cost, current):
    """Return the cheapest permutation of each draw's cost matrix, its cost and its gap.

    Parameters
    ----------
    cost : (m, K, K) float array
        ``cost[t, k, j]``: the old label k becomes the new label j.
    current : (m, K) intp array
        Kept wherever it is as cheap.
    """
    n_draws, size, _ = cost.shape
    permutations = np.empty((n_draws, size), np.intp)
    totals, gaps = np.empty(n_draws), np.empty(n_draws)
    workspace = _workspace(size)
    step = np.empty((size, size))
    for t in range(n_draws):
        totals[t], is_clear = _assign_or_keep(cost[t], current, permutations, t, workspace)
        gaps[t] = _gap(cost[t], permutations, t, is_clear, step, workspace)
    return permutations, totals, gaps


@_compile()
def narrow(z, out):
    """Write z (m, n) into a narrower type and return its smallest and largest value."""
    low = high = z[0, 0]
    for t in range(z.shape[0]):
        for i in range(z.shape[1]):
            low, high = min(low, z[t, i]), max(high, z[t, i])
            out[t, i] = z[t, i]
    return low, high


@_compile()
def sweep_allocations(z, pivot, current, keep, want_gaps):
    """Assign every draw of z, of any integers in C order, to the pivot allocation.

    With `keep`, a draw's current permutation stays wherever it is as good as the best. Returns
    the permutations (m, K), the number of allocations that differ from the pivot, where wanted
    the gaps to the second best permutations (m,), and the smallest and the largest label. A label
    that is none of 0, ..., K - 1 ends it: then the largest is K or more, and the rest is void.
    """
    n_draws, n_observations = z.shape
    size = current.shape[1]
    permutations = np.empty((n_draws, size), np.intp)
    gaps = np.zeros(n_draws)
    cost = np.empty((size, size))
    step = np.empty((size, size))
    workspace = _workspace(size)
    # How many observations have each old label and pivot label. Four tables take turns, as an
    # increment must wait for the one before it in the same place. Unsigned, so that Numba looks
    # for no negative index.
    n_cells = size * size
    partial = np.empty(4 * n_cells, np.int32)
    place = np.empty(n_observations, np.uint32)
    for i in range(n_observations):
        place[i] = pivot[i] + i % 4 * n_cells
    cells = np.empty(n_observations, np.uint32)
    width = np.uint32(size)
    total = 0.0
    lowest_label, highest_label = width, np.uint32(0)
    for t in range(n_draws):
        labels = z[t]
        wide = np.int64(0)
        for i in range(n_observations):  # a loop of its own: the compiler makes it SIMD
            label = np.int64(labels[i])
            wide |= label >> 31  # not 0 where the label is negative, or too large for 32 bits
            lowest_label = min(lowest_label, np.uint32(label))
            highest_label = max(highest_label, np.uint32(label))
            cells[i] = np.uint32(label) * width + place[i]
        if wide != 0 or highest_label >= width:
            return permutations, total, gaps, (0, max(size, np.int64(highest_label)))
        partial[:] = 0
        for i in range(n_observations):
            partial[cells[i]] += 1
        for k in range(size):
            for j in range(size):
                cell = k * size + j
                count = partial[cell] + partial[cell + n_cells]
                count += partial[cell + 2 * n_cells] + partial[cell + 3 * n_cells]
                cost[k, j] = -float(count)
        lowest, is_clear = _assign(cost, permutations, t, workspace)
        if keep and not is_clear:
            lowest = _keep(cost, current, permutations, t, lowest)
        total += lowest
        if want_gaps:
            gaps[t] = _gap(cost, permutations, t, is_clear, step, workspace)
    return permutations, total + z.size, gaps, (np.int64(lowest_label), np.int64(highest_label))


@_compile()
def count_votes(z, permutations):
    """Return how often each observation falls to each label after relabelling, (n, K)."""
    n_draws, n_observations = z.shape
    size = permutations.shape[1]
    votes = np.zeros((size, n_observations), np.int64)
    few = np.empty((size, n_observations), np.uint8)  # of as many draws as one byte can count
    for first in range(0, n_draws, 255):
        few[:] = 0
        for t in range(first, min(first + 255, n_draws)):
            for j in range(size):
                label = z.dtype.type(permutations[t, j])  # or the comparison widens each z
                for i in range(n_observations):
                    few[j, i] += np.uint8(z[t, i] == label)
        for j in range(size):
            for i in range(n_observations):
                votes[j, i] += few[j, i]
    return votes.T


@_compile()
def in_draw_order(p, draws):
    """Write p (m, n, K), whose draws lie side by side in memory, as draws (m, K, n) in C order.

    Some observations at a time: a line of the cache that is read for one draw serves the next ones.
    """
    n_draws, n_observations, size = p.shape
    for k in range(size):
        for first in range(0, n_observations, 64):
            for t in range(n_draws):
                for i in range(first, min(first + 64, n_observations)):
                    draws[t, k, i] = p[t, i, k]


@_compile(fastmath=REORDER, error_model="numpy")  # or each division looks for a zero
def _clip_draw(draw, eps, tolerance, row_sum):
    """Clip one draw (K, n) to [eps, 1 - eps] and renormalise it.

    Returns the first row that is no distribution, or -1. A negative tolerance looks at none.
    """
    size, n_observations = draw.shape
    if tolerance >= 0.0:
        row_sum[:] = 0.0
        n_good = 0
        for k in range(size):
            for i in range(n_observations):
                row_sum[i] += draw[k, i]
                n_good += draw[k, i] >= 0.0  # false for NaN
        for i in range(n_observations):
            n_good += abs(row_sum[i] - 1.0) <= tolerance
        if n_good < n_observations * (size + 1):
            for i in range(n_observations):
                good = abs(row_sum[i] - 1.0) <= tolerance
                for k in range(size):
                    good = good and draw[k, i] >= 0.0
                if not good:
                    return i
    if eps > 0.0:
        row_sum[:] = 0.0
        for k in range(size):
            for i in range(n_observations):
                value = draw[k, i]
                value = eps if value < eps else value
                value = 1.0 - eps if value > 1.0 - eps else value
                draw[k, i] = value
                row_sum[i] += value
        for i in range(n_observations):
            row_sum[i] = 1.0 / row_sum[i]
        for k in range(size):
            for i in range(n_observations):
                draw[k, i] *= row_sum[i]
    return -1


@_compile(fastmath=REORDER)
def _products(targets, draw, table):
    """Write ``table[r, k] = sum_i targets[r, i] draw[k, i]``.

    Eight sums at a time, so that each number that is read serves several of them.
    """
    n_rows, n_observations = targets.shape
    size = draw.shape[0]
    fours, twos = n_rows // 4 * 4, size // 2 * 2
    for r in range(0, fours, 4):
        t0, t1, t2, t3 = targets[r], targets[r + 1], targets[r + 2], targets[r + 3]
        for k in range(0, twos, 2):
            left, right = draw[k], draw[k + 1]
            a0 = a1 = a2 = a3 = b0 = b1 = b2 = b3 = 0.0
            for i in range(n_observations):
                a, b = left[i], right[i]
                a0 += t0[i] * a
                a1 += t1[i] * a
                a2 += t2[i] * a
                a3 += t3[i] * a
                b0 += t0[i] * b
                b1 += t1[i] * b
                b2 += t2[i] * b
                b3 += t3[i] * b
            table[r, k], table[r + 1, k], table[r + 2, k], table[r + 3, k] = a0, a1, a2, a3
            k += 1
            table[r, k], table[r + 1, k], table[r + 2, k], table[r + 3, k] = b0, b1, b2, b3
        for k in range(twos, size):
            last = draw[k]
            a0 = a1 = a2 = a3 = 0.0
            for i in range(n_observations):
                a = last[i]
                a0 += t0[i] * a
                a1 += t1[i] * a
                a2 += t2[i] * a
                a3 += t3[i] * a
            table[r, k], table[r + 1, k], table[r + 2, k], table[r + 3, k] = a0, a1, a2, a3
    for r in range(fours, n_rows):
        row = targets[r]
        for k in range(0, size // 4 * 4, 4):
            d0, d1, d2, d3 = draw[k], draw[k + 1], draw[k + 2], draw[k + 3]
            a0 = a1 = a2 = a3 = 0.0
            for i in range(n_observations):
                a = row[i]
                a0 += a * d0[i]
                a1 += a * d1[i]
                a2 += a * d2[i]
                a3 += a * d3[i]
            table[r, k], table[r, k + 1], table[r, k + 2], table[r, k + 3] = a0, a1, a2, a3
        for k in range(size // 4 * 4, size):
            last = draw[k]
            product = 0.0
            for i in range(n_observations):
                product += row[i] * last[i]
            table[r, k] = product


@_compile()
def _copy_total(total, renaming, s):
    """Give start s the total of the start before it, under its own names."""
    for j in range(total.shape[1]):
        total[s, j] = total[s - 1, renaming[s, j]]


@_compile(fastmath=REORDER)
def sweep_probabilities(p, draws, targets, current, eps, move, tolerance):
    """Assign every draw of p to the targets of each start, and sum the relabelled draws.

    Parameters
    ----------
    p : (m, n, K) float32 or float64 array
    draws : (m, K, n) or (1, K, n) array
        The draws of p in the order in which they are swept; or room for one, and each is written
        there in its turn. Either is overwritten.
    targets : (number of starts that move, K, n) array
        What label j should look like, for each start that moves: log q for Stephens, a pivot's
        probabilities for PRA. A draw's permutation maximises
        ``sum_ij targets[s, j, i] p[t, i, permutation[j]]``.
    current : (S, m, K) intp array
        The permutations so far.
    eps : float
        Probabilities are clipped to [eps, 1 - eps] and renormalised, one draw at a time.
    move : (S,) bool array
        False keeps the current permutations and only sums.
    tolerance : float
        How far the sum of a row may be from one. A negative one trusts p, and asks for the gaps.

    Returns
    -------
    permutations : (S, m, K) intp array
    total : (S, K, n) array
        Sum over the draws of the relabelled probabilities.
    gaps : (S, m) array
        How much more the second best permutation costs, where wanted; 0 otherwise.
    bad : (int, int)
        The first row (draw, observation) that is no distribution, where the sweep ends; or -1, -1.
    """
    n_draws, n_observations, size = p.shape
    n_starts = len(move)
    permutations = current.copy()
    gaps = np.zeros((n_starts, n_draws))
    step = np.empty((size, size))
    total = np.zeros((n_starts, size, n_observations))
    # As long as a start relabels as the one before it, but for one renaming of the labels, it has
    # the same total.
    shared = np.arange(n_starts) > 0
    renaming = np.empty((n_starts, size), np.intp)
    one_by_one = len(draws) == 1
    row_sum = np.empty(n_observations)
    rows = targets.reshape(-1, n_observations)
    table = np.empty((len(rows), size))
    cost = np.empty((size, size))
    workspace = _workspace(size)
    for t in range(n_draws):
        draw = draws[0 if one_by_one else t]
        if one_by_one:
            for k in range(size):
                for i in range(n_observations):
                    draw[k, i] = p[t, i, k]
        bad = _clip_draw(draw, eps, tolerance, row_sum)
        if bad >= 0:
            return permutations, total, gaps, (t, bad)
        _products(rows, draw, table)
        first = 0
        for s in range(n_starts):
            if move[s]:
                for j in range(size):
                    for k in range(size):
                        cost[k, j] = -table[first + j, k]
                first += size
                _, is_clear = _assign_or_keep(cost, current[s], permutations[s], t, workspace)
                if tolerance < 0.0:
                    gaps[s, t] = _gap(cost, permutations[s], t, is_clear, step, workspace)
        for s in range(1, n_starts):
            if t == 0:
                for j in range(size):
                    for k in range(size):
                        if permutations[s, 0, j] == permutations[s - 1, 0, k]:
                            renaming[s, j] = k
            if shared[s]:
                for j in range(size):
                    if permutations[s, t, j] != permutations[s - 1, t, renaming[s, j]]:
                        shared[s] = False
                if not shared[s]:
                    first = s
                    while shared[first - 1]:
                        first -= 1
                    for one in range(first, s + 1):
                        _copy_total(total, renaming, one)
        for s in range(n_starts):
            if not shared[s]:
                for j in range(size):
                    source = permutations[s, t, j]
                    for i in range(n_observations):
                        total[s, j, i] += draw[source, i]
    for s in range(1, n_starts):
        if shared[s]:
            _copy_total(total, renaming, s)
    return permutations, total, gaps, (-1, -1)


@_compile()
def group_moments(x, z, size):
    """Return count (m, K), mean (m, K, d) and sum of squared deviations (m, K, d) per label."""
    n_draws, n_observations = z.shape
    n_dimensions = x.shape[1]
    count = np.zeros((n_draws, size))
    mean = np.zeros((n_draws, size, n_dimensions))
    squares = np.zeros((n_draws, size, n_dimensions))
    for t in range(n_draws):
        for i in range(n_observations):
            k = z[t, i]
            count[t, k] += 1.0
            for d in range(n_dimensions):
                mean[t, k, d] += x[i, d]
        for k in range(size):
            if count[t, k] > 0.0:
                for d in range(n_dimensions):
                    mean[t, k, d] /= count[t, k]
        for i in range(n_observations):
            k = z[t, i]
            for d in range(n_dimensions):
                squares[t, k, d] += (x[i, d] - mean[t, k, d]) ** 2
    return count, mean, squares


@_compile()
def _fill_k_means_cost(cost, count, mean, squares, centre, spread, floor, used):
    """Write the scaled squared distances of each label's observations to each centre.

    Once some centres have been used, those that have not are the last resort of a label with
    observations.
    """
    size, n_dimensions = centre.shape
    n_observations = 0.0
    n_used = 0.0
    for k in range(size):
        n_observations += count[k]
        n_used += used[k]
    # More than any distance: the range of the data over the smallest deviation, squared.
    reserve = 1e13 * n_observations * n_dimensions if n_used > 0.0 else 0.0
    for k in range(size):
        for j in range(size):
            cost[k, j] = reserve if count[k] > 0.0 and used[j] == 0.0 else 0.0
            for d in range(n_dimensions):
                scale = spread[j, d] if spread[j, d] > floor[d] else floor[d]
                cost[k, j] += (
                    squares[k, d] + count[k] * (mean[k, d] - centre[j, d]) ** 2
                ) / scale**2


@_compile()
def sweep_data_based(count, mean, squares, centre, spread, floor):
    """Run both passes of the data-based strategy: find the centres, then assign every draw.

    The first pass replaces `centre` and `spread` (K, d) by running means over the draws.
    Returns the permutations, each draw's cost, and the gaps to the second best permutations.
    """
    n_draws, size, n_dimensions = mean.shape
    permutations = np.empty((n_draws, size), np.intp)
    totals, gaps = np.empty(n_draws), np.empty(n_draws)
    step = np.empty((size, size))
    identity = np.empty((n_draws, size), np.intp)
    identity[:] = np.arange(size)
    cost = np.empty((size, size))
    workspace = _workspace(size)
    n_centre = np.zeros(size)
    n_spread = np.zeros(size)
    for t in range(n_draws):
        _fill_k_means_cost(cost, count[t], mean[t], squares[t], centre, spread, floor, n_centre)
        _assign_or_keep(cost, identity, permutations, t, workspace)
        for j in range(size):
            k = permutations[t, j]
            if count[t, k] > 0.0:
                n_centre[j] += 1.0
                for d in range(n_dimensions):
                    centre[j, d] += (mean[t, k, d] - centre[j, d]) / n_centre[j]
            if count[t, k] > 1.0:
                n_spread[j] += 1.0
                for d in range(n_dimensions):
                    deviation = np.sqrt(squares[t, k, d] / (count[t, k] - 1.0))
                    spread[j, d] += (deviation - spread[j, d]) / n_spread[j]
    for t in range(n_draws):
        _fill_k_means_cost(cost, count[t], mean[t], squares[t], centre, spread, floor, n_centre)
        totals[t], is_clear = _assign_or_keep(cost, identity, permutations, t, workspace)
        gaps[t] = _gap(cost, permutations, t, is_clear, step, workspace)
    return permutations, totals, gaps


@_compile()
def permutation_posterior(log_density, z, current, uniform, exact):
    """Return, for each draw, the posterior of its permutation given components' log densities.

    The weight of a permutation is ``exp(sum_j score[j, permutation[j]])`` with ``score[j, k]`` the
    summed log density under component j of the observations that the draw labels k. The sum over
    all K! permutations is the permanent of exp(score), computed by recursion over the 2^K sets of
    labels. The dual variables of the best assignment scale every term to at most 1 and the best
    one to exactly 1, so that nothing under- or overflows.

    Parameters
    ----------
    log_density : (n, K) array
    z : (m, n) int array
    current : (m, K) intp array
        Kept wherever it is as likely as the best.
    uniform : (m, K) array in [0, 1), or (0, K) for none
        With it, permutations are sampled; without it, the most probable is taken.
    exact : bool
        False replaces the posterior by its mode.

    Returns
    -------
    permutations : (m, K) intp array
    probability : (m, K, K) array
        Probability that the new label j is the old label k.
    log_sum : float
        Sum over draws of the log of the permutations' total weight.
    sure : (m,) array
        The probability of each draw's permutation; NaN where not `exact`.
    """
    n_draws, n_observations = z.shape
    size = log_density.shape[1]
    permutations = np.empty((n_draws, size), np.intp)
    probability = np.zeros((n_draws, size, size))
    sure = np.full(n_draws, np.nan)
    n_sets = 1 << size if exact else 1
    forward = np.empty(n_sets)
    backward = np.empty(n_sets)
    members = np.zeros(n_sets, np.intp)
    for s in range(1, n_sets):
        members[s] = members[s >> 1] + (s & 1)
    cost = np.empty((size, size))
    term = np.empty((size, size))
    workspace = _workspace(size)
    u, v = workspace[0][0], workspace[0][1]
    log_sum = 0.0
    for t in range(n_draws):
        for k in range(size):
            for j in range(size):
                cost[k, j] = 0.0
        for i in range(n_observations):
            k = z[t, i]
            for j in range(size):
                cost[k, j] -= log_density[i, j]
        best, _ = _assign_or_keep(cost, current, permutations, t, workspace)
        log_sum -= best
        if not exact:
            for j in range(size):
                probability[t, j, permutations[t, j]] = 1.0
            continue
        for j in range(size):
            for k in range(size):
                term[j, k] = np.exp(min(u[k] + v[j] - cost[k, j], 0.0))
        # forward[s]: the first |s| new labels take the old labels in s; backward[s]: the rest.
        for s in range(n_sets):
            forward[s] = 0.0
        forward[0] = 1.0
        for s in range(n_sets - 1):
            if forward[s] > 0.0:
                j = members[s]
                for k in range(size):
                    if not (s >> k) & 1:
                        forward[s | (1 << k)] += forward[s] * term[j, k]
        backward[n_sets - 1] = 1.0
        for s in range(n_sets - 2, -1, -1):
            j = members[s]
            value = 0.0
            for k in range(size):
                if not (s >> k) & 1:
                    weight = term[j, k] * backward[s | (1 << k)]
                    value += weight
                    probability[t, j, k] += forward[s] * weight
            backward[s] = value
        total = forward[n_sets - 1]
        log_sum += np.log(total)
        for j in range(size):
            for k in range(size):
                probability[t, j, k] /= total
        if uniform.shape[0] > 0:
            s = n_sets - 1
            for j in range(size - 1, -1, -1):
                level = uniform[t, j] * forward[s]
                chosen = -1
                for k in range(size):
                    if (s >> k) & 1:
                        weight = forward[s ^ (1 << k)] * term[j, k]
                        if weight > 0.0:
                            chosen = k
                            level -= weight
                            if level < 0.0:
                                break
                permutations[t, j] = chosen
                s ^= 1 << chosen
        sure[t] = 1.0 / total
        for j in range(size):
            sure[t] *= term[j, permutations[t, j]]
    return permutations, probability, log_sum, sure


# Clusterings -------------------------------------------------------------------------------------


@_compile()
def add_pairs(rows, columns, total):
    """Add to total (r, c) how often rows (m, r) and columns (m, c) have the same label."""
    n_draws = len(rows)
    for i in range(rows.shape[1]):
        for t in range(n_draws):
            label = rows[t, i]
            for j in range(columns.shape[1]):
                if columns[t, j] == label:
                    total[i, j] += 1.0


@_compile()
def compact(z):
    """Return each draw's labels as 0, 1, ... in the order of their first observations."""
    n_draws, n = z.shape
    out = np.empty((n_draws, n), np.int32)
    name = np.full(z.max() + 1, -1, np.int32)
    for t in range(n_draws):
        n_names = 0
        for i in range(n):
            if name[z[t, i]] < 0:
                name[z[t, i]] = n_names
                n_names += 1
            out[t, i] = name[z[t, i]]
        for i in range(n):  # not the whole table, which may be longer than a draw
            name[z[t, i]] = -1
    return out


@_compile()
def _term(count, is_vi):
    """Return the function of a count that both losses sum: x log x, or x squared."""
    if is_vi:
        return count * np.log(count) if count > 0 else 0.0
    return 1.0 * count * count


@_compile()
def expected_loss(z, labels, is_vi):
    """Return the mean loss between a clustering (n,) and sampled ones (m, n).

    Both losses are sums of a function g over the sizes of the clusters of either and of their
    intersections: ``sum g(own) + sum g(theirs) - 2 sum g(both)``, over n (VI, g = x log x) or n
    squared (Binder, g = x squared; divided by n (n - 1) for a share of pairs).
    """
    n_draws, n = z.shape
    n_own = labels.max() + 1
    own = np.zeros(n_own)
    for i in range(n):
        own[labels[i]] += 1
    base = 0.0
    for a in range(n_own):
        base += _term(own[a], is_vi)
    total = 0.0
    for t in range(n_draws):
        n_theirs = z[t].max() + 1
        theirs = np.zeros(n_theirs)
        both = np.zeros((n_own, n_theirs))
        for i in range(n):
            theirs[z[t, i]] += 1
            both[labels[i], z[t, i]] += 1
        for b in range(n_theirs):
            total += _term(theirs[b], is_vi)
            for a in range(n_own):
                total -= 2 * _term(both[a, b], is_vi)
    scale = n if is_vi else max(n * (n - 1), 1)
    return (base + total / n_draws) / scale


@_compile()
def search_partition(z, start, order, most, is_vi):
    """Build or improve a clustering, one observation at a time, until no move lowers the loss.

    Parameters
    ----------
    z : (m, n) int32 array
        Sampled clusterings, labels 0, 1, ...
    start : (n,) int32 array
        A clustering, or -1 for observations that have not been placed.
    order : (n,) int array
        The order in which observations are placed and moved.
    most : int
        How many clusters there may be, and no fewer than those of the start.
    is_vi : bool
    """
    n_draws, n = z.shape
    labels = start.copy()
    most = min(n, most)
    own = np.zeros(most, np.int64)
    both = np.zeros((n_draws, most, z.max() + 1), np.int32)
    # What a cluster's term grows by when it grows from x to x + 1, for every x.
    growth = np.empty(n)
    for count in range(n):
        growth[count] = _term(count + 1, is_vi) - _term(count, is_vi)
    for i in range(n):
        if labels[i] >= 0:
            own[labels[i]] += 1
            for t in range(n_draws):
                both[t, labels[i], z[t, i]] += 1
    for _sweep in range(100):
        moved = False
        for i in order:
            current = labels[i]
            if current >= 0:
                own[current] -= 1
                for t in range(n_draws):
                    both[t, current, z[t, i]] -= 1
            best = -1
            lowest = np.inf
            tried_empty = False
            for a in range(most):
                if own[a] == 0:
                    if tried_empty:  # all empty clusters are alike
                        continue
                    tried_empty = True
                gain = 0.0
                for t in range(n_draws):
                    gain += growth[both[t, a, z[t, i]]]
                change = growth[own[a]] - 2 * gain / n_draws
                if change < lowest - 1e-12 or (a == current and change <= lowest + 1e-12):
                    best = a
                    lowest = change
            labels[i] = best
            moved = moved or best != current
            own[best] += 1
            for t in range(n_draws):
                both[t, best, z[t, i]] += 1
        if not moved:
            break
    return labels
