"""What the two inferences find: an `Estimate` and a `Posterior`, frozen, with tables of the same rows.

What may be concluded from them is asked by the modules above and offered by `hierbayes.results`.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from hierbayes import display, names
from hierbayes.covariance import correlation
from hierbayes.design import Design, Factor
from hierbayes.diagnostics import Convergence, check_convergence
from hierbayes.errors import IncompleteWarning
from hierbayes.initial import other_link
from hierbayes.interruption import INCOMPLETE
from hierbayes.marginal import Marginal
from hierbayes.moments import Moments
from hierbayes.priors import Priors
from hierbayes.recover import thetas
from hierbayes.reml import SINGULAR, Optimum
from hierbayes.specification import Specification
from hierbayes.wald import Wald, standard_errors

TIDY = [
    "effect", "group", "term", "estimate", "std_error", "statistic", "df", "p_value", "conf_low", "conf_high",
]  # fmt: skip
"""Columns of every tidy table."""
INTERVALS = ["effect", "group", "term", "estimate", "conf_low", "conf_high", "method", "note"]
"""Columns of every table of confidence intervals."""
FIXED, VARIANCE = "fixed", "ran_pars"
RESIDUAL = "Residual"


def variance_rows(design: Design) -> list[tuple[str, str, int, int]]:
    """Group, term and the pair of effects (i, j) of every standard deviation and free correlation."""
    labels = design.effect_labels
    groups = [part.factor.name for part in design.parts for _ in part.block.labels]
    rows = [(groups[i], f"sd({label})", i, i) for i, label in enumerate(labels)]
    return rows + [(groups[i], f"corr({labels[j]}, {labels[i]})", i, j) for i, j in design.layout.pairs]


def flat(design: Design, optimum: Any) -> str:
    """Which random effects of a singular fit have no variance in some direction, and what to do about it.

    Parameters
    ----------
    design : Design
    optimum : Optimum or LaplaceOptimum

    Returns
    -------
    str
        A sentence and its remedy, to stand behind a colon.
    """
    found = []
    for factor in design.factors:
        where = design.effects_of(factor)
        if np.linalg.svd(optimum.relative[where, where], compute_uv=False)[-1] < SINGULAR:
            found.append(repr(factor.name))
    of = f"of {' and of '.join(found)} " if found else ""
    return (
        f"some combination of the random effects {of}has no variance. Look at the posterior, or take a random effect "
        "out."
    )


class Maximum:
    """What a maximum of any likelihood says, once fixed effects, covariance and optimum are found.

    `Estimate` is the one of a Gaussian response, `hierbayes.laplace_estimate.LaplaceEstimate` that of others.
    """

    design: Any
    fixef: Any
    vcov: Any
    covariance: Any
    optimum: Any
    n_par: Any
    wald: Any

    @property
    def residual_values(self) -> dict[str, float]:
        """Parameters of the response beside its mean, by name."""
        raise NotImplementedError

    @cached_property
    def varcorr(self) -> pd.DataFrame:
        """Variances, covariances, standard deviations and correlations."""
        sd, corr = correlation(self.covariance)
        labels = self.design.effect_labels
        rows: list[tuple] = []
        for group, _, i, j in variance_rows(self.design):
            second = np.nan if i == j else labels[i]
            rows.append((group, labels[j], second, self.covariance[i, j], sd[i] if i == j else corr[i, j]))
        residual = self.residual_values
        sigma = residual.get(names.SIGMA, np.nan)
        if names.SIGMA in residual:
            rows.append((RESIDUAL, np.nan, np.nan, sigma**2, sigma))
        if names.RHO in residual:
            scale = self.design.sigma if names.SIGMA not in residual else sigma
            rows.append((RESIDUAL, names.RHO, names.RHO, residual[names.RHO] * scale**2, residual[names.RHO]))
        return pd.DataFrame(rows, columns=["group", "term", "term2", "vcov", "sdcor"])

    @cached_property
    def parameter_values(self) -> pd.Series:
        """Estimates of every row of the tidy table, labelled (effect, group, term)."""
        values = {(FIXED, "", label): value for label, value in self.fixef.items()}
        sd, corr = correlation(self.covariance)
        for group, term, i, j in variance_rows(self.design):
            values[VARIANCE, group, term] = sd[i] if i == j else corr[i, j]
        for name, value in self.residual_values.items():
            values[VARIANCE, RESIDUAL, name] = value
        return pd.Series(values)

    def _by_level(self, factor: Factor, values: np.ndarray) -> pd.DataFrame:
        index = pd.Index(factor.levels, name=factor.name)
        labels = [label for part in self.design.parts_of(factor) for label in part.block.labels]
        return pd.DataFrame(values, index=index, columns=labels)

    @property
    def criterion(self) -> float:
        """-2 log (restricted) likelihood."""
        return self.optimum.deviance

    @property
    def loglik(self) -> float:
        """Log (restricted) likelihood."""
        return -0.5 * self.criterion

    @property
    def aic(self) -> float:
        """Akaike's criterion, ``criterion + 2 n_par``."""
        return self.criterion + 2.0 * self.n_par

    @property
    def bic(self) -> float:
        """Schwarz's criterion, ``criterion + log(nobs) n_par``."""
        return self.criterion + np.log(self.nobs) * self.n_par

    @property
    def nobs(self) -> int:
        """Rows used."""
        return self.design.n

    @property
    def ngroups(self) -> dict[str, int]:
        """Levels of each grouping factor."""
        return {factor.name: len(factor.levels) for factor in self.design.factors}

    @property
    def singular(self) -> bool:
        """Whether the estimate is on the boundary of the parameter space."""
        return self.optimum.singular

    @property
    def converged(self) -> bool:
        """Whether gradient and curvature at the answer are those of a maximum."""
        return self.optimum.converged

    @property
    def _problems(self) -> list[tuple[str, str]]:
        """What forbids or qualifies its use, each with a severity of `hierbayes.Check`; empty if there is nothing."""
        found = [] if self.converged else [("problem", f"Not to be trusted: {self.message}.")]
        if self.singular and not getattr(self.optimum, "separated", False):
            found.append(("warning", f"Singular fit: {flat(self.design, self.optimum)}"))
        return found

    def _panel(self, title: str, tidy: pd.DataFrame, *remarks: tuple[str, str]) -> str:
        """The fit for a notebook: what is wrong, how well it fits, its estimates; remarks go with what is wrong."""
        known = {
            "criterion": f"{self.criterion:.2f}",
            "log likelihood": f"{self.loglik:.2f}",
            "AIC": f"{self.aic:.1f}",
            "BIC": f"{self.bic:.1f}",
            "parameters": self.n_par,
        }
        return display.document(
            title,
            display.said([*self._problems, *remarks]),
            display.facts(self.design.facts | known),
            estimates(tidy, "Estimates with 95% confidence intervals"),
            formula=self.design.formula,
        )

    @property
    def message(self) -> str:
        """How the optimisation ended."""
        return self.optimum.message


@dataclass(frozen=True, eq=False, repr=False)
class Estimate(Maximum):
    """A maximum of the likelihood, and what it says of every parameter and every level.

    `hierbayes.RemlFit` is this with its tests, intervals and checks; the attributes are described there.

    Parameters
    ----------
    marginal : Marginal
    optimum : Optimum
    method : {"REML", "ML"}
    specification : Specification or None
        Of the model; None for a fit to other responses or rows than the model's.
    """

    marginal: Marginal
    optimum: Optimum
    method: str
    specification: Specification | None = None

    @property
    def design(self) -> Design:
        """The design that was fitted."""
        return self.marginal.design

    @property
    def moments(self) -> Moments:
        """Its moments."""
        return self.marginal.moments

    @property
    def beta(self) -> np.ndarray:
        """(p,) fixed effects without their names, which take longer than the numbers."""
        m = self.moments
        return m.ols - m.scale * np.linalg.solve(m.R, self.optimum.t[:-1])

    @cached_property
    def fixef(self) -> pd.Series:
        """Fixed effects."""
        return pd.Series(self.beta, index=self.design.labels)

    @cached_property
    def vcov(self) -> pd.DataFrame:
        """Covariance matrix of the fixed effects, σ² (Xᵀ V₀⁻¹ X)⁻¹."""
        half = np.linalg.inv(self.optimum.chol.T @ self.moments.R) * self.sigma
        return pd.DataFrame(half @ half.T, index=self.design.labels, columns=self.design.labels)

    @property
    def sigma(self) -> float:
        """Residual standard deviation (of a row of weight 1)."""
        return self.optimum.sigma * self.moments.scale

    @property
    def rho(self) -> float | None:
        """Residual correlation, None for independent residuals."""
        return None if self.design.residual is None else self.optimum.rho

    @cached_property
    def covariance(self) -> np.ndarray:
        """(q, q) covariance matrix of the random effects of a level, block diagonal over the factors."""
        factor = self.marginal.units(slice(None)) @ self.optimum.relative * self.optimum.sigma
        return factor @ factor.T

    @property
    def residual_values(self) -> dict[str, float]:
        """σ and ρ, where they are estimated."""
        found = {} if self.design.sigma is not None else {names.SIGMA: self.sigma}
        return found if self.rho is None else found | {names.RHO: self.rho}

    @cached_property
    def wald(self) -> Wald:
        """Standard errors of the variance parameters."""
        with self.marginal.one_thread():
            return standard_errors(
                self.marginal, self.covariance, self.sigma, self.optimum.rho, self.singular, self.method
            )

    @cached_property
    def ranef(self) -> dict[str, pd.DataFrame]:
        """Best linear unbiased predictors."""
        blups = self.marginal.blups(self.optimum.relative, self.optimum.t, self.optimum.rho)
        return {
            factor.name: self._by_level(factor, values.T)
            for factor, values in zip(self.design.factors, blups, strict=True)
        }

    @cached_property
    def ranef_sd(self) -> dict[str, pd.DataFrame]:
        """Conditional standard deviations of the random effects."""
        covariances = self.marginal.conditional_covariance(self.optimum.relative, self.sigma, self.optimum.rho)
        return {
            factor.name: self._by_level(factor, np.sqrt(np.diagonal(values, axis1=1, axis2=2)))
            for factor, values in zip(self.design.factors, covariances, strict=True)
        }

    @property
    def n_par(self) -> int:
        """Number of estimated parameters: fixed effects, variances and covariances, σ and ρ."""
        free = (self.design.sigma is None) + (self.design.residual is not None)
        return self.moments.p + int(self.moments.layout.mask.sum()) + free

    @cached_property
    def fitted(self) -> np.ndarray:
        """(n,) conditional fitted values: fixed effects and BLUPs."""
        d = self.design
        fitted = d.X @ self.fixef.to_numpy() + (0.0 if d.offset is None else d.offset)
        for factor in d.factors:
            b = self.ranef[factor.name].to_numpy()
            Z = d.effect_columns(factor)
            fitted += np.einsum("nq,nq->n", Z, b[factor.codes])
        return fitted

    @property
    def residuals(self) -> np.ndarray:
        """(n,) conditional residuals."""
        return self.design.y - self.fitted


@dataclass(frozen=True, eq=False, repr=False)
class Sampled:
    """Draws of all parameters and effects, under Bambi's names, and what they say of each.

    Parameters
    ----------
    design : Design
    priors : Priors
    idata : xarray.DataTree
    specification : Specification or None
        Of the model; None for a fit to other rows than the model's.
    """

    design: Design
    priors: Priors
    idata: xr.DataTree
    specification: Specification | None = field(default=None, kw_only=True)

    @property
    def posterior(self) -> xr.Dataset:
        """The posterior group."""
        return self.idata["posterior"].to_dataset()

    @property
    def n_draws(self) -> int:
        """Number of draws, all chains together."""
        sizes = self.posterior.sizes
        return int(sizes[names.CHAIN] * sizes[names.DRAW])

    @property
    def ranef_kept(self) -> bool:
        """Whether the draws of the random effects are there, not only their summaries."""
        return names.RANEF_SUMMARY not in self.idata.children

    @property
    def parameterization(self) -> str:
        """What NUTS moved in, and why."""
        attrs = self.idata.attrs
        return f"{attrs['parameterization']}: {attrs['parameterization_reason']}"

    @property
    def _effect_names(self) -> list[str]:
        return [names.effect(term.name, block.factor.name) for block in self.design.blocks for term in block.terms]

    @cached_property
    def parameters(self) -> xr.Dataset:
        """The posterior without the random effects of single levels, each free correlation on its own."""
        posterior = self.posterior.drop_vars(self._effect_names, errors="ignore")
        for part in self.design.parts:
            if part.free:
                name = names.corr(part.factor.name, part.number)
                corr, labels = posterior[name].to_numpy(), part.block.labels
                dims = posterior[name].dims[:-2]
                posterior = posterior.drop_dims(names.corr_dims(part.factor.name, part.number))
                for i, j in zip(*np.triu_indices(len(labels), 1), strict=True):
                    posterior[f"{name}[{labels[i]}, {labels[j]}]"] = (dims, corr[..., i, j])
        return posterior

    @cached_property
    def convergence(self) -> Convergence:
        """R-hat, effective sample sizes and divergences, and whether sampling was interrupted."""
        found = check_convergence(
            self.parameters, self.idata["sample_stats"].to_dataset(), other_link(self.design.family)
        )
        return found if self.incomplete is None else replace(found, problems=(self.incomplete, *found.problems))

    @property
    def incomplete(self) -> str | None:
        """What is missing of the draws that were asked for, None if nothing is."""
        return self.idata.attrs.get(INCOMPLETE)

    def summary(self, ranef: bool = False, ci_prob: float = 0.95) -> pd.DataFrame:
        """ArviZ's summary of the posterior.

        Parameters
        ----------
        ranef : bool, default False
            Include the random effects of every level (if their draws were kept).
        ci_prob : float, default 0.95
            Probability of the equal-tailed intervals.

        Returns
        -------
        pandas.DataFrame

        Warns
        -----
        IncompleteWarning
            If sampling was interrupted.
        """
        import arviz as az

        if self.incomplete is not None:
            warnings.warn(self.incomplete, IncompleteWarning, stacklevel=2)
        shown = self.parameters.merge(self.posterior[self._effect_names]) if ranef else self.parameters
        return az.summary(shown, ci_prob=checked(ci_prob), ci_kind="eti")

    def tidy(self, conf_level: float = 0.95) -> pd.DataFrame:
        """Posterior means, standard deviations and equal-tailed intervals as one table.

        Parameters
        ----------
        conf_level : float, default 0.95

        Returns
        -------
        pandas.DataFrame
            The rows and columns of `RemlFit.tidy`; statistic, df and p_value are NaN.
        """
        tail = 0.5 - 0.5 * checked(conf_level)
        draws = self.parameter_draws()
        rows = []
        for effect, group, term in draws.columns:
            values = draws[effect, group, term].to_numpy()
            low, high = np.quantile(values, [tail, 1.0 - tail])
            group_ = np.nan if effect == FIXED else group
            rows.append((effect, group_, term, values.mean(), values.std(ddof=1), *[np.nan] * 3, low, high))
        return pd.DataFrame(rows, columns=TIDY)

    def parameter_draws(self) -> pd.DataFrame:
        """Draws of every row of `tidy`, chains one after the other.

        Returns
        -------
        pandas.DataFrame
            One column a parameter, labelled (effect, group, term).
        """
        columns: dict[tuple[str, str, str], np.ndarray] = {}
        for term in self.design.terms:
            for label, outcome, values in self._entries(term.name, term.labels, term.levels is not None):
                columns[FIXED, "", f"{label}{outcome}"] = values
        for block in self.design.blocks:
            factor = block.factor.name
            for term in block.terms:
                entries = self._entries(names.sd(term.name, factor), term.labels, term.levels is not None)
                for label, outcome, values in entries:
                    columns[VARIANCE, factor, f"sd({label}){outcome}"] = values
        for part in self.design.parts:
            if part.free:
                factor, labels = part.factor.name, part.block.labels
                pairs = [(i, j) for j in range(len(labels)) for i in range(j + 1, len(labels))]
                for _, outcome, values in self._entries(names.corr(factor, part.number), ("",), False):
                    for i, j in pairs:
                        columns[VARIANCE, factor, f"corr({labels[j]}, {labels[i]}){outcome}"] = values[:, i, j]
        for name in (*self.design.family.auxiliary, names.RHO):
            if name in self.posterior:
                sizes = self.posterior[name].shape[2:]
                labels = [f"{name}[{k}]" for k in range(sizes[0])] if sizes else [name]
                for k, label in enumerate(labels):
                    values = _flat(self.posterior[name])
                    columns[VARIANCE, RESIDUAL, label] = values[:, k] if sizes else values
        return pd.DataFrame(columns)

    def _entries(self, name: str, labels: tuple[str, ...], vector: bool) -> Iterator[tuple[str, str, np.ndarray]]:
        """Label, outcome (empty if the response has one column) and draws of every entry of a variable."""
        variable = self.posterior[name]
        outcomes = self.design.outcomes
        if outcomes is not None:
            variable = variable.transpose(names.CHAIN, names.DRAW, outcomes[0], ...)
        values = _flat(variable)
        for k, outcome in enumerate(("",) if outcomes is None else outcomes[1]):
            of_outcome = values if outcomes is None else values[:, k]
            suffix = f"[{outcome}]" if outcome else ""
            for i, label in enumerate(labels):
                yield label, suffix, of_outcome[:, i] if vector else of_outcome

    def ranef(self) -> dict[str, pd.DataFrame]:
        """Posterior of the random effects of every level.

        Returns
        -------
        dict of str to pandas.DataFrame
            For each grouping factor, index (level, term); columns mean, sd, q2.5, q50, q97.5.
        """
        return {factor.name: self._ranef_of(factor) for factor in self.design.factors}

    def _ranef_of(self, factor: Factor) -> pd.DataFrame:
        wanted = {"q2.5": 0.025, "q50": 0.5, "q97.5": 0.975}
        parts = []
        if not self.ranef_kept:
            source = self.idata[names.RANEF_SUMMARY].to_dataset().sel({names.STATISTIC: ["mean", "sd", *wanted]})
        else:
            source = self.posterior
        outcomes = [""] if self.design.outcomes is None else [f"[{label}]" for label in self.design.outcomes[1]]
        for part in self.design.parts_of(factor):
            for term in part.block.terms:
                values = source[names.effect(term.name, factor.name)]
                if names.STATISTIC in values.dims:
                    table = values.to_numpy()
                else:
                    draws = values.to_numpy().reshape(-1, *values.shape[2:])
                    quantiles = np.quantile(draws, list(wanted.values()), axis=0)
                    table = np.stack([draws.mean(axis=0), draws.std(axis=0, ddof=1), *quantiles])
                table = table.reshape(len(table), -1, table.shape[-1])
                for k, label in enumerate(f"{label}{outcome}" for outcome in outcomes for label in term.labels):
                    index = pd.MultiIndex.from_product([factor.levels, [label]], names=[factor.name, "term"])
                    parts.append(pd.DataFrame(table[:, k].T, index=index, columns=["mean", "sd", *wanted]))
        return pd.concat(parts)

    def _repr_html_(self) -> str:
        sizes, attrs, found = self.posterior.sizes, self.idata.attrs, self.convergence
        known = {
            "draws": f"{sizes['chain']} chains of {sizes['draw']}",
            "smallest ESS": f"{found.table[['ess_bulk', 'ess_tail']].min(axis=None):.0f}",
            "largest R-hat": f"{found.table['r_hat'].max():.3f}" if sizes["chain"] > 1 else None,
            "divergences": found.divergences,
            "parameterization": attrs.get("parameterization"),
            "seconds": f"{attrs['seconds_sampling']:.1f}" if "seconds_sampling" in attrs else None,
            "seed": attrs.get("seed"),
        }
        return display.document(
            "Posterior",
            display.said(("problem" if text == self.incomplete else "warning", text) for text in found.problems),
            display.facts(self.design.facts | known),
            estimates(self.tidy(), "Posterior means, standard deviations and 95% equal-tailed intervals"),
            formula=self.design.formula,
        )

    def __repr__(self) -> str:
        sizes = self.posterior.sizes
        lines = [
            f"Posterior of {self.design.formula}",
            f"{sizes['chain']} chains of {sizes['draw']} draws, {self.design.size}",
            self.tidy()[["group", "term", "estimate", "std_error", "conf_low", "conf_high"]].to_string(
                index=False, na_rep="", float_format=lambda v: f"{v:.4g}"
            ),
            *(self.convergence.problems or ("converged",)),
        ]
        return "\n".join(lines)


def estimates(tidy: pd.DataFrame, caption: str) -> display.Html:
    """A tidy table for a notebook, with the columns of the texts."""
    return display.table(
        tidy[["term", "group", "estimate", "std_error", "conf_low", "conf_high"]], caption, longest=100
    )


def observed_data(design: Design) -> xr.Dataset:
    """The response of the rows fitted, under Bambi's names; counts of a multinomial one by outcome."""
    dims = (names.OBSERVATIONS, names.OUTCOME)[: design.y.ndim]
    return xr.Dataset({design.response: (dims, design.y)}, {names.OBSERVATIONS: np.arange(design.n)})


def _flat(values: xr.DataArray) -> np.ndarray:
    """Draws of all chains, one after the other."""
    array = values.to_numpy()
    return array.reshape(-1, *array.shape[2:])


@dataclass(frozen=True, eq=False, repr=False)
class Posterior(Sampled):
    """The posterior of a Gaussian model, whose random effects are integrated out in closed form.

    `hierbayes.Fit` is this with its comparisons and checks; the attributes are described there.

    Parameters
    ----------
    design, priors, idata, specification
        As of `Sampled`.
    marginal : Marginal
    reml : Estimate
    """

    marginal: Marginal
    reml: Estimate

    @cached_property
    def thetas(self) -> np.ndarray:
        """(draws, dim) array: θ of every draw, chains one after the other."""
        return thetas(self.marginal, self.posterior)


@dataclass(frozen=True, eq=False, repr=False)
class FamilyPosterior(Sampled):
    """The posterior of a model of another family; `hierbayes.FamilyFit` is this with its comparisons and checks."""


def checked(level: float) -> float:
    """The level of an interval, refused if it is not between 0 and 1."""
    if not 0.0 < level < 1.0:
        raise ValueError(f"the level of an interval is between 0 and 1, not {level}")
    return level
