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

from hierbayes import from_bambi, names
from hierbayes.errors import ConvergenceWarning, FormulaError, RowsDropped, SingularFit
from hierbayes.marginal import Marginal
from hierbayes.moments import Moments, take_moments
from hierbayes.priors import Priors
from hierbayes.reml import maximise
from hierbayes.results import Fit, RemlFit

if TYPE_CHECKING:
    import pandas as pd

    from hierbayes.recover import Keep


class Model:
    """A linear mixed model: one formula, one design, one likelihood, two inferences.

    Parameters
    ----------
    formula : str
        Bambi's formula syntax with lme4's random effects: ``(1 | g)``, ``(x | g)`` (intercept and
        slope with a full covariance matrix), ``(x || g)`` (uncorrelated), ``(0 + x | g)``. Note for users
        of Bambi: there ``(x | g)`` is uncorrelated.
    data : pandas.DataFrame
        One row an observation.
    family : str, default "gaussian"
        Only the Gaussian family with the identity link.
    priors : mapping, optional
        Bambi's form: ``{"Days": bambi.Prior("Normal", mu=0, sigma=10), "1|Subject": bambi.Prior("Normal",
        mu=0, sigma=bambi.Prior("HalfNormal", sigma=50)), "Subject_corr": bambi.Prior("LKJ", eta=2)}``.
        What is not given is Bambi's automatic prior, and LKJ(1) for correlations. REML uses no prior.
    center_predictors : bool, default True
        Bambi's meaning: the prior of the intercept refers to the response at the mean of the
        predictors. The intercept itself is always reported uncentred.
    dropna : bool, default True
        Leave incomplete rows out, with a warning that counts them; False refuses them.

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
    ) -> None:
        if family != "gaussian":
            raise FormulaError(
                f"The family {family!r} is not available yet; this version fits 'gaussian' responses. "
                "Bambi fits it without the REML comparison."
            )
        self.formula = formula
        self._parsed = from_bambi.parse(formula)
        caller = sys._getframe(1)
        self._namespace = from_bambi.names_used(self._parsed, {**caller.f_globals, **caller.f_locals})
        self.data, self.design = from_bambi.read_design(self._parsed, data, self._namespace, dropna)
        self.given_priors = dict(priors or {})
        from_bambi.check_prior_names(self.design, self.given_priors)
        self.center_predictors = center_predictors
        self.moments: Moments = take_moments(self.design)
        if self.given_priors:
            _ = self.priors
        if self.design.n_dropped:
            columns = ", ".join(map(repr, self.design.dropped_columns))
            warnings.warn(
                f"{self.design.n_dropped} of {len(data)} rows have missing values in {columns} and were left out.",
                RowsDropped,
                stacklevel=2,
            )

    @cached_property
    def priors(self) -> Priors:
        """The priors in use, given and automatic."""
        return from_bambi.read_priors(
            self.design, self.data, self._namespace, self.given_priors, self.center_predictors
        )

    @cached_property
    def bambi(self) -> Any:
        """The `bambi.Model` behind it, with the resolved priors, for prediction and interpretation.

        Bambi's own graph treats ``(x | g)`` as uncorrelated; fit with `fit`, not with it. Building it
        takes memory of the order of rows x levels.
        """
        return from_bambi.bambi_model(self.design, self._parsed, self.data, self._namespace, self.priors)

    @cached_property
    def marginal(self) -> Marginal:
        """The marginal likelihood with the priors of the fixed effects."""
        return Marginal(self.design, self.priors, self.moments)

    def graph(self, parameterization: str = "marginal") -> Any:
        """The PyMC model that NUTS samples.

        Parameters
        ----------
        parameterization : {"marginal"}
            Random effects, and fixed effects with Normal or flat priors, integrated out.

        Returns
        -------
        pymc.Model
            ``pymc.sample`` works on it; `fit` completes its draws with everything integrated out.

        Raises
        ------
        ValueError
            For another parametrisation.
        """
        if parameterization != "marginal":
            raise ValueError(f"parameterization {parameterization!r} is not available; use 'marginal'")
        from hierbayes.graph import build_graph

        return build_graph(self.marginal, self.priors)

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

    def ml(self) -> RemlFit:
        """Fit by maximum likelihood; returns and warnings as in `reml`."""
        return self._maximise("ML")

    def _maximise(self, method: str, quiet: bool = False) -> RemlFit:
        optimum = maximise(self.moments, method == "REML")
        if not optimum.converged and not quiet:
            warnings.warn(
                f"The {method} fit has {optimum.message}; do not trust it.", ConvergenceWarning, stacklevel=3
            )
        if optimum.singular and not quiet:
            warnings.warn(
                f"The {method} fit of {self.formula!r} is singular: some combination of the random effects of "
                f"{self.design.factor.name!r} has no variance. Look at the posterior, or take a random effect out.",
                SingularFit,
                stacklevel=3,
            )
        return RemlFit(self.design, self.moments, optimum, method)

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
    ) -> Fit:
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

        Returns
        -------
        Fit

        Raises
        ------
        ValueError
            If an argument is out of range.
        FileExistsError
            If `ranef` is a folder that exists already; it is not overwritten.

        Warns
        -----
        ConvergenceWarning
            If R-hat, effective sample sizes or divergences say that the draws cannot be trusted.
        """
        for name, value in {"draws": draws, "tune": tune, "chains": chains}.items():
            if not (isinstance(value, (int, np.integer)) and value > 0):
                raise ValueError(f"{name} must be a positive whole number, not {value!r}")
        if not 0.0 < target_accept < 1.0:
            raise ValueError(f"target_accept must be between 0 and 1, not {target_accept!r}")
        keep = ranef if ranef in ("auto", "draws", "summary") else Path(ranef)
        if isinstance(keep, Path) and keep.exists():
            raise FileExistsError(f"{keep} exists already; name a new folder for the draws of the random effects")
        from hierbayes import sampling
        from hierbayes.recover import parameters, random_effects

        reml = self._maximise("REML", quiet=True)
        seed = int(np.random.SeedSequence().generate_state(1)[0]) if seed is None else int(seed)
        cores = min(chains, os.cpu_count() or 1) if cores is None else cores
        target = sampling.make_target(self.marginal, self.priors)
        started = time.perf_counter()
        drawn = sampling.sample(
            target,
            self.graph,
            sampling.start(target, reml.optimum),
            draws=draws,
            tune=tune,
            chains=chains,
            cores=cores,
            seed=seed,
            target_accept=target_accept,
            progress=_watched() if progress is None else progress,
            callback=callback,
        )
        seconds = time.perf_counter() - started
        given = self.marginal.condition(drawn.theta.reshape(chains * draws, -1), np.random.default_rng([seed, 1]))
        posterior = parameters(self.design, drawn.theta, given, self.marginal.kept)
        random, kind = random_effects(self.marginal, given, chains, seed, cores, keep)
        groups = {
            "posterior": posterior.merge(random) if kind == "draws" else posterior,
            "sample_stats": drawn.stats,
            "observed_data": xr.Dataset(
                {self.design.response: ("__obs__", self.design.y)}, {"__obs__": np.arange(self.design.n)}
            ),
        }
        if kind == "summary":
            groups[names.RANEF_SUMMARY] = random
        groups["posterior"].attrs = self._provenance(seed, drawn.engine) | {"seconds_sampling": seconds}
        idata = xr.DataTree.from_dict(groups)
        idata.attrs = dict(groups["posterior"].attrs)
        fit = Fit(self.design, self.priors, self.marginal, idata, reml)
        for problem in fit.convergence.problems:
            warnings.warn(problem, ConvergenceWarning, stacklevel=2)
        return fit

    def _provenance(self, seed: int, engine: str) -> dict[str, Any]:
        from importlib.metadata import version

        return {
            "modeling_interface": "hierbayes",
            "modeling_interface_version": version("hierbayes"),
            "inference_library": "nutpie",
            "inference_library_version": version("nutpie"),
            "sample_dims": [names.CHAIN, names.DRAW],
            "formula": self.formula,
            "seed": seed,
            "engine": engine,
        }

    def __repr__(self) -> str:
        d = self.design
        return f"Model({self.formula!r}: {d.n} rows, {len(d.factor.levels)} levels of {d.factor.name}" + (
            f", {d.n_dropped} incomplete rows left out)" if d.n_dropped else ")"
        )


def _watched() -> bool:
    """Whether a progress bar would be seen: a terminal or a notebook."""
    return sys.stderr.isatty() or "ipykernel" in sys.modules
