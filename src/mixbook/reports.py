"""What a chapter prints about its fits and its tables, in a form that a second run reproduces."""

import importlib.metadata
import logging
import platform
import warnings

import arviz as az
import numpy as np
import pandas as pd
import xarray as xr
from IPython.display import HTML, display


def quiet_sampling() -> None:
    """Silence PyMC's logger and its progress messages, which a stored notebook must not hold.

    `fit_report` prints what a reader would otherwise learn from them. An overflow while a chain
    still looks for its step size is one of them: its trajectory diverges and is counted.
    """
    logging.getLogger("pymc").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", "overflow encountered", RuntimeWarning, r"pymc\.step_methods")
    warnings.filterwarnings("ignore", message=".*IProgress not found.*")


def fit_report(dt: xr.DataTree, name: str = "fit", var_names: list[str] | None = None) -> None:
    """Print a fit's divergences, its worst r-hat and its smallest bulk ESS, in one line.

    Parameters
    ----------
    dt
        What `pymc.sample` returned.
    name
        What to call the fit.
    var_names
        The variables to look at; all by default.
    """
    chains, draws = dt.posterior.sizes["chain"], dt.posterior.sizes["draw"]
    divergences = int(dt.sample_stats["diverging"].sum()) if "sample_stats" in dt else 0
    parts = [f"{chains} chain{'s' if chains > 1 else ''} of {draws:,} draws"]
    parts.append(f"{divergences:,} divergences")
    if chains > 1:
        rhat = _extreme(az.rhat(dt, var_names=var_names), np.nanmax)
        parts.append(f"worst r-hat {rhat:.2f}")
    ess = _extreme(az.ess(dt, var_names=var_names), np.nanmin)
    parts.append(f"smallest ESS {ess:,.0f}")
    print(f"{name}: " + ", ".join(parts))


def _extreme(dataset: xr.Dataset | xr.DataTree, reduce) -> float:
    if isinstance(dataset, xr.DataTree):
        dataset = dataset.posterior.to_dataset() if "posterior" in dataset else dataset.to_dataset()
    return float(reduce([reduce(values.values) for values in dataset.data_vars.values()]))


def show_table(table: pd.DataFrame, *, digits: int = 3) -> None:
    """Show a table without its index.

    Parameters
    ----------
    table
        What to show. Columns of floats are rounded to `digits` decimals.
    digits
        Decimals.
    """
    body = table.to_html(
        index=False, border=0, float_format=f"{{:,.{digits}f}}".format, classes=["book-table"]
    )
    display(HTML(f'<div class="table-wrap">{body}</div>'))


def watermark(*packages: str) -> None:
    """Print the versions of Python and of `packages`, for the last cell of a chapter."""
    versions = [f"Python {'.'.join(platform.python_version_tuple()[:2])}"]
    versions += [f"{package} {importlib.metadata.version(package)}" for package in packages]
    print(" · ".join(versions))
