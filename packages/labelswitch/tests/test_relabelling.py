"""The front door, against R's label.switching and against labels that the tests themselves mix."""

import itertools
from pathlib import Path

import arviz_base as az
import arviz_stats
import numpy as np
import pytest
import xarray as xr
from extras import optional
from hypothesis import given, settings
from hypothesis import strategies as st

import labelswitch

pm, pytensor = optional("pymc"), optional("pytensor")

REFERENCE = Path(__file__).parent / "reference"
METHODS = (
    "ecr",
    "ecr_iterative_1",
    "ecr_iterative_2",
    "stephens",
    "pra",
    "sjw",
    "data_based",
    "order",
)


def make_draws(rng, n_chains=2, n_draws=20, n_components=3, n=12, switch=True):
    """Draws of well separated components with everything that a posterior may hold.

    Returns the DataTree and the permutations (chain, draw, component) that mixed the labels:
    mixed[t, j] = truth[t, mix[t, j]].
    """
    lead = (n_chains, n_draws)
    k = n_components
    truth_z = np.arange(n) % k
    mu = 10.0 * np.arange(k) + rng.normal(size=(*lead, k))
    location = 5.0 * np.arange(k) + rng.normal(size=(*lead, 2, k))
    w = rng.dirichlet(50 + 10 * np.arange(k), size=lead)
    transition = rng.dirichlet(np.ones(k), size=(*lead, k)).astype(np.float32)
    noise = 0.02 * rng.random(size=(*lead, n, k)) + 0.9 * np.eye(k)[truth_z]
    p = noise / noise.sum(-1, keepdims=True)
    counts = rng.integers(100, 200, size=(*lead, k)) + 1000 * np.arange(k)
    mix = np.tile(np.arange(k), (*lead, 1))
    if switch:
        mix = rng.permuted(mix, axis=-1)

    def gather(values, axis=-1):
        index = np.expand_dims(mix, tuple(range(2, values.ndim - 1)))
        return np.moveaxis(
            np.take_along_axis(np.moveaxis(values, axis, -1), index, axis=-1), -1, axis
        )

    z = np.argsort(mix, axis=-1)[
        np.arange(n_chains)[:, None, None], np.arange(n_draws)[None, :, None], truth_z
    ]
    posterior = {
        "mu": gather(mu),
        "location": gather(location),
        "w": gather(w),
        "transition": gather(gather(transition, axis=2), axis=3),
        "counts": gather(counts),
        "p": gather(p),
        "z": z.astype(np.int16),
        "shared": rng.normal(size=lead),
    }
    dims = {
        "mu": ["component"],
        "location": ["axis", "component"],
        "w": ["component"],
        "transition": ["component", "component_to"],
        "counts": ["component"],
        "p": ["obs", "component"],
        "z": ["obs"],
    }
    dt = az.from_dict(
        {
            "posterior": posterior,
            "posterior_predictive": {"mu_next": gather(mu + 1)},
            "observed_data": {"y": 10.0 * truth_z + rng.normal(size=n)},
            "sample_stats": {"lp": rng.normal(size=lead)},
        },
        dims=dims | {"mu_next": ["component"], "y": ["obs"]},
        coords={
            "component": [f"c{j}" for j in range(k)],
            "component_to": [f"c{j}" for j in range(k)],
            "chain": np.arange(n_chains) + 5,
        },
    )
    dt["posterior"]["mu"].attrs["units"] = "metres"
    truth = {
        "mu": mu,
        "location": location,
        "w": w,
        "transition": transition,
        "counts": counts,
        "p": p,
        "z": np.broadcast_to(truth_z, z.shape),
    }
    return dt, mix, truth


OPTIONS = {
    "ecr": {},
    "ecr_iterative_1": {},
    "ecr_iterative_2": {"responsibilities": "p"},
    "stephens": {"responsibilities": "p"},
    "pra": {},
    "sjw": {
        "var_names": "mu",
        "weights": "w",
        # normal components at distance 10 with standard deviation 1
        "log_density": lambda mu: -0.5 * (10.0 * (np.arange(12) % 3)[:, None] - mu[:, 0]) ** 2,
    },
    "data_based": {},
    "order": {"var_names": "mu"},
}


def relabel(dt, method, **changes):
    return labelswitch.relabel(
        dt,
        method=method,
        dim=["component", "component_to"],
        **({"allocations": "z"} | OPTIONS[method] | changes),
    )


def global_permutation(mix, permutations):
    """Return g with mix[t, permutations[t, j]] = g[j] in every draw, or fail."""
    composed = np.take_along_axis(mix, permutations, axis=-1).reshape(-1, mix.shape[-1])
    assert (composed == composed[0]).all()
    return composed[0]


@pytest.mark.parametrize("method", METHODS)
def test_every_method_puts_every_variable_right(method):
    """Mixed labels come back, in each variable, up to one relabelling of all draws."""
    dt, mix, truth = make_draws(np.random.default_rng(3))
    relabelled = relabel(dt, method)
    g = global_permutation(mix, relabelled.permutations.values)
    posterior = relabelled.dt["posterior"]
    for name in ("mu", "location", "w", "counts", "p"):
        np.testing.assert_array_equal(posterior[name].values, truth[name][..., g])
    np.testing.assert_array_equal(
        posterior["transition"].values, truth["transition"][:, :, g][..., g]
    )
    np.testing.assert_array_equal(posterior["z"].values, np.argsort(g)[truth["z"]])
    np.testing.assert_array_equal(
        relabelled.dt["posterior_predictive"]["mu_next"].values, truth["mu"][..., g] + 1
    )
    assert relabelled.method == method
    assert relabelled.permutations.dims == ("chain", "draw", "component")
    assert relabelled.permutations["chain"].values.tolist() == [5, 6]
    assert set(relabelled.permuted) == {
        *("mu", "location", "w", "transition", "counts", "p", "z", "mu_next")
    }


def test_input_other_groups_coordinates_attributes_and_types_stay():
    dt, _, _ = make_draws(np.random.default_rng(4))
    dt["posterior"]["mu"].encoding["dtype"] = "float32"
    before = dt.copy(deep=True)
    out = relabel(dt, "stephens").dt
    xr.testing.assert_identical(dt, before)
    for group in ("observed_data", "sample_stats"):
        xr.testing.assert_identical(out[group], before[group])
    assert out["posterior"].attrs == before["posterior"].attrs
    assert list(out["posterior"].data_vars) == list(before["posterior"].data_vars)
    for name, variable in before["posterior"].data_vars.items():
        new = out["posterior"][name]
        assert (new.dims, new.dtype, new.attrs) == (variable.dims, variable.dtype, variable.attrs)
        assert new.encoding == variable.encoding
        assert list(new.coords) == list(variable.coords)
        for coordinate in new.coords:
            xr.testing.assert_identical(new[coordinate], variable[coordinate])
    xr.testing.assert_identical(out["posterior"]["shared"], before["posterior"]["shared"])
    # Writing into the result does not reach the input either, for what was permuted.
    out["posterior"]["mu"].values[:] = 0
    xr.testing.assert_identical(dt, before)


def test_any_axis_order_even_components_before_chains():
    dt, _, _ = make_draws(np.random.default_rng(5))
    turned = dt.copy()
    turned["posterior"].dataset = dt["posterior"].to_dataset().transpose(..., "draw", "chain")
    expected = relabel(dt, "ecr_iterative_1").dt["posterior"].to_dataset()
    got = relabel(turned, "ecr_iterative_1").dt["posterior"].to_dataset()
    assert got["mu"].dims == ("component", "draw", "chain")
    xr.testing.assert_identical(got.transpose(*expected.dims), expected.transpose(*expected.dims))


def test_draws_that_have_not_switched_come_back_unchanged():
    dt, _, _ = make_draws(np.random.default_rng(6), switch=False)
    for method in METHODS:
        relabelled = relabel(dt, method)
        assert (relabelled.permutations == np.arange(3)).all(), method
        xr.testing.assert_identical(relabelled.dt, dt)


@pytest.mark.parametrize("method", METHODS)
@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_properties(method, seed):
    """Idempotent, blind to how labels were mixed, invariants kept, permutations valid."""
    rng = np.random.default_rng(seed)
    dt, _, _ = make_draws(rng, n_draws=8)
    once = relabel(dt, method)
    assert (np.sort(once.permutations, axis=-1) == np.arange(3)).all()
    twice = relabel(once.dt, method)
    assert (twice.permutations == np.arange(3)).all()
    xr.testing.assert_identical(twice.dt, once.dt)
    for name in ("mu", "w"):
        np.testing.assert_array_equal(
            np.sort(once.dt["posterior"][name]), np.sort(dt["posterior"][name])
        )
    np.testing.assert_allclose(
        (once.dt["posterior"]["w"] * once.dt["posterior"]["mu"]).sum("component"),
        (dt["posterior"]["w"] * dt["posterior"]["mu"]).sum("component"),
    )


def test_apply_permutes_another_array_and_keeps_dask_lazy():
    pytest.importorskip("dask")
    dt, _, _ = make_draws(np.random.default_rng(7))
    relabelled = relabel(dt, "order")
    p = dt["posterior"]["p"]
    expected = relabelled.dt["posterior"]["p"]
    xr.testing.assert_identical(relabelled.apply(p), expected)
    lazy = relabelled.apply(p.chunk(chain=1, draw=7))
    assert lazy.chunks is not None
    xr.testing.assert_identical(lazy.compute(), expected)
    with pytest.raises(ValueError, match=r"values: dimensions chain, draw and 'component'"):
        relabelled.apply(dt["posterior"]["shared"])


def test_lazy_responsibilities_give_the_same_result():
    pytest.importorskip("dask")
    dt, _, _ = make_draws(np.random.default_rng(8))
    p = dt["posterior"]["p"]
    expected = relabel(dt, "stephens", responsibilities=p)
    lazy = relabel(dt, "stephens", responsibilities=p.chunk(chain=1, draw=7))
    xr.testing.assert_identical(lazy.permutations, expected.permutations)


def test_one_component_one_observation_one_chain():
    dt, _, _ = make_draws(np.random.default_rng(9), n_chains=1, n_components=1, n=1)
    for method in ("ecr", "ecr_iterative_1", "ecr_iterative_2", "stephens", "pra", "order"):
        xr.testing.assert_identical(relabel(dt, method).dt, dt)


# Pivots and starts ---------------------------------------------------------------------------


def test_a_pivot_fixes_the_labels():
    dt, _, truth = make_draws(np.random.default_rng(10))
    relabelled = relabel(dt, "ecr", pivot=(6, 3))
    assert relabelled.permutations.sel(chain=6, draw=3).values.tolist() == [0, 1, 2]
    by_array = relabel(dt, "ecr", pivot=dt["posterior"]["z"].sel(chain=6, draw=3).values)
    xr.testing.assert_identical(by_array.dt, relabelled.dt)
    reversed_means = np.array([20.0, 10.0, 0.0])
    relabelled = relabel(dt, "pra", var_names="mu", pivot=reversed_means)
    np.testing.assert_array_equal(relabelled.dt["posterior"]["mu"].values, truth["mu"][..., ::-1])
    with pytest.raises(ValueError, match=r"pivot: \(0, 3\) is not the label of a draw"):
        relabel(dt, "ecr", pivot=(0, 3))


@pytest.mark.parametrize("method", ["ecr", "pra"])
def test_a_default_pivot_leaves_most_labels_where_they_were(method):
    """And the result's pivot follows: relabelling against it gives the same permutations."""
    for seed in range(13, 18):  # the labels of some of these pivots turn by a cycle of three
        dt, _, _ = make_draws(np.random.default_rng(seed), n_draws=7)
        relabelled = relabel(dt, method)
        kept = (relabelled.permutations.values == np.arange(3)).sum()
        for g in itertools.permutations(range(3)):
            assert (relabelled.permutations.values[..., list(g)] == np.arange(3)).sum() <= kept
        again = relabel(dt, method, pivot=relabelled.result.pivot)
        xr.testing.assert_identical(again.permutations, relabelled.permutations)
        assert again.result.objective == pytest.approx(relabelled.result.objective)


def test_the_default_pivot_does_not_follow_a_degenerate_draw():
    dt, _, _ = make_draws(np.random.default_rng(11))
    dt["posterior"]["mu"].values[0, 0] = [1e6, 0, -1e6]
    dt["sample_stats"]["lp"].values[0, 0] = 1e9
    pivot = relabel(dt, "pra").result.pivot
    assert np.abs(pivot).max() < 1e4


def test_the_default_pivot_is_nearest_to_the_median_not_to_the_mean():
    larger = [10.0, 10.1, 10.2, 10.3, 40.0]  # their median is 10.2, their mean 16.1
    mu = np.array([[[0.0, value] for value in larger]])
    dt = az.from_dict({"posterior": {"mu": mu}}, dims={"mu": ["component"]})
    assert labelswitch.relabel(dt, method="pra").result.pivot.ravel().tolist() == [0.0, 10.2]


def test_without_allocations_the_most_probable_component_stands_in():
    dt, mix, _ = make_draws(np.random.default_rng(12))
    relabelled = relabel(dt, "ecr_iterative_1", allocations=(), responsibilities="p")
    global_permutation(mix, relabelled.permutations.values)
    # z was not named, so it stays.
    xr.testing.assert_identical(relabelled.dt["posterior"]["z"], dt["posterior"]["z"])


# With a model --------------------------------------------------------------------------------


@pytest.fixture
def regression():
    """Two regression lines, their draws with mixed labels, and the truth."""
    rng = np.random.default_rng(20)
    n, lead = 40, (2, 15)
    x, z = rng.normal(size=n), np.arange(n) % 2
    y = np.array([3.0, -1.0])[z] * x + 0.1 * rng.normal(size=n)
    with pm.Model(coords={"component": ["a", "b"], "obs": range(n)}) as model:
        slopes = pm.Normal("slopes", 0, 5, dims="component")
        sigma = pm.HalfNormal("sigma", 1)
        w = pm.Dirichlet("w", np.ones(2), dims="component")
        mu = pm.Deterministic("mu", slopes * x[:, None], dims=("obs", "component"))
        pm.NormalMixture("y", w=w, mu=mu, sigma=sigma, observed=y, dims="obs")
    mix = np.tile([0, 1], (*lead, 1))
    mix[1] = mix[0, 3] = [1, 0]  # between the chains, and once within one
    slopes = rng.normal([3.0, -1.0], 0.05, size=(*lead, 2))
    w = rng.dirichlet([20, 20], size=lead)
    posterior = {
        "slopes": np.take_along_axis(slopes, mix, axis=-1),
        "w": np.take_along_axis(w, mix, axis=-1),
        "sigma": rng.uniform(0.09, 0.11, size=lead),
    }
    posterior["mu"] = posterior["slopes"][:, :, None, :] * x[:, None]
    dt = az.from_dict(
        {"posterior": posterior, "observed_data": {"y": y}},
        dims={
            "slopes": ["component"],
            "w": ["component"],
            "mu": ["obs", "component"],
            "y": ["obs"],
        },
        coords={"component": ["a", "b"], "obs": np.arange(n)},
    )
    with pytensor.config.change_flags(mode="FAST_COMPILE"):
        yield model, dt, mix, slopes


def test_two_calls_from_a_bad_r_hat_to_a_good_summary(regression):
    model, dt, mix, slopes = regression
    assert arviz_stats.rhat(dt)["slopes"].max() > 1.1
    relabelled = labelswitch.relabel(dt, model=model)
    summary = arviz_stats.summary(relabelled.dt, var_names=["slopes"], round_to="none")
    g = global_permutation(mix, relabelled.permutations.values)
    np.testing.assert_array_equal(relabelled.dt["posterior"]["slopes"], slopes[..., g])
    assert list(summary.index) == ["slopes[a]", "slopes[b]"]
    np.testing.assert_allclose(summary["mean"], slopes.mean((0, 1))[g])


@pytest.mark.parametrize("method", ["ecr", "ecr_iterative_1", "ecr_iterative_2", "pra", "sjw"])
def test_methods_read_what_they_need_from_the_model(regression, method):
    model, dt, mix, _ = regression
    relabelled = labelswitch.relabel(dt, method=method, model=model)
    global_permutation(mix, relabelled.permutations.values)


def test_sjw_from_the_model_equals_sjw_by_hand(regression):
    model, dt, _, _ = regression
    posterior = dt["posterior"]
    y, x = dt["observed_data"]["y"].values, posterior["mu"].values[0, 0, :, 0]
    x = x / posterior["slopes"].values[0, 0, 0]
    sigma = float(posterior["sigma"].mean())

    def log_density(theta):  # columns: slope, weight
        residual = (y[:, None] - theta[:, 0] * x[:, None]) / sigma
        return -0.5 * residual**2 - np.log(sigma * np.sqrt(2 * np.pi)) + np.log(theta[:, 1])

    theirs = labelswitch.relabel(dt, method="sjw", model=model)
    p = labelswitch.responsibilities(dt, model=model)
    by_hand = labelswitch.relabel(
        dt, method="sjw", var_names=["slopes", "w"], responsibilities=p, log_density=log_density
    )
    np.testing.assert_allclose(theirs.result.objective, by_hand.result.objective, rtol=1e-10)
    np.testing.assert_allclose(theirs.result.parameters, by_hand.result.parameters, rtol=1e-10)
    xr.testing.assert_identical(theirs.permutations, by_hand.permutations)


def test_sjw_puts_parameters_back_into_any_axis_of_the_model():
    """Three components, so that a permutation is not its own inverse; components in the middle."""
    rng = np.random.default_rng(24)
    n, lead = 30, (2, 10)
    centres = np.array([[0.0, 4.0, 8.0], [5.0, 0.0, 5.0]])  # axis, component
    z = np.arange(n) % 3
    y = centres[:, z].T + rng.normal(size=(n, 2))
    coords = {"component": range(3), "axis": range(2), "obs": range(n)}
    with pm.Model(coords=coords) as model:
        mu = pm.Normal("mu", 0, 5, dims=("axis", "component"))
        w = pm.Dirichlet("w", np.ones(3), dims="component")
        components = pm.MvNormal.dist(mu=mu.T, cov=np.eye(2))
        pm.Mixture("y", w=w, comp_dists=components, observed=y, dims=("obs", "axis"))
    mix = rng.permuted(np.tile(np.arange(3), (*lead, 1)), axis=-1)
    drawn = centres + 0.2 * rng.normal(size=(*lead, 2, 3))
    weights = rng.dirichlet([20, 20, 20], size=lead)
    dt = az.from_dict(
        {
            "posterior": {
                "mu": np.take_along_axis(drawn, mix[:, :, None, :], axis=-1),
                "w": np.take_along_axis(weights, mix, axis=-1),
            }
        },
        dims={"mu": ["axis", "component"], "w": ["component"]},
    )
    with pytensor.config.change_flags(mode="FAST_COMPILE"):
        relabelled = labelswitch.relabel(dt, method="sjw", model=model)
    g = global_permutation(mix, relabelled.permutations.values)
    np.testing.assert_array_equal(relabelled.dt["posterior"]["mu"], drawn[..., g])

    def log_density(theta):  # columns: mu by axis, then w
        squares = ((y[:, None, :] - theta[None, :, :2]) ** 2).sum(axis=2)
        return -0.5 * squares - np.log(2 * np.pi) + np.log(theta[:, 2])

    with pytensor.config.change_flags(mode="FAST_COMPILE"):
        p = labelswitch.responsibilities(dt, model=model)
    by_hand = labelswitch.relabel(
        dt, method="sjw", var_names=["mu", "w"], responsibilities=p, log_density=log_density
    )
    np.testing.assert_allclose(relabelled.result.objective, by_hand.result.objective, rtol=1e-10)
    np.testing.assert_allclose(
        relabelled.result.parameters[:, :2], drawn.mean((0, 1)).T[g], atol=1e-6
    )


def test_features_of_the_data_do_not_hide_the_parameters_that_carry_them():
    """With y (obs, axis) and mu (component, axis), mu counts, whatever tells what `obs` is."""
    rng = np.random.default_rng(26)
    centres = np.array([[-2.0, -2], [-2, 2], [2, -2], [2, 2]])
    lead, n = (2, 40), 20
    y = centres[np.arange(n) % 4] + rng.normal(size=(n, 2))
    mix = rng.permuted(np.tile(np.arange(4), (*lead, 1)), axis=-1)
    mu = centres + 0.3 * rng.normal(size=(*lead, 4, 2))
    w = rng.dirichlet(4 * [50], size=lead)
    dims = {"mu": ["component", "axis"], "w": ["component"], "y": ["obs", "axis"], "z": ["obs"]}
    posterior = {
        "mu": np.take_along_axis(mu, mix[..., None], axis=2),
        "w": np.take_along_axis(w, mix, axis=2),
    }
    z = np.argsort(mix, axis=-1)[..., np.arange(n) % 4]
    p = np.moveaxis(z == np.arange(4)[:, None, None, None], 0, -1).astype(float)
    with pm.Model(coords={"component": range(4), "obs": range(n), "axis": range(2)}) as model:
        weights = pm.Dirichlet("w", np.ones(4), dims="component")
        means = pm.Normal("mu", 0, 3, dims=("component", "axis"))
        components = pm.MvNormal.dist(mu=means, cov=np.eye(2))
        pm.Mixture("y", w=weights, comp_dists=components, observed=y, dims=("obs", "axis"))
    groups = {"posterior": posterior, "observed_data": {"y": y}}
    plain = az.from_dict(groups, dims=dims)
    with_z = az.from_dict(groups | {"posterior": posterior | {"z": z}}, dims=dims)
    coords = {name: plain["posterior"][name] for name in ("chain", "draw", "component")}
    given = xr.DataArray(p, dims=("chain", "draw", "obs", "component"))
    for dt, told in (
        (plain, {}),
        (with_z, {"allocations": "z"}),
        (plain, {"responsibilities": given.assign_coords(coords)}),
        (plain, {"model": model}),
    ):
        relabelled = labelswitch.relabel(dt, method="pra", **told)
        global_permutation(mix, relabelled.permutations.values)
        with pytensor.config.change_flags(mode="FAST_COMPILE"):
            assert list(labelswitch.diagnose(dt, **told).table.index) == ["mu", "w"]


def test_several_mixtures_that_share_their_labels(regression):
    """Name one to relabel by; the weights of another are relabelled and judged as well."""
    _, dt, mix, _ = regression
    y = dt["observed_data"]["y"].values
    x = dt["posterior"]["mu"].values[0, 0, :, 0] / dt["posterior"]["slopes"].values[0, 0, 0]
    with pm.Model(coords={"component": ["a", "b"], "obs": range(len(x))}) as model:
        slopes = pm.Normal("slopes", 0, 5, dims="component")
        sigma = pm.HalfNormal("sigma", 1)
        w = pm.Dirichlet("w", np.ones(2), dims="component")
        v = pm.Dirichlet("v", np.ones(2), dims="component")
        mu = slopes * x[:, None]
        pm.NormalMixture("y", w=w, mu=mu, sigma=sigma, observed=y, dims="obs")
        pm.NormalMixture("y_later", w=v, mu=mu, sigma=sigma, observed=y, dims="obs")
    with_v = dt.copy()
    v = np.random.default_rng(27).dirichlet([30, 60], size=(2, 15))
    v = np.take_along_axis(v, mix, axis=-1)
    with_v["posterior"]["v"] = dt["posterior"]["w"].copy(data=v)
    with pytest.raises(ValueError, match=r"2 mixtures; .*responsibilities\(dt, model=model"):
        labelswitch.relabel(with_v, method="stephens", model=model)
    p = labelswitch.responsibilities(with_v, model=model, var_name="y")
    diagnosis = labelswitch.diagnose(with_v, model=model, responsibilities=p)
    g = global_permutation(mix, diagnosis.relabelled.permutations.values)
    expected = np.take_along_axis(v, np.argsort(mix, axis=-1), axis=-1)[..., g]
    np.testing.assert_array_equal(diagnosis.relabelled.dt["posterior"]["v"], expected)
    assert set(diagnosis.table.index) == {"slopes", "w", "v"}
    assert diagnosis.table["r_hat_total"].max() < 1.1 < diagnosis.table["r_hat_labelled"].max()


# compare -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "tolerance"), [("k3", 0), ("hard3", 2.5 / 151)])
def test_compare_finds_the_clusters_that_r_finds(name, tolerance):
    """Agreement with driver.similarity; on hard3 ties of the mode leave two observations open."""
    with np.load(REFERENCE / f"inputs_{name}.npz") as file:
        inputs = dict(file)
    with np.load(REFERENCE / f"outputs_{name}.npz") as file:
        similarity, names = file["driver.similarity"], list(file["driver.similarity_names"])
    halves = {
        "theta": inputs["pars"].reshape(2, -1, *inputs["pars"].shape[1:]),
        "mean": inputs["pars"][..., 0].reshape(2, -1, 3),
        "z": (inputs["z"].astype(int) - 1).reshape(2, -1, inputs["z"].shape[1]),
        "p": inputs["p"].reshape(2, -1, *inputs["p"].shape[1:]),
    }
    dims = {
        "theta": ["component", "parameter"],
        "mean": ["component"],
        "z": ["obs"],
        "p": ["obs", "component"],
    }
    dt = az.from_dict(
        {"posterior": halves, "observed_data": {"x": inputs["x"]}}, dims=dims | {"x": ["obs"]}
    )
    best = int(inputs["mapindex"]) - 1
    pivot = divmod(best, halves["z"].shape[1])
    ours = ["ecr", "ecr_iterative_1", "ecr_iterative_2", "pra", "stephens", "data_based"]
    shared = {"allocations": "z", "responsibilities": "p", "var_names": "theta"}
    comparison = labelswitch.compare(dt, methods=ours, pivot=pivot, **shared)
    at = [names.index(method.upper().replace("_", "-")) for method in ours[:-1]]
    at.append(names.index("DATA-BASED"))
    np.testing.assert_allclose(
        comparison["clusters_agreement"], similarity[np.ix_(at, at)], atol=tolerance
    )
    by_mean = labelswitch.compare(dt, methods=["ecr", "order"], var_names="mean", allocations="z")
    assert by_mean["clusters_agreement"][0, 1] == pytest.approx(
        similarity[0, names.index("AIC-1")], abs=max(tolerance, 1e-12)
    )


def test_compare_reports_each_method_and_aligns_labels():
    dt, _, _ = make_draws(np.random.default_rng(22))
    shared = {"var_names": "mu", "dim": ["component", "component_to"]}
    comparison = labelswitch.compare(
        dt,
        methods=["pra", "order"],
        allocations="z",
        options={"pra": {"standardise": False}},
        **shared,
    )
    assert comparison["draws_agreement"].values.tolist() == [[1, 1], [1, 1]]
    assert comparison["clusters_agreement"].values.tolist() == [[1, 1], [1, 1]]
    assert (comparison["clusters"][0] == comparison["clusters"][1]).all()
    assert (comparison["seconds"] > 0).all()
    direct = labelswitch.relabel(dt, method="pra", allocations="z", standardise=False, **shared)
    assert comparison["objective"][0] == direct.result.objective
    # Without allocations: by responsibilities; with neither: no clusters.
    by_p = labelswitch.compare(
        dt, methods=["order"], allocations=(), responsibilities="p", **shared
    )
    assert (np.diff(by_p["clusters"].values.reshape(-1, 3), axis=0) == 0).all()
    assert "clusters" not in labelswitch.compare(dt, methods=["order"], allocations=(), **shared)


def test_compare_shows_where_methods_differ():
    """Components that differ in one coordinate only: sorting by the other is a coin toss."""
    rng = np.random.default_rng(23)
    theta = np.stack([rng.normal([-5, 5], 0.1, (1, 400, 2)), rng.normal(size=(1, 400, 2))], -1)
    dt = az.from_dict({"posterior": {"theta": theta}}, dims={"theta": ["component", "axis"]})
    comparison = labelswitch.compare(dt, methods=["pra", "order"], options={"order": {"index": 1}})
    assert 0.5 <= comparison["draws_agreement"][0, 1] < 0.6
    with pytest.raises(ValueError, match=r"methods: different names are needed"):
        labelswitch.compare(dt, methods=["pra", "pra"])
    with pytest.raises(TypeError, match="methods: a name or several are needed, not 3"):
        labelswitch.compare(dt, methods=3)
    with pytest.raises(ValueError, match=r"options: 'prra' is not among the methods \(pra\)"):
        labelswitch.compare(dt, methods=["pra"], options={"prra": {"standardise": False}})
    with pytest.raises(TypeError, match=r"pivot: compare takes the labels of a draw"):
        labelswitch.compare(dt, methods=["pra"], pivot=np.zeros((2, 2)))


def test_draws_agreement_is_the_best_over_all_renamings():
    """Against a search over all renamings; here the one that fits most columns is not the best."""
    rng = np.random.default_rng(28)
    pairs = np.array([[0, 1, 2, 3], [1, 0, 3, 2], [0, 1, 3, 2], [1, 0, 2, 3]])
    centres = np.array([[-9.0, -9], [-9, 9], [9, -9], [9, 9]])
    for shares in ([0.3, 0.3, 0.2, 0.2], [0.2, 0.2, 0.3, 0.3]):
        drawn = pairs[rng.choice(4, size=200, p=shares)]
        tie = 0.1 * np.argsort(drawn, axis=1)  # so that sorting by axis 0 gives these permutations
        theta = centres + np.stack([tie, np.zeros_like(tie)], axis=-1)
        dt = az.from_dict({"posterior": {"theta": theta[None]}}, dims={"theta": ["component"]})
        found = labelswitch.compare(dt, methods=["order", "pra"], options={"order": {"index": 0}})
        first, second = (
            labelswitch.relabel(dt, method=name, **more).result.permutations
            for name, more in (("order", {"index": 0}), ("pra", {}))
        )
        best = max(
            (first == second[:, list(g)]).all(axis=1).mean()
            for g in itertools.permutations(range(4))
        )
        assert found["draws_agreement"][0, 1] == found["draws_agreement"][1, 0] == best < 0.45


# Errors --------------------------------------------------------------------------------------

DIMS = ["component", "component_to"]
BAD_INPUT = [
    ({"method": "ESR"}, ValueError, r"method: 'ESR' is unknown. .*ecr, .*stephens, .*order"),
    ({"dim": "cluster"}, ValueError, r"dim: no variable .* 'cluster'. Dimensions: .*component \(3"),
    ({"dim": ["component", "axis"]}, ValueError, r"dim: .* must have the same length"),
    ({"dim": 2}, TypeError, r"dim: a name or several are needed, not 2"),
    ({"allocations": 2}, TypeError, r"allocations: a name or several are needed, not 2"),
    ({"method": "pra", "var_names": 2}, TypeError, r"var_names: a name or several are needed"),
    ({"dim": []}, ValueError, r"dim: name at least one"),
    ({"dim": DIMS[:1] * 2}, ValueError, r"dim: .* names a dimension twice"),
    ({"method": "stephens"}, ValueError, r"responsibilities: this method needs .* Pass model="),
    ({"method": "pra", "pivot": 0}, TypeError, r"pivot: the labels of a draw as a tuple"),
    ({"method": "pra", "pivot": [0, 0]}, TypeError, r"pivot: the labels of a draw as a tuple"),
    ({"responsibilities": "p", "var_names": "mu"}, ValueError, r"var_names: 'stephens' does not"),
    ({"responsibilities": "q"}, ValueError, r"responsibilities: .* no variable 'q'"),
    ({"responsibilities": "mu"}, ValueError, r"p\[0, 0\]"),
    ({"responsibilities": np.ones(3)}, TypeError, r"responsibilities: a name or a DataArray"),
    ({"method": "ecr"}, ValueError, r"allocations: this method needs .* Pass allocations="),
    ({"allocations": "y"}, ValueError, r"allocations: the posterior has no variable 'y'"),
    ({"allocations": [1]}, TypeError, r"allocations: the name of a variable is needed, not int"),
    ({"method": "pra", "responsibilities": 1}, TypeError, r"responsibilities: a name or a Data"),
    ({"allocations": "mu"}, TypeError, r"allocations: 'mu' holds float64"),
    ({"allocations": "counts"}, ValueError, r"allocations: the labels of 'counts' run from"),
    ({"method": "order"}, ValueError, r"var_names: 'order' sorts by one value"),
    ({"method": "pra", "var_names": "shared"}, ValueError, r"var_names: 'shared' must have"),
    ({"method": "pra", "var_names": "mean"}, ValueError, r"var_names: .* no variable 'mean'"),
    ({"method": "sjw", "responsibilities": "p"}, ValueError, r"log_density: 'sjw' needs"),
    ({"method": "pra", "pivot": np.ones((2, 2))}, ValueError, r"pivot has shape"),
    ({"method": "order", "pivot": (5, 0)}, ValueError, r"pivot: 'order' does not use it"),
    ({"method": "order", "data": "y"}, ValueError, r"data: 'order' does not use it"),
    ({"method": "data_based", "data": "x", "responsibilities": "p"}, ValueError, r"data: neither"),
    ({"methods": "pra"}, TypeError, r"methods: 'pra' has no such option \(it has standardise\)"),
    ({"method": "pra", "parameters": 1}, TypeError, r"parameters: 'pra' has no such option"),
    ({"allocations": "z", "n_components": 4}, ValueError, r"n_components: 4 are asked for, but 'c"),
]


@pytest.mark.parametrize(("arguments", "kind", "message"), BAD_INPUT)
def test_bad_input_names_the_argument_and_a_remedy(arguments, kind, message):
    dt, _, _ = make_draws(np.random.default_rng(30))
    with pytest.raises(kind, match=message):
        labelswitch.relabel(dt, **({"allocations": (), "dim": DIMS} | arguments))


def test_one_based_labels_nan_and_other_draws():
    dt, _, _ = make_draws(np.random.default_rng(31))
    dt["posterior"]["z"] = dt["posterior"]["z"] + 1
    with pytest.raises(
        ValueError, match=r"allocations: .*They look 1-based: assign dt\['posterior'\]\['z'\] = "
    ):
        labelswitch.relabel(dt, method="ecr_iterative_1", allocations="z", dim=DIMS)
    p = dt["posterior"]["p"]
    with pytest.raises(ValueError, match=r"responsibilities: their chains or draws differ"):
        labelswitch.relabel(dt, responsibilities=p.isel(draw=slice(5)), allocations=(), dim=DIMS)
    with pytest.raises(ValueError, match=r"responsibilities: it has 2 components, but 'component'"):
        labelswitch.relabel(dt, responsibilities=p.isel(component=[0, 1]), allocations=(), dim=DIMS)
    with pytest.raises(ValueError, match=r"p\[0, 0\] sums to"):
        labelswitch.relabel(dt, responsibilities=p / 2, allocations=(), dim=DIMS)
    dt["posterior"]["mu"].values[1, 2, 0] = np.nan
    with pytest.raises(ValueError, match=r"dt: 'mu' contains NaN"):
        labelswitch.relabel(dt, method="pra", allocations=(), dim=DIMS)
    with pytest.raises(TypeError, match=r"dt: an xarray.DataTree"):
        labelswitch.relabel(dt["posterior"].to_dataset())


@pytest.mark.filterwarnings("ignore:Duplicate dimension names:UserWarning")
def test_a_variable_with_one_dimension_twice_is_named():
    dt, _, _ = make_draws(np.random.default_rng(31))
    shape = ("chain", "draw", "component", "component")
    size = [dt["posterior"].sizes[name] for name in shape]
    dt["posterior"]["transition"] = xr.DataArray(np.ones(size), dims=shape)
    for call in (labelswitch.relabel, labelswitch.diagnose):
        with pytest.raises(ValueError, match=r"dt: 'transition' has a dimension twice"):
            call(dt, method="pra", allocations=(), dim="component")


def test_unnamed_allocations_and_other_draws_are_not_passed_over_in_silence():
    dt, _, _ = make_draws(np.random.default_rng(32))
    with pytest.warns(UserWarning, match=r"'z' looks like allocations. Pass allocations='z'"):
        labelswitch.relabel(dt, responsibilities="p", dim=DIMS)
    thinned = dt["posterior_predictive"].to_dataset().isel(draw=slice(None, None, 2))
    dt["posterior_predictive"] = xr.DataTree(thinned)
    with pytest.warns(UserWarning, match=r"group 'posterior_predictive' has other draws"):
        out = labelswitch.relabel(dt, method="order", var_names="mu", allocations="z", dim=DIMS).dt
    xr.testing.assert_identical(out["posterior_predictive"], dt["posterior_predictive"])


def test_progress_is_silent_unless_wanted(regression, capsys):
    model, dt, _, _ = regression
    labelswitch.relabel(dt, model=model)
    assert capsys.readouterr() == ("", "")
    labelswitch.relabel(dt, model=model, progress=True)
    written = capsys.readouterr()
    assert written.out == ""
    assert "responsibilities: chain 2 of 2" in written.err
    assert "stephens, start identity: sweep 1" in written.err


def test_automatic_names_of_dimensions(regression):
    model, dt, _, _ = regression
    unnamed = xr.DataTree.from_dict(
        {
            "posterior": xr.Dataset(
                {
                    name: dt["posterior"][name]
                    .drop_vars("component")
                    .rename(component=f"{name}_dim_0")
                    for name in ("slopes", "w")
                }
            ).assign(sigma=dt["posterior"]["sigma"])
        }
    )
    with pytest.raises(ValueError, match=r"Dimensions: .*slopes_dim_0 \(2\), w_dim_0 \(2\)"):
        labelswitch.relabel(unnamed, method="pra")
    relabelled = labelswitch.relabel(unnamed, model=model)
    assert set(relabelled.dims) == {"slopes_dim_0", "w_dim_0"}
    expected = labelswitch.relabel(dt, model=model)
    for name in ("slopes", "w"):
        np.testing.assert_array_equal(
            relabelled.dt["posterior"][name], expected.dt["posterior"][name]
        )


def test_repr_tells_the_story():
    dt, _, _ = make_draws(np.random.default_rng(33))
    text = repr(relabel(dt, "stephens"))
    assert "<Relabelled by stephens>" in text
    assert "2 chains x 20 draws, 3 components in 'component', 'component_to'" in text
    assert "mu, location, w, transition, counts, p, z, mu_next" in text
    assert "(converged" in text


def test_permutations_of_other_chains_are_refused():
    dt, _, _ = make_draws(np.random.default_rng(33))
    found = labelswitch.relabel(dt, method="pra", allocations="z", dim=DIMS).permutations
    for name in ("chain", "draw"):
        backwards = found.isel({name: slice(None, None, -1)})
        with pytest.raises(ValueError, match=rf"permutations: their '{name}' differs"):
            labelswitch.relabel(dt, permutations=backwards, allocations="z", dim=DIMS)
    bare = found.drop_vars(["chain", "draw"])
    labelswitch.relabel(dt, permutations=bare, allocations="z", dim=DIMS)


def test_a_group_is_not_left_half_relabelled():
    rng = np.random.default_rng(34)
    mu = rng.normal([-2.0, 2.0], 0.1, size=(2, 30, 3, 2))
    z = rng.integers(0, 2, size=(2, 30, 3, 7))
    dims = {"mu": ["school", "component"], "z": ["school", "row"], "density": ["row", "component"]}
    groups = {
        "posterior": {"mu": mu},
        "log_likelihood": {"density": rng.normal(size=(2, 30, 7, 2))},
    }
    with pytest.raises(ValueError, match=r"by: 'density' carries .* drop it from 'log_likelihood'"):
        labelswitch.relabel(az.from_dict(groups, dims=dims), by="school", method="pra")
    # Labels that are in another group only are found there.
    groups = {"posterior": {"mu": mu}, "posterior_predictive": {"z": z}}
    dt = az.from_dict(groups, dims=dims)
    out = labelswitch.relabel(dt, by="school", allocations="z").dt
    own = np.take_along_axis(mu[..., None, :], z[..., None], axis=-1)
    moved = np.take_along_axis(
        out.posterior["mu"].values[..., None, :],
        out["posterior_predictive"]["z"].values[..., None],
        axis=-1,
    )
    np.testing.assert_array_equal(moved, own)
    for wrong in (-1, 2):
        both = {"posterior": {"mu": mu[:, :, 0], "z": z[:, :, 0]}}
        other = z[:, :, 0].copy()
        other[0, 0, 0] = wrong
        both["posterior_predictive"] = {"z": other}
        both = az.from_dict(both, dims={"mu": ["component"], "z": ["row"]})
        with pytest.raises(ValueError, match=r"'z' holds labels from .* in one of the groups"):
            labelswitch.relabel(both, method="pra", allocations="z")


def test_components_are_matched_by_their_labels():
    dt, _, _ = make_draws(np.random.default_rng(35))
    p = dt["posterior"]["p"]
    del dt["posterior"]["p"]
    expected = relabel(dt, "stephens", responsibilities=p)
    turned = {"component": ["c2", "c0", "c1"]}
    other = dt.copy()
    predictive = dt["posterior_predictive"].to_dataset()
    other["posterior_predictive"] = xr.DataTree(predictive.sel(turned))
    relabelled = relabel(other, "stephens", responsibilities=p.sel(turned))
    xr.testing.assert_identical(relabelled.permutations, expected.permutations)
    xr.testing.assert_identical(relabelled.apply(p.sel(turned)), expected.apply(p).sel(turned))
    xr.testing.assert_identical(
        relabelled.dt["posterior_predictive"].to_dataset(),
        expected.dt["posterior_predictive"].to_dataset().sel(turned),
    )
    bare = p.sel(turned).drop_vars("component")  # by position
    np.testing.assert_array_equal(
        expected.apply(bare), expected.apply(bare.assign_coords(p.coords))
    )
    strange = {"component": ["a", "b", "c"]}
    match = r"the coordinate 'component' has the labels 'a', 'b', 'c'; in the posterior .* 'c0'"
    with pytest.raises(ValueError, match=rf"responsibilities: {match}"):
        relabel(dt, "stephens", responsibilities=p.assign_coords(strange))
    with pytest.raises(ValueError, match=rf"values: {match}"):
        expected.apply(p.assign_coords(strange))
    other["posterior_predictive"] = xr.DataTree(predictive.assign_coords(strange))
    with pytest.raises(ValueError, match=rf"dt: in 'posterior_predictive': {match}"):
        relabel(other, "stephens", responsibilities=p)


def two_chains():
    """Two components, exchanged in the second chain."""
    mu = np.random.default_rng(36).normal([0.0, 6.0], 0.3, size=(2, 30, 2))
    mu[1] = mu[1, :, ::-1]
    groups = {"posterior": {"mu": mu}, "sample_stats": {"depth": mu[..., 0] > 3}}
    return az.from_dict(groups, dims={"mu": ["component"]})


@pytest.mark.parametrize("path", ["/", "posterior/derived", "derived/further", "prior/derived"])
def test_wherever_labels_are_carried_they_move(path):
    dt = two_chains()
    mu = dt["posterior"]["mu"].drop_vars(["chain", "draw", "component"])
    more = xr.Dataset({"copy": mu, "size": ("row", np.arange(3))}, coords={"same": mu})
    dt = xr.DataTree.from_dict({"posterior": dt["posterior"].to_dataset(), path: more})
    out = labelswitch.relabel(dt, method="pra").dt
    assert set(out[path].coords) - set(out["posterior"].coords) == {"same"}
    expected = mu if path == "prior/derived" else out["posterior"]["mu"]
    for name in ("copy", "same"):
        np.testing.assert_array_equal(out[path][name], expected)
    np.testing.assert_array_equal(out["posterior"]["mu"].mean("draw").round(), [[0, 6], [0, 6]])


def test_groups_below_others_are_split_by_group():
    rng = np.random.default_rng(37)
    z = rng.integers(0, 2, size=(2, 30, 3, 7))
    dims = {"mu": ["school", "component"], "z": ["school", "row"]}
    posterior = {"mu": rng.normal([-2.0, 2.0], 0.1, size=(2, 30, 3, 2)), "z": z}
    dt = az.from_dict({"posterior": posterior}, dims=dims)
    expected = labelswitch.relabel(dt, by="school", allocations="z").dt["posterior"]["z"]
    dt["posterior/labels"] = xr.DataTree(dt["posterior"].to_dataset()[["z"]])
    del dt["posterior"]["z"]
    out = labelswitch.relabel(dt, by="school", allocations="z").dt
    xr.testing.assert_identical(out["posterior/labels/z"], expected)


LABELS = np.tile(np.arange(2)[:, None, None] ^ np.array([0, 1, 0]), (1, 30, 1))


@pytest.mark.parametrize(
    ("z", "message"),
    [
        (LABELS[..., 0], r"Pass allocations='z' to relabel"),
        (LABELS, r"Pass allocations='z' to relabel"),
        (np.where([True, True, False], LABELS, np.nan), r"'z' as integers from 0, without"),
        (LABELS[..., 0] == 1, None),
        (LABELS[..., 0] + 1.0, None),
        (LABELS[..., 0] + 1, None),
        (np.ones((2, 30), int), None),
        (np.full((2, 30, 3), np.nan), None),
    ],
)
def test_what_looks_like_labels_warns(z, message):
    dt = two_chains()
    dt["posterior"]["z"] = xr.DataArray(z, dims=["chain", "draw", "obs"][: z.ndim])
    dt["sample_stats"]["depth"] = dt["sample_stats"]["depth"].astype(int)
    if message is None:
        labelswitch.relabel(dt, method="pra")
    else:
        with pytest.warns(UserWarning, match=message):
            labelswitch.relabel(dt, method="pra")


@pytest.mark.parametrize("chunks", [{"draw": 5}, {"component": 1}, {"obs": 3, "chain": 1}])
def test_lazy_draws_are_relabelled_alike(chunks):
    pytest.importorskip("dask.array")
    dt, _, _ = make_draws(np.random.default_rng(35))
    posterior = dt["posterior"].to_dataset()
    lazy = xr.DataTree.from_dict({"posterior": posterior.chunk(chunks)})
    plain = xr.DataTree.from_dict({"posterior": posterior})
    for more in ({"method": "pra"}, {"method": "ecr_iterative_1"}):
        one, two = (
            labelswitch.relabel(tree, allocations="z", dim=DIMS, **more) for tree in (plain, lazy)
        )
        xr.testing.assert_identical(
            one.dt["posterior"].to_dataset(), two.dt["posterior"].to_dataset()
        )


def test_a_pivot_among_labels_that_repeat_is_refused():
    dt, _, _ = make_draws(np.random.default_rng(36))
    twice = xr.concat([dt["posterior"].to_dataset()] * 2, "draw")
    with pytest.raises(ValueError, match=r"pivot: the labels of 'draw' in the posterior repeat"):
        labelswitch.relabel(
            xr.DataTree.from_dict({"posterior": twice}),
            method="pra",
            pivot=(0, 5),
            allocations="z",
            dim=DIMS,
        )


# Labels under the names and in the types that they come with -----------------------------------


def test_labels_that_a_narrow_type_does_not_hold_widen_it():
    mu = np.tile(np.arange(150.0), (1, 4, 1))
    backwards = np.tile(np.arange(150)[::-1], (1, 4, 1))
    for kind, wide in ((np.int8, np.int16), (np.uint8, np.uint8)):
        z = np.tile(np.arange(100, dtype=kind), (1, 4, 1))
        posterior = {"mu": mu, "z": z}
        dt = az.from_dict({"posterior": posterior}, dims={"mu": ["component"], "z": ["obs"]})
        dt["posterior"]["z"].encoding["dtype"] = kind
        out = labelswitch.relabel(dt, permutations=backwards, allocations="z").dt["posterior"]["z"]
        assert out.dtype == wide
        assert out.encoding.get("dtype", wide) == wide
        np.testing.assert_array_equal(out, 149 - z.astype(int))


def with_labels():
    """Two components, exchanged in the second chain, and the labels of six observations."""
    dt = two_chains()
    z = np.tile([0, 1, 0, 0, 1, 1], (2, 30, 1))
    z[1] = 1 - z[1]
    dt["posterior"]["z"] = xr.DataArray(z, dims=("chain", "draw", "obs"))
    return dt


@pytest.mark.parametrize("group", ["log_prior", "log_likelihood"])
@pytest.mark.parametrize("density", [-0.7, -2.0])
def test_log_densities_under_the_name_of_the_allocations_stay(group, density):
    dt = with_labels()
    values = dt["posterior"]["z"] * density
    dt[group] = xr.DataTree(xr.Dataset({"z": values}))
    relabelled = labelswitch.relabel(dt, allocations="z")
    xr.testing.assert_identical(relabelled.dt[group], dt[group])
    assert (relabelled.dt["posterior"]["z"] == [0, 1, 0, 0, 1, 1]).all()


def test_other_floats_under_the_name_of_the_allocations():
    """They stay with a warning, and are refused where they look like labels."""
    dt = with_labels()
    dt["derived"] = xr.DataTree(xr.Dataset({"z": dt["posterior"]["z"] * 0.9}))
    with pytest.warns(UserWarning, match=r"'z' in the group 'derived' holds float64, no integer"):
        out = labelswitch.relabel(dt, allocations="z").dt
    xr.testing.assert_identical(out["derived"], dt["derived"])
    padded = dt["posterior"]["z"].where(dt["posterior"]["z"] > 0)
    for labels in (dt["posterior"]["z"].astype(float), padded, dt["posterior"]["z"] == 1):
        dt["derived"] = xr.DataTree(xr.Dataset({"z": labels}))
        with pytest.raises(TypeError, match=r"allocations: 'z' in 'derived' holds .* Convert it"):
            labelswitch.relabel(dt, allocations="z")


def test_two_dimensions_with_the_same_labels_in_another_order_are_refused():
    dt, _, _ = make_draws(np.random.default_rng(38))
    posterior = dt["posterior"].to_dataset().sel(component_to=["c2", "c0", "c1"])
    turned = xr.DataTree.from_dict({"posterior": posterior})
    with pytest.raises(ValueError, match=r"dim: 'component_to' has the labels 'c2', 'c0'"):
        relabel(turned, "pra")
    relabel(xr.DataTree.from_dict({"posterior": posterior.drop_vars("component_to")}), "pra")


def test_two_dimensions_in_the_orders_of_the_model_go_by_position():
    dt = two_chains()
    w = np.where(dt["posterior"]["mu"] > 3, 0.7, 0.3)
    posterior = dt["posterior"].to_dataset().assign_coords(component=["a", "b"])
    posterior["w"] = xr.DataArray(w, dims=("chain", "draw", "k"), coords={"k": ["b", "a"]})
    y = np.repeat([0.0, 6.0], [3, 7])
    with pm.Model(coords={"component": ["a", "b"], "k": ["b", "a"]}) as model:
        means = pm.Normal("mu", 0, 9, dims="component")
        weights = pm.Dirichlet("w", np.ones(2), dims="k")
        pm.NormalMixture("y", w=weights, mu=means, sigma=1, observed=y)
    tree = xr.DataTree.from_dict({"posterior": posterior})
    with pytensor.config.change_flags(mode="FAST_COMPILE"):
        out = labelswitch.relabel(tree, model=model).dt["posterior"]
        np.testing.assert_array_equal(out["w"].values, np.where(out["mu"] > 3, 0.7, 0.3))
        turned = xr.DataTree.from_dict({"posterior": posterior.sel(k=["a", "b"])})
        with pytest.raises(
            ValueError, match=r"dim: 'k' has the labels 'a', 'b', but the model has"
        ):
            labelswitch.relabel(turned, model=model)


def test_permutations_go_by_the_labels_of_the_components():
    dt, _, _ = make_draws(np.random.default_rng(39))
    found = relabel(dt, "pra")
    turned = ["c2", "c0", "c1"]
    order = {"component": turned, "component_to": turned}
    other = xr.DataTree.from_dict({"posterior": dt["posterior"].to_dataset().sel(order)})
    again = labelswitch.relabel(
        other, permutations=found.permutations, allocations=(), dim=["component", "component_to"]
    )
    expected = found.dt["posterior"].to_dataset().sel(order).drop_vars("z")
    xr.testing.assert_identical(again.dt["posterior"].to_dataset().drop_vars("z"), expected)
    xr.testing.assert_identical(again.permutations["component"], other["posterior"]["component"])
    with pytest.raises(ValueError, match=r"permutations: the coordinate 'component' has the lab"):
        labelswitch.relabel(
            dt,
            permutations=found.permutations.assign_coords(component=["a", "b", "c"]),
            allocations="z",
            dim=DIMS,
        )


def test_masked_permutations_are_refused():
    dt = two_chains()
    found = labelswitch.relabel(dt).permutations.values
    with pytest.raises(ValueError, match="permutations has masked values"):
        labelswitch.relabel(dt, permutations=np.ma.masked_array(found, found == 0))


# What cannot be moved ---------------------------------------------------------------------------


def with_unconstrained(weights):
    """Give two chains what samplers may store of the unconstrained scale."""
    dt = two_chains()
    lead = ("chain", "draw")
    posterior, stats = dt["posterior"], dt["sample_stats"]
    posterior["w"] = posterior["mu"].copy(data=weights)
    simplex = np.log(weights[..., :1] / weights[..., 1:]) / 2
    posterior["w_simplex__"] = xr.DataArray(simplex, dims=(*lead, "w_simplex___dim_0"))
    posterior["mu_log__"] = posterior["mu"].rename(component="mu_log___dim_0")
    for name in ("unconstrained_draw", "transformed_position", "gradient"):
        stats[name] = xr.DataArray(
            np.concatenate([simplex, posterior["mu"]], axis=-1),
            dims=(*lead, "unconstrained_parameter"),
        )
    return dt


@pytest.mark.parametrize("known", [False, True])
def test_unconstrained_values_are_dropped_by_name(known):
    weights = np.tile([0.3, 0.7], (2, 30, 1))
    weights[1] = weights[1, :, ::-1]
    dt = with_unconstrained(weights)
    with pm.Model(coords={"component": range(2)}) as model:
        means = pm.Normal("mu", 0, 9, dims="component")
        w = pm.Dirichlet("w", np.ones(2), dims="component")
        pm.NormalMixture("y", w=w, mu=means, sigma=1, observed=[0.0, 6.0, 6.0])
    model = {"model": model} if known else {}
    with pytensor.config.change_flags(mode="FAST_COMPILE"):
        with pytest.warns(UserWarning, match=r"cannot be relabelled") as caught:
            relabelled = labelswitch.relabel(dt, **model)
        assert sorted(str(item.message).partition(" cannot")[0] for item in caught) == [
            "'unconstrained_draw', 'transformed_position', 'gradient' in the group 'sample_stats'",
            "'w_simplex__', 'mu_log__' in the group 'posterior'",
        ]
        assert set(relabelled.dt["posterior"].data_vars) == {"mu", "w"}
        assert set(relabelled.dt["sample_stats"].data_vars) == {"depth"}
        assert relabelled.dropped == ("w_simplex__", "mu_log__")
        # Draws that stay where they are keep everything.
        del dt["posterior"]["mu_log__"]
        still = np.tile([0, 1], (2, 30, 1))
        xr.testing.assert_identical(labelswitch.relabel(dt, permutations=still, **model).dt, dt)


@pytest.mark.parametrize("lead", ["chain", "draw"])
def test_components_of_a_chain_or_a_draw_alone_warn(lead):
    dt = two_chains()
    summary = dt["posterior"]["mu"].isel({"draw" if lead == "chain" else "chain": 0}, drop=True)
    dt["posterior"]["summary"] = summary
    with pytest.warns(UserWarning, match=rf"'summary' in .* 'component' but not .* \('{lead}', 'c"):
        out = labelswitch.relabel(dt).dt
    xr.testing.assert_identical(out["posterior"]["summary"], dt["posterior"]["summary"])


# Variables of single components -----------------------------------------------------------------


@pytest.fixture
def singles():
    """Give draws of one mixture with a vector of means, and with a variable for each mean.

    The weights say as little as the means say much.
    """
    rng = np.random.default_rng(40)
    mu = rng.normal([0.0, 10.0], 0.3, size=(2, 12, 2))
    w = 0.5 + 0.05 * rng.choice([-1, 1], size=(2, 12, 1)) * [1, -1]
    mu[:, ::2], w[:, ::2] = mu[:, ::2, ::-1], w[:, ::2, ::-1]
    y = 10.0 * (np.arange(24) % 2) + rng.normal(size=24)
    with pm.Model(coords={"component": range(2)}) as vector:
        weights = pm.Dirichlet("w", np.ones(2), dims="component")
        means = pm.Normal("mu", 0, 20, dims="component")
        pm.NormalMixture("y", w=weights, mu=means, sigma=1, observed=y)
    models = {}
    for name in ("listed", "constant"):
        with pm.Model(coords={"component": range(2)}) as models[name]:
            if name == "listed":
                weights = pm.Dirichlet("w", np.ones(2), dims="component")
            else:
                weights = [0.5, 0.5]
            each = [pm.Normal(f"mu{k}", 0, 20) for k in range(2)]
            components = [pm.Normal.dist(one, 1) for one in each]
            pm.Mixture("y", w=weights, comp_dists=components, observed=y)
    dims = {"mu": ["component"], "w": ["component"]}
    single = {f"mu{k}": mu[..., k] for k in range(2)}
    with pytensor.config.change_flags(mode="FAST_COMPILE"):
        yield (
            (vector, az.from_dict({"posterior": {"mu": mu, "w": w}}, dims=dims)),
            (models["listed"], az.from_dict({"posterior": single | {"w": w}}, dims=dims)),
            (models["constant"], az.from_dict({"posterior": single})),
        )


def test_sjw_reads_variables_of_single_components(singles):
    (vector, one), (listed, two), _ = singles
    expected = labelswitch.relabel(one, model=vector, method="sjw")
    found = labelswitch.relabel(two, model=listed, method="sjw")
    xr.testing.assert_identical(found.permutations, expected.permutations)
    xr.testing.assert_allclose(found.confidence, expected.confidence)
    assert found.confidence.min() > 0.99
    with pytest.raises(ValueError, match=r"var_names: the mixture also reads 'mu0', 'mu1', which"):
        labelswitch.relabel(two, model=listed, method="sjw", var_names="w")
    for k in range(2):
        values = expected.dt["posterior"]["mu"].isel(component=k)
        np.testing.assert_array_equal(found.dt["posterior"][f"mu{k}"], values)


@pytest.mark.parametrize("method", ["stephens", "sjw", "pra"])
def test_single_components_with_constant_weights_need_no_dimension(singles, method):
    _, _, (model, dt) = singles
    relabelled = labelswitch.relabel(dt, model=model, method=method)
    assert relabelled.permutations.dims == ("chain", "draw", "component")
    means = np.sort([relabelled.dt["posterior"][f"mu{k}"].values for k in range(2)], axis=0)
    np.testing.assert_array_equal(
        means[0], np.minimum(dt["posterior"]["mu0"], dt["posterior"]["mu1"])
    )
    assert max(relabelled.dt["posterior"][f"mu{k}"].std() for k in range(2)) < 1


# apply ------------------------------------------------------------------------------------------


def test_apply_refuses_other_draws_and_arrays_without_names():
    dt = two_chains()
    relabelled = labelswitch.relabel(dt)
    mu = dt["posterior"]["mu"]
    with pytest.raises(TypeError, match=r"values: a DataArray .* not ndarray"):
        relabelled.apply(mu.values)
    for other in (mu.isel(draw=slice(5)), mu.assign_coords(draw=mu["draw"] + 1)):
        with pytest.raises(ValueError, match=r"values: their 'draw' differs from that of the rel"):
            relabelled.apply(other)
        with pytest.raises(ValueError, match=r"values: their 'draw' differs from that of the rel"):
            relabelled.apply(other.drop_vars("draw").isel(draw=slice(7)))
    np.testing.assert_array_equal(
        relabelled.apply(mu.drop_vars("draw")), relabelled.dt["posterior"]["mu"]
    )


def test_components_may_have_several_levels_of_labels():
    pandas = pytest.importorskip("pandas")
    dt = two_chains()
    levels = pandas.MultiIndex.from_tuples([("a", 1), ("b", 1)], names=["letter", "number"])
    coords = xr.Coordinates.from_pandas_multiindex(levels, "component")
    posterior = dt["posterior"].to_dataset().drop_vars("component").assign_coords(coords)
    relabelled = labelswitch.relabel(xr.DataTree.from_dict({"posterior": posterior}))
    expected = labelswitch.relabel(dt).dt["posterior"]["mu"]
    np.testing.assert_array_equal(relabelled.dt["posterior"]["mu"], expected)
    assert relabelled.dt["posterior"].indexes["component"].equals(levels)
    applied = relabelled.apply(posterior["mu"])
    xr.testing.assert_identical(applied, relabelled.dt["posterior"]["mu"])
