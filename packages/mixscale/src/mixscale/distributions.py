"""The mixture in PyMC: a distribution whose log density is one node with its gradient.

The random variable is a :class:`pymc.Mixture` of one batched component, as a
:class:`pymc.NormalMixture` is, and whatever reads those reads this. Only its log density is
another: PyTensor sums it over the rows in the same pass that yields the gradient.
"""

import hashlib
from functools import cache
from pathlib import Path

import llvmlite.binding
import numpy as np
import pymc as pm
import pytensor.tensor as pt
from numba import types
from pymc.distributions.dist_math import check_parameters
from pymc.distributions.distribution import SymbolicRandomVariable, _support_point
from pymc.distributions.mixture import MixtureRV, mixture_logprob
from pymc.distributions.shape_utils import rv_size_is_none
from pymc.logprob.abstract import _logcdf, _logprob
from pymc.pytensorf import normalize_rng_param
from pytensor.gradient import DisconnectedType, grad_not_implemented
from pytensor.graph.basic import Apply, Variable
from pytensor.graph.op import Op
from pytensor.graph.rewriting.basic import node_rewriter
from pytensor.link.numba.dispatch.basic import numba_njit, register_funcify_default_op_cache_key
from pytensor.scalar.basic import mul, second
from pytensor.tensor.elemwise import Elemwise
from pytensor.tensor.math import Sum
from pytensor.tensor.random.utils import normalize_size_param
from pytensor.tensor.rewriting.basic import register_canonicalize
from pytensor.tensor.variable import TensorVariable

from mixscale import kernels
from mixscale.likelihood import refuse_mask

# PyTensor stores compiled functions under the type of the operation and this number: without it,
# an edited kernel, or an edited call of one, would go on running in its old version.
_SOURCES = kernels.__file__, __file__
_VERSION = int(
    hashlib.sha256(b"".join(Path(path).read_bytes() for path in _SOURCES)).hexdigest()[:12], 16
)
_NO_GRADIENT = (
    "mixscale differentiates by the parameters only, once. Where rows are unknown (missing values, "
    "errors in the covariates) or second derivatives are needed, take pm.NormalMixture."
)


_DISAGREE = (
    "covariates, observed rows, weights, coefficients and sigma disagree on the number of rows, "
    "covariates or components. With pm.set_data, set covariates and rows in one call."
)


class _MixtureOp(Op):
    """An operation on x (P, N), y (N,), log weights (K,), coefficients (K, P) and sigma (K,)."""

    __props__ = ()

    def inputs_of(self, arguments) -> list[TensorVariable]:
        """Return the inputs as tensors of float64 with the right number of axes."""
        inputs = [pt.cast(pt.as_tensor(argument), "float64") for argument in arguments]
        for variable, n_axes in zip(inputs, (2, 1, 1, 2, 1), strict=True):
            if variable.ndim != n_axes:
                raise ValueError(f"{variable}: it has {variable.ndim} axes; {n_axes} are needed.")
        return inputs

    def arrays_of(self, inputs) -> list[np.ndarray]:
        """Return the inputs as the kernels, which do not look at sizes, read them."""
        x, y, log_weights, coefficients, sigma = inputs
        if not _agree(x, y, log_weights, coefficients, sigma):
            shapes = ", ".join(str(value.shape) for value in inputs)
            raise ValueError(f"{_DISAGREE} Here x (P, N), y, w, (K, P) and sigma have {shapes}.")
        return [np.require(value, requirements="CAW") for value in inputs]


class MixtureSums(_MixtureOp):
    """Log-likelihood of all rows, and its derivatives by log weights, coefficients, log sigma."""

    def make_node(self, *arguments):
        """Return the node with its four outputs."""
        inputs = self.inputs_of(arguments)
        outputs = [pt.dscalar(), *(inputs[index].type() for index in (2, 3, 4))]
        return Apply(self, inputs, outputs)

    def perform(self, node, inputs, outputs):
        """Compute the outputs in Python, where Numba does not."""
        results = kernels.gradient(*self.arrays_of(inputs))
        for cell, value in zip(outputs, results, strict=True):
            cell[0] = np.asarray(value)

    def infer_shape(self, node, shapes):
        """Return the shapes of the outputs."""
        return [(), shapes[2], shapes[3], shapes[4]]

    def pullback(self, inputs, outputs, cotangents):
        """Return the derivatives by the parameters, as graphs."""
        by_value, *others = cotangents
        if any(not isinstance(other.type, DisconnectedType) for other in others):
            return [grad_not_implemented(self, i, x, _NO_GRADIENT) for i, x in enumerate(inputs)]
        _, by_weight, by_coefficient, by_scale = outputs  # of this very node: no second pass
        rows = [grad_not_implemented(self, i, inputs[i], _NO_GRADIENT) for i in (0, 1)]
        derivatives = by_weight, by_coefficient, by_scale / inputs[4]
        return [*rows, *(by_value * derivative for derivative in derivatives)]


class MixtureLogDensity(_MixtureOp):
    """Log density of each row."""

    def make_node(self, *arguments):
        """Return the node with a number for each row."""
        inputs = self.inputs_of(arguments)
        return Apply(self, inputs, [inputs[1].type()])

    def perform(self, node, inputs, outputs):
        """Compute the outputs in Python, where Numba does not."""
        outputs[0][0] = kernels.log_density(*self.arrays_of(inputs))

    def infer_shape(self, node, shapes):
        """Return the shapes of the outputs."""
        return [shapes[1]]

    def pullback(self, inputs, outputs, cotangents):
        """Return the derivatives by the parameters, as graphs."""
        (by_row,) = cotangents
        common = _common(by_row)
        if common is not None:
            value = mixture_sums(*inputs)[0]
            return value.owner.op.pullback(
                inputs, value.owner.outputs, [common, *[DisconnectedType()()] * 3]
            )
        # Rows that count differently: the derivatives of the formula.
        rows = [grad_not_implemented(self, i, inputs[i], _NO_GRADIENT) for i in (0, 1)]
        x, y, log_weights, coefficients, sigma = inputs
        z = (y[:, None] - (x.T @ coefficients.T)) / sigma
        density = log_weights - pt.log(sigma) - 0.5 * z**2
        total = (by_row * pt.logsumexp(density, axis=-1)).sum()
        return [*rows, *pt.grad(total, inputs[2:])]


def _common(by_row: Variable) -> Variable | None:
    """Return the number that all entries of a vector are made of, or None if they may differ."""
    if by_row.ndim == 0 or by_row.type.broadcastable == (True,):
        return by_row.squeeze()
    node = by_row.owner
    if node is None or not isinstance(node.op, Elemwise):
        return None
    operands = node.inputs[1:] if node.op.scalar_op == second else node.inputs
    numbers = [_common(operand) for operand in operands]
    if any(number is None for number in numbers):
        return None
    return numbers[0] if node.op.scalar_op == second else node.op(*numbers)


def _agree(x, y, log_weights, coefficients, sigma):
    """Tell whether the inputs fit each other; one column of x stands for all rows."""
    k, p = coefficients.shape
    fit = x.shape[0] == p and (x.shape[1] == y.size or x.shape[1] == 1)
    return fit and log_weights.size == k and sigma.size == k


_agree_compiled = numba_njit(_agree)


@cache
def _entry(name: str) -> types.ExternalFunction:
    """Compile a kernel and make it known to LLVM under a name.

    What PyTensor and nutpie compile for a model calls it by that name. Otherwise they would compile
    the kernel into each model anew, which takes a minute.
    """
    symbol = f"mixscale_{name}_{_VERSION}"
    entry = kernels.compile_entry(getattr(kernels, f"{name}_entry"))
    _COMPILED.append(entry)
    llvmlite.binding.add_symbol(symbol, entry.address)
    return types.ExternalFunction(symbol, kernels.ENTRY)


_COMPILED: list = []  # code that is in use must not be collected


@register_funcify_default_op_cache_key(MixtureSums)
def _(op, node=None, **options):
    entry = _entry("gradient")

    @numba_njit
    def mixture_sums(x, y, log_weights, coefficients, sigma):
        if not _agree_compiled(x, y, log_weights, coefficients, sigma):
            raise ValueError(_DISAGREE)
        # What is contiguous is not copied.
        x, y = np.ascontiguousarray(x), np.ascontiguousarray(y)
        log_weights, sigma = np.ascontiguousarray(log_weights), np.ascontiguousarray(sigma)
        coefficients = np.ascontiguousarray(coefficients)
        k, p = coefficients.shape
        out = np.empty(1 + k * (p + 2))
        entry(
            x.ctypes, y.ctypes, log_weights.ctypes, coefficients.ctypes, sigma.ctypes, out.ctypes,
            x.shape[1], y.size, p, k,
        )  # fmt: skip
        by_coefficient = out[1 + k : 1 + k + k * p].reshape((k, p))
        return np.asarray(out[0]), out[1 : 1 + k], by_coefficient, out[1 + k + k * p :]

    return mixture_sums, _VERSION


@register_funcify_default_op_cache_key(MixtureLogDensity)
def _(op, node=None, **options):
    entry = _entry("log_density")

    @numba_njit
    def mixture_log_density(x, y, log_weights, coefficients, sigma):
        if not _agree_compiled(x, y, log_weights, coefficients, sigma):
            raise ValueError(_DISAGREE)
        x, y = np.ascontiguousarray(x), np.ascontiguousarray(y)
        log_weights, sigma = np.ascontiguousarray(log_weights), np.ascontiguousarray(sigma)
        coefficients = np.ascontiguousarray(coefficients)
        out = np.empty(y.size)
        entry(
            x.ctypes, y.ctypes, log_weights.ctypes, coefficients.ctypes, sigma.ctypes, out.ctypes,
            x.shape[1], y.size, coefficients.shape[1], coefficients.shape[0],
        )  # fmt: skip
        return out

    return mixture_log_density, _VERSION


mixture_sums, mixture_log_density = MixtureSums(), MixtureLogDensity()


@register_canonicalize("fast_compile")
@node_rewriter([Sum])
def sum_of_log_density(fgraph, node):
    """Replace the sum of the rows' log densities by the operation that also has the gradient.

    Also where one number, such as that of ``total_size``, multiplies them all.
    """
    (summed,) = node.inputs
    factors = [summed]
    if summed.owner is not None and isinstance(summed.owner.op, Elemwise):
        if summed.owner.op.scalar_op != mul:
            return None
        factors = summed.owner.inputs
    rows = [
        factor
        for factor in factors
        if factor.owner is not None and isinstance(factor.owner.op, MixtureLogDensity)
    ]
    numbers = [_common(factor) for factor in factors if factor not in rows]
    if len(rows) != 1 or any(number is None for number in numbers):
        return None
    total = mixture_sums(*rows[0].owner.inputs)[0]
    return [pt.mul(*numbers, total) if numbers else total]


class NormalRegressionRV(SymbolicRandomVariable):
    """Normal draws (N, K) with means x' coefficients; x is (P, N), or (P, 1) for all rows."""

    name = "normal_regression"
    extended_signature = "[rng],[size],(p,n),(p,k),(k)->[rng],()"
    _print_name = ("NormalRegression", "\\operatorname{NormalRegression}")

    @classmethod
    def rv_op(cls, x, coefficients, sigma, *, size=None, rng=None):
        """Return draws; x is (P, N), coefficients (P, K)."""
        rng, size = normalize_rng_param(rng), normalize_size_param(size)
        mean = x.T @ coefficients
        shape = None if rv_size_is_none(size) else size
        next_rng, draws = pt.random.normal(mean, sigma, size=shape, rng=rng, return_next_rng=True)
        inputs = [rng, size, x, coefficients, sigma]
        return cls(inputs=inputs, outputs=[next_rng, draws])(*inputs)


@_logprob.register(NormalRegressionRV)
def _component_log_density(op, values, rng, size, x, coefficients, sigma, **options):
    return pm.logp(pm.Normal.dist(x.T @ coefficients, sigma), values[0])


@_logcdf.register(NormalRegressionRV)
def _component_log_distribution(op, value, rng, size, x, coefficients, sigma, **options):
    return pm.logcdf(pm.Normal.dist(x.T @ coefficients, sigma), value)


@_support_point.register(NormalRegressionRV)
def _component_support_point(op, rv, rng, size, x, coefficients, sigma):
    mean = x.T @ coefficients
    return mean if rv_size_is_none(size) else pt.broadcast_to(mean, size)


class RegressionMixtureRV(MixtureRV):
    """A mixture of one batched normal regression."""


class NormalMixtureRV(RegressionMixtureRV):
    """The same with one covariate that is 1 in all rows."""


@_logprob.register(RegressionMixtureRV)
def _mixture_log_density(op, values, rng, weights, component, **options):
    (value,) = values
    node = component.owner
    if value.ndim != 1 or not isinstance(node.op, NormalRegressionRV):
        return mixture_logprob(op, values, rng, weights, component, **options)
    x, coefficients, sigma = node.op.dist_params(node)
    # The conditions of pm.NormalMixture, on K numbers in place of the rows.
    log_weights = check_parameters(
        pt.log(weights),
        weights >= 0,
        weights <= 1,
        pt.isclose(pt.sum(weights), 1),
        sigma > 0,
        msg="0 <= weights <= 1, sum(weights) == 1, sigma > 0",
    )
    # Where a sigma is not positive, the weights are -inf, and its logarithm is not to undo that.
    sigma = pt.switch(sigma > 0, sigma, 1.0)
    return mixture_log_density(x, value, log_weights, coefficients.T, sigma)


class RegressionMixture(pm.Mixture):
    r"""Mixture of normal linear regressions.

    .. math:: f(y_i) = \sum_{k=1}^K w_k N(y_i \mid x_i^\top \beta_k, \sigma_k)

    It has the same posterior as ``pm.NormalMixture(name, w, mu=covariates @ coefficients, sigma)``.

    Parameters
    ----------
    name : str
    w : tensor_like, shape (K,)
        Weights.
    covariates : array_like or tensor_like, shape (N,) or (N, P)
        An intercept is a covariate of ones. Arrays are laid out once as the kernel reads them; a
        ``pm.Data`` of more than one covariate is laid out anew at every evaluation.
    coefficients : tensor_like, shape (K,) if there is one covariate, or (P, K)
        Component k has the mean ``covariates @ coefficients[:, k]``. For an intercept and a slope
        of K components each: ``pm.math.stack([intercept, slope])``.
    sigma : tensor_like, shape () or (K,)
        A common standard deviation, or one for each component.
    **kwargs
        Those of every PyMC distribution: ``observed``, ``dims``, ``shape``.

    Raises
    ------
    ValueError
        If the number of axes of an argument does not fit, or sizes that are known do not agree.
        Sizes that are known late are compared when the model is evaluated.
    TypeError
        If the covariates are a masked array.

    Examples
    --------
    >>> import mixscale, numpy as np, pymc as pm
    >>> x, y = np.array([1.0, 2.0, 4.0]), np.array([0.9, -2.1, 4.0])
    >>> with pm.Model() as model:
    ...     w = pm.Dirichlet("w", np.ones(2))
    ...     slope = pm.Normal("slope", 0, 2, shape=2)
    ...     sigma = pm.HalfNormal("sigma", 1)
    ...     mixscale.RegressionMixture("y", w, x, slope, sigma, observed=y)
    y
    >>> point = {"w": [0.5, 0.5], "slope": [1.0, -1.0], "sigma": 0.1}
    >>> by_row = pm.logp(mixscale.RegressionMixture.dist(point["w"], x, [1.0, -1.0], 0.1), y)
    >>> by_row.eval().round(3)
    array([0.19, 0.19, 0.69])
    """

    rv_type = RegressionMixtureRV
    rv_op = RegressionMixtureRV.rv_op

    @classmethod
    def dist(cls, w, covariates, coefficients, sigma, **kwargs):
        """Return a mixture that belongs to no model; see the class."""
        if isinstance(covariates, Variable):
            x = pt.as_tensor(covariates)
            x = x.T if x.ndim == 2 else x
        else:
            refuse_mask("covariates", covariates)
            columns = np.asarray(covariates, dtype="float64")
            x = pt.as_tensor(np.ascontiguousarray(columns.T))
        if x.ndim not in (1, 2):
            raise ValueError(f"covariates: they have {x.ndim} axes; (N,) or (N, P) is needed.")
        x = x[None, :] if x.ndim == 1 else x
        return super().dist(w, _component(w, x, coefficients, sigma), **kwargs)


class NormalMixture(pm.Mixture):
    r"""Mixture of normals, for ``pm.NormalMixture`` where the means are the same in all rows.

    Parameters
    ----------
    name : str
    w : tensor_like, shape (K,)
        Weights.
    mu : tensor_like, shape (K,) or ()
        Means, or one that is common. For means that depend on covariates, see
        :class:`RegressionMixture`.
    sigma : tensor_like, shape () or (K,), default 1
        A common standard deviation, or one for each component.
    **kwargs
        Those of every PyMC distribution: ``observed``, ``dims``, ``shape``.

    Raises
    ------
    ValueError
        If the number of axes of an argument does not fit, or sizes that are known do not agree.

    Examples
    --------
    >>> import mixscale, pymc as pm
    >>> mixture = mixscale.NormalMixture.dist(w=[0.5, 0.5], mu=[-2.0, 2.0], sigma=1.0, shape=2)
    >>> pm.logp(mixture, [-2.0, 0.0]).eval().round(3)
    array([-1.612, -2.919])
    """

    rv_type = NormalMixtureRV
    rv_op = NormalMixtureRV.rv_op

    @classmethod
    def dist(cls, w, mu, sigma=1.0, **kwargs):
        """Return a mixture that belongs to no model; see the class."""
        w, mu = pt.as_tensor(w), pt.as_tensor(mu)
        if mu.ndim > 1:
            raise ValueError(
                f"mu: it has {mu.ndim} axes; one mean a component is needed. Where means depend on "
                "covariates, take mixscale.RegressionMixture(name, w, covariates, coefficients, "
                "sigma)."
            )
        if mu.ndim == 0 or mu.type.shape == (1,):
            mu = pt.broadcast_to(mu, w.shape[:1])
        return super().dist(w, _component(w, pt.ones((1, 1)), mu, sigma), **kwargs)


def _component(w, x: TensorVariable, coefficients, sigma) -> TensorVariable:
    """Return the batched component of a mixture, for covariates (P, N)."""
    w, coefficients, sigma = map(pt.as_tensor, (w, coefficients, sigma))
    if w.ndim != 1:
        raise ValueError(f"w: it has {w.ndim} axes; a weight for each component, (K,), is needed.")
    if coefficients.ndim not in (1, 2):
        raise ValueError(f"coefficients: {coefficients.ndim} axes; (K,) or (P, K) is needed.")
    if sigma.ndim > 1:
        raise ValueError(f"sigma: it has {sigma.ndim} axes; a number or (K,) is needed.")
    coefficients = coefficients[None, :] if coefficients.ndim == 1 else coefficients
    sizes = {
        "components": {w.type.shape[0], coefficients.type.shape[1]} - {None}
        | set(sigma.type.shape) - {1, None},
        "covariates": {x.type.shape[0], coefficients.type.shape[0]} - {None},
    }
    for name, found in sizes.items():
        if len(found) > 1:
            raise ValueError(
                f"coefficients: the arguments disagree on the number of {name}: "
                f"{' and '.join(map(str, sorted(found)))}. w has shape (K,), sigma () or (K,), "
                "coefficients (P, K), covariates (N, P)."
            )
    sigma = pt.broadcast_to(sigma, (w.shape[0],))
    return NormalRegressionRV.rv_op(x, coefficients, sigma)
