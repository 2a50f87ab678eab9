"""`fit`: exact, the same from every kind of rows, and refused where a Gaussian does not carry."""

import gc
import weakref
from itertools import permutations

import numpy as np
import pymc as pm
import pytest
from models import nuts
from scipy.special import logsumexp

import mixscale
from mixscale import fitting
from mixscale import rows as rows_module

N = 20_000


def lines(n=N, *, seed=0, slopes=(-1.0, 3.0), weight=0.5, sigma=0.1):
    rng = np.random.default_rng(seed)
    x = rng.uniform(-1, 1, n)
    z = (rng.random(n) < weight).astype(int)
    return x, np.asarray(slopes)[z] * x + sigma * rng.normal(size=n)


def forum_model(x, y, *, slope=(0.0, 0.0), sd=2.0, **kwargs):
    with pm.Model(coords={"component": ["a", "b"]}) as model:
        w = pm.Dirichlet("w", np.ones(2), dims="component")
        b = pm.Normal("slope", np.asarray(slope), sd, dims="component", **kwargs)
        sigma = pm.HalfNormal("sigma", 1)
        pm.Deterministic("difference", b[1] - b[0])
        mixscale.RegressionMixture("y", w, x, b, sigma, observed=y)
    return model


@pytest.fixture(scope="module")
def data():
    return lines()


@pytest.fixture(scope="module")
def fitted(data):
    return mixscale.fit(forum_model(*data), random_seed=1)


def by_hand(x, y, w, slope, sigma):
    """Return the log posterior of the forum's model on the scale of its variables."""
    terms = np.log(w) - 0.5 * ((y[:, None] - x[:, None] * slope) / sigma) ** 2
    likelihood = logsumexp(terms, axis=1).sum() - y.size * np.log(sigma)
    return likelihood - 0.5 * (slope**2).sum() / 4 - 0.5 * sigma**2


def test_the_weights_are_the_exact_posterior_over_the_gaussian(data, fitted):
    posterior, stats = (fitted[name].isel(chain=0) for name in ("posterior", "sample_stats"))
    some = range(0, 1000, 100)
    exact = [
        by_hand(*data, *(posterior[name].values[s] for name in ("w", "slope", "sigma")))
        for s in some
    ]
    # lp has the Jacobians of the transforms, and constants.
    jacobian = np.log(posterior["w"]).sum("component") + np.log(posterior["sigma"])
    difference = stats["lp"].values[some] - jacobian.values[some] - np.array(exact)
    np.testing.assert_allclose(difference, difference[0], rtol=0, atol=1e-6)
    assert len(set(exact)) > 5


def test_the_result_says_how_good_it_is(fitted):
    attributes = fitted.posterior.attrs
    assert attributes["importance_ess"] > 999
    assert attributes["acceptance"] > 0.98
    # 2.9 / sqrt(N) here; it is not 0, as the posterior is not quite a Gaussian.
    assert 1 < attributes["log_weight_sd"] * np.sqrt(N) < 6
    assert attributes["rows"] == N
    assert 0 < attributes["rows_left"] < 0.4 * N
    assert attributes["passes"] <= 7
    assert attributes["exchangeable"]
    log_weight = fitted.sample_stats["log_weight"].values
    np.testing.assert_allclose(log_weight.std(), attributes["log_weight_sd"])
    weights = np.exp(log_weight - log_weight.max())
    np.testing.assert_allclose(
        weights.sum() ** 2 / (weights**2).sum(), attributes["importance_ess"]
    )
    assert fitted.sample_stats["accepted"].mean() == attributes["acceptance"]


def test_draws_have_the_dimensions_and_deterministics_of_the_model(fitted):
    posterior = fitted.posterior
    assert set(posterior.data_vars) == {"w", "slope", "sigma", "difference"}
    assert posterior["slope"].dims == ("chain", "draw", "component")
    assert posterior["component"].values.tolist() == ["a", "b"]
    assert dict(posterior["sigma"].sizes) == {"chain": 1, "draw": 1000}
    expected = posterior["slope"].sel(component="b") - posterior["slope"].sel(component="a")
    np.testing.assert_allclose(posterior["difference"], expected)


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_the_draws_are_those_of_nuts(data, fitted):
    pytest.importorskip("nutpie")
    start = fitted.posterior["slope"].values[0, 0]
    model = forum_model(*data, slope=start, sd=0.5)
    theirs = nuts(model, chains=1, random_seed=2, initvals={"slope": start}).to_dataset()
    ours = fitted.posterior.to_dataset()
    ours = ours.sortby(ours["slope"].mean(("chain", "draw")))
    theirs = theirs.sortby(theirs["slope"].mean(("chain", "draw")))
    for name in ("w", "slope", "sigma"):
        sd = theirs[name].std(("chain", "draw"))
        difference = ours[name].mean(("chain", "draw")) - theirs[name].mean(("chain", "draw"))
        assert (abs(difference.values) < 0.25 * sd.values).all()
        ratio = ours[name].std(("chain", "draw")).values / sd.values
        assert (abs(np.log(ratio)) < 0.2).all()


def test_metropolis_leaves_a_skewed_target_as_it_is():
    from mixscale.fitting import _metropolis

    rng = np.random.default_rng(0)
    x = rng.normal(size=50_000)
    target = 0.3 * x**2 - 0.05 * x**4 + 0.3 * x  # log target minus log proposal
    index, accepted = _metropolis(target, np.random.default_rng(1))
    weights = np.exp(target) / np.exp(target).sum()
    assert abs(x[index].mean() - weights @ x) < 0.03
    assert abs(x[index].var() - (weights @ x**2 - (weights @ x) ** 2)) < 0.05
    assert 0.3 < accepted.mean() < 0.95
    assert abs(x.mean() - weights @ x) > 0.2


# Rows of every kind -----------------------------------------------------------------------------


def same(left, right, tolerance=1e-8):
    for name in left.posterior.data_vars:
        np.testing.assert_allclose(
            left.posterior[name], right.posterior[name], rtol=tolerance, atol=tolerance
        )
    np.testing.assert_allclose(
        left.sample_stats["log_weight"], right.sample_stats["log_weight"], atol=1e-6
    )
    assert left.posterior.attrs["passes"] == right.posterior.attrs["passes"]
    assert left.posterior.attrs["rows_left"] == right.posterior.attrs["rows_left"]


def test_given_rows_take_the_place_of_the_models(data, fitted):
    x, y = data
    same(mixscale.fit(forum_model(x[:5], y[:5]), (x, y), random_seed=1), fitted)


def test_the_draws_do_not_depend_on_threads_or_chunks(data, fitted, monkeypatch):
    monkeypatch.setattr(rows_module, "CHUNK", 1500)
    same(mixscale.fit(forum_model(*data), threads=3, random_seed=1), fitted)


@pytest.mark.parametrize("block", [rows_module.CHUNK, 1500], ids=["whole", "in blocks"])
def test_dask_gives_the_same_in_as_many_passes(data, fitted, monkeypatch, block):
    da = pytest.importorskip("dask.array")
    monkeypatch.setattr(rows_module, "CHUNK", block)
    x, y = (
        da.from_array(array, chunks=chunks)
        for array, chunks in zip(data, (7000, 3000), strict=True)
    )
    same(mixscale.fit(forum_model(*(a[:9] for a in data)), (x, y), random_seed=1), fitted)


def test_a_cluster_gives_the_same(data, fitted):
    distributed = pytest.importorskip("distributed")
    import dask.array as da

    x, y = (da.from_array(array, chunks=5000) for array in data)
    model = forum_model(*(a[:9] for a in data))
    with (
        distributed.LocalCluster(
            n_workers=1, threads_per_worker=2, processes=False, dashboard_address=None
        ) as cluster,
        distributed.Client(cluster),
    ):
        same(mixscale.fit(model, (x, y), random_seed=1), fitted)


# Dask's own use of pandas.
@pytest.mark.filterwarnings("ignore:The inplace keyword:DeprecationWarning")
def test_parquet_becomes_rows_as_the_readme_says(data, fitted, tmp_path):
    frames = pytest.importorskip("dask.dataframe")
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")

    path = tmp_path / "rows.parquet"
    table = pyarrow.table(dict(zip("xy", data, strict=True)))
    parquet.write_table(table, path, row_group_size=4000)
    frame = frames.read_parquet(path, split_row_groups=True)
    x, y = (frame[name].to_dask_array(lengths=True) for name in "xy")
    assert len(y.chunks[0]) == 5
    same(mixscale.fit(forum_model(*(a[:9] for a in data)), (x, y), random_seed=1), fitted)


def test_float32_in_a_memory_map_is_fitted_where_it_is(data, tmp_path):
    maps = []
    for name, array in zip("xy", data, strict=True):
        np.save(tmp_path / f"{name}.npy", array.astype("float32"))
        maps.append(np.load(tmp_path / f"{name}.npy", mmap_mode="r"))
    found = mixscale.fit(forum_model(*(a[:9] for a in data)), tuple(maps), random_seed=1)
    exact = tuple(np.asarray(array, float) for array in maps)
    same(mixscale.fit(forum_model(*exact), random_seed=1), found)


# Models of every kind ---------------------------------------------------------------------------


def test_a_plain_mixture_of_three():
    rng = np.random.default_rng(0)
    means, sds, weights = np.array([-4.0, 0.0, 5.0]), np.array([1.0, 0.5, 0.8]), [0.5, 0.2, 0.3]
    z = rng.choice(3, 50_000, p=weights)
    y = means[z] + sds[z] * rng.normal(size=z.size)
    with pm.Model() as model:
        w = pm.Dirichlet("w", np.ones(3))
        mu = pm.Normal("mu", 0, 5, shape=3)
        sigma = pm.HalfNormal("sigma", 2, shape=3)
        mixscale.NormalMixture("y", w, mu, sigma, observed=y[:10])
    posterior = mixscale.fit(model, y, random_seed=1).posterior
    order = np.argsort(posterior["mu"].mean(("chain", "draw")).values)
    for name, truth in {"mu": means, "sigma": sds, "w": np.array(weights)}.items():
        mean, sd = (getattr(posterior[name], f)(("chain", "draw")).values for f in ("mean", "std"))
        assert (abs(mean[order] - truth) < 4 * sd[order]).all()
        # The sd of a mean of n draws, a little more where the components overlap.
        assert (sd < 0.02).all()


def test_an_intercept_own_sigmas_and_two_covariates():
    rng = np.random.default_rng(0)
    x = np.column_stack([np.ones(N), rng.normal(size=(N, 1))])
    truth = np.array([[0.0, 4.0], [1.0, -1.0]])
    z = (rng.random(N) < 0.3).astype(int)
    y = (x @ truth)[np.arange(N), z] + np.array([0.3, 0.6])[z] * rng.normal(size=N)
    with pm.Model() as model:
        w = pm.Dirichlet("w", np.ones(2))
        b = pm.Normal("b", 0, 3, shape=(2, 2))
        sigma = pm.HalfNormal("sigma", 1, shape=2)
        mixscale.RegressionMixture("y", w, x, b, sigma, observed=y)
    posterior = mixscale.fit(model, random_seed=1).posterior
    mean, sd = (getattr(posterior["b"], f)(("chain", "draw")).values for f in ("mean", "std"))
    order = np.argsort(mean[0])
    assert (abs(mean[:, order] - truth) < 4 * sd[:, order]).all()


def test_one_component_is_linear_regression():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(5000, 2))
    y = x @ [1.0, -2.0] + 0.5 * rng.normal(size=5000)
    with pm.Model() as model:
        b = pm.Normal("b", 0, 100, shape=(2, 1))
        sigma = pm.HalfNormal("sigma", 10)
        mixscale.RegressionMixture("y", np.ones(1), x, b, sigma, observed=y)
    posterior = mixscale.fit(model, random_seed=1).posterior
    expected, *_ = np.linalg.lstsq(x, y)
    residual = np.std(y - x @ expected)
    sds = residual * np.sqrt(np.diag(np.linalg.inv(x.T @ x)))
    mean, sd = (getattr(posterior["b"], f)(("chain", "draw")).values[:, 0] for f in ("mean", "std"))
    assert (abs(mean - expected) < 0.2 * sds).all()
    assert (abs(np.log(sd / sds)) < 0.15).all()
    assert posterior.attrs["rows_left"] == 0


def test_an_order_of_the_slopes_is_kept(data):
    ordered = pm.distributions.transforms.ordered
    model = forum_model(*data, transform=ordered, initval=np.array([-0.5, 0.5]))
    posterior = mixscale.fit(model, random_seed=1).posterior
    np.testing.assert_allclose(posterior["slope"].mean(("chain", "draw")), [-1, 3], atol=0.02)
    assert not posterior.attrs["exchangeable"]


# What it returns is about to change.
@pytest.mark.filterwarnings("ignore:`find_MAP`:FutureWarning")
def test_potentials_and_other_likelihoods_count(data):
    model = forum_model(*data)
    with model:
        pm.Potential("narrow", -0.5 * 1e6 * (model["sigma"] - 0.12) ** 2)
        pm.Normal("other", model["slope"].sum(), 0.001, observed=2.1)
    posterior = mixscale.fit(model, random_seed=1).posterior
    start = {"slope": np.array([-1.0, 3.0])}
    mode = pm.find_MAP(initvals=start, model=model, progressbar=False)  # the mean, nearly
    assert abs(mode["sigma"] - 0.1) > 0.005
    sigma = posterior["sigma"]
    assert abs(float(sigma.mean()) - mode["sigma"]) < 0.2 * float(sigma.std())
    total = posterior["slope"].sum("component")
    assert abs(float(total.mean()) - mode["slope"].sum()) < 0.2 * float(total.std())


def test_a_model_that_is_fitted_again_is_built_once_and_only_while_it_stays_the_same(data):
    model = forum_model(*data)
    built = fitting._posterior_of(model)
    assert fitting._posterior_of(model) is built
    assert fitting._posterior_of(forum_model(*data)) is not built
    with model:
        pm.Potential("narrow", -0.5 * 1e6 * (model["sigma"] - 0.12) ** 2)
    assert fitting._posterior_of(model) is not built
    assert float(mixscale.fit(model, random_seed=1).posterior["sigma"].mean()) > 0.103
    gone = weakref.ref(model)
    del model, built
    gc.collect()
    assert gone() is None, "what is kept must not keep the model"


def test_data_that_are_exchanged_between_fits_are_seen(data):
    x, y = data
    with pm.Model() as model:
        centre = pm.Data("centre", 0.0)
        w = pm.Dirichlet("w", np.ones(2))
        b = pm.Normal("slope", 0, 2, shape=2)
        sigma = pm.HalfNormal("sigma", 1)
        pm.Potential("narrow", -0.5 * 1e6 * (sigma - centre) ** 2)
        mixscale.RegressionMixture("y", w, x[:9], b, sigma, observed=y[:9])
    means = []
    for value in (0.1, 0.12):
        pm.set_data({"centre": value}, model=model)
        dt = mixscale.fit(model, (x, y), random_seed=1)
        means.append(float(dt.posterior["sigma"].mean()))
    assert means[1] > means[0] + 0.003


def test_priors_that_name_the_components_surely_choose_the_labels(data):
    for slope in ((-1.0, 3.0), (3.0, -1.0)):
        dt = mixscale.fit(forum_model(*data, slope=slope, sd=0.5), random_seed=1)
        mean = dt.posterior["slope"].mean(("chain", "draw"))
        np.testing.assert_allclose(mean, slope, atol=0.02)
        assert not dt.posterior.attrs["exchangeable"]


# What is refused --------------------------------------------------------------------------------


def test_twenty_rows_are_refused():
    x, y = lines(20)
    with pytest.raises(mixscale.FitRefusedError, match="Sample with NUTS"):
        mixscale.fit(forum_model(x, y), random_seed=1)


def test_components_that_overlap_are_refused():
    x, y = lines(1000, slopes=(0.9, 1.0))
    with pytest.raises(mixscale.FitRefusedError, match="Sample with NUTS"):
        mixscale.fit(forum_model(x, y), random_seed=1)


def test_an_empty_component_is_refused():
    x, y = lines(1000, slopes=(1.0, 1.0))
    with pytest.raises(mixscale.FitRefusedError, match="Sample with NUTS"):
        mixscale.fit(forum_model(x, y), random_seed=1)


def test_a_second_mode_of_the_same_height_is_refused():
    """At two values of x, lines through four clusters of one size may be parallel or cross."""
    side = np.repeat([-1.0, 1.0], 400)
    upper = np.tile([0.0, 1.0], 400)
    noise = np.random.default_rng(0).normal(0, 0.1, 200)
    noise = np.concatenate([noise, -noise])[np.arange(800) // 2 % 400]
    y = 4 * upper - 2 + noise
    x = np.column_stack([np.ones_like(side), side])
    with pm.Model() as model:
        w = pm.Dirichlet("w", np.ones(2))
        b = pm.Normal("b", 0, 5, shape=(2, 2))
        sigma = pm.HalfNormal("sigma", 1)
        mixscale.RegressionMixture("y", w, x, b, sigma, observed=y)
    for seed in range(3):
        with pytest.raises(mixscale.FitRefusedError, match="no permutations of each other"):
            mixscale.fit(model, random_seed=seed)


def test_mixtures_are_as_far_apart_as_their_components_that_hold_rows():
    first = np.array([0.3, 0.7, 0.0]), np.array([[1.0], [2.0], [9.0]]), np.array([0.1, 0.2, 1.0])
    order, sizes = [2, 0, 1], np.array([0.5])
    second = [part[order].copy() for part in first]
    assert fitting._distance(first, second, sizes) == 0.0
    second[1][0] = 5.0  # of the component that is empty
    assert fitting._distance(first, second, sizes) == 0.0
    second[1][1] += 0.02
    assert fitting._distance(first, second, sizes) == pytest.approx(0.02 * 0.5 / 0.1)
    second[2][2] *= 1.2
    assert fitting._distance(first, second, sizes) == pytest.approx(np.log(1.2))
    second[0][:] = [0.3, 0.0, 0.7]
    assert fitting._distance(first, second, sizes) > 5


def test_priors_that_lean_to_a_labelling_are_refused(data):
    with pytest.raises(mixscale.FitRefusedError, match="components 0 and 1 apart, but not surely"):
        mixscale.fit(forum_model(*data, slope=(-0.5, 0.5), sd=2.0), random_seed=1)


def three_planes(means, sds, seed=0):
    """Return rows on three planes of the directions 0, 120 and 240 degrees, and a model of them."""
    rng = np.random.default_rng(seed)
    angles = np.deg2rad([0.0, 120.0, 240.0])
    truth = np.stack([np.cos(angles), np.sin(angles)])
    x = rng.uniform(-1, 1, (3000, 2))
    y = (x @ truth)[np.arange(3000), rng.integers(0, 3, 3000)] + 0.05 * rng.normal(size=3000)
    with pm.Model() as model:
        w = pm.Dirichlet("w", np.ones(3))
        b = pm.Normal("b", means, sds, shape=(2, 3))
        sigma = pm.HalfNormal("sigma", 1)
        mixscale.RegressionMixture("y", w, x[:9], b, sigma, observed=y[:9])
    return model, (x, y)


def test_a_labelling_that_is_a_cycle_away_is_found():
    """Priors turned by 60 degrees lie between two labellings; no exchange leads to the other."""
    turned = np.deg2rad([57.0, 177.0, 297.0])
    model, rows = three_planes(np.stack([np.cos(turned), np.sin(turned)]), 0.35)
    for seed in range(2):
        with pytest.raises(mixscale.FitRefusedError, match="components 0, 1 and 2 apart"):
            mixscale.fit(model, rows, starts=3, random_seed=seed)
    sure, _ = three_planes(np.stack([np.cos(turned), np.sin(turned)]), 0.1)
    posterior = mixscale.fit(sure, rows, starts=3, random_seed=1).posterior
    expected = np.cos(np.deg2rad([0.0, 120.0, 240.0]))
    np.testing.assert_allclose(posterior["b"].values[0, :, 0].mean(axis=0), expected, atol=0.02)
    assert not posterior.attrs["exchangeable"]


@pytest.mark.parametrize("n_components", [2, 3, 4, 5, 6])
def test_the_other_labellings_are_all_those_of_few_components(n_components):
    exchanges, others = fitting._relabellings(n_components)
    found = {tuple(order.tolist()) for order in exchanges + others}
    start = np.arange(n_components)
    expected = {
        order
        for order in permutations(range(n_components))
        if 0 < (np.array(order) != start).sum() <= (3 if n_components > 5 else 5)
    }
    assert found == expected
    assert len(exchanges) + len(others) == len(found)
    assert all((order != start).sum() == 2 for order in exchanges)


def test_two_of_three_components_that_are_alike_are_exchangeable():
    means = np.array([[0.0, 0.0, 1.0], [0.0, 0.0, 0.0]])
    model, rows = three_planes(means, np.array([1.0, 1.0, 0.1]))
    assert mixscale.fit(model, rows, starts=3, random_seed=1).posterior.attrs["exchangeable"]


def test_one_component_is_not_exchangeable(data):
    x, _ = data
    rows = x, 2 * x + np.random.default_rng(0).normal(0, 0.1, x.size)
    with pm.Model() as model:
        b = pm.Normal("b", 0, 5, shape=1)
        sigma = pm.HalfNormal("sigma", 1)
        mixscale.RegressionMixture("y", [1.0], x[:9], b, sigma, observed=rows[1][:9])
    posterior = mixscale.fit(model, rows, random_seed=1).posterior
    # Least squares, but for a prior that is worth a hundredth of a row.
    assert float(posterior["b"].mean()) == pytest.approx(x @ rows[1] / (x @ x), abs=2e-4)
    assert not posterior.attrs["exchangeable"]


@pytest.mark.parametrize("weights", [[0.6, 0.6], [1.0, 0.0]])
def test_weights_that_are_none_are_refused(data, weights):
    x, y = data
    with pm.Model() as model:
        b = pm.Normal("b", 0, 2, shape=2)
        mixscale.RegressionMixture("y", weights, x[:9], b, 0.1, observed=y[:9])
    with pytest.raises(ValueError, match="weights of the mixture"):
        mixscale.fit(model, (x, y), random_seed=1)


def test_few_draws_are_judged_as_many_are():
    x, y = lines(20, slopes=(0.5, 1.5), sigma=0.4)
    for seed in range(3):
        with pytest.raises(mixscale.FitRefusedError, match="Sample with NUTS"):
            mixscale.fit(forum_model(x, y), draws=2, random_seed=seed)


def test_as_many_draws_come_as_are_asked_for(data):
    model = forum_model(*data)
    two, many = (mixscale.fit(model, draws=draws, random_seed=1) for draws in (2, 400))
    for name in ("slope", "sigma"):
        np.testing.assert_array_equal(two.posterior[name], many.posterior[name][:, :2])
    assert two.sample_stats["log_weight"].shape == two.sample_stats["lp"].shape == (1, 2)


@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_the_scale_of_a_covariate_does_not_matter(scale):
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, 3000)
    y = np.where(rng.random(3000) < 0.5, 1 + 3 * x, -1 - x) + 0.1 * rng.normal(size=3000)
    found = []
    for size in (1.0, scale):
        columns = np.column_stack([np.ones(3000), size * x])
        with pm.Model() as model:
            w = pm.Dirichlet("w", np.ones(2))
            b = pm.Normal("b", 0, np.array([[2.0], [2.0 / size]]), shape=(2, 2))
            sigma = pm.HalfNormal("sigma", 1)
            mixscale.RegressionMixture("y", w, columns[:9], b, sigma, observed=y[:9])
        posterior = mixscale.fit(model, (columns, y), starts=3, random_seed=1).posterior
        found.append(posterior["b"].values[0, :, 1].mean(axis=0) * size)
    np.testing.assert_allclose(np.sort(found[1]), np.sort(found[0]), atol=1e-3)
    np.testing.assert_allclose(np.sort(found[0]), [-1, 3], atol=0.03)


@pytest.mark.parametrize("argument", ["draws", "starts", "subsample", "threads"])
@pytest.mark.parametrize("value", [0, -1, 2.5])
def test_numbers_that_make_no_sense_are_refused(data, argument, value):
    with pytest.raises(ValueError, match=f"{argument}: {value}"):
        mixscale.fit(forum_model(data[0][:9], data[1][:9]), **{argument: value})


def test_models_and_rows_that_do_not_fit_are_refused(data):
    x, y = data
    model = forum_model(x[:9], y[:9])
    with pytest.raises(TypeError, match=r"model: a pm\.Model is needed, not str"):
        mixscale.fit("model")
    with pm.Model() as other:
        pm.NormalMixture("y", [0.5, 0.5], pm.Normal("mu", shape=2), 1.0, observed=[1.0])
    with pytest.raises(ValueError, match="model: it has 0 observed"):
        mixscale.fit(other)
    with pytest.raises(ValueError, match=r"rows: the model's mixture needs \(covariates, y\)"):
        mixscale.fit(model, y)
    with pytest.raises(ValueError, match="with 1 covariates"):
        mixscale.fit(model, (np.column_stack([x, x]), y))
    bad = y.copy()
    bad[7] = np.nan
    with pytest.raises(ValueError, match="rows: the log-likelihood is not finite"):
        mixscale.fit(model, (x, bad))
    with pm.Model() as errors:
        true_x = pm.Normal("true_x", x[:9], 0.1)
        mixscale.RegressionMixture("y", [0.5, 0.5], true_x, [-1.0, 3.0], 0.1, observed=y[:9])
    with pytest.raises(ValueError, match="model: the covariates depend on true_x"):
        mixscale.fit(errors)
    with model:
        pm.Bernoulli("coin", 0.5)
    with pytest.raises(ValueError, match="model: coin is discrete"):
        mixscale.fit(model)
