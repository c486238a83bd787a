r"""Fit again what is in the zoo and compare with what is expected.

A maximum does not depend on chance. Its estimates have to agree to a small part of their standard errors, and its
criterion to `CRITERION`.

Posterior means and standard deviations carry the Monte Carlo errors of both runs,

    z = (found - expected) / √(mcse_found² + mcse_expected²),

and no other: seeds do not give the same draws on every machine. The zoo makes some thousand such comparisons.
With |z| ≤ `LIMIT` = 6 one of them fails by chance with probability 2e-9; even if every Monte Carlo standard
error were 15% too small, as those of short runs can be, a correct package would fail less than once in a thousand
verifications of the whole zoo. Still a mean that is a fifth of a posterior standard deviation off is found.

The Monte Carlo error of an elpd was measured, as the standard deviation s of k runs of the same length. Then
(found - expected) / (s √(1 + 1/k)) has Student's t distribution with k - 1 degrees of freedom. Few scores vary
at all, so their limit may have a probability of `TAIL` on each side; it is never less than `LEAST` and never more
than `MOST`.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from hierbayes.display import document, said
from hierbayes.display import table as shown
from hierbayes.errors import HierbayesWarning
from hierbayes.progress import bar

from .cards import Candidate, Card
from .expected import read_expected
from .findings import LABELS, maximum, of_maximum, of_posterior, sampled, scores
from .shelf import card as find
from .shelf import names as all_names

LIMIT = 6.0
"""Of a difference, in Monte Carlo standard errors."""
CRITERION = 1e-5
"""Of -2 log likelihoods: a ten-thousandth of what a test would notice."""
ERROR = 1e-3
"""Of standard errors, relatively: those of variances are from differences of gradients."""
LEAST = 0.25
"""Of a score, however little the recorded runs varied: importance sampling errs now and then by much more than it
usually does, and a quarter is far below the standard error of any score."""
MOST = 2.0
"""Of a score, however much the recorded runs varied: about what one parameter more may cost."""
TAIL = 1e-5
"""Probability that a correct score is so far above, or so far below, what is expected."""
EXACT = 1e-4
"""Of posterior means and standard deviations that have no Monte Carlo error, in posterior standard deviations."""
COLUMNS = ["model", "formula", "quantity", "expected", "found", "difference", "tolerance", "z", "ok"]
POSTERIORS = ("all", "main", "none")


@dataclass(frozen=True, repr=False)
class Verification:
    """What the zoo gives, beside what is expected.

    Attributes
    ----------
    table : pandas.DataFrame
        One row a quantity: model (the card), formula (the name of the model in the card), quantity, expected, found,
        difference, tolerance (of the absolute difference), z (the difference in Monte Carlo standard errors; NaN
        where nothing depends on chance), ok.
    skipped : tuple of str
        Cards whose data are not here.
    """

    table: pd.DataFrame
    skipped: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether everything is as expected."""
        return bool(len(self.table) and self.table["ok"].all())

    @property
    def failures(self) -> pd.DataFrame:
        """The rows that are not as expected."""
        return self.table[~self.table["ok"]]

    def summary(self) -> pd.DataFrame:
        """One row a model.

        Returns
        -------
        pandas.DataFrame
            Columns model, formula, quantities (how many were compared), failed, worst (the largest difference as a
            part of what is tolerated).
        """
        part = self.table.assign(part=self.table["difference"].abs() / self.table["tolerance"])
        grouped = part.groupby(["model", "formula"], sort=False)
        found = grouped.agg(
            quantities=("ok", "size"), failed=("ok", lambda ok: int((~ok).sum())), worst=("part", "max")
        )
        return found.reset_index()

    @property
    def sentence(self) -> str:
        """The verdict."""
        cards, n = self.table["model"].nunique(), len(self.table)
        wrong = f"{len(self.failures)} of {n:,} figures" if len(self.failures) else f"all {n:,} figures"
        verdict = "are not as expected" if len(self.failures) else "are as expected"
        skipped = f" Left out: {', '.join(self.skipped)}, whose data are not here." if self.skipped else ""
        of = self.table["model"].iloc[0] if cards == 1 else f"{cards} cards of the zoo"
        return f"{wrong[0].upper()}{wrong[1:]} of {of} {verdict}.{skipped}"

    def __repr__(self) -> str:
        lines = [self.sentence]
        table = self.summary() if self.ok else self.failures
        if len(table):
            lines.append(table.to_string(index=False, na_rep="", float_format=lambda v: f"{v:.6g}"))
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        table = shown(self.summary(), "models") if self.ok else shown(self.failures, "not as expected")
        return document("Verification", said([("ok" if self.ok else "problem", self.sentence)]), table)


def verify(
    names: str | Iterable[str] | None = None,
    *,
    posterior: str = "all",
    seed: int = 2,
    progress: bool | None = None,
) -> Verification:
    """Fit models of the zoo again and compare with what is expected.

    Parameters
    ----------
    names : str or iterable of str, optional
        Cards; data that are not here are downloaded. By default all cards whose data are here.
    posterior : {"all", "main", "none"}, default "all"
        Sample every model that has a posterior in `expected.json`, only the main one of each card, or none.
    seed : int, default 2
        Of the sampler. The verdict does not depend on it.
    progress : bool, optional
        Show a progress bar; by default if somebody is watching.

    Returns
    -------
    Verification

    Raises
    ------
    DatasetError
        For a name that is not in the zoo, or data that cannot be had.
    DataError
        If a card or its `expected.json` is not as it should be.
    ValueError
        For another `posterior`, or an empty list of names.
    KeyboardInterrupt
        After Ctrl-C: half a posterior is not compared.

    Examples
    --------
    >>> import hierbayes as hb
    >>> found = hb.zoo.verify("dyestuff", posterior="none", progress=False)
    >>> found.ok
    True
    >>> found.table[["quantity", "expected"]].round(3).head(3)
          quantity  expected
    0         rows    30.000
    1     singular     0.000
    2    criterion   319.654
    """
    if posterior not in POSTERIORS:
        raise ValueError(f"posterior must be one of {', '.join(map(repr, POSTERIORS))}, not {posterior!r}")
    wanted = all_names() if names is None else [names] if isinstance(names, str) else list(dict.fromkeys(names))
    if not wanted:
        raise ValueError("names is empty; name at least one card, or pass None for the whole zoo")
    cards = [find(name) for name in wanted]
    here = [card for card in cards if names is not None or card.at_hand]
    rows: list[tuple] = []
    with bar("fits of the zoo", sum(len(card.models) for card in here), progress) as advance:
        for card in here:
            expected, data = read_expected(card), card.data()
            for i, candidate in enumerate(card.models):
                sample = posterior == "all" or (posterior == "main" and i == 0)
                model = expected["models"][candidate.name]
                found = _compared(card, candidate, data, model, seed if sample else None)
                rows += [(card.name, candidate.name, *row) for row in found]
                advance(1)
    return Verification(pd.DataFrame(rows, columns=COLUMNS), tuple(card.name for card in cards if card not in here))


def _compared(
    card: Card, candidate: Candidate, data: pd.DataFrame, expected: dict[str, Any], seed: int | None
) -> Iterator[tuple]:
    """Quantity, expected, found, difference, tolerance, z and ok of everything that is known of a model."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", HierbayesWarning)
        model = candidate.model(data)
        best = maximum(model, candidate.nagq)
        if "maximum" in expected:
            found = of_maximum(best) if best is not None else NO_MAXIMUM
            yield from _maximum(expected["maximum"], found, card.verify.tolerance)
        elif best is not None:
            yield _row("criterion", np.nan, best.criterion, CRITERION)
        if seed is None or "posterior" not in expected:
            return
        fit = sampled(model, card.verify.draws, seed)
        yield from _posterior(expected["posterior"], of_posterior(fit))
        if "elpd" in expected:
            yield from _scores(expected["elpd"], scores(fit, card))


def _maximum(expected: dict[str, Any], found: dict[str, Any], tolerance: float) -> Iterator[tuple]:
    yield _row("rows", expected["rows"], found["rows"], 0.0)
    yield _row("singular", expected["singular"], found["singular"], 0.0)
    yield _row("criterion", expected["criterion"], found["criterion"], CRITERION)
    yield _row(f"method: {expected['method']}", 1.0, expected["method"] == found["method"], 0.0)
    scale = _residual(expected["estimates"])
    for label, one, other in _pairs(expected["estimates"], found.get("estimates", [])):
        error = one["std_error"]
        if error is None:  # on the boundary the likelihood has no curvature
            error = 1.0 if label.startswith("corr(") else scale
        yield _row(label, one["estimate"], other.get("estimate"), tolerance * error)
        if one["std_error"] is not None or other.get("std_error") is not None:
            error = _number(one["std_error"])
            yield _row(f"error of {label}", error, other.get("std_error"), ERROR * error)


def _posterior(expected: dict[str, Any], found: dict[str, Any]) -> Iterator[tuple]:
    for label, one, other in _pairs(expected["estimates"], found["estimates"]):
        for kind in ("mean", "sd"):
            error = math.hypot(_number(other.get(f"mcse_{kind}")), one[f"mcse_{kind}"])
            error = max(error, EXACT * one["sd"] / LIMIT)
            yield _row(f"{kind} of {label}", one[kind], other.get(kind), LIMIT * error, error)


def _scores(expected: dict[str, Any], found: dict[str, float]) -> Iterator[tuple]:
    runs = expected["runs"]
    for target, one in expected["scores"].items():
        error = one["sd"] * math.sqrt(1.0 + 1.0 / runs)
        yield _row(f"elpd of a new {target}", one["elpd"], found.get(target), score_limit(one["sd"], runs), error)


def score_limit(sd: float, runs: int) -> float:
    """How far a score may be from the mean of several runs.

    Parameters
    ----------
    sd : float
        Of the runs.
    runs : int

    Returns
    -------
    float

    Examples
    --------
    >>> [round(score_limit(sd, 10), 2) for sd in (0.0, 0.1, 0.5)]
    [0.25, 0.85, 2.0]
    """
    return min(MOST, max(LEAST, float(stats.t.isf(TAIL, runs - 1)) * sd * math.sqrt(1.0 + 1.0 / runs)))


def agree(block: str, expected: dict[str, Any], found: dict[str, Any], tolerance: float) -> bool:
    """Whether two recordings of a block say the same.

    Parameters
    ----------
    block : {"maximum", "posterior", "elpd"}
    expected, found : dict
        As in ``expected.json``.
    tolerance : float
        Of the estimates of a maximum, in their standard errors.

    Returns
    -------
    bool
        False, too, if the expected one is not as it should be.
    """
    try:
        if block == "maximum":
            rows = list(_maximum(expected, found, tolerance))
        elif block == "posterior":
            rows = list(_posterior(expected, found))
        else:
            rows = list(_scores(expected, {target: one["elpd"] for target, one in found["scores"].items()}))
    except (KeyError, TypeError, ValueError, AttributeError):
        return False
    return all(row[-1] for row in rows)


def _row(quantity: str, expected: float, found: float | None, tolerance: float, error: float = np.nan) -> tuple:
    expected, found = float(expected), _number(found)
    difference = found - expected
    ok = bool(abs(difference) <= tolerance)
    return quantity, expected, found, difference, tolerance, difference / (error or np.nan), ok


def _number(value: float | None) -> float:
    return np.nan if value is None else float(value)


def _pairs(expected: list[dict], found: list[dict]) -> Iterator[tuple[str, dict, dict]]:
    """Label, expected and found of every parameter that either knows."""
    ours = {tuple(row[key] for key in LABELS): row for row in found}
    theirs = {tuple(row[key] for key in LABELS): row for row in expected}
    blank = dict.fromkeys(("estimate", "mean", "sd"), np.nan) | dict.fromkeys(("std_error",)) | NO_ERROR
    for key in {**theirs, **ours}:
        _, group, term = key
        label = term if group is None or group == "Residual" else f"{term} of {group}"
        yield label, theirs.get(key, blank), ours.get(key, {})


NO_MAXIMUM = {"method": "none"} | dict.fromkeys(("rows", "singular", "criterion"), np.nan)
NO_ERROR = {"mcse_mean": 0.0, "mcse_sd": 0.0}


def _residual(estimates: list[dict]) -> float:
    """The residual standard deviation, or 1 where there is none: the unit of a variance at zero."""
    return next((row["estimate"] for row in estimates if row["term"] == "sigma"), 1.0)
