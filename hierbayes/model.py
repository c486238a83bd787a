"""The public `Model`: a formula and a data frame, and from them both inferences."""

from __future__ import annotations

import os
import sys
import time
import warnings
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from hierbayes import display, names
from hierbayes.errors import (
    ConvergenceWarning,
    DataError,
    HierbayesError,
    IncompleteWarning,
    RowsDropped,
    SingularFit,
)
from hierbayes.estimates import flat, observed_data
from hierbayes.interruption import INCOMPLETE, shortfall
from hierbayes.laplace import Laplace
from hierbayes.laplace_maximum import LaplaceOptimum, maximise_laplace
from hierbayes.marginal import Marginal
from hierbayes.moments import Moments, take_moments
from hierbayes.parameterization import AUTO, MARGINAL, Choice, choose, choose_blocks
from hierbayes.pilot import pilot
from hierbayes.priors import Priors
from hierbayes.progress import watched
from hierbayes.refits import Refits, Refitter
from hierbayes.reml import Optimum, maximise
from hierbayes.results import FamilyFit, Fit, LaplaceFit, RemlFit
from hierbayes.specification import Specification, specify

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import ArrayLike

    from hierbayes.design import Design
    from hierbayes.evidence.marginal_likelihood import Evidence
    from hierbayes.evidence.quadrature import Quadrature
    from hierbayes.family import Family
    from hierbayes.recover import Keep
    from hierbayes.sampling import Run


class Model:
    """A mixed model: one formula, one design, one likelihood, two inferences.

    Parameters
    ----------
    formula : str
        Bambi's formula syntax with lme4's random effects: ``(1 | g)``, ``(x | g)`` (intercept and
        slope with a full covariance matrix), ``(x || g)`` (uncorrelated), ``(0 + x | g)``. Note for users
        of Bambi: there ``(x | g)`` is uncorrelated.
        ``within(x, g)`` and ``between(x, g)`` are x less the mean of its group and that mean, ``center(x)`` is x less
        its grand mean; new rows are centred by the means fitted (see `hierbayes.from_bambi.centring`).
    data : pandas.DataFrame
        One row an observation.
    family : str, default "gaussian"
        Any family of Bambi: ``"bernoulli"``, ``"binomial"`` (``p(successes, trials) ~ …``), ``"poisson"``,
        ``"negativebinomial"``, ``"t"``, ``"beta"``, ``"gamma"``, ``"cumulative"`` and so on. A response that is a
        pandas categorical has its categories in their own order, ordered or not (Bambi sorts those that are not); a
        text has them in alphabetical order. Of two categories the probability of the first is modelled, as in
        Bambi; ``y["yes"] ~ …`` names another. Bambi's functions around the response, ``censored``, ``truncated``,
        ``constrained`` and ``weighted`` (which multiplies the log likelihood), are for all families.
    link : str, optional
        Link function of the parameter that the formula describes; by default Bambi's for the family. Links that allow
        only some linear predictors, such as the inverse link of Bambi's gamma, sample worse than ``"log"``.
    priors : mapping, optional
        Bambi's form: ``{"Days": bambi.Prior("Normal", mu=0, sigma=10), "1|Subject": bambi.Prior("Normal",
        mu=0, sigma=bambi.Prior("HalfNormal", sigma=50)), "Subject_corr": bambi.Prior("LKJ", eta=2)}``.
        What is not given is Bambi's automatic prior, and LKJ(1) for correlations. REML uses no prior.
    center_predictors : bool, default True
        Bambi's meaning: the prior of the intercept refers to the response at the mean of the
        predictors. The intercept itself is always reported uncentred.
    dropna : bool, default True
        Leave incomplete rows out, with a warning that counts them; False refuses them.
    weights : str or array, optional
        Precision weights, a column or one number a row: the residual variance of row i is
        σ²/weights[i]. This is lme4's meaning; Bambi's ``weighted()`` multiplies the log likelihood instead.
    se : str or array, optional
        Known standard error of every row, as in a meta-analysis: ``Model("y ~ 1 + (1 | study)", data,
        se="se")``. There is no σ to estimate then.
    residual : str, optional
        Correlation of the residuals: ``"ar1(time | g)"`` for equally spaced times within the levels of g, gaps
        allowed, ``"ar1(1 | g)"`` for the order of the rows, ``"cs(g)"`` for compound symmetry. A
        formula may then do without random effects.

    Raises
    ------
    FormulaError, DataError, PriorError
        One sentence that names the column, term or prior, and the remedy.

    Examples
    --------
    >>> import hierbayes as hb
    >>> model = hb.Model("Reaction ~ Days + (Days | Subject)", hb.load_data("sleepstudy"))
    >>> model.design
    Design('Reaction ~ Days + (Days | Subject)': 180 rows, 2 fixed effects,
           2 random effects for each of 18 levels of Subject)
    """

    def __init__(
        self,
        formula: str,
        data: pd.DataFrame,
        family: str = "gaussian",
        priors: Mapping[str, Any] | None = None,
        center_predictors: bool = True,
        dropna: bool = True,
        weights: str | ArrayLike | None = None,
        se: str | ArrayLike | None = None,
        residual: str | None = None,
        link: str | None = None,
    ) -> None:
        if weights is not None and se is not None:
            raise DataError("Give weights or se, not both: standard errors are weights 1/se² with a known σ of 1.")
        data, weights_ = _with_column(data, weights, "weights")
        data, se_ = _with_column(data, se, "se")
        caller = sys._getframe(1)
        self.specification = specify(
            formula,
            data,
            family,
            link,
            priors,
            center_predictors,
            dropna,
            weights_,
            se_,
            residual,
            {**caller.f_globals, **caller.f_locals},
        )
        self._check(len(data))

    def _check(self, rows: int) -> None:
        """Make what could be refused, and say which rows are left out."""
        if self.family.exact:
            _ = self.moments
        if self.given_priors or not self.family.exact:
            _ = self.priors
        if self.design.n_dropped:
            columns = ", ".join(map(repr, self.design.dropped_columns))
            warnings.warn(
                f"{self.design.n_dropped} of {rows} rows have missing values in {columns} and were left out.",
                RowsDropped,
                stacklevel=3,
            )

    @classmethod
    def from_bambi(cls, bambi_model: Any, correlated: bool = False) -> Model:
        """Take over an existing `bambi.Model`: formula, data, family, link and the priors it has resolved.

        Parameters
        ----------
        bambi_model : bambi.Model
        correlated : bool, default False
            In Bambi ``(x | g)`` has no correlation, so it becomes ``(x || g)``, the same model; True gives it a full
            covariance matrix, with an LKJ(1) prior for its correlations.

        Returns
        -------
        Model
            How the random effects are sampled is chosen anew, whatever `noncentered` was.

        Raises
        ------
        TypeError
            If it is no `bambi.Model`.
        HierbayesError
            For what this package does not have: several formulas, potentials, Gaussian processes, aliases, families
            or priors of one's own making.

        Examples
        --------
        >>> import bambi as bmb, hierbayes as hb
        >>> data = hb.load_data("sleepstudy").astype({"Subject": "category"})
        >>> hb.Model.from_bambi(bmb.Model("Reaction ~ Days + (Days | Subject)", data))
        Model('Reaction ~ Days + (Days || Subject)': 180 rows, 18 levels of Subject)
        """
        from hierbayes.from_bambi.taken_over import arguments_of

        model = cls._specified(specify(**arguments_of(bambi_model, correlated)))
        model._check(len(bambi_model.data))
        return model

    @classmethod
    def of(cls, fit: RemlFit | LaplaceFit | Fit | FamilyFit) -> Model:
        """The model of a fit, such as one that was loaded from a file.

        Parameters
        ----------
        fit : RemlFit, LaplaceFit, Fit or FamilyFit

        Returns
        -------
        Model

        Raises
        ------
        HierbayesError
            For a refit to other rows or responses than its model's.
        """
        if fit.specification is None:
            raise HierbayesError("This is a refit to other responses or rows, and no Model was made of them.")
        return cls._specified(fit.specification)

    @classmethod
    def _specified(cls, specification: Specification) -> Model:
        model = cls.__new__(cls)
        model.specification = specification
        return model

    @property
    def formula(self) -> str:
        """The formula as written."""
        return self.specification.formula

    @property
    def design(self) -> Design:
        """Response, fixed effects and random effects as numbers."""
        return self.specification.design

    @property
    def data(self) -> pd.DataFrame:
        """The columns and rows used."""
        return self.specification.data

    @property
    def family(self) -> Family:
        """Family and link of the response."""
        return self.specification.family

    @property
    def given_priors(self) -> dict[str, Any]:
        """The priors that were given, in Bambi's form."""
        return self.specification.priors_given

    @property
    def center_predictors(self) -> bool:
        """Whether the prior of the intercept refers to the mean of the predictors."""
        return self.specification.center_predictors

    @property
    def priors(self) -> Priors:
        """The priors in use, given and automatic."""
        return self.specification.priors

    @cached_property
    def bambi(self) -> Any:
        """The `bambi.Model` behind it, with the resolved priors, for prediction and interpretation.

        Bambi's own graph treats ``(x | g)`` as uncorrelated; fit with `fit`, not with it. Building it
        takes memory of the order of rows x levels.
        """
        return self.specification.bambi()

    @cached_property
    def moments(self) -> Moments:
        """All that a Gaussian likelihood needs of the data."""
        self._need_exact("A likelihood in closed form")
        return take_moments(self.design)

    def _need_exact(self, what: str, remedy: str = "ml() and fit() are for all families") -> None:
        """Refuse what only a Gaussian model has."""
        if not self.family.exact:
            raise HierbayesError(f"{what} needs a Gaussian response with identity link, not {self.family}; {remedy}.")

    @cached_property
    def likelihood(self) -> Marginal:
        """The likelihood that REML and ML maximise: flat priors on the fixed effects."""
        return Marginal(self.design, None, self.moments)

    @cached_property
    def marginal(self) -> Marginal:
        """The marginal likelihood with the priors of the fixed effects."""
        return Marginal(self.design, self.priors, self.moments)

    def graph(self, parameterization: str | None = None) -> Any:
        """The PyMC model that NUTS samples.

        Parameters
        ----------
        parameterization : {"marginal", "noncentered", "centered", "auto"}, optional
            By default ``"marginal"`` for a Gaussian response with identity link, and ``"auto"`` otherwise.
            ``"marginal"``: random effects, and fixed effects with Normal or flat priors, integrated out.
            ``"noncentered"`` and ``"centered"``: every random effect a variable. ``"auto"``: as in `fit`.

        Returns
        -------
        pymc.Model
            ``pymc.sample`` works on it; `fit` completes the draws of a marginal one with everything
            that was integrated out.

        Raises
        ------
        ValueError
            For another parametrisation, or a conditional one with correlated residuals.
        """
        choice = self._choose(parameterization or (MARGINAL if self.family.exact else AUTO))
        if choice.marginal:
            from hierbayes.graph import build_graph

            return build_graph(self.marginal, self.priors)
        return self._conditional(choice)

    def _conditional(self, choice: Choice) -> Any:
        """The graph that has every random effect as a variable."""
        from hierbayes.conditional import build_conditional

        respond = None if self.family.exact else self.specification.respond
        return build_conditional(self.design, self.priors, choice.blocks, respond)

    def _choose(self, parameterization: str, reml: RemlFit | None = None) -> Choice:
        if not self.family.exact:
            return choose_blocks(parameterization, self.design, pilot)
        if parameterization == AUTO and reml is None:
            reml = self._maximise("REML", quiet=True)
        covariance, sigma = (np.zeros((0, 0)), 1.0) if reml is None else (reml.covariance, reml.sigma)
        return choose(parameterization, self.marginal, covariance, sigma)

    def reml(self) -> RemlFit:
        """Fit by restricted maximum likelihood.

        Returns
        -------
        RemlFit

        Warns
        -----
        SingularFit
            If the estimate is on the boundary.
        ConvergenceWarning
            If no maximum was found.
        """
        return self._maximise("REML")

    def ml(self, nagq: int = 1) -> RemlFit | LaplaceFit:
        """Fit by maximum likelihood.

        Parameters
        ----------
        nagq : int, default 1
            For responses that are not Gaussian: 1 integrates the random effects out by the Laplace approximation;
            more are the nodes of adaptive Gauss-Hermite quadrature, for one effect per level of one grouping factor.

        Returns
        -------
        RemlFit or LaplaceFit
            A `LaplaceFit` for every family but the Gaussian with identity link, whose integral is exact.

        Raises
        ------
        ValueError
            If `nagq` is not a whole number from 1 to 100, or more than 1 where the integral is exact.
        HierbayesError
            For families whose likelihood is not known, and for quadrature over more than one effect.

        Warns
        -----
        SingularFit, ConvergenceWarning
            As in `reml`.

        Examples
        --------
        >>> import hierbayes as hb
        >>> cbpp = hb.load_data("cbpp").astype({"period": str})
        >>> model = hb.Model("p(incidence, size) ~ period + (1 | herd)", cbpp, family="binomial")
        >>> model.ml().fixef.round(3).to_dict()
        {'Intercept': -1.399, 'period[2]': -0.992, 'period[3]': -1.129, 'period[4]': -1.58}
        >>> round(model.ml(nagq=25).loglik - model.ml().loglik, 4)
        0.0429
        """
        if not self.family.exact:
            return self._approximate(nagq)
        if nagq != 1:
            raise ValueError("The integral over the random effects of a Gaussian model is exact; leave nagq out.")
        return self._maximise("ML")

    def _approximate(self, nagq: int) -> LaplaceFit:
        likelihood = Laplace(self.design, nagq)
        optimum = maximise_laplace(likelihood)
        self._warn_of(optimum, "ML")
        return LaplaceFit(likelihood, optimum, self.specification)

    def refit(self, y: ArrayLike, method: str = "REML") -> RemlFit:
        """Fit the same design to another response, as in a simulation or a bootstrap.

        Whatever does not depend on the response is prepared once, so that a refit costs a fraction of a
        fit. Weights, offset and rows are those of the model.

        Parameters
        ----------
        y : (n,) array
            One number for each row used (``model.design.n`` of them).
        method : {"REML", "ML"}, default "REML"

        Returns
        -------
        RemlFit

        Raises
        ------
        DataError
            If the response has another length or is not finite.

        Warns
        -----
        SingularFit, ConvergenceWarning
            As in `reml`.

        Examples
        --------
        >>> import hierbayes as hb
        >>> model = hb.Model("Yield ~ 1 + (1 | Batch)", hb.load_data("Dyestuff"))
        >>> round(model.refit(2 * model.design.y).sigma / model.reml().sigma, 6)
        2.0
        """
        self._need_exact("refit()", "make a Model of data with the other response, and call its ml()")
        return self._maximise(method, likelihood=self._refitter.likelihood(y))

    def refits(self, responses: ArrayLike, method: str = "REML") -> Refits:
        """Fit the same design to many responses in one go, as a parametric bootstrap or a power study does.

        All are fitted in compiled code from the estimate for the model's own response; the few whose answer
        lies on the boundary, or is not clearly a minimum, are fitted again with all the care of `reml`. With
        correlated residuals all are fitted that way.

        Parameters
        ----------
        responses : (k, n) array
            One response a row.
        method : {"REML", "ML"}, default "REML"

        Returns
        -------
        Refits

        Raises
        ------
        DataError
            If the responses have another length or are not finite.

        Examples
        --------
        >>> import hierbayes as hb, numpy as np
        >>> model = hb.Model("Yield ~ 1 + (1 | Batch)", hb.load_data("Dyestuff"))
        >>> y = model.design.y
        >>> model.refits([y, 2 * y]).estimates["ran_pars", "Residual", "sigma"].round(2).tolist()
        [49.51, 99.02]
        """
        self._need_exact("refits()", "make a Model of data with each response, and call its ml()")
        if method not in {"REML", "ML"}:
            raise ValueError(f"method must be 'REML' or 'ML', not {method!r}")
        return self._refitter.all(responses, method)

    @cached_property
    def _refitter(self) -> Refitter:
        return Refitter(self.design, self.moments)

    def _maximise(self, method: str, quiet: bool = False, likelihood: Marginal | None = None) -> RemlFit:
        if method not in {"REML", "ML"}:
            raise ValueError(f"method must be 'REML' or 'ML', not {method!r}")
        self._need_exact(f"A {method} fit in closed form", "use ml() for maximum likelihood, fit() for the posterior")
        whole = likelihood is None
        likelihood = self.likelihood if likelihood is None else likelihood
        optimum = maximise(likelihood, method == "REML")
        if not quiet:
            self._warn_of(optimum, method)
        return RemlFit(likelihood, optimum, method, self.specification if whole else None)

    def _warn_of(self, optimum: Optimum | LaplaceOptimum, method: str) -> None:
        if not optimum.converged:
            warnings.warn(
                f"The {method} fit has {optimum.message}; do not trust it.", ConvergenceWarning, stacklevel=4
            )
        if optimum.singular and not (isinstance(optimum, LaplaceOptimum) and optimum.separated):
            warnings.warn(
                f"The {method} fit of {self.formula!r} is singular: {flat(self.design, optimum)}",
                SingularFit,
                stacklevel=4,
            )

    def fit(
        self,
        draws: int = 1000,
        tune: int = 1000,
        chains: int = 4,
        seed: int | None = None,
        cores: int | None = None,
        target_accept: float = 0.95,
        ranef: Keep | str | Path = "auto",
        progress: bool | None = None,
        callback: Callable[[Any], None] | None = None,
        parameterization: str = "auto",
    ) -> Fit | FamilyFit:
        """Sample the posterior by NUTS and recover every effect that was integrated out.

        Parameters
        ----------
        draws, tune : int, default 1000
            Draws kept and warm-up draws, per chain.
        chains : int, default 4
        seed : int, optional
            Same seed, same draws, whatever the number of cores. Without one a seed is drawn and kept
            in ``idata.attrs["seed"]``.
        cores : int, optional
            Threads; by default all processors, at most one a chain.
        target_accept : float, default 0.95
            Higher is slower and safer.
        ranef : {"auto", "draws", "summary"} or path
            Keep draws of the random effects in memory, or only summaries, or stream the draws to a new
            zarr folder. ``"auto"`` keeps draws up to 20 million numbers.
        progress : bool, optional
            Show a progress bar; by default if somebody is watching (a terminal or a notebook).
        callback : callable, optional
            Called now and then with nutpie's list of chain states.
        parameterization : {"auto", "marginal", "noncentered", "centered"}, default "auto"
            ``"auto"`` integrates the random effects out, unless crossed factors make that dearer than
            sampling them; then it decides block by block, from how much the data of a level say about
            its effects, between centred and non-centred. ``fit.parameterization`` says what was
            chosen and why. Where effects are variables their draws are kept, whatever `ranef` says.

        Returns
        -------
        Fit or FamilyFit
            A `FamilyFit` unless the response is Gaussian with identity link.

        Raises
        ------
        ValueError
            If an argument is out of range.
        FileExistsError
            If `ranef` is a folder that exists already; it is not overwritten.
        HierbayesError
            If a term has a slash in its name, such as ``I(x / 2)``, which no variable of a posterior may have.

        Warns
        -----
        ConvergenceWarning
            If R-hat, effective sample sizes or divergences say that the draws cannot be trusted.
        PriorWarning
            For an automatic prior more than 20 times wider than the response; see `prior_summary`.
        IncompleteWarning
            If Ctrl-C ended sampling; the fit has the draws made so far, and says so wherever it is shown. A second
            Ctrl-C, or one before any chain has made ten draws, raises `KeyboardInterrupt`.
        """
        for name, value in {"draws": draws, "tune": tune, "chains": chains}.items():
            if not (isinstance(value, (int, np.integer)) and value > 0):
                raise ValueError(f"{name} must be a positive whole number, not {value!r}")
        if not 0.0 < target_accept < 1.0:
            raise ValueError(f"target_accept must be between 0 and 1, not {target_accept!r}")
        keep = ranef if ranef in ("auto", "draws", "summary") else Path(ranef)
        if isinstance(keep, Path) and keep.exists():
            raise FileExistsError(f"{keep} exists already; name a new folder for the draws of the random effects")
        check_names(self.design)
        from hierbayes import sampling
        from hierbayes.checks.prior_summary import prior_table, warn_of_wide

        reml = None
        if self.family.exact:
            warn_of_wide(prior_table(self.marginal, self.priors, self.given_priors), self.design.response)
            reml = self._maximise("REML", quiet=True)
        choice = self._choose(parameterization, reml)
        seed = int(np.random.SeedSequence().generate_state(1)[0]) if seed is None else int(seed)
        run = sampling.Run(
            draws=draws,
            tune=tune,
            chains=chains,
            cores=min(chains, os.cpu_count() or 1) if cores is None else cores,
            seed=seed,
            target_accept=target_accept,
            progress=watched() if progress is None else progress,
            callback=callback,
            partial=True,
        )
        started = time.perf_counter()
        if choice.marginal and reml is not None:
            groups = self._sample_marginal(run, reml, keep)
        else:
            groups = self._sample_conditional(run, choice)
        groups["observed_data"] = observed_data(self.design)
        groups["posterior"].attrs = (
            self._provenance(seed)
            | {
                "tuning_steps": tune,
                "target_accept": target_accept,
                "parameterization": MARGINAL if choice.marginal else ", ".join(choice.blocks),
                "parameterization_reason": choice.reason,
                "seconds_sampling": time.perf_counter() - started,
            }
            | groups["posterior"].attrs
        )
        incomplete = shortfall(groups["posterior"], chains, draws)
        if incomplete is not None:
            groups["posterior"].attrs[INCOMPLETE] = incomplete
        idata = xr.DataTree.from_dict(groups)
        idata.attrs = dict(groups["posterior"].attrs)
        fit: Fit | FamilyFit
        if reml is None:
            fit = FamilyFit(self.design, self.priors, idata, specification=self.specification)
        else:
            fit = Fit(self.design, self.priors, idata, self.marginal, reml, specification=self.specification)
        for problem in fit.convergence.problems:
            warnings.warn(problem, IncompleteWarning if problem == incomplete else ConvergenceWarning, stacklevel=2)
        return fit

    def quadrature(self, tolerance: float = 1e-6) -> Quadrature:
        """Integrate the posterior deterministically, without a sampler.

        Parameters
        ----------
        tolerance : float, default 1e-6
            Wanted relative error of the integral.

        Returns
        -------
        Quadrature

        Raises
        ------
        HierbayesError
            If there are more than six variance parameters, or the posterior does not fall off.

        Examples
        --------
        >>> import hierbayes as hb
        >>> model = hb.Model("Yield ~ 1 + (1 | Batch)", hb.load_data("Dyestuff"))
        >>> model.quadrature().tidy()[["term", "estimate", "std_error"]].round(1)
                    term  estimate  std_error
        0      Intercept    1527.5       26.0
        1  sd(Intercept)      54.4       27.8
        2          sigma      51.8        7.9
        """
        self._need_exact("quadrature()", "sample the posterior by fit()")
        from hierbayes.evidence.quadrature import quadrature

        return quadrature(self.marginal, self.priors, tolerance)

    def evidence(self) -> Evidence:
        """Log marginal likelihood under the priors, by quadrature; a fit can do it from its draws as well.

        Returns
        -------
        Evidence

        Raises
        ------
        PriorError
            If a prior is flat: there is no marginal likelihood then.
        HierbayesError
            If there are more than six variance parameters.

        Examples
        --------
        >>> import hierbayes as hb
        >>> found = hb.Model("Yield ~ 1 + (1 | Batch)", hb.load_data("Dyestuff")).evidence()
        >>> round(found.log_marginal_likelihood, 3), found.method
        (-169.096, 'quadrature')
        """
        self._need_exact("evidence()", "compare models by compare() of their fits, which uses leave-one-out")
        from hierbayes.evidence.marginal_likelihood import evidence

        return evidence(self)

    def prior_summary(self) -> pd.DataFrame:
        """What every prior assumes, in its own units and in those of the response.

        Returns
        -------
        pandas.DataFrame
            One row a parameter: effect, group, term, prior, automatic, low and high (central 95%), meaning,
            implied_low and implied_high (in units of the response, or on the scale of the link if the response is not
            Gaussian), ratio (width relative to that of a Gaussian response); for a Gaussian response the last row is
            a response simulated from all priors together, beside what was observed.

        Warns
        -----
        PriorWarning
            For an automatic prior more than 20 times wider than the response.

        Examples
        --------
        >>> import hierbayes as hb
        >>> model = hb.Model("Yield ~ 1 + (1 | Batch)", hb.load_data("Dyestuff"))
        >>> model.prior_summary()[["term", "prior", "implied_low", "implied_high"]].round(0).head(2)
                    term                         prior  implied_low  implied_high
        0      Intercept  Normal(mu=1528, sigma=154.9)       1224.0        1831.0
        1  sd(Intercept)       HalfNormal(sigma=154.9)          5.0         347.0
        """
        from hierbayes.checks.prior_summary import family_prior_table, prior_summary, warn_of_wide

        if not self.family.exact:
            return family_prior_table(self.design, self.priors, self.given_priors)
        table = prior_summary(self.marginal, self.priors, self.given_priors)
        warn_of_wide(table, self.design.response)
        return table

    def prior_predictive(self, draws: int = 500, seed: int | None = None) -> xr.DataTree:
        """Draw parameters from the priors, and responses that follow from them.

        Parameters
        ----------
        draws : int, default 500
        seed : int, optional

        Returns
        -------
        xarray.DataTree
            Groups prior, prior_predictive and observed_data, for ArviZ. Random effects are drawn anew for
            every response; those of a family other than the Gaussian are in the prior group.

        Raises
        ------
        PriorError
            If a prior is flat.
        ValueError
            If `draws` is not a positive whole number.

        Warns
        -----
        PriorWarning
            As in `prior_summary`.

        Examples
        --------
        >>> import hierbayes as hb
        >>> model = hb.Model("Yield ~ 1 + (1 | Batch)", hb.load_data("Dyestuff"))
        >>> tree = model.prior_predictive(draws=100, seed=1)
        >>> dict(tree["prior_predictive"]["Yield"].sizes)
        {'chain': 1, 'draw': 100, '__obs__': 30}
        """
        from hierbayes.checks.prior_predictive import prior_predictive
        from hierbayes.checks.prior_summary import prior_table, warn_of_wide
        from hierbayes.predictions.prior import prior_predictive as family_prior_predictive

        if not (isinstance(draws, (int, np.integer)) and draws > 0):
            raise ValueError(f"draws must be a positive whole number, not {draws!r}")
        if not self.family.exact:
            return family_prior_predictive(self.specification, int(draws), seed)
        warn_of_wide(prior_table(self.marginal, self.priors, self.given_priors), self.design.response)
        return prior_predictive(self.marginal, self.priors, int(draws), seed)

    def _sample_marginal(self, run: Run, reml: RemlFit, keep: Keep | Path) -> dict[str, xr.Dataset]:
        """Sample θ and recover everything that was integrated out."""
        from hierbayes.nuts import draw
        from hierbayes.recover import random_effects

        started = time.perf_counter()
        drawn, given, posterior = draw(self.marginal, self.priors, reml.optimum, run)
        seconds = time.perf_counter() - started
        random, kind = random_effects(self.marginal, given, len(drawn.theta), run.seed, run.cores, keep)
        groups = {"posterior": posterior.merge(random) if kind == "draws" else posterior, "sample_stats": drawn.stats}
        if kind == "summary":
            groups[names.RANEF_SUMMARY] = random
        groups["posterior"].attrs = {"engine": drawn.engine, "seconds_sampling": seconds}
        if isinstance(keep, Path):
            groups["posterior"].attrs[names.STREAMED] = str(keep.resolve())
        return groups

    def _sample_conditional(self, run: Run, choice: Choice) -> dict[str, xr.Dataset]:
        """Sample the graph that has every random effect as a variable."""
        from hierbayes import sampling
        from hierbayes.conditional import kept_variables, posterior_of
        from hierbayes.initial import scattered, startable

        graph = self._conditional(choice)
        known = {variable.name for variable in graph.unobserved_RVs}
        kept = [name for name in kept_variables(self.design) if name in known]
        apart = scattered(self.design, graph, self.priors.centered)
        with startable(self.family):
            draws, stats = sampling.sample_graph(graph, run, kept, apart)
        posterior = posterior_of(draws, self.design)
        posterior.attrs = {"engine": "graph"}
        return {"posterior": posterior, "sample_stats": stats}

    def _provenance(self, seed: int) -> dict[str, Any]:
        from importlib.metadata import version

        return {
            "modeling_interface": "hierbayes",
            "modeling_interface_version": version("hierbayes"),
            "inference_library": "nutpie",
            "inference_library_version": version("nutpie"),
            "sample_dims": [names.CHAIN, names.DRAW],
            "formula": self.formula,
            "seed": seed,
        }

    def _repr_html_(self) -> str:
        design = self.design
        return display.document(
            "Model", display.facts(design.facts), display.table(design.structure), formula=self.formula
        )

    def __repr__(self) -> str:
        d = self.design
        dropped = [f"{d.n_dropped} incomplete rows left out"] if d.n_dropped else []
        return f"Model({', '.join([f'{self.formula!r}: {d.size}', *dropped])})"


def check_names(design: Design) -> None:
    """Refuse names that no variable of a DataTree may have, before anything is sampled."""
    effects = [term.name for block in design.blocks for term in block.terms]
    for name in [design.response, *(term.name for term in design.terms), *effects]:
        if "/" in name:
            raise HierbayesError(
                f"The posterior cannot have a variable named {name!r}, because of the slash; rename the column "
                "without the slash, or make the term a column of the data."
            )


def _with_column(data: pd.DataFrame, value: str | ArrayLike | None, name: str) -> tuple[pd.DataFrame, str | None]:
    """A data frame with `value` as a column, and the name of that column."""
    if value is None or isinstance(value, str):
        return data, value
    try:
        values = np.asarray(value, dtype=float)
    except (TypeError, ValueError):
        raise DataError(f"{name}= must be the name of a column, or one number a row.") from None
    if values.shape != (len(data),):
        raise DataError(
            f"{name}= has shape {values.shape}, but the data have {len(data)} rows; give one number a row."
        )
    column = next(column for column, argument in names.ARRAYS.items() if argument == name)
    return data.assign(**{column: values}), column
