"""The posterior law of one parameter, from weighted nodes of θ.

Given the variance parameters θ every fixed effect is Gaussian, so that its posterior is a mixture over the nodes,
``P(β ≤ b) = Σ w_k Φ((b - m_k) / √v_k)``. A function of θ has its quantiles from the lattice, or from the weighted
nodes themselves.
"""

from __future__ import annotations

import math
from typing import Protocol

import numpy as np
from scipy import optimize, special

from hierbayes import names
from hierbayes.covariance import INSIDE
from hierbayes.estimates import FIXED
from hierbayes.evidence.nodes import CHUNK, Nodes
from hierbayes.evidence.quadrature import Quadrature
from hierbayes.marginal import Marginal
from hierbayes.study.truth import Key
from hierbayes.threads import parts

SCALE = special.ndtr(np.linspace(-6.0, 6.0, 1201))
"""Probabilities at which a law is tabled."""


class Law(Protocol):
    """The posterior of one parameter."""

    mean: float
    sd: float

    def below(self, value: float) -> float:
        """Probability of at most this value."""

    def quantile(self, probability: float) -> float:
        """Inverse of `below`."""


class Mixture:
    """A mixture of Normal laws.

    Parameters
    ----------
    means, sds, weights : (n,) arrays
        Weights in sum 1.
    """

    def __init__(self, means: np.ndarray, sds: np.ndarray, weights: np.ndarray) -> None:
        self.means, self.sds, self.weights = means, sds, weights
        self.mean = float(weights @ means)
        self.sd = math.sqrt(float(weights @ (sds**2 + (means - self.mean) ** 2)))

    def below(self, value: float) -> float:
        """Probability of at most this value."""
        return float(self.weights @ special.ndtr((value - self.means) / self.sds))

    def quantile(self, probability: float) -> float:
        """Inverse of `below`."""
        ends = self.means + self.sds * special.ndtri(probability)
        low, high = float(ends.min()), float(ends.max())
        margin = 1e-9 * (self.sd + high - low)
        return float(optimize.brentq(lambda b: self.below(b) - probability, low - margin, high + margin))


class Tabled:
    """A law by quantiles.

    Parameters
    ----------
    mean, sd : float
    probabilities, quantiles : (n,) arrays
        Both increasing.
    """

    def __init__(self, mean: float, sd: float, probabilities: np.ndarray, quantiles: np.ndarray) -> None:
        self.mean, self.sd = mean, sd
        self.probabilities, self.quantiles = probabilities, quantiles

    def below(self, value: float) -> float:
        """Probability of at most this value."""
        return float(np.interp(value, self.quantiles, self.probabilities, 0.0, 1.0))

    def quantile(self, probability: float) -> float:
        """Inverse of `below`."""
        return float(np.interp(probability, self.probabilities, self.quantiles))


def on_lattice(exact: Quadrature, key: Key) -> Law:
    """The law of a parameter from a quadrature."""
    values = exact.parameters[key].to_numpy()
    if key[0] == FIXED:
        sds = _sds(exact, key)
        if (sds > 0.0).all():
            return Mixture(values, sds, exact.weights)
    mean = float(exact.weights @ values)
    sd = math.sqrt(float(exact.weights @ (values - mean) ** 2))
    if key[0] == FIXED:
        return Tabled(mean, sd, SCALE, exact.lattice.quantiles(values, SCALE))
    if key[2].startswith("corr(") or key[2] == names.RHO:
        z = np.arctanh(values.clip(-INSIDE, INSIDE))
        return Tabled(mean, sd, SCALE, np.tanh(exact.lattice.quantiles(z, SCALE)))
    return Tabled(mean, sd, SCALE, np.exp(exact.lattice.quantiles(np.log(values), SCALE)))


def of_nodes(marginal: Marginal, thetas: np.ndarray, weights: np.ndarray, key: Key) -> Law:
    """The law of a parameter from weighted points."""
    values, sds = [], []
    for part in parts(len(thetas), CHUNK):
        nodes = Nodes(marginal, thetas[part], weights[part])
        values.append(nodes.parameters[key].to_numpy())
        sds.append(_sds(nodes, key) if key[0] == FIXED else np.zeros(len(values[-1])))
    value, sd = np.concatenate(values), np.concatenate(sds)
    if (sd > 0.0).all():
        return Mixture(value, sd, weights)
    mean = float(weights @ value)
    order = np.argsort(value, kind="stable")
    middle = np.cumsum(weights[order]) - 0.5 * weights[order]
    return Tabled(mean, math.sqrt(float(weights @ (value - mean) ** 2)), middle, value[order])


def _sds(nodes: Nodes, key: Key) -> np.ndarray:
    """Standard deviations of a fixed effect given θ, 0 where θ determines it."""
    sds: np.ndarray = nodes.fixef_given[1][:, nodes.marginal.design.labels.index(key[2])]
    return sds
