"""What the algorithms accept. Every error names the argument, the fault and the remedy."""

import operator
from collections.abc import Sequence

import numpy as np

from labelswitch import kernels

# How far a row of probabilities may be from a sum of one: rounding of float32, and no more.
SUM_TOLERANCE = 1e-4
# A label beyond this is taken for a mistake, unless n_components says otherwise.
MOST_COMPONENTS = 1000
# Log densities beyond this cannot be summed to any precision.
LARGEST_LOG_DENSITY = 1e15


def is_dask(array) -> bool:
    """Return whether array is a Dask array, without importing Dask."""
    return type(array).__module__.partition(".")[0] == "dask" and hasattr(array, "to_delayed")


def check_n_components(n_components) -> int | None:
    """Return n_components as an int of at least 1, or None."""
    if n_components is None:
        return None
    try:
        n_components = operator.index(n_components)
    except TypeError:
        raise TypeError(f"n_components must be an integer or None, not {n_components!r}.") from None
    if n_components < 1:
        raise ValueError(f"n_components must be at least 1, not {n_components}.")
    return n_components


def _unmasked(values, name: str):
    """Refuse a masked array, whose mask NumPy would drop in silence."""
    if np.ma.isMaskedArray(values) and np.ma.getmaskarray(values).any():
        raise ValueError(
            f"{name} has masked values, which cannot be relabelled; leave those draws or "
            "observations out."
        )
    return values


def check_seed(seed) -> np.random.Generator:
    """Return the generator of a seed."""
    try:
        return np.random.default_rng(seed)
    except (TypeError, ValueError):
        raise TypeError(
            f"seed must be an integer from 0 upwards or a numpy.random.Generator, not {seed!r}."
        ) from None


def check_integers(values, name: str, n_dimensions: int, shape: str) -> np.ndarray:
    """Return labels as an array of integers with so many dimensions, which is not empty."""
    values = np.asarray(_unmasked(values, name))
    if values.dtype.kind not in "iu":
        raise TypeError(
            f"{name} must hold integer labels 0, 1, ..., not {values.dtype}; "
            f"if its values are whole numbers, pass {name}.astype(int)."
        )
    if values.ndim != n_dimensions or values.size == 0:
        raise ValueError(f"{name} must have shape {shape} and not be empty; it has {values.shape}.")
    return values.astype(values.dtype.newbyteorder("="), copy=False)  # Numba knows no other order


def label_type(n_components: int) -> type:
    """Return the type of allocations: narrow and unsigned, which the kernels read fastest."""
    return np.uint8 if n_components <= np.iinfo(np.int8).max else np.uint64


def type_that_holds(kind: np.dtype, n_components: int) -> np.dtype:
    """Return a type of integers or, where the labels 0, ..., K - 1 go beyond it, a wider one."""
    if np.iinfo(kind).max >= n_components - 1:
        return kind
    return np.min_scalar_type(-n_components if kind.kind == "i" else n_components - 1)


def check_allocations(z, n_components: int | None = None) -> tuple[np.ndarray, int]:
    """Return the allocations as a C-contiguous array (m, n) of `label_type`, and K.

    Raises
    ------
    TypeError
        z does not hold integers.
    ValueError
        Wrong shape; a label outside 0, ..., K - 1; labels that look 1-based.
    """
    n_components = check_n_components(n_components)
    z = check_integers(z, "z", 2, "(draws, observations)")
    narrow = np.empty(z.shape, np.uint8)
    lowest, highest = map(int, kernels.narrow(z, narrow))
    if lowest < 0:
        raise ValueError(f"z has the label {lowest}; labels are 0, ..., K - 1.")
    if n_components is None:
        if lowest > 0:
            raise ValueError(
                "z never has the label 0, so its labels look 1-based: pass z - 1. If component 0 "
                "is empty in every draw, pass n_components."
            )
        n_components = highest + 1
        if n_components > MOST_COMPONENTS:
            raise ValueError(
                f"z has the label {highest}, so there would be {n_components} components; if there "
                "are, pass n_components, otherwise look for a stray label."
            )
    elif highest >= n_components:
        remedy = "its labels look 1-based: pass z - 1" if lowest > 0 else "labels are 0, ..., K - 1"
        raise ValueError(
            f"z has the label {highest} but there are {n_components} components; {remedy}."
        )
    if label_type(n_components) is not np.uint8:
        return np.ascontiguousarray(z, label_type(n_components)), n_components
    return narrow, n_components


def check_allocation_pivot(pivot, n_observations: int, n_components: int) -> np.ndarray:
    """Return a pivot allocation of shape (n,) with labels 0, ..., K - 1."""
    pivot = check_integers(pivot, "pivot", 1, "(observations,)")
    if pivot.size != n_observations:
        raise ValueError(
            f"pivot has {pivot.size} allocations but z has {n_observations} observations; "
            "pass one draw of z or another allocation of the same observations."
        )
    if pivot.min() < 0 or pivot.max() >= n_components:
        raise ValueError(
            f"pivot has labels from {pivot.min()} to {pivot.max()} but there are {n_components} "
            f"components, labelled 0, ..., {n_components - 1}; if pivot is 1-based pass pivot - 1, "
            "if z misses a component pass n_components."
        )
    return np.ascontiguousarray(pivot, label_type(n_components))


def check_probabilities_form(p):
    """Return p as a NumPy array of float32 or float64, or as a Dask array chunked by draws only.

    The values are checked while they are first read; see `raise_for_row`.
    """
    if is_dask(getattr(p, "data", None)):  # a DataArray on a Dask array is streamed as well
        p = p.data
    if is_dask(p):
        if p.dtype.kind not in "fiub":
            raise TypeError(f"p must hold real numbers, not {p.dtype}.")
    else:
        p = np.asarray(_unmasked(p, "p"))
        if p.dtype not in (np.float32, np.float64):
            if p.dtype.kind not in "fiub":
                raise TypeError(f"p must hold real numbers, not {p.dtype}.")
            p = p.astype(np.float64)
    if p.ndim != 3 or 0 in p.shape:
        raise ValueError(
            "p must have shape (draws, observations, components) and not be empty; "
            f"it has {p.shape}."
        )
    if is_dask(p):
        if any(np.isnan(size) for size in p.shape):
            raise ValueError("p has unknown chunk sizes; call p.compute_chunk_sizes() first.")
        if p.numblocks[1:] != (1, 1):
            p = p.rechunk({1: -1, 2: -1})
    return p


def raise_for_row(row: np.ndarray, draw: int, observation: int) -> None:
    """Raise a ValueError that says why this row of p is no probability distribution."""
    where = f"p[{draw}, {observation}]"
    if np.isnan(row).any():
        raise ValueError(f"{where} contains NaN; drop the draw or find out where it comes from.")
    if (row < 0).any():
        raise ValueError(f"{where} has the negative value {row.min():.6g}; pass probabilities.")
    raise ValueError(
        f"{where} sums to {row.sum():.6g}; probabilities must sum to one over the last axis. "
        "Divide p by p.sum(axis=2, keepdims=True), and mind the order of the axes."
    )


def check_eps(eps, n_components: int) -> float:
    """Return the clipping threshold, between 0 and 1 / K."""
    eps = float(eps)
    if not 0.0 <= eps <= 1.0 / (2 * n_components):
        raise ValueError(
            f"eps must lie between 0 and 1 / (2 K) = {1.0 / (2 * n_components):.3g}, not {eps}."
        )
    return eps


def check_count(count, name: str) -> int:
    """Return a number of things as an int of at least 1."""
    try:
        whole = operator.index(count)
    except TypeError:
        raise TypeError(f"{name} must be an integer, not {count!r}.") from None
    if whole < 1:
        raise ValueError(f"{name} must be at least 1, not {whole}.")
    return whole


def check_tol(tol) -> float:
    """Return tol as a float of at least 0."""
    tol = float(tol)
    if not tol >= 0.0:
        raise ValueError(f"tol must be at least 0, not {tol}.")
    return tol


def _finite(values, name: str, remedy: str) -> np.ndarray:
    values = np.asarray(_unmasked(values, name))
    if values.dtype.kind not in "fiub":
        raise TypeError(f"{name} must hold real numbers, not {values.dtype}.")
    values = values.astype(np.float64)
    if not np.isfinite(values).all():
        raise ValueError(f"{name} contains NaN or infinite values; {remedy}.")
    return values


def check_parameters(parameters) -> np.ndarray:
    """Return the parameters as a finite float64 array (m, K, J); (m, K) becomes (m, K, 1)."""
    parameters = _finite(parameters, "parameters", "drop those draws")
    if parameters.ndim == 2:
        parameters = parameters[:, :, np.newaxis]
    if parameters.ndim != 3 or parameters.size == 0:
        raise ValueError(
            "parameters must have shape (draws, components, parameters) or (draws, components) "
            f"and not be empty; it has {parameters.shape}."
        )
    return parameters


def check_spread(parameters: np.ndarray) -> None:
    """Refuse a draw so far out that standard deviations say nothing about the others."""
    unit = abs(parameters).max(axis=(0, 1))
    scaled = parameters / np.where(unit > 0, unit, 1.0)
    distance = abs(scaled - np.median(scaled, axis=(0, 1)))
    typical = np.median(distance, axis=(0, 1))
    far = (distance > 1e8 * typical) & (typical > 0)
    if far.any():
        draw, component, parameter = np.argwhere(far)[0]
        raise ValueError(
            f"parameters[{draw}, {component}, {parameter}] is "
            f"{parameters[draw, component, parameter]:.6g}, so far from the others that their "
            "standard deviation means nothing; drop that draw, or pass standardise=False."
        )


def check_parameter_pivot(pivot, parameters: np.ndarray) -> np.ndarray:
    """Return a pivot of shape (K, J); (K,) becomes (K, 1)."""
    pivot = _finite(pivot, "pivot", "choose another draw")
    if pivot.ndim == 1:
        pivot = pivot[:, np.newaxis]
    if pivot.shape != parameters.shape[1:]:
        raise ValueError(
            f"pivot has shape {pivot.shape} but a draw of parameters has "
            f"{parameters.shape[1:]} (components, parameters); pass one draw of parameters or an "
            "estimate of the same shape."
        )
    return pivot


def check_index(index, n_parameters: int) -> int:
    """Return the index of the parameter to order by."""
    try:
        index = operator.index(index)
    except TypeError:
        raise TypeError(f"index must be the index of a parameter, not {index!r}.") from None
    if not -n_parameters <= index < n_parameters:
        raise ValueError(f"index is {index} but there are {n_parameters} parameters; count from 0.")
    return index


def check_data(x, n_observations: int) -> np.ndarray:
    """Return the data as a finite float64 array (n, d); (n,) becomes (n, 1)."""
    x = _finite(x, "x", "leave those observations out of x and z")
    if x.ndim == 1:
        x = x[:, np.newaxis]
    if x.ndim != 2 or x.shape[1] == 0:
        raise ValueError(f"x must have shape (observations,) or (observations, d), not {x.shape}.")
    if len(x) != n_observations:
        raise ValueError(
            f"x has {len(x)} observations but z has {n_observations}; pass the data that the "
            "allocations belong to."
        )
    return x


def check_weights(weights, n_draws: int, n_components: int) -> np.ndarray:
    """Return mixture weights (m, K), non-negative and summing to one in each draw."""
    weights = _finite(weights, "weights", "drop those draws")
    if weights.shape != (n_draws, n_components):
        raise ValueError(
            f"weights must have shape (draws, components) = ({n_draws}, {n_components}); "
            f"it has {weights.shape}."
        )
    if (weights < 0).any() or (abs(weights.sum(axis=1) - 1) > SUM_TOLERANCE).any():
        raise ValueError("weights must be non-negative and sum to one in each draw.")
    return weights


def check_log_density(values, n_observations: int, n_components: int) -> np.ndarray:
    """Return what log_density gave as an (n, K) array; minus infinity is legal."""
    values = np.asarray(values, np.float64)
    if values.shape != (n_observations, n_components):
        raise ValueError(
            "log_density must return an array of shape (observations, components) = "
            f"({n_observations}, {n_components}); it returned {values.shape}."
        )
    if values.max(initial=-np.inf) > LARGEST_LOG_DENSITY:
        raise ValueError(
            f"log_density returned {values.max():.6g}; sums of log densities beyond "
            f"{LARGEST_LOG_DENSITY:.0e} have no precision left. Is it a density, not its logarithm?"
        )
    if np.isnan(values).any():
        raise ValueError(
            "log_density returned NaN or +inf; it must return a finite log density, or -inf, "
            "at every average of the draws' parameters."
        )
    return values


def check_permutations(permutations, n_draws: int | None, n_components: int | None, name: str):
    """Return permutations (m, K), 0-based, as intp."""
    permutations = check_integers(permutations, name, 2, "(draws, components)")
    n_draws = len(permutations) if n_draws is None else n_draws
    n_components = permutations.shape[1] if n_components is None else n_components
    if permutations.shape != (n_draws, n_components):
        raise ValueError(
            f"{name} must have shape (draws, components) = ({n_draws}, {n_components}); "
            f"it has {permutations.shape}."
        )
    if not (np.sort(permutations, axis=1) == np.arange(n_components)).all():
        raise ValueError(
            f"every row of {name} must be a permutation of 0, ..., {n_components - 1}; "
            f"if they are 1-based, pass {name} - 1."
        )
    return np.ascontiguousarray(permutations, np.intp)


def check_starts(starts, names: Sequence[str], n_draws: int, n_components: int) -> list:
    """Return the starts as a list of names and permutations (m, K)."""
    if isinstance(starts, str | np.ndarray):
        starts = [starts]
    try:
        starts = list(starts)
    except TypeError:
        raise TypeError(
            f"starts must be a name, an array of permutations or a sequence of them, not "
            f"{starts!r}."
        ) from None
    if not starts:
        raise ValueError(f"starts is empty; name at least one of {', '.join(names)}.")
    checked = []
    for start in starts:
        if isinstance(start, str):
            if start not in names:
                raise ValueError(
                    f"starts has {start!r}; known are {', '.join(names)}, and permutations as an "
                    "array (draws, components)."
                )
            checked.append(start)
        else:
            checked.append(check_permutations(start, n_draws, n_components, "starts"))
    return checked
