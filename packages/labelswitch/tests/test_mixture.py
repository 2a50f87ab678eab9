"""Responsibilities and component densities, against SciPy and against PyMC's own log-likelihood."""

import subprocess
import sys

import arviz as az
import cloudpickle
import numpy as np
import pymc as pm
import pytensor
import pytest
import xarray as xr
from scipy import stats
from scipy.special import logsumexp

import labelswitch

N_CHAINS, N_DRAWS, N = 2, 3, 7


@pytest.fixture(autouse=True)
def python_mode():
    """Interpret the graphs: the models are tiny and compiling them would take the time."""
    with pytensor.config.change_flags(mode="FAST_COMPILE"):
        yield


@pytest.fixture
def rng():
    return np.random.default_rng(11)


def draws(rng, dims=None, coords=None, **shapes):
    """Make a DataTree; each variable is drawn by a function of (chain, draw)."""
    posterior = {name: draw((N_CHAINS, N_DRAWS)) for name, draw in shapes.items()}
    return az.from_dict({"posterior": posterior}, dims=dims or {}, coords=coords or {})


def dirichlet(rng, k, *batch):
    return lambda lead: rng.dirichlet(np.ones(k), size=(*lead, *batch))


def normal(rng, *shape, loc=0.0):
    return lambda lead: loc + rng.normal(size=(*lead, *shape))


def positive(rng, *shape):
    return lambda lead: rng.uniform(0.5, 2.0, size=(*lead, *shape))


def assert_matches_pymc(model, dt, name="y"):
    """Check that PyMC's log-likelihood is the log-sum over our components and weights."""
    log_density = labelswitch.component_log_density(dt, model=model)
    p = labelswitch.responsibilities(dt, model=model)
    np.testing.assert_allclose(p.sum("component"), 1, rtol=1e-12)
    theirs = pm.compute_log_likelihood(
        dt.copy(), model=model, var_names=[name], extend_inferencedata=False, progressbar=False
    )[name]
    # log p_k = log w_k + log f_k - log sum: solve for the sum at every component.
    weights = dt.posterior["w"]
    if weights.ndim > 3:
        weights = weights.transpose("chain", "draw", "obs", "component")
    else:
        weights = weights.expand_dims(obs=log_density.shape[2], axis=2)
    joint = log_density.values + np.log(weights.values)
    ours = logsumexp(joint, axis=-1)
    np.testing.assert_allclose(ours, theirs.values, rtol=0, atol=1e-10)
    np.testing.assert_allclose(p.values, np.exp(joint - ours[..., None]), rtol=0, atol=1e-10)
    return log_density, p


def test_mixture_of_regressions_with_data_containers_and_batched_weights(rng):
    x, y = rng.normal(size=(2, N))
    with pm.Model(coords={"component": ["up", "down"], "obs": np.arange(N) + 10}) as model:
        x_data = pm.Data("x", x, dims="obs")
        y_data = pm.Data("y_data", y, dims="obs")
        slopes = pm.Normal("slopes", 0, 1, dims="component")
        mu = pm.Deterministic("mu", slopes * x_data[:, None], dims=("obs", "component"))
        sigma = pm.HalfNormal("sigma", 1)
        w = pm.Dirichlet("w", np.ones((N, 2)), dims=("obs", "component"))
        pm.NormalMixture("y", w=w, mu=mu, sigma=sigma, observed=y_data, dims="obs")
    dt = draws(
        rng,
        slopes=normal(rng, 2),
        sigma=positive(rng),
        w=dirichlet(rng, 2, N),
        dims={"slopes": ["component"], "w": ["obs", "component"]},
        coords={"component": ["up", "down"]},
    )
    log_density, p = assert_matches_pymc(model, dt)
    slopes, sigma = dt.posterior["slopes"].values, dt.posterior["sigma"].values
    expected = stats.norm.logpdf(
        y[:, None], slopes[..., None, :] * x[:, None], sigma[..., None, None]
    )
    np.testing.assert_allclose(log_density.values, expected, rtol=0, atol=1e-10)
    assert p.dims == ("chain", "draw", "obs", "component")
    assert p["obs"].values.tolist() == list(range(10, 17))
    assert p["component"].values.tolist() == ["up", "down"]


def test_new_observations_through_set_data(rng):
    with pm.Model(coords={"obs": range(N)}) as model:
        y_data = pm.Data("y_data", rng.normal(size=N), dims="obs")
        w = pm.Dirichlet("w", np.ones(2))
        mu = pm.Normal("mu", 0, 1, shape=2)
        pm.NormalMixture("y", w=w, mu=mu, sigma=1.0, observed=y_data, dims="obs")
    dt = draws(rng, w=dirichlet(rng, 2), mu=normal(rng, 2))
    with model:
        pm.set_data({"y_data": np.array([-1.0, 0.5])}, coords={"obs": ["a", "b"]})
    p = labelswitch.responsibilities(dt, model=model)
    joint = dt.posterior["w"].values[:, :, None, :] * stats.norm.pdf(
        np.array([-1.0, 0.5])[:, None], dt.posterior["mu"].values[:, :, None, :]
    )
    np.testing.assert_allclose(p.values, joint / joint.sum(-1, keepdims=True), rtol=1e-10)
    assert p["obs"].values.tolist() == ["a", "b"]


@pytest.mark.parametrize("batched", [True, False], ids=["batched", "list"])
def test_multivariate_normal_components(rng, batched):
    y = rng.normal(size=(N, 2))
    coords = {"component": range(3), "feature": ["a", "b"], "obs": range(N)}
    with pm.Model(coords=coords) as model:
        w = pm.Dirichlet("w", np.ones(3), dims="component")
        mu = pm.Normal("mu", 0, 1, dims=("component", "feature"))
        scale = pm.HalfNormal("scale", 1, dims="component")
        covariance = scale[:, None, None] * np.array([[1.0, 0.3], [0.3, 2.0]])
        if batched:
            components = pm.MvNormal.dist(mu=mu, cov=covariance)
        else:
            components = [pm.MvNormal.dist(mu=mu[k], cov=covariance[k]) for k in range(3)]
        pm.Mixture("y", w=w, comp_dists=components, observed=y, dims=("obs", "feature"))
    dt = draws(
        rng,
        w=dirichlet(rng, 3),
        mu=normal(rng, 3, 2),
        scale=positive(rng, 3),
        dims={"w": ["component"], "mu": ["component", "feature"], "scale": ["component"]},
    )
    log_density, p = assert_matches_pymc(model, dt)
    assert p.dims == ("chain", "draw", "obs", "component")
    for chain, draw, k in np.ndindex(N_CHAINS, N_DRAWS, 3):
        at = dt.posterior.isel(chain=chain, draw=draw)
        expected = stats.multivariate_normal.logpdf(
            y, at["mu"].values[k], at["scale"].values[k] * np.array([[1.0, 0.3], [0.3, 2.0]])
        )
        np.testing.assert_allclose(log_density.values[chain, draw, :, k], expected, atol=1e-10)


@pytest.mark.parametrize("batched", [True, False], ids=["batched", "list"])
def test_poisson_components(rng, batched):
    y = rng.poisson(4, size=N)
    with pm.Model() as model:
        w = pm.Dirichlet("w", np.ones(2))
        rate = pm.Exponential("rate", 0.1, shape=2)
        if batched:
            components = pm.Poisson.dist(rate)
        else:
            components = [pm.Poisson.dist(rate[0]), pm.Poisson.dist(rate[1])]
        pm.Mixture("y", w=w, comp_dists=components, observed=y)
    dt = draws(
        rng,
        w=dirichlet(rng, 2),
        rate=positive(rng, 2),
        dims={"w": ["component"], "rate": ["component"]},
    )
    log_density, _ = assert_matches_pymc(model, dt)
    expected = stats.poisson.logpmf(y[:, None], dt.posterior["rate"].values[:, :, None, :])
    np.testing.assert_allclose(log_density.values, expected, atol=1e-10)


def test_ordered_transform_and_far_observations(rng):
    """Draws are on the constrained scale; densities far below the smallest float still compare."""
    y = np.array([-300.0, 0.0, 400.0])
    with pm.Model() as model:
        w = pm.Dirichlet("w", np.ones(2))
        mu = pm.Normal("mu", 0, 1, shape=2, transform=pm.distributions.transforms.ordered)
        pm.NormalMixture("y", w=w, mu=mu, sigma=1.0, observed=y)
    dt = draws(
        rng,
        w=dirichlet(rng, 2),
        mu=lambda lead: np.sort(rng.normal(size=(*lead, 2)), axis=-1),
        dims={"w": ["component"], "mu": ["component"]},
    )
    _, p = assert_matches_pymc(model, dt)
    assert np.isfinite(p.values).all()
    np.testing.assert_allclose(p.values[:, :, 2, 1], 1.0)


def test_latent_mixture_is_evaluated_at_its_own_draws(rng):
    with pm.Model() as model:
        w = pm.Dirichlet("w", np.ones(2))
        mu = pm.Normal("mu", 0, 1, shape=2)
        effect = pm.NormalMixture("effect", w=w, mu=mu, sigma=0.5, shape=4)
        pm.Normal("y", effect, 1, observed=np.zeros(4))
    dt = draws(rng, w=dirichlet(rng, 2), mu=normal(rng, 2), effect=normal(rng, 4))
    log_density = labelswitch.component_log_density(dt, model=model)
    assert log_density.dims == ("chain", "draw", "effect_dim_0", "component")
    expected = stats.norm.logpdf(
        dt.posterior["effect"].values[..., None], dt.posterior["mu"].values[:, :, None, :], 0.5
    )
    np.testing.assert_allclose(log_density.values, expected, atol=1e-10)


@pytest.fixture
def two_mixtures(rng):
    with pm.Model() as model:
        w = pm.Dirichlet("w", np.ones(2))
        mu = pm.Normal("mu", 0, 1, shape=2)
        pm.NormalMixture("y", w=w, mu=mu, sigma=1.0, observed=rng.normal(size=N))
        pm.NormalMixture("v", w=w, mu=mu, sigma=2.0, observed=rng.normal(size=N - 1))
        pm.Normal("plain", mu[0], 1, observed=0.0)
    return model, draws(rng, w=dirichlet(rng, 2), mu=normal(rng, 2))


def test_several_mixtures_need_a_name(two_mixtures):
    model, dt = two_mixtures
    with pytest.raises(ValueError, match="the model has 2 mixtures; name one of 'y', 'v'"):
        labelswitch.responsibilities(dt, model=model)
    assert labelswitch.responsibilities(dt, model=model, var_name="v").sizes["v_dim_0"] == N - 1
    with pytest.raises(ValueError, match=r"'plain' is not a pm.Mixture"):
        labelswitch.responsibilities(dt, model=model, var_name="plain")
    with pytest.raises(ValueError, match="no variable 'nowhere'"):
        labelswitch.responsibilities(dt, model=model, var_name="nowhere")


def test_chunks_give_the_same_numbers_lazily(two_mixtures):
    model, dt = two_mixtures
    whole = labelswitch.responsibilities(dt, model=model, var_name="y")
    lazy = labelswitch.responsibilities(dt, model=model, var_name="y", chunks=2)
    assert lazy.chunks[:2] == ((1, 1), (2, 1))
    xr.testing.assert_identical(lazy.compute(), whole)
    with pytest.raises(ValueError, match=r"chunks: .* must be positive, not 0"):
        labelswitch.responsibilities(dt, model=model, var_name="y", chunks=0)


def test_chunks_can_be_sent_to_another_process(two_mixtures):
    """Dask's clusters pickle the graph, with the compiled mixture in it."""
    model, dt = two_mixtures
    lazy = labelswitch.responsibilities(dt, model=model, var_name="y", chunks=2)
    sent = cloudpickle.loads(cloudpickle.dumps(lazy))
    xr.testing.assert_allclose(sent.compute(), lazy.compute(), rtol=1e-12)


def test_models_and_draws_that_do_not_fit(rng, two_mixtures):
    model, dt = two_mixtures
    without = dt.copy()
    without["posterior"].dataset = dt["posterior"].to_dataset().drop_vars("mu")
    with pytest.raises(ValueError, match="posterior lacks 'mu'"):
        labelswitch.responsibilities(without, model=model, var_name="y")
    with pytest.raises(TypeError, match=r"dt: an xarray.DataTree"):
        labelswitch.responsibilities(dt["posterior"].to_dataset(), model=model, var_name="y")
    with pytest.raises(ValueError, match="no group 'posterior'"):
        labelswitch.responsibilities(xr.DataTree(), model=model, var_name="y")
    with pytest.raises(TypeError, match=r"model: a pm.Model is needed, not str"):
        labelswitch.responsibilities(dt, model="model")

    with pm.Model() as sampled_labels:
        z = pm.Bernoulli("z", 0.5, shape=N)
        pm.Normal("y", z, 1, observed=np.zeros(N))
    with pytest.raises(ValueError, match=r"model: it has no pm.Mixture .*allocations="):
        labelswitch.responsibilities(dt, model=sampled_labels)


def test_a_distribution_of_one_s_own_given_by_what_draws_it(rng):
    def laplace(mu, size):
        return pm.Laplace.dist(mu, 0.5, size=size)

    with pm.Model() as model:
        w, mu = pm.Dirichlet("w", np.ones(2)), pm.Normal("mu", 0, 1, shape=2)
        components = pm.CustomDist.dist(mu, dist=laplace, shape=(2,))
        pm.Mixture("y", w=w, comp_dists=components, observed=rng.normal(size=N))
    dt = draws(rng, w=dirichlet(rng, 2), mu=normal(rng, 2))
    assert_matches_pymc(model, dt)
    found = labelswitch.component_log_density(dt, model=model)
    mu = dt.posterior["mu"].values
    observed = model.rvs_to_values[model["y"]].data
    expected = stats.laplace.logpdf(observed[:, None], mu[:, :, None], 0.5)
    np.testing.assert_allclose(found.values, expected, rtol=1e-12)


def test_dimensions_in_another_order_than_the_model_s_are_refused(rng):
    """Two components in two dimensions: the arrays would fit."""
    with pm.Model(coords={"component": range(2), "axis": range(2)}) as model:
        w = pm.Dirichlet("w", np.ones(2), dims="component")
        mu = pm.Normal("mu", 0, 1, dims=("component", "axis"))
        y = rng.normal(size=(N, 2))
        pm.Mixture("y", w=w, comp_dists=pm.MvNormal.dist(mu, np.eye(2)), observed=y)
    dims = {"w": ["component"], "mu": ["component", "axis"]}
    dt = draws(rng, dims, w=dirichlet(rng, 2), mu=normal(rng, 2, 2))
    labelswitch.responsibilities(dt, model=model)
    dt["posterior"]["mu"] = dt["posterior"]["mu"].transpose("chain", "draw", "axis", "component")
    for function in (labelswitch.responsibilities, labelswitch.relabel):
        with pytest.raises(ValueError, match=r"'mu' has the dimensions axis, component, which"):
            function(dt, model=model)
    dt["posterior"]["mu"] = dt["posterior"]["mu"].transpose("axis", ..., "chain")
    with pytest.raises(ValueError, match=r"transpose\('chain', 'draw', 'component', 'axis'\)"):
        labelswitch.responsibilities(dt, model=model)


def test_components_need_a_dimension_other_than_the_observations(rng):
    with pm.Model(coords={"component": range(N)}) as model:
        w = pm.Dirichlet("w", np.ones(2))
        mu = pm.Normal("mu", 0, 1, shape=2)
        pm.NormalMixture("y", w=w, mu=mu, sigma=1, observed=rng.normal(size=N), dims="component")
    dt = draws(rng, w=dirichlet(rng, 2), mu=normal(rng, 2))
    for taken in ("component", "draw"):
        with pytest.raises(ValueError, match=rf"dim: '{taken}' is a dimension of the draws or of"):
            labelswitch.responsibilities(dt, model=model, dim=taken)
    assert labelswitch.responsibilities(dt, model=model, dim="k").dims[2:] == ("component", "k")


def test_an_observation_outside_every_support_is_named():
    with pm.Model() as model:
        rate = pm.Exponential("rate", 1.0, shape=2)
        pm.Mixture("y", w=[0.5, 0.5], comp_dists=pm.Exponential.dist(rate), observed=[1.0, -1.0])
    dt = az.from_dict({"posterior": {"rate": np.ones((1, 2, 2))}})
    with pytest.raises(ValueError, match=r"observation \[1\] has no finite density"):
        labelswitch.responsibilities(dt, model=model)


def test_default_compilation_gives_the_same_numbers(two_mixtures):
    model, dt = two_mixtures
    interpreted = labelswitch.responsibilities(dt, model=model, var_name="y")
    with pytensor.config.change_flags(mode="Mode"):
        compiled = labelswitch.responsibilities(dt, model=model, var_name="y")
    xr.testing.assert_allclose(compiled, interpreted, rtol=1e-12)


def test_import_does_not_load_pymc():
    code = "import sys, labelswitch; sys.exit('pymc' in sys.modules or 'pytensor' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
