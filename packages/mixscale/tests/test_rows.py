"""Passes over rows: sums that do not depend on chunks, and rows that become statistics."""

import numpy as np
import pandas as pd
import pytest
from simulated import mixture

from mixscale import kernels, rows
from mixscale.likelihood import as_parameters, as_rows


@pytest.fixture
def small_chunks(monkeypatch):
    monkeypatch.setattr(rows, "CHUNK", 3000)


def box(n_components, n_covariates, half_width):
    shapes = (n_components,), (n_components, n_covariates), (n_components,)
    return tuple(np.full(shape, half_width) for shape in shapes)


def inside(point, half_width, n_points=5, seed=0):
    rng = np.random.default_rng(seed)
    shifts = [rng.uniform(-half_width, half_width, (n_points, *part.shape)) for part in point]
    return point[0] + shifts[0], point[1] + shifts[1], point[2] * np.exp(shifts[2])


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize("threads", [1, 3])
def test_the_sums_do_not_depend_on_the_number_of_threads(threads):
    y, x, point = mixture(20_000, 2, 2)
    point = as_parameters(2, **point)
    found = rows.Rows(y, x, threads=threads).derivatives(point)
    one = rows.Rows(y, x, threads=2).derivatives(point)
    whole = kernels.hessian(*as_rows(y, x), *point)
    for left, same, right in zip(found, one, whole, strict=True):
        np.testing.assert_array_equal(left, same)
        np.testing.assert_allclose(left, right, rtol=1e-11, atol=1e-8)


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize("shape", [(1, 1), (2, 1), (2, 2), (3, 1), (3, 3)])
@pytest.mark.parametrize("half_width", [0.001, 0.02])
def test_settled_rows_have_the_log_likelihood_of_a_full_pass(shape, half_width):
    y, x, point = mixture(20_000, *shape, sigma=0.02)
    point = as_parameters(shape[1], **point)
    source, points = rows.Rows(y, x), inside(point, half_width)
    margin = 37 + np.log(shape[0])
    found, n_left = source.values_in_box(points, point, box(*shape, half_width), margin)
    assert 0 <= n_left < 20_000
    full = source.values(points)
    np.testing.assert_allclose(found, full, rtol=0, atol=1e-8 * 20_000**0.5)
    np.testing.assert_allclose(found, full, rtol=1e-12)
    assert source.passes == 2


def test_half_of_the_rows_settle_where_the_lines_are_apart():
    y, x, point = mixture(20_000, 2, sigma=0.1)
    point["coefficients"][:] = [-1.0, 3.0]
    rng = np.random.default_rng(0)
    y = np.where(rng.random(y.size) < 0.5, -x[:, 0], 3 * x[:, 0]) + 0.1 * rng.normal(size=y.size)
    point["sigma"][:] = 0.1
    point = as_parameters(1, **point)
    n_left = rows.Rows(y, x).values_in_box(inside(point, 0), point, box(2, 1, 0.001), 38.0)[1]
    # Sure to within e**-38: the lines are 4 |x| apart, and a row lies within some sds of its own.
    assert 0.1 < n_left / y.size < 0.35


def test_a_larger_box_settles_fewer_rows():
    y, x, point = mixture(20_000, 2, sigma=0.05)
    point = as_parameters(1, **point)
    source, points = rows.Rows(y, x), inside(point, 0)
    left = [
        source.values_in_box(points, point, box(2, 1, width), 38.0)[1]
        for width in (0.001, 0.05, 0.5)
    ]
    assert left[0] < left[1] < left[2]


def test_points_outside_of_the_box_are_refused():
    y, x, point = mixture(1000, 2)
    point = as_parameters(1, **point)
    source = rows.Rows(y, x)
    for index in range(3):
        outside = [part[None].copy() for part in point]
        outside[index].flat[0] += 0.02
        with pytest.raises(ValueError, match="points: some are outside of the box"):
            source.values_in_box(tuple(outside), point, box(2, 1, 0.01), 38.0)
    nan = (point[0][None] * np.nan, point[1][None], point[2][None])
    with pytest.raises(ValueError, match="points"):
        source.values_in_box(nan, point, box(2, 1, 0.01), 38.0)


def test_a_row_that_is_no_number_never_settles():
    y, x, point = mixture(1000, 2)
    y[[10, 20]] = np.nan, np.inf
    point = as_parameters(1, **point)
    found, _ = rows.Rows(y, x).values_in_box(inside(point, 0.005), point, box(2, 1, 0.01), 38.0)
    assert np.isnan(found).all()
    left = kernels.settle(*as_rows(y, x), *point, *box(2, 1, 0.01), 38.0)[4]
    assert set(x[[10, 20], 0]) <= set(left[0])


@pytest.mark.usefixtures("small_chunks")
def test_taking_rows_takes_those_rows():
    y, x, _ = mixture(10_000, 2, 2)
    positions = np.array([0, 5, 2999, 3000, 3001, 9999])
    source = rows.Rows(y, x)
    some_y, some_x = source.take(positions)
    np.testing.assert_array_equal(some_y, y[positions])
    np.testing.assert_array_equal(some_x, x[positions])
    assert rows.Rows(y).take(positions)[1] is None
    assert source.passes == 1


def test_a_memory_map_is_read_where_it_is(tmp_path):
    y, x, point = mixture(10_000, 2)
    for name, array in {"y": y, "x": x.astype("float32")}.items():
        np.save(tmp_path / f"{name}.npy", array)
    y_map, x_map = (np.load(tmp_path / f"{name}.npy", mmap_mode="r") for name in "yx")
    source = rows.open_rows((x_map, y_map))
    assert np.shares_memory(source.chunks[0][0], y_map)
    point = as_parameters(1, **point)
    expected = rows.Rows(y, x.astype("float32").astype(float)).derivatives(point)
    assert source.derivatives(point)[0] == expected[0]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([1.0, 2.0], "rows: y, or a pair"),
        (([1.0], [1.0]), "rows: y is of type list"),
        ((np.ones(3), np.ones(4)), "rows: covariates have 3 rows, and y has 4"),
        (np.ones((3, 1)), r"rows: y has shape \(3, 1\)"),
        (np.ones(0), "at least one row"),
        (pd.Series([1.0, 2.0], index=[5, 0]), r"y is of type Series; a NumPy array \(.to_numpy"),
        ((pd.DataFrame({"x": [1.0]}), np.ones(1)), "covariates is of type DataFrame"),
        (np.ma.array([1.0, 2.0], mask=[False, True]), "rows: y: it is a masked array"),
    ],
)
def test_rows_that_are_none_are_refused(given, message):
    with pytest.raises((TypeError, ValueError), match=message):
        rows.open_rows(given)
