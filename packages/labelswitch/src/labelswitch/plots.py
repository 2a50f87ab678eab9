"""Pictures of draws, switches, similarities and responsibilities. They are returned, not shown.

What has draws on an axis is drawn by arviz-plots, with its backends; a matrix and a scatter of
data, for which it has no visual, by Matplotlib. Both come with the extra ``plots``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from labelswitch.draws import as_tuple
from labelswitch.mixture import SAMPLE_DIMS, get_posterior

if TYPE_CHECKING:
    from arviz_plots import PlotCollection
    from matplotlib.axes import Axes

    from labelswitch.clustering import Partition
    from labelswitch.relabelling import Relabelled

# Distinguishable to colour-blind readers and in grey (Okabe and Ito 2008).
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#000000")


def _trace(da: xr.DataArray, target: Any, *, x: xr.DataArray, **style: Any) -> Any:
    """Draw one chain of one component, beside the chains before it."""
    from arviz_plots.visuals import backend_from_object

    return backend_from_object(target).line(x.values, da.values, target, **style)


def _side_by_side(chains: xr.DataArray, n_draws: int) -> xr.DataArray:
    """Return the position of each draw when the chains lie one after the other."""
    position = np.arange(chains.size * n_draws).reshape(chains.size, n_draws)
    return xr.DataArray(position, dims=SAMPLE_DIMS, coords={"chain": chains.values})


def _by_place(draws: Any) -> Any:
    """Count the chains where their labels repeat, as those of several runs do."""
    chains = draws["chain"]
    return draws if chains.to_index().is_unique else draws.assign_coords(chain=range(chains.size))


def _layout(backend: str | None) -> dict[str, str]:
    """Return what keeps titles and labels apart, where the backend has it."""
    from arviz_base import rcParams

    return (
        {"layout": "constrained"} if (backend or rcParams["plot.backend"]) == "matplotlib" else {}
    )


def plot_draws(
    dt: xr.DataTree,
    *,
    relabelled: Relabelled,
    var_names: str | list[str] | None = None,
    backend: str | None = None,
    **pc_kwargs: Any,
) -> PlotCollection:
    """Plot the draws of each component before and after relabelling, chain after chain.

    Parameters
    ----------
    dt : xarray.DataTree
        The draws as sampled, group ``posterior``.
    relabelled : Relabelled
        What :func:`relabel` made of them.
    var_names : str or list of str, optional
        Variables with one value for each component. By default all permuted variables whose
        dimensions are chain, draw and the component dimension.
    backend : str, optional
        A backend of arviz-plots; by default that of ArviZ's ``rcParams["plot.backend"]``.
    **pc_kwargs
        Passed to :meth:`arviz_plots.PlotCollection.grid`, such as ``figure_kwargs``.

    Returns
    -------
    arviz_plots.PlotCollection
        One row for each variable, one column for each of "as sampled" and "relabelled", one
        colour for each component (there are eight). The chains lie one after the other along x.

    Raises
    ------
    ValueError
        If a variable is missing, was not permuted or has further dimensions, or if the draws of
        `dt` are not those of `relabelled`.

    Examples
    --------
    >>> import arviz_base as az, matplotlib, numpy as np
    >>> import labelswitch
    >>> matplotlib.use("agg")
    >>> mu = np.array([[[-1.1, 1.0], [-0.9, 1.1], [1.0, -1.0], [0.9, -1.0]]])
    >>> dt = az.from_dict({"posterior": {"mu": mu}}, dims={"mu": ["component"]})
    >>> relabelled = labelswitch.relabel(dt, dim="component")
    >>> figure = labelswitch.plot_draws(dt, relabelled=relabelled, backend="matplotlib")
    >>> figure.viz["trace"]["mu"].sizes["component"]
    2
    """
    from arviz_plots import PlotCollection
    from arviz_plots.visuals import labelled_title, labelled_x

    before, after = get_posterior(dt), get_posterior(relabelled.dt)
    dim = relabelled.dims[0]
    simple = {  # variables without dims have a dimension of their own
        name: own[0]
        for name in relabelled.permuted
        if name in after
        for own in [[item for item in after[name].dims if item not in SAMPLE_DIMS]]
        if len(own) == 1 and own[0] in relabelled.dims
    }
    names = as_tuple(var_names, "var_names") or tuple(simple)
    for name in names:
        if name not in simple:
            raise ValueError(
                f"var_names: {name!r} has not one value for each component in each draw. These "
                f"have: {', '.join(simple) or 'none'}."
            )
    if not names:
        raise ValueError(f"var_names: no permuted variable has only the dimension {dim!r}.")
    for name in SAMPLE_DIMS:
        if not before.get_index(name).equals(after.get_index(name)):
            raise ValueError(f"relabelled: its {name}s are not those of dt; pass the same draws.")
    for name in names:
        moved = relabelled.apply(before[name]).transpose(*after[name].dims)
        if not np.array_equal(moved.values, after[name].values, equal_nan=True):
            raise ValueError(f"relabelled: its {name!r} is not that of dt; pass the same draws.")
    states = xr.DataArray(["as sampled", "relabelled"], dims="labels", name="labels")

    def alike(dataset: xr.Dataset) -> xr.Dataset:
        return xr.Dataset(
            {
                name: dataset[name]
                if simple[name] == dim
                else dataset[name]
                .drop_vars(simple[name], errors="ignore")
                .rename({simple[name]: dim})
                for name in names
            }
        )

    after = _by_place(after)
    data = xr.concat([alike(_by_place(before)), alike(after)], dim=states)
    pc_kwargs["aes"] = {"color": [dim], "overlay": ["chain"]} | pc_kwargs.get("aes", {})
    pc_kwargs.setdefault("color", list(COLOURS))
    defaults = {"sharex": True, "sharey": "row"} | _layout(backend)
    pc_kwargs["figure_kwargs"] = defaults | pc_kwargs.get("figure_kwargs", {})
    collection = PlotCollection.grid(
        data, rows=["__variable__"], cols=["labels"], backend=backend, **pc_kwargs
    )
    position = _side_by_side(after["chain"], after.sizes["draw"])
    collection.map(_trace, "trace", x=position, width=0.7)
    collection.map(_title, "title", ignore_aes="all", subset_info=True, using=labelled_title)
    text = "draw, one chain after the other"
    collection.map(labelled_x, "xlabel", data=data[[names[-1]]], ignore_aes="all", text=text)
    return collection


def _title(
    da: xr.DataArray, target: Any, *, using: Any, var_name: str, sel: Any, isel: Any, **style: Any
) -> Any:
    return using(da, target, text=f"{var_name}, {sel['labels']}", **style)


def plot_switches(
    relabelled: Relabelled, *, backend: str | None = None, **pc_kwargs: Any
) -> PlotCollection:
    """Plot how often the labels have switched up to each draw, for each chain.

    Parameters
    ----------
    relabelled : Relabelled
        What :func:`relabel` returned.
    backend, **pc_kwargs
        As for :func:`plot_draws`; passed to :meth:`arviz_plots.PlotCollection.wrap`.

    Returns
    -------
    arviz_plots.PlotCollection
        One line for each chain: the number of draws so far whose permutation differs from that
        of the draw before. A flat line is a chain that never switched; a steep one, a chain whose
        components it cannot tell apart. With groups, one plot for each.

    Examples
    --------
    >>> import arviz_base as az, matplotlib, numpy as np
    >>> import labelswitch
    >>> matplotlib.use("agg")
    >>> mu = np.array([[[-1.1, 1.0], [-0.9, 1.1], [1.0, -1.0], [0.9, -1.0]]])
    >>> dt = az.from_dict({"posterior": {"mu": mu}}, dims={"mu": ["component"]})
    >>> relabelled = labelswitch.relabel(dt, dim="component")
    >>> figure = labelswitch.plot_switches(relabelled, backend="matplotlib")
    >>> figure.data["switches"].values.tolist()
    [[0, 0, 1, 1]]
    """
    from arviz_plots import PlotCollection
    from arviz_plots.visuals import labelled_x, labelled_y

    permutations = relabelled.permutations
    changed = (permutations != permutations.shift(draw=1)).any(relabelled.dims[0])
    changed = changed & (xr.DataArray(np.arange(permutations.sizes["draw"]), dims="draw") > 0)
    switches = _by_place(changed.cumsum("draw").assign_coords(chain=permutations["chain"]))
    data = switches.rename("switches").to_dataset()
    pc_kwargs["aes"] = {"color": ["chain"]} | pc_kwargs.get("aes", {})
    pc_kwargs.setdefault("color", list(COLOURS))
    pc_kwargs["figure_kwargs"] = _layout(backend) | pc_kwargs.get("figure_kwargs", {})
    columns = ["__variable__", *([relabelled.by] if relabelled.by else [])]
    collection = PlotCollection.wrap(data, cols=columns, backend=backend, **pc_kwargs)
    draws = xr.DataArray(np.arange(permutations.sizes["draw"]), dims="draw")
    collection.map(_trace, "switches", x=draws)
    collection.map(labelled_x, "xlabel", ignore_aes="all", text="draw")
    collection.map(labelled_y, "ylabel", ignore_aes="all", text="switches so far")
    return collection


def plot_similarity(
    similarity: xr.DataArray, *, partition: Partition | None = None, ax: Axes | None = None
) -> Axes:
    """Plot the probabilities that two observations share a component, ordered by a partition.

    Parameters
    ----------
    similarity : xarray.DataArray
        What :func:`similarity` returned, (n, n).
    partition : Partition, optional
        What :func:`partition` returned. The observations are then drawn cluster by cluster, in
        each the most typical first, and lines part the clusters. Without it they keep their order.
    ax : matplotlib.axes.Axes, optional
        Where to draw; by default a new figure.

    Returns
    -------
    matplotlib.axes.Axes
        With one image: 0 is white, 1 is dark.

    Raises
    ------
    ValueError
        If similarity is not square, or the partition has other observations, or in another order.

    Examples
    --------
    >>> import arviz_base as az, matplotlib, numpy as np
    >>> import labelswitch
    >>> matplotlib.use("agg")
    >>> z = np.array([[[0, 1, 0], [1, 0, 1], [0, 1, 1], [1, 0, 1]]])
    >>> dt = az.from_dict({"posterior": {"z": z}}, dims={"z": ["obs"]})
    >>> ax = labelswitch.plot_similarity(
    ...     labelswitch.similarity(dt, allocations="z"),
    ...     partition=labelswitch.partition(dt, allocations="z"),
    ... )
    >>> ax.images[0].get_array()[0].tolist()
    [1.0, 0.75, 0.0]
    """
    import matplotlib.pyplot as plt

    values = np.asarray(similarity)
    if values.ndim != 2 or values.shape[0] != values.shape[1]:
        raise ValueError(f"similarity: a square matrix is needed, not shape {values.shape}.")
    order, edges = np.arange(len(values)), np.empty(0)
    if partition is not None:
        labels = np.asarray(partition.labels)
        if labels.shape != values.shape[:1]:
            raise ValueError(
                f"partition: it has {labels.size} observations, similarity has {len(values)}."
            )
        rows = partition.labels.dims[0]
        both = isinstance(similarity, xr.DataArray) and rows in similarity.indexes
        if both and not similarity.indexes[rows].equals(partition.labels.get_index(rows)):
            raise ValueError(
                f"partition: its {rows!r} are others than those of similarity, or in another "
                "order. Make both from the same draws."
            )
        own = labels[:, np.newaxis] == labels
        typical = (values * own).sum(axis=1) / own.sum(axis=1)
        order = np.lexsort((-typical, labels))
        edges = np.flatnonzero(np.diff(labels[order])) + 0.5
    if ax is None:
        ax = plt.subplots(layout="constrained")[1]
    image = ax.imshow(values[np.ix_(order, order)], vmin=0, vmax=1, cmap="Blues", origin="upper")
    for edge in edges:
        ax.axhline(edge, color="black", linewidth=0.8)
        ax.axvline(edge, color="black", linewidth=0.8)
    name = similarity.dims[0] if isinstance(similarity, xr.DataArray) else "observation"
    by = "" if partition is None else ", cluster by cluster"
    ax.set(xlabel=f"{name}{by}", ylabel=f"{name}{by}")
    ax.figure.colorbar(image, ax=ax, label="probability of sharing a component")
    return ax


def plot_responsibilities(
    responsibilities: xr.DataArray,
    *,
    x: np.ndarray | xr.DataArray,
    y: np.ndarray | xr.DataArray | None = None,
    undecided: float = 0.9,
    ax: Axes | None = None,
) -> Axes:
    """Plot to which component each observation belongs, and mark those that are undecided.

    Parameters
    ----------
    responsibilities : xarray.DataArray
        Dimensions that of the observations and that of the components, the last; or before them
        chain and draw, over which they are averaged. Relabel them first
        (``relabelled.apply(...)``): a mean over switched labels says nothing.
    x : (n,) array
        The data, or the covariate.
    y : (n,) array, optional
        The response. Without it, the probability of each component is drawn against x.
    undecided : float
        An observation is undecided where no component has a probability above this.
    ax : matplotlib.axes.Axes, optional
        Where to draw; by default a new figure.

    Returns
    -------
    matplotlib.axes.Axes
        One collection of points for each component, in eight colours, and one of rings around the
        undecided.

    Raises
    ------
    ValueError
        If the shapes disagree, undecided is no probability, or an observation's responsibilities
        do not sum to 1.
    TypeError
        If responsibilities is no DataArray, whose dimensions tell what is what.

    Examples
    --------
    >>> import matplotlib, numpy as np, xarray as xr
    >>> import labelswitch
    >>> matplotlib.use("agg")
    >>> p = xr.DataArray([[0.99, 0.01], [0.6, 0.4], [0.02, 0.98]], dims=["obs", "component"])
    >>> ax = labelswitch.plot_responsibilities(p, x=[-1.0, 0.1, 1.2])
    >>> ax.get_legend().get_texts()[-1].get_text()
    'undecided: 1 of 3'
    """
    import matplotlib.pyplot as plt

    if not 0 < undecided <= 1:
        raise ValueError(f"undecided: a probability above 0 is needed, not {undecided!r}.")
    if not isinstance(responsibilities, xr.DataArray):
        raise TypeError(
            "responsibilities: a DataArray is needed, such as xr.DataArray(p, "
            f"dims=['obs', 'component']), not {type(responsibilities).__name__}."
        )
    p = responsibilities.mean([name for name in SAMPLE_DIMS if name in responsibilities.dims])
    if p.ndim != 2:
        raise ValueError(
            f"responsibilities: dimensions observation and component are needed, not {p.dims}."
        )
    component = "component" if "component" in p.dims else p.dims[1]
    p = p.transpose(..., component)
    values, x = p.values, np.asarray(x)
    if not np.allclose(values.sum(axis=1), 1, atol=1e-4):
        raise ValueError("responsibilities: those of an observation do not sum to 1.")
    given = {"x": x} if y is None else {"x": x, "y": np.asarray(y)}
    for name, array in given.items():
        if array.shape != values.shape[:1]:
            raise ValueError(f"{name}: shape {values.shape[:1]} is needed, not {array.shape}.")
    names = p[component].values if component in p.coords else np.arange(values.shape[1])
    if ax is None:
        ax = plt.subplots(layout="constrained")[1]
    open_ones = values.max(axis=1) <= undecided
    best = values.argmax(axis=1)
    for k, name in enumerate(names):
        colour, label = COLOURS[k % len(COLOURS)], f"{component} {name}"
        if y is None:
            ax.scatter(x, values[:, k], s=12, color=colour, label=label)
        else:
            ax.scatter(x[best == k], given["y"][best == k], s=12, color=colour, label=label)
    height = values.max(axis=1) if y is None else given["y"]
    ax.scatter(
        x[open_ones],
        height[open_ones],
        s=60,
        facecolors="none",
        edgecolors="black",
        linewidths=0.8,
        label=f"undecided: {open_ones.sum()} of {len(x)}",
    )
    ax.set(xlabel="x", ylabel="probability of the component" if y is None else "y")
    ax.legend()
    return ax
