"""The two libraries together: labelswitch reads a mixture of mixscale as it reads PyMC's own."""

import numpy as np
import pymc as pm
import xarray as xr

import labelswitch
import mixscale


def test_responsibilities_and_relabelled_draws_are_those_of_normal_mixture():
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, 30)
    y = np.where(rng.random(30) < 0.5, 3 * x, -x) + 0.1 * rng.normal(size=30)
    w = rng.dirichlet([9, 9], (2, 5))
    slopes = rng.normal([-1, 3], 0.2, (2, 5, 2))
    w[1], slopes[1] = w[1, :, ::-1], slopes[1, :, ::-1]  # the second chain has other labels
    posterior = xr.Dataset(
        {
            "w": (("chain", "draw", "component"), w),
            "slopes": (("chain", "draw", "component"), slopes),
            "sigma": (("chain", "draw"), rng.uniform(0.2, 0.5, (2, 5))),
        }
    )
    dt = xr.DataTree.from_dict({"posterior": posterior})
    responsibilities, means = [], []
    for ours in (True, False):
        with pm.Model(coords={"component": range(2), "obs": range(30)}) as model:
            w = pm.Dirichlet("w", np.ones(2), dims="component")
            slopes = pm.Normal("slopes", 0, 2, dims="component")
            sigma = pm.HalfNormal("sigma", 1)
            if ours:
                mixscale.RegressionMixture("y", w, x, slopes, sigma, observed=y, dims="obs")
            else:
                mu = slopes * x[:, None]
                pm.NormalMixture("y", w=w, mu=mu, sigma=sigma, observed=y, dims="obs")
        responsibilities.append(labelswitch.responsibilities(dt, model=model))
        relabelled = labelswitch.relabel(dt, model=model).dt.posterior["slopes"]
        means.append(relabelled.mean("draw").values)
    assert responsibilities[0].dims == ("chain", "draw", "obs", "component")
    np.testing.assert_allclose(responsibilities[0], responsibilities[1], rtol=1e-12)
    np.testing.assert_allclose(means[0], means[1], rtol=1e-12)
    # Both chains have the same labels now.
    np.testing.assert_allclose(means[0][0], means[0][1], atol=0.5)
