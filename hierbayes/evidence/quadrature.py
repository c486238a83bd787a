r"""The posterior without a sampler: fixed and random effects integrated analytically, θ by quadrature.

With few variance parameters the posterior is a sum over a lattice of θ on the unconstrained scale
(`hierbayes.evidence.lattice`), with the density that NUTS samples. Given θ the fixed effects are Gaussian, so that

    E β = Σ w_k m_k,    Var β = Σ w_k (v_k + m_k²) - (E β)²,    P(β ≤ b) = Σ w_k Φ((b - m_k) / √v_k)

with the weights w of the nodes; the sum of the densities is the marginal likelihood. Nothing is random, the
error is known, and none of it uses a draw: an independent check of the sampler, and smooth answers far out in
the tails.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
from scipy import optimize, special

from hierbayes import display, names
from hierbayes.covariance import INSIDE
from hierbayes.errors import HierbayesError
from hierbayes.estimates import FIXED, RESIDUAL, TIDY, VARIANCE, checked, estimates, variance_rows
from hierbayes.evidence.lattice import Lattice, NotIntegrableError, integrate
from hierbayes.evidence.nodes import Nodes
from hierbayes.evidence.surface import Surface, surface
from hierbayes.marginal import Marginal
from hierbayes.priors import Priors

DIMENSIONS = 6
"""Entries of θ, at most."""
NEGLIGIBLE = 1e-13
"""Nodes with a weight below this fraction of the largest count in the integral only."""


@dataclass(frozen=True, eq=False, repr=False)
class Quadrature(Nodes):
    """A posterior as a weighted sum over nodes.

    Made by `hierbayes.Model.quadrature` and `hierbayes.Fit.quadrature`.

    Attributes
    ----------
    thetas : (nodes, dim) array
        Standard deviations, partial correlations, σ, place of the residual correlation in its range, and
        fixed effects that cannot be integrated out, in the order of `Marginal.places`.
    weights : (nodes,) array
        Their posterior probabilities, in sum 1.
    log_integral : float
        Logarithm of the integral of likelihood times prior: the log marginal likelihood if all priors are
        proper.
    error : float
        Of `log_integral`, absolute; the probabilities of the posterior are as accurate, relatively.
    mean, sd : pandas.Series
        Of every row of `tidy`, by (effect, group, term).
    """

    marginal: Marginal
    surface: Surface
    lattice: Lattice

    @property
    def log_integral(self) -> float:
        """Logarithm of the integral of likelihood times prior."""
        return self.lattice.log_integral

    @property
    def error(self) -> float:
        """Absolute error of `log_integral`."""
        return self.lattice.error

    @property
    def weights(self) -> np.ndarray:
        """(nodes,) probabilities."""
        return self.lattice.weights

    @cached_property
    def thetas(self) -> np.ndarray:
        """(nodes, dim) array: θ of every node."""
        return self.surface.constrain(self.lattice.nodes)

    def quantiles(self, probabilities: list[float] | tuple[float, ...] = (0.025, 0.5, 0.975)) -> pd.DataFrame:
        """Posterior quantiles.

        Parameters
        ----------
        probabilities : sequence of float

        Returns
        -------
        pandas.DataFrame
            One row a parameter, labelled (effect, group, term), one column a probability.

        Raises
        ------
        ValueError
            If a probability is not between 0 and 1.

        Examples
        --------
        >>> import hierbayes as hb
        >>> exact = hb.Model("Yield ~ 1 + (1 | Batch)", hb.load_data("Dyestuff2")).quadrature()
        >>> exact.quantiles([0.05, 0.5]).round(2).loc[("ran_pars", "Batch", "sd(Intercept)")].tolist()
        [0.08, 0.87]
        """
        wanted = np.array([checked(probability) for probability in probabilities])
        marginal, lattice = self.marginal, self.lattice
        own = np.column_stack([lattice.quantiles(x, wanted) for x in lattice.nodes.T])
        theta = self.surface.constrain(own)
        places = marginal.places
        found: dict[tuple, np.ndarray] = {}
        plain = (marginal.centering == np.eye(marginal.moments.p)).all(axis=1)
        for j, label in enumerate(marginal.design.labels):
            mean, sd = (part[:, j] for part in self.fixef_given)
            if (sd > 0.0).all():
                found[FIXED, "", label] = _mixture_quantiles(mean, sd, self.weights, wanted)
            elif plain[j]:
                found[FIXED, "", label] = theta[:, places.kept + int(marginal.kept[:j].sum())]
            else:
                found[FIXED, "", label] = lattice.quantiles(mean, wanted)
        for group, term, i, j in variance_rows(marginal.design):
            key = VARIANCE, group, term
            if i == j:
                found[key] = theta[:, i]
            else:
                z = np.arctanh(self.parameters[key].to_numpy().clip(-INSIDE, INSIDE))
                found[key] = np.tanh(lattice.quantiles(z, wanted))
        if places.sigma is not None:
            found[VARIANCE, RESIDUAL, names.SIGMA] = theta[:, places.sigma]
        if places.rho is not None:
            found[VARIANCE, RESIDUAL, names.RHO] = marginal.rho(theta[:, places.rho])
        return pd.DataFrame(found, index=wanted).T

    def tidy(self, conf_level: float = 0.95) -> pd.DataFrame:
        """Posterior means, standard deviations and equal-tailed intervals as one table.

        Parameters
        ----------
        conf_level : float, default 0.95

        Returns
        -------
        pandas.DataFrame
            The rows and columns of `Fit.tidy`; statistic, df and p_value are NaN.
        """
        tail = 0.5 - 0.5 * checked(conf_level)
        ends = self.quantiles([tail, 1.0 - tail]).to_numpy()
        rows = [
            (effect, np.nan if effect == FIXED else group, term, mean, sd, *[np.nan] * 3, low, high)
            for (effect, group, term), mean, sd, (low, high) in zip(
                self.mean.index, self.mean, self.sd, ends, strict=True
            )
        ]
        return pd.DataFrame(rows, columns=TIDY)

    def _repr_html_(self) -> str:
        known = {
            "nodes": len(self.weights),
            "dimensions": self.lattice.nodes.shape[1],
            "log integral": f"{self.log_integral:.3f}",
            "relative error": f"{self.error:.1g}",
        }
        table = estimates(self.tidy(), "Posterior means, standard deviations and 95% equal-tailed intervals")
        formula = self.marginal.design.formula
        return display.document("Posterior by quadrature", display.facts(known), table, formula=formula)

    def __repr__(self) -> str:
        lines = [
            f"Posterior of {self.marginal.design.formula} by quadrature",
            f"{len(self.weights)} nodes in {self.lattice.nodes.shape[1]} dimensions, relative error {self.error:.1g}",
            self.tidy()[["group", "term", "estimate", "std_error", "conf_low", "conf_high"]].to_string(
                index=False, na_rep="", float_format=lambda v: f"{v:.4g}"
            ),
        ]
        return "\n".join(lines)


def quadrature(marginal: Marginal, priors: Priors, tolerance: float = 1e-6) -> Quadrature:
    """Integrate a posterior deterministically.

    Parameters
    ----------
    marginal : Marginal
    priors : Priors
    tolerance : float
        Wanted relative error of the integral; `Quadrature.error` says what was reached.

    Returns
    -------
    Quadrature

    Raises
    ------
    HierbayesError
        If there are more than `DIMENSIONS` variance parameters, or the posterior does not fall off.
    ValueError
        If the tolerance is not positive.
    """
    if not tolerance > 0.0:
        raise ValueError(f"the tolerance must be positive, not {tolerance!r}")
    formula = marginal.design.formula
    if marginal.dim > DIMENSIONS:
        raise HierbayesError(
            f"Quadrature is for at most {DIMENSIONS} parameters beside the Gaussian ones, but {formula!r} has "
            f"{marginal.dim}; sample it with fit()."
        )
    shape = surface(marginal, priors)
    try:
        lattice = integrate(shape.values, *shape.modes(), tolerance)
    except NotIntegrableError:
        raise HierbayesError(
            f"The posterior of {formula!r} is too spread out for quadrature; give flat priors a scale, or sample it "
            "with fit()."
        ) from None
    counted = lattice.weights > NEGLIGIBLE * lattice.weights.max()
    weights = lattice.weights[counted] / lattice.weights[counted].sum()
    kept = Lattice(lattice.nodes[counted], weights, lattice.log_integral, lattice.error, lattice.cell)
    return Quadrature(marginal, shape, kept)


def _mixture_quantiles(mean: np.ndarray, sd: np.ndarray, weights: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Quantiles of a mixture of Normal laws."""
    z = special.ndtri(wanted)[:, None]
    ends = mean + sd * z
    return np.array(
        [
            optimize.brentq(
                lambda b, probability=probability: weights @ special.ndtr((b - mean) / sd) - probability, low, high
            )
            for probability, low, high in zip(wanted, ends.min(axis=1) - 1e-9, ends.max(axis=1) + 1e-9, strict=True)
        ]
    )
