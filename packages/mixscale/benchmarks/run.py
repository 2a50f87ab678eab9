"""Print and store how fast mixscale is beside its peers: ``python benchmarks/run.py``.

``--full`` adds ten million rows in memory and a hundred million on disk. Times are CPU times of one
core unless a line says otherwise. Peers take turns, and each is given by its fastest of several
rounds, which other jobs on the machine disturb least: compare within one run only. The results go
to ``benchmarks/results.json`` with the machine that they come from. A section by itself, as
``run.py --store "fit|10000000|2"``, takes the place of its old records there.
"""

# ruff: noqa: E402 (the thread counts must be set before NumPy and Numba are imported)
import os

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ[variable] = "1"

import argparse
import json
import math
import platform
import resource
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np
from numba import njit

from mixscale import kernels

STORE = Path(__file__).with_name("results.json")


def lines(n, seed=0):
    """Return x and y of the forum's two lines with slopes -1 and 3."""
    rng = np.random.default_rng(seed)
    x = 2 * rng.random(n) - 1
    z = rng.random(n) < 0.5
    return x, np.where(z, 3 * x, -x) + 0.1 * rng.standard_normal(n)


def record(table, case, **values):
    """Print one line of a table as JSON; the parent process collects it."""
    print(json.dumps({"table": table, "case": case, **values}), flush=True)


def take_turns(calls, rounds=12):
    """Return the fastest CPU time of each call in nanoseconds, the calls taking turns."""
    best = dict.fromkeys(calls, math.inf)
    repeats = {}
    for name, call in calls.items():
        call()
        start = time.process_time()
        call()
        repeats[name] = max(1, int(0.02 / max(time.process_time() - start, 1e-6)))
    for _ in range(rounds):
        for name, call in calls.items():
            start = time.process_time()
            for _ in range(repeats[name]):
                call()
            best[name] = min(best[name], (time.process_time() - start) / repeats[name])
    return {name: 1e9 * seconds for name, seconds in best.items()}


# One pass ---------------------------------------------------------------------------------------


@njit(error_model="numpy")
def one_row_at_a_time(x, y, log_weights, slopes, sigma):
    """Return value and gradient of two lines by the maths library's exp and log, row by row."""
    h = 0.5 / sigma**2
    value = weight = left = right = square = 0.0
    for i in range(x.size):
        u0, u1 = y[i] - slopes[0] * x[i], y[i] - slopes[1] * x[i]
        a0, a1 = log_weights[0] - h * u0 * u0, log_weights[1] - h * u1 * u1
        top = max(a0, a1)
        e0, e1 = math.exp(a0 - top), math.exp(a1 - top)
        total = e0 + e1
        r = e1 / total
        value += top + math.log(total)
        weight += r
        left += (1 - r) * u0 * x[i]
        right += r * u1 * x[i]
        square += (1 - r) * u0 * u0 + r * u1 * u1
    return value, weight, left, right, square


def model(kind, x, y):
    """Return the forum's model in one of three ways of writing its likelihood."""
    import pymc as pm
    import pytensor.tensor as pt

    import mixscale

    with pm.Model() as out:
        w = pm.Dirichlet("w", np.ones(2))
        slope = pm.Normal("slope", 0, 2, shape=2)
        sigma = pm.Uniform("sigma", 0, 1)
        x, y = pm.Data("x", x), pm.Data("y_data", y)
        if kind == "mixscale.RegressionMixture":
            mixscale.RegressionMixture("y", w, x, slope, sigma, observed=y)
        elif kind == "pm.NormalMixture":
            pm.NormalMixture("y", w=w, mu=x[:, None] * slope, sigma=sigma, observed=y)
        else:
            terms = [pt.log(w[k]) - 0.5 * ((y - slope[k] * x) / sigma) ** 2 for k in range(2)]
            constant = y.shape[0] * (pt.log(sigma) + 0.5 * np.log(2 * np.pi))
            pm.Potential("likelihood", pt.logaddexp(*terms).sum() - constant)
    return out


WAYS = ("pm.NormalMixture", "pt.logaddexp by hand", "mixscale.RegressionMixture")


def one_pass(n):
    """Record nanoseconds a row for value and gradient, in each way of writing the likelihood."""
    n = int(n)
    x, y = lines(n)
    log_weights, slopes = np.log([0.5, 0.5]), np.array([-1.0, 3.0])
    sigma = np.array([0.1, 0.1])
    calls = {}
    for kind in WAYS:
        function = model(kind, x, y).logp_dlogp_function(ravel_inputs=True)
        function.set_extra_values({})
        calls[kind] = lambda f=function: f(np.array([0.1, -1.0, 3.0, -2.2]))
    columns = x[None]
    calls["scalar Numba, exp and log of the maths library"] = lambda: one_row_at_a_time(
        x, y, log_weights, slopes, 0.1
    )
    calls["kernel"] = lambda: kernels.gradient(columns, y, log_weights, slopes[:, None], sigma)
    calls["floor: read x and y once"] = lambda: x @ y
    times = take_turns(calls)
    for name, nanoseconds in times.items():
        record(
            "one pass",
            name,
            rows=n,
            ns_per_row=nanoseconds / n,
            ratio_to_kernel=nanoseconds / times["kernel"],
        )


def shapes():
    """Record nanoseconds a row of every kernel for several K and P, at 20,000 rows."""
    n = 20_000
    x, y = lines(n)
    calls = {}
    for k, p in ((1, 1), (2, 1), (3, 1), (4, 1), (6, 1), (2, 2), (3, 4)):
        columns = np.vstack([x, *np.random.default_rng(0).normal(size=(p - 1, n))])
        slopes = np.zeros((k, p))
        slopes[:, 0] = np.linspace(-1, 3, k)
        point = np.log(np.full(k, 1 / k)), slopes, np.full(k, 0.3)
        name = f"K = {k}, P = {p}"
        calls["gradient", name] = lambda c=columns, q=point: kernels.gradient(c, y, *q)
        calls["hessian", name] = lambda c=columns, q=point: kernels.hessian(c, y, *q)
        many = [np.repeat(part[None], 10, axis=0) for part in point]
        calls["values, a point", name] = lambda c=columns, q=many: kernels.values(c, y, *q)
    times = take_turns(calls, rounds=8)
    for (kernel, name), nanoseconds in times.items():
        per_row = nanoseconds / n / (10 if "values" in kernel else 1)
        record("kernels", f"{kernel}: {name}", rows=n, ns_per_row=per_row)


def accuracy():
    """Record the relative error of the log-likelihood against long double."""
    n = 100_000
    x, y = lines(n)
    for k in (2, 3, 6):
        slopes = np.linspace(-1, 3, k)
        z = (y[:, None].astype(np.longdouble) - x[:, None] * slopes) / np.longdouble(0.3)
        terms = -np.log(np.longdouble(k)) - z**2 / 2 - np.log(np.longdouble(0.3))
        terms -= np.log(2 * np.pi * np.longdouble(1)) / 2
        top = terms.max(axis=1)
        exact = (top + np.log(np.exp(terms - top[:, None]).sum(axis=1))).sum()
        point = np.log(np.full(k, 1 / k)), slopes[:, None], np.full(k, 0.3)
        value = kernels.gradient(x[None], y, *point)[0]
        record("accuracy", f"K = {k}", rows=n, relative_error=float(abs(value / exact - 1)))


# The posterior ----------------------------------------------------------------------------------


def nuts(kind, n, draws):
    """Record the smallest bulk ESS per CPU second of nutpie, compilation not counted."""
    import arviz as az
    import nutpie

    n, draws = int(n), int(draws)
    compiled = nutpie.compile_pymc_model(model(kind, *lines(n)))
    start, wall = time.process_time(), time.perf_counter()
    # Four chains one after the other: one core.
    dt = nutpie.sample(
        compiled, draws=draws, tune=300, chains=2, cores=1, seed=1, progress_bar=False
    )
    cpu, wall = time.process_time() - start, time.perf_counter() - wall
    by_chain = [
        float(min(az.ess(dt.posterior.isel(chain=[c]), method="bulk").to_dataset().min().values()))
        if hasattr(az.ess(dt.posterior.isel(chain=[c])), "to_dataset")
        else float(min(v.min() for v in az.ess(dt.posterior.isel(chain=[c])).data_vars.values()))
        for c in range(2)
    ]
    ess = sum(by_chain)  # the chains may have different labels
    evaluations = int(dt.sample_stats["n_steps"].sum())
    record(
        "NUTS",
        kind,
        rows=n,
        cpu_seconds=cpu,
        wall_seconds=wall,
        least_ess=ess,
        ess_per_cpu_second=ess / cpu,
        gradients_of_draws=evaluations,
    )


def fit(n, threads):
    """Record what a fit of 1,000 exact draws takes, and how exact it is."""
    import mixscale

    n = int(n)
    mixscale.fit(  # compile
        model("mixscale.RegressionMixture", *lines(9)), lines(30_000, seed=1), random_seed=1
    )
    out = model("mixscale.RegressionMixture", *lines(9))
    rows = lines(n)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    times = []
    for _ in range(2):  # the first one builds the graphs of its model
        start, wall = time.process_time(), time.perf_counter()
        dt = mixscale.fit(out, rows, threads=int(threads), random_seed=1)
        times.append((time.process_time() - start, time.perf_counter() - wall))
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    attributes = dt.posterior.attrs
    record(
        "fit",
        f"{threads} threads",
        rows=n,
        cpu_seconds=times[0][0],
        wall_seconds=times[0][1],
        cpu_seconds_again=times[1][0],
        wall_seconds_again=times[1][1],
        peak_gib=after / 2**20,
        more_than_the_rows_gib=(after - before) / 2**20,
        **{
            name: attributes[name]
            for name in (
                "passes",
                "rows_left",
                "log_weight_sd",
                "acceptance",
                "importance_ess",
            )
        },
        sd_times_root_n=attributes["log_weight_sd"] * n**0.5,
    )


def advi(n, steps):
    """Record what pm.fit with minibatches of 128 takes, and how far from the exact answer it ends.

    Mean-field, Adam at a rate of 0.01 for half of the steps and of 0.001 for the other half.
    """
    import pymc as pm
    import pytensor

    import mixscale

    n, half, batch = int(n), int(steps) // 2, 128
    x, y = lines(n)
    exact = mixscale.fit(model("mixscale.RegressionMixture", x[:9], y[:9]), (x, y), random_seed=1)
    slopes = np.sort(exact.posterior["slope"].values[0], axis=1)
    x_batch, y_batch = pm.Minibatch(x, y, batch_size=batch)
    with pm.Model():
        w = pm.Dirichlet("w", np.ones(2))
        slope = pm.Normal("slope", 0, 2, shape=2)
        sigma = pm.Uniform("sigma", 0, 1)
        means = x_batch[:, None] * slope
        pm.NormalMixture("y", w=w, mu=means, sigma=sigma, observed=y_batch, total_size=n)
        rate = pytensor.shared(0.01)
        inference = pm.ADVI(random_seed=1)
        inference.fit(0, progressbar=False, obj_optimizer=pm.adam(learning_rate=rate))
    start, wall = time.process_time(), time.perf_counter()  # compiled
    inference.refine(half, progressbar=False)
    rate.set_value(0.001)
    inference.refine(half, progressbar=False)
    cpu, wall = time.process_time() - start, time.perf_counter() - wall
    mean, sd = inference.approx.mean.get_value()[1:3], inference.approx.std.eval()[1:3]
    order = np.argsort(mean)
    record(
        "minibatch ADVI",
        f"pm.fit, batches of {batch}",
        rows=n,
        steps=2 * half,
        cpu_seconds=cpu,
        wall_seconds=wall,
        rows_read=2 * half * batch,
        slope_errors_in_posterior_sds=list(
            np.abs(mean[order] - slopes.mean(axis=0)) / slopes.std(axis=0)
        ),
        sd_ratios=list(sd[order] / slopes.std(axis=0)),
    )


def peak_kib():
    """Return the most memory that this process has held; ru_maxrss would include its parent's."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.partition("VmHWM:")[2].split()[0])


def cluster(n, draws):
    """Record a fit of rows on disk by two workers with 640 MB each."""
    import dask.array as da
    import distributed

    import mixscale

    n, size = int(n), 4_000_000
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        shape = (n,)
        files = {
            name: np.lib.format.open_memmap(path / f"{name}.npy", "w+", "float64", shape)
            for name in "xy"
        }
        for start in range(0, n, size):
            part = slice(start, min(start + size, n))
            files["x"][part], files["y"][part] = lines(part.stop - part.start, seed=start)
        for file in files.values():
            file.flush()
        del files

        def column(name):
            def read(start):
                return np.load(path / f"{name}.npy", mmap_mode="r")[start : start + size]

            return da.map_blocks(
                lambda block_info=None: read(block_info[None]["array-location"][0][0]),
                chunks=(tuple(min(size, n - start) for start in range(0, n, size)),),
                dtype=float,
                meta=np.empty(0),
            )

        out = model("mixscale.RegressionMixture", *lines(9))
        few = (np.load(path / f"{name}.npy", mmap_mode="r")[:30_000] for name in "xy")
        mixscale.fit(out, tuple(few), random_seed=1)  # compile, which takes more than a worker has
        with (
            distributed.LocalCluster(
                n_workers=2, threads_per_worker=1, memory_limit="640MB", dashboard_address=None
            ) as local,
            distributed.Client(local) as client,
        ):
            wall = time.perf_counter()
            dt = mixscale.fit(out, (column("x"), column("y")), draws=int(draws), random_seed=1)
            wall = time.perf_counter() - wall
            peak = client.run(peak_kib)
    attributes = dt.posterior.attrs
    record(
        "Dask",
        f"two workers of 640 MB, {draws} draws",
        rows=n,
        wall_seconds=wall,
        peak_mib_of_a_worker=max(peak.values()) / 1024,
        **{name: attributes[name] for name in ("passes", "rows_left", "importance_ess")},
    )


# ------------------------------------------------------------------------------------------------

SECTIONS = {
    function.__name__: function
    for function in (one_pass, shapes, accuracy, nuts, fit, advi, cluster)
}
SHORT = [
    "one_pass 20000",
    "one_pass 1000000",
    "shapes",
    "accuracy",
    *(f"nuts|{kind}|20000|400" for kind in WAYS),
    "fit 100000 2",
    "fit 1000000 2",
    "advi 1000000 20000",
]
FULL = [
    "one_pass 10000000",
    *(f"nuts|{kind}|100000|200" for kind in WAYS),
    "fit 10000000 1",
    "fit 10000000 2",
    "advi 10000000 20000",
    "cluster 10000000 1000",
    "cluster 100000000 100",
]


def machine():
    """Describe the machine and the versions, without its name."""
    processor = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [line for line in info.read_text().splitlines() if line.startswith("model name")]
        processor = names[0].split(":")[1].strip() if names else processor
    packages = ("mixscale", "numba", "numpy", "nutpie", "pymc", "pytensor")
    return {
        "processor": processor,
        "cores": os.cpu_count(),
        "system": platform.system(),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in packages},
        "load_before": os.getloadavg()[0],
    }


def show(item):
    """Print one record on a line."""
    numbers = ", ".join(
        f"{name} {value:,}"
        if isinstance(value, int)
        else f"{name} {np.array2string(np.array(value), precision=4)}"
        for name, value in item.items()
        if name not in ("table", "case")
    )
    print(f"{item['table']:15}{item['case']:48}{numbers}", flush=True)


def measure(line):
    """Run one section in a process of its own, print its records, and return them."""
    command = [sys.executable, __file__, *line.split("|" if "|" in line else " ")]
    run = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    records = [json.loads(text) for text in run.stdout.splitlines() if text.startswith("{")]
    for item in records:
        show(item)
    return records


def store(line):
    """Measure one section and put its records in the place of the old ones.

    Raises
    ------
    SystemExit
        If the stored records come from another machine or other versions.
    """
    result = json.loads(STORE.read_text())
    here = {name: value for name, value in machine().items() if name != "load_before"}
    if here != {name: result["machine"].get(name) for name in here}:
        raise SystemExit(
            f"{STORE.name} comes from another machine or other versions: run all sections."
        )
    for item in measure(line):
        keys = [[old[name] for name in ("table", "case", "rows")] for old in result["records"]]
        key = [item[name] for name in ("table", "case", "rows")]
        if key in keys:
            result["records"][keys.index(key)] = item
        else:
            result["records"].append(item)
    result["how"] = __doc__.strip()
    STORE.write_text(json.dumps(result, indent=1) + "\n")


def main():
    """Run every section in a process of its own, print its records, and store all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full", action="store_true", help="add 10**7 and 10**8 rows")
    parser.add_argument("--store", metavar="SECTION", help='run and store one, as "fit|100000|2"')
    parser.add_argument("section", nargs="*", help="one section and its arguments")
    arguments = parser.parse_args()
    if arguments.section:
        name, *rest = arguments.section
        SECTIONS[name](*rest)
        return
    if arguments.store:
        store(arguments.store)
        return
    result = {"machine": machine(), "how": __doc__.strip(), "records": []}
    for line in [*SHORT, *(FULL if arguments.full else [])]:
        result["records"] += measure(line)
        STORE.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
