"""Which share of the variance the differences between groups make up, in sentences."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hierbayes import names
from hierbayes.estimates import RESIDUAL, VARIANCE, FamilyPosterior
from hierbayes.laplace_estimate import LaplaceEstimate
from hierbayes.partial_pooling.shrinkage import finer
from hierbayes.variance.distribution_variance import APPROXIMATIONS
from hierbayes.variance.family_tables import icc

from .estimates import SD, SIGMA, Estimate
from .numbers import joined

if TYPE_CHECKING:
    from hierbayes.design import Design
    from hierbayes.results import FamilyFit, Fit


def shares(fit: Fit | FamilyFit, rows: list[Estimate], level: str) -> dict[str, str]:
    """Share of each grouping factor in the variance, the intraclass correlation of a single one.

    Only for a model whose random effects are intercepts, and whose rows all have the same unknown residual
    variance: otherwise the share is not one number.
    """
    design = fit.design
    sds = [row for row in rows if row.kind == SD]
    if design.sigma is not None or design.weights is not None or any(row.effect != "Intercept" for row in sds):
        return {}
    draws = fit.parameter_draws()
    residual = draws[VARIANCE, RESIDUAL, names.SIGMA].to_numpy() ** 2
    between = {row.group: draws[VARIANCE, row.group, "sd(Intercept)"].to_numpy() ** 2 for row in sds}
    total = sum(between.values(), residual)
    whole = sum(row.first.estimate**2 for row in rows if row.kind in (SD, SIGMA))
    tail = 0.5 - 0.5 * float(level.rstrip("%")) / 100.0
    said = {}
    for row in sds:
        share = between[row.group] / total
        low, high = np.quantile(share, [tail, 1.0 - tail])
        of = f" of {row.group}{within(design, row.group)}" if len(sds) > 1 else ""
        said[row.group] = (
            f"Differences between levels{of} make up {row.first.estimate**2 / whole:.0%} of the variance that the "
            f"predictors leave (REML; posterior mean {share.mean():.0%}, {level} interval {low:.0%} to {high:.0%})."
        )
    return said


def latent_shares(
    maximum: LaplaceEstimate | None, fit: FamilyPosterior, rows: list[Estimate], level: str
) -> dict[str, str]:
    """The same shares of a response that is not Gaussian: of the variance on the latent scale, if it is known."""
    sds = [row for row in rows if row.kind == SD]
    if fit.design.outcomes is not None or any(row.effect != "Intercept" for row in sds):
        return {}
    probability = 0.01 * float(level.rstrip("%"))
    tables = [
        found[(found["scale"] == "latent") & (found["icc"] == "adjusted")].set_index("group")
        for found in (icc(result, probability) for result in (fit, maximum) if result is not None)
    ]
    said = {}
    for row in sds:
        here = tables[0].loc[row.group]
        of = f" of {row.group}{within(fit.design, row.group)}" if len(sds) > 1 else ""
        by = "" if maximum is None else f"{tables[1].loc[row.group, 'estimate']:.0%} by {row.method}, "
        if np.isfinite(here["estimate"]):
            said[row.group] = (
                f"On the latent scale (residual variance{_residual(here['residual'])}) differences between "
                f"levels{of} make up {by}{here['estimate']:.0%} in the posterior, {level} interval "
                f"{here['conf_low']:.0%} to {here['conf_high']:.0%}, of the variance that the predictors leave."
            )
    return said


def _residual(how: str) -> str:
    """Which residual variance it is; an approximation by name is said to be one."""
    return f" by the {how} approximation" if how in APPROXIMATIONS else f": {how}"


def within(design: Design, group: str) -> str:
    """In which other grouping factors a factor is nested, in words."""
    own = next(factor for factor in design.factors if factor.name == group)
    around = [factor.name for factor in design.factors if factor is not own and finer(own, factor)]
    return f" within {joined(around)}" if around else ""
