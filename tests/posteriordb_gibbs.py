"""A Gibbs sampler for posteriordb's normal mixtures, and the stored answers that it gave.

The chapters' recipes sample these posteriors by NUTS, with the allocations summed out. This does it
another way: it draws the allocations, and every other variable from its full conditional. The
weights and the means are conjugate; a standard deviation is drawn by inverting its distribution
function on a grid. ``python tests/posteriordb_gibbs.py`` runs it for long (about ten minutes) and
writes ``data/posteriordb/answers.json``.
"""

import json
from pathlib import Path

import numba
import numpy as np
from arviz_stats import ess

FOLDER = Path(__file__).resolve().parents[1] / "data" / "posteriordb"
GRID = np.geomspace(0.05, 10, 800)
# Number of components, Dirichlet concentration, sd of the means' prior, log prior of sigma on GRID.
PRIORS = {
    "low_dim_gauss_mix": (2, 5.0, 2.0, -(GRID**2) / 8),
    "low_dim_gauss_mix_collapse": (2, 5.0, 2.0, -(GRID**2) / 8),
    "normal_5": (5, 1.0, 10.0, np.zeros_like(GRID)),
}
# Where the predictive density is compared: label-free, and what the data identify best.
POINTS = {
    "low_dim_gauss_mix": (-4, -2.5, 0, 2.5, 4),
    "low_dim_gauss_mix_collapse": (-3, -1.5, 0, 1.5, 3),
    "normal_5": (-10, -5, 0, 3, 6),
}


def load(name: str) -> np.ndarray:
    """Return the observations of one data set."""
    return np.array(json.loads((FOLDER / f"{name}.json").read_text())["y"])


@numba.njit(cache=True)
def gibbs(y, size, concentration, mean_sd, log_prior, grid, n_draws, thin, seed):
    """Return draws of (mean, sd, weight) of each component, (draws, components, 3)."""
    np.random.seed(seed)
    mean = np.linspace(y.min(), y.max(), size + 2)[1:-1].copy()
    sd = np.full(size, y.std() / size + 0.1)
    weight = np.full(size, 1.0 / size)
    draws = np.empty((n_draws, size, 3))
    cumulative = np.empty(size)
    log_density = np.empty(grid.size)
    distribution = np.empty(grid.size - 1)
    for sweep in range(-1000, n_draws * thin):
        count, first, second = np.zeros(size), np.zeros(size), np.zeros(size)
        for value in y:
            total = 0.0
            for k in range(size):
                total += weight[k] / sd[k] * np.exp(-0.5 * ((value - mean[k]) / sd[k]) ** 2)
                cumulative[k] = total
            level = np.random.random() * total
            k = 0
            while cumulative[k] < level:
                k += 1
            count[k] += 1
            first[k] += value
            second[k] += value**2
        if sweep >= 0 and sweep % thin == 0:
            draws[sweep // thin, :, 0] = mean
            draws[sweep // thin, :, 1] = sd
            draws[sweep // thin, :, 2] = weight
        for k in range(size):
            weight[k] = np.random.gamma(concentration + count[k], 1.0)
        weight /= weight.sum()
        for k in range(size):
            precision = count[k] / sd[k] ** 2 + 1 / mean_sd**2
            mean[k] = first[k] / sd[k] ** 2 / precision + np.random.normal() / np.sqrt(precision)
            squares = second[k] - 2 * mean[k] * first[k] + count[k] * mean[k] ** 2
            # The density of log sd, hence count - 1 where the density of sd has count.
            log_density[:] = log_prior - (count[k] - 1) * np.log(grid) - 0.5 * squares / grid**2
            density = np.exp(log_density - log_density.max())
            total = 0.0
            for cell in range(grid.size - 1):
                total += 0.5 * (density[cell] + density[cell + 1])
                distribution[cell] = total
            level = np.random.random() * total
            cell = np.searchsorted(distribution, level)
            below = distribution[cell - 1] if cell > 0 else 0.0
            fraction = (level - below) / (distribution[cell] - below)
            sd[k] = grid[cell] * (grid[cell + 1] / grid[cell]) ** fraction
    return draws


def label_free(name: str, mean, sd, weight) -> dict[str, np.ndarray]:
    """Return quantities that no renaming of the components changes.

    Parameters
    ----------
    name : str
        The data set, which decides where the predictive density is taken.
    mean, sd, weight : (chains, draws, components) arrays

    Returns
    -------
    dict of (chains, draws) arrays
    """
    quantities = {
        f"density at {point}": (
            weight / sd * np.exp(-0.5 * ((point - mean) / sd) ** 2) / np.sqrt(2 * np.pi)
        ).sum(axis=-1)
        for point in POINTS[name]
    }
    average = (weight * mean).sum(axis=-1)
    quantities["mean of the mixture"] = average
    spread = (weight * (sd**2 + mean**2)).sum(axis=-1) - average**2
    quantities["sd of the mixture"] = np.sqrt(spread)
    return quantities


def summary(values: np.ndarray) -> dict[str, float]:
    """Return mean, sd and the Monte Carlo standard error of the mean of (chains, draws)."""
    mean, sd = float(values.mean()), float(values.std())
    return {"mean": mean, "sd": sd, "error": sd / float(ess(values, method="mean")) ** 0.5}


def answer(name: str, n_chains: int, n_draws: int, thin: int) -> dict[str, dict[str, float]]:
    """Run the sampler and summarise the label-free quantities."""
    size, *priors = PRIORS[name]
    y = load(name)
    chains = [gibbs(y, size, *priors, GRID, n_draws, thin, seed) for seed in range(n_chains)]
    quantities = label_free(name, *np.moveaxis(np.array(chains), -1, 0))
    return {label: summary(values) for label, values in quantities.items()}


if __name__ == "__main__":
    runs = {"low_dim_gauss_mix": (4, 20_000, 5), "low_dim_gauss_mix_collapse": (8, 20_000, 10)}
    runs["normal_5"] = (16, 20_000, 10)
    answers = {name: answer(name, *size) for name, size in runs.items()}
    (FOLDER / "answers.json").write_text(json.dumps(answers, indent=1) + "\n")
