"""Effects of every level of every grouping factor: the maximum's and the posterior's side by side, for any family.

What least squares within the level alone would say (no pooling) is in `hierbayes.shrinkage`, for Gaussian responses.
Of counts and proportions it is left out: where all responses of a level are failures, or successes, or zeros, it lies
at infinity, and such levels are the reason for pooling at all.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from hierbayes.errors import DataError
from hierbayes.estimates import Estimate, Sampled
from hierbayes.laplace_estimate import LaplaceEstimate
from hierbayes.side_by_side.maximum import beside, called, sampled

POSTERIOR = ["mean", "sd", "q2.5", "q97.5"]


def level_effects(fit: Sampled, maximum: Estimate | LaplaceEstimate | None = None) -> pd.DataFrame:
    """Effects of every level of every grouping factor by both inferences.

    Parameters
    ----------
    fit : Fit or FamilyFit
    maximum : RemlFit or LaplaceFit, optional
        Of the same model; by default the REML fit of a Gaussian posterior, and none of another family.

    Returns
    -------
    pandas.DataFrame
        One row per grouping factor, effect and level, on the scale of the linear predictor: ``group``, ``effect``,
        ``level``, ``rows``; ``blup`` and ``blup_sd``, best linear unbiased predictors or conditional modes with their
        conditional standard deviations, if there is a maximum; ``mean``, ``sd``, ``q2.5``, ``q97.5`` of the
        posterior. ``attrs`` has the ``method`` of the maximum and the ``effect_name`` of its effects, for figures.

    Raises
    ------
    DataError
        If the model has no random effects, or the maximum is of another model.

    Examples
    --------
    >>> import hierbayes as hb
    >>> cbpp = hb.load_data("cbpp").astype({"period": str})
    >>> model = hb.Model("p(incidence, size) ~ period + (1 | herd)", cbpp, family="binomial")
    >>> fit = model.fit(seed=1, progress=False)
    >>> hb.level_effects(fit, model.ml())[["group", "effect", "level", "rows", "blup"]].round(2).head(2)
      group     effect level  rows  blup
    0  herd  Intercept     1     4  0.59
    1  herd  Intercept    10     4 -0.54
    """
    sampled(fit, "level_effects")
    if not fit.design.factors:
        raise DataError(f"{fit.design.formula!r} has no random effects; add a grouping factor, as in '(1 | g)'.")
    maximum = beside(fit, maximum)
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
        table[POSTERIOR] = found[POSTERIOR].to_numpy()
        tables.append(table)
    found = pd.concat(tables, ignore_index=True)
    if maximum is not None:
        effect = "conditional mode" if isinstance(maximum, LaplaceEstimate) else "BLUP"
        found.attrs |= {"method": called(maximum), "effect_name": effect}
    return found
