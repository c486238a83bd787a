"""Where importance sampling fails: exact refits, or moment matching, of those rows or groups only.

A Pareto k above its threshold says that the posterior without a row or a group is too far from the posterior of all
rows. What is said of these items is replaced, the others stay; nothing of the size rows x draws is made.

A refit without the items F gives draws of that posterior. A row, or a group scored as a whole, has the predictive
density ``p(y_F | y_-F) = Z/Z₋``, the ratio of the normalising constants of the posteriors with and without it. Each
is estimated by bridge sampling from its own draws (`hierbayes.evidence.bridge`), or, with all items in and few
variance parameters, by quadrature, so that it does not matter whether the two posteriors overlap: where the item is
surprising they need not, and any average over the draws of one, or of both, is then wrong by an amount that its own
error does not show. Only for priors that are not compiled it is an average over both (`hierbayes.evidence.bennett`).
The rows of a group that is left out are scored one by one, by the plain average over the refit; where its error is
above `EXACT`, by the same ratio, which takes one more refit, without the other rows of the group.

Pareto k becomes 0 where the Monte Carlo error is at most `EXACT`; elsewhere it stays, and is warned of.
"""

from __future__ import annotations

import copy
import logging
import warnings
from contextlib import suppress
from typing import TYPE_CHECKING

import numpy as np

from hierbayes.cross_validation.posterior_refits import Cost, Target, cost, log_mean, refit_without
from hierbayes.cross_validation.source import source
from hierbayes.errors import HierbayesError, ParetoWarning, PriorError
from hierbayes.estimates import Posterior
from hierbayes.evidence.bennett import log_ratio, relative_error
from hierbayes.evidence.marginal_likelihood import bridged
from hierbayes.evidence.quadrature import quadrature
from hierbayes.progress import bar
from hierbayes.sampling import make_target

if TYPE_CHECKING:
    from hierbayes.cross_validation.elpd import ELPD

logger = logging.getLogger("hierbayes")
EXACT = 0.1
"""Monte Carlo error up to which a score by a refit counts as exact."""
CHEAP = 4
"""With up to so many variance parameters the constant of the fit itself is found by quadrature."""


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
    from hierbayes.cross_validation.wrapper import GaussianWrapper

    target, items = target_of(fit, elpd), high(elpd, k_threshold)
    if not len(items):
        return elpd
    sets = target.sets(items)
    expected = cost(fit, len(np.unique(sets)))
    logger.info("exact cross-validation of %d of %d: %s", len(items), len(elpd.pareto_k), expected)
    values, errors = np.empty(len(items)), np.empty(len(items))
    with bar(str(expected), expected.refits, progress) as advance:
        wrapper = GaussianWrapper(fit, target.group, target.joint, items, advance)
        whole = _whole(fit) if target.alone else None
        for together in np.unique(sets):
            which = np.flatnonzero(sets == together)
            kept, excluded = wrapper.sel_observations(which)
            refit = wrapper.sample(kept)
            if whole is not None:
                values[which], errors[which] = _ratio(whole, bridged(refit))
                continue
            below = wrapper.log_likelihood__i(excluded, wrapper.get_inference_data(refit)).to_numpy()
            for column, at in enumerate(which):
                if target.alone:
                    scored = log_ratio(below[..., column], wrapper.log_likelihood.to_numpy()[..., at])
                else:
                    scored = _in_its_group(fit, target, items[at], refit, below[..., column])
                values[at], errors[at] = scored
    inexact = ~(errors <= EXACT)
    if inexact.any():
        warnings.warn(
            f"The Monte Carlo error of {inexact.sum()} of {len(items)} scores by refits is above {EXACT} (the "
            f"largest is {errors.max():.2g}), so their Pareto k stays; take more draws in the fit.",
            ParetoWarning,
            stacklevel=3,
        )
    k = np.where(inexact, elpd.pareto_k.to_numpy()[items], 0.0)
    note = f"Exact refits of {len(items)}, each within a Monte Carlo error of {errors.max():.2g}."
    return _replaced(elpd, items, values, k, note)


def _in_its_group(
    fit: Posterior, target: Target, item: int, refit: Posterior, log_p: np.ndarray
) -> tuple[float, float]:
    """Score of one row of a group that is left out, and its error: by the refit, or by the ratio where that fails."""
    average, error = float(log_mean(log_p.ravel())), relative_error(log_p)
    if not error > EXACT or (below := _log_integral(refit)) is None:
        return average, error
    others = np.setdiff1d(target.rows(np.array([item])), item)
    return _ratio(bridged(refit_without(fit, others) if len(others) else fit), below)


def _ratio(above: tuple[float, float], below: tuple[float, float]) -> tuple[float, float]:
    """Logarithm of the ratio of two integrals, and its error."""
    return above[0] - below[0], float(np.hypot(above[1], below[1]))


def _whole(fit: Posterior) -> tuple[float, float] | None:
    """`_log_integral` of the fit itself, without Monte Carlo error where that is cheap: it enters every score."""
    if make_target(fit.marginal, fit.priors).table is not None and fit.marginal.dim <= CHEAP:
        with suppress(HierbayesError):
            found = quadrature(fit.marginal, fit.priors)
            if found.error < 0.01 * EXACT:
                return found.log_integral, found.error
    return _log_integral(fit)


def _log_integral(fit: Posterior) -> tuple[float, float] | None:
    """Log of the normalising constant and its error, None for priors that are not compiled."""
    try:
        return bridged(fit)
    except PriorError:
        return None


def moment_match(fit: Posterior, elpd: ELPD, k_threshold: float | None = None) -> ELPD:
    """Replace items with a high Pareto k by moment matching; see `hierbayes.Fit.moment_match`."""
    import arviz as az

    from hierbayes.cross_validation.wrapper import GaussianWrapper

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
        If it is not what leave-one-out of this fit returned, or is conditional on the random effects.
    """
    from hierbayes.cross_validation.elpd import ELPD

    if not isinstance(elpd, ELPD):
        raise HierbayesError(f"A {type(elpd).__name__} cannot be mended; give what fit.loo() or fit.logo() returned.")
    if (made_of := elpd.source) is not None and made_of != (own := source(fit)):
        shape = f" of {made_of.rows} rows" if made_of.rows != own.rows else ""
        raise HierbayesError(
            f"This elpd is one of another fit{shape}; give what fit.loo() or fit.logo() returned for the same fit."
        )
    if elpd.conditional:
        raise HierbayesError(
            "This elpd is conditional on draws of the random effects, which refits and moment matching integrate; "
            "use fit.loo()."
        )
    return Target(fit.design, elpd.group, elpd.joint)


def _replaced(elpd: ELPD, items: np.ndarray, values: np.ndarray, k: np.ndarray, note: str) -> ELPD:
    """All items, some of them replaced."""
    from hierbayes.cross_validation.elpd import standard_error

    new = copy.copy(elpd)
    new.elpd_i, new.pareto_k, new.influence_pareto_k = elpd.elpd_i.copy(), elpd.pareto_k.copy(), elpd.pareto_k
    new.elpd_i[items], new.pareto_k[items] = values, k
    if elpd.log_weights is not None:
        new.log_weights = elpd.log_weights.copy()
        new.log_weights[..., items] = np.nan
    new.elpd = float(new.elpd_i.sum())
    new.se = standard_error(new.elpd_i.to_numpy(), elpd.part)
    new.p = elpd.p + elpd.elpd - new.elpd
    new.warning = bool((new.pareto_k > new.good_k).any())
    new.note = f"{elpd.note}\n{note}"
    return new
