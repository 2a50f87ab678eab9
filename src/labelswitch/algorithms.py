"""Relabelling algorithms on plain arrays (interface; the bodies follow)."""

from dataclasses import dataclass

import numpy as np

DEFAULT_STARTS = ("identity", "ecr", "pra", "random")


@dataclass(frozen=True)
class Relabelling:
    """What a relabelling algorithm found.

    objective is what the method minimises; trace has it per sweep; start names the start that won.
    """

    permutations: np.ndarray
    objective: float
    trace: np.ndarray
    converged: bool
    method: str
    start: str | None = None
    pivot: np.ndarray | None = None


def apply_permutations(values, permutations, axis=1):
    """relabelled[t, j] = values[t, permutations[t, j]] along axis (0 is the draw)."""
    raise NotImplementedError


def apply_to_allocations(z, permutations):
    """relabelled_z[t, i] = argsort(permutations[t])[z[t, i]]."""
    raise NotImplementedError


def ecr(z, pivot, n_components=None):
    raise NotImplementedError


def ecr_iterative_1(z, n_components=None, starts=DEFAULT_STARTS, seed=0, max_sweeps=100, progress=False):
    raise NotImplementedError


def ecr_iterative_2(z, p, starts=DEFAULT_STARTS, seed=0, max_sweeps=100, progress=False):
    raise NotImplementedError


def stephens(p, eps=0.0, starts=DEFAULT_STARTS, seed=0, max_sweeps=100, tol=1e-6, progress=False):
    raise NotImplementedError


def pra(parameters, pivot, standardise=True):
    raise NotImplementedError


def sjw(parameters, z, log_density, weights=None, seed=None, max_sweeps=100, tol=1e-6, progress=False):
    """log_density(parameters_of_one_draw (K, J)) -> (n, K) log densities; weights (m, K) or None."""
    raise NotImplementedError


def data_based(x, z, n_components=None):
    raise NotImplementedError


def order(parameters, by=0):
    raise NotImplementedError
