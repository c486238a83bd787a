"""Cross-validation of several methods on the same folds: random rows, and whole clusters.

Random folds ask how well rows of clusters are predicted of which other rows are known; folds of whole clusters, how
well those of a new one. The first answer is usually the better one, and given for the second question it is
optimistic: rows of one cluster are alike, so that with rows dealt at random a method has seen near copies of what
it is asked (Roberts et al. 2017, Ecography 40, 913).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import pandas as pd

from hierbayes.cross_validation.kfold import fold_of_levels, fold_of_rows
from hierbayes.design import Design, Factor, check_same_data
from hierbayes.errors import HierbayesError, suggest
from hierbayes.model import Model
from hierbayes.progress import bar
from hierbayes.results import Fit
from hierbayes.rivals.features import DATA, FEATURES, FIXED, NUMBER, ONE_HOT, Features
from hierbayes.rivals.methods import (
    Method,
    estimator,
    mixed_inside,
    ordinary_regression,
    posterior,
    restricted_maximum,
)
from hierbayes.rivals.result import GROUPED, RANDOM, CrossValidation
from hierbayes.rivals.scores import log_score, root_mean_square

TREES = 100
"""Of the random forests."""
ORDINARY, DUMMIES = "ordinary regression", "ordinary regression, group dummies"
REML, BAYES = "REML", "Bayes"
REMEDY = 'does it need the columns of the data? Give (estimator, "data")'
"""For an estimator that sees something else, and always fails."""
FAILURES = (HierbayesError, ValueError, np.linalg.LinAlgError)
"""What a method raises for rows that it cannot be fitted to."""
PREDICTIONS = ["method", "scheme", "repeat", "fold", "row", "group", "observed", "predicted", "log_density"]
"""Columns of the table of single predictions."""


def cross_validate(
    model: Model,
    estimators: Mapping[str, Any] | None = None,
    k: int = 5,
    repeats: int = 1,
    seed: int = 0,
    group: str | None = None,
    bayes: bool | Fit = True,
    progress: bool | None = None,
) -> CrossValidation:
    """Cross-validate a mixed model and its rivals on the same folds, for known and for new clusters.

    Two schemes: "random K-fold" deals rows into k parts at random, so that most clusters of the rows left out are
    known from other rows; "grouped K-fold" deals whole clusters, so that all of them are new. The methods are
    ordinary regression on the fixed effects, with and without a dummy for each cluster; random forests on the fixed
    effects alone, with an indicator of each cluster, and with the cluster as a number (a trap: numbers of clusters
    have no order); the model by REML; and its posterior. Each is fitted anew without each part.

    Parameters
    ----------
    model : Model
        Of a Gaussian response with identity link.
    estimators : mapping of str to estimator or (estimator, features), optional
        Regressors of scikit-learn to take in place of the random forests; ``{}`` for none. ``features`` says what
        they see: "fixed" (the columns of the fixed effects, the default), "one-hot" or "number" (the cluster
        besides), or "data" (the columns of the data that the right side of the formula uses, the default of a
        `MixedRegressor` and of pipelines and searches that hold one).
    k : int, default 5
        Number of parts; at most one a cluster where clusters are dealt.
    repeats : int, default 1
        How often everything is dealt anew.
    seed : int, default 0
        Of the dealing, the random forests and the posterior, from 0 on. The first repeat has the parts of
        ``fit.kfold(k, seed=seed)`` and ``fit.kfold(k, group=group, seed=seed)``.
    group : str, optional
        The grouping factor whose levels are the clusters; needed if there are several. What the model says of the
        other factors stays known.
    bayes : bool or Fit, default True
        Whether to sample the posterior; a `Fit` of the same model is sampled again as it was.
    progress : bool, optional
        Show a progress bar; by default if somebody is watching.

    Returns
    -------
    CrossValidation
        ``.table`` has one row a method and scheme, ``.optimism`` what random folds promise too much.
        Everything is the same for the same seed.

    Raises
    ------
    ValueError
        If `k`, `repeats`, `seed`, `group`, `bayes` or an estimator are impossible.
    HierbayesError
        For a response that is not Gaussian; `MixedRegressor` and scikit-learn's ``cross_val_score`` take any family.
    ImportError
        Without scikit-learn, unless `estimators` is empty.

    Warns
    -----
    ConvergenceWarning
        If a posterior is not to be trusted; the note counts them. That a REML fit is singular is only counted.

    Notes
    -----
    A fit that fails for its data (say, no remaining row has some category) is counted in ``failures``, its rows have
    no prediction and the note says why. Columns of the design are made once, of all rows: ``scale(x)``, means of
    groups and the like know the rows left out, the response does not.

    Residuals that are correlated within series (``residual=``) can be left out by whole series only. Random folds
    part series, so that REML and Bayes have no answer there, and the note says so: how well later rows of known
    series are predicted is what ``fit.lfo()`` asks.

    Precision weights (``weights=``, ``se=``) are the sample weights of an estimator or of the last step of a
    pipeline; where it takes none, the note says that they are not used.

    Examples
    --------
    >>> import hierbayes as hb
    >>> model = hb.Model("test_score ~ study_hours + (1 | school)", hb.load_data("education"))
    >>> found = hb.cross_validate(model, estimators={}, bayes=False)
    >>> found.table[["method", "scheme", "known", "rmse", "n"]].round(2)
                                  method          scheme  known   rmse    n
    0                   ordinary regression   random K-fold    1.0  11.08  500
    1                   ordinary regression  grouped K-fold    0.0  11.49  500
    2  ordinary regression, group dummies   random K-fold    1.0   9.69  500
    3  ordinary regression, group dummies  grouped K-fold    0.0    NaN    0
    4                                  REML   random K-fold    1.0   9.69  500
    5                                  REML  grouped K-fold    0.0  11.48  500
    >>> found.optimism.loc["REML", ["optimism", "percent"]].round(1).tolist()
    [1.8, 18.5]

    Random folds promise the model an RMSE of 9.7 points; for a student of a new school it is 11.5. It is still the
    right model: for students of known schools it gains 1.4 points on ordinary regression, and loses nothing for
    others.
    """
    if not isinstance(model, Model):
        raise ValueError(f"cross_validate() takes a Model, not a {type(model).__name__}; make one by hb.Model(...)")
    design = model.design
    if not model.family.exact:
        raise HierbayesError(
            f"cross_validate() needs a Gaussian response with identity link, not {model.family}; MixedRegressor and "
            "cross_val_score of scikit-learn take any family."
        )
    factor = _clusters(design, group)
    _check_counts(design, k, repeats, seed)
    given = _with_features(_forests(seed) if estimators is None else estimators)
    methods = _methods(model, factor, given, seed, bayes)
    needy = [name for name, (_, kind) in given.items() if kind != DATA]
    deals = {
        RANDOM: [fold_of_rows(design.n, k, rng) for rng in _generators(seed, repeats)],
        GROUPED: [fold_of_levels(factor, min(k, len(factor.levels)), rng) for rng in _generators(seed, repeats)],
    }
    known = {scheme: _share_known(factor, folds) for scheme, folds in deals.items()}
    rows, made = [], []
    fits = len(methods) * sum(int(fold.max()) + 1 for folds in deals.values() for fold in folds)
    with bar("cross-validation", fits, progress) as advance:
        for name, method in methods.items():
            for scheme, folds in deals.items():
                runs = [_run(method, fold, advance) for fold in folds]
                part = factor.codes if scheme == GROUPED else None
                rows.append(
                    {"method": name, "scheme": scheme, "known": known[scheme]}
                    | _scores(design, runs, part, REMEDY if name in needy else "")
                )
                made += [
                    _rows(design, factor, run).assign(method=name, scheme=scheme, repeat=repeat)
                    for repeat, run in enumerate(runs)
                ]
    predictions = pd.concat(made, ignore_index=True)[PREDICTIONS]
    return CrossValidation(
        pd.DataFrame(rows), predictions, design.formula, design.response, factor.name, design.n_dropped
    )


@dataclass(frozen=True)
class _Run:
    """What a method said of all rows, fold by fold.

    Parameters
    ----------
    fold : (n,) int array
    mean, log_density : (n,) arrays
    remarks : dict of str to int
        How often each was made.
    failures : list of str
    """

    fold: np.ndarray
    mean: np.ndarray
    log_density: np.ndarray
    remarks: Counter[str]
    failures: list[str]


def _run(method: Method, fold: np.ndarray, advance: Callable[[int], None]) -> _Run:
    run = _Run(fold, np.full(len(fold), np.nan), np.full(len(fold), np.nan), Counter(), [])
    for part in range(int(fold.max()) + 1):
        new = np.flatnonzero(fold == part)
        try:
            found = method(np.flatnonzero(fold != part), new)
        except FAILURES as error:
            run.failures.append((str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".:"))
        else:
            run.mean[new] = found.mean
            if found.log_density is not None:
                run.log_density[new] = found.log_density
            run.remarks.update(found.remarks)
        advance(1)
    return run


def _scores(design: Design, runs: list[_Run], part: np.ndarray | None, remedy: str) -> dict[str, Any]:
    """The columns of the table that are computed from predictions; a remedy for methods of which all fits failed."""
    fold, mean, density = (np.array([getattr(run, name) for run in runs]) for name in ("fold", "mean", "log_density"))
    rmse, rmse_se = root_mean_square(design.y - mean, fold)
    elpd, elpd_se = log_score(density, part)
    fits = sum(int(run.fold.max()) + 1 for run in runs)
    failures = [message for run in runs for message in run.failures]
    remarks = sum((run.remarks for run in runs), Counter())
    missing = int(np.isnan(mean).any(axis=0).sum())
    notes = [f"{text} in {count} of {fits} fits" if count < fits else text for text, count in remarks.items()]
    if failures:
        notes.insert(0, f"{len(failures)} of {fits} fits failed: {'; '.join(dict.fromkeys(failures))}")
    if remedy and len(failures) == fits:
        notes.insert(1, remedy)
    if missing:
        notes.append(f"{missing} of {design.n} rows not predicted")
    return {
        "rmse": rmse,
        "rmse_se": rmse_se,
        "elpd": elpd,
        "elpd_se": elpd_se,
        "n": design.n - missing,
        "folds": fits,
        "failures": len(failures),
        "note": "; ".join(notes),
    }


def _rows(design: Design, factor: Factor, run: _Run) -> pd.DataFrame:
    """The predictions of a run, row by row."""
    return pd.DataFrame(
        {
            "fold": run.fold,
            "row": np.arange(design.n) if design.row_labels is None else design.row_labels,
            "group": factor.levels[factor.codes],
            "observed": design.y,
            "predicted": run.mean,
            "log_density": run.log_density,
        }
    )


def _share_known(factor: Factor, folds: list[np.ndarray]) -> float:
    """Share of the rows with another row of their cluster in another part."""
    size = np.bincount(factor.codes)[factor.codes]
    shares = []
    for fold in folds:
        cell = factor.codes * (int(fold.max()) + 1) + fold
        shares.append(float((np.bincount(cell)[cell] < size).mean()))
    return float(np.mean(shares))


def _generators(seed: int, repeats: int) -> list[np.random.Generator]:
    return [np.random.default_rng(seed if repeat == 0 else [seed, repeat]) for repeat in range(repeats)]


def _clusters(design: Design, group: str | None) -> Factor:
    """The grouping factor whose levels are the clusters."""
    factors = {factor.name: factor for factor in design.groupings}
    if group is None and len(factors) > 1:
        raise ValueError(f"the model has the grouping factors {', '.join(factors)}; name the clusters in group=")
    name = next(iter(factors)) if group is None else group
    if name not in factors:
        raise ValueError(f"the model has no grouping factor {name!r}. {suggest(name, factors)}")
    if len(factors[name].levels) < 2:
        raise ValueError(f"{name!r} has but one level, and none to predict it from")
    return factors[name]


def _check_counts(design: Design, k: int, repeats: int, seed: int) -> None:
    if not (isinstance(k, (int, np.integer)) and 2 <= k <= design.n):
        raise ValueError(f"k must be a whole number between 2 and the {design.n} rows, not {k!r}")
    if not (isinstance(repeats, (int, np.integer)) and repeats > 0):
        raise ValueError(f"repeats must be a positive whole number, not {repeats!r}")
    if not (isinstance(seed, (int, np.integer)) and seed >= 0):
        raise ValueError(f"seed must be a whole number from 0 on, so that all folds can be dealt again, not {seed!r}")


def _methods(
    model: Model, factor: Factor, estimators: Mapping[str, tuple[Any, str]], seed: int, bayes: bool | Fit
) -> dict[str, Method]:
    """All methods by name, in the order of the table."""
    found: dict[str, Method] = {
        ORDINARY: ordinary_regression(model),
        DUMMIES: ordinary_regression(model, factor),
    }
    features = Features(model.specification, factor)
    for name, (unfitted, kind) in estimators.items():
        if name in (ORDINARY, DUMMIES, REML, BAYES):
            raise ValueError(f"{name!r} is a method already; give the estimator another name")
        found[name] = estimator(features, kind, unfitted)
    found[REML] = restricted_maximum(model)
    if not isinstance(bayes, (bool, Fit)):
        raise ValueError(f"bayes must be True, False or what model.fit() gave, not a {type(bayes).__name__}")
    if bayes:
        fit = bayes if isinstance(bayes, Fit) else cast("Fit", model.fit(seed=seed, progress=False))
        if fit.design.formula != model.formula:
            raise ValueError(f"bayes= is a fit of {fit.design.formula!r}, not of the model {model.formula!r}")
        check_same_data(model.design, fit.design, ("model", "bayes"))
        found[BAYES] = posterior(fit)
    return found


def _forests(seed: int) -> dict[str, tuple[Any, str]]:
    """Random forests without the cluster, with indicators of it, and with its number."""
    try:
        from sklearn.ensemble import RandomForestRegressor
    except ImportError as error:
        raise ImportError(
            "The random forests need scikit-learn: pip install 'hierbayes[sklearn]'; estimators={} leaves them out."
        ) from error
    forest = RandomForestRegressor(n_estimators=TREES, random_state=seed)
    return {
        "random forest": (forest, FIXED),
        "random forest, group one-hot": (forest, ONE_HOT),
        "random forest, group as a number": (forest, NUMBER),
    }


def _with_features(estimators: Mapping[str, Any]) -> dict[str, tuple[Any, str]]:
    """Estimators with the features that they see."""
    if not isinstance(estimators, Mapping):
        raise ValueError(f"estimators must be a dict of names and estimators, not a {type(estimators).__name__}")
    found = {}
    for name, given in estimators.items():
        if isinstance(given, tuple) and len(given) != 2:
            raise ValueError(f"{name!r} must be an estimator or (estimator, features), not {len(given)} things")
        unfitted, kind = given if isinstance(given, tuple) else (given, None)
        if isinstance(unfitted, type):
            raise ValueError(f"{name!r} is the class {unfitted.__name__}; give an estimator, {unfitted.__name__}()")
        if not (hasattr(unfitted, "fit") and hasattr(unfitted, "predict")):
            raise ValueError(f"{name!r} must be an estimator of scikit-learn, with fit and predict")
        if kind is None:
            kind = DATA if mixed_inside(unfitted) else FIXED
        if kind not in FEATURES:
            raise ValueError(f"the features of {name!r} must be one of {', '.join(FEATURES)}, not {kind!r}")
        found[name] = unfitted, kind
    return found
