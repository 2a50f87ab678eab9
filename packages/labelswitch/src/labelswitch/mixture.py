"""Read the components and the weights of a mixture out of a PyMC model.

PyMC is imported inside the functions, so that ``import labelswitch`` works without it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

if TYPE_CHECKING:
    import pymc as pm

SAMPLE_DIMS = ("chain", "draw")


@dataclass(frozen=True)
class CompiledMixture:
    """One mixture of a model as a function of the values that its density reads.

    ``evaluate(**values)`` returns the log-densities of the components, with the shape of the
    observations and K last, and the log-weights, which broadcast against them.
    """

    name: str
    evaluate: Callable[..., tuple[np.ndarray, np.ndarray]]
    input_dtypes: Mapping[str, str]
    observation_dims: tuple[str, ...]
    coords: Mapping[str, np.ndarray]


def is_mixture(rv) -> bool:
    """Return whether a random variable is a mixture of components that may exchange their labels.

    A zero-inflated or a hurdle likelihood is a mixture too, but of two unlike distributions: which
    is the point mass and which the counts is never in doubt.
    """
    from pymc.distributions.mixture import MixtureRV

    if rv.owner is None or not isinstance(rv.owner.op, MixtureRV):
        return False
    return len({kind(component) for component in rv.owner.inputs[2:]}) == 1


def kind(rv) -> tuple:
    """Return what distributions of the same family share: a class, or the name of one's own.

    Each pm.CustomDist with a logp makes a class for itself; whether those of one name are alike
    their densities tell.
    """
    from pymc.distributions.custom import CustomDistRV

    family = type(rv.owner.op)
    return (CustomDistRV, family.__name__) if issubclass(family, CustomDistRV) else (family,)


def mixtures(model: pm.Model) -> list:
    """Return the model's observed mixtures or, if there is none, its latent ones."""
    # A mixture may also be a latent variable, as a prior of group effects; data come first.
    if not hasattr(model, "observed_RVs"):
        raise TypeError(f"model: a pm.Model is needed, not {type(model).__name__}.")
    observed = [rv for rv in model.observed_RVs if is_mixture(rv)]
    return observed or [rv for rv in model.free_RVs if is_mixture(rv)]


def _find_mixture(model: pm.Model, var_name: str | None):
    if var_name is not None:
        if var_name not in model.named_vars:
            raise ValueError(
                f"var_name: the model has no variable {var_name!r}. "
                f"Its variables: {', '.join(model.named_vars)}."
            )
        rv = model[var_name]
        if not is_mixture(rv):
            raise ValueError(
                f"var_name: {var_name!r} is not a pm.Mixture or pm.NormalMixture of like "
                "components whose draws or data are complete. The parts of a zero-inflated or "
                "hurdle distribution cannot exchange their labels. A minibatch or missing "
                "observations hide a mixture: build the model with the complete data."
            )
        return rv

    found = mixtures(model)
    if not found:
        raise ValueError(
            "model: it has no pm.Mixture or pm.NormalMixture of like components. If it samples the "
            "allocations as a discrete variable, relabel from these: relabel(dt, model=model, "
            "allocations='<name>'). If its likelihood is a pm.Potential or a pm.CustomDist, write "
            "it as a pm.Mixture, or compute the responsibilities yourself and pass them as "
            "responsibilities=. A zero-inflated or hurdle distribution is no such mixture. A "
            "minibatch or missing observations hide a mixture: build the model with the complete "
            "data."
        )
    if len(found) > 1:
        raise ValueError(
            f"var_name: the model has {len(found)} mixtures; name one of "
            f"{', '.join(repr(rv.name) for rv in found)}. In relabel, name it so: "
            "responsibilities=labelswitch.responsibilities(dt, model=model, var_name=<name>). "
            "'sjw' takes log_density=<a function of the parameters (K, J) that returns (n, K)> "
            "instead."
        )
    return found[0]


def mixture_graph(model: pm.Model, mixture) -> tuple:
    """Return the component log-densities, K last, and the log-weights of a mixture, as graphs.

    The third element is the input for the values of a latent mixture, None for an observed one.
    """
    import pytensor.tensor as pt
    from pymc import logp
    from pymc.pytensorf import rvs_in_graph
    from pytensor.graph.replace import graph_replace
    from pytensor.graph.traversal import ancestors

    _, weights, *components = mixture.owner.inputs
    # Of a pm.CustomDist with dist=, logp copies the random variables that it meets, and no draws
    # could be put into the copies. So it meets others, for which they are exchanged again.
    inner = rvs_in_graph(components) - set(model.basic_RVs)  # a component may be a mixture
    stand_ins = {
        parameter: parameter.type()
        for component in components
        for parameter in component.owner.inputs
        if isinstance(parameter.type, pt.TensorType)
        and set(ancestors([parameter])) & set(model.free_RVs)
        and parameter not in inner
    }
    components = graph_replace(components, stand_ins, strict=False)
    support_ndim = components[0].owner.op.ndim_supp
    latent = None if mixture in model.observed_RVs else mixture.type(mixture.name)
    value = model.rvs_to_values[mixture] if latent is None else latent
    if len(components) == 1:  # one batched distribution, components along its last batch axis
        log_density = logp(components[0], pt.expand_dims(value, -support_ndim - 1))
    else:
        log_density = pt.stack([logp(component, value) for component in components], axis=-1)
    back = {stand_in: parameter for parameter, stand_in in stand_ins.items()}
    [log_density] = graph_replace([log_density], back, strict=False)
    return log_density, pt.log(weights), latent


def compile_mixture(model: pm.Model, var_name: str | None = None) -> CompiledMixture:
    """Compile the component log-densities and log-weights of one mixture."""
    from pymc.pytensorf import compile as compile_pymc
    from pytensor.graph.replace import graph_replace
    from pytensor.graph.traversal import ancestors

    mixture = _find_mixture(model, var_name)
    *outputs, latent = mixture_graph(model, mixture)
    upstream = set(ancestors(outputs))
    read = [rv for rv in model.free_RVs if rv in upstream and rv is not mixture]
    # The posterior holds values on the constrained scale, hence no transforms here.
    inputs = {rv: rv.type(rv.name) for rv in read}
    outputs = graph_replace(outputs, inputs, strict=False)
    arguments = [*inputs.values(), *([] if latent is None else [latent])]
    function = compile_pymc(arguments, outputs, on_unused_input="ignore")

    dims = _observation_dims(model, mixture)
    coords = {
        name: np.asarray(model.coords[name]) for name in dims if model.coords.get(name) is not None
    }
    return CompiledMixture(
        name=mixture.name,
        evaluate=function,
        input_dtypes={argument.name: argument.dtype for argument in arguments},
        observation_dims=dims,
        coords=coords,
    )


def _observation_dims(model: pm.Model, mixture) -> tuple[str, ...]:
    """Name the dimensions along which one component is drawn: not those of a multivariate draw."""
    dims = model.named_vars_to_dims.get(mixture.name)
    dims = dims or [f"{mixture.name}_dim_{axis}" for axis in range(mixture.ndim)]
    components = mixture.owner.inputs[2:]
    return tuple(dims[: mixture.ndim - components[0].owner.op.ndim_supp])


def observation_dims(model: pm.Model) -> list[tuple[str, ...]]:
    """Name the dimensions that index the observations of each of the model's mixtures."""
    return [_observation_dims(model, mixture) for mixture in mixtures(model)]


def check_dim_order(model: pm.Model, posterior: xr.Dataset) -> None:
    """Refuse variables whose dimensions stand in another order than in the model.

    Their values go into the model as arrays, which have no names.
    """
    for name, dims in model.named_vars_to_dims.items():
        if name not in posterior:
            continue
        own = [dim for dim in posterior[name].dims if dim not in SAMPLE_DIMS]
        if own != list(dims) and set(own) == set(dims):
            raise ValueError(
                f"dt: {name!r} has the dimensions {', '.join(own)}, which the model has in the "
                f"order {', '.join(map(str, dims))}. Bring them back: "
                f"dt['posterior'][{name!r}] = "
                f"dt['posterior'][{name!r}].transpose('chain', 'draw', {str(list(dims))[1:-1]})."
            )


def posterior_values(mixture: CompiledMixture, dt: xr.DataTree) -> dict[str, np.ndarray]:
    """Take the draws that the mixture reads, with chain and draw in front."""
    posterior = get_posterior(dt)
    missing = [name for name in mixture.input_dtypes if name not in posterior]
    if missing:
        raise ValueError(
            f"dt: its posterior lacks {', '.join(map(repr, missing))}, which the mixture "
            f"{mixture.name!r} of the model reads. Pass the draws of this model with all its free "
            "variables."
        )
    return {
        name: posterior[name].transpose(*SAMPLE_DIMS, ...).values.astype(dtype, copy=False)
        for name, dtype in mixture.input_dtypes.items()
    }


def get_posterior(dt: xr.DataTree) -> xr.Dataset:
    """Return the posterior group as a Dataset that shares its arrays."""
    if not isinstance(dt, xr.DataTree):
        raise TypeError(
            f"dt: an xarray.DataTree with a posterior group is needed, not {type(dt).__name__}. "
            "Wrap a Dataset of draws: xr.DataTree.from_dict({'posterior': dataset})."
        )
    if "posterior" not in dt.children:
        raise ValueError(
            f"dt: it has no group 'posterior'. Its groups: {', '.join(dt.children) or 'none'}."
        )
    posterior = dt["posterior"].to_dataset()
    absent = [name for name in SAMPLE_DIMS if name not in posterior.dims]
    if absent:
        raise ValueError(f"dt: its posterior has no dimension {' and no dimension '.join(absent)}.")
    if not all(posterior.sizes[name] for name in SAMPLE_DIMS):
        raise ValueError(f"dt: its posterior holds no draws: {dict(posterior.sizes)}.")
    for name, variable in posterior.data_vars.items():
        if len(set(variable.dims)) < variable.ndim:
            raise ValueError(
                f"dt: {name!r} has a dimension twice, {variable.dims}; give its axes different "
                "names, such as 'state' and 'next_state'."
            )
    return posterior


def _map_draws(
    model: pm.Model,
    dt: xr.DataTree,
    var_name: str | None,
    dim: str,
    chunks: int | None,
    progress: bool,
    finish: Callable[[np.ndarray, np.ndarray], np.ndarray],
    result_name: str,
) -> xr.DataArray:
    """Evaluate the mixture at every draw, in memory or, with chunks, when Dask asks for it."""
    mixture = compile_mixture(model, var_name)
    check_dim_order(model, get_posterior(dt))
    if dim in (*SAMPLE_DIMS, *mixture.observation_dims):
        raise ValueError(
            f"dim: {dim!r} is a dimension of the draws or of the observations of "
            f"{mixture.name!r}. Give that of the components another name, such as dim='k'."
        )
    values = posterior_values(mixture, dt)
    posterior = get_posterior(dt)
    n_chains, n_draws = posterior.sizes["chain"], posterior.sizes["draw"]

    def evaluate(chain: int, draw: int) -> np.ndarray:
        at = {name: value[chain, draw] for name, value in values.items()}
        try:
            return finish(*mixture.evaluate(**at))
        except Exception as error:
            error.add_note(
                f"labelswitch evaluated the mixture {mixture.name!r} at chain {chain}, draw "
                f"{draw} (counted from 0). Do the draws belong to this model and its data?"
            )
            raise

    first = evaluate(0, 0)

    def block(chain: int, start: int, stop: int) -> np.ndarray:
        # One draw at a time into the result: the peak is the result and a single draw.
        out = np.empty((1, stop - start, *first.shape), dtype=first.dtype)
        for draw in range(start, stop):
            out[0, draw - start] = evaluate(chain, draw)
        return out

    if chunks is None:
        data = np.empty((n_chains, n_draws, *first.shape), dtype=first.dtype)
        for chain in range(n_chains):
            for draw in range(n_draws):
                data[chain, draw] = evaluate(chain, draw)
            if progress:
                print(
                    f"{result_name}: chain {chain + 1} of {n_chains}", file=sys.stderr, flush=True
                )
    else:
        data = _lazy(block, chunks, n_chains, n_draws, first)

    dims = (*SAMPLE_DIMS, *mixture.observation_dims, dim)
    coords = {name: posterior[name] for name in SAMPLE_DIMS if name in posterior.coords}
    known = {name: (name, values) for name, values in mixture.coords.items()}
    labels = model.coords.get(dim)
    if dim in posterior.coords:
        known[dim] = (dim, posterior[dim].values)
    elif labels is not None:
        known[dim] = (dim, np.asarray(labels))
    sizes = dict(zip(dims, data.shape, strict=True))
    # After pm.set_data with other observations the old coordinates may no longer fit.
    coords |= {name: pair for name, pair in known.items() if len(pair[1]) == sizes[name]}
    return xr.DataArray(data, dims=dims, coords=coords, name=result_name)


def _lazy(block, chunks: int, n_chains: int, n_draws: int, first: np.ndarray):
    try:
        import dask
        import dask.array as da
        from dask.utils import SerializableLock
    except ImportError as error:
        raise ImportError(
            "chunks: needs Dask, which is not installed. Install dask[array], or leave chunks out."
        ) from error
    if chunks < 1:
        raise ValueError(f"chunks: the number of draws in a chunk must be positive, not {chunks}.")
    lock = SerializableLock()  # a compiled PyTensor function has one set of buffers

    @dask.delayed
    def locked(*arguments):
        with lock:
            return block(*arguments)

    def array(chain: int, start: int):
        stop = min(start + chunks, n_draws)
        shape = (1, stop - start, *first.shape)
        return da.from_delayed(locked(chain, start, stop), shape=shape, dtype=first.dtype)

    starts = range(0, n_draws, chunks)
    return da.concatenate(
        [
            da.concatenate([array(chain, start) for start in starts], axis=1)
            for chain in range(n_chains)
        ]
    )


def component_log_density(
    dt: xr.DataTree,
    *,
    model: pm.Model,
    var_name: str | None = None,
    dim: str = "component",
    chunks: int | None = None,
    progress: bool = False,
) -> xr.DataArray:
    r"""Log-density of each observation under each component, at every posterior draw.

    The components are read from the :class:`pymc.Mixture` or :class:`pymc.NormalMixture` of the
    model, whether it was given a list of distributions or one batched distribution. Nothing has
    to be written by hand.

    Parameters
    ----------
    dt : xarray.DataTree
        Its group ``posterior`` holds the draws of the model's free variables.
    model : pymc.Model
        The model that the draws come from. Data held in ``pm.Data`` are read as they are at the
        time of the call: after ``pm.set_data`` the result is about the new observations.
    var_name : str, optional
        The mixture. Needed only if the model has more than one. A latent mixture (a prior, not a
        likelihood) is evaluated at its own draws.
    dim : str, default "component"
        Name of the dimension of the K components in the result.
    chunks : int, optional
        Number of draws of a chain in a chunk. With it the result is a Dask array that is computed
        when asked for; without it the result is computed at once and held in memory.
    progress : bool, default False
        Write a line for each chain to the standard error stream.

    Returns
    -------
    xarray.DataArray
        :math:`\log f_k(y_i \mid \theta_k)`, without the weights, with dimensions chain, draw, the
        dimensions of the observations, and ``dim``.

    Raises
    ------
    ValueError
        If the model has no mixture, or several and no ``var_name``, or the posterior lacks a
        variable that the mixture reads; if ``dim`` is a dimension of the draws or observations.

    See Also
    --------
    responsibilities : the same with the weights, normalised over the components.

    Examples
    --------
    >>> import arviz as az, numpy as np, pymc as pm
    >>> import labelswitch
    >>> with pm.Model(coords={"component": ["a", "b"], "obs": range(2)}) as model:
    ...     w = pm.Dirichlet("w", np.ones(2), dims="component")
    ...     mu = pm.Normal("mu", 0, 3, dims="component")
    ...     y = pm.NormalMixture("y", w=w, mu=mu, sigma=1, observed=[-2.0, 2.0], dims="obs")
    >>> dt = az.from_dict(
    ...     {"posterior": {"w": np.array([[[0.5, 0.5]]]), "mu": np.array([[[-2.0, 2.0]]])}},
    ...     dims={"w": ["component"], "mu": ["component"]},
    ...     coords={"component": ["a", "b"]},
    ... )
    >>> density = labelswitch.component_log_density(dt, model=model)
    >>> density.dims
    ('chain', 'draw', 'obs', 'component')
    >>> density.values[0, 0].round(3)
    array([[-0.919, -8.919],
           [-8.919, -0.919]])
    """
    return _map_draws(
        model,
        dt,
        var_name,
        dim,
        chunks,
        progress,
        lambda density, _: density,
        "component_log_density",
    )


def responsibilities(
    dt: xr.DataTree,
    *,
    model: pm.Model,
    var_name: str | None = None,
    dim: str = "component",
    chunks: int | None = None,
    progress: bool = False,
) -> xr.DataArray:
    r"""Probability that each observation belongs to each component, at every posterior draw.

    A :class:`pymc.Mixture` sums the allocations :math:`z` out. This puts them back:

    .. math::

        P(z_i = k \mid y_i, \theta) = \frac{w_k f_k(y_i \mid \theta_k)}
                                           {\sum_l w_l f_l(y_i \mid \theta_l)}.

    The mean over the draws of relabelled responsibilities is
    :math:`P(z_i = k \mid y)` with the uncertainty of the parameters in it. The responsibilities of
    one draw given by a switched labelling are switched as well: relabel before averaging.

    Parameters
    ----------
    dt : xarray.DataTree
        Its group ``posterior`` holds the draws of the model's free variables.
    model : pymc.Model
        The model that the draws come from. Data held in ``pm.Data`` are read as they are at the
        time of the call: after ``pm.set_data`` the result is about the new observations.
    var_name : str, optional
        The mixture. Needed only if the model has more than one. A latent mixture (a prior, not a
        likelihood) is evaluated at its own draws.
    dim : str, default "component"
        Name of the dimension of the K components in the result.
    chunks : int, optional
        Number of draws of a chain in a chunk. With it the result is a Dask array that is computed
        when asked for, and may be larger than memory; without it the result is computed at once. It
        takes 8 bytes for each draw, observation and component.
    progress : bool, default False
        Write a line for each chain to the standard error stream.

    Returns
    -------
    xarray.DataArray
        Probabilities with dimensions chain, draw, the dimensions of the observations, and
        ``dim``, over which they sum to one.

    Raises
    ------
    ValueError
        If the model has no mixture, or several and no ``var_name``; if the posterior lacks a
        variable that the mixture reads; if ``dim`` is a dimension of the draws or observations; if
        an observation has density zero under every component.

    Notes
    -----
    To find a labelling, some observations are enough. This takes every hundredth and never holds
    the others of more than a few chunks::

        p = responsibilities(dt, model=model, chunks=100)
        p = p.isel(obs=slice(None, None, 100)).compute()
        relabelled = relabel(dt, responsibilities=p)

    References
    ----------
    Stephens, M. (2000). Dealing with label switching in mixture models. *Journal of the
    Royal Statistical Society B* 62(4), 795-809.

    Examples
    --------
    >>> import arviz as az, numpy as np, pymc as pm
    >>> import labelswitch
    >>> with pm.Model(coords={"component": ["a", "b"], "obs": range(2)}) as model:
    ...     w = pm.Dirichlet("w", np.ones(2), dims="component")
    ...     rate = pm.Exponential("rate", 0.1, dims="component")
    ...     y = pm.Mixture("y", w=w, comp_dists=pm.Poisson.dist(rate), observed=[0, 9], dims="obs")
    >>> dt = az.from_dict(
    ...     {"posterior": {"w": np.array([[[0.5, 0.5]]]), "rate": np.array([[[1.0, 9.0]]])}},
    ...     dims={"w": ["component"], "rate": ["component"]},
    ...     coords={"component": ["a", "b"]},
    ... )
    >>> labelswitch.responsibilities(dt, model=model).values[0, 0].round(3)
    array([[1., 0.],
           [0., 1.]])
    """

    def normalise(log_density: np.ndarray, log_weights: np.ndarray) -> np.ndarray:
        p = log_density + log_weights
        # NumPy reduces a short last axis slowly; a pass per component is several times faster.
        components = range(1, p.shape[-1])
        peak = p[..., 0].copy()
        for k in components:
            np.maximum(peak, p[..., k], out=peak)
        if not np.isfinite(peak).all():
            where = np.argwhere(~np.isfinite(peak))[0].tolist()
            raise ValueError(
                f"model: observation {where} has no finite density under any component (largest "
                f"log-density {peak[tuple(where)]}). Look for data outside the support, or NaN."
            )
        p -= peak[..., None]
        np.exp(p, out=p)
        total = p[..., 0].copy()
        for k in components:
            total += p[..., k]
        p /= total[..., None]
        return p

    return _map_draws(model, dt, var_name, dim, chunks, progress, normalise, "responsibilities")
