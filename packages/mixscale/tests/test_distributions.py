"""The PyMC layer: everything that pm.NormalMixture gives, by the same numbers."""

import hashlib
import warnings
from pathlib import Path

import numpy as np
import pymc as pm
import pytensor
import pytensor.tensor as pt
import pytest
import xarray as xr
from models import CASES, model, rows
from pytensor.link.numba.dispatch.basic import numba_funcify_default_op_cache_key
from scipy import stats
from scipy.special import logsumexp

import mixscale
from mixscale import distributions, kernels

# Compiles nothing: for what is compared with, and evaluated a few times.
PYTHON = pytensor.compile.mode.Mode(linker="py", optimizer="fast_compile")


def points(m, n_points=3, seed=0):
    """Return points of the unconstrained space around the initial one."""
    rng = np.random.default_rng(seed)
    start = m.initial_point()
    return [
        {name: np.asarray(v) + rng.normal(0, 0.7, np.shape(v)) for name, v in start.items()}
        for _ in range(n_points)
    ]


def nodes(function, op_type):
    return [node for node in function.maker.fgraph.toposort() if isinstance(node.op, op_type)]


@pytest.mark.parametrize("data", [False, True], ids=["arrays", "pm.Data"])
@pytest.mark.parametrize("case", CASES)
def test_density_and_gradient_are_those_of_normal_mixture(case, data):
    y, x = rows(case, 500)
    ours = model(case, y, x, ours=True, data=data)
    functions = [
        m.compile_fn([m.logp(), m.dlogp(), m.logp(vars=m["y"], sum=False)[0]], mode=mode)
        for m, mode in ((ours, None), (model(case, y, x, ours=False), PYTHON))
    ]
    for point in points(ours):
        left, right = (function(point) for function in functions)
        np.testing.assert_allclose(left[0], right[0], rtol=1e-12)
        np.testing.assert_allclose(left[1], right[1], rtol=1e-8, atol=1e-8)
        np.testing.assert_allclose(left[2], right[2], rtol=1e-11, atol=1e-11)


def test_the_hessian_is_that_of_pytensor():
    y, x = rows("two covariates", 300)
    w, sigma = np.array([0.3, 0.7]), np.array([0.4, 0.6])
    b = np.array([[-1.0, 2.0], [0.5, 1.0]])
    # By component: log weight, two coefficients, log sigma.
    vector = np.concatenate([np.log(w)[:, None], b.T, np.log(sigma)[:, None]], axis=1).ravel()
    phi = pt.vector("phi", shape=(8,))
    table = phi.reshape((2, 4))
    z = (y[:, None] - x @ table[:, 1:3].T) / pt.exp(table[:, 3])
    terms = table[:, 0] - table[:, 3] - 0.5 * np.log(2 * np.pi) - 0.5 * z**2
    total = pt.logsumexp(terms, axis=1).sum()
    gradient = pt.grad(total, phi)
    outputs = [total, gradient, pt.stack([pt.grad(gradient[i], phi) for i in range(8)])]
    exact = pytensor.function([phi], outputs, mode=PYTHON)(vector)
    found = mixscale.hessian(y, x, log_weights=np.log(w), coefficients=b, sigma=sigma)
    for left, right in zip(found, exact, strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-10, atol=1e-8)


@pytest.mark.parametrize("mode", [None, PYTHON], ids=["Numba", "Python"])
@pytest.mark.parametrize("dtype", ["int64", "int32", "float32"])
def test_numbers_of_any_type_are_taken_as_what_they_are(mode, dtype):
    y, x = np.linspace(-3, 3, 7), np.arange(7)
    y = y.astype(dtype)
    sigma = np.array([1, 2], dtype=dtype)
    with pm.Model() as m:
        data = pm.Data("x", x.astype(dtype))
        b = pm.Normal("b", 0, 1, shape=2)
        mixscale.RegressionMixture("y", [0.3, 0.7], data, b, sigma, observed=y)
    logp, dlogp = m.compile_fn([m.logp(), m.dlogp()], mode=mode)({"b": [-1.0, 1.0]})
    terms = np.log([0.3, 0.7]) + stats.norm.logpdf(y[:, None], np.outer(x, [-1, 1]), [1, 2])
    prior = stats.norm.logpdf([-1, 1]).sum()
    assert logp == pytest.approx(logsumexp(terms, axis=1).sum() + prior, rel=1e-6)
    r = np.exp(terms - logsumexp(terms, axis=1, keepdims=True))
    slopes = (r * (y[:, None] - np.outer(x, [-1, 1])) * x[:, None] / [1, 4]).sum(axis=0)
    np.testing.assert_allclose(dlogp, slopes - [-1, 1], rtol=1e-5)


def test_value_and_gradient_come_from_one_node():
    y, x = rows(CASES[0], 50)
    m = model(CASES[0], y, x, ours=True)
    function = m.logp_dlogp_function(ravel_inputs=True)._pytensor_function
    assert len(nodes(function, distributions.MixtureSums)) == 1
    assert not nodes(function, distributions.MixtureLogDensity)
    # As nutpie does it: simplified first, differentiated afterwards.
    logp = pytensor.graph.rewrite_graph(m.logp(), include=("canonicalize", "stabilize"))
    outputs = [logp, *pt.grad(logp, m.value_vars)]
    function = m.compile_fn(outputs)
    assert len(nodes(function.f, distributions.MixtureSums)) == 1
    assert not nodes(function.f, distributions.MixtureLogDensity)


def test_nothing_runs_in_object_mode_and_python_gives_the_same():
    y, x = rows(CASES[1], 300)
    m = model(CASES[1], y, x, ours=True)
    (point,) = points(m, 1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # PyTensor warns of object mode
        numba = [m.compile_fn(graph, mode="NUMBA")(point) for graph in (m.logp(), m.dlogp())]
        by_row = m.compile_fn(m.logp(vars=m["y"], sum=False), mode="NUMBA")(point)
    python = [m.compile_fn(graph, mode=PYTHON)(point) for graph in (m.logp(), m.dlogp())]
    np.testing.assert_allclose(numba[0], python[0], rtol=1e-13)
    np.testing.assert_allclose(numba[1], python[1], rtol=1e-9)
    np.testing.assert_allclose(np.sum(by_row), m.compile_fn(m.logp(vars=m["y"]))(point))


def test_a_part_of_the_likelihood_has_the_gradient_of_that_part():
    y, x = rows(CASES[0], 300)
    found = []
    for ours in (True, False):
        m = model(CASES[0], y, x, ours=ours)
        by_row = m.logp(vars=m["y"], sum=False)[0]
        for total in (by_row[::3].sum(), (by_row * np.arange(300)).sum(), 2.5 * by_row.sum()):
            outputs = [total, *pt.grad(total, m.value_vars)]
            function = m.compile_fn(outputs, mode=PYTHON)
            found.append([np.ravel(value) for value in function(points(m, 1)[0])])
    for left, right in zip(found[:3], found[3:], strict=True):
        for first, second in zip(left, right, strict=True):
            np.testing.assert_allclose(first, second, rtol=1e-9, atol=1e-9)


def test_a_scaled_likelihood_keeps_its_one_pass():
    y, x = rows(CASES[0], 300)
    with pm.Model() as m:
        b = pm.Normal("b", 0, 1, shape=2)
        mixscale.RegressionMixture("y", [0.5, 0.5], x, b, 0.3, observed=y, total_size=3000)
    function = m.logp_dlogp_function(ravel_inputs=True)._pytensor_function
    assert len(nodes(function, distributions.MixtureSums)) == 1
    assert not nodes(function, distributions.MixtureLogDensity)
    gradient = mixscale.gradient(
        y, x, log_weights=np.log([0.5, 0.5]), coefficients=[0.3, -0.4], sigma=0.3
    )
    b = np.array([0.3, -0.4])
    np.testing.assert_allclose(m.compile_dlogp()({"b": b}), 10 * gradient.coefficients - b)


def test_weights_and_sigmas_out_of_range_have_density_zero_or_raise():
    y, x = rows(CASES[0], 30)
    w, sigma = pt.vector("w"), pt.scalar("sigma")
    mixture = mixscale.RegressionMixture.dist(w, x, [-1.0, 1.0], sigma)
    graph = pm.logp(mixture, y).sum()
    function = pytensor.function([w, sigma], graph)
    assert np.isfinite(function([0.5, 0.5], 1.0))
    for bad in (([0.5, 0.6], 1.0), ([-0.5, 1.5], 1.0), ([0.5, 0.5], -1.0)):
        with pytest.raises(pm.logprob.utils.ParameterValueError, match="sum"):
            function(*bad)


def test_a_sigma_that_is_not_positive_has_density_zero_in_a_model():
    with pm.Model() as m:
        sigma = pm.Normal("sigma")
        mixscale.NormalMixture("y", [0.5, 0.5], [-1.0, 1.0], sigma, observed=[0.0, 1.0])
    function = m.compile_logp(mode=PYTHON)
    assert np.isfinite(function({"sigma": 1.0}))
    assert function({"sigma": -1.0}) == function({"sigma": 0.0}) == -np.inf


@pytest.mark.parametrize("mu", [0.5, [0.5], [-1.0, 2.0]])
def test_the_means_may_be_common_and_the_distribution_function_is_that_of_scipy(mu):
    mixture = mixscale.NormalMixture.dist([0.3, 0.7], mu, [1.0, 3.0], shape=3)
    y = np.array([-1.0, 0.0, 2.0])
    for ours, theirs in ((pm.logp, stats.norm.pdf), (pm.logcdf, stats.norm.cdf)):
        found = ours(mixture, y).eval(mode=PYTHON)
        expected = np.log(theirs(y[:, None], mu, [1.0, 3.0]) @ [0.3, 0.7])
        np.testing.assert_allclose(found, expected, rtol=1e-7)  # PyMC's error function


# What a model is used for -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def draws():
    """Draws that need not be those of any posterior."""
    rng = np.random.default_rng(0)
    posterior = xr.Dataset(
        {
            "w": (("chain", "draw", "component"), rng.dirichlet([9, 9], (2, 5))),
            "b": (("chain", "draw", "component"), rng.normal([-2, 2], 0.5, (2, 5, 2))),
            "sigma": (("chain", "draw"), rng.uniform(0.2, 0.5, (2, 5))),
        },
        coords={"component": range(2)},
    )
    return xr.DataTree.from_dict({"posterior": posterior})


def test_the_log_likelihood_group_is_that_of_normal_mixture(draws):
    y, x = rows(CASES[0], 40)
    found = [
        pm.compute_log_likelihood(
            draws.copy(), model=model(CASES[0], y, x, ours=ours), progressbar=False
        ).log_likelihood["y"]
        for ours in (True, False)
    ]
    assert found[0].dims == ("chain", "draw", "row")
    np.testing.assert_allclose(found[0], found[1], rtol=1e-11)


def test_predictions_have_the_moments_of_the_mixture(draws):
    x = np.repeat([-1.0, 0.5], 2000)
    m = model(CASES[0], np.zeros(x.size), x, ours=True)
    one = draws.isel(chain=[0], draw=[0])
    y = pm.sample_posterior_predictive(one, model=m, random_seed=1, progressbar=False)
    y = y.posterior_predictive["y"].values.reshape(2, 2000)
    w, b, sigma = (one.posterior[name].values[0, 0] for name in ("w", "b", "sigma"))
    for values, at in zip(y, (-1.0, 0.5), strict=True):
        mean = w @ (b * at)
        sd = np.sqrt(w @ ((b * at - mean) ** 2) + sigma**2)
        assert abs(values.mean() - mean) < 4 * sd / np.sqrt(2000)
        assert abs(values.std() / sd - 1) < 0.1


def test_new_covariates_make_predictions_for_as_many_rows(draws):
    y, x = rows(CASES[0], 40)
    with model(CASES[0], y, x, ours=True, data=True, dims=None) as m:
        pm.set_data({"x": np.linspace(-1, 1, 7), "y_data": np.zeros(7)}, coords={"row": range(7)})
        out = pm.sample_posterior_predictive(draws, random_seed=1, progressbar=False)
    assert out.posterior_predictive["y"].shape == (2, 5, 7)
    assert np.isfinite(m.compile_logp()(m.initial_point()))


@pytest.mark.parametrize("case", CASES)
def test_prior_predictions_have_a_number_for_each_row(case):
    y, x = rows(case, 12)
    m = model(case, y, x, ours=True)
    prior = pm.sample_prior_predictive(5, model=m, random_seed=1, compile_kwargs={"mode": PYTHON})
    assert prior.prior_predictive["y"].shape == (1, 5, 12)


# What is refused --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"w": np.full((3, 2), 0.5)}, "w: it has 2 axes"),
        ({"covariates": np.ones((3, 1, 1))}, "covariates: they have 3 axes"),
        ({"coefficients": np.ones((1, 1, 2))}, "coefficients: 3 axes"),
        ({"coefficients": np.ones(3)}, "disagree on the number of components: 2 and 3"),
        ({"coefficients": np.ones((2, 2))}, "disagree on the number of covariates: 1 and 2"),
        ({"sigma": np.ones(3)}, "disagree on the number of components: 2 and 3"),
        ({"sigma": np.ones((3, 2))}, "sigma: it has 2 axes"),
        ({"w": [1.0]}, "disagree on the number of components: 1 and 2"),
        ({"coefficients": [1.0]}, "disagree on the number of components: 1 and 2"),
    ],
)
def test_errors_name_the_argument(arguments, message):
    valid = {
        "w": [0.5, 0.5],
        "covariates": np.ones(3),
        "coefficients": np.ones(2),
        "sigma": 1.0,
    }
    with pytest.raises(ValueError, match=message):
        mixscale.RegressionMixture.dist(**valid | arguments)


def test_a_mask_of_covariates_is_not_dropped():
    x = np.ma.array(np.ones(3), mask=[False, True, False])
    with pytest.raises(TypeError, match="covariates: it is a masked array"):
        mixscale.RegressionMixture.dist([0.5, 0.5], x, [-1.0, 1.0], 1.0)


@pytest.mark.parametrize("mode", [None, PYTHON], ids=["Numba", "Python"])
def test_data_that_disagree_are_refused_when_the_model_is_evaluated(mode):
    """The kernels read as many rows as y has and as many covariates as there are coefficients."""
    y, x = rows(CASES[0], 400)
    m = model(CASES[0], y, x, ours=True, data=True, dims=None)
    start = m.initial_point()
    graphs = m.logp(), m.dlogp(), m.logp(vars=m["y"], sum=False)[0]
    functions = [m.compile_fn(graph, mode=mode) for graph in graphs]
    for other in (x[:300], np.append(x, x), np.empty(0)):
        m["x"].set_value(other)
        for function in functions:
            with pytest.raises(ValueError, match="disagree on the number of rows"):
                function(start)
    m["x"].set_value(x[:300])
    m["y_data"].set_value(y[:300])
    assert np.isfinite(functions[0](start))


@pytest.mark.parametrize("n_covariates", [1, 3])
@pytest.mark.parametrize("n_components", [1, 3])
def test_sizes_that_are_known_late_are_compared(n_covariates, n_components):
    x, w, b = pt.matrix("x"), pt.vector("w"), pt.matrix("b")
    mixture = mixscale.RegressionMixture.dist(w, x, b, 1.0)
    total = pytensor.function([w, x, b], pm.logp(mixture, np.ones(5)).sum(), mode=PYTHON)
    right = np.full(2, 0.5), np.ones((5, 2)), np.ones((2, 2))
    assert total(*right) == pytest.approx(5 * stats.norm.logpdf(-1))
    with pytest.raises(ValueError, match="disagree on the number of"):
        total(right[0], np.ones((5, n_covariates)), right[2])
    with pytest.raises(ValueError, match="disagree on the number of"):
        total(np.full(n_components, 1 / n_components), *right[1:])


def test_means_by_row_are_referred_to_the_regression():
    with pytest.raises(ValueError, match=r"take mixscale\.RegressionMixture"):
        mixscale.NormalMixture.dist([0.5, 0.5], np.ones((3, 2)))


def test_unknown_rows_have_no_silent_gradient():
    x = pt.vector("x")
    mixture = mixscale.RegressionMixture.dist([0.5, 0.5], x, [-1.0, 1.0], 1.0)
    total = pm.logp(mixture, np.ones(3)).sum()
    with pytest.raises((TypeError, ValueError, NotImplementedError), match="NormalMixture"):
        pt.grad(total, x)


def test_second_derivatives_are_refused():
    b = pt.vector("b")
    mixture = mixscale.RegressionMixture.dist([0.5, 0.5], np.ones(3), b, 1.0)
    (gradient,) = pt.grad(pm.logp(mixture, np.ones(3)).sum(), [b])
    with pytest.raises((TypeError, ValueError, NotImplementedError), match="NormalMixture"):
        pt.grad(gradient.sum(), b)


def test_compiled_functions_are_stored_under_the_source_of_the_kernels():
    paths = [Path(module.__file__) for module in (kernels, distributions)]
    source = b"".join(path.read_bytes() for path in paths)
    version = int(hashlib.sha256(source).hexdigest()[:12], 16)
    for op in (distributions.mixture_sums, distributions.mixture_log_density):
        assert numba_funcify_default_op_cache_key(op)[1] == version
