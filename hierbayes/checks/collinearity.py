r"""How far predictors can be told apart: generalised variance inflation factors and the condition number of X.

With C the (weighted) correlation matrix of the columns of X, the intercept taken out,

    GVIF_t = |C_tt| |C_oo| / |C|

for the columns t of a term and all other columns o (Fox & Monette 1992, Journal of the American Statistical
Association 87, 178): for a single column 1/(1 - R²) of its regression on the others. ``GVIF^(1/(2 df))`` is the
factor by which collinearity widens the standard error of a coefficient of the term. The condition number is that of
X with its columns at length 1, the intercept among them (Belsley, Kuh & Welsch 1980): large also for a predictor far
from zero.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from hierbayes.estimates import Estimate


def inflation(estimate: Estimate) -> pd.DataFrame:
    """Generalised variance inflation factors of the terms.

    Parameters
    ----------
    estimate : Estimate

    Returns
    -------
    pandas.DataFrame
        One row a term other than the intercept: term, df (its columns), gvif, widening ``gvif^(1/(2 df))``.

    Examples
    --------
    >>> import hierbayes as hb
    >>> inflation(hb.Model("Reaction ~ Days + (Days | Subject)", hb.load_data("sleepstudy")).reml())
       term  df  gvif  widening
    0  Days   1   1.0       1.0
    """
    design, R = estimate.design, estimate.moments.R
    gram = R.T @ R
    keep = np.ones(len(gram), dtype=bool)
    k = design.intercept
    if k is not None:  # what is left after the regression on the intercept
        gram = gram - np.outer(gram[k], gram[k]) / gram[k, k]
        keep[k] = False
    owner = np.repeat([term.name for term in design.terms], [len(term.labels) for term in design.terms])[keep]
    gram = gram[np.ix_(keep, keep)]
    norm = np.sqrt(np.diag(gram))
    C = gram / np.outer(norm, norm)
    rows = []
    for name in dict.fromkeys(owner.tolist()):
        own = owner == name
        logs = [np.linalg.slogdet(C[np.ix_(some, some)])[1] for some in (own, ~own)]
        gvif = float(np.exp(sum(logs) - np.linalg.slogdet(C)[1]))
        rows.append((name, int(own.sum()), gvif, gvif ** (0.5 / own.sum())))
    return pd.DataFrame(rows, columns=["term", "df", "gvif", "widening"])


def condition_number(estimate: Estimate) -> float:
    """Condition number of X with its columns at length 1.

    Examples
    --------
    >>> import hierbayes as hb
    >>> round(condition_number(hb.Model("Yield ~ 1 + (1 | Batch)", hb.load_data("Dyestuff")).reml()), 3)
    1.0
    """
    R = estimate.moments.R
    return float(np.linalg.cond(R / np.linalg.norm(R, axis=0)))
