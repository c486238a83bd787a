"""One slope by every way of treating the groups, one row each.

====================================  ======================================================================
complete pooling                      least squares, groups ignored
no pooling, intercepts                least squares with an intercept for every group (ANCOVA)
aggregation                           least squares on the means of the groups, each counting once
two-stage                             least squares in every group alone, then a t test of their slopes
REML, random intercept                partial pooling of the intercepts
no pooling, full                      an intercept and a slope for every group; the coefficient is the first group's
REML, random intercept + slope        partial pooling of both
no pooling, full: mean slope          the same least squares, and the mean of the slopes of all groups
Bayes, random intercept               the posterior of the same models
Bayes, random intercept + slope
====================================  ======================================================================

Where the model has other fixed effects they are in every row. ``rmse`` is √(SSE / residual degrees of freedom): for
mixed models that of the conditional residuals (BLUPs or posterior means of the effects taken off) over n - rank(X),
which counts no group effects and therefore flatters; for the two-stage row it is the standard deviation of the
slopes. With precision weights SSE is weighted, and so are the means of a group.
"""

from __future__ import annotations

import pandas as pd

from hierbayes.estimates import checked
from hierbayes.inference.contrasts import METHODS, Df
from hierbayes.model import Model
from hierbayes.pooling_ladder.mixed import bayes_rung, random_intercept, random_slope, reml_rung
from hierbayes.pooling_ladder.regressions import Regressions
from hierbayes.pooling_ladder.rung import BAYES_INTERCEPT, BAYES_SLOPE, COLUMNS, REML_INTERCEPT, REML_SLOPE
from hierbayes.pooling_ladder.slope import check_ladder, find_slope
from hierbayes.pooling_ladder.smaller_models import fixed_part


def pooling(
    model: Model,
    term: str | None = None,
    bayes: bool = True,
    df: Df = "satterthwaite",
    conf_level: float = 0.95,
    seed: int | None = None,
    draws: int = 1000,
    chains: int = 4,
    progress: bool | None = None,
) -> pd.DataFrame:
    """Estimate one slope by complete, no and partial pooling: the pooling ladder, one row each.

    Parameters
    ----------
    model : Model
        Gaussian, with one grouping factor. Its fixed effects are in every row; weights, offset and priors are kept.
        ``(1 | g)``, ``(x | g)`` and ``(x || g)`` give the same ladder, but for the correlation in the last rungs.
    term : str, optional
        Coefficient to follow, ``"edu"`` or ``"sex[Male]"``. By default the random slope, else the only numeric
        predictor that varies within groups.
    bayes : bool, default True
        Sample the two posteriors as well.
    df : {"satterthwaite", "kenward-roger", "z"}, default "satterthwaite"
        Degrees of freedom of the t tests of the REML rows; Kenward and Roger's come with adjusted standard errors.
    conf_level : float, default 0.95
        Level of all intervals.
    seed : int, optional
        Of the posteriors; the same for both.
    draws, chains : int
        Draws kept of each posterior, per chain, and chains.
    progress : bool, optional
        Show progress bars of the posteriors; by default if somebody is watching.

    Returns
    -------
    pandas.DataFrame
        Rows as in `hierbayes.pooling_ladder.ladder`, in that order.

        - ``model`` (name of the row), ``formula`` (what was fitted), ``rmse``;
        - ``estimate``, ``std_error``, ``statistic``, ``df``, ``p_value``, ``conf_low``, ``conf_high``: t tests.
          Bayesian rows have posterior mean, standard deviation and an equal-tailed interval, and no test;
        - ``statistic_z``, ``p_value_z``: for REML, the z test as statsmodels makes it, with a standard error of its
          own (see `hierbayes.pooling_ladder.observed_information`);
        - ``p_direction``: posterior probability that the slope has the sign that is the more probable one;
        - ``note``: whether a fit is singular, which groups have no slope of their own, or why there is no estimate
          (NaN).

    Raises
    ------
    FormulaError
        For several grouping factors, another family, correlated residuals, ``se=``, or no slope.
    ValueError
        If `term` is unknown or needed, or another argument is out of range.
    TypeError
        If `model` is no `Model`.
    HierbayesError
        Where Kenward and Roger's tests do not exist; see `hierbayes.RemlFit.tidy`.

    Warns
    -----
    ConvergenceWarning, PriorWarning, IncompleteWarning
        As of `hierbayes.Model.fit`.

    Examples
    --------
    >>> import hierbayes as hb
    >>> table = hb.pooling(hb.Model("Reaction ~ Days + (Days | Subject)", hb.load_data("sleepstudy")), bayes=False)
    >>> table[["model", "rmse", "estimate", "std_error", "df"]].round(2)
                                model   rmse  estimate  std_error     df
    0                complete pooling  47.71     10.47       1.24  178.0
    1          no pooling, intercepts  30.99     10.47       0.80  161.0
    2                     aggregation    NaN       NaN        NaN    NaN
    3                       two-stage   6.56     10.47       1.55   17.0
    4          REML, random intercept  29.58     10.47       0.80  161.0
    5                no pooling, full  25.59     21.76       2.82  144.0
    6  REML, random intercept + slope  23.57     10.47       1.55   17.0
    7    no pooling, full: mean slope  25.59     10.47       0.66  144.0
    """
    if not isinstance(model, Model):
        raise TypeError(
            f"pooling() takes a Model, not a {type(model).__name__}; Model.of(fit) is the model of a fit."
        )
    if df not in METHODS:
        raise ValueError(f"df is 'satterthwaite', 'kenward-roger' or 'z', not {df!r}.")
    checked(conf_level)
    check_ladder(model.design)
    slope = find_slope(model.design, term)
    by_least_squares = Regressions(model.design, fixed_part(model.formula), slope, model.data)
    intercepts, slopes = random_intercept(model), random_slope(model, slope)
    rungs = [
        by_least_squares.complete(),
        by_least_squares.intercepts(),
        by_least_squares.aggregation(),
        by_least_squares.two_stage(),
        reml_rung(REML_INTERCEPT, intercepts, slope, df),
        by_least_squares.full(),
        reml_rung(REML_SLOPE, slopes, slope, df),
        by_least_squares.mean_slope(),
    ]
    if bayes:
        for name, made in ((BAYES_INTERCEPT, intercepts), (BAYES_SLOPE, slopes)):
            rungs.append(bayes_rung(name, made, slope, conf_level, draws, chains, seed, progress))
    return pd.DataFrame([rung.row(conf_level) for rung in rungs], columns=COLUMNS)
