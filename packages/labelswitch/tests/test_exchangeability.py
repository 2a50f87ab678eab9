"""A relabelled draw is the same point of the posterior under other names, or the call raises."""

import arviz as az
import numpy as np
import pymc as pm
import pytensor
import pytensor.tensor as pt
import pytest
import xarray as xr
from pytensor.graph.replace import graph_replace
from scipy import stats

import labelswitch
from labelswitch import exchangeability

LEAD = (2, 12)
N = 24


@pytest.fixture(autouse=True)
def quick_compilation():
    with pytensor.config.change_flags(mode="FAST_COMPILE"):
        yield


@pytest.fixture
def rng():
    return np.random.default_rng(40)


def data(rng, size):
    """Rows around 0, 10, 20, ... with unit noise."""
    return 10.0 * (np.arange(N) % size) + rng.normal(size=N)


def mixing(rng, size):
    return rng.permuted(np.tile(np.arange(size), (*LEAD, 1)), axis=-1)


def gather(values, mix, axis=2):
    index = np.expand_dims(mix, tuple(range(3, values.ndim)))
    return np.take_along_axis(values, np.moveaxis(index, 2, axis), axis=axis)


def drawn(rng, size):
    """Means and weights of separated components."""
    mu = 10.0 * np.arange(size) + 0.3 * rng.normal(size=(*LEAD, size))
    return mu, rng.dirichlet(20.0 + 10 * np.arange(size), size=LEAD)


def tree(model=None, dims=None, **posterior):
    return az.from_dict({"posterior": posterior}, dims=dims or {})


def assert_same_points(model, before, after):
    """Each draw of after has the log posterior that it has in before, by PyMC's own function."""
    inputs = {rv.name: rv.type(rv.name) for rv in model.free_RVs}
    values = {}
    for rv in model.free_RVs:
        transform, value = model.rvs_to_transforms[rv], inputs[rv.name]
        if transform is not None:
            value = transform.forward(value, *rv.owner.inputs)
        values[model.rvs_to_values[rv]] = value
    graph = graph_replace(model.logp(jacobian=False), values, strict=False)
    function = pytensor.function(list(inputs.values()), graph, on_unused_input="ignore")
    for chain, draw in np.ndindex(*LEAD):
        first, second = (
            float(function(*[dt.posterior[name].values[chain, draw] for name in inputs]))
            for dt in (before, after)
        )
        assert np.isfinite(first)
        assert second == pytest.approx(first, rel=1e-9)


# The dimensions are found -----------------------------------------------------------------------


def test_dimensions_without_names_are_found(rng):
    """The usual newcomer: mu_dim_0, w_dim_0; a feature of the same length stays where it is."""
    mu, w = drawn(rng, 3)
    mix = mixing(rng, 3)
    with pm.Model() as model:
        weights = pm.Dirichlet("w", np.ones(3))
        means = pm.Normal("mu", 0, 20, shape=3)
        pm.Normal("seasons", 0, 1, shape=3)  # has nothing to do with the mixture
        pm.Deterministic("double", 2 * means)
        pm.Deterministic("ascending", pt.sort(means))
        pm.NormalMixture("y", w=weights, mu=means, sigma=1.0, observed=data(rng, 3))
    seasons = rng.normal(size=(*LEAD, 3))
    mixed = gather(mu, mix)
    dt = tree(
        mu=mixed, w=gather(w, mix), seasons=seasons, double=2 * mixed, ascending=np.sort(mixed)
    )
    relabelled = labelswitch.relabel(dt, model=model)
    assert set(relabelled.dims) == {"mu_dim_0", "w_dim_0", "double_dim_0"}
    assert set(relabelled.permuted) == {"mu", "w", "double"}
    g = np.take_along_axis(mix, relabelled.permutations.values, axis=-1)[0, 0]
    np.testing.assert_array_equal(relabelled.dt.posterior["mu"], mu[..., g])
    np.testing.assert_array_equal(relabelled.dt.posterior["double"], 2 * mu[..., g])
    np.testing.assert_array_equal(relabelled.dt.posterior["seasons"], seasons)
    np.testing.assert_array_equal(relabelled.dt.posterior["ascending"], np.sort(mixed))
    assert_same_points(model, dt, relabelled.dt)


def test_an_incomplete_dim_is_refused_with_a_model(rng):
    mu, w = drawn(rng, 2)
    mix = mixing(rng, 2)
    with pm.Model() as model:
        weights = pm.Dirichlet("w", np.ones(2))
        means = pm.Normal("mu", 0, 20, shape=2)
        pm.NormalMixture("y", w=weights, mu=means, sigma=1.0, observed=data(rng, 2))
    dt = tree(mu=gather(mu, mix), w=gather(w, mix))
    for call in (labelswitch.relabel, labelswitch.diagnose):
        with pytest.raises(ValueError, match=r"dim: labels are carried by .* half of a draw"):
            call(dt, model=model, dim="mu_dim_0")


def test_a_further_dimension_of_that_length_warns_without_a_model(rng):
    mu, w = drawn(rng, 2)
    dt = tree(mu=mu, w=w)
    with pytest.warns(UserWarning, match=r"'w' has the dimension 'w_dim_0' of length 2"):
        relabelled = labelswitch.relabel(dt, method="pra", dim="mu_dim_0")
    assert relabelled.permuted == ("mu",)


def test_features_of_the_data_do_not_warn(rng):
    mu = rng.normal(size=(*LEAD, 2, 2))
    groups = {"posterior": {"mu": mu}, "observed_data": {"y": rng.normal(size=(N, 2))}}
    dims = {"mu": ["component", "axis"], "y": ["obs", "axis"]}
    labelswitch.relabel(az.from_dict(groups, dims=dims))


def test_a_feature_as_long_as_the_components_is_not_one(rng):
    """Two components in the plane: mu (component, axis), and y tells the axes apart."""
    centres = np.array([[0.0, 5.0], [10.0, -5.0]])
    y = centres[np.arange(N) % 2] + rng.normal(size=(N, 2))
    mix = mixing(rng, 2)
    mu = centres + 0.2 * rng.normal(size=(*LEAD, 2, 2))
    w = rng.dirichlet([20, 40], size=LEAD)
    with pm.Model() as model:
        weights = pm.Dirichlet("w", np.ones(2))
        means = pm.Normal("mu", 0, 10, shape=(2, 2))
        pm.Mixture("y", w=weights, comp_dists=pm.MvNormal.dist(means, np.eye(2)), observed=y)
    dt = tree(mu=gather(mu, mix), w=gather(w, mix))
    relabelled = labelswitch.relabel(dt, model=model)
    assert set(relabelled.dims) == {"mu_dim_0", "w_dim_0"}
    assert_same_points(model, dt, relabelled.dt)


def hidden_markov(y, size=2):
    """Build a hidden Markov model with its states summed out by the forward recursion."""
    with pm.Model(coords={"state": range(size), "next_state": range(size)}) as model:
        start = pm.Dirichlet("start", np.ones(size), dims="state")
        transition = pm.Dirichlet("transition", np.ones((size, size)), dims=("state", "next_state"))
        mu = pm.Normal("mu", 0, 20, dims="state")
        density = pm.logp(pm.Normal.dist(mu, 1), y[:, None])
        forward = pt.log(start) + density[0]
        for row in range(1, len(y)):
            forward = pt.logsumexp(forward[:, None] + pt.log(transition), axis=0) + density[row]
        pm.Potential("likelihood", pt.logsumexp(forward))
    return model


def test_both_axes_of_a_transition_matrix_are_found(rng):
    y = data(rng, 2)[:8]
    model = hidden_markov(y)
    mix = mixing(rng, 2)
    mu, start = drawn(rng, 2)
    transition = rng.dirichlet([3, 1], size=(*LEAD, 2))
    mixed = gather(gather(transition, mix), mix, axis=3)
    dt = tree(
        mu=gather(mu, mix),
        start=gather(start, mix),
        transition=mixed,
        dims={"mu": ["state"], "start": ["state"], "transition": ["state", "next_state"]},
    )
    relabelled = labelswitch.relabel(dt, model=model, method="order", var_names="mu")
    assert set(relabelled.dims) == {"state", "next_state"}
    np.testing.assert_array_equal(relabelled.dt.posterior["transition"], transition)
    assert_same_points(model, dt, relabelled.dt)
    with pytest.raises(ValueError, match=r"dim: labels are carried by 'state', 'next_state'"):
        labelswitch.relabel(dt, model=model, dim="state", method="order", var_names="mu")


def seldom(rng, listed=False):
    """Build a model and draws in which an outlier of one component inflates its scale, twice."""
    mix = first_two_exchanged(2)
    with pm.Model() as model:
        w = pm.Dirichlet("w", np.ones(2))
        mu = pm.Normal("mu", 0, 20, shape=2)
        if listed:
            inflated = pt.stack([pm.Bernoulli(f"inflated_{k}", 0.05) for k in range(2)])
        else:
            inflated = pm.Bernoulli("inflated", 0.05, shape=2)
        pm.NormalMixture("y", w=w, mu=mu, sigma=1.0 + inflated, observed=data(rng, 2))
    mu, w = switched(rng, 2, mix)
    inflated = np.zeros((*LEAD, 2), int)
    inflated[0, 5, 1] = inflated[1, 7, 0] = 1
    by_component = {f"inflated_{k}": inflated[..., k] for k in range(2)}
    return model, tree(mu=mu, w=w, **(by_component if listed else {"inflated": inflated}))


@pytest.mark.parametrize("listed", [False, True])
def test_what_seldom_differs_between_the_components_moves(rng, listed):
    model, dt = seldom(rng, listed)
    relabelled = labelswitch.relabel(dt, model=model)
    assert_same_points(model, dt, relabelled.dt)
    moves = {"inflated_0", "inflated_1"} if listed else {"inflated"}
    assert set(relabelled.permuted) == {"mu", "w", *moves}


def test_what_matters_seldom_moves(rng):
    """At most draws a switch takes the shifts of both components out of the likelihood."""
    mix = first_two_exchanged(2)
    with pm.Model() as model:
        w = pm.Dirichlet("w", np.ones(2))
        mu = pm.Normal("mu", 0, 20, shape=2)
        shift = pm.Normal("shift", 0, 1, shape=2)
        is_on = pm.Bernoulli("is_on", 0.05)
        pm.NormalMixture("y", w=w, mu=mu + is_on * shift, sigma=1.0, observed=data(rng, 2))
    mu, w = switched(rng, 2, mix)
    is_on = np.zeros(LEAD, int)
    is_on[1, 5] = 1
    dt = tree(mu=mu, w=w, shift=rng.normal(size=(*LEAD, 2)), is_on=is_on)
    relabelled = labelswitch.relabel(dt, model=model)
    assert set(relabelled.permuted) == {"mu", "w", "shift"}
    assert_same_points(model, dt, relabelled.dt)


def test_the_data_are_looked_at_wherever_something_that_stays_differs(rng, monkeypatch):
    model, dt = seldom(rng)
    usual = exchangeability.find_labels(model, dt["posterior"].to_dataset())
    labels = exchangeability.replace(usual, dims=("mu_dim_0", "w_dim_0"))
    flipped = xr.DataArray(
        np.tile([1, 0], (*LEAD, 1)), dims=("chain", "draw", "mu_dim_0"), name="permutations"
    )
    before = dt["posterior"].to_dataset()
    after = before.assign(exchangeability.move(before, flipped, labels, "mu_dim_0"))
    monkeypatch.setattr(exchangeability, "N_CHECKED", 1)
    with pytest.raises(ValueError, match=r"draw 5 of chain 0 .* terms that change are 'y'"):
        exchangeability.check_moved(model, labels, before, after, np.ones(LEAD, bool))


# Variables that cannot be permuted ----------------------------------------------------------------


def sticks(b):
    left = pt.concatenate([pt.ones(1), pt.cumprod(1 - b)])
    return pt.concatenate([b, pt.ones(1)]) * left


def softmax(logits):
    return pm.math.softmax(pt.concatenate([pt.zeros(1), logits]))


@pytest.mark.parametrize(
    ("name", "prior", "build"),
    [
        ("b", lambda name: pm.Beta(name, 1, 2, shape=2), sticks),
        ("logits", lambda name: pm.Normal(name, 0, 1, shape=2), softmax),
    ],
)
def test_what_stands_behind_the_weights_is_dropped(rng, name, prior, build):
    mu, _ = drawn(rng, 3)
    mix = mixing(rng, 3)
    with pm.Model(coords={"component": range(3)}) as model:
        w = pm.Deterministic("w", build(prior(name)), dims="component")
        means = pm.Normal("mu", 0, 20, dims="component")
        pm.NormalMixture("y", w=w, mu=means, sigma=1.0, observed=data(rng, 3))
    hidden = rng.uniform(0.2, 0.8, size=(*LEAD, 2))
    value = pt.vector("value")
    weights = pytensor.function([value], build(value))
    w = np.array([[weights(draw) for draw in chain] for chain in hidden])
    dt = tree(
        mu=gather(mu, mix), w=w, dims={"mu": ["component"], "w": ["component"]}, **{name: hidden}
    )
    p = labelswitch.responsibilities(dt, model=model)
    with pytest.warns(UserWarning, match=rf"'{name}' cannot be permuted, so the result lacks it"):
        relabelled = labelswitch.relabel(dt, model=model)
    assert relabelled.dropped == (name,)
    assert name not in relabelled.dt.posterior
    assert set(relabelled.permuted) == {"mu", "w"}
    # The components, evaluated from what is left, are those that move.
    posterior = relabelled.dt.posterior
    y = model["y"].owner and model.rvs_to_values[model["y"]].eval()
    by_hand = posterior["w"].values[:, :, None] * stats.norm.pdf(
        y[:, None], posterior["mu"].values[:, :, None], 1
    )
    by_hand /= by_hand.sum(axis=-1, keepdims=True)
    np.testing.assert_allclose(relabelled.apply(p), by_hand, atol=1e-12)


def hardy_weinberg(_):
    """Three weights from one number."""
    t = pm.Beta("t", 1, 1)
    return pt.stack([t**2, 2 * t * (1 - t), (1 - t) ** 2])


def sticks_by_row(x):
    """Sticks whose logits are lines in x."""
    b = pm.Normal("b", 0, 1, shape=(2, 2))
    v = pm.math.sigmoid(b[0] + x[:, None] * b[1])
    one = pt.ones((len(x), 1))
    left = pt.concatenate([one, pt.cumprod(1 - v, axis=1)], axis=1)
    return pt.concatenate([v, one], axis=1) * left


def ascending(_):
    """Weights in order: as many numbers as are needed, and no other order is possible."""
    gaps = pm.HalfNormal("gaps", 1, shape=2)
    return softmax(pt.cumsum(gaps))


def softmax_by_row(x):
    """Logits relative to the first component; large covariates come with small slopes."""
    b = pm.Normal("b", 0, [[1], [1e-4]], shape=(2, 2))
    logits = b[0] + 1e4 * x[:, None] * b[1]
    return pm.math.softmax(pt.concatenate([pt.zeros((len(x), 1)), logits], axis=1), axis=1)


def behind(rng, build, hidden):
    """Build a model with weights that are computed, and mixed draws of it."""
    mu, _ = drawn(rng, 3)
    x = np.linspace(-2, 2, N)
    with pm.Model(coords={"component": range(3), "obs": range(N)}) as model:
        w = build(x)
        w = pm.Deterministic("w", w, dims=("obs", "component")[-w.ndim :])
        means = pm.Normal("mu", 0, 20, dims="component")
        pm.NormalMixture("y", w=w, mu=means, sigma=1.0, observed=data(rng, 3), dims="obs")
    (name,) = {rv.name for rv in model.free_RVs} - {"mu"}
    value = model[name].type("value")
    weights = pytensor.function([value], graph_replace(model["w"], {model[name]: value}))
    w = np.array([[weights(draw) for draw in chain] for chain in hidden])
    dims = {"mu": ["component"], "w": ["obs", "component"][-w.ndim + 2 :]}
    values = {"mu": gather(mu, mixing(rng, 3)), "w": w, name: hidden}
    return model, tree(**values, dims=dims)


@pytest.mark.parametrize(
    ("build", "shape"), [(hardy_weinberg, ()), (sticks_by_row, (2, 2)), (ascending, (2,))]
)
def test_weights_that_cannot_be_had_in_another_order_are_refused(rng, build, shape):
    model, dt = behind(rng, build, rng.uniform(0.2, 0.8, size=(*LEAD, *shape)))
    with pytest.raises(ValueError, match=r"model: 'w' is computed from .* are restricted"):
        labelswitch.relabel(dt, model=model)


def test_weights_by_row_that_can_be_had_in_any_order_move(rng):
    hidden = rng.normal(size=(*LEAD, 2, 2)) * [[1], [1e-4]]
    model, dt = behind(rng, softmax_by_row, hidden)
    with pytest.warns(UserWarning, match=r"'b' cannot be permuted, so the result lacks it"):
        relabelled = labelswitch.relabel(dt, model=model)
    assert set(relabelled.permuted) == {"mu", "w"}
    # Relative to another reference the logits are lines in x as before.
    logits = np.diff(np.log(relabelled.dt.posterior["w"].transpose(..., "obs", "component")))
    np.testing.assert_allclose(np.diff(logits, n=2, axis=2), 0, atol=1e-9)


def test_weights_that_are_not_stored_are_asked_for(rng):
    mu, _ = drawn(rng, 3)
    with pm.Model(coords={"component": range(3)}) as model:
        w = sticks(pm.Beta("b", 1, 2, shape=2))
        means = pm.Normal("mu", 0, 20, dims="component")
        pm.NormalMixture("y", w=w, mu=means, sigma=1.0, observed=data(rng, 3))
    dt = tree(mu=mu, b=rng.uniform(size=(*LEAD, 2)), dims={"mu": ["component"]})
    with pytest.raises(ValueError, match=r"'b' with 3 - 1 elements cannot be permuted. Store"):
        labelswitch.relabel(dt, model=model)


def test_one_cholesky_factor_per_component_changes_places(rng):
    """Variables made in a loop: each component has its own, and they exchange their values."""
    with pm.Model(coords={"component": range(2)}) as model:
        w = pm.Dirichlet("w", np.ones(2), dims="component")
        mu = pm.Normal("mu", 0, 10, dims=("component", "axis"), shape=(2, 2))
        components = []
        for k in range(2):
            chol, _, _ = pm.LKJCholeskyCov(f"chol_{k}", n=2, eta=2, sd_dist=pm.HalfNormal.dist(1))
            components.append(pm.MvNormal.dist(mu=mu[k], chol=chol))
        y = np.array([[-3.0, -3], [-2, -3], [3, 3], [2, 4]])
        pm.Mixture("y", w=w, comp_dists=components, observed=y)
    mix = np.tile([0, 1], (*LEAD, 1))
    mix[1] = [1, 0]
    means = np.array([[-3.0, -3], [3, 3]]) + 0.1 * rng.normal(size=(*LEAD, 2, 2))
    factors = np.array([[1.0, 0, 1], [2.0, 0.5, 2]]) + 0.01 * rng.random(size=(*LEAD, 2, 3))
    mixed = gather(factors, mix)
    dt = tree(
        mu=gather(means, mix),
        w=gather(rng.dirichlet([9, 18], size=LEAD), mix),
        chol_0=mixed[:, :, 0],
        chol_1=mixed[:, :, 1],
        dims={"mu": ["component", "axis"], "w": ["component"]},
    )
    relabelled = labelswitch.relabel(dt, model=model)
    assert set(relabelled.permuted) == {"mu", "w", "chol_0", "chol_1"}
    for k in range(2):
        np.testing.assert_array_equal(relabelled.dt.posterior[f"chol_{k}"], factors[:, :, k])
    assert_same_points(model, dt, relabelled.dt)


@pytest.mark.parametrize(
    ("order", "terms"),
    [
        (("a0", "b0", "b1", "a1"), [("a0", "b0"), ("a1", "b1")]),
        (("a0", "b0", "a1", "b1"), [("a0", "b0"), ("b1", "a1")]),
    ],
)
def test_variables_of_single_components_are_paired_as_declared_or_as_read(rng, order, terms):
    x = np.linspace(-1, 1, N)
    lines = rng.normal([[5.0, 3.0], [-5.0, -3.0]], 0.1, size=(*LEAD, 2, 2))
    lines[1] = lines[1, :, ::-1]
    with pm.Model() as model:
        w = pm.Dirichlet("w", np.ones(2))
        value = {name: pm.Normal(name, 0, 10) for name in order}
        factor = {name: value[name] * (1.0 if "a" in name else x) for name in order}
        components = [pm.Normal.dist(factor[one] + factor[two], 1) for one, two in terms]
        pm.Mixture("y", w=w, comp_dists=components, observed=(5 + 3 * x) * (-1.0) ** np.arange(N))
    values = {f"{name}{k}": lines[..., k, i] for k in (0, 1) for i, name in enumerate("ab")}
    dt = tree(w=rng.dirichlet([20, 20], size=LEAD), **values)
    relabelled = labelswitch.relabel(dt, model=model)
    assert {frozenset(pair) for pair in relabelled.siblings} == {
        frozenset({"a0", "a1"}),
        frozenset({"b0", "b1"}),
    }
    assert_same_points(model, dt, relabelled.dt)
    np.testing.assert_array_equal(np.sign(relabelled.dt.posterior["a0"]), np.ones(LEAD))


def test_a_variable_of_one_component_only_is_named(rng):
    with pm.Model() as model:
        w = pm.Dirichlet("w", np.ones(2))
        mu_0 = pm.Normal("mu_0", 0, 10)
        components = [pm.Normal.dist(mu_0, 1), pm.Normal.dist(5.0, 1)]
        pm.Mixture("y", w=w, comp_dists=components, observed=data(rng, 2))
    dt = tree(mu_0=rng.normal(size=LEAD), w=rng.dirichlet([1, 1], size=LEAD))
    with pytest.raises(ValueError, match=r"'mu_0': not one element for each component"):
        labelswitch.relabel(dt, model=model)


@pytest.mark.parametrize("dim", [None, "component"])
def test_minibatches_are_named(rng, dim):
    with pm.Model(coords={"component": range(2)}) as model:
        w = pm.Dirichlet("w", np.ones(2), dims="component")
        mu = pm.Normal("mu", 0, 20, dims="component")
        y = pm.Minibatch(data(rng, 2), batch_size=10)
        pm.NormalMixture("y", w=w, mu=mu, sigma=1.0, observed=y, total_size=N)
    values = dict(zip(("mu", "w"), drawn(rng, 2), strict=True))
    dt = tree(**values, dims={"mu": ["component"], "w": ["component"]})
    with pytest.raises(ValueError, match=r"model: the data of 'y' are minibatches.*complete data"):
        labelswitch.relabel(dt, model=model, dim=dim)


# Labels that have a meaning -----------------------------------------------------------------------


def test_priors_that_differ_give_labels_a_meaning(rng):
    mu, w = drawn(rng, 2)
    mix = mixing(rng, 2)
    with pm.Model(coords={"component": range(2)}) as model:
        weights = pm.Dirichlet("w", np.ones(2), dims="component")
        means = pm.Normal("mu", [0.0, 10.0], 20, dims="component")
        pm.NormalMixture("y", w=weights, mu=means, sigma=1.0, observed=data(rng, 2))
    dims = {"mu": ["component"], "w": ["component"]}
    dt = tree(mu=gather(mu, mix), w=gather(w, mix), dims=dims)
    with pytest.raises(ValueError, match=r"the priors of 'mu' differ .* have a meaning already"):
        labelswitch.relabel(dt, model=model)
    # Draws that stay where they are need no permission.
    stays = labelswitch.relabel(tree(mu=mu, w=w, dims=dims), model=model)
    assert (stays.permutations == [0, 1]).all()


def test_fixed_weights_that_differ_give_labels_a_meaning(rng):
    mu, _ = drawn(rng, 2)
    with pm.Model(coords={"component": range(2)}) as model:
        means = pm.Normal("mu", 0, 20, dims="component")
        pm.NormalMixture("y", w=[0.3, 0.7], mu=means, sigma=1.0, observed=data(rng, 2))
    dt = tree(mu=gather(mu, mixing(rng, 2)), dims={"mu": ["component"]})
    with pytest.raises(ValueError, match=r"fixed weights"):
        labelswitch.relabel(dt, model=model)


def test_an_ordered_transform_gives_labels_a_meaning(rng):
    mu, w = drawn(rng, 2)
    ordered = pm.distributions.transforms.ordered
    with pm.Model(coords={"component": range(2)}) as model:
        weights = pm.Dirichlet("w", np.ones(2), dims="component")
        means = pm.Normal("mu", 0, 20, dims="component", transform=ordered)
        pm.NormalMixture("y", w=weights, mu=means, sigma=1.0, observed=data(rng, 2))
    dims = {"mu": ["component"], "w": ["component"]}
    dt = tree(mu=mu, w=w, dims=dims)
    assert (labelswitch.relabel(dt, model=model).permutations == [0, 1]).all()
    exchange = np.tile([1, 0], (*LEAD, 1))
    with pytest.raises(ValueError, match=r"'mu' has an ordered transform"):
        labelswitch.relabel(dt, model=model, permutations=exchange)


def test_zero_inflation_is_no_mixture_of_the_user_s_components(rng):
    """The components are those of rate[z]; the zeros are of another family."""
    y = rng.poisson(5, size=N)
    mix = mixing(rng, 2)
    with pm.Model(coords={"component": range(2), "obs": range(N)}) as model:
        w = pm.Dirichlet("w", np.ones(2), dims="component")
        z = pm.Categorical("z", p=w, dims="obs")
        rate = pm.Exponential("rate", 0.1, dims="component")
        pm.ZeroInflatedPoisson("y", psi=0.9, mu=rate[z], observed=y, dims="obs")
    rates = np.array([2.0, 9.0]) + 0.1 * rng.normal(size=(*LEAD, 2))
    truth = np.arange(N) % 2
    labels = np.argsort(mix, axis=-1)[..., truth]
    dt = tree(
        w=gather(rng.dirichlet([9, 19], size=LEAD), mix),
        rate=gather(rates, mix),
        z=labels,
        dims={"w": ["component"], "rate": ["component"], "z": ["obs"]},
    )
    assert labelswitch.diagnose(dt, model=model).relabelled.method == "ecr_iterative_1"
    relabelled = labelswitch.relabel(dt, model=model)
    assert set(relabelled.permuted) == {"w", "rate", "z"}
    g = np.take_along_axis(mix, relabelled.permutations.values, axis=-1)[0, 0]
    np.testing.assert_array_equal(relabelled.dt.posterior["rate"], rates[..., g])
    assert_same_points(model, dt, relabelled.dt)
    with pytest.raises(ValueError, match=r"model: it has no pm.Mixture .* like components"):
        labelswitch.responsibilities(dt, model=model)


def test_a_list_of_one_s_own_distributions_is_a_mixture(rng):
    mix = mixing(rng, 2)
    with pm.Model() as model:
        w = pm.Dirichlet("w", np.ones(2))
        mu = pm.Normal("mu", 0, 20, shape=2)
        own = {"logp": lambda value, mu: -abs(value - mu)}
        components = [pm.CustomDist.dist(mu[k], **own) for k in range(2)]
        pm.Mixture("y", w=w, comp_dists=components, observed=data(rng, 2))
    mu, w = drawn(rng, 2)
    dt = tree(mu=gather(mu, mix), w=gather(w, mix))
    relabelled = labelswitch.relabel(dt, model=model)
    assert relabelled.method == "stephens"
    assert_same_points(model, dt, relabelled.dt)


def test_a_mixture_of_zero_inflated_components_is_one(rng):
    y = rng.poisson(5, size=N)
    with pm.Model(coords={"component": range(2)}) as model:
        w = pm.Dirichlet("w", np.ones(2), dims="component")
        rate = pm.Exponential("rate", 0.1, dims="component")
        components = pm.ZeroInflatedPoisson.dist(psi=0.9, mu=rate)
        pm.Mixture("y", w=w, comp_dists=components, observed=y)
    mix = mixing(rng, 2)
    rates = np.array([2.0, 9.0]) + 0.1 * rng.normal(size=(*LEAD, 2))
    dt = tree(
        w=gather(rng.dirichlet([9, 19], size=LEAD), mix),
        rate=gather(rates, mix),
        dims={"w": ["component"], "rate": ["component"]},
    )
    relabelled = labelswitch.relabel(dt, model=model)
    assert_same_points(model, dt, relabelled.dt)


# Several mixtures, groups, allocations ------------------------------------------------------------


def test_two_mixtures_with_labels_of_their_own_are_told_apart(rng):
    mu, w = drawn(rng, 2)
    with pm.Model() as model:
        for name in ("a", "b"):
            weights = pm.Dirichlet(f"w_{name}", np.ones(2), dims=None)
            means = pm.Normal(f"mu_{name}", 0, 20, shape=2)
            pm.NormalMixture(name, w=weights, mu=means, sigma=1.0, observed=data(rng, 2))
    one, two = mixing(rng, 2), mixing(rng, 2)
    dt = tree(mu_a=gather(mu, one), w_a=gather(w, one), mu_b=gather(mu, two), w_b=gather(w, two))
    with pytest.raises(ValueError, match=r"several kinds of components .* in a second call"):
        labelswitch.relabel(dt, model=model, method="pra")
    p = labelswitch.responsibilities(dt, model=model, var_name="b", dim="mu_b_dim_0")
    relabelled = labelswitch.relabel(
        dt, model=model, dim=["mu_b_dim_0", "w_b_dim_0"], responsibilities=p
    )
    assert set(relabelled.permuted) == {"mu_b", "w_b"}
    assert_same_points(model, dt, relabelled.dt)


def test_labels_independent_by_group(rng):
    """A mixture for each of three schools, each with labels of its own."""
    centres = np.array([0.0, 10.0])
    groups, n = 3, 20
    z = np.arange(n) % 2
    y = centres[z] + rng.normal(size=(groups, n))
    with pm.Model(coords={"school": range(3), "component": range(2), "pupil": range(n)}) as model:
        w = pm.Dirichlet("w", np.ones((groups, 2)), dims=("school", "component"))
        mu = pm.Normal("mu", 0, 10, dims=("school", "component"))
        pm.NormalMixture(
            "y",
            w=w[:, None, :],
            mu=mu[:, None, :],
            sigma=1.0,
            observed=y,
            dims=("school", "pupil"),
        )
    mix = rng.permuted(np.tile(np.arange(2), (*LEAD, groups, 1)), axis=-1)
    means = centres + 0.3 * rng.normal(size=(*LEAD, groups, 2))
    weights = rng.dirichlet([20, 40], size=(*LEAD, groups))
    dt = tree(
        mu=np.take_along_axis(means, mix, axis=-1),
        w=np.take_along_axis(weights, mix, axis=-1),
        dims={"mu": ["school", "component"], "w": ["school", "component"]},
    )
    for more in ({"model": model}, {"method": "pra"}):
        relabelled = labelswitch.relabel(dt, by="school", **more)
        assert relabelled.permutations.dims == ("chain", "draw", "school", "component")
        composed = np.take_along_axis(mix, relabelled.permutations.values, axis=-1)
        assert (composed == composed[:1, :1]).all()
        np.testing.assert_array_equal(
            relabelled.dt.posterior["mu"], np.take_along_axis(means, composed, axis=-1)
        )
        assert_same_points(model, dt, relabelled.dt)
    # One permutation for all schools cannot do it.
    together = labelswitch.relabel(dt, method="pra")
    assert az.rhat(together.dt)["mu"].max() > 1.05
    with pytest.raises(ValueError, match=r"by: a dimension of groups is needed, not 'class'"):
        labelswitch.relabel(dt, by="class", method="pra")
    shared = dt.copy()
    shared["posterior"]["v"] = dt["posterior"]["w"].isel(school=0, drop=True)
    with pytest.raises(ValueError, match=r"by: 'v' carries 'component' but not 'school'"):
        labelswitch.relabel(shared, by="school", method="pra")


def test_one_s_own_permutations(rng):
    mu, w = drawn(rng, 3)
    mix = mixing(rng, 3)
    dims = {"mu": ["component"], "w": ["component"]}
    dt = tree(mu=gather(mu, mix), w=gather(w, mix), dims=dims)
    back = np.argsort(mix, axis=-1)
    relabelled = labelswitch.relabel(dt, permutations=back)
    np.testing.assert_array_equal(relabelled.dt.posterior["mu"], mu)
    assert relabelled.method == "permutations"
    assert relabelled.result is None
    labelled = relabelled.permutations.transpose("draw", "component", "chain")
    again = labelswitch.relabel(dt, permutations=labelled)
    xr.testing.assert_identical(again.dt, relabelled.dt)
    for permutations, message in (
        (back[:, :5], r"permutations: shape \(2, 12, 3\)"),
        (back + 1, r"permutations must be a permutation of 0, ..., 2"),
        (labelled.rename(draw="step"), r"permutations: dimensions"),
    ):
        with pytest.raises(ValueError, match=message):
            labelswitch.relabel(dt, permutations=permutations)
    with pytest.raises(ValueError, match=r"method: permutations are given, so it is not used"):
        labelswitch.relabel(dt, permutations=back, method="pra")


def test_labels_are_mapped_in_every_group(rng):
    mu, _ = drawn(rng, 3)
    mix = mixing(rng, 3)
    z = np.argsort(mix, axis=-1)[..., np.arange(N) % 3]
    groups = {
        "posterior": {"mu": gather(mu, mix)},
        "posterior_predictive": {"z": z.astype(np.int8)},
        "log_likelihood": {"by_component": gather(mu, mix) - 1},
        "prior": {"mu": mu},
    }
    dims = {"mu": ["component"], "z": ["obs"], "by_component": ["component"]}
    dt = az.from_dict(groups, dims=dims)
    dt["warmup_posterior"] = dt["prior"]
    with pytest.warns(UserWarning, match=r"'z' looks like allocations"):
        labelswitch.relabel(dt, method="pra")
    relabelled = labelswitch.relabel(dt, method="pra", allocations="z")
    out = relabelled.dt
    g = np.take_along_axis(mix, relabelled.permutations.values, axis=-1)[0, 0]
    np.testing.assert_array_equal(out["log_likelihood"]["by_component"], mu[..., g] - 1)
    expected = np.broadcast_to(np.argsort(g)[np.arange(N) % 3], z.shape)
    np.testing.assert_array_equal(out["posterior_predictive"]["z"], expected)
    assert out["posterior_predictive"]["z"].dtype == np.int8
    for group in ("prior", "warmup_posterior"):
        xr.testing.assert_identical(out[group].to_dataset(), dt[group].to_dataset())


@pytest.mark.parametrize(
    ("convert", "message"),
    [
        (lambda z: z.astype(float), r"'z' holds float64, .*\.astype\(int\)"),
        (lambda z: z.astype(bool), r"'z' holds bool, .*\.astype\(int\)"),
        (lambda z: z + 1, r"labels of 'z' run from 1 to 2.*look 1-based: assign"),
        (lambda z: z + 0.5, r"'z' holds float64.*no labels"),
    ],
)
def test_allocations_of_another_kind_say_how_to_convert(rng, convert, message):
    mu, _ = drawn(rng, 2)
    mix = mixing(rng, 2)
    z = convert(np.argsort(mix, axis=-1)[..., np.arange(N) % 2])
    dt = tree(mu=gather(mu, mix), z=z, dims={"mu": ["component"], "z": ["obs"]})
    with pytest.raises((TypeError, ValueError), match=message):
        labelswitch.relabel(dt, method="pra", allocations="z")
    if "no labels" not in message:
        with pytest.warns(UserWarning, match=r"'z' looks like allocations. .*astype|'z' looks"):
            labelswitch.relabel(dt, method="pra")


def test_deterministics_that_neither_follow_nor_stay_are_computed_anew(rng):
    mu, w = drawn(rng, 3)
    mix = mixing(rng, 3)
    with pm.Model(coords={"component": range(3)}) as model:
        weights = pm.Dirichlet("w", np.ones(3), dims="component")
        means = pm.Normal("mu", 0, 20, dims="component")
        pm.Deterministic("running", pt.cumsum(weights), dims="component")
        pm.Deterministic("first", means[0])
        pm.NormalMixture("y", w=weights, mu=means, sigma=1.0, observed=data(rng, 3))
    values = {"mu": gather(mu, mix), "w": gather(w, mix)}
    dims = {name: ["component"] for name in ("mu", "w", "running")}
    dt = tree(**values, running=values["w"].cumsum(axis=-1), first=values["mu"][..., 0], dims=dims)
    relabelled = labelswitch.relabel(dt, model=model)
    posterior = relabelled.dt.posterior
    assert set(relabelled.recomputed) == {"running", "first"}
    np.testing.assert_allclose(posterior["running"], posterior["w"].cumsum("component"))
    np.testing.assert_array_equal(posterior["first"], posterior["mu"][..., 0])


def test_draws_of_another_model_are_refused(rng):
    mu, w = drawn(rng, 2)
    dims = {"mu": ["component"], "w": ["component"]}
    with pm.Model(coords={"component": range(2)}) as model:
        weights = pm.Dirichlet("w", np.ones(2), dims="component")
        means = pm.Normal("mu", 0, 20, dims="component")
        sigma = pm.HalfNormal("sigma", 1)
        pm.NormalMixture("y", w=weights, mu=means, sigma=sigma, observed=data(rng, 2))
    with pytest.raises(ValueError, match=r"dt: its posterior lacks 'sigma'"):
        labelswitch.relabel(tree(mu=mu, w=w, dims=dims), model=model)
    mix = mixing(rng, 2)
    negative = tree(mu=gather(mu, mix), w=gather(w, mix), sigma=-np.ones(LEAD), dims=dims)
    with pytest.raises(ValueError, match=r"log posterior of draw .* because of 'sigma'|no finite"):
        labelswitch.relabel(negative, model=model, method="pra")


def test_no_draws(rng):
    mu, _ = drawn(rng, 2)
    dt = tree(mu=mu, dims={"mu": ["component"]}).isel(draw=slice(0))
    for call in (labelswitch.relabel, labelswitch.diagnose):
        with pytest.raises(ValueError, match=r"dt: its posterior holds no draws"):
            call(dt)


# Deterministic variables: all of them, at all moved draws --------------------------------------


def switched(rng, size, mix):
    mu, w = drawn(rng, size)
    return gather(mu, mix), gather(w, mix)


def first_two_exchanged(size):
    mix = np.tile(np.arange(size), (*LEAD, 1))
    mix[1] = [1, 0, *range(2, size)]
    return mix


def test_deterministics_that_follow_one_permutation_only_are_computed_anew(rng):
    """A cycle leaves the gaps to the next one alone, an exchange does not; a boolean has luck."""
    mix = first_two_exchanged(3)
    with pm.Model(coords={"component": range(3), "pair": ["ab", "bc", "ca"]}) as model:
        w = pm.Dirichlet("w", np.ones(3), dims="component")
        mu = pm.Normal("mu", 0, 20, dims="component")
        pm.Deterministic("gap", abs(mu - pt.roll(mu, -1)), dims="pair")
        pm.Deterministic("next", pt.roll(mu, -1) - mu, dims="component")
        pm.Deterministic("first_is_larger", mu[0] > mu[1])
        pm.NormalMixture("y", w=w, mu=mu, sigma=1.0, observed=data(rng, 3))

    def computed(mu):
        return {
            "gap": abs(mu - np.roll(mu, -1, axis=-1)),
            "next": np.roll(mu, -1, axis=-1) - mu,
            "first_is_larger": mu[..., 0] > mu[..., 1],
        }

    mu, w = switched(rng, 3, mix)
    dims = {"mu": ["component"], "w": ["component"], "next": ["component"], "gap": ["pair"]}
    dt = tree(mu=mu, w=w, **computed(mu), dims=dims)
    relabelled = labelswitch.relabel(dt, model=model)
    assert relabelled.dims == ("component",)
    assert set(relabelled.recomputed) == {"gap", "next", "first_is_larger"}
    posterior = relabelled.dt.posterior
    for name, values in computed(posterior["mu"].values).items():
        np.testing.assert_allclose(posterior[name], values)


def test_what_follows_from_weights_that_move_is_computed_from_them(rng):
    """Behind w stand sticks that the result lacks: what reads w follows, what reads them goes."""
    mix = first_two_exchanged(2)
    with pm.Model(coords={"component": range(2)}) as model:
        b = pm.Beta("b", 1, 1)
        w = pm.Deterministic("w", pt.stack([b, 1 - b]), dims="component")
        mu = pm.Normal("mu", 0, 20, dims="component")
        pm.Deterministic("rank", pt.sort(mu), dims="component")
        pm.Deterministic("running", pt.cumsum(w), dims="component")
        pm.Deterministic("mass", w[0] * mu[0])
        pm.Deterministic("odds", b / (1 - b))
        pm.NormalMixture("y", w=w, mu=mu, sigma=1.0, observed=data(rng, 2))
    mu, w = switched(rng, 2, mix)
    dims = {name: ["component"] for name in ("w", "mu", "rank", "running")}
    dt = tree(
        b=w[..., 0],
        w=w,
        mu=mu,
        rank=np.sort(mu),
        running=w.cumsum(axis=-1),
        mass=w[..., 0] * mu[..., 0],
        odds=w[..., 0] / w[..., 1],
        dims=dims,
    )
    with pytest.warns(UserWarning, match=r"'b', 'odds' cannot be permuted"):
        relabelled = labelswitch.relabel(dt, model=model)
    assert relabelled.dropped == ("b", "odds")
    posterior = relabelled.dt.posterior
    np.testing.assert_allclose(posterior["rank"], np.sort(posterior["mu"]))
    np.testing.assert_allclose(posterior["running"], posterior["w"].cumsum("component"))
    np.testing.assert_allclose(posterior["mass"], (posterior["w"] * posterior["mu"])[..., 0])
    # In a group of its own nothing can be computed anew.
    dt["posterior_predictive"] = xr.DataTree(dt["posterior"].to_dataset()[["mass", "mu"]])
    with pytest.warns(UserWarning, match=r"cannot be permuted") as caught:
        out = labelswitch.relabel(dt, model=model).dt
    assert "'mass' in the group 'posterior_predictive'" in str(caught[1].message)
    assert list(out["posterior_predictive"].data_vars) == ["mu"]
    np.testing.assert_array_equal(out["posterior_predictive"]["mu"], posterior["mu"])


def test_a_sum_of_positive_gaps_is_not_permuted(rng):
    """Means ordered by hand: no gap could be negative, so a relabelled draw has no density."""
    with pm.Model(coords={"component": range(2)}) as model:
        w = pm.Dirichlet("w", np.ones(2), dims="component")
        gaps = pm.HalfNormal("gaps", 3, shape=1)
        base = pm.Normal("base", 0, 10)
        mu = pm.Deterministic("mu", base + pt.concatenate([pt.zeros(1), gaps]), dims="component")
        pm.NormalMixture("y", w=w, mu=mu, sigma=1.0, observed=data(rng, 2))
    mu, w = drawn(rng, 2)
    dims = {"mu": ["component"], "w": ["component"]}
    dt = tree(mu=mu, w=w, base=mu[..., 0], gaps=np.diff(mu), dims=dims)
    with pytest.raises(ValueError, match=r"'mu' is computed from 'gaps', 'base', .* a meaning"):
        labelswitch.relabel(dt, model=model, permutations=np.tile([1, 0], (*LEAD, 1)))


def test_a_diagonal_matrix_keeps_its_features(rng):
    """A constant axis of the same length follows any permutation, and is left alone."""
    mix = first_two_exchanged(2)
    y = data(rng, 2)[:, None] + rng.normal(size=(N, 2))
    coords = {"component": range(2), "axis": range(2), "axis_": range(2), "row": range(N)}
    with pm.Model(coords=coords) as model:
        w = pm.Dirichlet("w", np.ones(2), dims="component")
        mu = pm.Normal("mu", 0, 20, dims="component")
        sigma = pm.HalfNormal("sigma", 5, dims="component")
        cov = sigma[:, None, None] ** 2 * np.eye(2)
        cov = pm.Deterministic("cov", cov, dims=("component", "axis", "axis_"))
        normal = pm.MvNormal.dist(mu[:, None] * np.ones(2), cov)
        pm.Mixture("y", w=w, comp_dists=normal, observed=y, dims=("row", "axis"))
    mu, w = switched(rng, 2, mix)
    sigma = gather(np.array([1.0, 2.0]) + 0.01 * rng.random((*LEAD, 2)), mix)
    replicated = rng.normal(size=(*LEAD, N, 2))
    dt = az.from_dict(
        {
            "posterior": {
                "mu": mu,
                "w": w,
                "sigma": sigma,
                "cov": sigma[..., None, None] ** 2 * np.eye(2),
            },
            "posterior_predictive": {"y": replicated},
        },
        dims={name: ["component"] for name in ("mu", "w", "sigma")}
        | {"cov": ["component", "axis", "axis_"], "y": ["row", "axis"]},
    )
    relabelled = labelswitch.relabel(dt, model=model)
    assert relabelled.dims == ("component",)
    assert set(relabelled.permuted) == {"mu", "w", "sigma", "cov"}
    np.testing.assert_array_equal(relabelled.dt["posterior_predictive"]["y"], replicated)
    assert_same_points(model, dt, relabelled.dt)


@pytest.mark.parametrize("is_listed", [True, False])
def test_what_is_computed_from_variables_of_single_components_follows_them(rng, is_listed):
    """Of two formulas neither takes the values of the other, listed or stacked."""
    mix = first_two_exchanged(2)
    with pm.Model(coords={"component": range(2)}) as model:
        w = pm.Dirichlet("w", np.ones(2), dims="component")
        left, right = pm.Normal("left", 0, 20), pm.Normal("right", 0, 20)
        pm.Deterministic("tenfold", 10 * left)
        pm.Deterministic("probability", pm.math.invlogit(right / 10))
        y = data(rng, 2)
        if is_listed:
            components = [pm.Normal.dist(left, 1), pm.Normal.dist(right, 1)]
            pm.Mixture("y", w=w, comp_dists=components, observed=y)
        else:
            pm.NormalMixture("y", w=w, mu=pt.stack([left, right]), sigma=1, observed=y)
    mu, w = switched(rng, 2, mix)
    left, right = mu[..., 0], mu[..., 1]
    dt = tree(
        w=w,
        left=left,
        right=right,
        tenfold=10 * left,
        probability=1 / (1 + np.exp(-right / 10)),
        dims={"w": ["component"]},
    )
    relabelled = labelswitch.relabel(dt, model=model)
    assert relabelled.siblings == (("left", "right"),)
    assert set(relabelled.permuted) == {"w", "left", "right"}
    posterior = relabelled.dt.posterior
    np.testing.assert_allclose(posterior["tenfold"], 10 * posterior["left"])
    np.testing.assert_allclose(posterior["probability"], 1 / (1 + np.exp(-posterior["right"] / 10)))
    assert_same_points(model, dt, relabelled.dt)
    by_parameters = labelswitch.relabel(dt, model=model, method="pra")
    xr.testing.assert_allclose(by_parameters.dt["posterior"].to_dataset(), posterior.to_dataset())


def test_deterministics_of_other_groups_are_judged_at_every_moved_draw(rng):
    """As pm.sample_posterior_predictive stores them: at most draws no mean is beyond the bound."""
    mu, w = drawn(rng, 2)
    mu[:, [0, -1]] = [0.0, 10.0]
    mu[1] = mu[1, :, ::-1]
    with pm.Model(coords={"component": range(2)}) as model:
        weights = pm.Dirichlet("w", np.ones(2), dims="component")
        means = pm.Normal("mu", 0, 20, dims="component")
        pm.NormalMixture("y", w=weights, mu=means, sigma=1.0, observed=data(rng, 2))
        pm.Deterministic("excess", pt.maximum(means[0] - 10.1, 0))
        pm.Deterministic("square", means**2, dims="component")
        pm.Deterministic("replica", pm.Normal.dist(means), dims="component")
    other = {"excess": np.maximum(mu[..., 0] - 10.1, 0), "square": mu**2 + 1, "replica": mu}
    dims = {name: ["component"] for name in ("mu", "w", "square", "replica")}
    groups = {"posterior": {"mu": mu, "w": w}, "posterior_predictive": other}
    dt = az.from_dict(groups, dims=dims)
    with pytest.warns(UserWarning, match=r"'excess', 'replica' in the group 'posterior_p.*lacks"):
        relabelled = labelswitch.relabel(dt, model=model)
    predictive = relabelled.dt["posterior_predictive"]
    assert list(predictive.data_vars) == ["square"]
    np.testing.assert_array_equal(predictive["square"], relabelled.dt.posterior["mu"] ** 2 + 1)


@pytest.mark.parametrize(
    ("offset", "dtype"), [(2_460_000.5, np.float64), (2_000, np.float64), (2_000, np.float32)]
)
def test_what_has_a_large_offset_follows(rng, offset, dtype):
    """Dates: what a permutation changes is a millionth of the value, or less."""
    mix = first_two_exchanged(2)

    def computed(mu, stack=np.stack):
        summary = stack([0 * mu[..., 0] + 8e10, mu[..., 0], mu[..., 1]], axis=-1)
        return {"date": offset + mu / 10, "first": offset + mu[..., 0] / 10, "summary": summary}

    with pm.Model() as model:
        w = pm.Dirichlet("w", np.ones(2))
        mu = pm.Normal("mu", 0, 20, shape=2)
        for name, values in computed(mu, pt.stack).items():
            pm.Deterministic(name, values)
        pm.Deterministic("mean", offset + (w * mu).sum())
        pm.NormalMixture("y", w=w, mu=mu, sigma=1.0, observed=data(rng, 2))
    mu, w = switched(rng, 2, mix)
    mean = offset + (w * mu).sum(axis=-1)
    values = {"mu": mu, "w": w, "mean": mean, **computed(mu)}
    dt = tree(**{name: item.astype(dtype) for name, item in values.items()})
    relabelled = labelswitch.relabel(dt, model=model)
    assert set(relabelled.permuted) == {"mu", "w", "date"}
    assert set(relabelled.recomputed) == {"first", "summary"}
    posterior = relabelled.dt.posterior
    for name, expected in computed(posterior["mu"].values).items():
        np.testing.assert_allclose(posterior[name], expected, rtol=2 * np.finfo(dtype).eps)
    np.testing.assert_array_equal(posterior["mean"], dt.posterior["mean"])


def test_an_offset_in_another_group_does_not_hide_what_does_not_follow(rng):
    mix = first_two_exchanged(2)
    with pm.Model(coords={"component": range(2)}) as model:
        w = pm.Dirichlet("w", np.ones(2), dims="component")
        mu = pm.Normal("mu", 0, 20, dims="component")
        pm.Deterministic("first", 1e9 + pt.maximum(mu[0], 9.5))
        pm.NormalMixture("y", w=w, mu=mu, sigma=1.0, observed=data(rng, 2))
    mu, w = switched(rng, 2, mix)
    mu[:, [0, -1]] = [0.0, 9.0]  # at the draws that are looked at it does not change
    first = 1e9 + np.maximum(mu[..., 0], 9.5)
    groups = {"posterior": {"mu": mu, "w": w}, "predictions": {"first": first}}
    dt = az.from_dict(groups, dims={"mu": ["component"], "w": ["component"]})
    flipped = np.tile([1, 0], (*LEAD, 1))
    with pytest.warns(UserWarning, match=r"'first' in the group 'predictions' cannot"):
        labelswitch.relabel(dt, model=model, permutations=flipped)


# Priors: each draw, on their own scale ------------------------------------------------------------


def test_the_prior_of_every_moved_draw_is_looked_at(rng):
    """One draw in 24 has a mean that the other component may not have."""
    mix = first_two_exchanged(2)
    with pm.Model(coords={"component": range(2)}) as model:
        w = pm.Dirichlet("w", np.ones(2), dims="component")
        mu = pm.Uniform("mu", [-20.0, -30.0], [60.0, 50.0], dims="component")
        pm.NormalMixture("y", w=w, mu=mu, sigma=1.0, observed=data(rng, 2))
    mu, w = switched(rng, 2, mix)
    dims = {"mu": ["component"], "w": ["component"]}
    labelswitch.relabel(tree(mu=mu, w=w, dims=dims), model=model)
    mu[1, 5, 0] = 55.0
    with pytest.raises(ValueError, match=r"the log posterior .* -inf|the priors of 'mu' differ"):
        labelswitch.relabel(
            tree(mu=mu, w=w, dims=dims), model=model, permutations=np.argsort(mix, axis=-1)
        )


@pytest.mark.parametrize("in_a_loop", [False, True])
def test_the_potentials_of_every_moved_draw_are_looked_at(rng, in_a_loop):
    """One draw in 240 has a mean that the other component may not have."""
    lead = (2, 120)
    mu = np.array([0.0, 10.0]) + 0.3 * rng.uniform(-1, 1, size=(*lead, 2))
    mu[1] = mu[1, :, ::-1]
    with pm.Model(coords={"component": range(2)}) as model:
        w = pm.Dirichlet("w", np.ones(2), dims="component")
        means = pm.Normal("mu", 0, 20, dims="component")
        pm.NormalMixture("y", w=w, mu=means, sigma=1.0, observed=data(rng, 2))
        bound = pt.switch(means[0] < 10.7, 0, -np.inf)
        if in_a_loop:
            bound = pytensor.scan(
                lambda row, bound: row + bound,
                sequences=pt.zeros(3),
                non_sequences=bound,
                return_updates=False,
            )
        pm.Potential("bound", bound)
    values = {"mu": mu, "w": rng.dirichlet([20, 20], size=lead)}
    dims = {"mu": ["component"], "w": ["component"]}
    assert labelswitch.relabel(tree(**values, dims=dims), model=model).permuted == ("mu", "w")
    mu[0, 50] = [0.0, 10.9]
    flipped = np.tile([1, 0], (*lead, 1))
    with pytest.raises(ValueError, match=r"draw 50 of chain 0 .* -inf .* that change are 'bound'"):
        labelswitch.relabel(tree(**values, dims=dims), model=model, permutations=flipped)


def test_many_data_do_not_hide_a_prior(rng):
    """The log likelihood is in the millions, and the prior changes by a tenth."""
    mix = first_two_exchanged(2)
    with pm.Model(coords={"component": range(2)}) as model:
        w = pm.Dirichlet("w", np.array([2.0, 2.1]), dims="component")
        mu = pm.Normal("mu", 0, 20, dims="component")
        pm.NormalMixture("y", w=w, mu=mu, sigma=0.0005, observed=data(rng, 2))
    mu, w = switched(rng, 2, mix)
    dt = tree(mu=mu, w=w, dims={"mu": ["component"], "w": ["component"]})
    with pytest.raises(ValueError, match=r"the priors of 'w' differ"):
        labelswitch.relabel(dt, model=model, permutations=np.argsort(mix, axis=-1))


def test_what_the_priors_of_the_components_need_moves_too(rng):
    """The mixture reads neither the scales behind the means nor a predicted label."""
    mix = first_two_exchanged(2)
    with pm.Model() as model:
        scale = pm.Gamma("scale", 2, 1, shape=2)
        mu = pm.Normal("mu", 0, 20 / scale, shape=2)
        w = pm.Dirichlet("w", np.ones(2))
        pm.Categorical("new", w)
        pm.NormalMixture("y", w=w, mu=mu, sigma=1.0, observed=data(rng, 2))
    mu, w = switched(rng, 2, mix)
    scale = gather(rng.gamma(3, [0.3, 1], size=(*LEAD, 2)), mix)
    new = np.argsort(mix, axis=-1)[..., 1]
    dt = tree(mu=mu, w=w, scale=scale, new=new)
    relabelled = labelswitch.relabel(dt, model=model)
    assert set(relabelled.permuted) == {"mu", "w", "scale", "new"}
    assert_same_points(model, dt, relabelled.dt)
    named = ["mu_dim_0", "w_dim_0", "scale_dim_0"]
    again = labelswitch.relabel(dt, model=model, dim=named)
    assert again.dims == tuple(named)


def test_what_other_data_and_potentials_need_moves_too(rng):
    """The mixture reads neither the prices nor the costs of the components; named or not."""
    mix = first_two_exchanged(2)
    with pm.Model() as model:
        w = pm.Dirichlet("w", np.ones(2))
        mu = pm.Normal("mu", 0, 20, shape=2)
        price = pm.Normal("price", 0, 5, shape=2)
        cost = pm.Normal("cost", 0, 5, shape=2)
        pm.Normal("total", (w * price).sum(), 0.5, observed=2.3)
        pm.Potential("budget", -((w * cost).sum() ** 2))
        pm.NormalMixture("y", w=w, mu=mu, sigma=1e-4, observed=data(rng, 2))
    mu, w = switched(rng, 2, mix)
    both = {name: gather(rng.normal([1, 3], 0.1, (*LEAD, 2)), mix) for name in ("price", "cost")}
    dt = tree(mu=mu, w=w, **both)
    named = [f"{name}_dim_0" for name in dt.posterior.data_vars]
    for more in ({}, {"dim": named}):
        relabelled = labelswitch.relabel(dt, model=model, method="pra", **more)
        assert set(relabelled.permuted) == {"mu", "w", "price", "cost"}
        assert_same_points(model, dt, relabelled.dt)


def test_a_weight_of_zero_says_what_it_is(rng):
    mu, w = drawn(rng, 2)
    w[1] = [1.0, 0.0]
    with pm.Model(coords={"component": range(2)}) as model:
        weights = pm.Dirichlet("w", 0.5 * np.ones(2), dims="component")
        means = pm.Normal("mu", 0, 20, dims="component")
        pm.NormalMixture("y", w=weights, mu=means, sigma=1.0, observed=data(rng, 2))
    dt = tree(mu=mu, w=w, dims={"mu": ["component"], "w": ["component"]})
    with pytest.raises(ValueError, match=r"because of 'w'.*weight of exactly 0"):
        labelswitch.relabel(dt, model=model, permutations=np.tile([1, 0], (*LEAD, 1)))


# What else may carry labels -----------------------------------------------------------------------


def test_mixtures_that_share_a_dimension_only_are_refused(rng):
    with pm.Model(coords={"component": range(2)}) as model:
        for name in ("a", "b"):
            weights = pm.Dirichlet(f"w_{name}", np.ones(2), dims="component")
            means = pm.Normal(f"mu_{name}", 0, 20, dims="component")
            pm.NormalMixture(name, w=weights, mu=means, sigma=1.0, observed=data(rng, 2))
    mu, w = drawn(rng, 2)
    dims = {name: ["component"] for name in ("w_a", "mu_a", "w_b", "mu_b")}
    dt = tree(w_a=w, mu_a=mu, w_b=w, mu_b=mu, dims=dims)
    with pytest.raises(ValueError, match=r"'a' and 'b' share the dimension 'component' but no"):
        labelswitch.relabel(dt, model=model, method="pra")


def test_variables_that_the_model_does_not_know_warn(rng):
    mix = first_two_exchanged(2)
    with pm.Model(coords={"component": range(2)}) as model:
        w = pm.Dirichlet("w", np.ones(2), dims="component")
        mu = pm.Normal("mu", 0, 20, dims="component")
        pm.NormalMixture("y", w=w, mu=mu, sigma=1.0, observed=data(rng, 2))
    mu, w = switched(rng, 2, mix)
    dims = {"mu": ["component"], "w": ["component"], "z": ["row"], "pounds": ["other"]}
    z = np.argsort(mix, axis=-1)[..., np.arange(N) % 2]
    dt = tree(mu=mu, w=w, z=z, dims=dims)
    with pytest.warns(UserWarning, match=r"'z' looks like allocations"):
        labelswitch.relabel(dt, model=model)
    with pytest.warns(UserWarning, match=r"'pounds' has the dimension 'other' of length 2"):
        labelswitch.relabel(tree(mu=mu, w=w, pounds=2 * mu, dims=dims), model=model)


def test_many_dimensions_without_names_can_be_named(rng):
    mix = first_two_exchanged(2)
    slopes = [f"slope_{number}" for number in range(12)]
    x = rng.normal(size=(N, len(slopes)))
    with pm.Model() as model:
        w = pm.Dirichlet("w", np.ones(2))
        mu = sum(x[:, [i]] * pm.Normal(name, 0, 1, shape=2) for i, name in enumerate(slopes))
        pm.NormalMixture("y", w=w, mu=mu, sigma=1.0, observed=x.sum(axis=1))
    values = {name: rng.normal([-1, 1], 0.1, size=(*LEAD, 2)) for name in slopes}
    values["w"] = rng.dirichlet([20, 40], size=LEAD)
    dt = tree(**{name: gather(item, mix) for name, item in values.items()})
    with pytest.raises(ValueError, match=r"13 dimensions and variables .* name those that do"):
        labelswitch.relabel(dt, model=model)
    relabelled = labelswitch.relabel(dt, model=model, dim=[f"{name}_dim_0" for name in values])
    assert set(relabelled.permuted) == set(values)
    assert_same_points(model, dt, relabelled.dt)


# The draws belong to the data that were sampled ---------------------------------------------------


def regression(x, y):
    """Two lines through the origin, and what is computed from them at x."""
    with pm.Model(coords={"component": range(2)}) as model:
        x = pm.Data("x", x)
        w = pm.Dirichlet("w", np.ones(2), dims="component")
        b = pm.Normal("b", 0, 5, dims="component")
        line = pm.Deterministic("line", x[:, None] * b)
        pm.Deterministic("upper", line.max(axis=1))
        pm.Deterministic("lottery", pm.Normal.dist(b).sum() + x.sum())
        pm.NormalMixture("y", w=w, mu=line, sigma=0.5, observed=pm.Data("response", y))
    return model


def lines(rng, dtype=float, **groups):
    """Build a regression and its draws, with chain 1 switched."""
    x = np.linspace(-1, 1, N)
    y = 3 * x * (-1.0) ** np.arange(N)
    b = np.array([3.0, -3.0]) + 0.1 * rng.normal(size=(*LEAD, 2))
    b[1] = b[1, :, ::-1]
    line = x[:, None] * b[:, :, None]
    posterior = {"b": b, "w": rng.dirichlet([20, 20], size=LEAD), "lottery": rng.normal(size=LEAD)}
    posterior |= {"line": line, "upper": line.max(axis=-1)}
    dims = {"b": ["component"], "w": ["component"], "line": ["obs", "component"], "upper": ["obs"]}
    dims |= {"x": ["obs"], "y": ["obs"]}
    held = {"x": x, "y": y}
    groups = {name: {key: held[key] for key in keys} for name, keys in groups.items()}
    groups |= {"posterior": posterior}
    groups = {
        group: {name: values.astype(dtype) for name, values in items.items()}
        for group, items in groups.items()
    }
    return regression(x, y), az.from_dict(groups, dims=dims), line.max(axis=-1)


@pytest.mark.parametrize("new", [np.linspace(9, 11, N), np.array([10.0]), np.linspace(10, 20, 7)])
def test_what_the_model_computes_at_other_data_is_refused(rng, new):
    model, dt, _ = lines(rng)
    pm.set_data({"x": new, "response": np.zeros(len(new))}, model=model)
    with pytest.raises(ValueError, match=r"does not give back the 'line', 'upper' .*pm.set_data"):
        labelswitch.relabel(dt, model=model, method="pra")
    # What is not stored is not judged.
    del dt["posterior"]["line"], dt["posterior"]["upper"]
    assert labelswitch.relabel(dt, model=model, method="pra").recomputed == ("lottery",)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("groups", "named"),
    [
        ({"observed_data": "y"}, "'y'"),
        ({"constant_data": "x"}, "'x'"),
        ({"observed_data": "y", "constant_data": "x"}, "'x', 'y'"),
    ],
)
def test_data_that_are_not_those_of_the_draws_are_named(rng, dtype, groups, named):
    model, dt, upper = lines(rng, dtype, **groups)
    relabelled = labelswitch.relabel(dt, model=model, method="pra")
    assert relabelled.recomputed == ("lottery",)
    np.testing.assert_array_equal(relabelled.dt.posterior["upper"], upper.astype(dtype))
    pm.set_data({"x": np.ones(N), "response": np.zeros(N)}, model=model)
    with pytest.raises(ValueError, match=rf"its data {named} are not those that dt holds"):
        labelswitch.relabel(dt, model=model, method="pra")


def test_data_that_only_start_the_chains_may_change(rng):
    mu, w = switched(rng, 2, first_two_exchanged(2))
    with pm.Model(coords={"component": range(2)}) as model:
        weights = pm.Dirichlet("w", np.ones(2), dims="component")
        start = pm.Data("start", [0.0, 10.0])
        means = pm.Normal("mu", 0, 20, dims="component", initval=start)
        pm.NormalMixture("y", w=weights, mu=means, sigma=1.0, observed=data(rng, 2))
    groups = {"posterior": {"mu": mu, "w": w}, "constant_data": {"start": np.array([10.0, 0.0])}}
    dt = az.from_dict(groups, dims={"mu": ["component"], "w": ["component"]})
    assert labelswitch.relabel(dt, model=model).permuted == ("mu", "w")


@pytest.mark.filterwarnings("ignore:Data in gaps contains missing values")
def test_data_that_are_drawn_or_missing_are_not_compared(rng):
    mu, w = drawn(rng, 2)
    y = data(rng, 2)
    gaps = np.where(np.arange(N) == 5, np.nan, y)
    with pm.Model(coords={"component": range(2)}) as model:
        weights = pm.Dirichlet("w", np.ones(2), dims="component")
        means = pm.Normal("mu", 0, 20, dims="component")
        pm.Normal("batch", 0, 5, observed=pm.Minibatch(y, batch_size=4), total_size=N)
        pm.Normal("gaps", 0, 5, observed=gaps)
        pm.NormalMixture("y", w=weights, mu=means, sigma=1.0, observed=y)
    posterior = {"mu": mu, "w": w, "gaps_unobserved": rng.normal(size=(*LEAD, 1))}
    observed = {"y": y, "batch": y, "gaps": gaps}
    groups = {"posterior": posterior, "observed_data": observed}
    dt = az.from_dict(groups, dims={"mu": ["component"], "w": ["component"]})
    assert (labelswitch.relabel(dt, model=model).permutations == [0, 1]).all()


def test_the_dimensions_that_belong_together_are_found_without_trying_all_subsets(rng, monkeypatch):
    """Seven slopes, weights, a variable of its own, and a latent axis that two factors share."""
    mix = first_two_exchanged(2)
    x = rng.normal(size=(N, 8))
    with pm.Model() as model:
        w = pm.Dirichlet("w", np.ones(2))
        mu = sum(x[:, [i]] * pm.Normal(f"b{i}", 0, 1, shape=2) for i in range(7))
        left = pm.Normal("left", 0, 1, shape=2)
        right = pm.Normal("right", 0, 1, shape=2)
        mu = mu + x[:, [7]] * pt.dot(left, right)
        pm.Normal("seasons", 0, 1, shape=2)
        pm.NormalMixture("y", w=w, mu=mu, sigma=1.0, observed=x.sum(axis=1))
    own = {f"b{i}": gather(rng.normal([-1, 1], 0.1, size=(*LEAD, 2)), mix) for i in range(7)}
    own["w"] = gather(rng.dirichlet([20, 40], size=LEAD), mix)
    others = {name: rng.normal(size=(*LEAD, 2)) for name in ("left", "right", "seasons")}
    dt = tree(**own, **others)
    tried = []
    search = exchangeability._Search
    holds = search.holds
    monkeypatch.setattr(
        search, "holds", lambda *args, **more: tried.append(1) or holds(*args, **more)
    )
    relabelled = labelswitch.relabel(dt, model=model)
    assert set(relabelled.permuted) == set(own)
    assert len(tried) < 200  # of 2047 subsets
    assert_same_points(model, dt, relabelled.dt)
