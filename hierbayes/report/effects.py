"""Effects of every level of a response that is not Gaussian: conditional modes and posterior side by side.

A level's own fit, without pooling, is left out: where all its responses are failures, or successes, or zeros, it lies
at infinity, and such levels are the reason for pooling counts and proportions at all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from hierbayes.estimates import Sampled
    from hierbayes.results import LaplaceFit, RemlFit


def group_effects(maximum: LaplaceFit | RemlFit | None, fit: Sampled) -> pd.DataFrame:
    """Effects of every level of every grouping factor on the scale of the linear predictor.

    Parameters
    ----------
    maximum : LaplaceFit, if there is one
    fit : FamilyFit
        Of the same model.

    Returns
    -------
    pandas.DataFrame
        Columns of `hierbayes.partial_pooling.shrinkage.shrinkage`: group, effect, level, rows; blup and blup_sd, the
        conditional modes and their standard deviations, if there is a maximum; mean, sd, q2.5 and q97.5 of the
        posterior.

    Examples
    --------
    >>> import hierbayes as hb
    >>> cbpp = hb.load_data("cbpp")
    >>> model = hb.Model("p(incidence, size) ~ period + (1 | herd)", cbpp, family="binomial")
    >>> fit = model.fit(seed=1, progress=False)
    >>> group_effects(None, fit)[["group", "effect", "level", "rows"]].head(2)
      group     effect level  rows
    0  herd  Intercept     1     4
    1  herd  Intercept    10     4
    """
    posterior, tables = fit.ranef(), []
    for factor in fit.design.factors:
        name, levels = factor.name, len(factor.levels)
        found = posterior[name]
        effects = found.index.get_level_values("term")
        table = pd.DataFrame(
            {
                "group": name,
                "effect": effects,
                "level": found.index.get_level_values(0),
                "rows": np.tile(np.bincount(factor.codes, minlength=levels), len(found) // levels),
            }
        )
        if maximum is not None:
            labels = list(dict.fromkeys(effects))
            table["blup"] = maximum.ranef[name][labels].to_numpy().T.ravel()
            table["blup_sd"] = maximum.ranef_sd[name][labels].to_numpy().T.ravel()
        columns = ["mean", "sd", "q2.5", "q97.5"]
        table[columns] = found[columns].to_numpy()
        tables.append(table)
    return pd.concat(tables, ignore_index=True)
