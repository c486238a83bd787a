r"""Where REML and the posterior disagree, and why.

The two start from one likelihood and differ in what the priors add and in averaging instead of maximising. In between
lies the maximum of the same likelihood times the priors, over what the priors are stated in (standard deviations,
partial correlations, σ), with fixed and random effects at their conditional means there: REML with priors (Chung,
Rabe-Hesketh, Dorie, Gelman & Liu 2013, Psychometrika 78, 685). So for any quantity, in posterior standard deviations,

    (mean - REML)/sd  =  (maximum with priors - REML)/sd  +  (mean - maximum with priors)/sd
      disagreement             what the priors do               what averaging does

A disagreement of more than `APART` is put down to the prior if that part is the larger one; else to the boundary, if
REML finds that some combination of the effects of a level has no variance (averaging can only move away from that);
else to skewness: the mean of a skewed posterior is not at its maximum, and what depends on it moves along.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property

import numpy as np
import pandas as pd
from scipy.optimize import minimize

from hierbayes import sampling
from hierbayes.design import Design, check_same_data
from hierbayes.errors import DataError, HierbayesError
from hierbayes.estimates import FIXED, RESIDUAL, Estimate, Posterior
from hierbayes.reml import SINGULAR, Optimum

APART = 0.5
"""Posterior standard deviations between REML and posterior mean that call for a reason."""
EDGE = 12.0
"""Unconstrained partial correlations stay within this, logarithms of what is positive within this of their start."""
NEAR = 0.02
"""The maximum is found if a step of one standard deviation gains less than this in log density."""
COLUMNS = [
    "effect", "group", "term", "reml", "with_priors", "mean", "sd", "q2.5", "q97.5", "differs", "why",
]  # fmt: skip
"""Columns of the table of `disagreements`."""
NO_CORRELATION = "boundary: by REML there is no correlation, as a standard deviation is zero"


class Reasons:
    """Why REML and the posterior of one model disagree.

    Parameters
    ----------
    reml : Estimate
    fit : Posterior
        Of the same model.

    Raises
    ------
    HierbayesError
        If the first is not by REML.
    DataError
        If the two are of different models or different data.

    Attributes
    ----------
    singular : set of str
        Grouping factors of whose effects some combination has no variance by REML.
    """

    def __init__(self, reml: Estimate, fit: Posterior) -> None:
        if reml.method != "REML":
            raise HierbayesError(f"A posterior is compared with the fit by REML, not by {reml.method}: model.reml().")
        _check_same_model(reml.design, fit.design)
        self._fit = fit
        design, relative = reml.design, reml.optimum.relative
        places = {factor.name: design.effects_of(factor) for factor in design.factors}
        self.singular = {
            name
            for name, where in places.items()
            if np.linalg.svd(relative[where, where], compute_uv=False)[-1] < SINGULAR
        }

    @cached_property
    def with_priors(self) -> Estimate | None:
        """See `maximum_with_priors`; it is searched for when first needed, and None if it was not found."""
        found = maximum_with_priors(self._fit)
        return found if found is not None and found.converged else None

    def boundary(self, *groups: str) -> str:
        """Say which of some grouping factors are on the boundary by REML; nothing if none is."""
        found = [repr(group) for group in groups if group in self.singular]
        if not found:
            return ""
        return f"for REML some combination of the effects of {' and of '.join(found)} has no variance"

    def explain(
        self,
        reml: np.ndarray,
        mean: np.ndarray,
        sd: np.ndarray,
        edge: Sequence[str],
        read: Callable[[Estimate], np.ndarray],
    ) -> tuple[np.ndarray, list[str]]:
        """By how much some quantities disagree, and why.

        Parameters
        ----------
        reml, mean, sd : (k,) arrays
            REML estimates, posterior means and standard deviations.
        edge : sequence of k str
            What `boundary` says of the factors that bear on the quantity.
        read : callable
            The same (k,) quantities of another estimate.

        Returns
        -------
        differs : (k,) array
            ``(mean - reml)/sd``.
        why : list of str
            Empty where the disagreement is no more than `APART`.
        """
        differs = (mean - reml) / sd
        why = np.where(np.isnan(differs), NO_CORRELATION, "").astype(object)
        far = np.flatnonzero(np.abs(differs) > APART).tolist()
        if not far:
            return differs, why.tolist()
        between = self.with_priors
        for k, prior in zip(far, self._by_prior(between, reml, sd, read)[far], strict=True):
            rest = differs[k] - prior
            if abs(prior) > abs(rest):
                why[k] = f"prior: with it in the likelihood REML would move by {prior:+.2f} sd"
            elif edge[k]:
                why[k] = f"boundary: {edge[k]}; averaging over positive variances moves it by {rest:+.2f} sd"
            elif between is None:
                why[k] = "prior or skewness: not told apart, as the maximum with priors is not known"
            else:
                why[k] = f"skewness: averaging over the variances instead of maximising moves it by {rest:+.2f} sd"
        return differs, why.tolist()

    @staticmethod
    def _by_prior(
        between: Estimate | None, reml: np.ndarray, sd: np.ndarray, read: Callable[[Estimate], np.ndarray]
    ) -> np.ndarray:
        return np.zeros(len(reml)) if between is None else (read(between) - reml) / sd


def _check_same_model(one: Design, other: Design) -> None:
    """Refuse designs that are not of one formula on one data set."""
    if one is other:
        return
    texts = [(d.formula, None if d.residual is None else d.residual.text) for d in (one, other)]
    if texts[0] != texts[1]:
        first, second = (text + ("" if extra is None else f", residual {extra}") for text, extra in texts)
        raise DataError(f"Both fits must be of one model, not of {first!r} and of {second!r}.")
    check_same_data(one, other, ("the REML fit", "the posterior"))
    for a, b in zip(one.factors, other.factors, strict=True):
        if not (np.array_equal(a.levels, b.levels) and np.array_equal(a.codes, b.codes)):
            raise DataError(
                f"The two fits do not have the same levels of {a.name!r} row by row; fit both to the same data."
            )
    columns = [[design.X, *(block.Z for block in design.blocks)] for design in (one, other)]
    if not all(np.array_equal(a, b) for a, b in zip(*columns, strict=True)):
        raise DataError("The two fits do not have the same predictors row by row; fit both to the same data.")


def maximum_with_priors(fit: Posterior) -> Estimate | None:
    """REML with the priors: the maximum of the marginal likelihood times the priors of its parameters.

    The densities are those of standard deviations, partial correlations and σ themselves, not of the unconstrained
    parameters that are sampled, so that flat priors give REML.

    Parameters
    ----------
    fit : Posterior

    Returns
    -------
    Estimate or None
        Its ``method`` is "MAP"; ``criterion`` and what follows from it are NaN; ``converged`` says whether
        the search ended there. None if a prior is outside the families of `hierbayes.densities`.

    Examples
    --------
    >>> import hierbayes as hb
    >>> fit = hb.Model("Yield ~ 1 + (1 | Batch)", hb.load_data("Dyestuff")).fit(seed=1, progress=False)
    >>> [round(float(found.covariance[0, 0]) ** 0.5, 1) for found in (fit.reml, maximum_with_priors(fit))]
    [42.0, 41.6]
    """
    marginal = fit.marginal
    target = sampling.make_target(marginal, fit.priors)
    if target.table is None:
        return None
    positive, partial = target.kinds == sampling.LOG, target.kinds == sampling.PARTIAL

    start = sampling.start(target, fit.reml.optimum)
    unit = sampling.spread(target, start) / 3.0  # posterior standard deviations, roughly

    def downhill(z: np.ndarray) -> tuple[float, np.ndarray]:
        """Minus the log density of θ, which is that of x less the logarithm of the Jacobian, and its gradient."""
        x = start + unit * z
        value, gradient = target.log_posterior(x)
        value -= x[positive].sum() - (np.abs(x[partial]) + 2.0 * np.log1p(np.exp(-np.abs(x[partial])))).sum()
        gradient = gradient - positive
        gradient[partial] += np.tanh(0.5 * x[partial])
        return -value, -gradient * unit

    reach = np.where(target.kinds == sampling.REAL, np.inf, EDGE) / unit
    centre = np.where(partial, -start / unit, 0.0)
    bounds, options = list(zip(centre - reach, centre + reach, strict=True)), {"ftol": 1e-14, "gtol": 1e-9}
    with marginal.one_thread():
        found = minimize(downhill, np.zeros(len(start)), jac=True, method="L-BFGS-B", bounds=bounds, options=options)
    slope = found.jac[np.abs(found.x - centre) < reach]
    converged = bool(np.abs(slope).max(initial=0.0) < NEAR)
    given = marginal.condition(target.constrain(start + unit * found.x)[None], None)
    p, scale = marginal.moments.p, marginal.moments.scale
    optimum = Optimum(
        given.relative[0], np.nan, float(given.sigma[0]) / scale, float(given.rho[0]), given.t[0],
        np.full((p, p), np.nan), np.nan, np.nan, False, converged, int(found.nfev), str(found.message),
    )  # fmt: skip
    return Estimate(marginal, optimum, "MAP")


def disagreements(reml: Estimate, fit: Posterior) -> pd.DataFrame:
    """Every parameter by REML and in the posterior, and why the two disagree where they do.

    Parameters
    ----------
    reml : Estimate
    fit : Posterior
        Of the same model.

    Returns
    -------
    pandas.DataFrame
        One row for each row of ``fit.tidy()``. Columns ``effect``, ``group``, ``term``; ``reml``; ``with_priors``,
        the maximum of the likelihood times the priors (NaN where a prior has no compiled density, or the search
        failed); ``mean``, ``sd``, ``q2.5``, ``q97.5`` of the posterior; ``differs``, ``(mean - reml)/sd``; and
        ``why``: "" unless they are more than `APART` posterior standard deviations apart, else whether the prior, the
        boundary or skewness does it, and by how much.

    Examples
    --------
    >>> import hierbayes as hb
    >>> fit = hb.Model("Yield ~ 1 + (1 | Batch)", hb.load_data("Dyestuff2")).fit(seed=1, progress=False)
    >>> table = disagreements(fit.reml, fit)
    >>> list(zip(table["term"], table["reml"].round(2), table["why"].str.split(":").str[0]))
    [('Intercept', 5.67, ''), ('sd(Intercept)', 0.0, 'boundary'), ('sigma', 3.72, '')]
    """
    draws, reasons = fit.parameter_draws(), Reasons(reml, fit)
    labels = draws.columns

    def read(estimate: Estimate) -> np.ndarray:
        return estimate.parameter_values[labels].to_numpy(dtype=float)

    own = read(reml)
    mean, sd = draws.mean().to_numpy(), draws.std(ddof=1).to_numpy()
    factors = [factor.name for factor in reml.design.factors]
    # fixed effects and σ depend on the variances of all factors
    edge = [reasons.boundary(*factors if group in ("", RESIDUAL) else [group]) for _, group, _ in labels]
    differs, why = reasons.explain(own, mean, sd, edge, read)
    between = reasons.with_priors
    low, high = np.quantile(draws, [0.025, 0.975], axis=0)
    group = [np.nan if effect == FIXED else group for effect, group, _ in labels]
    middle = np.full(len(labels), np.nan) if between is None else read(between)
    columns = [
        labels.get_level_values(0), group, labels.get_level_values(2), own, middle, mean, sd, low, high, differs, why,
    ]  # fmt: skip
    return pd.DataFrame(dict(zip(COLUMNS, columns, strict=True)))
