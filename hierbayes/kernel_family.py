r"""Log density of a response and its derivatives, row by row, for every family with a Laplace approximation.

``ℓ(η)`` is the log density of a response y as a function of the linear predictor η, offset included, and of further
("auxiliary") parameters. The mode of the random effects needs ℓ' and ℓ'', the gradient of a Laplace approximation
ℓ''' too, and of every auxiliary parameter ψ the derivatives ∂ℓ/∂ψ, ∂ℓ'/∂ψ, ∂ℓ''/∂ψ. Positive auxiliary parameters
count as logarithms, ψ = log a; thresholds as they are.

===================  ==========================  ======================  =====================================
family               density of y                links                   auxiliary
===================  ==========================  ======================  =====================================
bernoulli, binomial  Binomial(N, p)              logit, probit, cloglog
poisson              Poisson(μ)                  log
negativebinomial     variance μ + μ²/α           log                     alpha
gamma, exponential   shape α, mean μ             log, inverse            alpha (1 for the exponential)
beta                 Beta(μκ, (1 - μ)κ)          logit                   kappa
gaussian             variance σ²/w               identity, log           sigma
t                    location μ, scale σ, ν      identity                sigma, nu
cumulative           P(y ≤ k) = F(τ_k - η)       logit, probit           threshold (τ_1 < τ_2 < …)
===================  ==========================  ======================  =====================================

Derivatives in η of an expression in μ follow from those in μ and those of the inverse link m:

    ℓ' = f'm',    ℓ'' = f''m'² + f'm'',    ℓ''' = f'''m'³ + 3f''m'm'' + f'm'''

Canonical links, and others where that would lose digits far from zero, have formulas of their own. What depends on
the data alone (binomial coefficients, factorials) is in `constants`, not in the compiled loops.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from scipy.special import gammaln, ndtr

from hierbayes.kernel_polygamma import digamma, polygamma, rise_of_digamma, rise_of_lgamma

BINOMIAL, POISSON, NEGATIVE_BINOMIAL, GAMMA, BETA, GAUSSIAN, STUDENT, CUMULATIVE = range(8)
IDENTITY, LOG, LOGIT, PROBIT, CLOGLOG, INVERSE = range(6)

KINDS = {
    "bernoulli": BINOMIAL, "binomial": BINOMIAL, "poisson": POISSON, "negativebinomial": NEGATIVE_BINOMIAL,
    "gamma": GAMMA, "exponential": GAMMA, "beta": BETA, "gaussian": GAUSSIAN, "t": STUDENT, "cumulative": CUMULATIVE,
}  # fmt: skip
"""Bambi's name of a family → its density."""
LINKS = {
    "identity": IDENTITY, "log": LOG, "logit": LOGIT, "probit": PROBIT, "cloglog": CLOGLOG, "inverse": INVERSE,
    "inverse_power": INVERSE,
}  # fmt: skip
ALLOWED = {
    BINOMIAL: (LOGIT, PROBIT, CLOGLOG), POISSON: (LOG,), NEGATIVE_BINOMIAL: (LOG,), GAMMA: (LOG, INVERSE),
    BETA: (LOGIT,), GAUSSIAN: (IDENTITY, LOG), STUDENT: (IDENTITY,), CUMULATIVE: (LOGIT, PROBIT),
}  # fmt: skip
"""Links of each density."""

ROOT_TWO = math.sqrt(2.0)
LOG_ROOT_TWO_PI = 0.5 * math.log(2.0 * math.pi)
TINY = 1e-300
FAR = -30.0
"""Below this the normal distribution function is taken from its asymptotic series."""


def constants(kind: int, y: np.ndarray, size: np.ndarray) -> np.ndarray:
    """The part of each log density that depends on the data alone, left out by `derivatives`.

    Parameters
    ----------
    kind : int
    y, size : (n,) arrays
        As in `derivatives`.

    Returns
    -------
    (n,) array

    Examples
    --------
    >>> constants(BINOMIAL, np.array([2.0]), np.array([4.0])).round(6)  # log 6
    array([1.791759])
    """
    if kind == BINOMIAL:
        found = gammaln(size + 1.0) - gammaln(y + 1.0) - gammaln(size - y + 1.0)
    elif kind in (POISSON, NEGATIVE_BINOMIAL):
        found = -gammaln(y + 1.0)
    elif kind == GAMMA:
        found = -np.log(y)
    elif kind == GAUSSIAN:
        found = 0.5 * np.log(size) - LOG_ROOT_TWO_PI
    else:
        found = np.zeros(len(y))
    return np.asarray(found)


def inverse_link(link: int, eta: np.ndarray) -> np.ndarray:
    """The parent parameter (a mean or a probability) at a linear predictor.

    Examples
    --------
    >>> inverse_link(LOGIT, np.array([0.0, 1000.0]))
    array([0.5, 1. ])
    """
    if link == LOG:
        return np.exp(eta)
    if link == LOGIT:
        return 0.5 * (1.0 + np.tanh(0.5 * eta))
    if link == PROBIT:
        return np.asarray(ndtr(eta))
    if link == CLOGLOG:
        return -np.expm1(-np.exp(np.minimum(eta, 500.0)))
    return 1.0 / eta if link == INVERSE else eta


@njit(cache=True, nogil=True, error_model="numpy")
def softplus(x: float) -> float:
    """log(1 + eˣ)."""
    return x + math.log1p(math.exp(-x)) if x > 0.0 else math.log1p(math.exp(x))


@njit(cache=True, nogil=True, error_model="numpy")
def sigmoid(x: float) -> float:
    """1/(1 + e⁻ˣ)."""
    if x >= 0.0:
        return 1.0 / (1.0 + math.exp(-x))
    z = math.exp(x)
    return z / (1.0 + z)


@njit(cache=True, nogil=True, error_model="numpy")
def log_normal(x: float) -> float:
    """Log Φ(x)."""
    if x > 0.0:
        return math.log1p(-0.5 * math.erfc(x / ROOT_TWO))
    if x > FAR:
        return math.log(0.5 * math.erfc(-x / ROOT_TWO))
    s = 1.0 / (x * x)
    series = 1.0 - s * (1.0 - 3.0 * s * (1.0 - 5.0 * s * (1.0 - 7.0 * s * (1.0 - 9.0 * s * (1.0 - 11.0 * s)))))
    return -0.5 * x * x - LOG_ROOT_TWO_PI - math.log(-x) + math.log(series)


@njit(cache=True, nogil=True, error_model="numpy")
def _add_log_probability(link: int, eta: float, times: float, sign: float, out: np.ndarray) -> None:
    """Add `times` log F(eta) (`sign` 1) or `times` log(1 - F(eta)) (`sign` -1) and its derivatives to `out`."""
    if link == PROBIT:
        x = sign * eta
        value = log_normal(x)
        r = math.exp(-0.5 * x * x - LOG_ROOT_TWO_PI - value)
        z = x + r
        out[0] += times * value
        out[1] += times * sign * r
        out[2] -= times * r * z
        out[3] += times * sign * r * (z * z - 1.0 + r * z)
        return
    eta = min(eta, 500.0)
    m = math.exp(eta)
    if sign < 0.0:
        for order in range(4):
            out[order] -= times * m
        return
    if m < 1e-8:
        value, k = eta - 0.5 * m, 1.0 - 0.5 * m
    else:
        value, k = math.log(-math.expm1(-m)), m / math.expm1(m)
    bend = 1.0 - m - k
    out[0] += times * value
    out[1] += times * k
    out[2] += times * k * bend
    out[3] += times * (k * bend * bend - k * (m + k * bend))


@njit(cache=True, nogil=True, error_model="numpy")
def _binomial(link: int, y: float, size: float, eta: float, out: np.ndarray) -> None:
    if link == LOGIT:
        p = sigmoid(eta)
        spread = size * p * sigmoid(-eta)
        out[0] = y * eta - size * softplus(eta)
        out[1] = y * sigmoid(-eta) - (size - y) * p
        out[2] = -spread
        out[3] = -spread * (1.0 - 2.0 * p)
        return
    for order in range(4):
        out[order] = 0.0
    if y > 0.0:
        _add_log_probability(link, eta, y, 1.0, out)
    if size > y:
        _add_log_probability(link, eta, size - y, -1.0, out)


@njit(cache=True, nogil=True, error_model="numpy")
def _negative_binomial(y: float, eta: float, alpha: float, out: np.ndarray) -> None:
    z = eta - math.log(alpha)
    t = sigmoid(z)
    both = y + alpha
    spread = t * sigmoid(-z)
    bent = spread * (1.0 - 2.0 * t)
    more = softplus(z)
    out[0] = rise_of_lgamma(alpha, y) + y * z - both * more
    out[1] = y * sigmoid(-z) - alpha * t
    out[2] = -both * spread
    out[3] = -both * bent
    if out.size > 4:
        out[4] = alpha * (rise_of_digamma(alpha, y) - more) - out[1]
        out[5] = -alpha * t + both * spread
        out[6] = -alpha * spread + both * bent


@njit(cache=True, nogil=True, error_model="numpy")
def _gamma(link: int, y: float, eta: float, alpha: float, out: np.ndarray) -> None:
    if link == LOG:
        r = y * math.exp(-eta)
        middle = math.log(y) - eta - r
        out[1], out[2], out[3] = alpha * (r - 1.0), -alpha * r, alpha * r
    elif eta > 0.0:
        middle = math.log(y) + math.log(eta) - y * eta
        out[1], out[2], out[3] = alpha * (1.0 / eta - y), -alpha / eta**2, 2.0 * alpha / eta**3
    else:  # no such mean
        middle = -math.inf
        out[1] = out[2] = out[3] = 0.0
    out[0] = alpha * math.log(alpha) - math.lgamma(alpha) + alpha * middle
    if out.size > 4:
        out[4] = alpha * (math.log(alpha) + 1.0 - digamma(alpha) + middle)
        out[5], out[6] = out[1], out[2]


@njit(cache=True, nogil=True, error_model="numpy")
def _compose(link: int, eta: float, out: np.ndarray) -> None:
    """Turn derivatives with respect to the mean into those with respect to η."""
    if link == IDENTITY:
        return
    if link == LOG:
        first = math.exp(eta)
        second = third = first
    else:
        p = sigmoid(eta)
        first = p * sigmoid(-eta)
        second = first * (1.0 - 2.0 * p)
        third = first * (1.0 - 6.0 * first)
    out[3] = out[3] * first**3 + 3.0 * out[2] * first * second + out[1] * third
    out[2] = out[2] * first**2 + out[1] * second
    out[1] *= first
    for at in range(4, out.size, 3):
        out[at + 2] = out[at + 2] * first**2 + out[at + 1] * second
        out[at + 1] *= first


@njit(cache=True, nogil=True, error_model="numpy")
def _beta(y: float, eta: float, kappa: float, out: np.ndarray) -> None:
    p, q = sigmoid(eta), sigmoid(-eta)
    a, b = max(p * kappa, TINY), max(q * kappa, TINY)
    at_a, at_b = np.empty(3), np.empty(3)
    polygamma(a, at_a)
    polygamma(b, at_b)
    high, low = math.log(y), math.log1p(-y)
    out[0] = math.lgamma(kappa) - math.lgamma(a) - math.lgamma(b) + (a - 1.0) * high + (b - 1.0) * low
    out[1] = kappa * (high - low - at_a[0] + at_b[0])
    out[2] = -(kappa**2) * (at_a[1] + at_b[1])
    out[3] = -(kappa**3) * (at_a[2] - at_b[2])
    if out.size > 4:
        out[4] = kappa * (digamma(kappa) + p * (high - at_a[0]) + q * (low - at_b[0]))
        out[5] = out[1] - kappa * (a * at_a[1] - b * at_b[1])
        out[6] = 2.0 * out[2] - kappa**2 * (a * at_a[2] + b * at_b[2])


@njit(cache=True, nogil=True, error_model="numpy")
def _gaussian(link: int, y: float, size: float, eta: float, sigma: float, out: np.ndarray) -> None:
    precision = size / sigma**2
    r = y - (math.exp(eta) if link == LOG else eta)
    square = precision * r * r
    out[0] = -math.log(sigma) - 0.5 * square
    out[1], out[2], out[3] = precision * r, -precision, 0.0
    if out.size > 4:
        out[4], out[5], out[6] = square - 1.0, -2.0 * out[1], -2.0 * out[2]


@njit(cache=True, nogil=True, error_model="numpy")
def _student(y: float, eta: float, sigma: float, nu: float, out: np.ndarray) -> None:
    r = (y - eta) / sigma
    total = nu + r * r
    tail = math.log1p(r * r / nu)
    more = nu + 1.0
    q = r / total
    slope = (nu - r * r) / total**2
    bend = 2.0 * r * (r * r - 3.0 * nu) / total**3
    out[0] = rise_of_lgamma(0.5 * nu, 0.5) - 0.5 * math.log(math.pi * nu) - math.log(sigma) - 0.5 * more * tail
    out[1], out[2], out[3] = more * q / sigma, -more * slope / sigma**2, more * bend / sigma**3
    if out.size > 4:
        out[4] = more * r * q - 1.0
        out[5] = -out[1] - more * slope * r / sigma
        out[6] = -2.0 * out[2] + more * bend * r / sigma**2
    if out.size > 7:
        out[7] = 0.5 * (nu * (rise_of_digamma(0.5 * nu, 0.5) - tail) - 1.0 + more * r * q)
        out[8] = nu * r * (r * r - 1.0) / (sigma * total**2)
        out[9] = -nu * (slope + more * (3.0 * r * r - nu) / total**3) / sigma**2


@njit(cache=True, nogil=True, error_model="numpy")
def _lower_tail(link: int, x: float) -> tuple[float, float, float, float]:
    """F(x), and its derivatives f, f', f''."""
    if link == LOGIT:
        p = sigmoid(x)
        f = p * sigmoid(-x)
        return p, f, f * (1.0 - 2.0 * p), f * (1.0 - 6.0 * f)
    f = math.exp(-0.5 * x * x - LOG_ROOT_TWO_PI)
    return 0.5 * math.erfc(-x / ROOT_TWO), f, -x * f, (x * x - 1.0) * f


@njit(cache=True, nogil=True, error_model="numpy")
def _cumulative(link: int, y: float, eta: float, thresholds: np.ndarray, out: np.ndarray) -> None:
    """Category y of the distribution F between two thresholds; both tails are computed as lower ones."""
    k = int(y)
    a = thresholds[k] - eta if k < thresholds.size else math.inf
    b = thresholds[k - 1] - eta if k > 0 else -math.inf
    upper = (0.0, 0.0, 0.0, 0.0)
    lower = (0.0, 0.0, 0.0, 0.0)
    mirrored = b > 0.0 or (k == thresholds.size)
    sign = -1.0 if mirrored else 1.0
    if k < thresholds.size:
        upper = _lower_tail(link, sign * a)
    if k > 0:
        lower = _lower_tail(link, sign * b)
    P = max(sign * (upper[0] - lower[0]), TINY)
    # f is even, f' odd, f'' even
    one = -(upper[1] - lower[1]) / P
    two = sign * (upper[2] - lower[2]) / P
    three = -(upper[3] - lower[3]) / P
    out[0] = math.log(P)
    out[1] = one
    out[2] = two - one * one
    out[3] = three - 3.0 * two * one + 2.0 * one**3
    for at in range(4, out.size):
        out[at] = 0.0
    if out.size > 4:
        for j in (k - 1, k):
            if j < 0 or j >= thresholds.size:
                continue
            tail, up = (upper, 1.0) if j == k else (lower, -1.0)
            at = 4 + 3 * j
            value = up * tail[1] / P
            first = -up * sign * tail[2] / P - one * value
            out[at] = value
            out[at + 1] = first
            out[at + 2] = up * tail[3] / P - two * value - 2.0 * one * first


@njit(cache=True, nogil=True, error_model="numpy")
def derivatives(
    kind: int, link: int, y: float, size: float, eta: float, auxiliary: np.ndarray, out: np.ndarray
) -> None:
    """Write the log density of one response and its derivatives.

    Parameters
    ----------
    kind, link : int
        Values of `KINDS` and `LINKS`, a pair of `ALLOWED`.
    y : float
        Response: successes, a count, a number, or the category from 0.
    size : float
        Trials of a binomial, precision weight of a Gaussian response, otherwise not used.
    eta : float
    auxiliary : array
        The auxiliary parameters, on their natural scale.
    out : (4 + 3 k,) array
        ℓ, ℓ', ℓ'', ℓ''' and, for the first k auxiliary parameters, ∂ℓ/∂ψ, ∂ℓ'/∂ψ, ∂ℓ''/∂ψ.
    """
    if kind == BINOMIAL:
        _binomial(link, y, size, eta, out)
    elif kind == POISSON:
        mean = math.exp(eta)
        out[0], out[1], out[2], out[3] = y * eta - mean, y - mean, -mean, -mean
    elif kind == NEGATIVE_BINOMIAL:
        _negative_binomial(y, eta, auxiliary[0], out)
    elif kind == GAMMA:
        _gamma(link, y, eta, auxiliary[0], out)
    elif kind == CUMULATIVE:
        _cumulative(link, y, eta, auxiliary, out)
    else:
        if kind == BETA:
            _beta(y, eta, auxiliary[0], out)
        elif kind == GAUSSIAN:
            _gaussian(link, y, size, eta, auxiliary[0], out)
        else:
            _student(y, eta, auxiliary[0], auxiliary[1], out)
        _compose(link, eta, out)
