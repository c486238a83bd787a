"""REML from a formula and a data frame. Imports come before the clock starts."""

# mypy: disable-error-code="import-not-found, import-untyped"

from __future__ import annotations

from benchmarks.cases import Case, load
from benchmarks.process import Figures, NotExpressibleError, in_r, repeated


def hierbayes(case: Case) -> Figures:
    """Fit with hierbayes, from the formula."""
    import hierbayes as hb
    from hierbayes import model  # noqa: F401

    data = load(case.name)
    return repeated(lambda: hb.Model(case.formula, data).reml().criterion)


def hierbayes_built(case: Case) -> Figures:
    """Fit with hierbayes a model that exists already."""
    import hierbayes as hb

    model = hb.Model(case.formula, load(case.name))
    return repeated(lambda: model.reml().criterion)


def mixedlm(case: Case) -> Figures:
    """Fit with mixedlm's ``lmer``."""
    import mixedlm as mlm

    data = load(case.name)
    return repeated(lambda: mlm.lmer(case.formula, data).REMLcrit())


def lme_python(case: Case) -> Figures:
    """Fit with lme_python's ``lmer``."""
    import lme_python

    data = load(case.name)
    return repeated(lambda: lme_python.lmer(case.formula, data, reml=True).reml_criterion)


def statsmodels(case: Case) -> Figures:
    """Fit with statsmodels' ``mixedlm``; crossed factors are variance components of one group of all rows."""
    import numpy as np
    import statsmodels.formula.api as smf

    if case.statsmodels is None:
        raise NotExpressibleError("no translation into statsmodels' arguments")
    data = load(case.name)
    arguments = {"groups": np.ones(len(data))} | dict(case.statsmodels)
    return repeated(lambda: -2.0 * smf.mixedlm(case.fixed, data, **arguments).fit(reml=True).llf)


def lme4(case: Case) -> Figures:
    """Fit with lme4's ``lmer``."""
    return in_r("reml", case)
