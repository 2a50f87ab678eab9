"""Measure how fast labelswitch is and how much memory it takes: ``python benchmarks/run.py``.

It prints its tables and keeps them in ``benchmarks/results.txt``. Our methods run with their
default starts, on one core but where two are named. Times are CPU times, the fastest of several
rounds in which the peers take turns. R is not run: Debian has R but not its package
label.switching. Its medians are recorded figures for the same sizes, on one core of another machine
and other data.
"""

# ruff: noqa: E402 (the thread counts must be set before NumPy and Numba are imported)
import os

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ[variable] = "1"

import platform
import resource
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np
import plain
from scipy import stats

import labelswitch

MEGABYTE = 1e6
STORE = Path(__file__).parent / "results.txt"


def simulate(n_draws, n_observations, n_components, seed=1, distance=3.0, dtype=np.float64):
    """Return x, p, z and parameters (mean, variance) of a normal mixture that switches at random.

    p is filled in chunks of draws, so that the peak of memory is p itself.
    """
    rng = np.random.default_rng(seed)
    centres = distance * np.arange(n_components)
    x = rng.normal(centres[rng.integers(n_components, size=n_observations)])
    means = rng.normal(centres, 0.1, size=(n_draws, n_components))
    means = rng.permuted(means, axis=1)
    p = np.empty((n_draws, n_observations, n_components), dtype)
    z = np.empty((n_draws, n_observations), np.int64)
    step = max(1, 10**5 // (n_observations * n_components))
    for start in range(0, n_draws, step):
        part = slice(start, start + step)
        density = np.exp(-0.5 * (x[:, None] - means[part, None, :]) ** 2) + 1e-300
        density /= density.sum(axis=2, keepdims=True)
        p[part] = density
        level = rng.random((len(density), n_observations, 1))
        z[part] = (density.cumsum(axis=2)[:, :, :-1] < level).sum(axis=2)
    parameters = np.stack([means, rng.normal(1, 0.05, size=means.shape)], axis=2)
    return x, p, z, parameters


def fastest(*runs, rounds=5):
    """Return the smallest CPU time of each function, and its last result; they take turns."""
    results = [run() for run in runs]
    times = [np.inf] * len(runs)
    for _ in range(rounds):
        for index, run in enumerate(runs):
            start = time.process_time()
            results[index] = run()
            times[index] = min(times[index], time.process_time() - start)
    return times, results


def same(left, right):
    """Return the share of draws relabelled alike, with the first draw as the common one."""
    g = np.argsort(right[0])[left[0]]
    return (left == right[:, g]).all(axis=1).mean()


def speed():
    m, n, k = 4000, 500, 5
    x, p, z, parameters = simulate(m, n, k)
    single = p.astype(np.float32)
    eps = 1e-6
    rows = [
        (
            "ECR",
            1.24,
            lambda: labelswitch.ecr(z, z[-1]),
            lambda: plain.ecr(z, z[-1], k),
        ),
        (
            "ECR-ITERATIVE-1",
            3.2,
            lambda: labelswitch.ecr_iterative_1(
                z,
            ),
            lambda: plain.ecr_iterative_1(z, k),
        ),
        (
            "ECR-ITERATIVE-2",
            5.5,
            lambda: labelswitch.ecr_iterative_2(
                z,
                p,
            ),
            lambda: plain.ecr_iterative_2(z, p),
        ),
        (
            "STEPHENS, eps 1e-6",
            14.8,
            lambda: labelswitch.stephens(
                p,
                eps=eps,
            ),
            lambda: plain.stephens(p, eps),
        ),
        (
            "STEPHENS, eps 0",
            14.8,
            lambda: labelswitch.stephens(
                p,
            ),
            lambda: plain.stephens(p, 0.0),
        ),
        (
            "STEPHENS, float32",
            14.8,
            lambda: labelswitch.stephens(
                single,
            ),
            None,
        ),
        (
            "DATA-BASED",
            2.2,
            lambda: labelswitch.data_based(x, z),
            lambda: plain.data_based(x, z, k),
        ),
        (
            "PRA, raw",
            None,
            lambda: labelswitch.pra(parameters, parameters[-1], standardise=False),
            lambda: plain.pra(parameters, parameters[-1]),
        ),
    ]
    print(f"\n{m} draws, {n} observations, K = {k}")
    table(rows)

    _, _, _, parameters = simulate(100, 50, 9)
    pivot = parameters[-1]
    print("\n100 draws, K = 9, 2 parameters")
    table(
        [
            (
                "PRA, raw",
                128.0,
                lambda: labelswitch.pra(parameters, pivot, standardise=False),
                lambda: plain.pra(parameters, pivot),
            ),
            ("PRA, standardised", 128.0, lambda: labelswitch.pra(parameters, pivot), None),
        ],
        rounds=50,
    )

    sx, _, sz, theta = simulate(200, 100, 5)

    def log_density(theta):
        return stats.norm.logpdf(sx[:, None], theta[:, 0], np.sqrt(theta[:, 1]))

    start = labelswitch.ecr_iterative_1(sz).permutations
    print("\n200 draws, 100 observations, K = 5")
    table(
        [
            (
                "SJW",
                2.4,
                lambda: labelswitch.sjw(theta, sz, log_density=log_density),
                lambda: plain.sjw(theta, sz, log_density, start),
            )
        ],
        rounds=10,
    )

    x, p, z, parameters = simulate(4000, 500, 20)
    print("\n4000 draws, 500 observations, K = 20 (R enumerates 20! permutations for PRA and SJW)")
    table(
        [
            ("ECR", None, lambda: labelswitch.ecr(z, z[-1]), lambda: plain.ecr(z, z[-1], 20)),
            (
                "STEPHENS, eps 1e-6",
                None,
                lambda: labelswitch.stephens(p, eps=eps, starts="pra"),
                None,
            ),
            (
                "PRA, raw",
                None,
                lambda: labelswitch.pra(parameters, parameters[-1], standardise=False),
                lambda: plain.pra(parameters, parameters[-1]),
            ),
            (
                "SJW (assignment)",
                None,
                lambda: labelswitch.sjw(
                    parameters,
                    z,
                    log_density=lambda t: stats.norm.logpdf(x[:, None], t[:, 0], np.sqrt(t[:, 1])),
                ),
                None,
            ),
        ],
        rounds=3,
    )


def table(rows, rounds=5):
    print(
        f"{'method':20}{'sweeps':>7}{'ours, ms':>10}{'NumPy, ms':>11}{'R, ms':>9}"
        f"{'NumPy/ours':>12}{'R/ours':>9}{'draws alike':>13}"
    )
    for name, r_seconds, ours, theirs in rows:
        peers = [ours] if theirs is None else [ours, theirs]
        (seconds, *others), (result, *found) = fastest(*peers, rounds=rounds)
        line = f"{name:20}{result.trace.size:7}{1e3 * seconds:10.2f}"
        other, alike = None, ""
        if others:
            other, alike = others[0], f"{same(result.permutations, found[0]):.4f}"
        line += f"{1e3 * other:11.1f}" if other else f"{'':11}"
        line += f"{1e3 * r_seconds:9.0f}" if r_seconds else f"{'':9}"
        line += f"{other / seconds:12.1f}" if other else f"{'':12}"
        line += f"{r_seconds / seconds:9.0f}" if r_seconds else f"{'':9}"
        print(f"{line}{alike:>13}", flush=True)


def processor():
    """Return the model of the processor."""
    with open("/proc/cpuinfo") as file:
        return next(line.split(":")[1].strip() for line in file if line.startswith("model name"))


def status_bytes(field):
    """Return a field of /proc/self/status: VmHWM is the peak resident memory, VmSize the mapped."""
    with open("/proc/self/status") as file:
        line = next(line for line in file if line.startswith(field))
    return int(line.split()[1]) * 1024


def reset_peak():
    """Make VmHWM start again from what is resident now."""
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")


def memory(method, dtype):
    """Print the peak memory of one method over the size of p (run in its own process)."""

    def run(n_draws):
        _, p, z, _ = simulate(n_draws, 1000, 5, dtype=dtype)
        reset_peak()
        before = status_bytes("VmHWM")
        if method == "stephens":
            labelswitch.stephens(p)
        else:
            labelswitch.ecr_iterative_2(z, p)
        return p.nbytes, before, status_bytes("VmHWM")

    run(20)  # compile
    base = status_bytes("VmRSS")
    size, before, after = run(8000)
    print(
        f"{method:20}{dtype:>10}{size / MEGABYTE:9.0f}{(before - base) / MEGABYTE:13.0f}"
        f"{(after - before) / MEGABYTE:13.0f}{1 + (after - before) / size:13.3f}",
        flush=True,
    )


def stream(limit_megabytes):
    """Relabel a Dask-backed p of four times the memory that may still be allocated."""
    import dask
    import dask.array

    limit = int(limit_megabytes * MEGABYTE)
    n, k = 500, 8
    m = 4 * limit // (8 * n * k)
    chunk = 200  # draws: 6.4 MB
    _, small, _, _ = simulate(chunk, n, k, distance=1.0)

    def block(block_info=None):
        """Make a chunk of draws when it is asked for, so that p exists nowhere as a whole."""
        start = block_info[None]["array-location"][0][0]
        size = block_info[None]["chunk-shape"][0]
        rng = np.random.default_rng(start)
        switched = np.argsort(rng.random((size, 1, k)), axis=2)
        return np.take_along_axis(small[:size], switched, axis=2)

    chunks = ((chunk,) * (m // chunk) + ((m % chunk,) if m % chunk else ()), (n,), (k,))
    p = dask.array.map_blocks(block, chunks=chunks, dtype=np.float64, meta=np.empty((0, 0, 0)))
    dask.config.set(scheduler="synchronous")
    labelswitch.stephens(p[:chunk], starts="pra")  # compile before the limit
    used = status_bytes("VmSize")
    resource.setrlimit(resource.RLIMIT_AS, (used + limit, used + limit))
    reset_peak()
    before = status_bytes("VmHWM")
    start = time.perf_counter()
    result = labelswitch.stephens(p)
    seconds = time.perf_counter() - start
    growth = (status_bytes("VmHWM") - before) / MEGABYTE
    try:
        np.ones(p.shape)
        bites = "NO: the limit does not bite"
    except MemoryError:
        bites = "MemoryError"
    print(f"p                        {p.nbytes / MEGABYTE:8.0f} MB in {len(chunks[0])} chunks")
    print(f"limit (RLIMIT_AS)        {limit / MEGABYTE:8.0f} MB above what is loaded")
    print(f"p as one NumPy array     {bites}")
    print(
        f"stephens, streamed       {result.trace.size} sweeps of the best start, "
        f"{seconds:.1f} s for all, "
        f"converged={result.converged}, peak grew by {growth:.0f} MB"
    )


def cores(n_cores):
    """Print the wall time of stephens on so many cores, for both orders of p in memory."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: int(n_cores)])
    p = simulate(4000, 2000, 10)[1]
    labelswitch.stephens(p[:50])  # compile
    for name in ("C", "Fortran"):
        if name == "Fortran":
            p = np.asfortranarray(p)
            labelswitch.stephens(p[:50])
        times = []
        for _ in range(3):
            start = time.perf_counter()
            result = labelswitch.stephens(p)
            times.append(time.perf_counter() - start)
        seconds = min(times)
        print(
            f"{n_cores} core(s), {name:8}{seconds:7.2f} s, {result.trace.size} sweeps", flush=True
        )


def imports():
    """Print how long `import labelswitch` takes beside `import xarray` (processes of their own)."""
    seconds = {}
    for name in ("xarray", "labelswitch"):
        times = []
        for _ in range(5):
            start = time.perf_counter()
            subprocess.run([sys.executable, "-c", f"import {name}"], check=True)
            times.append(time.perf_counter() - start)
        seconds[name] = float(np.median(times))
    ratio = seconds["labelswitch"] / seconds["xarray"]
    print(f"labelswitch {seconds['labelswitch']:.2f}, xarray {seconds['xarray']:.2f}: {ratio:.2f}")


def first_call(cached):
    """Print how long the first call of each method takes (run in its own process)."""
    x, p, z, parameters = simulate(10, 20, 3)
    methods = {
        "ecr": lambda: labelswitch.ecr(z, z[0]),
        "stephens": lambda: labelswitch.stephens(p),
        "pra": lambda: labelswitch.pra(parameters, parameters[0]),
        "data_based": lambda: labelswitch.data_based(x, z),
        "sjw": lambda: labelswitch.sjw(
            parameters[:, :, 0], z, log_density=lambda t: -((x[:, None] - t) ** 2)
        ),
    }
    times = []
    for name, call in methods.items():
        start = time.perf_counter()
        call()
        times.append(f"{name} {time.perf_counter() - start:.2f}")
    print(f"{'read from the cache' if cached else 'compiled':22}{', '.join(times)}", flush=True)


def child(*arguments, **environment):
    subprocess.run(
        [sys.executable, __file__, *arguments], check=True, env={**os.environ, **environment}
    )


def main():
    if len(sys.argv) > 1:
        name, *arguments = sys.argv[1:]
        if name == "memory":
            memory(*arguments)
        elif name == "stream":
            stream(float(arguments[0]))
        elif name == "cores":
            cores(*arguments)
        elif name == "first_call":
            first_call(arguments[0] == "True")
        else:
            everything()
        return
    with (
        subprocess.Popen(
            [sys.executable, __file__, "all"], stdout=subprocess.PIPE, text=True
        ) as run,
        STORE.open("w") as file,
    ):
        for line in run.stdout:
            print(line, end="", flush=True)
            file.write(line)
    sys.exit(run.returncode)


def everything():
    """Print all tables."""
    versions = ", ".join(f"{name} {version(name)}" for name in ("labelswitch", "numpy", "numba"))
    print(
        f"Python {platform.python_version()}, {versions}, {os.cpu_count()} cores of {processor()}"
    )
    available = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(available)})
    speed()
    os.sched_setaffinity(0, available)
    print("\nSTEPHENS at 4000 draws, 2000 observations, K = 10: wall times")
    for n_cores in (1, 2):
        child("cores", str(n_cores))
    print("\nImport, seconds, and its ratio")
    imports()
    print("\nMemory, default starts: peak over the size of p")
    print(
        f"{'method':20}{'dtype':>10}{'p, MB':>9}{'input, MB':>13}{'extra, MB':>13}{'peak / p':>13}"
    )
    for method in ("stephens", "ecr_iterative_2"):
        for dtype in ("float64", "float32"):
            child("memory", method, dtype)
    print("\nA Dask-backed p, four times the memory limit")
    child("stream", "64")
    print("\nFirst call in a process, seconds (Numba compiles once, then reads its cache)")
    with tempfile.TemporaryDirectory() as folder:
        for cached in ("False", "True"):
            child("first_call", cached, NUMBA_CACHE_DIR=folder)


if __name__ == "__main__":
    main()
