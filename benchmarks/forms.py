"""Sample the five forms of chapter 12 side by side: ``python benchmarks/forms.py``.

The forms are the functions that the chapter shows, taken from its cell. Each is compiled, then
samples the same rows on one core three times; compilation is not counted, and the fastest time is
taken. The results go to ``benchmarks/forms.json`` with the machine that they come from; the chapter
shows them. Rates depend on the machine: compare within one run only.
"""

# ruff: noqa: E402 (the thread counts must be set before NumPy and Numba are imported)
import os

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ[variable] = "1"

import json
import platform
import re
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

import arviz as az
import nbformat
import numpy as np
import nutpie
import pymc as pm
import pytensor.tensor as pt
from scipy import stats
from scipy.optimize import linear_sum_assignment

HERE = Path(__file__).resolve().parent
CHAPTER = HERE.parent / "chapters" / "12_gaussian_mixtures.ipynb"
STORE = HERE / "forms.json"
SIZES = {"d = 2, K = 3": (2, 3), "d = 5, K = 4": (5, 4)}
FORMS = ("list_of_normals", "batched", "by_hand", "bartlett", "diagonal")
ROWS, CHAINS, TUNE, DRAWS, ROUNDS = 500, 2, 500, 1_000, 3


def chapter_functions():
    """Return what the chapter's cell with the five forms defines."""
    notebook = nbformat.read(CHAPTER, as_version=4)
    source = next(cell.source for cell in notebook.cells if "def list_of_normals" in cell.source)
    found = {"np": np, "pm": pm, "pt": pt, "true_means": np.zeros((3, 2))}
    exec(source, found)
    return found


def simulate(n_axes, n_components):
    """Return rows, and the means of the components that they come from, well apart."""
    generator = np.random.default_rng(12)
    means = 6 * generator.permuted(np.eye(max(n_axes, n_components)), axis=0)[:n_components]
    means = means[:, :n_axes] + generator.normal(size=(n_components, n_axes))
    covariances = stats.wishart(n_axes + 4, np.eye(n_axes) / n_axes).rvs(
        n_components, random_state=generator
    )
    labels = generator.integers(n_components, size=ROWS)
    noise = generator.normal(size=(ROWS, n_axes))
    factors = np.linalg.cholesky(covariances)
    return means[labels] + np.einsum("nij,nj->ni", factors[labels], noise), means


def build(form, rows, means):
    """Return a form as a model whose chains start at the true means."""
    n_components, n_axes = means.shape
    log_density = chapter_functions()[form]
    with pm.Model() as model:
        weights = pm.Dirichlet("weights", np.ones(n_components))
        centres = pm.Normal("means", 0, 5, shape=means.shape, initval=means)
        if form == "bartlett":
            degrees = np.broadcast_to(n_axes + 2 - np.arange(n_axes), means.shape)
            squares = pm.ChiSquared("squares", degrees)
            below = pm.Normal("below", 0, 1, shape=(n_components, n_axes * (n_axes - 1) // 2))
            scale = pt.zeros((n_components, n_axes, n_axes))
            scale = scale[:, np.arange(n_axes), np.arange(n_axes)].set(pt.sqrt(squares))
            scale = scale[(slice(None), *np.tril_indices(n_axes, -1))].set(below)
        else:
            scale = pm.LogNormal("sds", 0, 1, shape=means.shape)
            if form != "diagonal":
                shape = (n_components, n_axes, n_axes)
                scale = scale[..., None] * pm.LKJCorr("factors", n=n_axes, eta=2, shape=shape)
        pm.Potential("y", log_density(pt.as_tensor(rows), weights, centres, scale).sum())
    return model


def standard_deviations(posterior, means):
    """Return the draws of the components' standard deviations."""
    if "sds" in posterior:
        return posterior["sds"].values
    n_axes = means.shape[1]
    squares, below = posterior["squares"].values, posterior["below"].values
    factors = np.zeros((*squares.shape, n_axes))
    factors[..., np.arange(n_axes), np.arange(n_axes)] = np.sqrt(squares)
    factors[(..., *np.tril_indices(n_axes, -1))] = below
    precisions = factors @ np.swapaxes(factors, -1, -2)
    return np.sqrt(np.diagonal(np.linalg.inv(precisions), axis1=-2, axis2=-1))


def run(form, size):
    """Return the record of one form at one size."""
    rows, means = simulate(*SIZES[size])
    start = time.process_time()
    program = nutpie.compile_pymc_model(build(form, rows, means))
    compilation = time.process_time() - start
    seconds = np.inf
    for _ in range(ROUNDS):  # other jobs disturb the fastest least
        start = time.process_time()
        fit = nutpie.sample(
            program, chains=CHAINS, cores=1, tune=TUNE, draws=DRAWS, seed=12, progress_bar=False
        )
        seconds = min(seconds, time.process_time() - start)
    least, centres, spreads = np.inf, [], []
    names = ["weights", "means"]
    for chain in range(CHAINS):  # each by itself: the labels may differ
        posterior = fit.posterior.isel(chain=[chain]).to_dataset()[names]
        posterior["sd"] = (
            ("chain", "draw", "k", "axis"),
            standard_deviations(fit.posterior.isel(chain=[chain]), means),
        )
        ess = az.ess(az.convert_to_datatree(posterior), method="bulk")
        least = min(least, *(float(value.min()) for value in ess.to_dataset().values()))
        centre = posterior["means"].mean(("chain", "draw")).values
        distance = np.linalg.norm(means[:, None] - centre, axis=-1)
        order = linear_sum_assignment(distance)[1]
        centres.append(centre[order])
        spreads.append(posterior["means"].std(("chain", "draw")).values[order])
    return {
        "form": form,
        "size": size,
        "least ESS": CHAINS * least,
        "cpu seconds": seconds,
        "compilation": compilation,
        "gradients": int(fit.sample_stats["n_steps"].sum()),
        "divergences": int(fit.sample_stats["diverging"].sum()),
        "means": np.mean(centres, axis=0).tolist(),
        "sds of the means": np.mean(spreads, axis=0).tolist(),
    }


def main():
    """Run each form in a process of its own, and store the records."""
    if len(sys.argv) > 1:
        print(json.dumps(run(*sys.argv[1:])))
        return
    records = []
    for size in SIZES:
        for form in FORMS:
            command = [sys.executable, __file__, form, size]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
            record = json.loads(done.stdout.splitlines()[-1])
            rate = record["least ESS"] / record["cpu seconds"]
            print(f"{size}, {form}: {rate:.0f} effective draws a CPU second", flush=True)
            records.append(record)
    info = Path("/proc/cpuinfo")
    names = re.findall(r"model name\s*: (.+)", info.read_text()) if info.exists() else []
    machine = {
        "processor": names[0] if names else platform.processor() or platform.machine(),
        "system": platform.system(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in ("pymc", "nutpie", "numba", "pytensor")},
    }
    content = {"machine": machine, "rows": ROWS, "chains": CHAINS, "draws": DRAWS}
    STORE.write_text(json.dumps(content | {"records": records}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
