"""Candidates against one another: expected log predictive densities, criteria, likelihood-ratio tests."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations

import pandas as pd

from hierbayes.cross_validation.comparison import compare
from hierbayes.errors import ComparisonWarning, HierbayesError, HierbayesWarning
from hierbayes.estimates import Estimate
from hierbayes.likelihood_ratio import lrt

from . import effort
from .candidates import Candidate
from .scores import GROUP, ROW, Scores, to_predict


@dataclass(frozen=True, eq=False)
class Comparison:
    """What is said of candidates together.

    Parameters
    ----------
    scores : dict of str to DataFrame
        Tables of `hierbayes.compare` at full precision by what is left out, with labels of candidates as index.
    remarks : dict of str to list of str
        What these comparisons warn about.
    absent : dict of str to str
        Why there is no comparison of something.
    criteria : DataFrame
        One row a candidate: model, method, n_par, loglik, AIC, BIC, by maximum likelihood.
    tests : DataFrame
        One row a pair of nested candidates: smaller, larger, method, chisq, df, p_value, p_naive, note.
    not_nested : list of (str, str)
        Pairs of which neither is a special case of the other.
    """

    scores: dict[str, pd.DataFrame]
    remarks: dict[str, list[str]]
    absent: dict[str, str]
    criteria: pd.DataFrame
    tests: pd.DataFrame
    not_nested: list[tuple[str, str]] = field(default_factory=list)


def comparison_of(candidates: Sequence[Candidate], scores: Mapping[str, Scores]) -> Comparison:
    """Compare all candidates.

    Parameters
    ----------
    candidates : sequence of Candidate
    scores : mapping of str to Scores
        By label of the candidate.

    Returns
    -------
    Comparison
    """
    tables: dict[str, pd.DataFrame] = {}
    remarks: dict[str, list[str]] = {}
    absent: dict[str, str] = {}
    factors = dict.fromkeys(factor.name for candidate in candidates for factor in candidate.design.factors)
    for key in [ROW, *(GROUP + name for name in factors)]:
        lacking = [label for label, each in scores.items() if key not in each.elpds]
        if lacking:
            why = scores[lacking[0]].skipped.get(key, f"It has no grouping factor {key.removeprefix(GROUP)}.")
            absent[key] = f"Of {lacking[0]} there is no score for {to_predict(key)}. {why}"
            continue
        try:
            tables[key], remarks[key] = _compared(key, scores)
        except HierbayesError as error:
            absent[key] = f"For {to_predict(key)} the candidates cannot be compared: {error}"
    tests, apart = _tests(candidates)
    return Comparison(tables, remarks, absent, _criteria(candidates), tests, apart)


def _compared(key: str, scores: Mapping[str, Scores]) -> tuple[pd.DataFrame, list[str]]:
    elpds = {label: each.elpds[key] for label, each in scores.items()}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("ignore")
        warnings.simplefilter("always", ComparisonWarning)
        if key == ROW:
            table = compare(elpds, target="row", round_to="none")
        else:
            table = compare(elpds, target="group", group=key.removeprefix(GROUP), round_to="none")
    return table, list(dict.fromkeys(str(warning.message) for warning in caught))


def _criteria(candidates: Sequence[Candidate]) -> pd.DataFrame:
    """Criteria by maximum likelihood, which can be compared whatever the fixed effects are."""
    rows: list[tuple[str, str, float | None, float | None, float | None, float | None]] = []
    for candidate in candidates:
        best = candidate.maximum
        if isinstance(best, Estimate):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", HierbayesWarning)  # the page says it of the main fit
                best = candidate.model.ml()
        if best is None:
            rows.append((candidate.label, "", None, None, None, None))
            continue
        method = "ML" if candidate.method is None or candidate.design.family.exact else candidate.method.name
        rows.append((candidate.label, method, best.n_par, best.loglik, best.aic, best.bic))
    return pd.DataFrame(rows, columns=["model", "method", "n_par", "loglik", "AIC", "BIC"])


def _tests(candidates: Sequence[Candidate]) -> tuple[pd.DataFrame, list[tuple[str, str]]]:
    """Likelihood-ratio tests of all nested pairs."""
    rows, apart = [], []
    columns = ["smaller", "larger", "method", "chisq", "df", "p_value", "p_naive", "note"]
    for one, other in combinations(candidates, 2):
        a, b = one.maximum, other.maximum
        if not (isinstance(a, Estimate) and isinstance(b, Estimate)):
            continue
        if max(effort.refits_cost(a.marginal), effort.refits_cost(b.marginal)) > 1:
            continue
        for smaller, larger in ((one, other), (other, one)):
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", HierbayesWarning)
                    table = lrt(smaller.maximum, larger.maximum)  # type: ignore[arg-type]
            except HierbayesError:
                continue
            row = table.iloc[1]
            if row["df"] == 0:  # the same model written in two ways
                continue
            note = "; ".join(text for text in (str(table["note"].iloc[0]), str(row["note"])) if text)
            rows.append((smaller.label, larger.label, *row[columns[2:-1]], note))
            break
        else:
            apart.append((one.label, other.label))
    return pd.DataFrame(rows, columns=columns), apart
