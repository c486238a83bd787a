r"""Missing responses drawn from a fitted model, properly: with parameters, effects and residuals all drawn.

    y_mis = X β* + offset + Z b* + ε*,    ε*_i ~ N(0, σ*²/w_i)

Variances are those of a refit to a response simulated from the fit (a parametric bootstrap of the rows that have a
response), so that their uncertainty is in the draws; given these, β* and b* are one exact draw from their joint
Gaussian conditional given the observed responses (flat prior on β), as for a posterior. An effect of a group is thus
drawn given what is known of that group, whatever is missing of it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from hierbayes.covariance import cholesky, partials
from hierbayes.design import Design
from hierbayes.estimates import Estimate
from hierbayes.inference.simulation import assemble, residuals, simulate
from hierbayes.marginal import Marginal
from hierbayes.moments import take_moments
from hierbayes.refits import Refitter
from hierbayes.reml import maximise


@dataclass(frozen=True, eq=False)
class Imputed:
    """Responses drawn for the rows that have none.

    Parameters
    ----------
    design : Design
        Of all rows; the responses of those without are placeholders.
    absent : (n,) bool array
        Rows without a response.
    complete_case : Estimate
        The REML fit of the rows that have one.
    draws : (m, k) array
        Of the responses of the k absent rows.
    failed : int
        Draws of the variances that were left out because their refit did not converge.
    """

    design: Design
    absent: np.ndarray
    complete_case: Estimate
    draws: np.ndarray
    failed: int

    def responses(self, shift: np.ndarray | float = 0.0) -> np.ndarray:
        """Completed responses (m, n), with something added to the imputed ones."""
        y = np.tile(self.design.y, (len(self.draws), 1))
        y[:, self.absent] = self.draws + shift
        return y


def impute(design: Design, absent: np.ndarray, m: int, seed: int) -> Imputed:
    """Draw the responses of some rows from a REML fit of the others.

    Parameters
    ----------
    design : Design
        Gaussian, with independent residuals.
    absent : (n,) bool array
        Rows whose response is missing; what the design has there plays no part.
    m : int
        Draws.
    seed : int

    Returns
    -------
    Imputed
    """
    seen = Marginal(design.only(~absent))
    fit = Estimate(seen, maximise(seen, True), "REML")
    refits = Refitter(seen.design, take_moments(seen.design)).all(simulate(fit, m, seed), "REML")
    kept = np.flatnonzero(refits.converged.to_numpy())
    layout = seen.moments.layout
    thetas = []
    for k in kept:
        sds, corr = partials(cholesky(refits.covariance[k]), layout)
        thetas.append(np.concatenate([sds, corr, [refits.sigma[k]] if design.sigma is None else []]))
    rng = np.random.default_rng([seed, m])
    given = seen.condition(np.array(thetas), rng)
    effects = []
    for position, factor in enumerate(design.factors):
        if position != seen.leaf:
            effects.append(seen.rest_effects(given, position))
            continue
        where = design.effects_of(factor)
        z = rng.standard_normal((len(kept), where.stop - where.start, len(factor.levels)))
        seen.draw_effects(given, z, slice(0, len(factor.levels)), slice(0, len(kept)))
        effects.append(z)
    hidden = replace(design.only(absent), y=np.zeros(int(absent.sum())))
    noise = residuals(hidden, rng.standard_normal((len(kept), hidden.n)), given.sigma, np.zeros(len(kept)))
    return Imputed(design, absent, fit, assemble(hidden, given.fixef, effects, noise), m - len(kept))
