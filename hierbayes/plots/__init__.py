"""Figures: each function takes a finished table or result, computes nothing, and returns a matplotlib `Figure`.

Nothing here touches pyplot, so no global state is left behind and no window opens. Colours are safe for the
colour-blind, and every inference has a marker and a line style of its own, so that figures can be read in black and
white. With ``fit = model.fit()`` and ``reml = fit.reml``:

========================== ============================================================= ============================
figure                     shows                                                         what it takes
========================== ============================================================= ============================
`groups_figure`            rows by group with complete, no and partial pooling           ``hb.pooling_lines(fit)``
`shrinkage_figure`         every level from no pooling to REML to posterior              ``fit.shrinkage(), "g"``
`plane_figure`             the same for two effects, with ellipses of their covariance   ``hb.plane(fit)``
`caterpillar_figure`       effects of the levels in order, intervals of both inferences  ``fit.shrinkage(), "g"``
`estimates_figure`         forest of fixed effects and variance components               ``reml.tidy(), fit.tidy()``
`prior_posterior_figure`   prior against posterior of every parameter, REML marked       ``hb.prior_posterior(fit)``
`profile_figure`           profile likelihood over posterior of variance parameters      ``hb.profiles(fit)``
`predictive_figure`        observations by group over posterior predictive intervals     ``hb.predictive(fit)``
`residuals_figure`         residuals: fitted values, normal quantiles, spread, groups    ``hb.residual_panel(reml)``
`variance_figure`          shares of the variance, both inferences                       ``fit.variance_partition()``
`elpd_figure`              which model predicts new rows and new groups better           ``hb.compare({...})``
`pareto_k_figure`          where leave-one-out is not to be trusted                      ``fit.loo()``
`pooling_figure`           one slope by every way of treating groups                     ``hb.pooling(model)``
`power_figure`             power over the size of a study                                ``hb.power(...)``
`correlations_figure`      correlation within, between and overall                       ``hb.correlations(...)``
`sensitivity_figure`       an estimate as missing responses move                         ``missing.delta(...)``
`cross_validation_figure`  prediction errors in known and new clusters                   ``hb.cross_validate(...)``
========================== ============================================================= ============================
"""

from __future__ import annotations

from .caterpillar import caterpillar_figure
from .clusters import correlations_figure, sensitivity_figure
from .elpd import elpd_figure
from .estimates import estimates_figure
from .groups import groups_figure
from .pareto_k import pareto_k_figure
from .plane import plane_figure
from .pooling import pooling_figure
from .power import power_figure
from .predictive import predictive_figure
from .prior_posterior import prior_posterior_figure
from .profile import profile_figure
from .residuals import residuals_figure
from .rivals import cross_validation_figure
from .shrinkage import shrinkage_figure
from .svg import to_svg
from .variance import variance_figure

__all__ = [
    "caterpillar_figure",
    "correlations_figure",
    "cross_validation_figure",
    "elpd_figure",
    "estimates_figure",
    "groups_figure",
    "pareto_k_figure",
    "plane_figure",
    "pooling_figure",
    "power_figure",
    "predictive_figure",
    "prior_posterior_figure",
    "profile_figure",
    "residuals_figure",
    "sensitivity_figure",
    "shrinkage_figure",
    "to_svg",
    "variance_figure",
]
