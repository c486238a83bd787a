"""Power of a study that is still to be made, by simulation: `hierbayes.power`."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from hierbayes.design import Design
from hierbayes.errors import DataError, HierbayesError, IncompleteWarning
from hierbayes.estimates import Posterior
from hierbayes.specification import Specification
from hierbayes.study.executor import carry_out
from hierbayes.study.grid import whole
from hierbayes.study.judges import check_level, judge_of
from hierbayes.study.plan import Plan
from hierbayes.study.planning import from_fit, from_formula
from hierbayes.study.result import Power, check_any, tabulate
from hierbayes.study.verdict import Judge, Verdict, failed

if TYPE_CHECKING:
    from distributed import Client

    from hierbayes.results import RemlFit

CHUNK = 50
"""Simulations that are drawn, read and judged together."""
POSTERIOR = "posterior"


@dataclass(frozen=True, eq=False)
class Campaign:
    """All studies that are to be simulated.

    Parameters
    ----------
    plans : tuple of Plan
    judges : tuple of Judge
        One a plan.
    simulations : int
        Of each plan: number i is simulation ``i % simulations`` of plan ``i // simulations``.
    """

    plans: tuple[Plan, ...]
    judges: tuple[Judge, ...]
    simulations: int

    def carry(self, numbers: Sequence[int]) -> list[tuple[float, Verdict]]:
        """Simulate and judge; what is true, and the verdict."""
        found: dict[int, tuple[float, Verdict]] = {}
        by_point: dict[int, list[int]] = {}
        for number in numbers:
            by_point.setdefault(number // self.simulations, []).append(number)
        for point, own in by_point.items():
            judge = self.judges[point]
            studies = self.plans[point].studies([number % self.simulations for number in own])
            for number, study in zip(own, studies, strict=True):
                if isinstance(study, DataError):
                    found[number] = np.nan, failed(str(study))
                    continue
                try:
                    verdict = judge.judge(study)
                except (HierbayesError, np.linalg.LinAlgError) as error:
                    verdict = failed(str(error))
                found[number] = judge.truth(study), verdict
        return [found[number] for number in numbers]


def power(
    model: str | RemlFit | Posterior,
    *,
    effects: Mapping[str, Any] | None = None,
    sds: Mapping[str, Any] | None = None,
    correlations: Mapping[str, Any] | None = None,
    sigma: Any = None,
    groups: Any = None,
    rows: Any = None,
    within: Mapping[str, Any] | None = None,
    between: Mapping[str, Any] | None = None,
    data: pd.DataFrame | None = None,
    weights: str | None = None,
    se: str | None = None,
    residual: str | None = None,
    rho: Any = None,
    test: Any = None,
    method: str | None = None,
    alpha: float = 0.05,
    null: float = 0.0,
    simulations: int = 1000,
    seed: int | None = None,
    draws: bool = True,
    priors: Mapping[str, Any] | None = None,
    success: Any = None,
    engine: str | None = None,
    cores: int = 1,
    client: Client | None = None,
    progress: bool | None = None,
) -> Power:
    """Simulate studies, analyse each, and count how many find what they look for.

    Parameters
    ----------
    model : str, RemlFit or Fit
        A formula, with everything else below; or a fit, whose parameters and design are used. From a posterior every
        study takes parameters of another draw, so that power becomes assurance: its average over what is known.
    effects : mapping of str to float or distribution
        Fixed effects by coefficient, ``{"X": 0.3}``; of a formula those that are not given are zero, of a fit its
        own. A frozen distribution of scipy.stats is drawn from anew for every study: a design prior.
    sds : mapping
        Standard deviations of the random effects: ``{"subject": 0.5}``, or
        ``{"subject": {"Intercept": 0.5, "X": 0.2}}``.
    correlations : mapping
        Of the random effects of a level, by default 0: ``{"subject": 0.3}``, a matrix, or
        ``{"subject": {("Intercept", "X"): 0.3}}``.
    sigma : float or distribution
        Standard deviation of the residuals.
    groups : int, list, or mapping
        Levels of the grouping factor; ``{"subject": 50, "item": 30}`` for several, crossed or nested (30 items in
        every subject). A list or a range gives alternatives. Of a fit: whole groups of its rows are used again, in
        the order of the data, and those of every treatment or other arm in proportion.
    rows : int, tuple, or list
        Rows of every group (of every combination of groups, if there are several factors). A tuple has unequal sizes,
        recycled over the groups; a list or a range gives alternatives. Of a fit: the rows of every group are used
        from the first on, and over again.
    within : mapping
        Predictors that vary between rows: a frozen distribution of scipy.stats or a function ``f(rng, n)``, drawn
        anew for every study, or values that are recycled over the rows of every group.
    between : mapping
        Predictors that are constant within groups, likewise; values are recycled over the groups. With several
        factors, by factor: ``{"item": {"frequency": scipy.stats.norm()}}``. In ``(1 | school/class)``, ``"class"``
        is the classes of all schools: ``{"class": {"size": [20, 30]}}``.
    data : pandas.DataFrame
        The predictors and groups planned, instead of groups, rows, within and between.
    weights, se, residual : str, optional
        As of `hierbayes.Model`, the first two as columns of `within` or `data`.
    rho : float, optional
        Correlation of the residuals, where `residual` is given.
    test : str or mapping, optional
        What is to be found: a coefficient; a term, whose coefficients are tested together; weights of coefficients;
        or a random effect, ``"sd(Days)"``, ``"subject"``. By default the only predictor.
    method : {"satterthwaite", "kenward-roger", "z", "lrt", "posterior"}, optional
        By default Satterthwaite's t or F test, and for a variance the likelihood-ratio test.
    alpha : float, default 0.05
        Level of the test; intervals are of level 1 - alpha.
    null : float, default 0
        What a coefficient is under the hypothesis.
    simulations : int, default 1000
        Of every design.
    seed : int, optional
        Study k of design d depends on the seed, d and k alone. Without one a seed is drawn and kept in the result.
    draws : bool, default True
        Of a posterior: False takes its means instead of its draws.
    priors : mapping, optional
        For ``method="posterior"``: priors of the analysis in Bambi's form, instead of the model's.
    success : mapping, optional
        For ``method="posterior"``: what the posterior must say; all that is given must hold. ``{"direction": c}``:
        one side of the null value has a probability of c or more; ``{"rope": r, "probability": c}``: being farther
        from it than r has probability c or more (by default 0.95); ``{"width": w}``: the interval is no wider than w.
        By default: the interval excludes the null value.
    engine : {"auto", "quadrature", "importance", "nuts"}, optional
        For ``method="posterior"``: how the posterior is found; ``"auto"`` takes the cheapest that is accurate.
    cores : int, default 1
        Processes.
    client : distributed.Client, optional
        A Dask cluster does the work.
    progress : bool, optional
        Show a progress bar; by default if somebody is watching.

    Returns
    -------
    Power

    Raises
    ------
    ValueError
        For an argument that does not fit the model; the sentence says what does.
    FormulaError, DataError
        For a formula or a design that cannot be analysed.
    HierbayesError
        For a family other than the Gaussian, or if all simulations failed.

    Warns
    -----
    IncompleteWarning
        If Ctrl-C ended the simulations; those made are returned.

    Examples
    --------
    >>> import hierbayes as hb, scipy.stats
    >>> found = hb.power("y ~ X + (1 | subject)", effects={"X": 0.3}, sds={"subject": 0.5}, sigma=1, groups=20,
    ...                  rows=5, within={"X": scipy.stats.norm()}, simulations=200, seed=1)
    >>> found.table[["groups", "rows", "simulations", "failed", "power"]].round(2)
       groups  rows  simulations  failed  power
    0      20     5          200       0    0.8
    """
    alpha, total = check_level(alpha), whole(simulations, "simulations")
    seed = int(np.random.SeedSequence().generate_state(1)[0]) if seed is None else whole(seed, "seed", 0)
    given = {"effects": effects, "sds": sds, "correlations": correlations, "sigma": sigma, "rho": rho}
    if isinstance(model, str):
        caller = sys._getframe(1)
        namespace = {**caller.f_globals, **caller.f_locals}
        arguments = {"weights": weights, "se": se, "residual": residual, "namespace": namespace}
        sizes, plans = from_formula(model, given, groups, rows, within, between, data, arguments, seed)
    else:
        extra = {"within": within, "between": between, "data": data, "weights": weights, "se": se,
                 "residual": residual}  # fmt: skip
        for name, value in extra.items():
            if value is not None:
                raise ValueError(f"{name}= goes with a formula; a fit has its own.")
        sizes, plans = from_fit(model, given, groups, rows, draws, seed)
    judges = tuple(_judge(test, method, alpha, null, plan.template.design, priors, success, engine) for plan in plans)
    campaign = Campaign(plans, judges, total)
    numbers = range(len(plans) * total)
    chunk = CHUNK if method != POSTERIOR else max(1, CHUNK // 10)
    carried = carry_out(
        campaign.carry, numbers, chunk=chunk, cores=cores, client=client, progress=progress, label="simulations"
    )
    table = pd.DataFrame(
        [
            {"point": number // total, "number": number % total, "truth": truth, **asdict(verdict)}
            for number, (truth, verdict) in sorted(carried.results.items())
        ]
    )
    table["failure"] = table["failure"].astype(object)
    check_any(table)
    if carried.interrupted:
        warnings.warn(
            f"The simulations were interrupted: {len(table)} of {len(numbers)} were made and are returned.",
            IncompleteWarning,
            stacklevel=2,
        )
    return Power(
        tabulate(sizes, [plan.template.design.n for plan in plans], table, null),
        table,
        seed,
        f"{judges[0].words}, in {_formula(plans[0].template)}",
        "assurance" if plans[0].truth.random else "power",
        plans,
        judges,
        carried.interrupted,
    )


def _formula(specification: Specification) -> str:
    """The model in words."""
    residual = specification.residual
    return specification.formula + (f" with residuals {residual}" if residual else "")


def _judge(
    test: Any, method: str | None, alpha: float, null: float, design: Design, priors: Any, success: Any, engine: Any
) -> Judge:
    if method != POSTERIOR:
        for name, value in {"priors": priors, "success": success, "engine": engine}.items():
            if value is not None:
                raise ValueError(f"{name}= goes with method='posterior'.")
        return judge_of(test, method, alpha, null, design)
    from hierbayes.study.assurance import posterior_judge

    return posterior_judge(test, alpha, null, design, priors, success, engine)
