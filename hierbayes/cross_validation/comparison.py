r"""Which model predicts better: expected log predictive densities side by side.

The difference between two models is a sum over what is left out, rows or groups, so its standard error is
``sqrt(n var(d_i))`` with the n paired differences d_i, and both must have left out the same things. Where whole
groups are left out and their rows scored one by one, d_i are the differences of whole groups, for the rows of one go
up and down together; ArviZ's own table takes them for independent. Weights are those of stacking (Yao, Vehtari,
Simpson & Gelman 2018). A difference within its standard error says that the data do not tell the models apart, not
that they are equally good (Sivula, Magnusson, Matamoros & Vehtari 2025).
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import xarray as xr

from hierbayes import display
from hierbayes.cross_validation import family_loo
from hierbayes.cross_validation.future import FUTURE, own_times
from hierbayes.cross_validation.leave_future_out import lfo
from hierbayes.cross_validation.loo import grouping_factor, logo, loo
from hierbayes.cross_validation.source import trials_of
from hierbayes.design import check_same_response
from hierbayes.errors import ComparisonWarning, DataError, HierbayesError, ParetoWarning
from hierbayes.estimates import FamilyPosterior, Posterior, Sampled

if TYPE_CHECKING:
    from arviz_stats.utils import ELPDData

    from hierbayes.cross_validation.elpd import ELPD

TARGETS = ("row", "group", FUTURE)
OF_PARTS = {"elpd", "se", "elpd_diff", "dse", "p_worse", "p_better"}
"""What standard errors of sums over groups change in the table, by rounding if not in value."""
OTHER_TRIALS = "{!r} and {!r} do not have the same number of trials row by row."
PLAIN = "pseudo-bma"
"""The method whose weights cost nothing, where these are not used."""


class Comparison(pd.DataFrame):
    """The table of `compare`: a data frame like any other, that a notebook shows with what it compares.

    ``attrs`` has what was left out, how many items that makes, the model that differences are to (None of the best),
    differences and their standard errors without rounding, and the sentences that were warned of; whatever is done
    with the table gives a plain `pandas.DataFrame`.
    """

    def _repr_html_(self) -> str:
        remarks = display.said(("warning", sentence) for sentence in self.attrs.get("remarks", ()))
        caption = f"Expected log predictive density, leaving out {self.attrs.get('left_out', 'the same')}"
        told = self.loc[:, [(self[column] != "").any() for column in self]]
        return display.document("Comparison, best model first", remarks, display.table(told, caption, longest=100))


def compare(
    models: Mapping[str, Sampled | ELPDData],
    target: str | None = None,
    group: str | None = None,
    joint: bool = False,
    **options: Any,
) -> pd.DataFrame:
    """Compare models by their expected log predictive density.

    Parameters
    ----------
    models : mapping of str to Fit, FamilyFit or ELPDData
        At least two: fits, or what `Fit.loo`, `Fit.logo`, `Fit.lfo`, `Fit.reloo` or `Fit.kfold` returned.
    target : {"row", "group", "future"}, optional
        What a fit has to predict: a new row of a known group (`Fit.loo`, the default), a new group (`Fit.logo`), or
        the rows of the next time (`Fit.lfo` with its defaults; the times are those of the fit that has
        ``residual="ar1(time | g)"``, and other times, starts and horizons go by giving what `Fit.lfo` returned).
        Scores that are given have to be of this target, if it is said.
    group : str, optional
        With ``target="group"``, the grouping factor; needed where a model has several.
    joint : bool, default False
        With ``target="group"``, score every group as a whole instead of its rows one by one.
    **options
        Of ``arviz.compare``: ``method`` ("stacking" by default), ``reference``, ``round_to``. Rounding is for
        reading; ``attrs["exact"]`` has differences and their standard errors as they are.

    Returns
    -------
    pandas.DataFrame
        ArviZ's table, best model first: elpd_diff with its standard error dse, elpd, weight and so on. Standard
        errors are those of sums over groups where whole groups are left out.

    Raises
    ------
    HierbayesError
        If the models were fitted to different rows, responses or groups, or left out different things.
    ValueError
        For another target, or fewer than two models.

    Warns
    -----
    ComparisonWarning
        If the best model is within a standard error of another, or importance sampling failed for a model.

    Examples
    --------
    >>> import hierbayes as hb
    >>> data = hb.load_data("sleepstudy")
    >>> intercepts = hb.Model("Reaction ~ Days + (1 | Subject)", data).fit(draws=500, seed=1, progress=False)
    >>> slopes = hb.Model("Reaction ~ Days + (Days | Subject)", data).fit(draws=500, seed=1, progress=False)
    >>> hb.compare({"intercepts": intercepts, "slopes": slopes}).index.tolist()
    ['slopes', 'intercepts']
    """
    if target not in {None, *TARGETS}:
        raise ValueError(f"target must be 'future', 'row' or 'group', not {target!r}")
    if not isinstance(models, Mapping):
        raise ValueError('compare needs a name for every model; give a dict: hb.compare({"one": fit, "two": other}).')
    if len(models) < 2:
        raise ValueError(f"a comparison needs at least two models, not {len(models)}")
    if target != "group" and (group is not None or joint):
        raise ValueError("group= and joint= go with target='group'")
    import arviz as az

    fits = {name: model for name, model in models.items() if isinstance(model, (Posterior, FamilyPosterior))}
    _check_same_data(fits, target, group)
    for name, model in models.items():
        if name not in fits:
            _check_target(name, model, target, group, joint)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ParetoWarning)  # said below, by model
        if target == FUTURE:
            scored = _future(fits)
        else:
            scored = {name: _scored(fit, target, group, joint) for name, fit in fits.items()}
    elpds: dict[str, Any] = {name: scored.get(name, model) for name, model in models.items()}
    _check_same_target(elpds)
    table: pd.DataFrame = az.compare(elpds, **options)
    part = _part(elpds)
    summed = elpds if part is None else {name: _summed(elpd, part) for name, elpd in elpds.items()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # said above
        exact = az.compare(summed, **options | {"method": PLAIN, "round_to": "none"})
        if part is not None:
            of_parts = az.compare(summed, **options | {"method": PLAIN})
            for column in OF_PARTS & set(table.columns):
                table[column] = of_parts[column]
    remarks = [*_close(elpds, part), *_unreliable(elpds)]
    for sentence in remarks:
        warnings.warn(sentence, ComparisonWarning, stacklevel=2)
    shown = Comparison(table)
    first = next(iter(elpds.values()))
    shown.attrs |= {
        "left_out": _left_out(first),
        "items": first.elpd_i.size if part is None else len(np.unique(part)),
        "reference": options.get("reference"),
        "exact": exact[["elpd_diff", "dse"]].to_dict(),
        "remarks": remarks,
    }
    return shown


def _scored(fit: Posterior | FamilyPosterior, target: str | None, group: str | None, joint: bool) -> ELPD:
    """Leave out rows or groups."""
    if isinstance(fit, FamilyPosterior):
        return family_loo.logo(fit, group, joint) if target == "group" else family_loo.loo(fit)
    return logo(fit, group, joint) if target == "group" else loo(fit)


def _future(fits: Mapping[str, Sampled]) -> dict[str, Any]:
    """Leave out the future of the same rows, at the times that one of the fits has."""
    gaussian = {name: fit for name, fit in fits.items() if isinstance(fit, Posterior)}
    if other := [name for name in fits if name not in gaussian]:
        raise HierbayesError(
            f"Leaving out the future needs a Gaussian response with identity link, which {other[0]!r} has not."
        )
    time = next((found for fit in gaussian.values() if (found := own_times(fit)) is not None), None)
    # of the rows in their order, not of their labels
    of_rows = None if time is None else time.array
    return {name: lfo(fit, of_rows) for name, fit in gaussian.items()}


def _check_same_data(fits: Mapping[str, Sampled], target: str | None, group: str | None) -> None:
    """Refuse fits of different rows, responses or, where groups are left out, groups."""
    for (first, one), (second, other) in _pairs(fits):
        check_same_response(one.design, other.design, (first, second))
        _check_same_trials(one, other, (first, second))
        if target == "group" and not np.array_equal(_groups(one, group), _groups(other, group)):
            raise DataError(
                f"{first!r} and {second!r} have different groups, so that leaving one out means different things."
            )


def _check_same_trials(one: Sampled, other: Sampled, called: tuple[str, str]) -> None:
    """Refuse successes among different numbers of trials; a plain response counts as one trial a row."""
    a, b = trials_of(one.design), trials_of(other.design)
    if a is not None and b is not None and not np.array_equal(a, b):
        raise DataError(OTHER_TRIALS.format(*called))


def _groups(fit: Sampled, group: str | None) -> np.ndarray:
    factor = grouping_factor(fit, group)
    return factor.levels.astype(str)[factor.codes]


def _check_target(name: str, elpd: Any, target: str | None, group: str | None, joint: bool) -> None:
    """Refuse a score of something else than what is asked for."""
    if getattr(elpd, "elpd_i", None) is None:
        raise HierbayesError(
            f"{name!r} is a {type(elpd).__name__} without pointwise scores; give a Fit, or what fit.loo(), "
            "fit.logo(), fit.lfo() or fit.kfold() returned."
        )
    own = getattr(elpd, "group", None)
    other = target is not None and target != (_future_of(elpd) or ("row" if own is None else "group"))
    if other or (group is not None and group != own) or (joint and not getattr(elpd, "joint", False)):
        asked = f"target={target!r}" + (f", group={group!r}" if group else "") + (", joint=True" if joint else "")
        raise HierbayesError(f"{name!r} leaves out {_left_out(elpd)}, which is not {asked}.")


def _check_same_target(elpds: Mapping[str, Any]) -> None:
    """Refuse scores of different things."""
    for (first, one), (second, other) in _pairs(elpds):
        if (a := _left_out(one)) != (b := _left_out(other)):
            raise HierbayesError(f"{first!r} and {second!r} cannot be compared: one leaves out {a}, the other {b}.")
        times, other_times = getattr(one, "times", None), getattr(other, "times", None)
        if times is not None and other_times is not None and _differ(times, other_times):
            raise HierbayesError(
                f"{first!r} and {second!r} cannot be compared: their rows have different times, so that other rows "
                "are the future; give both the same time=."
            )
        if one.elpd_i.shape != other.elpd_i.shape or not _same_items(one, other):
            raise HierbayesError(
                f"{first!r} and {second!r} cannot be compared: they do not score the same {one.elpd_i.size} and "
                f"{other.elpd_i.size} items; fit both to the same rows."
            )
        made_of, other_made_of = getattr(one, "source", None), getattr(other, "source", None)
        if made_of is not None and other_made_of is not None and not made_of.same_data(other_made_of):
            raise DataError(
                f"{first!r} and {second!r} do not have the same response row by row ({made_of.response!r}, "
                f"{other_made_of.response!r}); fit both to the same data frame."
            )
        if made_of is not None and other_made_of is not None and not made_of.same_trials(other_made_of):
            raise DataError(OTHER_TRIALS.format(first, second))
        fold, other_fold = getattr(one, "fold", None), getattr(other, "fold", None)
        if fold is not None and other_fold is not None and not _same_parts(fold, other_fold):
            raise HierbayesError(
                f"{first!r} and {second!r} cannot be compared: the parts differ; use the same seed= or folds=."
            )


def _left_out(elpd: Any) -> str:
    """What was left out, in words that are the same for what may be compared."""
    group = getattr(elpd, "group", None)
    if (parts := getattr(elpd, "n_folds", None)) is not None:
        return f"{parts} parts" + ("" if group is None else f" of the levels of {group!r}")
    if _future_of(elpd):
        scored = "as a whole" if elpd.joint else "row by row"
        return (
            f"the future at {len(elpd.cuts)} times from {elpd.cuts[0]} to {elpd.cuts[-1]} with a horizon of "
            f"{elpd.forecast_horizon}, scored {scored}"
        )
    if group is None:
        return "one row at a time" if elpd.kind == "loo" else str(elpd.kind)
    return f"one level of {group!r} at a time, scored " + ("as a whole" if elpd.joint else "row by row")


def _future_of(elpd: Any) -> str | None:
    """``"future"`` for scores of future rows, else None."""
    return FUTURE if getattr(elpd, "target", None) == FUTURE else None


def _same_items(one: Any, other: Any) -> bool:
    """Whether the same rows or groups were scored."""
    labels, other_labels = (next(iter(each.elpd_i.coords.values()), None) for each in (one, other))
    return labels is None or other_labels is None or np.array_equal(labels, other_labels)


def _differ(times: np.ndarray, other: np.ndarray) -> bool:
    """Whether as many rows have other times."""
    return times.shape == other.shape and not np.array_equal(times, other)


def _same_parts(fold: np.ndarray, other: np.ndarray) -> bool:
    """Whether rows are left out together in both, whatever the parts are called."""
    pairs = len(np.unique([fold, other], axis=1).T)
    return len(np.unique(fold)) == len(np.unique(other)) == pairs


def _part(elpds: Mapping[str, Any]) -> np.ndarray | None:
    """Which scores go up and down together: the fewest parts that any of the models knows of."""
    parts = [elpd.part for elpd in elpds.values() if getattr(elpd, "part", None) is not None]
    return min(parts, key=lambda part: len(np.unique(part)), default=None)


def _summed(elpd: Any, part: np.ndarray) -> Any:
    """The scores of each part summed, and the standard error of that."""
    from hierbayes.cross_validation.elpd import standard_error

    new, scores = copy.copy(elpd), elpd.elpd_i.to_numpy().ravel()
    new.elpd_i = xr.DataArray(np.bincount(part, scores), dims="part")
    new.se = standard_error(scores, part, ddof=0 if hasattr(elpd, "n_folds") else 1)
    return new


def _pairs(models: Mapping[str, Any]) -> list[tuple[tuple[str, Any], tuple[str, Any]]]:
    """The first model with each of the others."""
    first, *others = models.items() or [("", None)]
    return [(first, other) for other in others]


def _close(elpds: Mapping[str, Any], part: np.ndarray | None) -> list[str]:
    """Which models the data do not tell from the best one."""
    from hierbayes.cross_validation.elpd import standard_error

    (best, one), *others = sorted(elpds.items(), key=lambda item: -item[1].elpd)
    found = []
    for name, other in others:
        difference = one.elpd_i.to_numpy().ravel() - other.elpd_i.to_numpy().ravel()
        total, error = difference.sum(), standard_error(difference, part, ddof=0)
        if total <= error:
            found.append(
                f"{best!r} is ahead of {name!r} by {total:.1f}, within the standard error of {error:.1f}: the data "
                "do not tell which predicts better."
            )
    return found


def _unreliable(elpds: Mapping[str, Any]) -> list[str]:
    """Where importance sampling failed."""
    return [
        f"Pareto k of {name!r} is above {elpd.good_k:.2f} for {int((~(elpd.pareto_k <= elpd.good_k)).sum())} of "
        f"{elpd.pareto_k.size} scores; compare what "
        f"fit.{'loo' if getattr(elpd, 'conditional', False) else 'lfo' if _future_of(elpd) else 'reloo'}() returns."
        for name, elpd in elpds.items()
        if elpd.pareto_k is not None and elpd.good_k is not None and bool((~(elpd.pareto_k <= elpd.good_k)).any())
    ]
