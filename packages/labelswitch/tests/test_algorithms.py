"""The array layer: known truth, properties, legal edge cases, Dask, and bad input."""

from itertools import permutations as all_permutations

import numpy as np
import pytest
from extras import optional
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats
from scipy.optimize import linear_sum_assignment
from scipy.special import logsumexp, xlogy

import labelswitch
from labelswitch import kernels

da = optional("dask.array")

# The first example of a test compiles a kernel.
settings.register_profile("compiles", deadline=None, max_examples=30, derandomize=True)
settings.load_profile("compiles")


class Mixture:
    """Draws of a normal mixture with equal standard deviations, labels permuted in each draw.

    ``truth`` are the permutations that undo the switching.
    """

    def __init__(self, seed=0, n_draws=40, n_observations=30, n_components=3, distance=6.0):
        rng = np.random.default_rng(seed)
        centres = distance * np.arange(n_components)
        labels = np.resize(np.arange(n_components), n_observations)
        self.x = rng.normal(centres[labels])
        means = centres + rng.normal(scale=0.2, size=(n_draws, n_components))
        log_p = stats.norm.logpdf(self.x[:, np.newaxis], means[:, np.newaxis, :])
        p = np.exp(log_p - logsumexp(log_p, axis=2, keepdims=True))
        z = (p.cumsum(axis=2)[:, :, :-1] < rng.random((n_draws, n_observations, 1))).sum(axis=2)
        self.truth = random_permutations(rng, n_draws, n_components)
        switched = np.argsort(self.truth, axis=1)
        self.means = np.take_along_axis(means, switched, axis=1)
        self.p = np.take_along_axis(p, switched[:, np.newaxis], axis=2)
        self.z = labelswitch.apply_to_allocations(z, switched)
        self.n_components = n_components

    def log_density(self, means):
        return stats.norm.logpdf(self.x[:, np.newaxis], means)

    def permuted(self, permutations):
        """Return a copy whose labels are permuted once more."""
        other = object.__new__(Mixture)
        other.x, other.n_components = self.x, self.n_components
        other.means = np.take_along_axis(self.means, permutations, axis=1)
        other.p = np.take_along_axis(self.p, permutations[:, np.newaxis], axis=2)
        other.z = labelswitch.apply_to_allocations(self.z, permutations)
        return other


def random_permutations(rng, n_draws, n_components):
    return np.argsort(rng.random((n_draws, n_components)), axis=1)


# A pivot makes the labels its own; the other methods choose them.
PIVOTAL = {
    "ecr": lambda mixture, pivot: labelswitch.ecr(
        mixture.z, pivot.z[0], n_components=mixture.n_components
    ),
    "pra": lambda mixture, pivot: labelswitch.pra(mixture.means, pivot.means[0]),
}
FREE = {
    "ecr_iterative_1": lambda mixture: labelswitch.ecr_iterative_1(
        mixture.z, n_components=mixture.n_components
    ),
    "ecr_iterative_2": lambda mixture: labelswitch.ecr_iterative_2(mixture.z, mixture.p),
    "stephens": lambda mixture: labelswitch.stephens(mixture.p),
    "sjw": lambda mixture: labelswitch.sjw(
        mixture.means, mixture.z, log_density=mixture.log_density
    ),
    "data_based": lambda mixture: labelswitch.data_based(
        mixture.x, mixture.z, n_components=mixture.n_components
    ),
    "order": lambda mixture: labelswitch.order(mixture.means),
}
METHODS = {name: lambda mixture, _, run=run: run(mixture) for name, run in FREE.items()} | PIVOTAL


def one_global_relabelling(left, right):
    """Return whether left[t, j] = right[t, g[j]] for one g."""
    g = np.argsort(right[0])[left[0]]
    return np.array_equal(left, right[:, g])


# --- known truth ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("n_components", [2, 3, 5])
def test_truth_is_recovered(name, n_components):
    mixture = Mixture(n_components=n_components)
    result = METHODS[name](mixture, mixture)
    assert one_global_relabelling(result.permutations, mixture.truth)
    assert result.permutations.dtype == np.intp
    assert result.converged
    assert result.method == name
    assert result.trace[-1] == pytest.approx(result.objective)


@pytest.mark.parametrize("name", ["stephens", "ecr_iterative_1", "ecr_iterative_2", "sjw"])
def test_twenty_components_are_ordinary(name):
    mixture = Mixture(n_components=20, n_observations=200)
    result = METHODS[name](mixture, mixture)
    assert one_global_relabelling(result.permutations, mixture.truth)


def test_orientation_of_values_and_allocations():
    mixture = Mixture(n_components=4)
    means = labelswitch.apply_permutations(mixture.means, mixture.truth)
    assert (np.diff(means, axis=1) > 0).all()
    z = labelswitch.apply_to_allocations(mixture.z, mixture.truth)
    assert (np.bincount(abs(z - np.resize(np.arange(4), 30)).ravel()) == [z.size]).all()
    transition = np.random.default_rng(0).random((40, 2, 4, 4))
    both = transition
    for axis in (2, -1):
        both = labelswitch.apply_permutations(both, mixture.truth, axis=axis)
    t, (j, k) = 7, mixture.truth[7][[1, 3]]
    np.testing.assert_array_equal(both[t, :, 1, 3], transition[t, :, j, k])


def best_by_brute_force(objective, n_draws, n_components):
    choices = list(all_permutations(range(n_components)))
    best = np.inf
    for index in np.ndindex(*[len(choices)] * (n_draws - 1)):
        permutations = np.array([choices[0], *(choices[i] for i in index)])
        best = min(best, objective(permutations))
    return best


def test_labels_that_a_narrow_type_does_not_hold_widen_it():
    backwards = np.arange(200)[::-1][None]
    for kind, wide in ((np.int8, np.int16), (np.uint8, np.uint8), (np.int64, np.int64)):
        labels = labelswitch.apply_to_allocations(np.array([[0, 7]], kind), backwards)
        assert labels.tolist() == [[199, 192]]
        assert labels.dtype == wide


def test_masked_values_keep_their_masks():
    values = np.ma.masked_array([[1.0, 2.0], [3.0, 4.0]], [[True, False], [False, False]])
    permuted = labelswitch.apply_permutations(values, [[1, 0], [0, 1]])
    assert permuted.tolist() == [[2.0, None], [3.0, 4.0]]


def test_stephens_finds_the_global_optimum_of_small_problems():
    """All 6^4 relabellings of five draws, on probabilities without any structure."""
    found = 0
    for seed in range(8):
        p = np.random.default_rng(seed).dirichlet(np.ones(3), size=(5, 4))

        def cross_entropy(permutations, p=p):
            relabelled = np.take_along_axis(p, permutations[:, np.newaxis], axis=2)
            return -xlogy(relabelled, relabelled.mean(axis=0)).sum()

        rng = np.random.default_rng(seed)
        starts = [random_permutations(rng, 5, 3) for _ in range(100)]
        result = labelswitch.stephens(p, starts=["identity", *starts])
        assert result.objective == pytest.approx(cross_entropy(result.permutations), abs=1e-10)
        best = best_by_brute_force(cross_entropy, 5, 3)
        assert result.objective >= best - 1e-10
        found += result.objective < best + 1e-10
    assert found >= 7


@pytest.mark.parametrize("method", ["stephens", "ecr_iterative_1", "ecr_iterative_2"])
def test_a_start_that_only_renames_another_is_not_followed(method, capsys):
    """A renaming names the new labels; that of the old ones in every draw is another start."""
    mixture = Mixture(seed=3, n_draws=301, distance=1.5)
    run = {
        "stephens": lambda starts: labelswitch.stephens(mixture.p, starts=starts, progress=True),
        "ecr_iterative_1": lambda starts: labelswitch.ecr_iterative_1(
            mixture.z, starts=starts, progress=True
        ),
        "ecr_iterative_2": lambda starts: labelswitch.ecr_iterative_2(
            mixture.z, mixture.p, starts=starts, progress=True
        ),
    }[method]

    def n_lines(*starts):
        run(list(starts))
        return len(capsys.readouterr().err.splitlines())

    start = random_permutations(np.random.default_rng(0), 301, 3)
    start[100:] = mixture.truth[100:]  # otherwise each label is as frequent, and ties decide
    renaming = np.array([1, 2, 0])
    alone = n_lines(start)
    assert n_lines(start, start[:, renaming]) == alone
    if method != "ecr_iterative_1":  # which writes a line for a start, not for a sweep
        assert n_lines(start, renaming[start]) > alone


def test_starts_that_arrive_where_another_is_read_the_probabilities_no_more(monkeypatch):
    mixture = Mixture(n_draws=300)
    sweep = labelswitch.algorithms._Probabilities.sweep
    followed = []

    def counted(self, starts, check=False):
        followed.append(len(starts))
        sweep(self, starts, check)

    monkeypatch.setattr(labelswitch.algorithms._Probabilities, "sweep", counted)
    truth = mixture.truth[:, np.argsort(mixture.truth[0])]
    for call, expected in (
        (lambda: labelswitch.stephens(mixture.p), [4, 2]),
        (lambda: labelswitch.ecr_iterative_2(mixture.z, mixture.p), [4]),
    ):
        followed.clear()
        found = call().permutations
        np.testing.assert_array_equal(found[:, np.argsort(found[0])], truth)
        assert followed == expected


def test_the_sum_of_a_known_relabelling_comes_under_the_names_of_the_start():
    """Under other names the same pivot would move every draw once more."""
    mixture = Mixture(n_draws=300)
    result = labelswitch.ecr_iterative_2(mixture.z, mixture.p)
    assert result.start == "identity"
    assert result.trace.size == 2
    relabelled = np.take_along_axis(mixture.p, result.permutations[:, np.newaxis], axis=2)
    np.testing.assert_allclose(result.q, relabelled.mean(axis=0), atol=1e-12)


@given(seed=st.integers(0, 2**16), n_components=st.integers(1, 4), n_pivot=st.integers(1, 4))
def test_ecr_reads_labels_of_any_type_and_layout(seed, n_components, n_pivot):
    """The pivot may have fewer labels than the draws, which then are read a second time."""
    rng = np.random.default_rng(seed)
    z = rng.integers(n_components, size=(6, 20))
    z[0, :n_components] = np.arange(n_components)
    pivot = rng.integers(min(n_pivot, n_components), size=20)
    result = labelswitch.ecr(z, pivot)
    assert result.permutations.shape == (6, n_components)
    for t, permutation in enumerate(result.permutations):
        cost = [
            np.count_nonzero(np.argsort(other)[z[t]] != pivot)
            for other in all_permutations(range(n_components))
        ]
        own = np.count_nonzero(np.argsort(permutation)[z[t]] != pivot)
        assert own == min(cost)
        second = sorted(cost)[1] - own if n_components > 1 else np.inf
        assert result.confidence[t] == pytest.approx(second)
    frozen = z.copy()
    frozen.flags.writeable = False
    layouts = [np.asfortranarray(z), np.repeat(z, 2, axis=1)[:, ::2], frozen]
    types = ["b", "B", "h", "H", "i", "I", "q", "Q", ">i4", "<i8"]
    for other in [*map(z.astype, types), *layouts]:
        again = labelswitch.ecr(other, pivot)
        np.testing.assert_array_equal(again.permutations, result.permutations)
        np.testing.assert_array_equal(again.confidence, result.confidence)
        assert again.objective == result.objective


def test_labels_in_another_byte_order_are_read():
    """As NetCDF's classic format stores them."""
    mixture, other = Mixture(), Mixture()
    other.z = mixture.z.astype(">i4")
    for method in METHODS.values():
        found, expected = method(other, other), method(mixture, mixture)
        np.testing.assert_array_equal(found.permutations, expected.permutations)
    np.testing.assert_array_equal(
        labelswitch.apply_to_allocations(other.z, mixture.truth),
        labelswitch.apply_to_allocations(mixture.z, mixture.truth),
    )


@pytest.mark.parametrize("label", [-1, -(2**32), 2**31, 2**32, 2**32 + 1, 2**63 - 1, 2**63])
@pytest.mark.parametrize("n_components", [None, 2])
def test_ecr_refuses_labels_that_a_narrow_type_would_wrap(label, n_components):
    z = np.tile(np.array([0, 1, 1], np.int64 if label < 2**63 else np.uint64), (3, 1))
    z[2, 1] = label
    with pytest.raises(ValueError, match=f"z has the label {label}"):
        labelswitch.ecr(z, z[0], n_components=n_components)


def test_ecr_iterative_1_finds_the_global_optimum_of_small_problems():
    found = 0
    for seed in range(8):
        z = np.random.default_rng(seed).integers(3, size=(5, 6))

        def disagreement(permutations, z=z):
            relabelled = labelswitch.apply_to_allocations(z, permutations)
            return z.size - sum(np.bincount(column).max() for column in relabelled.T)

        rng = np.random.default_rng(seed)
        starts = [random_permutations(rng, 5, 3) for _ in range(30)]
        result = labelswitch.ecr_iterative_1(z, n_components=3, starts=["identity", *starts])
        assert result.objective == disagreement(result.permutations)
        found += result.objective == best_by_brute_force(disagreement, 5, 3)
    assert found >= 7


def test_all_but_zero_probabilities():
    """0 log 0 is 0, and a probability of 1e-300 does not lock its label for ever."""
    p = np.array(
        [
            [[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]],
            [[0.0, 1.0], [0.0, 1.0], [1.0, 0.0]],
            [[1e-300, 1.0], [0.0, 1.0], [1.0, 5e-324]],
        ]
    )
    for starts in ("identity", "pra", "ecr", [np.array([[0, 1], [1, 0], [1, 0]])]):
        result = labelswitch.stephens(p, starts=starts)
        if starts != "identity":
            assert one_global_relabelling(result.permutations, np.array([[0, 1], [1, 0], [1, 0]]))
        assert np.isfinite(result.objective)
    assert labelswitch.stephens(p).objective == pytest.approx(0.0, abs=1e-12)


def test_stephens_objective_never_rises_and_converged_tells_the_truth():
    p = np.random.default_rng(3).dirichlet(np.ones(4), size=(100, 10))
    result = labelswitch.stephens(p, starts="identity")
    assert result.converged
    assert result.trace.size > 5
    assert (np.diff(result.trace) <= 0).all()
    short = labelswitch.stephens(p, starts="identity", max_sweeps=5)
    assert not short.converged
    np.testing.assert_array_equal(short.trace, result.trace[:5])
    again = labelswitch.stephens(p, starts=result.permutations)
    assert again.trace.size == 1
    assert one_global_relabelling(again.permutations, result.permutations)


def test_best_of_several_starts_is_returned():
    p = np.random.default_rng(3).dirichlet(np.ones(4), size=(60, 10))
    starts = ("identity", "pra", "ecr", "random", "random")
    single = [labelswitch.stephens(p, starts=start).objective for start in starts[:3]]
    result = labelswitch.stephens(p, starts=starts)
    assert result.objective <= min(single)
    assert len({round(objective, 6) for objective in single}) > 1  # they are local optima
    assert result.start in starts
    np.testing.assert_allclose(
        result.q, labelswitch.apply_permutations(p, result.permutations, axis=2).mean(axis=0)
    )


def test_ecr_iterative_2_reports_a_circle():
    """Pivot from p and allocation from z may chase each other; some such case must say so."""
    circled = 0
    for seed in range(300):
        rng = np.random.default_rng(seed)
        p = rng.dirichlet(np.ones(2), size=(3, 3))
        z = rng.integers(2, size=(3, 3))
        result = labelswitch.ecr_iterative_2(z, p, starts="identity", max_sweeps=50)
        assert result.objective >= result.trace.min()
        if not result.converged:
            circled += 1
            assert result.trace.size < 50
            assert result.objective == result.trace.min()
    assert circled > 0


def test_pra_does_not_depend_on_units_when_standardised():
    mixture = Mixture(n_components=3)
    noise = np.random.default_rng(1).normal(size=mixture.means.shape)
    parameters = np.stack([mixture.means, noise], axis=2)
    result = labelswitch.pra(parameters, parameters[0])
    assert one_global_relabelling(result.permutations, mixture.truth)
    scaled = parameters * [1e-3, 1e3]
    np.testing.assert_array_equal(
        labelswitch.pra(scaled, scaled[0]).permutations, result.permutations
    )
    raw = labelswitch.pra(scaled, scaled[0], standardise=False)
    assert not one_global_relabelling(raw.permutations, mixture.truth)


def test_pra_with_a_constant_parameter_and_with_one_draw():
    parameters = np.array([[[0.0, 5.0], [1.0, 5.0]], [[1.1, 5.0], [0.1, 5.0]]])
    result = labelswitch.pra(parameters, parameters[0])
    np.testing.assert_array_equal(result.permutations, [[0, 1], [1, 0]])
    result = labelswitch.pra(parameters[1:], parameters[0])
    np.testing.assert_array_equal(result.permutations, [[1, 0]])


def test_sjw_posterior_is_the_sum_over_all_permutations():
    rng = np.random.default_rng(0)
    table = rng.normal(scale=2, size=(6, 4))
    z = rng.integers(4, size=(5, 6)).astype(np.int16)
    none = np.empty((0, 4))
    identity = np.tile(np.arange(4), (5, 1))
    permutations, probability, log_sum, _ = kernels.permutation_posterior(
        table, z, identity, none, True
    )
    choices = np.array(list(all_permutations(range(4))))
    total = 0.0
    for t in range(5):
        relabelled = np.argsort(choices, axis=1)[:, z[t]]
        score = table[np.arange(6), relabelled].sum(axis=1)
        weight = np.exp(score - logsumexp(score))
        total += logsumexp(score)
        expected = (weight[:, None, None] * np.eye(4)[choices]).sum(axis=0)
        np.testing.assert_allclose(probability[t], expected, atol=1e-12)
        assert score[(choices == permutations[t]).all(axis=1)] == pytest.approx(score.max())
    assert log_sum == pytest.approx(total)
    # Sampling: frequencies of 20,000 draws against the same weights (last t), six standard errors.
    many = np.tile(z[4], (20_000, 1))
    uniform = rng.random((20_000, 4))
    sampled, _, _, _ = kernels.permutation_posterior(
        table, many, np.tile(np.arange(4), (20_000, 1)), uniform, True
    )
    frequency = (sampled[:, None] == choices).all(axis=2).mean(axis=0)
    assert (abs(frequency - weight) <= 6 * np.sqrt(weight * (1 - weight) / 20_000) + 1e-9).all()


def test_sjw_survives_scores_that_exp_cannot_hold():
    table = np.array([[-1e5, 0.0, -2e5], [0.0, -1e5, -1e9], [-3e5, -1e5, 0.0]])
    _, probability, log_sum, _ = kernels.permutation_posterior(
        table, np.array([[0, 1, 2]], np.int16), np.array([[0, 1, 2]]), np.empty((0, 3)), True
    )
    np.testing.assert_allclose(probability[0], np.eye(3)[[1, 0, 2]])
    assert log_sum == 0.0


def test_sjw_weights_and_their_logarithm_inside_the_density_agree():
    mixture = Mixture(distance=2.0)
    weights = np.random.default_rng(0).dirichlet([5, 5, 5], size=40)
    both = np.stack([mixture.means, weights], axis=2)
    inside = labelswitch.sjw(
        both,
        mixture.z,
        log_density=lambda theta: mixture.log_density(theta[:, 0]) + np.log(theta[:, 1]),
    )
    outside = labelswitch.sjw(
        mixture.means, mixture.z, log_density=mixture.log_density, weights=weights
    )
    np.testing.assert_array_equal(inside.permutations, outside.permutations)
    assert inside.objective == pytest.approx(outside.objective)
    np.testing.assert_allclose(inside.parameters[:, :1], outside.parameters)


def test_sjw_sampled_permutations_follow_the_seed():
    mixture = Mixture(distance=1.0)
    run = [
        labelswitch.sjw(
            mixture.means, mixture.z, log_density=mixture.log_density, seed=seed
        ).permutations
        for seed in (1, 1, 2)
    ]
    np.testing.assert_array_equal(run[0], run[1])
    assert (run[0] != run[2]).any()


# --- the kernels against SciPy ---------------------------------------------------------------


@given(st.integers(0, 2**32 - 1), st.integers(1, 5), st.integers(2, 4), st.integers(1, 6))
def test_totals_that_starts_share_are_the_sums_of_their_draws(seed, n_starts, size, n_draws):
    rng = np.random.default_rng(seed)
    p = rng.dirichlet(np.ones(size), size=(n_draws, 3))
    kept = rng.permuted(np.tile(np.arange(size), (n_draws, 1)), axis=1)
    starts = []
    for _ in range(n_starts):  # mostly one labelling under several names, with stray draws
        one = kept[:, rng.permutation(size)]
        for t in np.nonzero(rng.random(n_draws) < 0.2)[0]:
            one[t] = rng.permutation(size)
        starts.append(one)
    room = np.empty((1, size, 3))
    still, nothing = np.zeros(n_starts, bool), np.empty((0, size, 3))
    _, totals, _, bad = kernels.sweep_probabilities(
        p, room, nothing, np.array(starts), 0.0, still, 1e-6
    )
    assert bad == (-1, -1)
    for one, total in zip(starts, totals, strict=True):
        relabelled = np.take_along_axis(p, one[:, np.newaxis], axis=2)
        np.testing.assert_allclose(total.T, relabelled.sum(axis=0), rtol=1e-12)


@given(
    hnp.arrays(
        np.float64,
        st.integers(1, 7).map(lambda size: (3, size, size)),
        elements=st.integers(-3, 3) | st.floats(-1e6, 1e6),
    )
)
def test_assignment_is_scipys_to_the_tie(cost):
    size = cost.shape[1]
    workspace = kernels._workspace(size)
    permutations = np.empty((len(cost), size), np.intp)
    for t, matrix in enumerate(cost):
        total, _ = kernels._assign(matrix, permutations, t, workspace)
        permutation = permutations[t]
        _, column = linear_sum_assignment(matrix)
        np.testing.assert_array_equal(np.argsort(column), permutation)
        u, v = workspace[0][:2]
        slack = matrix - u[:, None] - v
        tolerance = 1e-9 * (1 + abs(matrix).max())
        assert slack.min() >= -tolerance
        assert abs(slack[permutation, np.arange(size)]).max() <= tolerance
        assert total == pytest.approx(u.sum() + v.sum(), abs=tolerance)


@given(
    hnp.arrays(
        np.float64,
        st.integers(1, 6).map(lambda size: (4, size, size)),
        elements=st.integers(0, 2),
    )
)
def test_ties_keep_the_current_permutation(cost):
    identity = np.tile(np.arange(cost.shape[1]), (4, 1))
    permutations, totals, _ = kernels.assign(cost, identity)
    for matrix, permutation, total in zip(cost, permutations, totals, strict=True):
        best = matrix[linear_sum_assignment(matrix)].sum()
        assert total == best == matrix[permutation, identity[0]].sum()
        if np.trace(matrix) == best:
            np.testing.assert_array_equal(permutation, identity[0])


# --- properties --------------------------------------------------------------------------------

mixtures = st.builds(
    Mixture,
    seed=st.integers(0, 2**16),
    n_draws=st.integers(1, 12),
    n_observations=st.integers(12, 20),
    n_components=st.integers(1, 4),
    distance=st.just(8.0),
)


@pytest.mark.parametrize("name", METHODS)
@given(mixture=mixtures)
def test_relabelling_is_idempotent(name, mixture):
    result = METHODS[name](mixture, mixture)
    relabelled = mixture.permuted(result.permutations)
    # A pivot stays the same pivot.
    again = METHODS[name](relabelled, mixture)
    np.testing.assert_array_equal(again.permutations - np.arange(mixture.n_components), 0)


@pytest.mark.parametrize("name", METHODS)
@given(mixture=mixtures, seed=st.integers(0, 2**16))
def test_labels_of_the_input_do_not_matter(name, mixture, seed):
    shuffle = random_permutations(np.random.default_rng(seed), len(mixture.z), mixture.n_components)
    shuffled = mixture.permuted(shuffle)
    first = METHODS[name](mixture, mixture)
    second = METHODS[name](shuffled, mixture)
    combined = np.take_along_axis(shuffle, second.permutations, axis=1)
    assert one_global_relabelling(combined, first.permutations)
    assert second.objective == pytest.approx(first.objective, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("name", METHODS)
@given(seed=st.integers(0, 2**16), n_components=st.integers(1, 5), n_observations=st.integers(1, 6))
def test_any_result_is_a_permutation_and_leaves_invariants(
    name, seed, n_components, n_observations
):
    """On draws without structure, with empty components and ties."""
    mixture = Mixture(
        seed, n_draws=6, n_observations=n_observations, n_components=n_components, distance=0.5
    )
    result = METHODS[name](mixture, mixture)
    expected = np.tile(np.arange(n_components), (6, 1))
    np.testing.assert_array_equal(np.sort(result.permutations, axis=1), expected)
    relabelled = mixture.permuted(result.permutations)
    np.testing.assert_array_equal(np.sort(relabelled.means, axis=1), np.sort(mixture.means, axis=1))
    np.testing.assert_allclose(
        logsumexp(stats.norm.logpdf(mixture.x[:, None, None], relabelled.means), axis=2),
        logsumexp(stats.norm.logpdf(mixture.x[:, None, None], mixture.means), axis=2),
    )
    assert np.isfinite(result.objective)


def test_a_second_run_on_overlapping_components_changes_nothing():
    mixture = Mixture(seed=5, n_draws=60, n_observations=40, distance=1.5)
    for name, run in FREE.items():
        relabelled = mixture.permuted(run(mixture).permutations)
        again = run(relabelled)
        np.testing.assert_array_equal(again.permutations - np.arange(3), 0, err_msg=name)


def test_labels_stay_as_near_the_input_as_they_can():
    """Only the last draw has switched. As the pivot of a start it must not set the labels."""
    mixture = Mixture()
    mixture = mixture.permuted(mixture.truth)
    switch = np.tile(np.arange(3), (40, 1))
    switch[-1] = [1, 2, 0]
    mixture = mixture.permuted(switch)
    expected = np.argsort(switch, axis=1)
    first = labelswitch.ecr_iterative_1(mixture.z, starts="ecr")
    second = labelswitch.ecr_iterative_2(mixture.z, mixture.p, starts="ecr")
    third = labelswitch.stephens(mixture.p, starts="pra")
    for result in (first, second, third):
        np.testing.assert_array_equal(result.permutations, expected)
    z = labelswitch.apply_to_allocations(mixture.z, expected)
    for result in (first, second):
        assert (z != result.pivot).sum() == result.objective
    relabelled = labelswitch.apply_permutations(mixture.p, expected, axis=2)
    for result in (second, third):
        np.testing.assert_allclose(result.q, relabelled.mean(axis=0))
    moments = labelswitch.sjw(mixture.means, mixture.z, log_density=mixture.log_density)
    np.testing.assert_allclose(
        moments.parameters[:, 0],
        labelswitch.apply_permutations(mixture.means, expected).mean(axis=0),
        atol=1e-6,
    )


# --- legal edge cases -------------------------------------------------------------------------


@pytest.mark.parametrize("name", METHODS)
def test_one_component_one_observation_one_draw(name):
    one = Mixture(n_draws=3, n_observations=4, n_components=1)
    np.testing.assert_array_equal(METHODS[name](one, one).permutations, np.zeros((3, 1)))
    single = Mixture(n_draws=5, n_observations=1, n_components=2)
    assert METHODS[name](single, single).permutations.shape == (5, 2)
    draw = Mixture(n_draws=1, n_observations=9)
    assert METHODS[name](draw, draw).permutations.shape == (1, 3)


@pytest.mark.parametrize("name", METHODS)
def test_a_component_that_is_always_empty(name):
    """Five components for data from three: the three that are used must be aligned."""
    mixture = Mixture()
    rng = np.random.default_rng(0)
    mixture.n_components = 5
    mixture.means = np.concatenate([mixture.means, rng.normal(50, 1, size=(40, 2))], axis=1)
    mixture.p = np.concatenate([mixture.p, np.zeros((40, 30, 2))], axis=2)
    truth = np.concatenate([mixture.truth, np.tile([3, 4], (40, 1))], axis=1)
    shuffle = random_permutations(rng, 40, 5)
    shuffled = mixture.permuted(shuffle)
    result = METHODS[name](shuffled, shuffled)
    combined = np.take_along_axis(shuffle, result.permutations, axis=1)
    used = [np.flatnonzero(combined[0] == k)[0] for k in truth[0, :3]]
    np.testing.assert_array_equal(combined[:, used], truth[:, :3])


def test_data_based_with_equal_counts_in_a_component():
    x = np.array([0, 0, 0, 0, 7, 9, 8, 8])
    z = np.array([[0, 0, 0, 0, 1, 1, 1, 1], [1, 1, 1, 1, 0, 0, 0, 0], [0, 0, 0, 0, 1, 1, 1, 0]])
    result = labelswitch.data_based(x, z)
    np.testing.assert_array_equal(result.permutations, [[0, 1], [1, 0], [0, 1]])
    assert np.isfinite(result.objective)
    assert labelswitch.data_based(np.ones(8), z).objective == 0.0


def test_order_keeps_equal_values_in_place():
    result = labelswitch.order([[1.0, 1.0, 0.0]])
    np.testing.assert_array_equal(result.permutations, [[2, 0, 1]])


def test_input_is_left_alone_and_may_be_read_only():
    mixture = Mixture()
    before = [array.copy() for array in (mixture.z, mixture.p, mixture.means)]
    for array in (mixture.z, mixture.p, mixture.means):
        array.setflags(write=False)
    for run in METHODS.values():
        run(mixture, mixture)
    for array, copy in zip((mixture.z, mixture.p, mixture.means), before, strict=True):
        np.testing.assert_array_equal(array, copy)


def test_progress_is_silent_unless_asked(capsys):
    mixture = Mixture()
    labelswitch.stephens(mixture.p)
    assert capsys.readouterr() == ("", "")
    labelswitch.stephens(mixture.p, starts="pra", progress=True)
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("stephens, start pra: sweep 1, ")


def test_repr_is_one_line():
    mixture = Mixture()
    text = repr(labelswitch.stephens(mixture.p))
    assert text.startswith("<AlgorithmResult stephens: 40 draws, 3 components, ")
    assert "\n" not in text


# --- other containers of p -------------------------------------------------------------------


@pytest.mark.parametrize("chunks", [(7, 30, 3), (40, 30, 3), (9, 11, 2)])
def test_dask_gives_the_same_as_numpy(chunks):
    mixture = Mixture(distance=1.0)
    lazy = da.from_array(mixture.p, chunks=chunks)
    for run in (
        lambda p: labelswitch.stephens(p, eps=1e-6),
        lambda p: labelswitch.stephens(p, starts=("random", mixture.truth)),
        lambda p: labelswitch.ecr_iterative_2(mixture.z, p),
    ):
        expected, result = run(mixture.p), run(lazy)
        np.testing.assert_array_equal(result.permutations, expected.permutations)
        assert result.objective == pytest.approx(expected.objective)
        np.testing.assert_allclose(result.q, expected.q)


def test_dask_names_the_bad_draw():
    p = Mixture().p
    p[33, 4, 1] += 0.5
    with pytest.raises(ValueError, match=r"p\[33, 4\] sums to 1\.5"):
        labelswitch.stephens(da.from_array(p, chunks=(10, -1, -1)))


def test_single_precision_and_other_layouts():
    mixture = Mixture(distance=1.0)
    expected = labelswitch.stephens(mixture.p)
    single = labelswitch.stephens(mixture.p.astype(np.float32))
    np.testing.assert_array_equal(single.permutations, expected.permutations)
    assert single.objective == pytest.approx(expected.objective, rel=1e-5)
    for p in (np.asfortranarray(mixture.p), mixture.p.tolist(), mixture.p[:, :, ::-1][:, :, ::-1]):
        result = labelswitch.stephens(p)
        np.testing.assert_array_equal(result.permutations, expected.permutations)


# --- bad input ---------------------------------------------------------------------------------

Z = np.array([[0, 1, 1], [1, 0, 0]])
P = np.full((2, 3, 2), 0.5)
PARAMETERS = np.array([[0.0, 1.0], [1.0, 0.0]])
NAN = np.where(PARAMETERS == 1, np.nan, PARAMETERS)


def log_density(theta):
    return np.zeros((3, 2))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: labelswitch.ecr(Z + 1, Z[0]), ValueError, "z never has the label 0.*z - 1"),
        (
            lambda: labelswitch.ecr(Z + 1, Z[0], n_components=2),
            ValueError,
            "z has the label 2.*z - 1",
        ),
        (lambda: labelswitch.ecr(Z, Z[0] + 1), ValueError, "pivot has labels from 1 to 2"),
        (lambda: labelswitch.ecr(Z - 1, Z[0]), ValueError, "z has the label -1"),
        (lambda: labelswitch.ecr(Z, Z[0, :2]), ValueError, "pivot has 2 allocations but z has 3"),
        (lambda: labelswitch.ecr(Z[0], Z[0]), ValueError, "z must have shape"),
        (lambda: labelswitch.ecr(Z * 1.0, Z[0]), TypeError, "z must hold integer"),
        (
            lambda: labelswitch.ecr(Z, Z[0], n_components=2.0),
            TypeError,
            "n_components must be an integer",
        ),
        (
            lambda: labelswitch.ecr(Z, Z[0], n_components=0),
            ValueError,
            "n_components must be at least 1",
        ),
        (
            lambda: labelswitch.ecr(Z, Z[0], n_components=1),
            ValueError,
            "z has the label 1 but there are 1",
        ),
        (lambda: labelswitch.ecr_iterative_1(Z, starts=()), ValueError, "starts is empty"),
        (lambda: labelswitch.ecr_iterative_1(Z, starts="pra"), ValueError, "starts has 'pra'"),
        (lambda: labelswitch.ecr_iterative_1(Z, starts=[Z]), ValueError, "starts must have shape"),
        (
            lambda: labelswitch.ecr_iterative_1(Z, starts=[[[1, 2], [2, 1]]]),
            ValueError,
            "starts must be a permutation.*1-based",
        ),
        (lambda: labelswitch.ecr_iterative_1(Z, max_sweeps=0), ValueError, "max_sweeps must be"),
        (lambda: labelswitch.ecr_iterative_1(Z, max_sweeps=1.5), TypeError, "max_sweeps must be"),
        (lambda: labelswitch.ecr_iterative_2(Z[:1], P), ValueError, "z has shape.*p has 2 draws"),
        (lambda: labelswitch.ecr_iterative_2(Z + 1, P), ValueError, "z has the label 2.*z - 1"),
        (lambda: labelswitch.stephens(P[0]), ValueError, "p must have shape"),
        (lambda: labelswitch.stephens(P * 1.01), ValueError, r"p\[0, 0\] sums to 1\.01"),
        (lambda: labelswitch.stephens(P * np.nan), ValueError, r"p\[0, 0\] contains NaN"),
        (
            lambda: labelswitch.stephens(P + np.array([1, -1])),
            ValueError,
            r"p\[0, 0\] has the negative",
        ),
        (lambda: labelswitch.stephens(P + 0j), TypeError, "p must hold real"),
        (lambda: labelswitch.stephens(P, eps=0.4), ValueError, "eps must lie between"),
        (lambda: labelswitch.stephens(P, eps=np.nan), ValueError, "eps must lie between"),
        (lambda: labelswitch.stephens(P, tol=-1), ValueError, "tol must be at least 0"),
        (lambda: labelswitch.pra(PARAMETERS, [0.0]), ValueError, "pivot has shape"),
        (lambda: labelswitch.pra(NAN, PARAMETERS[0]), ValueError, "parameters contains NaN"),
        (lambda: labelswitch.pra(PARAMETERS, NAN[0]), ValueError, "pivot contains NaN"),
        (lambda: labelswitch.pra([0.0], [0.0]), ValueError, "parameters must have shape"),
        (lambda: labelswitch.order(PARAMETERS, index=1), ValueError, "index is 1 but there are 1"),
        (lambda: labelswitch.order(PARAMETERS, index="mu"), TypeError, "index must be the index"),
        (lambda: labelswitch.data_based([1, 2], Z), ValueError, "x has 2 observations but z has 3"),
        (lambda: labelswitch.data_based([1, 2, np.nan], Z), ValueError, "x contains NaN"),
        (
            lambda: labelswitch.sjw(PARAMETERS, Z[:1], log_density=log_density),
            ValueError,
            "z has 1 draws",
        ),
        (
            lambda: labelswitch.sjw(PARAMETERS, Z, log_density=lambda theta: np.zeros(3)),
            ValueError,
            "log_density must return",
        ),
        (
            lambda: labelswitch.sjw(
                PARAMETERS, Z, log_density=lambda theta: np.full((3, 2), np.nan)
            ),
            ValueError,
            "log_density returned NaN",
        ),
        (
            lambda: labelswitch.sjw(PARAMETERS, Z, log_density=log_density, weights=[0.5, 0.5]),
            ValueError,
            "weights must have shape",
        ),
        (
            lambda: labelswitch.sjw(PARAMETERS, Z, log_density=log_density, weights=PARAMETERS + 1),
            ValueError,
            "weights must be non-negative and sum to one",
        ),
        (
            lambda: labelswitch.sjw(np.zeros((2, 13)), Z, log_density=log_density, seed=1),
            ValueError,
            "seed samples permutations for at most 12",
        ),
        (lambda: labelswitch.apply_permutations(Z, [[0, 1, 2]]), ValueError, "values has 2 draws"),
        (lambda: labelswitch.apply_permutations(P, [[0, 1]] * 2, axis=0), ValueError, "axis is 0"),
        (lambda: labelswitch.apply_permutations(P, [[1, 2]] * 2, axis=2), ValueError, "1-based"),
        (lambda: labelswitch.apply_to_allocations(Z, [[0, 1]]), ValueError, "z has 2 draws but"),
    ],
)
def test_bad_input_names_the_argument_and_the_remedy(call, error, message):
    with pytest.raises(error, match=message):
        call()


# Confidence, streams, and input that once hung or passed in silence -----------------------


@pytest.mark.parametrize("margin", [0, 1, 9], ids=["overlapping", "close", "separated"])
@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_the_gap_is_that_of_the_second_best_permutation(size, margin):
    cost = np.random.default_rng(size).normal(size=(30, size, size)) - margin * np.eye(size)
    _, totals, gaps = kernels.assign(cost, np.tile(np.arange(size), (30, 1)))
    choices = np.array(list(all_permutations(range(size))))
    every = np.sort(cost[:, choices, np.arange(size)].sum(axis=2), axis=1)
    np.testing.assert_allclose(totals, every[:, 0])
    expected = every[:, 1] - every[:, 0] if size > 1 else np.full(30, np.inf)
    np.testing.assert_allclose(gaps, expected, atol=1e-12)


def test_a_permutation_that_is_worse_by_rounding_is_kept():
    """Each row has one minimum, but the other permutation costs only rounding more."""
    for more, expected in ((1e-14, [1, 0]), (1e-9, [0, 1])):
        cost = 1.0 + more * (1 - np.eye(2))[np.newaxis]
        permutations, _, gaps = kernels.assign(cost, np.array([[1, 0]]))
        np.testing.assert_array_equal(permutations, [expected])
        np.testing.assert_allclose(gaps, 2 * more, atol=1e-13)


def test_the_gap_sees_a_cycle_of_three_where_each_row_has_its_own_minimum():
    """No exchange of two costs less than 10, the cycle 3."""
    cost = np.full((1, 4, 4), 10.0)
    cost[0, np.arange(4), np.arange(4)] = 0.0
    cost[0, [0, 1, 2], [1, 2, 0]] = 1.0
    _, _, gaps = kernels.assign(cost, np.arange(4)[np.newaxis])
    np.testing.assert_allclose(gaps, 3.0)


def test_confidence_of_every_method():
    """Far apart: sure of every draw; with a draw that is a tie: not of that one."""
    mixture = Mixture(distance=6.0)
    for name, method in METHODS.items():
        confidence = method(mixture, mixture).confidence
        assert confidence.shape == (40,), name
        assert (confidence > 0.5).all(), name
    tied = np.array([[0.0, 1.0], [0.1, 1.1], [0.5, 0.5]])
    pivot = np.array([0.0, 1.0])
    assert labelswitch.pra(tied, pivot).confidence[2] == pytest.approx(0.0, abs=1e-12)
    assert labelswitch.order(tied).confidence[2] == 0.0


def test_sjw_confidence_is_the_probability_of_the_permutation():
    mixture = Mixture(distance=1.0)
    result = labelswitch.sjw(mixture.means, mixture.z, log_density=mixture.log_density)
    table = mixture.log_density(result.parameters[:, 0])
    choices = np.array(list(all_permutations(range(3))))
    for t in range(5):
        score = np.array([[table[mixture.z[t] == k, j].sum() for j in range(3)] for k in range(3)])
        total = score[choices, np.arange(3)].sum(axis=1)
        chosen = score[result.permutations[t], np.arange(3)].sum()
        assert result.confidence[t] == pytest.approx(np.exp(chosen - logsumexp(total)), rel=1e-4)


def test_all_starts_share_one_pass_over_a_stream():
    """At most 1.5 readings of each chunk in a sweep, however many starts."""
    p = np.random.default_rng(3).dirichlet(np.ones(4), size=(60, 10))
    read = []

    def chunk(block_info=None):
        start, stop = block_info[None]["array-location"][0]
        read.append(start)
        return p[start:stop]

    lazy = da.map_blocks(chunk, chunks=((20,) * 3, (10,), (4,)), dtype=float, meta=p[:0])
    starts = ("identity", "pra", "ecr", *["random"] * 9)
    with optional("dask").config.set(scheduler="synchronous"):
        result = labelswitch.stephens(lazy, starts=starts)
    expected = labelswitch.stephens(p, starts=starts)
    np.testing.assert_array_equal(result.permutations, expected.permutations)
    longest = max(labelswitch.stephens(p, starts=start).trace.size for start in starts)
    picked = len(starts) - 1  # a start reads the chunk of its draw
    assert len(read) - picked <= 3 * 1.5 * (longest + 1)


def test_layouts_threads_and_blocks_change_nothing(monkeypatch):
    from labelswitch import algorithms

    p = np.random.default_rng(5).dirichlet(np.ones(3), size=(200, 40))
    expected = labelswitch.stephens(p)
    monkeypatch.setattr(algorithms, "BLOCK", 40 * 3 * 7)
    for form in (p, np.asfortranarray(p), p[::-1][::-1]):
        result = labelswitch.stephens(form)
        np.testing.assert_array_equal(result.permutations, expected.permutations)
        assert result.objective == pytest.approx(expected.objective, rel=1e-12)


def test_huge_and_tiny_values_change_nothing():
    mixture = Mixture(distance=6.0)
    x, z = mixture.x, mixture.z
    theta = mixture.means
    data = labelswitch.data_based(x, z, n_components=3).permutations
    raw = labelswitch.pra(theta, theta[0], standardise=False).permutations
    for unit in (1e160, 1e-300):
        found = labelswitch.data_based(x * unit, z, n_components=3)
        np.testing.assert_array_equal(found.permutations, data)
        found = labelswitch.pra(theta * unit, theta[0] * unit).permutations
        np.testing.assert_array_equal(found, labelswitch.pra(theta, theta[0]).permutations)
    found = labelswitch.pra(theta * 1e-150, theta[0] * 1e-150, standardise=False).permutations
    np.testing.assert_array_equal(found, raw)


def test_one_wild_draw_is_refused_not_passed_over():
    theta = Mixture(distance=6.0).means.copy()
    theta[3, 1] = 1e160
    with pytest.raises(ValueError, match=r"parameters\[3, 1, 0\] is 1e\+160, so far from"):
        labelswitch.pra(theta, theta[0])
    with pytest.raises(ValueError, match=r"squared distances overflow"):
        labelswitch.pra(theta, theta[0], standardise=False)


MASKED = np.ma.masked_array(P, P >= 0.5)


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda: labelswitch.stephens(P, starts=None), TypeError, "starts must be a name"),
        (lambda: labelswitch.stephens(P, seed="x"), TypeError, "seed must be an integer"),
        (lambda: labelswitch.stephens(P, seed=-1), TypeError, "seed must be an integer"),
        (lambda: labelswitch.stephens(MASKED), ValueError, "p has masked values"),
        (
            lambda: labelswitch.stephens(da.from_array(P.astype(str), chunks=1)),
            TypeError,
            "p must hold real numbers",
        ),
        (lambda: labelswitch.ecr([[0, 100_000]], [0, 1]), ValueError, "look for a stray label"),
        (
            lambda: labelswitch.sjw(PARAMETERS, Z, log_density=3),
            TypeError,
            "log_density must be a function",
        ),
        (
            lambda: labelswitch.sjw(PARAMETERS, Z, log_density=lambda t: np.full((3, 2), 1e307)),
            ValueError,
            r"log_density returned 1e\+307",
        ),
        (lambda: labelswitch.stephens(P[:0]), ValueError, "p must have shape .* not be empty"),
        (lambda: labelswitch.pra(PARAMETERS[:0], PARAMETERS[0]), ValueError, "not be empty"),
        (lambda: labelswitch.ecr(Z[:0], Z[0]), ValueError, "not be empty"),
        (lambda: labelswitch.order(PARAMETERS[:0]), ValueError, "not be empty"),
    ],
)
def test_input_that_once_failed_untidily(call, kind, message):
    with pytest.raises(kind, match=message):
        call()


def test_a_labelled_array_on_a_dask_array_is_streamed():
    xr = optional("xarray")
    p = da.from_array(P, chunks=(1, -1, -1))
    labelled = xr.DataArray(p, dims=("draw", "obs", "component"))
    assert labelswitch.algorithms._Probabilities(labelled).p is p
