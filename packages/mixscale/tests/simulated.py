"""Mixtures of regressions for the tests, and their density by SciPy in long double."""

import numpy as np
from scipy.special import logsumexp


def mixture(n, n_components=2, n_covariates=1, *, seed=0, sigma=0.3):
    """Return y, covariates (n, P) and a point: log weights, coefficients (P, K) and sigma."""
    rng = np.random.default_rng(seed)
    coefficients = rng.normal(0, 2, (n_covariates, n_components))
    weights = rng.dirichlet(np.full(n_components, 5.0))
    sigmas = sigma * rng.uniform(0.5, 1.5, n_components)
    covariates = rng.uniform(-1, 1, (n, n_covariates))
    z = rng.choice(n_components, n, p=weights)
    y = (covariates @ coefficients)[np.arange(n), z] + sigmas[z] * rng.standard_normal(n)
    point = {"log_weights": np.log(weights), "coefficients": coefficients, "sigma": sigmas}
    return y, covariates, point


def exact_log_density(y, covariates, log_weights, coefficients, sigma):
    """Return the log density of each row in long double."""
    y, x, log_weights, coefficients, sigma = (
        np.asarray(array, np.longdouble)
        for array in (y, covariates, log_weights, coefficients, sigma)
    )
    z = (y[:, None] - x @ coefficients) / sigma
    terms = log_weights - np.log(sigma) - np.log(2 * np.pi * np.longdouble(1)) / 2 - z**2 / 2
    return logsumexp(terms, axis=1)
