"""Where importance sampling fails: exact refits, or moment matching, of those rows or groups only.

A Pareto k above its threshold says that the posterior without a row or a group is too far from the posterior of all
rows. What is said of these items is replaced, the others stay; nothing of the size rows x draws is made.

A refit without the item gives draws of that posterior. A row, or a group scored as a whole, then has its predictive
density from these draws and those of the fit together (`hierbayes.evidence.bennett`), for the plain average over
the refit alone has a large error just where the item is surprising. The rows of a group that is left out are scored
one by one, by the plain average.
"""

from __future__ import annotations

import copy
import logging
import warnings
from typing import TYPE_CHECKING

import numpy as np

from hierbayes.errors import HierbayesError, ParetoWarning
from hierbayes.estimates import Posterior
from hierbayes.evidence.bennett import log_ratio, relative_error
from hierbayes.predictive.posterior_refits import Cost, Target, cost, log_mean
from hierbayes.progress import bar

if TYPE_CHECKING:
    from hierbayes.predictive.elpd import ELPD

logger = logging.getLogger("hierbayes")


def high(elpd: ELPD, k_threshold: float | None = None) -> np.ndarray:
    """Positions of the items whose Pareto k is above a threshold, by default ``elpd.good_k``."""
    return np.flatnonzero(elpd.pareto_k.to_numpy() > (elpd.good_k if k_threshold is None else k_threshold))


def refit_cost(fit: Posterior, elpd: ELPD, k_threshold: float | None = None) -> Cost:
    """Estimate what `reloo` would take.

    Parameters
    ----------
    fit : Posterior
    elpd : ELPD
    k_threshold : float, optional

    Returns
    -------
    Cost
    """
    target, items = target_of(fit, elpd), high(elpd, k_threshold)
    return cost(fit, len(np.unique(target.sets(items))))


def reloo(fit: Posterior, elpd: ELPD, k_threshold: float | None = None, progress: bool | None = None) -> ELPD:
    """Replace items with a high Pareto k by exact refits without them; see `hierbayes.Fit.reloo`."""
    from hierbayes.predictive.wrapper import GaussianWrapper

    target, items = target_of(fit, elpd), high(elpd, k_threshold)
    if not len(items):
        return elpd
    sets = target.sets(items)
    expected = refit_cost(fit, elpd, k_threshold)
    logger.info("exact cross-validation of %d of %d: %s", len(items), len(elpd.pareto_k), expected)
    values, errors = np.empty(len(items)), np.empty(len(items))
    with bar(str(expected), expected.refits, progress) as advance:
        wrapper = GaussianWrapper(fit, target.group, target.joint, items, advance)
        above = wrapper.log_likelihood.to_numpy()
        for together in np.unique(sets):
            which = np.flatnonzero(sets == together)
            kept, excluded = wrapper.sel_observations(which)
            refit = wrapper.get_inference_data(wrapper.sample(kept))
            below = wrapper.log_likelihood__i(excluded, refit).to_numpy()
            for column, at in enumerate(which):
                own = below[..., column]
                if target.alone:
                    values[at], errors[at] = log_ratio(own, above[..., at])
                else:
                    values[at], errors[at] = log_mean(own.ravel()), relative_error(own)
    note = f"Exact refits of {len(items)}, each within a Monte Carlo error of {errors.max():.2g}."
    return _replaced(elpd, items, values, np.zeros(len(items)), note)


def moment_match(fit: Posterior, elpd: ELPD, k_threshold: float | None = None) -> ELPD:
    """Replace items with a high Pareto k by moment matching; see `hierbayes.Fit.moment_match`."""
    import arviz as az

    from hierbayes.predictive.wrapper import GaussianWrapper

    target, items = target_of(fit, elpd), high(elpd, k_threshold)
    if not target.alone:
        raise HierbayesError(
            "Moment matching scores all that is left out, but here rows are scored one by one while a whole group is "
            "left out; score groups as a whole (joint=True), or refit exactly with fit.reloo()."
        )
    if not len(items):
        return elpd
    wrapper = GaussianWrapper(fit, target.group, target.joint, items)
    upars = wrapper.upars
    wrapper.log_prob_upars(upars[:, :1])  # refuses priors that are not compiled
    limit = elpd.good_k if k_threshold is None else k_threshold
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # what it says is said below
        warnings.simplefilter("ignore", RuntimeWarning)  # the standard error of one item
        found = az.loo_moment_match(
            wrapper.idata_orig,
            az.loo(wrapper.idata_orig, pointwise=True),
            wrapper.log_prob_upars,
            wrapper.log_lik_i_upars,
            upars,
            k_threshold=limit,
            pointwise=True,
        )
    k, before = found.pareto_k.to_numpy(), elpd.pareto_k.to_numpy()[items]
    if still := int((np.minimum(k, before) > limit).sum()):
        warnings.warn(
            f"After moment matching {still} of {len(items)} Pareto k are still above {limit:.2f} (the largest is "
            f"{np.minimum(k, before).max():.2f}); fit.reloo() refits without exactly these.",
            ParetoWarning,
            stacklevel=3,
        )
    better = k < before
    note = f"Moment matching of {len(items)}, {better.sum()} of them for the better."
    return _replaced(elpd, items[better], found.elpd_i.to_numpy()[better], k[better], note)


def target_of(fit: Posterior, elpd: ELPD) -> Target:
    """What an elpd of this fit has left out.

    Raises
    ------
    HierbayesError
        If it has other rows or groups than the fit.
    """
    target = Target(fit.design, elpd.group, elpd.joint)
    if len(elpd.elpd_i) != target.size:
        what = "levels" if target.joint else "rows"
        raise HierbayesError(
            f"This elpd has {len(elpd.elpd_i)} {what} and the fit {target.size}; give what fit.loo() or fit.logo() "
            "returned for the same fit."
        )
    return target


def _replaced(elpd: ELPD, items: np.ndarray, values: np.ndarray, k: np.ndarray, note: str) -> ELPD:
    """All items, some of them replaced."""
    new = copy.copy(elpd)
    new.elpd_i, new.pareto_k, new.influence_pareto_k = elpd.elpd_i.copy(), elpd.pareto_k.copy(), elpd.pareto_k
    new.elpd_i[items], new.pareto_k[items] = values, k
    if elpd.log_weights is not None:
        new.log_weights = elpd.log_weights.copy()
        new.log_weights[..., items] = np.nan
    new.elpd = float(new.elpd_i.sum())
    new.se = float(np.sqrt(new.n_data_points * new.elpd_i.var(ddof=1)))
    new.p = elpd.p + elpd.elpd - new.elpd
    new.warning = bool((new.pareto_k > new.good_k).any())
    new.note = f"{elpd.note}\n{note}"
    return new
