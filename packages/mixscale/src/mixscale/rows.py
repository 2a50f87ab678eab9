"""Rows in memory, in files or on a cluster, and the passes over them that `fit` needs.

A pass maps a kernel over chunks of rows and adds up what it returns, always in the same order, so
that the result does not depend on who computed which chunk.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np

from mixscale import kernels
from mixscale.likelihood import as_rows, refuse_mask

if TYPE_CHECKING:
    import dask.array

# Rows that a kernel sees at a time: a copy of them, where it needs one, fits into the last cache.
CHUNK = 2**17
# So many sums of chunks are added up by one task of a cluster.
FAN_IN = 16

Arrays = tuple[np.ndarray, ...]


def _own(array: np.ndarray) -> np.ndarray:
    # What comes from another process may be unaligned or read-only.
    return np.require(array, np.float64, "CAW")


# What is mapped over the chunks: plain functions, which another process finds by their names.


def _by_block(function: Callable[..., Arrays], y, covariates, *arguments) -> list[Arrays]:
    """Apply a kernel to a chunk, `CHUNK` rows at a time: what it copies stays small."""
    parts = [slice(start, start + CHUNK) for start in range(0, max(len(y), 1), CHUNK)]
    blocks = ((y[part], None if covariates is None else covariates[part]) for part in parts)
    return [function(*as_rows(*block), *arguments) for block in blocks]


def _derivatives(y, covariates, *point) -> Arrays:
    return _add(_by_block(kernels.hessian, y, covariates, *map(_own, point)))


def _values(y, covariates, *points) -> Arrays:
    return (sum(_by_block(kernels.values, y, covariates, *map(_own, points))),)


def _values_in_box(y, covariates, *arguments, margin) -> Arrays:
    """Settle the rows that can be, and evaluate the others while they are at hand."""

    def block(x, y, *arguments):
        *sums, x, y = kernels.settle(x, y, *arguments[:6], margin)
        return (*sums, np.array(y.size), kernels.values(x, y, *arguments[6:]))

    return _add(_by_block(block, y, covariates, *map(_own, arguments)))


def _take(y, covariates, positions) -> Arrays:
    y = np.asarray(y[positions])
    return y, np.ones((y.size, 0)) if covariates is None else np.asarray(covariates[positions])


def _add(parts: Sequence[Arrays]) -> Arrays:
    return tuple(sum(part[1:], start=part[0]) for part in zip(*parts, strict=True))


class Rows:
    """Rows in arrays, in memory or memory-mapped, worked on by threads.

    The kernels release the GIL, and a thread that waits does not spin.

    Parameters
    ----------
    y : array, shape (N,)
    covariates : array, shape (N,) or (N, P), optional
    threads : int, optional
        By default, as many as this process may use cores.

    Attributes
    ----------
    passes : int
        How often all rows were read.
    """

    def __init__(self, y, covariates=None, *, threads: int | None = None):
        parts = [slice(start, start + CHUNK) for start in range(0, max(len(y), 1), CHUNK)]
        self.chunks = [
            (y[part], None if covariates is None else covariates[part]) for part in parts
        ]
        self.sizes = [len(chunk) for chunk, _ in self.chunks]
        self.threads = threads or _available_cores()
        self.passes = 0

    def __len__(self) -> int:  # noqa: D105
        return sum(self.sizes)

    def _map(
        self, function: Callable[..., Arrays], *shared: Any, each: Sequence = (), **options: Any
    ) -> list:
        """Apply a function to every chunk, with arguments that are shared or the chunk's own."""

        def call(index: int) -> Arrays:
            own = each[index : index + 1]
            return function(*self.chunks[index], *own, *shared, **options)

        with ThreadPoolExecutor(self.threads) as pool:
            return list(pool.map(call, range(len(self.chunks))))

    def _total(self, parts: list) -> Arrays:
        return _add(parts)

    def _gather(self, parts: list) -> Sequence[Arrays]:
        return parts

    def derivatives(self, point: Arrays) -> Arrays:
        """Return the log-likelihood, its gradient and its Hessian, in one pass."""
        self.passes += 1
        return self._total(self._map(_derivatives, *point))

    def values(self, points: Arrays) -> np.ndarray:
        """Return the log-likelihood at many points, in one pass."""
        self.passes += 1
        return self._total(self._map(_values, *points))[0]

    def values_in_box(
        self, points: Arrays, centre: Arrays, half_widths: Arrays, margin: float
    ) -> tuple[np.ndarray, int]:
        """Return the log-likelihood at many points of a box, in one pass.

        Rows that are certain over the box enter by their sufficient statistics. The others are
        evaluated when their chunk is read, and not kept. Also returns how many these are.

        Raises
        ------
        ValueError
            If a point is outside: there the statistics say nothing.
        """
        log_weights, coefficients, sigma = points
        shift = coefficients - centre[1]
        distances = (log_weights - centre[0], shift, np.log(sigma / centre[2]))
        for distance, half_width in zip(distances, half_widths, strict=True):
            if not (np.abs(distance) <= half_width).all():
                raise ValueError("points: some are outside of the box over which rows are certain.")
        self.passes += 1
        n_rows, xx, xu, uu, n_left, left = self._total(
            self._map(_values_in_box, *centre, *half_widths, *points, margin=margin)
        )
        squares = (
            uu
            - 2 * np.einsum("skp,kp->sk", shift, xu)
            + np.einsum("skp,kpq,skq->sk", shift, xx, shift)
        )
        constants = log_weights - np.log(sigma) - kernels.HALF_LOG_2PI
        certain = n_rows * constants - 0.5 * squares / sigma**2
        return certain.sum(axis=-1) + left, int(n_left)

    def take(self, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """Return y and the covariates at increasing positions, in one pass."""
        self.passes += 1
        ends = np.cumsum(self.sizes)
        own = np.split(positions, np.searchsorted(positions, ends[:-1]))
        own = [part - (end - size) for part, end, size in zip(own, ends, self.sizes, strict=True)]
        y, covariates = zip(*self._gather(self._map(_take, each=own)), strict=True)
        plain = self.chunks[0][1] is None
        return np.concatenate(y), None if plain else np.concatenate(covariates)


class DaskRows(Rows):
    """Rows in Dask arrays, on disk or on the workers of the active cluster.

    Parameters
    ----------
    y : dask.array.Array, shape (N,)
    covariates : dask.array.Array, shape (N,) or (N, P), optional
        Cut into the chunks of y.
    """

    def __init__(self, y: dask.array.Array, covariates: dask.array.Array | None = None):
        self.sizes = list(y.chunks[0])
        ys = y.to_delayed().ravel()
        xs: Sequence = [None] * len(ys)
        if covariates is not None:
            xs = covariates.rechunk((y.chunks[0], *covariates.shape[1:])).to_delayed().ravel()
        self.chunks = list(zip(ys, xs, strict=True))
        self.passes = 0

    def _map(
        self, function: Callable[..., Arrays], *shared: Any, each: Sequence = (), **options: Any
    ) -> list:
        from dask import delayed

        # Shared arguments are in the graph once, and not once a chunk.
        shared = tuple(delayed(argument, pure=False) for argument in shared)
        call = delayed(function, pure=False)
        return [
            call(*chunk, *each[index : index + 1], *shared, **options)
            for index, chunk in enumerate(self.chunks)
        ]

    def _total(self, parts: list) -> Arrays:
        from dask import delayed

        while len(parts) > 1:
            groups = [parts[start : start + FAN_IN] for start in range(0, len(parts), FAN_IN)]
            parts = [delayed(_add, pure=False)(group) for group in groups]
        return tuple(np.array(part) for part in self._gather(parts)[0])

    def _gather(self, parts: list) -> Sequence[Arrays]:
        from dask import compute

        return compute(*parts)


def _available_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def open_rows(rows: Any, threads: int | None = None) -> Rows:
    """Return the rows of y, or of a pair (covariates, y), that are arrays or Dask arrays.

    Raises
    ------
    TypeError, ValueError
        If they are no such thing, or their sizes do not agree.
    """
    covariates, y = rows if isinstance(rows, tuple) and len(rows) == 2 else (None, rows)
    if isinstance(rows, tuple | list) and covariates is None:
        raise TypeError("rows: y, or a pair (covariates, y), is needed.")
    for name, array in {"y": y, "covariates": covariates}.items():
        # What is cut by its labels, as a column of a data frame is, would lose rows.
        is_array = hasattr(array, "shape") and hasattr(array, "dtype")
        if array is not None and (not is_array or hasattr(array, "iloc")):
            raise TypeError(
                f"rows: {name} is of type {type(array).__name__}; a NumPy array (.to_numpy()), a "
                "memory map (np.load(path, mmap_mode='r')) or a Dask array is needed."
            )
        refuse_mask(f"rows: {name}", array)
    if y.ndim != 1 or y.shape[0] == 0:
        raise ValueError(f"rows: y has shape {y.shape}; a vector with at least one row is needed.")
    if np.isnan([array.shape[0] for array in (y, covariates) if array is not None]).any():
        raise ValueError(
            "rows: the sizes of the chunks are unknown. Compute them: y.compute_chunk_sizes() or "
            "to_dask_array(lengths=True) for a data frame."
        )
    if covariates is not None and covariates.shape[0] != y.shape[0]:
        raise ValueError(
            f"rows: covariates have {covariates.shape[0]} rows, and y has {y.shape[0]}."
        )
    lazy = [array for array in (y, covariates) if hasattr(array, "dask")]
    if not lazy:
        return Rows(y, covariates, threads=threads)
    if covariates is not None and len(lazy) == 1:
        raise TypeError("rows: covariates and y must both be Dask arrays, or neither.")
    return DaskRows(y, covariates)
