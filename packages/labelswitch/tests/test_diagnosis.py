"""Each way for chains to disagree gets its own verdict."""

import arviz_base as az
import numpy as np
import pytest
from arviz_stats import ess, rhat

import labelswitch

N_CHAINS, N_DRAWS = 4, 500


def tree(mu, w=None, **more):
    posterior = {"mu": mu} | ({} if w is None else {"w": w}) | more
    dims = {"mu": ["component"], "w": ["component"], "transition": ["component", "component_to"]}
    return az.from_dict({"posterior": posterior}, dims=dims)


@pytest.fixture
def rng():
    return np.random.default_rng(5)


@pytest.fixture
def mu(rng):
    return rng.normal([-3.0, 0.0, 3.0], 0.3, size=(N_CHAINS, N_DRAWS, 3))


@pytest.fixture
def w(rng):
    return rng.dirichlet([30, 30, 40], size=(N_CHAINS, N_DRAWS))


def gather(values, mix):
    return np.take_along_axis(values, mix, axis=-1)


def test_no_switching(mu, w):
    diagnosis = labelswitch.diagnose(tree(mu, w))
    assert diagnosis.verdict.splitlines()[0] == "No label switching was found."
    assert "use the draws as they are" in diagnosis.verdict
    assert (diagnosis.switches["changes"] == 0).all()
    assert (diagnosis.switches["share"] == 1).all()


def test_switching_between_chains(mu, w):
    mix = np.tile(np.arange(3), (N_CHAINS, N_DRAWS, 1))
    mix[2] = [1, 2, 0]
    diagnosis = labelswitch.diagnose(tree(gather(mu, mix), gather(w, mix)))
    first, second, *_ = diagnosis.verdict.splitlines()
    assert first == "The labels switch between chains: 4 chains, 2 labellings."
    assert second.endswith("the labels were the fault.")
    # relabelled[t, j] = original[t, permutation[j]], and original[t, j] = mu[t, mix[j]]
    labellings = diagnosis.switches["labelling"]
    assert labellings[0] == (0, 1, 2)
    assert labellings[2] == tuple(np.argsort([1, 2, 0]).tolist())
    assert (diagnosis.switches["changes"] == 0).all()


def test_switching_within_chains_counts_changes(mu):
    mix = np.tile(np.arange(3), (N_CHAINS, N_DRAWS, 1))
    mix[1, 100:300] = [2, 1, 0]  # there and back: two changes
    mix[3, 450:] = [0, 2, 1]  # one change
    diagnosis = labelswitch.diagnose(tree(gather(mu, mix)))
    assert diagnosis.switches["changes"].tolist() == [0, 2, 0, 1]
    assert diagnosis.switches["share"].tolist() == [1.0, 0.6, 1.0, 0.9]
    first = diagnosis.verdict.splitlines()[0]
    assert first == "The labels switch within chains (1, 3): the permutation changes 3 times."


def test_single_stray_draws_are_not_called_switching(mu):
    mix = np.tile(np.arange(3), (N_CHAINS, N_DRAWS, 1))
    mix[1, 100] = [2, 1, 0]
    verdict = labelswitch.diagnose(tree(gather(mu, mix))).verdict
    assert verdict.splitlines()[:2] == [
        "No label switching was found.",
        "Single draws that leave the labelling of their chain: 1.",
    ]


def test_random_labels_look_converged_and_are_not_used_as_they_are(rng, mu, w):
    mix = rng.permuted(np.tile(np.arange(3), (N_CHAINS, N_DRAWS, 1)), axis=-1)
    diagnosis = labelswitch.diagnose(tree(gather(mu, mix), gather(w, mix)))
    assert diagnosis.table["r_hat_labelled"].max() < 1.02
    assert "switch within chains (0, 1, 2, 3)" in diagnosis.verdict
    assert "No label switching" not in diagnosis.verdict
    assert "use the draws as they are" not in diagnosis.verdict


def test_chains_that_disagree_about_invariants_are_beyond_relabelling(mu, w):
    stuck = mu.copy()
    stuck[3] += [0.0, 2.0, 0.0]  # a component elsewhere
    diagnosis = labelswitch.diagnose(tree(stuck, w))
    assert "no relabelling repairs that" in diagnosis.verdict
    assert diagnosis.table.loc["mu", "r_hat_total"] > 1.2


@pytest.mark.filterwarnings("ignore:'theta' has the dimension 'axis'")
def test_the_wrong_method_is_blamed_when_invariants_agree(rng):
    """Two coordinates; sorting by the one in which components coincide leaves r-hat bad."""
    theta = np.stack(
        [rng.normal([-5, 5], 0.1, (4, 500, 2)), np.tile([0.0, 0.1], (4, 500, 1))], axis=-1
    )
    theta[1] = theta[1, :, ::-1]
    theta[2, :, :, 1] = [0.1, 0.0]  # the constraint and the truth disagree here
    dt = az.from_dict({"posterior": {"theta": theta}}, dims={"theta": ["component", "axis"]})
    verdict = labelswitch.diagnose(dt, method="order", index=1).verdict
    assert "compare methods" in verdict
    assert "after relabelling r-hat is still" in verdict


def test_one_chain(mu):
    diagnosis = labelswitch.diagnose(tree(mu[:1]))
    assert diagnosis.table.filter(like="r_hat").isna().all(axis=None)
    assert diagnosis.table.filter(like="ess").notna().all(axis=None)
    assert "One chain cannot show switching between chains" in diagnosis.verdict


def test_small_ess_is_reported(rng):
    steps = rng.normal(size=(4, 500, 2)).cumsum(axis=1) / 30
    verdict = labelswitch.diagnose(tree(np.array([-20.0, 20.0]) + steps)).verdict
    assert "The smallest ESS after relabelling is" in verdict


def test_table_is_what_arviz_computes_and_the_worst_of_each_variable(rng, mu, w):
    mix = np.tile(np.arange(3), (N_CHAINS, N_DRAWS, 1))
    mix[2, 200:] = [1, 2, 0]
    mixed_mu, mixed_w = gather(mu, mix), gather(w, mix)
    row = labelswitch.diagnose(tree(mixed_mu, mixed_w)).table.loc["mu"]
    expected = {
        "labelled": mixed_mu,
        "relabelled": mu,
        "sorted": np.sort(mu, axis=-1),
        "total": (mu * w).sum(-1, keepdims=True),
    }
    for kind, values in expected.items():
        elements = [values[..., j] for j in range(values.shape[-1])]
        assert row[f"r_hat_{kind}"] == pytest.approx(max(rhat(e) for e in elements), rel=1e-12)
        assert row[f"ess_{kind}"] == pytest.approx(min(ess(e) for e in elements), rel=1e-12)
    unweighted = labelswitch.diagnose(tree(mixed_mu)).table.loc["mu"]
    assert unweighted["ess_total"] == pytest.approx(float(ess(mu.sum(-1))), rel=1e-12)


def test_matrices_and_constants(rng, mu):
    transition = rng.dirichlet(np.ones(3), size=(N_CHAINS, N_DRAWS, 3))
    dt = tree(mu, transition=transition, scale=np.ones((N_CHAINS, N_DRAWS)))
    dt["posterior"]["fixed"] = dt["posterior"]["mu"] * 0.0
    table = labelswitch.diagnose(dt, dim=["component", "component_to"], var_names="mu").table
    assert sorted(table.index) == ["fixed", "mu", "transition"]
    assert table.loc["fixed"].isna().all()
    assert np.isnan(table.loc["transition", "r_hat_total"])
    flat = np.sort(transition.reshape(N_CHAINS, N_DRAWS, 9), axis=-1)
    expected = min(float(ess(flat[..., j])) for j in range(9))
    assert table.loc["transition", "ess_sorted"] == pytest.approx(expected, rel=1e-12)


def test_the_method_follows_the_inputs(mu):
    z = np.tile(np.arange(3), (N_CHAINS, N_DRAWS, 2))
    p = np.tile(np.tile(0.8 * np.eye(3) + 0.2 / 3, (2, 1)), (N_CHAINS, N_DRAWS, 1, 1))
    dt = tree(mu, z=z, p=p)
    dt["posterior"] = dt["posterior"].to_dataset().rename(p_dim_1="component_p")
    dim = ["component", "component_p"]
    for inputs, method in (
        ({"allocations": ()}, "pra"),
        ({"allocations": "z"}, "ecr_iterative_1"),
        ({"allocations": "z", "responsibilities": "p"}, "stephens"),
    ):
        diagnosis = labelswitch.diagnose(dt, dim=dim, **inputs)
        assert diagnosis.relabelled.method == method


def test_repr_shows_verdict_and_tables(mu):
    text = repr(labelswitch.diagnose(tree(mu)))
    for part in ("<Diagnosis by pra>", "No label switching", "r_hat_sorted", "labelling", "100.0%"):
        assert part in text
