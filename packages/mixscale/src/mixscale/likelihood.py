"""The likelihood of a mixture of normal regressions on arrays, checked and named.

Row i has the density sum_k w_k N(y_i | x_i' b_k, s_k). The components are the last axis of every
parameter, as in PyMC.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from mixscale import kernels


class Gradient(NamedTuple):
    """The log-likelihood and its derivatives, each with the shape of its parameter.

    The log weights count as free, so their derivatives are the sums of the responsibilities.
    """

    value: float
    log_weights: np.ndarray
    coefficients: np.ndarray
    log_sigma: np.ndarray


class Hessian(NamedTuple):
    """The log-likelihood, its gradient (D,) and its Hessian (D, D).

    The D = K (P + 2) parameters are ordered by component; each component has its log weight, its
    P coefficients and its log sigma.
    """

    value: float
    gradient: np.ndarray
    hessian: np.ndarray


def refuse_mask(name: str, values: object) -> None:
    """Refuse an array with a mask: what lies below it would be counted."""
    if isinstance(values, np.ma.MaskedArray):
        raise TypeError(
            f"{name}: it is a masked array, and its mask would be lost. Leave these rows out: "
            "y[~mask], covariates[~mask]."
        )


def _numeric(name: str, values: ArrayLike) -> np.ndarray:
    refuse_mask(name, values)
    array = np.asarray(values)
    if array.dtype.kind not in "iuf":
        raise TypeError(f"{name}: an array of real numbers is needed, not of {array.dtype}.")
    return array


def as_rows(y: ArrayLike, covariates: ArrayLike | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Return x (P, N) and y (N,) as the kernels read them: aligned, contiguous, float64.

    Without covariates x is one number, that of the mean. What has this form is not copied.
    """
    y = _numeric("y", y)
    if y.ndim != 1:
        raise ValueError(f"y: it has shape {y.shape}; a vector with one number a row is needed.")
    x = np.ones((1, 1)) if covariates is None else _numeric("covariates", covariates)
    if covariates is not None:
        x = x[:, None] if x.ndim == 1 else x
        if x.ndim != 2 or x.shape[0] != y.size or x.shape[1] == 0:
            raise ValueError(
                f"covariates: they have shape {np.shape(covariates)}; for {y.size} rows of y, "
                f"({y.size},) or ({y.size}, P) is needed."
            )
        x = x.T
    # An array from a file or from another machine may be read-only, and each kernel would be
    # compiled once more for it.
    return np.require(x, np.float64, "CAW"), np.require(y, np.float64, "CAW")


def as_parameters(
    n_covariates: int, log_weights: ArrayLike, coefficients: ArrayLike, sigma: ArrayLike
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return log weights (..., K), coefficients (..., K, P) and sigma (..., K) for the kernels.

    The leading axes are what ``log_weights`` has before its last.
    """
    log_weights = _numeric("log_weights", log_weights)
    coefficients = _numeric("coefficients", coefficients)
    sigma = _numeric("sigma", sigma)
    if log_weights.ndim == 0 or log_weights.shape[-1] == 0:
        raise ValueError(
            "log_weights: a number for each component is needed; they have shape "
            f"{log_weights.shape}."
        )
    shape = log_weights.shape
    if coefficients.ndim == log_weights.ndim and n_covariates == 1:
        coefficients = coefficients[..., None, :]
    wanted = (*shape[:-1], n_covariates, shape[-1])
    if coefficients.shape != wanted:
        raise ValueError(
            f"coefficients: they have shape {coefficients.shape}; for {n_covariates} covariates "
            f"and log_weights of shape {shape}, {wanted} is needed."
        )
    if sigma.shape != shape:
        if sigma.shape not in ((), shape[:-1], (*shape[:-1], 1)):
            raise ValueError(
                f"sigma: it has shape {sigma.shape}; {shape}, or {shape[:-1]} for a common one, is "
                "needed."
            )
        sigma = sigma[..., None] if sigma.shape == shape[:-1] else sigma
        sigma = np.broadcast_to(sigma, shape)
    arrays = (log_weights, np.swapaxes(coefficients, -1, -2), sigma)
    first, second, third = (np.require(array, np.float64, "CAW") for array in arrays)
    return first, second, third


def _at_one_point(
    y: ArrayLike, covariates: ArrayLike | None, log_weights: ArrayLike, *others: ArrayLike
) -> tuple[np.ndarray, ...]:
    """Return x, y and parameters (K,), (K, P) and (K,) for the kernels."""
    if np.ndim(log_weights) > 1:
        raise ValueError(
            f"log_weights: they have shape {np.shape(log_weights)}; one point is needed, (K,). "
            "log_likelihood takes many."
        )
    x, y = as_rows(y, covariates)
    return x, y, *as_parameters(x.shape[0], log_weights, *others)


def log_likelihood(
    y: ArrayLike,
    covariates: ArrayLike | None = None,
    *,
    log_weights: ArrayLike,
    coefficients: ArrayLike,
    sigma: ArrayLike,
) -> np.ndarray:
    """Log-likelihood of all rows, at one point or at many in one pass over the rows.

    Parameters
    ----------
    y : array_like, shape (N,)
        What the regressions predict.
    covariates : array_like, shape (N,) or (N, P), optional
        Without them, component k has the mean ``coefficients[k]``: a plain normal mixture.
    log_weights : array_like, shape (..., K)
        Logarithms of the weights. They need not be normalised.
    coefficients : array_like, shape (..., P, K), or (..., K) if P is 1
        What the covariates are multiplied by; the mean of component k is ``covariates @
        coefficients[:, k]``. An intercept is a covariate of ones.
    sigma : array_like, shape (..., K), or (...) for a common one
        Standard deviations.

    Returns
    -------
    numpy.ndarray
        With the leading shape of ``log_weights``. It is NaN where a number that matters is NaN,
        -inf where no component can have made a row, and one of the two where both hold.

    Raises
    ------
    TypeError, ValueError
        If an argument is not numeric or its shape does not fit; the message names it.

    Examples
    --------
    >>> import mixscale
    >>> y, x = [0.9, -2.1, 4.0], [1.0, 2.0, 4.0]
    >>> point = dict(log_weights=[-0.7, -0.7], coefficients=[1.0, -1.0], sigma=0.1)
    >>> mixscale.log_likelihood(y, x, **point).round(3)
    np.float64(1.051)
    >>> mixscale.log_likelihood(y, **point).round(1)
    np.float64(-508.9)
    """
    x, y = as_rows(y, covariates)
    point = as_parameters(x.shape[0], log_weights, coefficients, sigma)
    leading = point[0].shape[:-1]
    flat = [np.reshape(array, (-1, *array.shape[len(leading) :])) for array in point]
    return kernels.values(x, y, *flat).reshape(leading)[()]


def log_density(
    y: ArrayLike,
    covariates: ArrayLike | None = None,
    *,
    log_weights: ArrayLike,
    coefficients: ArrayLike,
    sigma: ArrayLike,
) -> np.ndarray:
    """Log density of each row (N,), at one point.

    The parameters are those of :func:`log_likelihood`.

    Examples
    --------
    >>> import mixscale
    >>> point = dict(log_weights=[-0.7, -0.7], coefficients=[1.0, -1.0], sigma=0.1)
    >>> mixscale.log_density([0.9, -2.1], [1.0, 2.0], **point).round(3)
    array([0.184, 0.184])
    """
    return kernels.log_density(*_at_one_point(y, covariates, log_weights, coefficients, sigma))


def gradient(
    y: ArrayLike,
    covariates: ArrayLike | None = None,
    *,
    log_weights: ArrayLike,
    coefficients: ArrayLike,
    sigma: ArrayLike,
) -> Gradient:
    """Log-likelihood of all rows and its gradient at one point, in one pass.

    The parameters are those of :func:`log_likelihood`.

    Examples
    --------
    >>> import mixscale
    >>> point = dict(log_weights=[-0.7, -0.7], coefficients=[1.0, -1.0], sigma=0.1)
    >>> mixscale.gradient([0.9, -2.1], [1.0, 2.0], **point).coefficients.round(3)
    array([-10., -20.])
    """
    point = _at_one_point(y, covariates, log_weights, coefficients, sigma)
    value, by_weight, by_coefficient, by_scale = kernels.gradient(*point)
    if np.shape(sigma) != by_scale.shape:  # one that is common moves with all of its copies
        by_scale = by_scale.sum().reshape(np.shape(sigma))
    return Gradient(value, by_weight, by_coefficient.T.reshape(np.shape(coefficients)), by_scale)


def hessian(
    y: ArrayLike,
    covariates: ArrayLike | None = None,
    *,
    log_weights: ArrayLike,
    coefficients: ArrayLike,
    sigma: ArrayLike,
) -> Hessian:
    """Log-likelihood of all rows, its gradient and its exact Hessian at one point, in one pass.

    The parameters are those of :func:`log_likelihood`.

    Examples
    --------
    >>> import mixscale
    >>> point = dict(log_weights=[-0.7, -0.7], coefficients=[1.0, -1.0], sigma=0.1)
    >>> mixscale.hessian([0.9, -2.1], [1.0, 2.0], **point).gradient.round(3)
    array([  1., -10.,  -0.,   1., -20.,   0.])
    """
    return Hessian(
        *kernels.hessian(*_at_one_point(y, covariates, log_weights, coefficients, sigma))
    )
