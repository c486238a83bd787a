"""REML of one design for many responses. A call fits them all; its criterion is the sum of theirs."""

# mypy: disable-error-code="import-not-found, import-untyped"

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from benchmarks.cases import REFITS, Case, load
from benchmarks.process import Figures, in_r, repeated


def _timed(case: Case, criterion: Callable[[np.ndarray], float]) -> Figures:
    responses = load(case.name).filter(like="new").to_numpy().T.copy()
    return _rate(repeated(lambda: sum(map(criterion, responses))))


def _rate(figures: Figures) -> Figures:
    return figures | {"rate": REFITS / figures["median"]} if "median" in figures else figures


def hierbayes(case: Case) -> Figures:
    """Refit with hierbayes' ``Model.refit``."""
    import hierbayes as hb

    model = hb.Model(case.formula, load(case.name))
    return _timed(case, lambda y: model.refit(y).criterion)


def hierbayes_all(case: Case) -> Figures:
    """Fit all responses in one call of hierbayes' ``Model.refits``."""
    import hierbayes as hb

    data = load(case.name)
    model = hb.Model(case.formula, data)
    responses = data.filter(like="new").to_numpy().T.copy()
    return _rate(repeated(lambda: float(model.refits(responses).criterion.sum())))


def mixedlm(case: Case) -> Figures:
    """Refit with mixedlm's ``refit``."""
    import mixedlm as mlm

    fit = mlm.lmer(case.formula, load(case.name))
    return _timed(case, lambda y: fit.refit(newresp=y).REMLcrit())


def lme_python(case: Case) -> Figures:
    """Refit with lme_python's ``prepare_lmer``."""
    import lme_python

    prepared = lme_python.prepare_lmer(case.formula, load(case.name))
    return _timed(case, lambda y: prepared.fit(y=y.tolist(), reml=True).reml_criterion)


def statsmodels(case: Case) -> Figures:
    """Make statsmodels' model anew from the matrices each time: it has no refit."""
    import statsmodels.api as sm

    data = load(case.name)
    X = sm.add_constant(data[["x"]]).to_numpy()
    return _timed(case, lambda y: -2.0 * sm.MixedLM(y, X, groups=data["g"]).fit(reml=True).llf)


def lme4(case: Case) -> Figures:
    """Refit with lme4's ``refit``."""
    return _rate(in_r("refit", case))
