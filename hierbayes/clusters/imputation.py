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
import pandas as pd

from hierbayes.covariance import cholesky, partials
from hierbayes.design import Design, Factor
from hierbayes.estimates import Estimate
from hierbayes.from_bambi.new_rows import NewRows
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


def with_rows(design: Design, new: NewRows) -> Design:
    """A design with rows added that have no response, zero in place of it; new levels come after the others.

    Parameters
    ----------
    design : Design
        With independent residuals.
    new : NewRows
        Complete, evaluated as the design was: what ``scale(x)`` or ``within(x, g)`` learned of its rows stays.

    Returns
    -------
    Design
    """

    def joined(one: np.ndarray | None, other: np.ndarray | None) -> np.ndarray | None:
        return None if one is None or other is None else np.concatenate([one, other])

    factors = {}
    for factor in design.factors:
        names = pd.Index(factor.levels.astype(str).astype(object))
        levels = names.append(pd.Index(new.labels[factor.name]).unique().difference(names))
        codes = np.concatenate([factor.codes, levels.get_indexer(new.labels[factor.name])])
        factors[factor.name] = Factor(factor.name, codes, levels.to_numpy())
    return replace(
        design,
        y=np.concatenate([design.y, np.zeros(len(new.X))]),
        X=np.concatenate([design.X, new.X]),
        blocks=tuple(
            replace(block, factor=factors[block.factor.name], Z=np.concatenate([block.Z, Z]))
            for block, Z in zip(design.blocks, new.Z, strict=True)
        ),
        offset=joined(design.offset, new.offset),
        weights=joined(design.weights, new.weights),
        row_labels=None,
    )
