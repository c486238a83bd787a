"""What stands between a posterior and its conclusions, question by question."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import pandas as pd
from scipy import stats

from hierbayes.checks.check import NOTE, OK, PROBLEM, WARNING, Check, Verdict
from hierbayes.checks.check_reml import check_estimate
from hierbayes.checks.overruled import overruled
from hierbayes.checks.predictive_check import ALL, predictive_check
from hierbayes.checks.prior_summary import WIDE, prior_table
from hierbayes.checks.sensitivity import CONFLICT, STRONG, THRESHOLD, prior_overlap, prior_sensitivity
from hierbayes.estimates import FIXED, Posterior, Sampled

BFMI = 0.3
"""Estimated fraction of missing information below which the sampler explores the energies badly (Betancourt 2016)."""
RHAT, ESS, DIVERGENT = 1.05, 100.0, 0.01
"""R-hat, effective sample size and share of divergent draws beyond which the draws must not be used at all; one chain
has no R-hat."""
HUGS = 0.8
"""Overlap of posterior and prior from which on the data have added little."""
EDGE = 0.025
"""The posterior piles up at the edge of the prior if its median lies in this tail."""
BOUNDARY = "The posterior averages over what the data leave open; show it under another prior of that variance."
"""What to do about an estimate on the boundary once there is a posterior."""
TAIL = 0.025
"""A level is extreme beyond this share of its replicates, on either side."""


def check_posterior(posterior: Posterior, seed: int = 0) -> Check:
    """Answer every question about a posterior.

    Parameters
    ----------
    posterior : Posterior
    seed : int
        For the replicates of the predictive check.

    Returns
    -------
    Check
        With tables convergence, prior_sensitivity, priors, overruled and predictive, and those of `check_estimate` of
        the REML fit, of which the verdicts on residuals, random effects, collinearity and influence are.

    Examples
    --------
    >>> import hierbayes as hb
    >>> fit = hb.Model("Yield ~ 1 + (1 | Batch)", hb.load_data("Dyestuff")).fit(seed=1)
    >>> check_posterior(fit).of("problem").empty
    True
    """
    tables = {
        "convergence": posterior.convergence.table,
        "prior_sensitivity": prior_sensitivity(posterior),
        "priors": prior_overlap(posterior),
        "overruled": overruled(posterior),
        "predictive": predictive_check(posterior, seed=seed),
    }
    reml = check_estimate(posterior.reml)
    found = [
        *convergence(posterior),
        *energy(posterior),
        *_sensitivity(tables["prior_sensitivity"]),
        *_priors(posterior, tables["priors"], tables["overruled"]),
        *predictive(tables["predictive"]),
        *_of_reml(posterior, reml),
    ]
    return Check(f"the posterior of {posterior.design.formula}", found, reml.tables | tables)


def _of_reml(posterior: Posterior, check: Check) -> Iterator[Verdict]:
    """What the REML fit says of residuals, random effects, predictors and levels."""
    if not posterior.reml.converged:
        text = "The REML fit of the same model has not converged, so its residuals and influence were not looked at."
        yield Verdict("residuals", NOTE, text, next="Rescale or centre predictors, and see reml.check().")
        return
    for verdict in check.verdicts:
        if verdict.topic != "convergence":
            remedy = BOUNDARY if verdict.topic == "boundary" and verdict.severity != OK else verdict.next
            yield replace(verdict, finding=f"Of the REML fit: {verdict.finding}", next=remedy)


def convergence(posterior: Sampled) -> list[Verdict]:
    """R-hat, effective sample sizes and divergences."""
    table = posterior.convergence.table
    rhat, ess = float(table["r_hat"].max()), float(table[["ess_bulk", "ess_tail"]].min().min())
    problems = posterior.convergence.problems
    if not problems:
        text = f"The chains agree: R-hat at most {rhat:.3f}, effective sample sizes from {ess:.0f}, no divergences."
        return [Verdict("convergence", OK, text, rhat)]
    total = posterior.n_draws
    grave = not rhat <= RHAT or ess < ESS or posterior.convergence.divergences > DIVERGENT * total
    made = []
    for problem in problems:
        text, _, remedy = problem.rpartition("; ")
        severity = PROBLEM if grave else WARNING
        made.append(Verdict("convergence", severity, f"{text}.", rhat, remedy[:1].upper() + remedy[1:]))
    return made


def energy(posterior: Sampled) -> list[Verdict]:
    """How well the chains explore the energies."""
    sample_stats = posterior.idata["sample_stats"].to_dataset()
    if "energy" not in sample_stats:
        return []
    import arviz_stats

    values = np.ravel(arviz_stats.bfmi(sample_stats)["energy"].to_numpy())
    smallest = float(values.min())
    if smallest >= BFMI:
        return [Verdict("energy", OK, f"The energy is explored well: smallest BFMI {smallest:.2f}.", smallest)]
    text = f"The chains explore the energy badly: smallest BFMI {smallest:.2f}, below {BFMI}."
    remedy = "Run longer chains; use tighter priors of the standard deviations or another parameterization."
    return [Verdict("energy", WARNING, text, smallest, remedy)]


def _sensitivity(table: pd.DataFrame) -> list[Verdict]:
    if table.empty:
        text = "Power scaling was not done: the likelihood of this model takes too long, or there are too few draws."
        return [Verdict("prior sensitivity", NOTE, text, next="Fit again with other priors and compare.")]
    made = []
    for finding, why in (
        (CONFLICT, "the answer depends on prior and data alike, which may disagree"),
        (STRONG, "the prior weighs more than the data, either because it is strong or because the data say little"),
    ):
        some = table[table["finding"] == finding].sort_values("prior", ascending=False)
        if len(some):
            listed = ", ".join(f"{name} ({row['prior']:.2f})" for name, row in some.head(4).iterrows())
            listed += f" and {len(some) - 4} more" if len(some) > 4 else ""
            text = f"Sensitive to the prior ({THRESHOLD} and more counts): {listed}; {why}."
            remedy = "Say which prior was used and why, and show the answer under another one."
            severity = WARNING if some["prior"].max() > 4 * THRESHOLD else NOTE
            made.append(Verdict("prior sensitivity", severity, text, float(some["prior"].max()), remedy))
    if not made:
        worst = table["prior"].idxmax()
        text = f"Scaling the priors moves no parameter; most sensitive is {worst} ({table['prior'].max():.3f})."
        made.append(Verdict("prior sensitivity", OK, text, float(table["prior"].max())))
    return made


def _priors(posterior: Posterior, table: pd.DataFrame, compared: pd.DataFrame) -> list[Verdict]:
    made = []
    for (_, row), (_, reml) in zip(table.iterrows(), compared.iterrows(), strict=True):
        name = _named(row)
        figures = (
            f"overlap {row['overlap']:.0%}, posterior sd {row['posterior_sd']:.3g}, prior sd {row['prior_sd']:.3g}"
        )
        low, high = row["position"] < EDGE, row["position"] > 1.0 - EDGE
        if reml["overrules"]:
            at = " (at the mean of the predictors)" if name == "Intercept" and posterior.priors.centered else ""
            text = (
                f"The prior of {name}{at} overrules the data: REML says {reml['estimate']:.3g} "
                f"(SE {reml['std_error']:.2g}), the prior allows {reml['prior_low']:.3g} to {reml['prior_high']:.3g}."
            )
            away = float((reml["median"] - reml["estimate"]) / reml["std_error"])
            remedy = "Widen the prior, unless it states what is truly known."
            made.append(Verdict("prior", WARNING, text, away, remedy))
        elif row["overlap"] > HUGS:
            text = f"The posterior of {name} is all but its prior {row['prior']}: {figures}."
            remedy = "The data do not tell more than the prior: report an assumption, or take the parameter out."
            made.append(Verdict("prior", WARNING, text, float(row["overlap"]), remedy))
        elif high or (low and row["effect"] == FIXED):
            text = (
                f"The posterior of {name} piles up at the edge of its prior {row['prior']}: its median is where the "
                f"prior has {row['position']:.1%} below it."
            )
            remedy = "The prior holds the answer back: widen it, unless it states what is truly known."
            made.append(Verdict("prior", WARNING, text, float(row["position"]), remedy))
    wide = prior_table(posterior.marginal, posterior.priors)
    wide = wide[(wide["ratio"] > WIDE) & np.isfinite(wide["ratio"])]
    for _, row in wide.iterrows():
        text = f"The prior of {_named(row)}, {row['prior']}, is {row['ratio']:.0f} times wider than the response."
        remedy = "Centre the predictor, or choose a narrower prior; see prior_summary()."
        made.append(Verdict("prior", WARNING, text, float(row["ratio"]), remedy))
    if not made and len(table):
        text = f"No posterior hugs its prior or its edge: largest overlap {table['overlap'].max():.0%}."
        made.append(Verdict("prior", OK, text, float(table["overlap"].max())))
    return made


def _named(row: pd.Series) -> str:
    """A parameter and its group."""
    return str(row["term"]) if row["effect"] == FIXED else f"{row['term']} of {row['group']}"


def predictive(table: pd.DataFrame, remedy_of: Callable[[str, int, int], str] | None = None) -> list[Verdict]:
    """Extreme levels, counted against how many there would be at most."""
    remedy_of = _remedy if remedy_of is None else remedy_of
    made = []
    beyond = (table["pit"] < TAIL) | (table["pit"] > 1.0 - TAIL)
    for (group, statistic), part in table.groupby(["group", "statistic"], sort=False):
        extreme = part[beyond[part.index]]
        low = int((extreme["pit"] < 0.5).sum())
        J, count = len(part), len(extreme)
        if group == ALL:
            if count:
                row = extreme.iloc[0]
                text = (
                    f"The {statistic} of all rows, {row['observed']:.4g}, is not what the model gives: replicates "
                    f"have {row['replicated']:.4g} (sd {row['replicated_sd']:.2g}), {row['pit']:.1%} of them below."
                )
                made.append(Verdict("predictive", WARNING, text, float(row["pit"]), remedy_of(statistic, low, count)))
            continue
        p = float(stats.binom.sf(count - 1, J, 2.0 * TAIL))
        if p < 0.01:
            worst = extreme.loc[(extreme["pit"] - 0.5).abs().idxmax()]
            text = (
                f"{count} of {J} levels of {group} have a {statistic} that their replicates hardly reach (at most "
                f"{2.0 * TAIL * J:.1f} expected), {low} too small and {count - low} too large, such as "
                f"{worst['level']!s}: {worst['observed']:.4g}, replicates "
                f"{worst['replicated']:.4g} (sd {worst['replicated_sd']:.2g})."
            )
            made.append(Verdict("predictive", WARNING, text, count / J, remedy_of(statistic, low, count)))
    if not made:
        text = (
            f"New rows from the posterior look like the data: of {len(table)} means, standard deviations, smallest "
            f"and largest values, level by level, {beyond.sum()} are extreme (on average at "
            f"most {2.0 * TAIL * len(table):.1f} are to be expected)."
        )
        made.append(Verdict("predictive", OK, text, float(beyond.mean())))
    return made


def _remedy(statistic: str, low: int, count: int) -> str:
    """What may be behind extreme levels, `low` of `count` of them below their replicates."""
    if statistic == "mean":
        return "Something that differs between levels is missing: look for a predictor or a random effect."
    if statistic == "sd":
        return (
            "A random slope may be missing, or residual variances differ between levels: try (x | g), weights, or a "
            "transformation."
        )
    side = "lower" if statistic == "min" else "upper"
    if 0 < low < count:
        return "Spread or tails differ between levels: look at the sd of the levels, and at reml.check()."
    if (low > 0) == (statistic == "min"):  # further out than replicates are
        return (
            f"The {side} tail is longer than a normal one: outliers, skewness, or levels that spread more than "
            "others; see reml.check() and try a transformation."
        )
    return (
        f"The {side} tail is shorter than a normal one: a bounded or skewed response, or levels that spread less "
        "than others; try a transformation."
    )
