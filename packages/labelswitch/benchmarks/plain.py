"""The same algorithms in plain NumPy and SciPy, as one would write them in an afternoon.

Each starts from the labels as they are and returns its permutations, so that the benchmark can
check that both do the same work.
"""

from itertools import permutations as all_permutations

import numpy as np
from scipy.optimize import linear_sum_assignment


def assign(cost):
    """Return the permutations (m, K) for the costs (m, K, K) of old label k as new label j."""
    return np.array([np.argsort(linear_sum_assignment(matrix)[1]) for matrix in cost])


def contingency(z, pivot, size):
    index = (np.arange(len(z))[:, None] * size + z) * size + pivot
    counts = np.bincount(index.ravel(), minlength=len(z) * size**2)
    return counts.reshape(-1, size, size)


def relabel_allocations(z, permutations):
    return np.take_along_axis(np.argsort(permutations, axis=1), z, axis=1)


def ecr(z, pivot, size):
    return assign(-contingency(z, pivot, size))


def ecr_iterative_1(z, size):
    permutations = np.tile(np.arange(size), (len(z), 1))
    previous = np.inf
    while True:
        relabelled = relabel_allocations(z, permutations)
        votes = np.stack([(relabelled == k).sum(axis=0) for k in range(size)], axis=1)
        cost = z.size - votes.max(axis=1).sum()
        if cost >= previous:
            return permutations
        previous = cost
        permutations = ecr(z, votes.argmax(axis=1), size)


def mean_relabelled(p, permutations):
    return np.take_along_axis(p, permutations[:, None, :], axis=2).mean(axis=0)


def ecr_iterative_2(z, p):
    permutations = np.tile(np.arange(p.shape[2]), (len(p), 1))
    while True:
        moved = ecr(z, mean_relabelled(p, permutations).argmax(axis=1), p.shape[2])
        if np.array_equal(moved, permutations):
            return permutations
        permutations = moved


def stephens(p, eps):
    p = p.clip(eps, 1 - eps)
    p /= p.sum(axis=2, keepdims=True)
    permutations = np.tile(np.arange(p.shape[2]), (len(p), 1))
    while True:
        log_q = np.log(mean_relabelled(p, permutations))
        moved = assign(-(p.transpose(0, 2, 1) @ log_q))
        if np.array_equal(moved, permutations):
            return permutations
        permutations = moved


def pra(parameters, pivot):
    return assign(-np.einsum("tkp,jp->tkj", parameters, pivot))


def sjw(parameters, z, log_density, permutations, tol=1e-6):
    """Sum over all K! permutations, from one K x K table of log densities per draw."""
    n_draws, size = parameters.shape[:2]
    choices = np.array(list(all_permutations(range(size))))
    one_hot = np.eye(size)[z]
    expected = np.take_along_axis(parameters, permutations[:, :, None], axis=1).mean(axis=0)
    while True:
        score = one_hot.transpose(0, 2, 1) @ log_density(expected)
        total = sum(score[:, choices[:, j], j] for j in range(size))
        weight = np.exp(total - total.max(axis=1, keepdims=True))
        weight /= weight.sum(axis=1, keepdims=True)
        previous = expected
        expected = sum(
            np.einsum("tc,tcjp->jp", weight[:, part], parameters[:, choices[part]])
            for part in np.array_split(np.arange(len(choices)), 10)
        )
        expected /= n_draws
        if abs(expected - previous).max() <= tol:
            return choices[total.argmax(axis=1)]


def data_based(x, z, size):
    width = np.ptp(x)
    centre = x.min() + width * np.arange(1, size + 1) / (size + 1)
    spread = np.full(size, width / size)
    used = np.zeros((2, size))
    distances = np.empty((size, size))

    def one_draw(labels):
        groups = [x[labels == k] for k in range(size)]
        for k, group in enumerate(groups):
            distances[k] = (((group[:, None] - centre) / spread) ** 2).sum(axis=0)
        return groups, np.argsort(linear_sum_assignment(distances)[1])

    for labels in z:
        groups, permutation = one_draw(labels)
        for j, k in enumerate(permutation):
            if len(groups[k]) > 0:
                used[0, j] += 1
                centre[j] += (groups[k].mean() - centre[j]) / used[0, j]
            if len(groups[k]) > 1:
                used[1, j] += 1
                spread[j] += (groups[k].std(ddof=1) - spread[j]) / used[1, j]
    return np.array([one_draw(labels)[1] for labels in z])
