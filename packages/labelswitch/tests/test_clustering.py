"""Co-clustering, point partitions and occupancy, against enumeration and closed forms."""

import arviz_base as az
import numpy as np
import pytest
from extras import optional
from hypothesis import given, settings
from hypothesis import strategies as st

import labelswitch
from labelswitch import kernels


def tree(z, **more):
    return az.from_dict({"posterior": {"z": z, **more}}, dims={"z": ["obs"]})


def noisy(seed, n=40, n_draws=60, n_chains=2, noise=0.15, size=3):
    """Draw clusterings near a truth, their labels renamed at random in each draw."""
    rng = np.random.default_rng(seed)
    truth = np.arange(n) % size
    z = np.where(rng.random((n_chains, n_draws, n)) < noise, rng.integers(size + 1), truth)
    names = rng.permuted(np.tile(np.arange(size + 1), (n_chains, n_draws, 1)), axis=-1)
    return np.take_along_axis(names, z, axis=-1), truth


def in_doubt(seed, n=60, n_draws=100):
    """Draw pairs that stay together, each in doubt: one cluster a pair is best for Binder's loss.

    Two pairs share one of three labels in a third of the draws.
    """
    z = np.random.default_rng(seed).integers(3, size=(1, n_draws, n // 2))
    return np.repeat(z, 2, axis=2)


def partitions(n):
    """Return every partition of n things, as restricted growth strings."""

    def grow(head, top):
        if len(head) == n:
            yield np.array(head, np.int32)
            return
        for label in range(top + 2):
            yield from grow([*head, label], max(top, label))

    return list(grow([0], 0))


def variation_of_information(one, two):
    """Return the entropies of both less twice the mutual information, from the definition."""
    joint = np.zeros((one.max() + 1, two.max() + 1))
    np.add.at(joint, (one, two), 1 / len(one))
    rows, columns = joint.sum(axis=1, keepdims=True), joint.sum(axis=0, keepdims=True)
    positive = joint > 0
    information = (joint[positive] * np.log(joint[positive] / (rows * columns)[positive])).sum()

    def entropy(p):
        return -(p[p > 0] * np.log(p[p > 0])).sum()

    return entropy(rows) + entropy(columns) - 2 * information


def binder(one, two):
    """Return the share of pairs that one puts together and the other does not."""
    pairs = np.triu_indices(len(one), 1)
    return ((one[:, None] == one)[pairs] != (two[:, None] == two)[pairs]).mean()


LOSSES = {"vi": variation_of_information, "binder": binder}


def test_similarity_of_allocations_is_the_share_of_draws():
    z, _ = noisy(1)
    found = labelswitch.similarity(tree(z), allocations="z")
    flat = z.reshape(-1, z.shape[-1])
    np.testing.assert_allclose(found, (flat[:, :, None] == flat[:, None]).mean(axis=0), rtol=1e-6)
    assert found.dims == ("obs", "obs_other")


@pytest.mark.parametrize("source", ["allocations", "responsibilities"])
def test_similarity_in_blocks_is_the_same_and_lazy(source):
    lazy_kind = optional("dask.array").Array
    rng = np.random.default_rng(3)
    p = rng.dirichlet(np.ones(3), size=(2, 30, 23))
    posterior = {"p": p, "z": p.argmax(axis=3)}
    dt = az.from_dict({"posterior": posterior}, dims={"p": ["obs", "component"], "z": ["obs"]})
    given = {source: "z" if source == "allocations" else dt["posterior"]["p"].chunk({"draw": 7})}
    whole = labelswitch.similarity(dt, **given)
    blocks = labelswitch.similarity(dt, **given, chunks=10)
    assert isinstance(blocks.data, lazy_kind)
    assert blocks.data.chunks == ((10, 10, 3), (10, 10, 3))
    np.testing.assert_allclose(blocks.values, whole.values, rtol=1e-6)
    assert blocks.dims == whole.dims
    for wrong in (0, 2.5, True):
        with pytest.raises(ValueError, match="chunks: a whole number"):
            labelswitch.similarity(dt, **given, chunks=wrong)


def test_similarity_of_responsibilities_is_the_expectation_over_allocations():
    rng = np.random.default_rng(2)
    p = rng.dirichlet([0.5, 0.5, 0.5], size=(2, 30, 8))
    dt = az.from_dict({"posterior": {"p": p}}, dims={"p": ["obs", "component"]})
    found = labelswitch.similarity(dt, responsibilities="p").values
    expected = np.einsum("ctik,ctjk->ij", p, p) / 60
    np.fill_diagonal(expected, 1)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    # Labels do not matter, and Monte Carlo over sampled allocations agrees.
    turned = az.from_dict({"posterior": {"p": p[..., ::-1]}}, dims={"p": ["obs", "component"]})
    np.testing.assert_allclose(
        labelswitch.similarity(turned, responsibilities="p").values, found, rtol=1e-5
    )
    z = (p.cumsum(-1)[..., :-1] < rng.random((400, 2, 30, 8, 1))).sum(-1).reshape(-1, 8)
    sampled = (z[:, :, None] == z[:, None]).mean(axis=0)
    np.testing.assert_allclose(found, sampled, atol=0.02)


@pytest.mark.parametrize("chunks", [None, 3])
def test_rounded_responsibilities_are_divided_by_their_sum(chunks):
    """Nobody is in the second component, so that what is missing from one is not its share."""
    if chunks:
        pytest.importorskip("dask.array")
    p = np.tile([0.99991, 0.0], (1, 1000, 50, 1))
    dt = az.from_dict({"posterior": {"p": p}}, dims={"p": ["obs", "component"]})
    found = labelswitch.similarity(dt, responsibilities="p", chunks=chunks)
    np.testing.assert_allclose(found.values, 1, rtol=1e-6)
    if not chunks:
        np.testing.assert_array_equal(labelswitch.n_occupied(dt, responsibilities="p"), [[0, 1]])
        found = labelswitch.partition(dt, responsibilities="p", n_runs=1)
        assert found.expected_loss == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("seed", range(6))
def test_the_partition_is_the_best_of_all(loss, seed):
    """Against all 4,140 partitions of eight observations, by the definition of the loss."""
    rng = np.random.default_rng(seed)
    z = rng.integers(3, size=(1, 15, 8))
    every = partitions(8)
    assert len(every) == 4140
    expected = [
        kernels.expected_loss(kernels.compact(z[0].astype(np.int32)), one, loss == "vi")
        for one in every
    ]
    best = every[int(np.argmin(expected))]
    by_definition = np.mean([LOSSES[loss](best, draw) for draw in z[0]])
    assert min(expected) == pytest.approx(by_definition, rel=1e-9)
    found = labelswitch.partition(tree(z), loss=loss, allocations="z")
    assert found.expected_loss == pytest.approx(min(expected), rel=1e-9)
    again = np.mean([LOSSES[loss](found.labels.values, draw) for draw in z[0]])
    assert again == pytest.approx(found.expected_loss, rel=1e-9)


@pytest.mark.parametrize("loss", LOSSES)
def test_the_partition_is_no_worse_than_any_draw_or_cut(loss):
    from labelswitch.clustering import _cuts

    for seed in range(4):
        z, _ = noisy(seed, noise=0.5)
        flat = kernels.compact(z.reshape(-1, z.shape[-1]).astype(np.int32))
        found = labelswitch.partition(tree(z), loss=loss, allocations="z", n_runs=4)
        for one in [*flat, *_cuts(flat)]:
            value = kernels.expected_loss(flat, one, loss == "vi")
            assert found.expected_loss <= value + 1e-12


def test_the_best_of_all_cuts_for_the_loss_of_binder_is_offered():
    from scipy.cluster.hierarchy import fcluster, linkage
    from scipy.spatial.distance import squareform

    from labelswitch.clustering import _cuts

    for z in [in_doubt(0), in_doubt(1, n_draws=20), noisy(2, noise=0.6)[0]]:
        flat = kernels.compact(z.reshape(-1, z.shape[-1]).astype(np.int32))
        n = flat.shape[1]
        apart = (flat[:, :, None] != flat[:, None]).mean(axis=0)
        dendrogram = linkage(squareform(apart), "average")
        every = [fcluster(dendrogram, count, "maxclust") for count in range(1, n + 1)]
        pairs = np.triu_indices(n, 1)
        lowest = min(np.where(one[:, None] == one, apart, 1 - apart)[pairs].mean() for one in every)
        offered = [kernels.expected_loss(flat, one, False) for one in _cuts(flat)]
        assert min(offered) == pytest.approx(lowest, rel=1e-6)


def test_many_clusters_take_one_search_each(monkeypatch):
    """A limit on the clusters that rose by one at a time took 163 searches."""
    searches = []

    def counted(*arguments):
        searches.append(arguments)
        return search(*arguments)

    search = kernels.search_partition
    monkeypatch.setattr(kernels, "search_partition", counted)
    z = in_doubt(0)
    found = labelswitch.partition(tree(z), loss="binder", allocations="z", n_runs=4)
    np.testing.assert_array_equal(found.labels, np.arange(60) // 2)
    assert len(searches) <= 1 + 4 + 30


def test_a_label_far_from_the_others_changes_nothing():
    z, _ = noisy(5, n_draws=20)
    far = np.where(z == 3, 2**31 - 2, z)
    for function in (labelswitch.similarity, labelswitch.n_occupied):
        one, two = (function(tree(item), allocations="z") for item in (z, far))
        np.testing.assert_array_equal(one, two)
    one, two = (labelswitch.partition(tree(item), allocations="z") for item in (z, far))
    np.testing.assert_array_equal(one.labels, two.labels)
    assert one.expected_loss == two.expected_loss


def test_the_partition_finds_the_truth_and_numbers_it_from_the_front():
    z, truth = noisy(3)
    found = labelswitch.partition(tree(z), allocations="z")
    np.testing.assert_array_equal(found.labels, truth)
    assert found.n_clusters == 3
    assert repr(found).startswith("<Partition of 40 observations into 3 clusters, expected vi")


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_renaming_the_labels_of_a_draw_changes_nothing(seed):
    rng = np.random.default_rng(seed)
    z, _ = noisy(seed, n=12, n_draws=8)
    names = rng.permuted(np.tile(np.arange(4), (*z.shape[:2], 1)), axis=-1)
    renamed = np.take_along_axis(names, z, axis=-1)
    one, two = (labelswitch.partition(tree(item), allocations="z") for item in (z, renamed))
    np.testing.assert_array_equal(one.labels, two.labels)
    assert one.expected_loss == pytest.approx(two.expected_loss)
    np.testing.assert_array_equal(
        labelswitch.n_occupied(tree(z), allocations="z"),
        labelswitch.n_occupied(tree(renamed), allocations="z"),
    )


def test_occupancy_counts_components_by_chain():
    z = np.array([[[0, 0, 0], [0, 1, 1]], [[2, 2, 1], [3, 1, 0]]])
    found = labelswitch.n_occupied(tree(z), allocations="z")
    np.testing.assert_array_equal(found, [[0, 0.5, 0.5, 0], [0, 0, 0.5, 0.5]])
    pairs = labelswitch.n_occupied(tree(z), allocations="z", at_least=2)
    np.testing.assert_array_equal(pairs, [[0, 1], [0.5, 0.5]])


def test_occupancy_from_responsibilities_samples_allocations():
    """Two rows, two components, even odds: both occupied in half of the draws."""
    p = np.full((1, 4000, 2, 2), 0.5)
    dt = az.from_dict({"posterior": {"p": p}}, dims={"p": ["obs", "component"]})
    found = labelswitch.n_occupied(dt, responsibilities="p")
    assert float(found[0, 2]) == pytest.approx(0.5, abs=4 * 0.5 / 4000**0.5)


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda dt: labelswitch.similarity(dt), ValueError, "pass exactly one of them; 0"),
        (
            lambda dt: labelswitch.similarity(dt, allocations="z", responsibilities="z"),
            ValueError,
            "pass exactly one of them; 2",
        ),
        (lambda dt: labelswitch.similarity(dt, allocations="x"), TypeError, "holds float64"),
        (lambda dt: labelswitch.similarity(dt, responsibilities="z"), ValueError, "dimensions"),
        (
            lambda dt: labelswitch.partition(dt, loss="vl", allocations="z"),
            ValueError,
            "loss: 'vl' is unknown. Choose one of vi, binder",
        ),
        (
            lambda dt: labelswitch.n_occupied(dt, allocations="z", at_least=0),
            ValueError,
            "at_least must be at least 1, not 0",
        ),
        (
            lambda dt: labelswitch.n_occupied(dt, allocations="z", at_least="2"),
            TypeError,
            "at_least must be an integer, not '2'",
        ),
        (
            lambda dt: labelswitch.partition(dt, allocations="z", n_runs=1.5),
            TypeError,
            "n_runs must be an integer, not 1.5",
        ),
        (
            lambda dt: labelswitch.partition(dt, allocations="far"),
            ValueError,
            "allocations: 'far' has the label 4294967296; number the components",
        ),
        *(
            (
                lambda dt, name=name, call=call: call(dt, responsibilities=name),
                ValueError,
                "responsibilities: along 'component' they are no probabilities that sum to one",
            )
            for name in ("twice", "missing", "turned", "rounded")
            for call in (labelswitch.similarity, labelswitch.partition, labelswitch.n_occupied)
        ),
        *(
            (
                lambda dt, kind=kind, call=call: call(dt, **{kind: f"{kind}_of_none"}),
                ValueError,
                f"{kind}: they are empty, with sizes .* At least one observation is needed",
            )
            for kind in ("allocations", "responsibilities")
            for call in (labelswitch.similarity, labelswitch.partition, labelswitch.n_occupied)
        ),
    ],
)
def test_bad_input_is_named(call, kind, message):
    z, _ = noisy(4, n=4)  # as many observations as labels, so that no array is padded with NaN
    p = np.eye(4)[z]
    missing = p.copy()
    missing[1, 3, 2] = np.nan
    arrays = {"twice": 2 * p, "missing": missing, "turned": p.swapaxes(2, 3)}
    arrays |= {"rounded": 0.9992 * p, "responsibilities_of_none": p[:, :, :0]}
    far = np.where(z == 3, 2**32, z.astype(np.int64))
    own = dict.fromkeys(arrays, ("row", "component"))
    own |= {"responsibilities_of_none": ("nobody", "component"), "allocations_of_none": ["nobody"]}
    arrays["allocations_of_none"] = z[:, :, :0]
    posterior = {"z": z, "x": z * 1.0, "far": far, **arrays}
    dt = az.from_dict({"posterior": posterior}, dims={"z": ["obs"], "far": ["obs"], **own})
    with pytest.raises(kind, match=message):
        call(dt)


def test_a_loss_of_zero_is_not_negative():
    z = np.tile(np.arange(8) % 2, (2, 60, 1))
    assert labelswitch.partition(tree(z), allocations="z").expected_loss == 0.0
