"""Numba kernels: one pass over the rows of a mixture of normal regressions.

Row i has the density sum_k w_k N(y_i | x_i' b_k, s_k). All kernels read ``x`` (P, N), one covariate
a contiguous row of memory, or (P, 1) for covariates that are the same in all rows; ``y`` (N,);
``log_weights`` (K,), ``coefficients`` (K, P) and ``sigma`` (K,). They work through blocks that stay
in the first cache, in loops that LLVM turns into SIMD instructions without a vector maths library:

* The exponential is made of additions, multiplications and a shift of bits.
* A row's logarithm of the sum is log(s) with 1 <= s <= K when the largest term is taken out. The
  logarithms of a block are one logarithm of a product.

They release the GIL. Numba's cache looks at the file of the function that is called, so all of
them stay in this one.
"""

import math

import numba
import numpy as np
from numba import types
from numba.extending import intrinsic

# Rows in a block. For two lines nothing but x and y is read, and 2**960 is finite.
BLOCK, LINES_BLOCK = 256, 960
HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)
LOG2_E = 1.4426950408889634
# log 2 in two parts, so that n times the first is exact (Cody and Waite 1980).
LOG_2_HIGH, LOG_2_LOW = 6.93145751953125e-1, 1.42860682030941723212e-6
# Adding 1.5 * 2**52 rounds to an integer and leaves it in the lowest bits.
ROUND = 6755399441055744.0
# Sums may be reordered; NaN and infinity keep their meaning.
REORDER = {"reassoc", "contract", "nsz", "arcp"}


def _compile(fastmath=REORDER):
    """Return numba.njit, cached on disk where some directory can be written."""

    def decorate(function):
        options = {"nogil": True, "error_model": "numpy", "fastmath": fastmath}
        try:
            return numba.njit(cache=True, **options)(function)
        except RuntimeError:  # neither the package nor the user has a writable cache directory
            return numba.njit(**options)(function)

    return decorate


@intrinsic
def _bits(typingctx, x):
    """Return the bits of a float64 as an int64."""

    def codegen(context, builder, signature, arguments):
        return builder.bitcast(arguments[0], context.get_value_type(types.int64))

    return types.int64(x), codegen


@intrinsic
def _from_bits(typingctx, x):
    """Return the float64 that has the bits of an int64."""

    def codegen(context, builder, signature, arguments):
        return builder.bitcast(arguments[0], context.get_value_type(types.float64))

    return types.float64(x), codegen


@_compile(fastmath={"contract"})  # reordering would cancel (t + ROUND) - ROUND
def _exp(x):
    """Return exp(x) for x <= 0, within two units in the last place; 0 below -708."""
    t = x * LOG2_E + ROUND
    n = t - ROUND
    r = x - n * LOG_2_HIGH
    r = r - n * LOG_2_LOW
    p = 2.08767569878680989792e-9
    p = p * r + 2.50521083854417187751e-8
    p = p * r + 2.75573192239858906526e-7
    p = p * r + 2.75573192239858906526e-6
    p = p * r + 2.48015873015873015873e-5
    p = p * r + 1.98412698412698412698e-4
    p = p * r + 1.38888888888888888889e-3
    p = p * r + 8.33333333333333333333e-3
    p = p * r + 4.16666666666666666667e-2
    p = p * r + 1.66666666666666666667e-1
    p = p * r + 0.5
    p = p * r + 1.0
    p = p * r + 1.0
    # This way round, NaN passes.
    return 0.0 if x < -708.0 else p * _from_bits((_bits(t) + 1023) << 52)


# A block of rows ---------------------------------------------------------------------------------


@_compile()
def _constants(log_weights, sigma):
    """Return c and scale: the log density of component k is c_k - z**2, z = scale_k * residual."""
    return log_weights - np.log(sigma) - HALF_LOG_2PI, math.sqrt(0.5) / sigma


@_compile()
def _repeated(x, size):
    """Return (P, size) covariates, for those that are the same in all rows."""
    out = np.empty((x.shape[0], size))
    for p in range(x.shape[0]):
        out[p] = x[p, 0]
    return out


@_compile()
def _density(x, start, y, b, c, scale, z, a):
    """Write the scaled residuals z and the log densities a = c - z**2 of one component."""
    n, last = y.size, b.size - 1
    slope = b[last]
    column = x[last, start : start + n]
    if last == 0:
        for j in range(n):
            v = scale * (y[j] - slope * column[j])
            z[j] = v
            a[j] = c - v * v
        return
    first_slope = b[0]
    first = x[0, start : start + n]
    for j in range(n):
        z[j] = y[j] - first_slope * first[j]
    for p in range(1, last):
        middle_slope = b[p]
        middle = x[p, start : start + n]
        for j in range(n):
            z[j] -= middle_slope * middle[j]
    for j in range(n):
        v = scale * (z[j] - slope * column[j])
        z[j] = v
        a[j] = c - v * v


@_compile()
def _larger(a, b, top):
    for j in range(top.size):
        left = a[j]
        right = b[j]
        top[j] = right if right > left else left


@_compile()
def _exponential(a, top, total, first):
    if first:
        for j in range(top.size):
            e = _exp(a[j] - top[j])
            a[j] = e
            total[j] = e
    else:
        for j in range(top.size):
            e = _exp(a[j] - top[j])
            a[j] = e
            total[j] += e


@_compile()
def _invert(top, total):
    """Turn totals into their inverses; return the sum of top and the product of the totals."""
    t = 0.0
    product = 1.0
    for j in range(top.size):
        t += top[j]
        product *= total[j]
        total[j] = 1.0 / total[j]
    return t, product


@_compile()
def _pair(a0, a1, n):
    """Do what `_weigh` does for K = 2, with one exponential a row; a is divided already."""
    t = 0.0
    product = 1.0
    for j in range(n):
        left = a0[j]
        right = a1[j]
        d = right - left
        e = _exp(-abs(d))
        total = 1.0 + e
        inverse = 1.0 / total
        product *= total
        t += right if d > 0 else left
        r = inverse if d > 0 else e * inverse
        a0[j] = 1.0 - r
        a1[j] = r
    return t, product


@_compile()
def _exponentials(a, top, total):
    """Turn a (K, n) of log densities into exp(a - top), and total into the inverse of their sum."""
    n = top.size
    if a.shape[0] == 1:
        top[:] = a[0, :n]
    else:
        _larger(a[0], a[1], top)
    for k in range(2, a.shape[0]):
        _larger(a[k], top, top)
    for k in range(a.shape[0]):
        _exponential(a[k], top, total, k == 0)
    rows = int(1000 / max(math.log2(a.shape[0]), 1.0))  # so many factors up to K stay finite
    if rows >= n:
        return _invert(top, total)
    t = 0.0
    for start in range(0, n, rows):
        part, product = _invert(top[start : start + rows], total[start : start + rows])
        t += part if part == -np.inf else part + math.log(product)
    return t, 1.0


@_compile()
def _joined(t, product):
    """Return the log-likelihood of a block out of its two parts."""
    # A row that no component can have made: log-likelihood -inf, and no NaN out of inf - inf.
    return t if t == -np.inf else t + math.log(product)


@_compile()
def _weigh(a, top, total):
    """Turn a (K, n) of log densities into responsibilities, but for the factor ``total`` (n,).

    With K = 2 the factor is one and stays as it is. Returns the log-likelihood of the block.
    """
    t, product = _pair(a[0], a[1], top.size) if a.shape[0] == 2 else _exponentials(a, top, total)
    return _joined(t, product)


@_compile()
def _moments(a, factor, z, x):
    """Return the sums of r, r z**2 and r z x with r = a * factor, and turn a into r z."""
    weight = 0.0
    square = 0.0
    cross = 0.0
    for j in range(x.size):
        r = a[j] * factor[j]
        v = r * z[j]
        weight += r
        square += v * z[j]
        cross += v * x[j]
        a[j] = v
    return weight, square, cross


@_compile()
def _dot(a, b):
    out = 0.0
    for j in range(b.size):
        out += a[j] * b[j]
    return out


@_compile()
def _dot3(a, b, c):
    out = 0.0
    for j in range(c.size):
        out += a[j] * b[j] * c[j]
    return out


# Value and gradient ------------------------------------------------------------------------------


@_compile()
def _two_lines(x, y, b0, b1, c0, c1, scale0, scale1):
    """Return all sums of a block for K = 2 and P = 1: nothing leaves the registers."""
    t = 0.0
    product = 1.0
    weight = 0.0
    square0 = 0.0
    square1 = 0.0
    cross0 = 0.0
    cross1 = 0.0
    for j in range(y.size):
        z0 = scale0 * (y[j] - b0 * x[j])
        z1 = scale1 * (y[j] - b1 * x[j])
        a0 = c0 - z0 * z0
        a1 = c1 - z1 * z1
        d = a1 - a0
        e = _exp(-abs(d))
        total = 1.0 + e
        inverse = 1.0 / total
        product *= total
        t += a1 if d > 0 else a0
        r = inverse if d > 0 else e * inverse
        weight += r
        v0 = z0 - r * z0
        v1 = r * z1
        square0 += v0 * z0
        square1 += v1 * z1
        cross0 += v0 * x[j]
        cross1 += v1 * x[j]
    return t, product, weight, square0, square1, cross0, cross1


@_compile()
def gradient(x, y, log_weights, coefficients, sigma):
    """Return the log-likelihood and its derivatives by log_weights, coefficients and log sigma.

    The log weights count as free: their derivatives are the sums of the responsibilities.
    """
    n_components, n_covariates = coefficients.shape
    c, scale = _constants(log_weights, sigma)
    by_weight = np.zeros(n_components)
    by_coefficient = np.zeros((n_components, n_covariates))
    by_scale = np.zeros(n_components)
    value = 0.0
    if n_components == 2 and n_covariates == 1:
        same = _repeated(x, LINES_BLOCK)
        for start in range(0, y.size, LINES_BLOCK):
            yb = y[start : start + LINES_BLOCK]
            xb = same[0, : yb.size] if x.shape[1] == 1 else x[0, start : start + yb.size]
            b0, b1 = coefficients[0, 0], coefficients[1, 0]
            t, product, weight, square0, square1, cross0, cross1 = _two_lines(
                xb, yb, b0, b1, c[0], c[1], scale[0], scale[1]
            )
            value += _joined(t, product)
            by_weight[0] += yb.size - weight
            by_weight[1] += weight
            by_scale[0] += square0
            by_scale[1] += square1
            by_coefficient[0, 0] += cross0
            by_coefficient[1, 0] += cross1
    else:
        same = _repeated(x, BLOCK)
        z = np.empty((n_components, BLOCK))
        a = np.empty((n_components, BLOCK))
        top, total = np.empty(BLOCK), np.ones(BLOCK)
        for start in range(0, y.size, BLOCK):
            yb = y[start : start + BLOCK]
            n = yb.size
            xb, first = (same, 0) if x.shape[1] == 1 else (x, start)
            for k in range(n_components):
                _density(xb, first, yb, coefficients[k], c[k], scale[k], z[k], a[k])
            value += _weigh(a, top[:n], total[:n])
            for k in range(n_components):
                weight, square, cross = _moments(a[k], total, z[k], xb[0, first : first + n])
                by_weight[k] += weight
                by_scale[k] += square
                by_coefficient[k, 0] += cross
                for p in range(1, n_covariates):
                    by_coefficient[k, p] += _dot(a[k], xb[p, first : first + n])
    for k in range(n_components):
        by_scale[k] = 2.0 * by_scale[k] - by_weight[k]
        for p in range(n_covariates):
            by_coefficient[k, p] *= 2.0 * scale[k]
    return value, by_weight, by_coefficient, by_scale


# Value, gradient and Hessian ---------------------------------------------------------------------


@_compile()
def _scores(a, factor, z, x, start, scale, score, weighted):
    """Write the derivatives of one component's log density, row by row, plain and times r.

    Their order is log weight (always 1), coefficients, log sigma, and r = a * factor. Returns the
    sums of r and r z**2.
    """
    n = factor.size
    last = score.shape[0] - 1
    weight = 0.0
    square = 0.0
    by_weight, by_scale, weighted_scale = weighted[0], score[last], weighted[last]
    for j in range(n):
        r = a[j] * factor[j]
        v = z[j] * z[j]
        weight += r
        square += r * v
        by_weight[j] = r
        by_scale[j] = 2.0 * v - 1.0
        weighted_scale[j] = r * (2.0 * v - 1.0)
    for p in range(x.shape[0]):
        column = x[p, start : start + n]
        by_coefficient, weighted_coefficient = score[1 + p], weighted[1 + p]
        for j in range(n):
            v = 2.0 * scale * z[j] * column[j]
            by_coefficient[j] = v
            weighted_coefficient[j] = by_weight[j] * v
    return weight, square


@_compile()
def hessian(x, y, log_weights, coefficients, sigma):
    """Return the log-likelihood, its gradient (D,) and its Hessian (D, D), exact, in one pass.

    The D = K (P + 2) parameters are ordered by component; a component has log weight,
    coefficients, log sigma.
    """
    n_components, n_covariates = coefficients.shape
    size = n_covariates + 2
    n_parameters = n_components * size
    c, scale = _constants(log_weights, sigma)
    same = _repeated(x, BLOCK)
    z = np.empty((n_components, BLOCK))
    a = np.empty((n_components, BLOCK))
    top, total = np.empty(BLOCK), np.ones(BLOCK)
    score = np.ones((n_parameters, BLOCK))
    weighted = np.empty((n_parameters, BLOCK))
    g = np.zeros(n_parameters)
    h = np.zeros((n_parameters, n_parameters))
    value = 0.0
    for start in range(0, y.size, BLOCK):
        yb = y[start : start + BLOCK]
        n = yb.size
        xb, first = (same, 0) if x.shape[1] == 1 else (x, start)
        for k in range(n_components):
            _density(xb, first, yb, coefficients[k], c[k], scale[k], z[k], a[k])
        value += _weigh(a, top[:n], total[:n])
        for k in range(n_components):
            one, last = k * size, (k + 1) * size - 1
            own, own_weighted = score[one : last + 1], weighted[one : last + 1]
            weight, square = _scores(a[k], total[:n], z[k], xb, first, scale[k], own, own_weighted)
            g[one] += weight
            g[last] += 2.0 * square - weight
            # The mean second derivative of the component's log density, ...
            h[last, last] -= 4.0 * square
            for p in range(n_covariates):
                slope = _dot(weighted[one + 1 + p], score[one][:n])
                g[one + 1 + p] += slope
                h[one + 1 + p, last] -= 2.0 * slope
                for q in range(p, n_covariates):
                    h[one + 1 + p, one + 1 + q] -= (
                        2.0
                        * scale[k] ** 2
                        * _dot3(weighted[one], xb[p, first : first + n], xb[q, first : first + n])
                    )
            # ... plus the mean square of its score, ...
            for i in range(one, last + 1):
                for j in range(i, last + 1):
                    h[i, j] += _dot(weighted[i], score[j][:n])
        # ... minus the square of the mean score.
        for i in range(n_parameters):
            for j in range(i, n_parameters):
                h[i, j] -= _dot(weighted[i], weighted[j][:n])
    for i in range(n_parameters):
        for j in range(i):
            h[i, j] = h[j, i]
    return value, g, h


# Values ------------------------------------------------------------------------------------------


@_compile()
def _pair_sum(a0, a1, n):
    """Do what `_exponentials` does for K = 2, with one exponential a row."""
    t = 0.0
    product = 1.0
    for j in range(n):
        left = a0[j]
        right = a1[j]
        product *= 1.0 + _exp(-abs(right - left))
        t += right if right > left else left
    return t, product


@_compile()
def _lines_sum(x, y, b0, b1, c0, c1, scale0, scale1):
    """Do what `_exponentials` does for K = 2 and P = 1: nothing leaves the registers."""
    t = 0.0
    product = 1.0
    for j in range(y.size):
        z0 = scale0 * (y[j] - b0 * x[j])
        z1 = scale1 * (y[j] - b1 * x[j])
        a0 = c0 - z0 * z0
        a1 = c1 - z1 * z1
        d = a1 - a0
        product *= 1.0 + _exp(-abs(d))
        t += a1 if d > 0 else a0
    return t, product


@_compile()
def values(x, y, log_weights, coefficients, sigma):
    """Return the log-likelihood at S points: (S, K), (S, K, P) and (S, K) parameters, in one pass.

    The rows are outside: a block is read from memory once for all points.
    """
    n_points, n_components, n_covariates = coefficients.shape
    c, scale = _constants(log_weights, sigma)
    same = _repeated(x, BLOCK)
    z = np.empty(BLOCK)
    a = np.empty((n_components, BLOCK))
    top, total = np.empty(BLOCK), np.empty(BLOCK)
    out = np.zeros(n_points)
    for start in range(0, y.size, BLOCK):
        yb = y[start : start + BLOCK]
        n = yb.size
        xb, first = (same, 0) if x.shape[1] == 1 else (x, start)
        for s in range(n_points):
            if n_components == 2 and n_covariates == 1:
                b0, b1 = coefficients[s, 0, 0], coefficients[s, 1, 0]
                t, product = _lines_sum(
                    xb[0, first : first + n], yb, b0, b1, c[s, 0], c[s, 1], scale[s, 0], scale[s, 1]
                )
            else:
                for k in range(n_components):
                    _density(xb, first, yb, coefficients[s, k], c[s, k], scale[s, k], z, a[k])
                if n_components == 2:
                    t, product = _pair_sum(a[0], a[1], n)
                else:
                    t, product = _exponentials(a, top[:n], total[:n])
            out[s] += _joined(t, product)
    return out


@_compile()
def log_density(x, y, log_weights, coefficients, sigma):
    """Return the log density of each row."""
    n_components = coefficients.shape[0]
    c, scale = _constants(log_weights, sigma)
    same = _repeated(x, BLOCK)
    z = np.empty(BLOCK)
    a = np.empty((n_components, BLOCK))
    top, total = np.empty(BLOCK), np.empty(BLOCK)
    out = np.empty(y.size)
    for start in range(0, y.size, BLOCK):
        yb = y[start : start + BLOCK]
        n = yb.size
        xb, first = (same, 0) if x.shape[1] == 1 else (x, start)
        for k in range(n_components):
            _density(xb, first, yb, coefficients[k], c[k], scale[k], z, a[k])
        _exponentials(a, top[:n], total[:n])
        for j in range(n):
            out[start + j] = -np.inf if top[j] == -np.inf else top[j] - math.log(total[j])
    return out


# Rows that belong to one component for certain -----------------------------------------------


@_compile()
def _bounds(x, start, y, b, half, c, slack, scale, growth, low, high):
    """Write bounds of one component's log density over a box of parameters."""
    inner, outer = (scale / growth) ** 2, (scale * growth) ** 2
    for j in range(y.size):
        u = y[j]
        reach = 0.0
        for p in range(b.size):
            u -= b[p] * x[p, start + j]
            reach += half[p] * abs(x[p, start + j])
        u = abs(u)
        far = u + reach
        near = u - reach
        near = near if near > 0.0 else 0.0
        low[j] = c - slack - outer * far * far
        high[j] = c + slack - inner * near * near


@_compile()
def settle(x, y, log_weights, coefficients, sigma, by_weight, by_coefficient, by_scale, margin):
    """Replace the rows that one component has made for certain by their sufficient statistics.

    The box holds the points whose log weights, coefficients and log sigmas are within ``by_weight``
    (K,), ``by_coefficient`` (K, P) and ``by_scale`` (K,) of the centre. A row is settled on a
    component whose log density exceeds that of every other by more than ``margin``, whatever the
    points of the box. Returns, for each component, the number of its settled rows, and their sums
    of x x' (P, P), of x u (P,) and of u**2, where u is the residual at the centre; then the x and y
    of the other rows.
    """
    n_components, n_covariates = coefficients.shape
    c, scale = _constants(log_weights, sigma)
    same = _repeated(x, BLOCK)
    low = np.empty((n_components, BLOCK))
    high = np.empty((n_components, BLOCK))
    owner = np.empty(BLOCK, np.int64)
    gap = np.empty(BLOCK)
    n_rows = np.zeros(n_components)
    xx = np.zeros((n_components, n_covariates, n_covariates))
    xu = np.zeros((n_components, n_covariates))
    uu = np.zeros(n_components)
    # Sums of a block are added to the sums of all: the error does not grow with the rows.
    block_xx, block_xu, block_uu = np.zeros_like(xx), np.zeros_like(xu), np.zeros_like(uu)
    left_x, left_y = np.empty((n_covariates, y.size)), np.empty(y.size)
    n_left = 0
    for start in range(0, y.size, BLOCK):
        yb = y[start : start + BLOCK]
        n = yb.size
        xb, first = (same, 0) if x.shape[1] == 1 else (x, start)
        for k in range(n_components):
            slack = by_weight[k] + by_scale[k]
            growth = math.exp(by_scale[k])
            _bounds(
                xb, first, yb, coefficients[k], by_coefficient[k], c[k], slack, scale[k], growth,
                low[k], high[k],
            )  # fmt: skip
        for j in range(n):
            best = 0
            for k in range(1, n_components):
                if low[k, j] > low[best, j]:
                    best = k
            rival = -np.inf
            for k in range(n_components):
                if k != best and high[k, j] > rival:
                    rival = high[k, j]
            owner[j] = best
            gap[j] = low[best, j] - rival
        block_xx[:] = 0.0
        block_xu[:] = 0.0
        block_uu[:] = 0.0
        for j in range(n):
            if not gap[j] > margin:
                for p in range(n_covariates):
                    left_x[p, n_left] = xb[p, first + j]
                left_y[n_left] = yb[j]
                n_left += 1
                continue
            k = owner[j]
            u = yb[j]
            for p in range(n_covariates):
                u -= coefficients[k, p] * xb[p, first + j]
            n_rows[k] += 1.0
            block_uu[k] += u * u
            for p in range(n_covariates):
                block_xu[k, p] += xb[p, first + j] * u
                for q in range(n_covariates):
                    block_xx[k, p, q] += xb[p, first + j] * xb[q, first + j]
        xx += block_xx
        xu += block_xu
        uu += block_uu
    return n_rows, xx, xu, uu, left_x[:, :n_left].copy(), left_y[:n_left].copy()


# For code that calls a kernel by its address ------------------------------------------------------

_POINTER = types.CPointer(types.float64)
# x, y, log_weights, coefficients, sigma, out; columns of x, N, P, K.
ENTRY = types.void(*[_POINTER] * 6, *[types.int64] * 4)


def gradient_entry(x, y, log_weights, coefficients, sigma, out, n_columns, n_rows, p, k):
    """Write what `gradient` returns into 1 + K (P + 2) numbers."""
    value, by_weight, by_coefficient, by_scale = gradient(
        numba.carray(x, (p, n_columns)),
        numba.carray(y, (n_rows,)),
        numba.carray(log_weights, (k,)),
        numba.carray(coefficients, (k, p)),
        numba.carray(sigma, (k,)),
    )
    results = numba.carray(out, (1 + k * (p + 2),))
    results[0] = value
    results[1 : 1 + k] = by_weight
    results[1 + k : 1 + k + k * p] = by_coefficient.ravel()
    results[1 + k + k * p :] = by_scale


def log_density_entry(x, y, log_weights, coefficients, sigma, out, n_columns, n_rows, p, k):
    """Write what `log_density` returns into N numbers."""
    results = numba.carray(out, (n_rows,))
    results[:] = log_density(
        numba.carray(x, (p, n_columns)),
        numba.carray(y, (n_rows,)),
        numba.carray(log_weights, (k,)),
        numba.carray(coefficients, (k, p)),
        numba.carray(sigma, (k,)),
    )


def compile_entry(function):
    """Return a function with a C signature, cached on disk where some directory can be written."""
    try:
        return numba.cfunc(ENTRY, cache=True)(function)
    except RuntimeError:
        return numba.cfunc(ENTRY)(function)
