"""A cluster is a scheduler and not a rewrite: p larger than the memory of all workers together."""

import numpy as np
import pytest
from extras import optional

import labelswitch

dask = optional("dask")
distributed = optional("distributed")
MEGABYTE = 10**6


def block(block_info=None):
    """Make a chunk of draws where it is asked for: a soft clustering, its labels switched."""
    start = block_info[None]["array-location"][0][0]
    n_draws, n_observations, n_components = block_info[None]["chunk-shape"]
    rng = np.random.default_rng(start)
    p = np.random.default_rng(0).dirichlet(np.full(n_components, 0.3), n_observations)
    p = p ** rng.uniform(0.8, 1.25, size=(n_draws, 1, 1))
    p /= p.sum(axis=2, keepdims=True)
    switched = np.argsort(rng.random((n_draws, 1, n_components)), axis=2)
    return np.take_along_axis(p, switched, axis=2)


# Closing a cluster leaves sockets to the garbage collector.
@pytest.mark.filterwarnings("ignore")
def test_stephens_on_two_workers_whose_memory_is_smaller_than_p(tmp_path):
    array = optional("dask.array")
    limit = 500 * MEGABYTE
    shape = (70_000, 500, 4)
    n_chunks = 140
    chunks = ((shape[0] // n_chunks,) * n_chunks, (shape[1],), (shape[2],))
    p = array.map_blocks(block, chunks=chunks, dtype=np.float64, meta=np.empty((0, 0, 0)))
    assert p.nbytes > 2 * limit
    options = {"starts": ["pra"], "max_sweeps": 3}
    settings = {"temporary-directory": str(tmp_path), "distributed.comm.timeouts.connect": "60s"}
    with (
        dask.config.set(settings),
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, memory_limit=limit, dashboard_address=None
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        found = labelswitch.stephens(p, **options)
        workers = client.scheduler_info()["workers"].values()
        assert [worker["memory_limit"] for worker in workers] == [limit, limit]
    with dask.config.set(scheduler="synchronous"):
        expected = labelswitch.stephens(p, **options)
    np.testing.assert_array_equal(found.permutations, expected.permutations)
    np.testing.assert_allclose(found.q, expected.q, rtol=1e-10)
    assert found.objective == pytest.approx(expected.objective, rel=1e-10)
    # A part of it as a NumPy array, far from the chunks and the cluster.
    few = np.asarray(p[:1000])
    again = labelswitch.stephens(few, **options)
    order = np.argsort(again.permutations[0])[found.permutations[0]]
    np.testing.assert_array_equal(again.permutations[:, order], found.permutations[:1000])
