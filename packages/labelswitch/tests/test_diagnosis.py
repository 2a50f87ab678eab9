"""Each way for chains to disagree gets its own verdict."""

from importlib.util import find_spec

import arviz_base as az
import numpy as np
import pytest
import xarray as xr
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


def autoregressive(rng, correlation, size, lead=(4, 500)):
    """Stationary AR(1) draws with variance one."""
    steps = rng.normal(size=(*lead, size)) * np.sqrt(1 - correlation**2)
    steps[:, 0] = rng.normal(size=(lead[0], size))
    for draw in range(1, lead[1]):
        steps[:, draw] += correlation * steps[:, draw - 1]
    return steps


def test_no_switching(mu, w):
    diagnosis = labelswitch.diagnose(tree(mu, w))
    assert diagnosis.verdict.splitlines()[0] == "No label switching was found."
    assert diagnosis.recommendation == "use_as_sampled"
    assert diagnosis.findings == ("no_switching", "not_needed")
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
    diagnosis = labelswitch.diagnose(tree(gather(mu, mix)))
    assert diagnosis.verdict.splitlines()[:2] == [
        "No label switching was found.",
        "Single draws that leave the labelling of their chain: 1.",
    ]
    assert diagnosis.recommendation == "use_relabelled"


def test_chains_of_several_runs_are_told_apart_by_their_place(mu):
    """Concatenated runs repeat the labels of their chains."""
    runs = [tree(run)["posterior"].to_dataset() for run in (mu[:2, :, [2, 0, 1]], mu[2:])]
    dt = xr.DataTree.from_dict({"posterior": xr.concat(runs, "chain")})
    diagnosis = labelswitch.diagnose(dt)
    assert diagnosis.switches.index.tolist() == [0, 1, 0, 1]
    assert diagnosis.findings == ("switching_between_chains", "repaired")
    assert diagnosis.recommendation == "use_relabelled"
    values = dt["posterior"]["mu"].values
    values[3, 100:300] = values[3, 100:300, ::-1]
    diagnosis = labelswitch.diagnose(dt)
    assert "within chains (1): the permutation changes 2 times" in diagnosis.verdict
    assert "Single draws" not in diagnosis.verdict


def test_draws_with_a_bad_r_hat_are_never_used_as_sampled(monkeypatch, mu):
    """Whatever the reason that no switching was found."""
    mu[2] = mu[2, :, ::-1]
    found = labelswitch.diagnose(tree(mu)).switches
    steady = found.assign(labelling=[(0, 1, 2)] * N_CHAINS)
    monkeypatch.setattr(labelswitch.diagnosis, "_switches", lambda *_: steady)
    diagnosis = labelswitch.diagnose(tree(mu))
    assert diagnosis.findings == ("no_switching", "repaired")
    assert diagnosis.recommendation == "use_relabelled"


def test_random_labels_look_converged_and_are_not_used_as_they_are(rng, mu, w):
    mix = rng.permuted(np.tile(np.arange(3), (N_CHAINS, N_DRAWS, 1)), axis=-1)
    diagnosis = labelswitch.diagnose(tree(gather(mu, mix), gather(w, mix)))
    assert diagnosis.table["r_hat_labelled"].max() < 1.02
    assert "switch within chains (0, 1, 2, 3)" in diagnosis.verdict
    assert "No label switching" not in diagnosis.verdict
    assert diagnosis.recommendation == "use_relabelled"


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
    diagnosis = labelswitch.diagnose(dt, method="order", index=1)
    assert diagnosis.recommendation not in USE


def test_one_chain(mu):
    diagnosis = labelswitch.diagnose(tree(mu[:1]))
    assert diagnosis.table.filter(like="r_hat").isna().all(axis=None)
    assert diagnosis.table.filter(like="ess").notna().all(axis=None)
    assert "One chain cannot show switching between chains" in diagnosis.verdict


def test_small_ess_is_reported(rng):
    diagnosis = labelswitch.diagnose(tree(np.array([-20.0, 20.0]) + autoregressive(rng, 0.9, 2)))
    assert "The smallest ESS after relabelling is" in diagnosis.verdict
    assert diagnosis.recommendation == "run_longer"


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
    assert table.loc["fixed"].drop("element").isna().all()
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


# Cases with known truth ---------------------------------------------------------------------------

CENTRES = np.array([-3.0, 0.0, 3.0])
# Nothing here needs an extra: where they are missing, five seeds show that nothing else is.
SEEDS = range(20 if find_spec("pymc") else 5)
USE = {"use_relabelled", "use_as_sampled"}


def switch(rng, kind, n_chains, n_draws, size=3):
    """Return permutations (chain, draw, component) that mix the labels."""
    mix = np.tile(np.arange(size), (n_chains, n_draws, 1))
    if kind == "between":
        mix[rng.integers(1, n_chains)] = np.roll(np.arange(size), 1)
        mix[0] = np.arange(size)
    elif kind == "within":
        for chain in range(n_chains):
            start, stop = sorted(rng.choice(np.arange(n_draws // 5, n_draws - 1), 2, replace=False))
            mix[chain, start : stop + n_draws // 10] = np.roll(np.arange(size), 1 + chain % 2)
    elif kind == "random":
        mix = rng.permuted(mix, axis=-1)
    return mix


def simple(rng, n_chains, n_draws, kind, elsewhere=False, correlation=0.0):
    noise = autoregressive(rng, correlation, 3, (n_chains, n_draws))
    mu = CENTRES + 0.3 * noise
    w = rng.dirichlet([30, 30, 40], size=(n_chains, n_draws))
    if elsewhere:
        mu[-1, :, 1] += 1.2
    mix = switch(rng, kind, n_chains, n_draws)
    return tree(gather(mu, mix), gather(w, mix)), {}


def crowded(rng, n_chains, n_draws, kind):
    """Five components, three of them occupied: the two empty ones take any label, anywhere."""
    n = 30
    mu = np.concatenate(
        [
            CENTRES + 0.3 * rng.normal(size=(n_chains, n_draws, 3)),
            5 * rng.normal(size=(n_chains, n_draws, 2)),
        ],
        axis=-1,
    )
    w = rng.dirichlet([30, 30, 40, 0.5, 0.5], size=(n_chains, n_draws))
    mix = np.tile(np.arange(5), (n_chains, n_draws, 1))
    mix[..., :3] = switch(rng, kind, n_chains, n_draws)
    mix[..., 3:] = rng.permuted(mix[..., 3:], axis=-1)
    z = np.argsort(mix, axis=-1)[..., np.arange(n) % 3]
    dt = az.from_dict(
        {"posterior": {"mu": gather(mu, mix), "w": gather(w, mix), "z": z}},
        dims={"mu": ["component"], "w": ["component"], "z": ["obs"]},
    )
    return dt, {"allocations": "z"}


def schools(rng, n_chains, n_draws, kind):
    """Labels that are independent by group."""
    mu = np.array([-2.0, 2.0]) + 0.3 * rng.normal(size=(n_chains, n_draws, 4, 2))
    if kind == "within":
        mu = rng.permuted(mu, axis=-1)
        return az.from_dict({"posterior": {"mu": mu}}, dims={"mu": ["school", "component"]}), {}
    flip = rng.permuted(np.tile([0, 1], (n_chains, 4, 1)), axis=-1)[:, None]
    flip[0, 0, 0], flip[1, 0, 0], flip[0, 0, 1], flip[1, 0, 1] = [0, 1], [1, 0], [0, 1], [0, 1]
    mu = np.take_along_axis(mu, np.broadcast_to(flip, mu.shape), axis=-1)
    return az.from_dict({"posterior": {"mu": mu}}, dims={"mu": ["school", "component"]}), {}


def overlapping(rng, n_chains, n_draws):
    """Two components that share their values, in chains that disagree about the labels only."""
    centre = np.array([[0.0, 0.35], [0.35, 0.0]])[np.arange(n_chains) % 2]
    noise = rng.normal(size=(n_chains, n_draws, 2))
    theta = np.stack([centre[:, None] + noise, -centre[:, None] + noise[..., ::-1]], axis=-1)
    return az.from_dict({"posterior": {"theta": theta}}, dims={"theta": ["component", "side"]}), {
        "method": "order",
        "var_names": "theta",
        "index": 0,
    }


def with_nan(rng, n_chains, n_draws):
    dt, inputs = simple(rng, n_chains, n_draws, "between")
    dt["posterior"]["mu"].values[1, 3, 2] = np.nan
    return dt, inputs


KINDS = {
    "none": "no_switching",
    "between": "switching_between_chains",
    "within": "switching_within_chains",
}
CASES = {}
for chains in (2, 3, 4):
    for length, draws in (("short", 80), ("long", 400)):
        for kind, finding in KINDS.items():
            for elsewhere in (False, True):
                name = f"{chains} chains, {length}, {kind}, {'elsewhere' if elsewhere else 'fine'}"
                wanted, allowed = (
                    {finding},
                    {"use_as_sampled" if kind == "none" else "use_relabelled"},
                )
                if elsewhere:
                    wanted, allowed = {finding, "another_mode"}, {"do_not_use"}
                elif kind != "none":
                    wanted = {finding, "repaired"}
                if length == "short" and not elsewhere:
                    allowed = allowed | {"run_longer"}
                arguments = (simple, chains, draws, kind, elsewhere)
                CASES[name] = (arguments, wanted, allowed)
CASES |= {
    "random labels": (
        (simple, 4, 300, "random"),
        {"switching_within_chains", "repaired"},
        {"use_relabelled"},
    ),
    "autocorrelated": ((simple, 4, 1000, "none", False, 0.8), {"no_switching"}, {"use_as_sampled"}),
    "autocorrelated, switched": (
        (simple, 4, 1000, "between", False, 0.8),
        {"switching_between_chains", "repaired"},
        {"use_relabelled"},
    ),
    "sixty draws": (
        (simple, 4, 60, "between"),
        {"switching_between_chains", "repaired"},
        {"use_relabelled", "run_longer"},
    ),
    "empty components": (
        (crowded, 4, 200, "none"),
        {"no_switching", "empty_components"},
        {"use_as_sampled"},
    ),
    "empty components, switched": (
        (crowded, 4, 200, "between"),
        {"switching_between_chains", "repaired", "empty_components"},
        {"use_relabelled"},
    ),
    "labels by group": ((schools, 4, 200, "between"), {"per_group_labels"}, {"use_by"}),
    "labels by group, within": ((schools, 4, 500, "within"), {"per_group_labels"}, {"use_by"}),
    "overlap": ((overlapping, 4, 400), {"overlap"}, {"compare_methods"}),
    "missing values": ((with_nan, 4, 200), {"nan"}, {"find_nan"}),
    "one chain": ((simple, 1, 200, "none"), {"one_chain"}, {"run_more_chains"}),
    "three draws": ((simple, 2, 3, "none"), {"too_few_draws"}, {"run_longer"}),
}


@pytest.mark.filterwarnings("ignore:'theta' has the dimension 'side'")
@pytest.mark.parametrize("case", CASES)
def test_the_truth_is_named(case):
    """At least 95 % of the verdicts over 20 seeds, and none that recommends wrong draws."""
    (make, *arguments), wanted, allowed = CASES[case]
    named, wrong = 0, []
    for seed in SEEDS:
        dt, inputs = make(np.random.default_rng([seed, 77]), *arguments)
        diagnosis = labelswitch.diagnose(dt, **inputs)
        right = wanted <= set(diagnosis.findings) and diagnosis.recommendation in allowed
        named += right
        if not right:
            wrong.append((seed, diagnosis.findings, diagnosis.recommendation))
        if diagnosis.recommendation in USE:
            assert diagnosis.recommendation in allowed, diagnosis.verdict
        assert "nan" not in diagnosis.verdict.replace("find_nan", "")
    assert named >= 0.95 * len(SEEDS), wrong


def test_false_alarms_are_as_rare_as_promised():
    """r-hat of converged chains exceeds its limit in about the promised share of data sets."""
    from labelswitch.diagnosis import FALSE_ALARMS, _judge

    alarms, trials = 0, 400
    for seed in range(trials):
        rng = np.random.default_rng([seed, 78])
        values = autoregressive(rng, 0.8 * (seed % 2), 6, (4, 200))
        judged = _judge(xr.DataArray(values, dims=("chain", "draw", "component")), 6)
        alarms += judged.is_bad
    assert alarms <= 3 * FALSE_ALARMS * trials


def test_lazy_posteriors_are_diagnosed(mu, w):
    pytest.importorskip("dask.array")
    dt = tree(mu, w)
    lazy = xr.DataTree.from_dict({"posterior": dt["posterior"].to_dataset().chunk(draw=100)})
    assert labelswitch.diagnose(lazy).verdict == labelswitch.diagnose(dt).verdict


def test_missing_values_are_named(mu, w):
    mu[2, 5, 1], mu[2, 7, 0], mu[3, 0, 0] = np.nan, np.inf, np.nan
    diagnosis = labelswitch.diagnose(tree(mu, w))
    first, last = diagnosis.verdict.splitlines()
    assert first == "'mu' holds NaN or infinite values in 3 draws of chains 2, 3."
    assert last.startswith("Do not use these draws")
    assert diagnosis.relabelled is None
    assert "Do not use" in repr(diagnosis)


# Nothing that was not judged is recommended -------------------------------------------------------


def test_a_parameter_without_components_is_judged(rng, mu, w):
    """The scale in one chain is another one; the weight of a component is a scalar of its own."""
    sigma = rng.normal(1, 0.05, size=(N_CHAINS, N_DRAWS))
    assert labelswitch.diagnose(tree(mu, w, sigma=sigma)).recommendation == "use_as_sampled"
    sigma[0] += 5
    diagnosis = labelswitch.diagnose(tree(mu, w, sigma=sigma))
    assert diagnosis.recommendation == "do_not_use"
    assert "another_mode" in diagnosis.findings
    assert "disagree about sigma (r-hat 1." in diagnosis.verdict
    mix = np.tile(np.arange(2), (N_CHAINS, N_DRAWS, 1))
    mix[1] = [1, 0]
    share = rng.beta(30, 10, size=(N_CHAINS, N_DRAWS))
    share[1] = 1 - share[1]
    diagnosis = labelswitch.diagnose(tree(gather(mu[..., ::2], mix), share=share))
    assert diagnosis.recommendation == "do_not_use"
    assert "belongs to one component and was not relabelled" in diagnosis.verdict


@pytest.mark.parametrize("fault", ["place", "scale"])
def test_of_many_elements_those_that_differ_most_are_judged(rng, mu, w, fault):
    many = rng.normal(size=(N_CHAINS, N_DRAWS, 1001))
    assert labelswitch.diagnose(tree(mu, w, many=many)).recommendation == "use_as_sampled"
    many[2, :, 777] *= 5 if fault == "scale" else 1
    many[2, :, 777] += 2 if fault == "place" else 0
    diagnosis = labelswitch.diagnose(tree(mu, w, many=many))
    assert "disagree about many (r-hat 1." in diagnosis.verdict
    assert diagnosis.recommendation == "do_not_use"


def test_a_parameter_without_components_needs_draws_too(rng, mu, w):
    """Its r-hat may be large by chance, for it has so few effective draws."""
    tau = autoregressive(rng, 0.995, 1)[..., 0]
    diagnosis = labelswitch.diagnose(tree(mu, w, tau=tau))
    assert "The smallest ESS of tau is " in diagnosis.verdict
    assert diagnosis.findings == ("no_switching", "not_needed", "too_few_draws")
    assert diagnosis.recommendation == "run_longer"


def test_what_follows_the_labels_is_named(rng, mu, w):
    """Where each chain visits all labellings alike, its r-hat is small all the same."""
    mix = rng.permuted(np.tile(np.arange(3), (N_CHAINS, N_DRAWS, 1)), axis=-1)
    mu, w = gather(mu, mix), gather(w, mix)
    tau = rng.normal(size=(N_CHAINS, N_DRAWS))
    diagnosis = labelswitch.diagnose(tree(mu, w, tau=tau))
    assert diagnosis.recommendation == "use_relabelled"
    nameless = {"mu": mu, "tau": tau, "first": mu[..., 0], "pair": w[..., :2]}
    dt = az.from_dict({"posterior": nameless}, dims={"mu": ["component"]})
    diagnosis = labelswitch.diagnose(dt)
    assert "The labels have moved first, pair, and relabelling has not" in diagnosis.verdict
    assert "follows_labels" in diagnosis.findings
    assert diagnosis.recommendation == "judge_first"


@pytest.mark.parametrize("correlation", [0.0, 0.9])
def test_what_does_not_follow_the_labels_is_not_named(correlation):
    for seed in range(20):
        rng = np.random.default_rng([seed, 79])
        flip = rng.random((4, 1000)) < 0.02
        flip = np.logical_xor.accumulate(flip, axis=1)[..., np.newaxis]
        mu = rng.normal([-3.0, 3.0], 0.3, size=(4, 1000, 2))
        mu = np.where(flip, mu[..., ::-1], mu)
        taus = autoregressive(rng, correlation, 5, (4, 1000))
        verdict = labelswitch.diagnose(tree(mu, taus=taus)).verdict
        assert "The labels have moved" not in verdict


@pytest.mark.parametrize("kind", [np.int64, np.uint8, bool])
@pytest.mark.parametrize("size", [(), (3,), (3, 4)])
def test_whole_numbers_are_judged_as_numbers(rng, mu, kind, size):
    """Scalars, those of components, and indicators of components and features."""
    values = rng.integers(0, 2, size=(N_CHAINS, N_DRAWS, *size))
    dims = {"mu": ["component"], "values": ["component", "feature"][: len(size)]}
    for is_bad in (False, True):
        if is_bad:
            values[2:] = 1
        groups = {"posterior": {"mu": mu, "values": values.astype(kind)}}
        dt = az.from_dict(groups, dims=dims)
        diagnosis = labelswitch.diagnose(dt, var_names="mu", allocations=())
        assert diagnosis.recommendation == ("do_not_use" if is_bad else "use_as_sampled")


def test_what_is_not_judged_is_named_and_not_used(mu, w):
    diagnosis = labelswitch.diagnose(tree(mu, w, c=mu[..., 0] * 1j))
    assert "Not judged, for its values are no real numbers: c." in diagnosis.verdict
    assert diagnosis.findings == ("no_switching", "not_needed", "not_judged")
    assert diagnosis.recommendation == "judge_first"


def test_whole_numbers_that_are_no_allocations_are_judged(rng, mu, w):
    indicators = rng.integers(0, 2, size=(N_CHAINS, N_DRAWS, 6))
    for recommendation in ("use_as_sampled", "do_not_use"):
        diagnosis = labelswitch.diagnose(tree(mu, w, indicators=indicators), allocations=())
        assert diagnosis.recommendation == recommendation
        indicators[2:] = 1


def test_parameters_of_single_observations_are_judged(rng, mu):
    effects = rng.normal(size=(N_CHAINS, N_DRAWS, 8))
    dims = {"mu": ["component"], "effects": ["school"], "y": ["school"]}
    for recommendation in ("use_as_sampled", "do_not_use"):
        groups = {"posterior": {"mu": mu, "effects": effects}, "observed_data": {"y": np.zeros(8)}}
        diagnosis = labelswitch.diagnose(az.from_dict(groups, dims=dims))
        assert diagnosis.recommendation == recommendation
        effects[3] += 20


def test_what_may_be_of_groups_or_of_observations_is_judged(rng, mu):
    """Both the rows and the schools are observed, and nothing says which the mixture is of."""
    by_school = rng.normal(size=(N_CHAINS, N_DRAWS, 3, 5))
    dims = {"mu": ["component"], "by_school": ["component", "school"], "y": ["row"]}
    for observed in ({"y": np.zeros(50)}, {"y": np.zeros(50), "g": np.zeros(5)}):
        for values, recommendation in (
            (by_school, "use_as_sampled"),
            (by_school + 5 * (np.arange(N_CHAINS) == 1)[:, None, None, None], "do_not_use"),
        ):
            groups = {"posterior": {"mu": mu, "by_school": values}, "observed_data": observed}
            dt = az.from_dict(groups, dims=dims | {"g": ["school"]})
            diagnosis = labelswitch.diagnose(dt, var_names="mu")
            assert diagnosis.recommendation == recommendation
            assert ("by_school" in diagnosis.table.index) == ("g" not in observed)


def test_values_that_belong_together_otherwise_are_another_mode(rng, mu):
    """The means agree between chains, and so do the scales, but not which of them are one's."""
    sigma = rng.normal([1.0, 2.0, 3.0], 0.1, size=(N_CHAINS, N_DRAWS, 3))
    assert labelswitch.diagnose(tree(mu, w=sigma)).recommendation == "use_as_sampled"
    sigma[2:] = sigma[2:, :, [1, 0, 2]]
    diagnosis = labelswitch.diagnose(tree(mu, w=sigma))
    assert "disagree about which values belong to one component" in diagnosis.verdict
    assert "another_mode" in diagnosis.findings
    assert diagnosis.recommendation == "do_not_use"


def test_a_transition_matrix_alone_has_no_pairs_of_parameters(rng):
    """Left as it was by permutations that move nothing, though one chain has other labels."""
    rows = rng.dirichlet([30, 2, 2], size=(N_CHAINS, N_DRAWS))
    others = rng.dirichlet([2, 10, 20], size=(N_CHAINS, N_DRAWS, 2))
    transition = np.concatenate([rows[:, :, np.newaxis], others], axis=2)
    transition[2] = transition[2][:, ::-1, ::-1]
    dt = tree(np.zeros((N_CHAINS, N_DRAWS, 3)), transition=transition)
    dt["posterior"] = dt["posterior"].to_dataset().drop_vars("mu")
    same = np.tile(np.arange(3), (N_CHAINS, N_DRAWS, 1))
    diagnosis = labelswitch.diagnose(dt, dim=["component", "component_to"], permutations=same)
    assert diagnosis.recommendation == "compare_methods"


def test_many_elements_of_a_single_draw_are_not_judged(rng):
    many = rng.normal(size=(1, 1, 1001))
    mu = rng.normal([-3.0, 3.0], 0.1, size=(1, 1, 2))
    assert labelswitch.diagnose(tree(mu, many=many)).recommendation == "run_longer"


def test_the_same_chain_twice_is_one_chain(mu, w):
    mu[3], w[3] = mu[1], w[1]
    diagnosis = labelswitch.diagnose(tree(mu, w))
    assert "Chains 1 and 3 hold the same draws and are one chain" in diagnosis.verdict
    assert "repeated_chains" in diagnosis.findings
    assert diagnosis.recommendation == "run_more_chains"
    mu[3, 0, 0] += 1e-9
    assert labelswitch.diagnose(tree(mu, w)).recommendation == "use_as_sampled"


def test_parameters_of_groups_are_judged(rng):
    """Observations by school and pupil: what has the schools only is about them."""
    mu = rng.normal([-2.0, 2.0], 0.1, size=(N_CHAINS, N_DRAWS, 3, 2))
    mu[0] += 8
    weights = rng.dirichlet([30, 60], size=(N_CHAINS, N_DRAWS, 3))
    dims = {"mu": ["school", "component"], "v": ["school", "component"]}
    groups = {"posterior": {"mu": mu, "v": weights}}
    p = np.where(np.arange(40)[:, None] % 2, [0.01, 0.99], [0.99, 0.01])
    p = xr.DataArray(
        np.broadcast_to(p, (N_CHAINS, N_DRAWS, 3, 40, 2)),
        dims=["chain", "draw", "school", "pupil", "component"],
    )
    dt = az.from_dict(groups, dims=dims)
    observed = az.from_dict(
        groups | {"observed_data": {"y": np.zeros((3, 40))}},
        dims=dims | {"y": ["school", "pupil"]},
    )
    for diagnosis in (
        labelswitch.diagnose(dt, by="school", responsibilities=p),
        labelswitch.diagnose(observed),
    ):
        assert list(diagnosis.table.index) == ["mu", "v"]
        assert diagnosis.recommendation == "do_not_use"


def test_nothing_to_judge_is_no_reason_to_use(rng):
    z = np.tile(np.arange(2), (N_CHAINS, N_DRAWS, 10))
    p = xr.DataArray(np.eye(2)[z], dims=["chain", "draw", "row", "component"])
    dt = az.from_dict({"posterior": {"p": p.values}}, dims={"p": ["row", "component"]})
    diagnosis = labelswitch.diagnose(dt, responsibilities="p")
    assert diagnosis.findings == ("no_switching", "not_judged")
    assert diagnosis.recommendation == "judge_first"


@pytest.mark.parametrize("is_switched", [False, True])
def test_chains_that_stand_still_are_not_used(is_switched):
    mu = np.tile([-2.0, 0.0, 2.0], (N_CHAINS, N_DRAWS, 1))
    if is_switched:
        mu[1] = mu[1, :, ::-1]
    diagnosis = labelswitch.diagnose(tree(mu))
    assert diagnosis.recommendation == "do_not_use"
    assert "not_judged" in diagnosis.findings
    assert "the chains stand still" in diagnosis.verdict


def test_variables_of_single_components_are_judged(rng):
    pm = pytest.importorskip("pymc")
    y = np.concatenate([rng.normal(-2, 1, 20), rng.normal(2, 1, 20)])
    with pm.Model(coords={"component": range(2)}) as model:
        w = pm.Dirichlet("w", np.ones(2), dims="component")
        left, right = pm.Normal("left", 0, 5), pm.Normal("right", 0, 5)
        components = [pm.Normal.dist(left, 1), pm.Normal.dist(right, 1)]
        pm.Mixture("y", w=w, comp_dists=components, observed=y)
    ends = rng.normal([-2.0, 2.0], 0.1, size=(2, 60, 2))
    weights = rng.dirichlet([20, 20], size=(2, 60))
    ends[0, :, 1] += 3
    posterior = {"left": ends[..., 0], "right": ends[..., 1], "w": weights}
    dt = az.from_dict({"posterior": posterior}, dims={"w": ["component"]})
    diagnosis = labelswitch.diagnose(dt, model=model)
    assert list(diagnosis.table.index) == ["w", "left, right"]
    assert diagnosis.recommendation == "do_not_use"


def test_a_component_is_empty_only_where_no_chain_fills_it(rng):
    """Three rows in one chain, none in the others: less than one on average."""
    n = 40
    mu = rng.normal([-2.0, 2.0, 0.0], [0.1, 0.1, 5.0], size=(N_CHAINS, N_DRAWS, 3))
    mu[0, :, 2] = rng.normal(9, 0.3, size=N_DRAWS)
    z = np.tile(np.repeat([0, 1], n // 2), (N_CHAINS, N_DRAWS, 1))
    z[0, :, -3:] = 2
    p = 0.998 * np.eye(3)[z] + 0.002 / 3
    dims = {"mu": ["component"], "z": ["row"], "p": ["row", "component"]}
    dt = az.from_dict({"posterior": {"mu": mu, "z": z, "p": p}}, dims=dims)
    for inputs in ({"allocations": "z"}, {"responsibilities": "p", "allocations": "z"}):
        diagnosis = labelswitch.diagnose(dt, **inputs)
        assert "empty_components" not in diagnosis.findings
        assert diagnosis.recommendation == "do_not_use"
    dt["posterior"]["z"].values[0, :, -3:] = 1
    assert "empty_components" in labelswitch.diagnose(dt, allocations="z").findings


@pytest.mark.parametrize(
    ("share", "chains", "recommendation"),
    [(0.95, [0, 1, 2, 3], "use_as_sampled"), (0.95, [0], "do_not_use"), (0.4, [0], "do_not_use")],
)
def test_a_component_that_holds_one_observation_is_not_empty(rng, share, chains, recommendation):
    """In most draws of a chain; and where in fewer, the chains must agree about that."""
    mu = rng.normal([-2.0, 2.0, 9.0], [0.1, 0.1, 0.3], size=(N_CHAINS, N_DRAWS, 3))
    z = np.tile(np.repeat([0, 1], 20), (N_CHAINS, N_DRAWS, 1))
    holds = rng.random((N_CHAINS, N_DRAWS)) < share
    holds[[chain not in chains for chain in range(N_CHAINS)]] = False
    z[holds, -1] = 2
    mu[~holds, 2] = rng.normal(0, 5, size=(~holds).sum())
    diagnosis = labelswitch.diagnose(tree(mu, z=z), allocations="z")
    assert diagnosis.recommendation == recommendation
    assert ("empty_components" in diagnosis.findings) == (share < 0.5)


def test_a_part_of_the_observations_shows_no_empty_component(rng):
    """Every hundredth of a thousand rows; the third component holds sixty others."""
    mu = rng.normal([-2.0, 2.0, 9.0], 0.1, size=(N_CHAINS, N_DRAWS, 3))
    mu[0, :, 2] += 5
    weights = rng.dirichlet([60, 34, 6], size=(N_CHAINS, N_DRAWS))
    z = np.tile(np.repeat([0, 1], 5), (N_CHAINS, N_DRAWS, 1))
    p = xr.DataArray(0.999 * np.eye(3)[z] + 0.001 / 3, dims=["chain", "draw", "row", "component"])
    dims = {"mu": ["component"], "w": ["component"], "y": ["row"]}
    groups = {"posterior": {"mu": mu, "w": weights}, "observed_data": {"y": np.zeros(1000)}}
    diagnosis = labelswitch.diagnose(az.from_dict(groups, dims=dims), responsibilities=p)
    assert "empty_components" not in diagnosis.findings
    assert diagnosis.recommendation == "do_not_use"
    # Of groups with rows each, the observations are the rows of all groups.
    groups["observed_data"]["y"] = np.zeros((5, 200))
    mu[0, :, 0] -= 8
    groups["posterior"]["w"] = rng.dirichlet([3, 300, 300], size=(N_CHAINS, N_DRAWS))
    dims["y"] = ["group", "row"]
    diagnosis = labelswitch.diagnose(az.from_dict(groups, dims=dims), method="pra")
    assert "empty_components" not in diagnosis.findings
    assert diagnosis.recommendation == "do_not_use"


@pytest.mark.parametrize("kind", [int, float])
def test_the_cells_of_a_histogram_are_not_its_observations(rng, kind):
    """A twentieth of some thousand is not empty, though it is less than one of fifteen bins."""
    mu = rng.normal([0.0, 6.0], 0.2, size=(N_CHAINS, N_DRAWS, 2))
    mu[3, :, 1] -= 12
    w = rng.dirichlet([950, 50], size=(N_CHAINS, N_DRAWS))
    counts = rng.poisson(300, size=15).astype(kind)
    groups = {"posterior": {"mu": mu, "w": w}, "observed_data": {"counts": counts}}
    dims = {"mu": ["component"], "w": ["component"], "counts": ["bin"]}
    diagnosis = labelswitch.diagnose(az.from_dict(groups, dims=dims))
    assert "empty_components" not in diagnosis.findings
    assert diagnosis.recommendation == "do_not_use"


@pytest.mark.parametrize("has_empty", [False, True])
def test_one_component_under_two_names_is_not_interpreted(rng, has_empty):
    size = 2 + has_empty
    mu = rng.normal(0, 0.3, size=(N_CHAINS, N_DRAWS, size))
    z = rng.integers(0, 2, size=(N_CHAINS, N_DRAWS, 60))
    dt = tree(mu, z=z)
    diagnosis = labelswitch.diagnose(dt, allocations="z")
    assert diagnosis.recommendation == "compare_methods"
    assert "Two components hold the same observations" in diagnosis.verdict


@pytest.mark.parametrize("distance", [0.0, 8.0])
def test_components_alike_are_noticed_beside_an_empty_one(rng, distance):
    """No allocations: the weights tell who is empty, the parameters who is alike."""
    mu = rng.normal([0.0, distance, 0.0], [0.3, 0.3, 5.0], size=(N_CHAINS, N_DRAWS, 3))
    w = rng.dirichlet([300, 300, 0.1], size=(N_CHAINS, N_DRAWS))
    groups = {"posterior": {"mu": mu, "w": w}, "observed_data": {"y": np.zeros(200)}}
    dt = az.from_dict(groups, dims={"mu": ["component"], "w": ["component"]})
    diagnosis = labelswitch.diagnose(dt, method="pra")
    assert "empty_components" in diagnosis.findings
    assert (diagnosis.recommendation in USE) == (distance > 0)


def test_permutations_the_wrong_way_round_are_noticed(rng, mu, w):
    """Their r-hat is spotless, since every chain visits every labelling."""
    mix = rng.permuted(np.tile(np.arange(3), (N_CHAINS, N_DRAWS, 1)), axis=-1)
    dt = tree(gather(mu, mix), gather(w, mix))
    right = labelswitch.diagnose(dt, permutations=np.argsort(mix, axis=-1))
    assert right.recommendation == "use_relabelled"
    wrong = labelswitch.diagnose(dt, permutations=mix)
    assert wrong.table["r_hat_relabelled"].max() < 1.02
    assert wrong.recommendation == "compare_methods"
    assert "are they the inverse ones?" in wrong.verdict


@pytest.mark.parametrize("name", ["p", "z"])
@pytest.mark.parametrize("distance", [1.0, 6.0])
def test_responsibilities_of_draws_in_another_order_are_noticed(rng, name, distance):
    """Draws and chains were exchanged before they were made an array."""
    mu = distance * np.arange(3) + 0.3 * rng.normal(size=(N_CHAINS, N_DRAWS, 3))
    mu = rng.permuted(mu, axis=-1)
    y = rng.normal(np.repeat(distance * np.arange(3), 20), 1)
    p = np.exp(-0.5 * (y[:, np.newaxis] - mu[:, :, np.newaxis]) ** 2)
    p /= p.sum(axis=-1, keepdims=True)
    values = {"p": p, "z": p.argmax(axis=-1)}[name]
    inputs = {"responsibilities": "p"} if name == "p" else {"allocations": "z"}
    dims = {"mu": ["component"], "z": ["row"], "p": ["row", "component"]}
    for is_wrong in (False, True):
        if is_wrong:
            values = values.swapaxes(0, 1).reshape(values.shape)
        dt = az.from_dict({"posterior": {"mu": mu, name: values}}, dims=dims)
        diagnosis = labelswitch.diagnose(dt, **inputs)
        assert diagnosis.recommendation == ("compare_methods" if is_wrong else "use_relabelled")
        assert ("of these draws, in their order?" in diagnosis.verdict) == is_wrong


def test_labels_sorted_by_what_belongs_to_no_component_are_noticed(rng):
    """One of the two is off in each draw, either of them."""
    centres = rng.normal([0.0, 20.0], 1, size=(N_CHAINS, N_DRAWS, 2))
    states = rng.permuted(rng.normal([0.0, 9.0], 1, size=centres.shape), axis=-1)
    dt = tree(centres)
    dt["posterior"]["states"] = dt["posterior"]["mu"].copy(data=states)
    diagnosis = labelswitch.diagnose(dt, method="order", var_names="states")
    assert diagnosis.recommendation == "compare_methods"
    assert "what they are sorted by" in diagnosis.verdict


# Groups with labels of their own ------------------------------------------------------------------


def test_the_largest_group_does_not_settle_the_labels_of_the_others(rng):
    school = np.repeat(np.arange(3), [20, 30, 60])
    mu = np.array([0.0, 6.0]) + 0.3 * rng.normal(size=(N_CHAINS, N_DRAWS, 3, 2))
    mu = rng.permuted(mu, axis=-1)
    y = rng.normal(6.0 * (np.arange(len(school)) % 2), 1)
    p = np.exp(-0.5 * (y[:, np.newaxis] - mu[:, :, school]) ** 2)
    p /= p.sum(axis=-1, keepdims=True)
    dims = {"mu": ["school", "component"], "p": ["row", "component"]}
    dt = az.from_dict({"posterior": {"mu": mu, "p": p}}, dims=dims)
    diagnosis = labelswitch.diagnose(dt, responsibilities="p")
    assert diagnosis.recommendation == "use_by"
    assert "by='school'" in diagnosis.verdict


def test_a_feature_in_which_components_are_alike_is_no_group(rng):
    """Sorted by such a feature alone, twelve components are far narrower."""
    centres = np.stack([6.0 * np.arange(12), np.zeros(12)])
    mu = centres + rng.normal(size=(N_CHAINS, N_DRAWS, 2, 12))
    dt = az.from_dict({"posterior": {"mu": mu}}, dims={"mu": ["feature", "component"]})
    assert labelswitch.diagnose(dt).recommendation == "use_as_sampled"


@pytest.mark.parametrize("n_told_apart", [1, 2])
def test_features_that_say_nothing_do_not_make_groups_of_those_that_do(rng, n_told_apart):
    """So many of them hide the labels, which each of the others would show by itself."""
    mu = rng.normal(size=(N_CHAINS, 300, 60, 5))
    mu[:, :, :n_told_apart] += 5 * np.arange(5)
    dt = az.from_dict({"posterior": {"mu": mu}}, dims={"mu": ["feature", "component"]})
    assert labelswitch.diagnose(dt).recommendation == "compare_methods"


# Parameters that say the same ---------------------------------------------------------------------


@pytest.mark.parametrize(("distance", "is_decided"), [(0.0, False), (1.5, False), (8.0, True)])
def test_a_curve_of_many_points_decides_no_more_than_its_parameters(rng, distance, is_decided):
    level, slope = rng.normal(size=(2, N_CHAINS, N_DRAWS, 2))
    level += np.array([0.0, distance])
    curve = level[..., np.newaxis] + slope[..., np.newaxis] * np.linspace(0, 1, 50)
    groups = {"posterior": {"level": level, "slope": slope, "curve": curve}}
    dims = {"level": ["component"], "slope": ["component"], "curve": ["component", "point"]}
    diagnosis = labelswitch.diagnose(az.from_dict(groups, dims=dims))
    assert (diagnosis.recommendation in USE) == is_decided


@pytest.mark.parametrize("n_parameters", [3, 40])
def test_the_norm_of_the_correlations(rng, n_parameters):
    parameters = 1e200 * rng.normal(size=(5, 2, n_parameters)) + 1e201
    parameters[..., 0] = 7.0
    deviations = (parameters - parameters.mean(axis=0))[..., 1:].reshape(10, -1)
    expected = np.linalg.norm(np.corrcoef(deviations / 1e200, rowvar=False))
    found = labelswitch.diagnosis._correlation_norm(parameters)
    assert found == pytest.approx(expected, rel=1e-12)
