"""The front door, against R's label.switching and against labels that the tests themselves mix."""

import itertools
from pathlib import Path

import arviz as az
import numpy as np
import pymc as pm
import pytensor
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

import labelswitch

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
    location = np.moveaxis(5.0 * np.arange(k) + rng.normal(size=(*lead, 2, k)), -1, -1)
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
        method,
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
    dt, mix, truth = make_draws(np.random.default_rng(10))
    relabelled = relabel(dt, "ecr", pivot=(6, 3))
    assert relabelled.permutations.sel(chain=6, draw=3).values.tolist() == [0, 1, 2]
    by_array = relabel(dt, "ecr", pivot=dt["posterior"]["z"].sel(chain=6, draw=3).values)
    xr.testing.assert_identical(by_array.dt, relabelled.dt)
    reversed_means = np.array([20.0, 10.0, 0.0])
    relabelled = relabel(dt, "pra", var_names="mu", pivot=reversed_means)
    np.testing.assert_array_equal(relabelled.dt["posterior"]["mu"].values, truth["mu"][..., ::-1])
    with pytest.raises(ValueError, match=r"pivot: \(0, 3\) is not the label of a draw"):
        relabel(dt, "ecr", pivot=(0, 3))


def test_the_default_pivot_does_not_follow_a_degenerate_draw():
    dt, _, _ = make_draws(np.random.default_rng(11))
    dt["posterior"]["mu"].values[0, 0] = [1e6, 0, -1e6]
    dt["sample_stats"]["lp"].values[0, 0] = 1e9
    pivot = relabel(dt, "pra").result.pivot
    assert np.abs(pivot).max() < 1e4


def test_without_allocations_the_most_probable_component_stands_in():
    dt, mix, _ = make_draws(np.random.default_rng(12))
    relabelled = relabel(dt, "ecr_iterative_1", allocations=(), responsibilities="p")
    global_permutation(mix, relabelled.permutations.values)
    # z was not named, so it stays.
    xr.testing.assert_identical(relabelled.dt["posterior"]["z"], dt["posterior"]["z"])


