"""The same model by pm.NormalMixture and by mixscale, in the shapes that the tests ask for."""

import numpy as np
import pymc as pm
from simulated import mixture

import mixscale

CASES = ("two lines, common sigma", "three lines, own sigmas", "two covariates", "plain")


def rows(case, n, seed=0):
    """Return y and covariates (N,) or (N, P) or None."""
    k, p = (3 if "three" in case else 2), (2 if case == "two covariates" else 1)
    y, x, _ = mixture(n, k, p, seed=seed)
    return y, None if case == "plain" else x[:, 0] if p == 1 else x


def model(case, y, x, *, ours, data=False, dims="row"):
    """Return a model whose priors tell the components apart."""
    k, p = (3 if "three" in case else 2), (2 if case == "two covariates" else 1)
    coords = {"component": range(k), "covariate": range(p), "row": range(len(y))}
    kwargs = {"dims": dims} if dims else {}
    with pm.Model(coords=coords) as out:
        wrap = pm.Data if data else (lambda name, values: values)
        w = pm.Dirichlet("w", np.full(k, 2.0), dims="component")
        centres = np.linspace(-3, 3, k)
        if p == 1:
            b = pm.Normal("b", centres, 1, dims="component")
        else:
            b = pm.Normal("b", centres, 1, dims=("covariate", "component"))
        if "common" in case:
            sigma = pm.HalfNormal("sigma", 1)
        else:
            sigma = pm.HalfNormal("sigma", 1, dims="component")
        kwargs["observed"] = wrap("y_data", y)
        if x is None:
            distribution = mixscale.NormalMixture if ours else pm.NormalMixture
            distribution("y", w=w, mu=b, sigma=sigma, **kwargs)
        elif ours:
            mixscale.RegressionMixture(
                "y", w=w, covariates=wrap("x", x), coefficients=b, sigma=sigma, **kwargs
            )
        else:
            mu = x[:, None] * b if p == 1 else x @ b
            pm.NormalMixture("y", w=w, mu=mu, sigma=sigma, **kwargs)
    return out


def nuts(model, **options):
    """Return the posterior draws of nutpie, whose presence the caller has made sure of."""
    return pm.sample(
        draws=1000,
        tune=500,
        nuts_sampler="nutpie",
        progressbar=False,
        compute_convergence_checks=False,
        model=model,
        **options,
    ).posterior
