r"""Bayesian judgement of a simulated study, and with it assurance.

A study is judged by the posterior of one parameter δ, under the model's priors (those given, and for that study's
data the automatic ones). It is a success if that posterior says what one wants to be able to say
(`hierbayes.study.success`).

The share of successes over studies whose true parameters are drawn from a design prior is the assurance (O'Hagan,
Stevens & Campbell 2005, Pharmaceutical Statistics 4, 187-201); with true parameters held fixed it is Bayesian power.
If the design prior is the prior of the analysis, central intervals cover at their level, exactly.

The posterior is found by the cheapest engine that is exact enough. Given the variance parameters θ every fixed effect
is Gaussian, so that its posterior is a mixture ``Σ w_k N(m_k, v_k)`` over nodes θ_k:

    quadrature   a lattice (`hierbayes.evidence.lattice`), for one or two entries of θ
    importance   for more, weighted points (`hierbayes.study.importance`)
    nuts         draws, where the others do not reach the accuracy wanted

A posterior that cannot be trusted, such as of chains that disagree, is a failure, and no judgement.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import xarray as xr

from hierbayes import names
from hierbayes.design import Design
from hierbayes.errors import HierbayesError
from hierbayes.estimates import FIXED, RESIDUAL, VARIANCE, Posterior, checked, variance_rows
from hierbayes.evidence.quadrature import quadrature
from hierbayes.evidence.surface import surface
from hierbayes.from_bambi.prior_table import check_prior_names
from hierbayes.marginal import Marginal
from hierbayes.nuts import draw
from hierbayes.priors import Priors
from hierbayes.sampling import Run
from hierbayes.study.importance import weighted
from hierbayes.study.judges import Contrast, WithoutVariance, judge_of
from hierbayes.study.posterior_law import Law, of_nodes, on_lattice
from hierbayes.study.success import Success, read_success
from hierbayes.study.truth import Key
from hierbayes.study.verdict import Study, Verdict, failed

ENGINES = ("auto", "quadrature", "importance", "nuts")
TOLERANCE = 1e-4
"""Of quadrature: relative error of every probability."""
ROUGH = 1e-2
"""Error of quadrature above which another engine is asked."""
LATTICE = 2
"""Entries of θ up to which a lattice is the cheapest."""
SIMULATED = "simulated response"
"""Column of the response of a study, whatever expression of the data it is in the formula."""


def automatic(design: Design, given: Mapping[str, Any]) -> list[str]:
    """Names of the parameters whose priors are not given, so that they depend on the data.

    Those of correlations, which are always the same, are not among them.
    """
    wanted = [term.name for term in design.terms if not ("common" in given and term.name != names.INTERCEPT)]
    if "group_specific" not in given:
        wanted += [names.effect(term.name, block.factor.name) for block in design.blocks for term in block.terms]
    if design.sigma is None:
        wanted.append(names.SIGMA)
    return [name for name in wanted if name not in given]


@dataclass(frozen=True)
class PosteriorJudge:
    """Judges a study by the posterior of one parameter.

    Parameters
    ----------
    key : (str, str, str)
        Effect, group and term of the parameter.
    null : float, default 0.0
    level : float, default 0.95
        Of the central interval.
    success : Success
    engine : {"auto", "quadrature", "importance", "nuts"}
        ``"auto"`` takes the cheapest that is accurate.
    given : mapping, optional
        Priors in Bambi's form, instead of those of the model of the studies.
    draws, chains : int
        Of NUTS; there are as many draws of warm-up.

    Raises
    ------
    ValueError
        For another engine, a level that is none, or a success that no or every posterior is.
    """

    key: Key
    null: float = 0.0
    level: float = 0.95
    success: Success = field(default_factory=Success)
    engine: str = "auto"
    given: Mapping[str, Any] | None = None
    draws: int = 1000
    chains: int = 4
    _resolved: list[Priors] = field(default_factory=list, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        checked(self.level)
        if self.engine not in ENGINES:
            raise ValueError(f"engine must be one of {', '.join(map(repr, ENGINES))}, not {self.engine!r}")
        one_sided = self.success.by_interval or self.success.direction is not None
        if self.scale and self.null <= 0.0 and one_sided:
            raise ValueError(
                f"The posterior of {self.key[2]} is all above {self.null:g}, whatever the data; give a positive "
                "null=, or success={'rope': …} for the probability that it is larger than that."
            )

    @property
    def scale(self) -> bool:
        """Whether the parameter is a standard deviation."""
        return self.key[0] != FIXED and (self.key[2] == names.SIGMA or self.key[2].startswith("sd("))

    @property
    def words(self) -> str:
        """What is judged and how."""
        return f"posterior judgement that {self.success.words(self.key[2], self.null, self.level)}"

    def truth(self, study: Study) -> float:
        """The parameter that the study was simulated with."""
        return study.truth[self.key]

    def judge(self, study: Study) -> Verdict:
        """Find the posterior and read it.

        Parameters
        ----------
        study : Study

        Returns
        -------
        Verdict
            `p_value` is the posterior probability that the parameter is not on the side of the null value on which
            its mean is.

        Raises
        ------
        HierbayesError
            If the engine asked for cannot do it.
        """
        law = self.law(study)
        if isinstance(law, str):
            return failed(law)
        tail = 0.5 - 0.5 * self.level
        low, high = law.quantile(tail), law.quantile(1.0 - tail)
        below = law.below(self.null)
        return Verdict(
            significant=self.success.met(law, self.null, low, high),
            p_value=below if law.mean > self.null else 1.0 - below,
            estimate=law.mean,
            std_error=law.sd,
            conf_low=low,
            conf_high=high,
        )

    def law(self, study: Study) -> Law | str:
        """The posterior of the parameter, or why there is none to be trusted."""
        priors = self.priors(study)
        marginal = Marginal(study.design, priors, study.likelihood.moments)
        if self.engine == "quadrature" or (self.engine == "auto" and marginal.dim <= LATTICE):
            try:
                exact = quadrature(marginal, priors, TOLERANCE)
            except HierbayesError:
                if self.engine == "quadrature":
                    raise
            else:
                if exact.error < ROUGH:
                    return on_lattice(exact, self.key)
                if self.engine == "quadrature":
                    return f"the relative error of the quadrature is {exact.error:.1g}"
        if self.engine in {"importance", "auto"}:
            found = weighted(surface(marginal, priors), study.seed)
            if found is not None:
                return of_nodes(marginal, *found, self.key)
            if self.engine == "importance":
                return "the importance weights are too uneven"
        return self._sampled(marginal, priors, study)

    def priors(self, study: Study) -> Priors:
        """The priors of the analysis; automatic ones are those for the data of the study."""
        template, design = study.template, study.design
        given = template.priors_given if self.given is None else dict(self.given)
        if not automatic(design, given):  # the same for all studies
            if not self._resolved:
                self._resolved.append(replace(template, priors_given=given).priors)
            return self._resolved[0]
        data = study.frame().assign(**{SIMULATED: design.y})
        return replace(template, design=replace(design, response=SIMULATED), data=data, priors_given=given).priors

    def _sampled(self, marginal: Marginal, priors: Priors, study: Study) -> Law | str:
        fit = study.estimate()
        run = Run(
            draws=self.draws,
            tune=self.draws,
            chains=self.chains,
            cores=1,
            seed=int(study.seed.generate_state(1)[0]),
            target_accept=0.95,
            progress=False,
        )
        drawn, _, posterior = draw(marginal, priors, fit.optimum, run)
        tree = xr.DataTree.from_dict({"posterior": posterior, "sample_stats": drawn.stats})
        problems = Posterior(marginal.design, priors, tree, marginal, fit).convergence.problems
        if problems:
            return problems[0]
        thetas = drawn.theta.reshape(-1, marginal.dim)
        return of_nodes(marginal, thetas, np.full(len(thetas), 1.0 / len(thetas)), self.key)


def posterior_judge(
    test: Any,
    alpha: float,
    null: float,
    design: Design,
    priors: Mapping[str, Any] | None = None,
    success: Success | Mapping[str, float] | None = None,
    engine: str | None = None,
) -> PosteriorJudge:
    """The Bayesian judge that a test asks for.

    Parameters
    ----------
    test : str or None
        A coefficient, ``"sd(Days)"``, ``"sigma"`` or another row of `Fit.tidy`; by default the only predictor.
    alpha : float
        The central interval has level 1 - alpha.
    null : float
    design : Design
        Of a study like those to be judged.
    priors : mapping, optional
        In Bambi's form, instead of those of the studies' model.
    success : Success or mapping, optional
        See `Success`.
    engine : {"auto", "quadrature", "importance", "nuts"}, optional

    Returns
    -------
    PosteriorJudge

    Raises
    ------
    ValueError
        For a test that is not one parameter, or as of `PosteriorJudge` and `Success`.
    PriorError
        For a prior of something that the model does not have.
    """
    if priors is not None:
        check_prior_names(design, priors)
    return PosteriorJudge(
        key_of(test, design),
        null,
        1.0 - alpha,
        read_success(success),
        "auto" if engine is None else engine,
        None if priors is None else dict(priors),
    )


def key_of(test: Any, design: Design) -> Key:
    """The one parameter that a test is of.

    Raises
    ------
    ValueError
        If there is none, or several.
    """
    own: list[Key] = [(VARIANCE, group, term) for group, term, *_ in variance_rows(design)]
    if design.sigma is None:
        own.append((VARIANCE, RESIDUAL, names.SIGMA))
    if design.residual is not None:
        own.append((VARIANCE, RESIDUAL, names.RHO))
    found = [key for key in own if key[2] == test]
    if len(found) == 1:
        return found[0]
    judge = judge_of(test, None, 0.05, 0.0, design)
    if isinstance(judge, WithoutVariance) and judge.sd is not None:
        return (VARIANCE, *judge.sd)
    if isinstance(judge, Contrast) and np.count_nonzero(judge.weights) == 1 and judge.weights.max() == 1.0:
        return FIXED, "", design.labels[int(judge.weights.argmax())]
    known = ", ".join(map(repr, [*design.labels, *dict.fromkeys(key[2] for key in own)]))
    raise ValueError(f"method='posterior' judges one parameter: one of {known}, not {test!r}.")
