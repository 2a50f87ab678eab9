"""Tell label switching from other failures to converge."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import xarray as xr

from labelswitch.draws import component_variables
from labelswitch.mixture import SAMPLE_DIMS
from labelswitch.relabelling import Relabelled, relabel

if TYPE_CHECKING:
    import pymc as pm

# Vehtari et al. (2021), section 4: r-hat below 1.01 and an ESS above 100 for each of four chains.
R_HAT_LIMIT = 1.01
ESS_LIMIT_PER_CHAIN = 100
# A chain in which more draws than this leave the usual labelling counts as switching.
STRAGGLERS = 0.01


@dataclass(frozen=True, repr=False)
class Diagnosis:
    """Whether labels have switched, and what is left when they are put right.

    Attributes
    ----------
    verdict : str
        The finding in words.
    table : pandas.DataFrame
        One row for each variable that carries the component dimension; the worst r-hat and the
        lowest bulk ESS of its elements

        - ``labelled``: as sampled;
        - ``relabelled``;
        - ``sorted``: of its values sorted in each draw, which do not depend on labels;
        - ``total``: of the sum over the components weighted by the mixture's weights, or of the
          plain sum if the posterior has no weights. It does not depend on labels either.
    switches : pandas.DataFrame
        One row for each chain: its usual ``labelling`` (the most frequent permutation), the
        ``share`` of its draws that have it, and the number of ``changes`` of permutation from one
        draw to the next.
    relabelled : Relabelled
        The relabelled draws.
    """

    verdict: str
    table: pd.DataFrame
    switches: pd.DataFrame
    relabelled: Relabelled

    def __repr__(self) -> str:
        """Show the verdict and both tables."""
        # Columns in pairs: r-hat to two decimals, ESS to whole draws.
        formats = {name: "{:.2f}" if "r_hat" in name else "{:.0f}" for name in self.table}
        table = self.table.apply(lambda column: column.map(formats[column.name].format))
        switches = self.switches.assign(share=self.switches["share"].map("{:.1%}".format))
        return "\n\n".join(
            [
                f"<Diagnosis by {self.relabelled.method}>\n{self.verdict}",
                table.to_string(),
                switches.to_string(),
            ]
        )


def _worst(values: xr.DataArray) -> tuple[float, float]:
    """Return the largest r-hat and the smallest bulk ESS over the elements of a variable."""
    import arviz_stats

    # Constant elements have neither, and a single chain has no r-hat.
    with np.errstate(invalid="ignore", divide="ignore"):
        r_hat = np.asarray(arviz_stats.rhat(values)) if values.sizes["chain"] > 1 else np.nan
        ess = np.asarray(arviz_stats.ess(values))
    varies = np.asarray(values.std(SAMPLE_DIMS)) > 0
    r_hat, ess = np.where(varies, r_hat, np.nan), np.where(varies, ess, np.nan)
    return tuple(
        float(pick(array[~np.isnan(array)])) if not np.isnan(array).all() else np.nan
        for pick, array in ((np.max, r_hat), (np.min, ess))
    )


def _weights(posterior: xr.Dataset, dims: Sequence[str]) -> xr.DataArray | None:
    """Find the mixture's weights: one value for each component, non-negative, summing to one."""
    for variable in posterior.data_vars.values():
        carried = [name for name in dims if name in variable.dims]
        if (
            len(carried) == 1
            and set(variable.dims) == {*SAMPLE_DIMS, *carried}
            and variable.dtype.kind == "f"
            and (variable >= 0).all()
            and np.allclose(variable.sum(carried), 1, atol=1e-4)
        ):
            return variable.rename({carried[0]: "_component"}).drop_vars(
                [carried[0]], errors="ignore"
            )
    return None


def _sorted(values: xr.DataArray, dims: Sequence[str]) -> xr.DataArray:
    carried = [name for name in dims if name in values.dims]
    stacked = values.variable.stack(_component=carried)
    axis = stacked.get_axis_num("_component")
    return xr.DataArray(stacked.copy(data=np.sort(stacked.values, axis=axis)))


def _total(
    values: xr.DataArray, dims: Sequence[str], weights: xr.DataArray | None
) -> xr.DataArray | None:
    carried = [name for name in dims if name in values.dims]
    if len(carried) > 1:  # the sum of a transition matrix is constant
        return None
    values = values.drop_vars(carried, errors="ignore").rename({carried[0]: "_component"})
    return (values if weights is None else values * weights).sum("_component")


def _switches(permutations: xr.DataArray) -> pd.DataFrame:
    rows = {}
    chains = permutations["chain"].values  # a range where there is no coordinate
    for label, chain in zip(chains, permutations.values, strict=True):
        labelling, count = Counter(map(tuple, chain.tolist())).most_common(1)[0]
        changes = int((chain[1:] != chain[:-1]).any(axis=1).sum())
        rows[label] = {"labelling": labelling, "share": count / len(chain), "changes": changes}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("chain")


def _verdict(table: pd.DataFrame, switches: pd.DataFrame, relabelled: Relabelled) -> str:
    labelled, repaired = table["r_hat_labelled"].max(), table["r_hat_relabelled"].max()
    invariant = table[["r_hat_sorted", "r_hat_total"]].max().max()
    n_chains, n_labellings = len(switches), switches["labelling"].nunique()
    n_draws = relabelled.permutations.sizes["draw"]
    stray = 1 - switches["share"]
    within = switches.index[stray > STRAGGLERS].tolist()

    sentences = []
    if n_labellings > 1:
        sentences.append(
            f"The labels switch between chains: {n_chains} chains, {n_labellings} labellings."
        )
    if within:
        sentences.append(
            f"The labels switch within chains ({', '.join(map(str, within))}): the permutation "
            f"changes {switches.loc[within, 'changes'].sum()} times."
        )
    if n_labellings == 1 and not within:
        sentences.append("No label switching was found.")
    n_stray = round((stray * n_draws).drop(index=within).sum())
    if n_stray:
        sentences.append(f"Single draws that leave the labelling of their chain: {n_stray}.")

    if n_chains == 1:
        sentences.append(
            "One chain cannot show switching between chains and has no r-hat: run four."
        )
    elif invariant > R_HAT_LIMIT:
        sentences.append(
            f"The chains disagree about what does not depend on labels (r-hat {invariant:.2f}): "
            "they have not converged, and no relabelling repairs that. Look at the model, its "
            "initial values and the length of the chains."
        )
    elif repaired > R_HAT_LIMIT:
        sentences.append(
            f"What does not depend on labels agrees (r-hat {invariant:.2f}), but after relabelling "
            f"r-hat is still {repaired:.2f} (it was {labelled:.2f}). The components overlap too "
            "much for these labels, or the method is the wrong one: compare methods."
        )
    elif labelled > R_HAT_LIMIT:
        sentences += [
            f"Relabelling takes the worst r-hat from {labelled:.2f} to {repaired:.2f}: the labels "
            "were the fault.",
            "Use the relabelled draws.",
        ]
    elif n_labellings > 1 or within:
        sentences.append(
            f"r-hat was small all the same ({labelled:.2f}), for the chains visit the labellings "
            "alike. Means by label are still means over labellings: use the relabelled draws."
        )
    else:
        sentences.append(f"r-hat is at most {labelled:.2f}: use the draws as they are.")

    ess, limit = table["ess_relabelled"].min(), ESS_LIMIT_PER_CHAIN * n_chains
    if ess < limit:
        sentences.append(
            f"The smallest ESS after relabelling is {ess:.0f}; below {limit} r-hat is itself "
            "unreliable. Run longer chains."
        )
    if not relabelled.converged:
        sentences.append("The relabelling has not converged: raise max_sweeps.")
    return "\n".join(sentences)


def diagnose(
    dt: xr.DataTree,
    *,
    method: str | None = None,
    model: pm.Model | None = None,
    dim: str | Sequence[str] | None = None,
    **inputs: Any,
) -> Diagnosis:
    """Find out whether a bad r-hat is label switching, and whether relabelling repairs it.

    Three causes of a large r-hat look the same in a summary: chains that settled in different
    labellings, chains that change labels on the way, and chains that have not converged. This
    compares r-hat and ESS as labelled, after relabelling, and of quantities that do not depend on
    labels. If the last are bad, labels are not the problem.

    Parameters
    ----------
    dt : xarray.DataTree
        Draws with a group ``posterior``.
    dim : str or sequence of str, default "component"
        The dimensions that index components, as for :func:`relabel`.
    model : pymc.Model, optional
        The model that the draws come from.
    method : str, optional
        How to relabel. By default ``stephens`` with a model or responsibilities,
        ``ecr_iterative_1`` with allocations, and ``pra`` with neither.
    **inputs
        Further arguments of :func:`relabel`.

    Returns
    -------
    Diagnosis
        With ``.verdict`` in words, ``.table``, ``.switches`` and ``.relabelled``.

    Raises
    ------
    ValueError, TypeError
        As :func:`relabel`.

    Notes
    -----
    A switch is a change of the permutation that relabelling found. Where components overlap,
    single draws may be put right either way, so one per cent of stray draws in a chain is not
    called switching.

    References
    ----------
    Vehtari, A., Gelman, A., Simpson, D., Carpenter, B. and Buerkner, P.-C. (2021).
    Rank-normalization, folding, and localization: an improved R-hat for assessing convergence
    of MCMC. *Bayesian Analysis* 16(2), 667-718. (The limits 1.01 and 100 for each chain.)

    Examples
    --------
    Four chains, two of them with their labels exchanged:

    >>> import arviz as az, numpy as np
    >>> import labelswitch
    >>> rng = np.random.default_rng(1)
    >>> mu = rng.normal([-2.0, 2.0], 0.1, size=(4, 1000, 2))
    >>> mu[1::2] = mu[1::2, :, ::-1]
    >>> dt = az.from_dict({"posterior": {"mu": mu}}, dims={"mu": ["component"]})
    >>> diagnosis = labelswitch.diagnose(dt)
    >>> print(diagnosis.verdict)
    The labels switch between chains: 4 chains, 2 labellings.
    Relabelling takes the worst r-hat from 1.73 to 1.00: the labels were the fault.
    Use the relabelled draws.
    >>> diagnosis.switches["labelling"].tolist()
    [(0, 1), (1, 0), (0, 1), (1, 0)]
    """
    relabelled = relabel(dt, method=method, model=model, dim=dim, **inputs)
    before, after = dt["posterior"].to_dataset(), relabelled.dt["posterior"].to_dataset()
    weights = _weights(before, relabelled.dims)
    rows = {}
    given = (inputs.get("responsibilities"), inputs.get("allocations"))
    for name in component_variables(dt, relabelled.dims, model, *given):
        values = {
            "labelled": before[name],
            "relabelled": after[name],
            "sorted": _sorted(before[name], relabelled.dims),
            "total": _total(before[name], relabelled.dims, weights),
        }
        rows[name] = {}
        for kind, array in values.items():
            r_hat, ess = (np.nan, np.nan) if array is None else _worst(array)
            rows[name] |= {f"r_hat_{kind}": r_hat, f"ess_{kind}": ess}
    table = pd.DataFrame.from_dict(rows, orient="index")
    switches = _switches(relabelled.permutations)
    return Diagnosis(_verdict(table, switches, relabelled), table, switches, relabelled)
