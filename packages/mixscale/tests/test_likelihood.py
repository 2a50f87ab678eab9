"""The array layer: numbers against SciPy in long double and finite differences, edges, errors."""

import numpy as np
import pytest
from scipy import stats
from simulated import exact_log_density, mixture

import mixscale
from mixscale import kernels

SHAPES = [(1, 1), (1, 3), (2, 1), (2, 2), (2, 4), (3, 1), (3, 2), (6, 3), (20, 1)]
# Around the sizes of blocks: 256 rows, 960 for two lines, three blocks for one logarithm.
SIZES = [0, 1, 7, 255, 256, 257, 768, 959, 960, 961, 2000]


def flat(point):
    """Return the parameters as one vector, ordered as the Hessian is."""
    parts = point["log_weights"][:, None], point["coefficients"].T, np.log(point["sigma"])[:, None]
    return np.concatenate(parts, axis=1).ravel()


def unflat(vector, n_components):
    table = vector.reshape(n_components, -1)
    return {
        "log_weights": table[:, 0],
        "coefficients": table[:, 1:-1].T,
        "sigma": np.exp(table[:, -1]),
    }


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("n", SIZES)
def test_the_log_likelihood_is_that_of_scipy_in_long_double(n, shape):
    y, x, point = mixture(n, *shape)
    exact = exact_log_density(y, x, **point)
    scale = np.abs(exact).sum()
    value = mixscale.log_likelihood(y, x, **point)
    assert abs(value - exact.sum()) <= 5e-15 * scale
    np.testing.assert_allclose(mixscale.log_density(y, x, **point), exact, rtol=1e-13, atol=1e-13)
    assert abs(mixscale.gradient(y, x, **point).value - exact.sum()) <= 5e-15 * scale
    assert abs(mixscale.hessian(y, x, **point).value - exact.sum()) <= 5e-15 * scale


@pytest.mark.parametrize("shape", SHAPES)
def test_the_gradient_is_that_of_finite_differences(shape):
    y, x, point = mixture(700, *shape)
    vector, step = flat(point), 1e-5
    steps = step * np.eye(vector.size)
    expected = [
        mixscale.log_likelihood(y, x, **unflat(vector + one, shape[0]))
        - mixscale.log_likelihood(y, x, **unflat(vector - one, shape[0]))
        for one in steps
    ]
    gradient = mixscale.gradient(y, x, **point)
    parts = gradient.log_weights[:, None], gradient.coefficients.T, gradient.log_sigma[:, None]
    found = np.concatenate(parts, axis=1).ravel()
    np.testing.assert_allclose(found, np.array(expected) / (2 * step), rtol=1e-6, atol=1e-3)
    np.testing.assert_allclose(mixscale.hessian(y, x, **point).gradient, found, rtol=1e-11)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_hessian_is_that_of_finite_differences(shape):
    y, x, point = mixture(700, *shape)
    vector, step = flat(point), 1e-6
    expected = [
        mixscale.hessian(y, x, **unflat(vector + one, shape[0])).gradient
        - mixscale.hessian(y, x, **unflat(vector - one, shape[0])).gradient
        for one in step * np.eye(vector.size)
    ]
    found = mixscale.hessian(y, x, **point).hessian
    np.testing.assert_allclose(
        found, np.array(expected) / (2 * step), rtol=1e-5, atol=1e-6 * np.abs(found).max()
    )
    np.testing.assert_array_equal(found, found.T)


def test_a_plain_mixture_has_the_density_of_scipy():
    y = np.linspace(-4, 4, 1001)
    value = mixscale.log_density(
        y, log_weights=np.log([0.2, 0.8]), coefficients=[-1.0, 2.0], sigma=[0.5, 1.5]
    )
    expected = np.log(0.2 * stats.norm.pdf(y, -1, 0.5) + 0.8 * stats.norm.pdf(y, 2, 1.5))
    np.testing.assert_allclose(value, expected, rtol=1e-13)


def test_a_plain_mixture_is_that_of_a_covariate_of_ones():
    y, _, point = mixture(3000, 3)
    ones = np.ones(y.size)
    left, right = mixscale.log_likelihood(y, **point), mixscale.log_likelihood(y, ones, **point)
    assert left == right
    for function in (mixscale.gradient, mixscale.hessian):
        for left, right in zip(function(y, **point), function(y, ones, **point), strict=True):
            np.testing.assert_array_equal(left, right)


@pytest.mark.parametrize("shape", SHAPES)
def test_many_points_in_one_pass_are_as_one_at_a_time(shape):
    y, x, point = mixture(1300, *shape)
    rng = np.random.default_rng(1)
    points = {
        name: array + 0.01 * rng.random((2, 3, *array.shape)) for name, array in point.items()
    }
    values = mixscale.log_likelihood(y, x, **points)
    assert values.shape == (2, 3)
    for index in np.ndindex(2, 3):
        one = mixscale.gradient(y, x, **{name: array[index] for name, array in points.items()})
        np.testing.assert_allclose(values[index], one.value, rtol=1e-14)


def test_a_common_sigma_is_one_for_each_component():
    y, x, point = mixture(100, 3)
    common = mixscale.log_likelihood(y, x, **point | {"sigma": 0.4})
    assert common == mixscale.log_likelihood(y, x, **point | {"sigma": np.full(3, 0.4)})
    two = {name: np.stack([array, array]) for name, array in point.items()}
    values = mixscale.log_likelihood(y, x, **two | {"sigma": np.array([0.4, 0.5])})
    assert values[0] == common
    assert values[1] == mixscale.log_likelihood(y, x, **point | {"sigma": 0.5})


def test_the_derivative_by_a_common_sigma_is_the_sum_over_its_components():
    y, x, point = mixture(100, 3)
    own = mixscale.gradient(y, x, **point | {"sigma": np.full(3, 0.4)}).log_sigma
    for common in (0.4, [0.4]):
        found = mixscale.gradient(y, x, **point | {"sigma": common}).log_sigma
        assert found.shape == np.shape(common)
        np.testing.assert_allclose(found, own.sum(), rtol=1e-14)


@pytest.mark.parametrize("function", [mixscale.log_density, mixscale.gradient, mixscale.hessian])
def test_many_points_are_referred_to_the_log_likelihood(function):
    y, x, point = mixture(10, 2)
    many = {name: np.stack([array, array]) for name, array in point.items()}
    with pytest.raises(ValueError, match=r"log_weights: they have shape .* log_likelihood takes"):
        function(y, x, **many)


def test_equal_components_make_no_overflow():
    y = np.zeros(5000)
    for k in (2, 14, 16, 300):
        value = mixscale.log_likelihood(
            y, log_weights=np.full(k, -np.log(k)), coefficients=np.zeros(k), sigma=1.0
        )
        np.testing.assert_allclose(value, 5000 * stats.norm.logpdf(0), rtol=1e-13)


def test_the_exponential_is_that_of_long_double():
    x = -np.geomspace(1e-18, 708, 100_001)
    exact = np.exp(x.astype(np.longdouble))
    found = np.array([kernels._exp(value) for value in x[::50]])
    assert np.max(np.abs(found / exact[::50] - 1)) < 4 * np.finfo(float).eps
    assert kernels._exp(-708.1) == kernels._exp(-np.inf) == 0
    assert np.isnan(kernels._exp(np.nan))


# What is not a number ---------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(1, 1), (2, 1), (2, 2), (3, 1)])
@pytest.mark.parametrize("where", ["y", "x", "log_weights", "coefficients", "sigma"])
def test_nan_stays_visible(where, shape):
    y, x, point = mixture(1000, *shape)
    arrays = {"y": y, "x": x, **point}
    arrays[where].flat[0] = np.nan
    assert np.isnan(mixscale.log_likelihood(y, x, **point))
    assert np.isnan(mixscale.gradient(y, x, **point).value)
    assert np.isnan(mixscale.gradient(y, x, **point).coefficients.flat[0])
    assert np.isnan(mixscale.hessian(y, x, **point).value)
    if where in ("y", "x"):
        bad = np.isnan(mixscale.log_density(y, x, **point))
        np.testing.assert_array_equal(bad, np.arange(1000) == 0)


@pytest.mark.parametrize("shape", [(1, 1), (2, 1), (2, 2), (3, 1)])
@pytest.mark.parametrize("far", [np.inf, -np.inf, 1e200])
def test_a_row_that_no_component_can_have_made_has_density_zero(far, shape):
    y, x, point = mixture(1000, *shape)
    y[3] = far
    assert mixscale.log_likelihood(y, x, **point) == -np.inf
    assert mixscale.gradient(y, x, **point).value == -np.inf
    assert mixscale.hessian(y, x, **point).value == -np.inf
    np.testing.assert_array_equal(
        np.isinf(mixscale.log_density(y, x, **point)), np.arange(1000) == 3
    )
    y[600] = np.nan
    assert np.isnan(mixscale.log_likelihood(y, x, **point))


@pytest.mark.parametrize("n_covariates", [1, 2])
def test_a_component_of_weight_zero_is_as_none(n_covariates):
    y, x, point = mixture(1000, 2, n_covariates)
    more = {
        "log_weights": np.r_[point["log_weights"], -np.inf],
        "coefficients": np.column_stack([point["coefficients"], np.zeros(n_covariates)]),
        "sigma": np.r_[point["sigma"], 1.0],
    }
    two, three = (mixscale.gradient(y, x, **one) for one in (point, more))
    np.testing.assert_allclose(three.value, two.value, rtol=1e-13)
    np.testing.assert_allclose(three.coefficients[:, :2], two.coefficients, rtol=1e-9)
    assert three.log_weights[2] == three.log_sigma[2] == 0
    one = {name: array[..., :2].copy() for name, array in point.items()}
    one["log_weights"][1] = -np.inf
    single = {name: array[..., :1] for name, array in one.items()}
    found, expected = mixscale.gradient(y, x, **one), mixscale.gradient(y, x, **single)
    np.testing.assert_allclose(found.value, expected.value, rtol=1e-13)
    np.testing.assert_allclose(found.coefficients[:, :1], expected.coefficients, rtol=1e-9)


@pytest.mark.parametrize("n_components", [2, 3])
def test_a_sigma_of_1e_300_is_a_component_of_rows_on_its_line(n_components):
    y, x, point = mixture(500, n_components)
    point["coefficients"][0, 0], point["sigma"][0] = 0.5, 1e-300
    rest = {name: array[..., 1:] for name, array in point.items()}
    y[0] = 0.5 * x[0, 0]
    value = mixscale.log_likelihood(y, x, **point)
    expected = mixscale.log_likelihood(y[1:], x[1:], **rest)
    expected += point["log_weights"][0] + stats.norm.logpdf(0, 0, 1e-300)
    np.testing.assert_allclose(value, expected, rtol=1e-13)
    gradient = mixscale.gradient(y, x, **point)
    np.testing.assert_allclose(gradient.log_weights[0], 1, rtol=1e-13)
    np.testing.assert_allclose(gradient.log_sigma[0], -1, rtol=1e-13)


# What comes in ----------------------------------------------------------------------------------


def unaligned(array):
    buffer = np.empty(array.nbytes + 1, np.uint8)
    out = buffer[1:].view(array.dtype).reshape(array.shape)
    out[...] = array
    return out


def read_only(array):
    array = array.copy()
    array.flags.writeable = False
    return array


@pytest.mark.parametrize(
    "change",
    [
        read_only,
        unaligned,
        lambda a: np.repeat(a, 2, axis=0)[::2],
        lambda a: a[::-1].copy()[::-1],
        np.asfortranarray,
        lambda a: a.astype(">f8"),
        lambda a: a.tolist(),
    ],
    ids=["read-only", "unaligned", "strided", "reversed", "Fortran", "big-endian", "list"],
)
def test_arrays_of_any_layout_give_the_same(change):
    y, x, point = mixture(500, 3, 2)
    expected = mixscale.hessian(y, x, **point)
    found = mixscale.hessian(change(y), change(x), **{k: change(v) for k, v in point.items()})
    for left, right in zip(found, expected, strict=True):
        np.testing.assert_array_equal(left, right)


@pytest.mark.parametrize("dtype", ["float32", "float16", "int64", "int8", "uint16"])
def test_rows_of_any_type_are_taken_as_the_numbers_they_are(dtype):
    rng = np.random.default_rng(0)
    y, x = rng.integers(0, 9, 300).astype(dtype), rng.integers(0, 9, (300, 2)).astype(dtype)
    _, _, point = mixture(1, 2, 2)
    found = mixscale.gradient(y, x, **point)
    assert found.value == mixscale.gradient(y.astype(float), x.astype(float), **point).value


def test_arrays_as_the_kernels_want_them_are_not_copied():
    from mixscale.likelihood import as_rows

    y, x = np.zeros(10), np.zeros((10, 1))
    columns, same = as_rows(y, x)
    assert same is y
    assert np.shares_memory(columns, x)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"y": [[0.0]]}, r"y: it has shape \(1, 1\)"),
        ({"y": ["a"]}, "y: an array of real numbers is needed"),
        ({"y": [1j]}, "y: an array of real numbers is needed"),
        ({"covariates": [1.0]}, r"covariates: they have shape \(1,\); for 2 rows"),
        ({"covariates": np.ones((2, 0))}, "covariates: they have shape"),
        ({"log_weights": 0.0}, "log_weights: a number for each component"),
        ({"coefficients": [1.0, 2.0, 3.0]}, r"coefficients: they have shape \(1, 3\)"),
        ({"coefficients": np.ones((2, 2))}, "coefficients: they have shape"),
        ({"sigma": [1.0, 2.0, 3.0]}, r"sigma: it has shape \(3,\)"),
        ({"y": np.ma.array([0.0, 9.0], mask=[False, True])}, "y: it is a masked array"),
        ({"covariates": np.ma.array([1.0, 2.0])}, "covariates: it is a masked array"),
        ({"log_weights": [], "coefficients": [], "sigma": []}, "number for each component"),
    ],
)
def test_errors_name_the_argument(arguments, message):
    valid = {
        "y": [0.0, 1.0],
        "covariates": [1.0, 2.0],
        "log_weights": [-1.0, -1.0],
        "coefficients": [0.0, 1.0],
        "sigma": 1.0,
    }
    with pytest.raises((TypeError, ValueError), match=message):
        mixscale.log_likelihood(**valid | arguments)
