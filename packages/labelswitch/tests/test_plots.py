"""Pictures are tested by what is drawn."""

from dataclasses import replace

import arviz_base as az
import numpy as np
import pytest
import xarray as xr
from extras import optional

import labelswitch

mpl = optional("matplotlib")


@pytest.fixture(autouse=True)
def no_window():
    mpl.use("agg")
    yield
    import matplotlib.pyplot as plt

    plt.close("all")


def switched(n_chains=2, n_draws=40, n_components=3, seed=0):
    """Draws of separated components, in other orders: chain 1 from its 10th draw on."""
    rng = np.random.default_rng(seed)
    mu = np.sort(rng.normal(5 * np.arange(n_components), 0.1, (n_chains, n_draws, n_components)))
    mu[1:, 10:] = mu[1:, 10:, ::-1]
    spread = rng.normal(size=mu.shape)
    posterior = {"mu": mu, "spread": spread, "level": rng.normal(size=(n_chains, n_draws))}
    dims = {"mu": ["component"], "spread": ["component"]}
    return az.from_dict({"posterior": posterior}, dims=dims)


def lines(collection, row, column):
    figure = collection.viz["figure"].item()
    axes = [ax for ax in figure.axes if ax.lines]
    n_columns = 2
    return axes[row * n_columns + column].lines


def test_draws_before_and_after_chain_after_chain():
    dt = switched()
    relabelled = labelswitch.relabel(dt, dim="component", var_names="mu")
    collection = labelswitch.plot_draws(dt, relabelled=relabelled, backend="matplotlib")
    for row, name in enumerate(("mu", "spread")):
        for column, tree in enumerate((dt, relabelled.dt)):
            drawn = lines(collection, row, column)
            assert len(drawn) == 2 * 3
            expected = {
                (c, tuple(tree.posterior[name].values[c, :, k])) for c in range(2) for k in range(3)
            }
            assert {(int(o.get_xdata()[0] / 40), tuple(o.get_ydata())) for o in drawn} == expected
            for line in drawn:
                np.testing.assert_array_equal(np.diff(line.get_xdata()), 1)
    # One colour for each component: in the second column a colour stays at one height.
    heights = {}
    for line in lines(collection, 0, 1):
        heights.setdefault(line.get_color(), []).append(line.get_ydata().mean())
    assert sorted(len(values) for values in heights.values()) == [2, 2, 2]
    assert max(np.ptp(values) for values in heights.values()) < 0.5
    before = {}
    for line in lines(collection, 0, 0):
        before.setdefault(line.get_color(), []).append(line.get_ydata().mean())
    assert max(np.ptp(values) for values in before.values()) > 3
    titles = [ax.get_title() for ax in collection.viz["figure"].item().axes]
    assert titles == [
        "mu, as sampled",
        "mu, relabelled",
        "spread, as sampled",
        "spread, relabelled",
    ]


def test_chains_whose_labels_repeat_are_numbered():
    """Two runs put together."""
    run = switched().posterior.to_dataset()
    dt = xr.DataTree.from_dict({"posterior": xr.concat([run, run], dim="chain")})
    relabelled = labelswitch.relabel(dt, dim="component", var_names="mu")
    draws = labelswitch.plot_draws(dt, relabelled=relabelled, var_names="mu", backend="matplotlib")
    starts = {int(line.get_xdata()[0]) for line in lines(draws, 0, 0)}
    assert starts == {0, 40, 80, 120}
    switches = labelswitch.plot_switches(relabelled, backend="matplotlib")
    assert switches.data["switches"].values[:, -1].tolist() == [0, 1, 0, 1]


def test_draws_of_one_variable_and_what_is_refused():
    dt = switched()
    relabelled = labelswitch.relabel(dt, dim="component", var_names="mu")
    others = xr.DataTree.from_dict({"posterior": dt.posterior.to_dataset() + 100})
    with pytest.raises(ValueError, match="relabelled: its 'mu' is not that of dt"):
        labelswitch.plot_draws(others, relabelled=relabelled)
    one = labelswitch.plot_draws(dt, relabelled=relabelled, var_names="mu", backend="matplotlib")
    assert len(one.viz["figure"].item().axes) == 2
    with pytest.raises(ValueError, match=r"'level' has not one value.*These have: mu, spread"):
        labelswitch.plot_draws(dt, relabelled=relabelled, var_names=["level"])
    with pytest.raises(ValueError, match=r"relabelled: its draws are not those of dt"):
        labelswitch.plot_draws(dt.isel(draw=slice(0, 10)), relabelled=relabelled)


def test_draws_of_variables_without_dims_share_a_picture():
    mu = switched().posterior["mu"].values
    dt = az.from_dict({"posterior": {"mu": mu, "w": mu / 30}})
    relabelled = labelswitch.relabel(dt, dim=["mu_dim_0", "w_dim_0"])
    collection = labelswitch.plot_draws(dt, relabelled=relabelled, backend="matplotlib")
    for row, name in enumerate(("mu", "w")):
        drawn = {tuple(line.get_ydata()) for line in lines(collection, row, 1)}
        values = relabelled.dt.posterior[name].values
        assert drawn == {tuple(values[c, :, k]) for c in range(2) for k in range(3)}


def test_switches_are_counted_along_each_chain():
    dt = switched()
    relabelled = labelswitch.relabel(dt, dim="component", var_names="mu")
    collection = labelswitch.plot_switches(relabelled, backend="matplotlib")
    drawn = [line.get_ydata() for line in collection.viz["figure"].item().axes[0].lines]
    np.testing.assert_array_equal(drawn, [np.zeros(40), np.arange(40) >= 10])


def test_switches_by_group():
    rng = np.random.default_rng(1)
    mu = rng.normal([-3, 3], 0.1, (1, 20, 2, 2))  # chain, draw, group, component
    mu[0, 5:, 1] = mu[0, 5:, 1, ::-1]
    dt = az.from_dict({"posterior": {"mu": mu}}, dims={"mu": ["group", "component"]})
    dt["constant_data"] = xr.DataTree(xr.Dataset({"g": ("group", [0, 1])}))
    relabelled = labelswitch.relabel(dt, dim="component", by="group")
    collection = labelswitch.plot_switches(relabelled, backend="matplotlib")
    last = [ax.lines[0].get_ydata()[-1] for ax in collection.viz["figure"].item().axes if ax.lines]
    assert last == [0, 1]


def clustered():
    z = np.array([[[0, 1, 0, 1, 2], [1, 0, 1, 0, 2], [0, 1, 1, 1, 2], [0, 1, 0, 1, 1]]])
    return az.from_dict({"posterior": {"z": z}}, dims={"z": ["obs"]})


def test_similarity_is_drawn_cluster_by_cluster():
    dt = clustered()
    similarity = labelswitch.similarity(dt, allocations="z")
    found = labelswitch.partition(dt, allocations="z")
    assert found.labels.values.tolist() == [0, 1, 0, 1, 2]
    ax = labelswitch.plot_similarity(similarity, partition=found)
    drawn = np.asarray(ax.images[0].get_array())
    order = [0, 2, 1, 3, 4]  # ties within a cluster keep their order
    np.testing.assert_array_equal(drawn, similarity.values[np.ix_(order, order)])
    edges = sorted(line.get_ydata()[0] for line in ax.lines if line.get_xdata()[0] == 0)
    assert edges == [1.5, 3.5]
    assert ax.images[0].get_clim() == (0, 1)
    plain = labelswitch.plot_similarity(similarity)
    np.testing.assert_array_equal(plain.images[0].get_array(), similarity.values)
    assert not plain.lines
    with pytest.raises(ValueError, match="square"):
        labelswitch.plot_similarity(similarity[:3])
    with pytest.raises(ValueError, match="partition: it has 5 observations, similarity has 4"):
        labelswitch.plot_similarity(similarity[:4, :4], partition=found)
    posterior = dt.posterior.to_dataset().assign_coords(obs=list("abcde"))
    named = xr.DataTree.from_dict({"posterior": posterior})
    similarity, found = (
        function(named, allocations="z")
        for function in (labelswitch.similarity, labelswitch.partition)
    )
    backwards = replace(found, labels=found.labels[::-1])
    with pytest.raises(ValueError, match=r"partition: its 'obs' are others .* or in another order"):
        labelswitch.plot_similarity(similarity, partition=backwards)


def test_responsibilities_mark_the_undecided():
    p = xr.DataArray(
        [[[0.99, 0.01], [0.55, 0.45], [0.1, 0.9]], [[0.97, 0.03], [0.65, 0.35], [0.0, 1.0]]],
        dims=["draw", "obs", "component"],
        coords={"component": ["low", "high"]},
    )
    x, y = np.array([-1.0, 0.2, 2.0]), np.array([5.0, 6.0, 7.0])
    ax = labelswitch.plot_responsibilities(p, x=x)
    low, high, rings = (points.get_offsets().tolist() for points in ax.collections)
    np.testing.assert_allclose(low, [[-1, 0.98], [0.2, 0.6], [2, 0.05]])
    np.testing.assert_allclose(high, [[-1, 0.02], [0.2, 0.4], [2, 0.95]])
    np.testing.assert_allclose(rings, [[0.2, 0.6]])
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert labels == ["component low", "component high", "undecided: 1 of 3"]

    ax = labelswitch.plot_responsibilities(p, x=x, y=y, undecided=0.96)
    low, high, rings = (points.get_offsets().tolist() for points in ax.collections)
    assert (low, high, rings) == ([[-1, 5], [0.2, 6]], [[2, 7]], [[0.2, 6], [2, 7]])


def test_responsibilities_that_make_no_sense_are_refused():
    p = xr.DataArray([[0.9, 0.1], [0.4, 0.6]], dims=["obs", "component"])
    with pytest.raises(ValueError, match=r"x: shape \(2,\) is needed, not \(3,\)"):
        labelswitch.plot_responsibilities(p, x=[1, 2, 3])
    with pytest.raises(ValueError, match="do not sum to 1"):
        labelswitch.plot_responsibilities(p / 2, x=[1, 2])
    with pytest.raises(ValueError, match="undecided"):
        labelswitch.plot_responsibilities(p, x=[1, 2], undecided=0)
    with pytest.raises(ValueError, match="dimensions observation and component"):
        labelswitch.plot_responsibilities(p[0], x=[1, 2])
    with pytest.raises(TypeError, match=r"a DataArray is needed.*not ndarray"):
        labelswitch.plot_responsibilities(p.values, x=[1, 2])
