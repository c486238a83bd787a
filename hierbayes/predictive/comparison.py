r"""Which model predicts better: expected log predictive densities side by side.

The difference between two models is a sum over what is left out, rows or groups, so its standard error is
``sqrt(n var(d_i))`` with the n paired differences d_i, and both must have left out the same things. Weights are
those of stacking (Yao, Vehtari, Simpson & Gelman 2018). A difference within its standard error says that the data do
not tell the models apart, not that they are equally good (Sivula, Magnusson, Matamoros & Vehtari 2025).
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from hierbayes.design import check_same_response
from hierbayes.errors import ComparisonWarning, DataError, HierbayesError, ParetoWarning
from hierbayes.estimates import Posterior
from hierbayes.predictive.loo import grouping_factor, logo, loo

if TYPE_CHECKING:
    from arviz_stats.utils import ELPDData

TARGETS = ("row", "group")


def compare(
    models: Mapping[str, Posterior | ELPDData],
    target: str = "row",
    group: str | None = None,
    joint: bool = False,
    **options: Any,
) -> pd.DataFrame:
    """Compare models by their expected log predictive density.

    Parameters
    ----------
    models : mapping of str to Fit or ELPDData
        At least two: fits, or what `Fit.loo`, `Fit.logo`, `Fit.reloo` or `Fit.kfold` returned.
    target : {"row", "group"}, default "row"
        What a fit has to predict: a new row of a known group (`Fit.loo`), or a new group (`Fit.logo`).
    group : str, optional
        With ``target="group"``, the grouping factor; needed where a model has several.
    joint : bool, default False
        With ``target="group"``, score every group as a whole instead of its rows one by one.
    **options
        Of ``arviz.compare``: ``method`` ("stacking" by default), ``reference``, ``round_to``.

    Returns
    -------
    pandas.DataFrame
        ArviZ's table, best model first: elpd_diff with its standard error dse, elpd, weight and so on.

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
    if target not in TARGETS:
        raise ValueError(f"target must be 'row' or 'group', not {target!r}")
    if len(models) < 2:
        raise ValueError(f"a comparison needs at least two models, not {len(models)}")
    if target == "row" and (group is not None or joint):
        raise ValueError("group= and joint= go with target='group'")
    import arviz as az

    fits = {name: model for name, model in models.items() if isinstance(model, Posterior)}
    _check_same_data(fits, target, group)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ParetoWarning)  # said below, by model
        scored = {name: loo(fit) if target == "row" else logo(fit, group, joint) for name, fit in fits.items()}
    elpds: dict[str, Any] = {name: scored.get(name, model) for name, model in models.items()}
    _check_same_target(elpds)
    table: pd.DataFrame = az.compare(elpds, **options)
    for sentence in [*_close(elpds), *_unreliable(elpds)]:
        warnings.warn(sentence, ComparisonWarning, stacklevel=2)
    return table


def _check_same_data(fits: Mapping[str, Posterior], target: str, group: str | None) -> None:
    """Refuse fits of different rows, responses or, where groups are left out, groups."""
    for (first, one), (second, other) in _pairs(fits):
        check_same_response(one.design, other.design, (first, second))
        if target == "group" and not np.array_equal(_groups(one, group), _groups(other, group)):
            raise DataError(
                f"{first!r} and {second!r} have different groups, so that leaving one out means different things."
            )


def _groups(fit: Posterior, group: str | None) -> np.ndarray:
    factor = grouping_factor(fit, group)
    return factor.levels.astype(str)[factor.codes]


def _check_same_target(elpds: Mapping[str, Any]) -> None:
    """Refuse scores of different things."""
    for name, elpd in elpds.items():
        if getattr(elpd, "elpd_i", None) is None:
            raise HierbayesError(
                f"{name!r} is a {type(elpd).__name__} without pointwise scores; give a Fit, or what fit.loo(), "
                "fit.logo() or fit.kfold() returned."
            )
    for (first, one), (second, other) in _pairs(elpds):
        if (a := _left_out(one)) != (b := _left_out(other)):
            raise HierbayesError(f"{first!r} and {second!r} cannot be compared: one leaves out {a}, the other {b}.")
        if one.elpd_i.shape != other.elpd_i.shape or not _same_items(one, other):
            raise HierbayesError(
                f"{first!r} and {second!r} cannot be compared: they do not score the same {one.elpd_i.size} and "
                f"{other.elpd_i.size} items; fit both to the same rows."
            )


def _left_out(elpd: Any) -> str:
    """What was left out, in words that are the same for what may be compared."""
    group = getattr(elpd, "group", None)
    if (parts := getattr(elpd, "n_folds", None)) is not None:
        return f"{parts} parts" + ("" if group is None else f" of the levels of {group!r}")
    if group is None:
        return "one row at a time" if elpd.kind == "loo" else str(elpd.kind)
    return f"one level of {group!r} at a time, scored " + ("as a whole" if elpd.joint else "row by row")


def _same_items(one: Any, other: Any) -> bool:
    """Whether the same rows or groups were left out, in the same parts."""
    fold, other_fold = getattr(one, "fold", None), getattr(other, "fold", None)
    labels, other_labels = (next(iter(each.elpd_i.coords.values()), None) for each in (one, other))
    same_labels = labels is None or other_labels is None or np.array_equal(labels, other_labels)
    return same_labels and (fold is None or other_fold is None or np.array_equal(fold, other_fold))


def _pairs(models: Mapping[str, Any]) -> list[tuple[tuple[str, Any], tuple[str, Any]]]:
    """The first model with each of the others."""
    first, *others = models.items() or [("", None)]
    return [(first, other) for other in others]


def _close(elpds: Mapping[str, Any]) -> list[str]:
    """Which models the data do not tell from the best one."""
    (best, one), *others = sorted(elpds.items(), key=lambda item: -item[1].elpd)
    found = []
    for name, other in others:
        difference = one.elpd_i.to_numpy().ravel() - other.elpd_i.to_numpy().ravel()
        total, error = difference.sum(), np.sqrt(difference.size * difference.var())
        if total <= error:
            found.append(
                f"{best!r} is ahead of {name!r} by {total:.1f}, within the standard error of {error:.1f}: the data "
                "do not tell which predicts better."
            )
    return found


def _unreliable(elpds: Mapping[str, Any]) -> list[str]:
    """Where importance sampling failed."""
    return [
        f"Pareto k of {name!r} is above {elpd.good_k:.2f} for {int((elpd.pareto_k > elpd.good_k).sum())} of "
        f"{elpd.pareto_k.size} scores; compare what fit.reloo() returns."
        for name, elpd in elpds.items()
        if elpd.pareto_k is not None and elpd.good_k is not None and bool((elpd.pareto_k > elpd.good_k).any())
    ]
