"""How a simulated study is judged: a test of one effect, of several together, or of a variance.

All are two-sided but the test of a variance. Singular estimates are judged like others; estimates that are no maximum
of the likelihood are failures.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from numbers import Real
from typing import Any

import numpy as np
from scipy import special

from hierbayes.design import Design
from hierbayes.errors import HierbayesError, suggest
from hierbayes.estimates import FIXED, VARIANCE, Estimate, variance_rows
from hierbayes.inference.boundary import boundary_p_value, difference
from hierbayes.inference.contrasts import Df, inference
from hierbayes.inference.hypotheses import contrast_matrix
from hierbayes.inference.random_effects import reductions
from hierbayes.marginal import Marginal
from hierbayes.reml import maximise
from hierbayes.study.verdict import Judge, Study, Verdict, failed

DF = {
    "satterthwaite": "with Satterthwaite's degrees of freedom",
    "kenward-roger": "with Kenward and Roger's standard error and degrees of freedom",
    "z": "taking the variances as known (z)",
}
LRT = "lrt"
METHODS = (*DF, LRT)


@dataclass(frozen=True, eq=False)
class Contrast:
    """t test of a combination of the fixed effects, by REML.

    Parameters
    ----------
    name : str
    weights : (p,) array
    null : float
        Its value under the hypothesis.
    alpha : float
    df : {"satterthwaite", "kenward-roger", "z"}
    """

    name: str
    weights: np.ndarray
    null: float
    alpha: float
    df: Df

    def judge(self, study: Study) -> Verdict:
        """Fit by REML and test."""
        fit = study.estimate()
        if not fit.converged:
            return failed(fit.message)
        by = inference(fit, self.df)
        estimate, df = float(self.weights @ fit.beta), by.df(self.weights)
        error = float(np.sqrt(by.variance(self.weights)))
        p_value = 2.0 * float(special.stdtr(df, -abs(estimate - self.null) / error))
        if np.isnan(p_value):
            return failed("the test does not exist: its degrees of freedom are not a number")
        reach = float(special.stdtrit(df, 1.0 - 0.5 * self.alpha)) * error
        return Verdict(
            p_value < self.alpha, p_value, estimate, error, df, estimate - reach, estimate + reach, fit.singular
        )

    def truth(self, study: Study) -> float:
        """The combination of the true effects."""
        labels = study.design.labels
        return sum(float(self.weights[k]) * study.truth[FIXED, "", labels[k]] for k in np.flatnonzero(self.weights))

    @property
    def words(self) -> str:
        """What is tested and how."""
        null = f" = {self.null:g}" if self.null else ""
        return f"t test of {self.name}{null} by REML {DF[self.df]}, two-sided, alpha {self.alpha:g}"


@dataclass(frozen=True, eq=False)
class Joint:
    """F test of several coefficients together, by REML; attributes as of `Contrast`, weights (q, p)."""

    name: str
    weights: np.ndarray
    alpha: float
    df: Df

    def judge(self, study: Study) -> Verdict:
        """Fit by REML and test."""
        fit = study.estimate()
        if not fit.converged:
            return failed(fit.message)
        F, df = inference(fit, self.df).f_test(self.weights, self.weights @ fit.beta)
        q = len(self.weights)
        p_value = float(special.chdtrc(q, q * F) if np.isinf(df) else special.fdtrc(q, df, F))
        if np.isnan(p_value):
            return failed("the test does not exist: its degrees of freedom are not a number")
        return Verdict(p_value < self.alpha, p_value, df=df, singular=fit.singular)

    def truth(self, study: Study) -> float:
        """No number: several effects are tested."""
        return np.nan

    @property
    def words(self) -> str:
        """What is tested and how."""
        return f"F test of {self.name} ({len(self.weights)} coefficients) by REML {DF[self.df]}, alpha {self.alpha:g}"


@dataclass(frozen=True, eq=False)
class WithoutEffects:
    """Likelihood-ratio test of one or several coefficients, both models by ML.

    Parameters
    ----------
    name : str
    columns : tuple of int
    null : float
        For a single coefficient.
    alpha : float
    """

    name: str
    columns: tuple[int, ...]
    null: float
    alpha: float

    def judge(self, study: Study) -> Verdict:
        """Fit by ML with the effects and without, and compare."""
        larger = study.estimate("ML")
        smaller = _maximum(self._smaller(study.design), "ML")
        single = len(self.columns) == 1
        estimate = float(larger.beta[self.columns[0]]) if single else np.nan
        error = float(np.sqrt(larger.vcov.iloc[self.columns[0], self.columns[0]])) if single else np.nan
        return _compared(smaller, larger, self.alpha, estimate, error)

    def _smaller(self, design: Design) -> Design:
        kept = [k for k in range(len(design.labels)) if k not in self.columns]
        labels = {design.labels[k] for k in kept}
        terms = [replace(term, labels=tuple(each for each in term.labels if each in labels)) for term in design.terms]
        offset = design.offset
        if self.null:
            offset = (0.0 if offset is None else offset) + self.null * design.X[:, self.columns[0]]
        return replace(design, X=design.X[:, kept], terms=tuple(term for term in terms if term.labels), offset=offset)

    def truth(self, study: Study) -> float:
        """The effect, if it is one."""
        single = len(self.columns) == 1
        return study.truth[FIXED, "", study.design.labels[self.columns[0]]] if single else np.nan

    @property
    def words(self) -> str:
        """What is tested and how."""
        null = f" = {self.null:g}" if self.null else ""
        return f"likelihood-ratio test of {self.name}{null} by ML, alpha {self.alpha:g}"


@dataclass(frozen=True, eq=False)
class WithoutVariance:
    """Likelihood-ratio test of a variance of the random effects, by REML, with a variance of zero on the boundary.

    Parameters
    ----------
    name : str
        What the smaller model lacks.
    reduction : int
        Its place among `hierbayes.inference.random_effects.reductions`.
    sd : (str, str) or None
        Group and term of the standard deviation, if it is one.
    effect : int or None
        Its place among the q effects.
    alpha : float
    """

    name: str
    reduction: int
    sd: tuple[str, str] | None
    effect: int | None
    alpha: float

    def judge(self, study: Study) -> Verdict:
        """Fit by REML with the random effects and without, and compare."""
        larger = study.estimate()
        smaller = _maximum(list(reductions(study.design))[self.reduction][1], "REML")
        k = self.effect
        estimate = np.nan if k is None else float(np.sqrt(larger.covariance[k, k]))
        return _compared(smaller, larger, self.alpha, estimate, np.nan)

    def truth(self, study: Study) -> float:
        """The standard deviation, if it is one."""
        return np.nan if self.sd is None else study.truth[(VARIANCE, *self.sd)]

    @property
    def words(self) -> str:
        """What is tested and how."""
        return f"likelihood-ratio test of {self.name} by REML, zero on the boundary, alpha {self.alpha:g}"


def _maximum(design: Design, method: str) -> Estimate:
    marginal = Marginal(design)
    return Estimate(marginal, maximise(marginal, method == "REML"), method)


def _compared(smaller: Estimate, larger: Estimate, alpha: float, estimate: float, error: float) -> Verdict:
    for fit in (smaller, larger):
        if not fit.converged:
            return failed(fit.message)
    chisq, df = difference(smaller, larger)
    if chisq < 0.0:
        return failed("the larger model fits worse than the smaller one")
    p_value = boundary_p_value(chisq, df, larger.moments.q - smaller.moments.q)[0]
    return Verdict(p_value < alpha, p_value, estimate, error, float(df), singular=larger.singular)


def judge_of(test: Any, method: str | None, alpha: float, null: float, design: Design) -> Judge:
    """The judge that a test asks for.

    Parameters
    ----------
    test : str, mapping, or None
        A coefficient; a term of several; weights of coefficients; a random effect; by default the only term.
    method : str or None
        One of `METHODS`; None for the usual one.
    alpha, null : float
    design : Design

    Returns
    -------
    Judge

    Raises
    ------
    ValueError
        For a test that does not exist, or one that the method cannot do.
    """
    if method is not None and method not in METHODS:
        raise ValueError(f"method is one of {', '.join(map(repr, METHODS))} or 'posterior', not {method!r}.")
    if test is None:
        test = _only_term(design)
    if isinstance(test, str) and test not in (*design.labels, *(term.name for term in design.terms)):
        if method not in (None, LRT) or null:
            raise ValueError(f"A variance, {test!r}, is tested against zero by method='lrt'.")
        return _variance(test, alpha, design)
    if method == LRT:
        if not isinstance(test, str):
            raise ValueError("method='lrt' tests a coefficient or a term; a combination has a t test.")
        columns = tuple(design.labels.index(label) for label in labels_of(test, design))
        if null and len(columns) > 1:
            raise ValueError("null= is for one coefficient; several are tested to be zero.")
        return WithoutEffects(test, columns, null, alpha)
    df: Df = "satterthwaite" if method is None else method  # type: ignore[assignment]
    if df == "kenward-roger" and design.residual is not None:
        raise HierbayesError(
            "Kenward and Roger's adjustment is for independent residuals; use method='satterthwaite'."
        )
    weights = labels_of(test, design) if isinstance(test, str) else test
    names, L = contrast_matrix(weights, design.labels)
    if len(L) == 1:
        return Contrast(names[0], L[0], null, alpha, df)
    if null:
        raise ValueError("null= is for one coefficient or combination; several are tested to be zero.")
    return Joint(test if isinstance(test, str) else " and ".join(names), L, alpha, df)


def labels_of(test: str, design: Design) -> list[str]:
    """Coefficients that a name stands for: itself, or those of its term."""
    if test in design.labels:
        return [test]
    return next(list(term.labels) for term in design.terms if term.name == test)


def _only_term(design: Design) -> str:
    terms = [term.name for term in design.terms if term.components]
    if len(terms) != 1:
        raise ValueError(f"test= must say what is tested: {', '.join(_names(design))}.")
    return terms[0]


def _names(design: Design) -> list[str]:
    """Everything that can be tested."""
    effects = dict.fromkeys([*design.labels, *(term.name for term in design.terms)])
    return [*effects, *(name for _, name, *_ in _variances(design))]


def _variances(design: Design) -> list[tuple[int, str, list[str], tuple[str, str] | None]]:
    """Every test of a variance: its place, its name, other names, and the standard deviation."""
    found = []
    for k, (name, smaller) in enumerate(reductions(design)):
        kept = {(block.factor.name, label) for block in smaller.blocks for label in block.labels}
        lost = [
            (block.factor.name, label)
            for block in design.blocks
            for label in block.labels
            if (block.factor.name, label) not in kept
        ]
        groups = {group for group, _ in lost}
        alone = len(design.blocks) and not any(block.factor.name in groups for block in smaller.blocks)
        others = [*groups] if alone else []
        if len(lost) == 1:
            others.append(f"sd({lost[0][1]})")
        sd = (lost[0][0], f"sd({lost[0][1]})") if len(lost) == 1 else None
        found.append((k, name, others, sd))
    return found


def _variance(test: str, alpha: float, design: Design) -> WithoutVariance:
    found = [each for each in _variances(design) if test == each[1] or test in each[2]]
    if not found:
        raise ValueError(f"test= names {test!r}, which is nothing to test. {suggest(test, _names(design))}")
    if len(found) > 1:
        raise ValueError(f"{test!r} can mean {' or '.join(repr(each[1]) for each in found)}; name one of these.")
    k, name, _, sd = found[0]
    place = {(group, term): i for group, term, i, j in variance_rows(design) if i == j}
    return WithoutVariance(name, k, sd, None if sd is None else place[sd], alpha)


def check_level(alpha: float) -> float:
    """The level of a test, refused if it is not between 0 and 1."""
    if not isinstance(alpha, Real) or not 0.0 < alpha < 1.0:
        raise ValueError(f"alpha is between 0 and 1, not {alpha!r}.")
    return float(alpha)
