"""Calibration: prior draws have uniform ranks in their posteriors, intervals hold the truth as often as they say."""

from __future__ import annotations

import arviz as az
import numpy as np
import pandas as pd
import pytest
from scipy import integrate, special, stats

from benchmarks.calibration.coverage import LEVELS, POSTERIOR, WALD, coverage, intervals
from benchmarks.calibration.figure import draw
from benchmarks.calibration.page import page
from benchmarks.calibration.posteriors import CHAINS, model_of, posterior_of
from benchmarks.calibration.ranks import BAND, RANKS, alarms, band, below, rank, thresholds, uniformity
from benchmarks.calibration.repetitions import repeat
from benchmarks.calibration.studies import STUDIES
from hierbayes.plots.style import PAPER

REPETITIONS = 400
STANDARD_ERRORS = 4.0
"""Binomial standard errors between an observed share and a probability, at most."""


def ranks_of(key, seed, repetitions):
    return pd.DataFrame(repeat(rank, key, seed, repetitions, show=False))


def test_ranks_are_uniform_in_a_short_run():
    assert alarms(uniformity(ranks_of("slope", seed=1, repetitions=25))) == []


@pytest.mark.slow
@pytest.mark.parametrize("key", STUDIES)
def test_ranks_are_uniform(key):
    assert alarms(uniformity(ranks_of(key, seed=2, repetitions=REPETITIONS))) == []


def uniform_ranks(seed, columns, repetitions=REPETITIONS):
    return pd.DataFrame(np.random.default_rng(seed).integers(0, RANKS + 1, (repetitions, columns)))


@pytest.mark.parametrize(
    ("fault", "shapes"),
    {"too narrow": (0.7, 0.7), "too wide": (1.5, 1.5), "too low": (1.4, 1.0), "too high": (1.0, 1.4)}.items(),
)
def test_ranks_of_a_wrong_posterior_raise_the_alarm(fault, shapes):
    rng = np.random.default_rng(0)
    ranks = uniform_ranks(seed=1, columns=3)
    ranks[fault] = rng.binomial(RANKS, rng.beta(*shapes, size=REPETITIONS))
    found = alarms(uniformity(ranks))
    assert found
    assert all(each.startswith(fault) for each in found)


def test_p_values_of_uniform_ranks_are_uniform():
    p_values = uniformity(uniform_ranks(seed=2, columns=1000))
    for level in (0.05, 0.2, 0.5):
        error = np.sqrt(level * (1.0 - level) / len(p_values))
        shares = (p_values <= level).mean()
        assert shares.to_numpy() == pytest.approx(
            [level, level], abs=STANDARD_ERRORS * error + 0.01
        )  # χ² is discrete


def test_a_curve_of_uniform_ranks_leaves_its_band_as_often_as_it_may():
    low, high = band(REPETITIONS)
    curves = below(uniform_ranks(seed=3, columns=2000).to_numpy().T) / REPETITIONS
    inside = ((curves >= low) & (curves <= high)).all(axis=1).mean()
    assert inside == pytest.approx(BAND, abs=STANDARD_ERRORS * np.sqrt(BAND * (1.0 - BAND) / 2000))


def test_counts_below_are_those_of_a_loop():
    ranks = np.array([[0, 3, 3, 100], [7, 50, 99, 0]])
    expected = [[sum(value < k for value in row) for k in range(1, RANKS + 1)] for row in ranks]
    assert below(ranks).tolist() == expected
    assert below(ranks[1]).tolist() == expected[1]
    assert thresholds()[[0, -1]] == pytest.approx([1 / 101, 100 / 101])


@pytest.mark.parametrize("key", STUDIES)
def test_simulated_responses_have_the_distribution_that_their_log_likelihood_says(key):
    """One row's response given its linear predictor, against its density integrated or summed by brute force."""
    study = STUDIES[key]
    rng = np.random.default_rng(4)
    parameters = study.parameters(rng)
    drawn = [study.simulate(parameters, rng) for _ in range(2000)]
    eta = np.array([study.predictor(values) for values, _ in drawn])
    y = np.array([response for _, response in drawn])
    spread = sum(parameters[f"{effect}_sigma"] ** 2 for effect in study.effects if effect.startswith("1|"))
    x = study.frame["x"].to_numpy()
    row = int(np.abs(x).argmin())
    middle = parameters["Intercept"] + parameters["x"] * x[row]
    slope = parameters.get("x|g_sigma", 0.0)
    spread += (slope * x[row]) ** 2
    spread += 2.0 * x[row] * parameters.get("g_corr", 0.0) * slope * parameters.get("1|g_sigma", 0.0)
    assert stats.kstest(eta[:, row], stats.norm(middle, np.sqrt(spread)).cdf).pvalue > 1e-3
    values, response = drawn[0]
    if study.binomial:
        n = study.frame["n"].to_numpy()
        p = special.expit(eta[0])
        expected = sum(np.log(stats.binom(m, q).pmf(k)) for k, m, q in zip(response, n, p, strict=True))
        assert y[:, row].mean() / n[row] == pytest.approx(
            integrate.quad(lambda e: special.expit(e) * stats.norm(middle, np.sqrt(spread)).pdf(e), -15, 15)[0],
            abs=STANDARD_ERRORS * 0.5 / np.sqrt(2000),
        )
    else:
        expected = sum(stats.norm(e, parameters["sigma"]).logpdf(k) for k, e in zip(response, eta[0], strict=True))
        residuals = (y - eta)[:, row] / parameters["sigma"]
        assert stats.kstest(residuals, "norm").pvalue > 1e-3
    assert study.log_likelihood(values, response) == pytest.approx(expected, rel=1e-12)


@pytest.mark.slow
def test_a_graph_whose_response_was_exchanged_has_the_posterior_of_that_response():
    """Of binomial models one graph is compiled, for made-up data; `Model.fit` builds one for the data it is given."""
    study = STUDIES["binomial"]
    rng = np.random.default_rng(5)
    _, y = study.simulate(study.truth, rng)
    posterior = posterior_of("binomial", True)
    exchanged, other = posterior(y, 1, 4000), posterior(np.zeros(len(y)), 1, 100)
    assert exchanged["Intercept"].mean() > other["Intercept"].mean() + 1.0
    fit = model_of(study, y, True).fit(draws=2000, seed=2, progress=False)
    for name in study.laws:
        theirs, ours = fit.posterior[name].to_numpy(), exchanged[name].reshape(CHAINS, -1)
        for statistic, method in ((np.mean, "mean"), (np.std, "sd")):
            error = np.hypot(float(az.mcse(ours, method=method)), float(az.mcse(theirs, method=method)))
            assert abs(statistic(ours) - statistic(theirs)) < STANDARD_ERRORS * error


@pytest.mark.slow
def test_repetitions_do_not_depend_on_the_processes():
    one = repeat(_numbers, "slope", 7, 12, show=False)
    two = repeat(_numbers, "slope", 7, 12, processes=2, show=False)
    assert one == two
    assert [number for *_, number in one] == list(range(12))


def _numbers(key, seed, number):
    return key, float(np.random.default_rng([seed, number]).normal()), number


def made_up_intervals(repetitions=100):
    """Intervals of a Normal mean with a known standard error: exact, too short, and missing for every fourth."""
    rng = np.random.default_rng(6)
    rows = []
    for number in range(repetitions):
        estimate = 0.5 + rng.normal()
        for level in (0.5, 0.9):
            z = stats.norm.isf(0.5 - 0.5 * level)
            for method, factor in {"Wald": 1.0 if number % 4 else np.nan, "posterior": 1.0, "profile": 0.3}.items():
                rows.append((number, "x", method, level, estimate - factor * z, estimate + factor * z, 0.5))
    return pd.DataFrame(rows, columns=["number", "term", "method", "level", "low", "high", "truth"])


def test_coverage_counts():
    table = coverage(made_up_intervals(2000))
    for level in (0.5, 0.9):
        row = table.loc[("x", level, "posterior")]
        assert abs(row["share"] - level) < STANDARD_ERRORS * row["std_error"]
        assert row["std_error"] == pytest.approx(np.sqrt(level * (1.0 - level) / 2000))
        assert row["width"] == pytest.approx(2.0 * stats.norm.isf(0.5 - 0.5 * level))
        short = table.loc[("x", level, "profile")]
        exact = 1.0 - 2.0 * stats.norm.sf(0.3 * stats.norm.isf(0.5 - 0.5 * level))
        assert short["share"] == pytest.approx(exact, abs=STANDARD_ERRORS * 0.5 / np.sqrt(2000))
        wald = table.loc[("x", level, "Wald")]
        assert (wald["count"], wald["missing"]) == (1500, 500)
        assert abs(wald["share"] - level) < STANDARD_ERRORS * wald["std_error"]


def test_page_shows_what_was_counted():
    ranks = uniform_ranks(seed=8, columns=4, repetitions=50)
    ranks.columns = ["Intercept", "x", "sigma", "log likelihood"]
    drawing = draw(ranks, "Gaussian", "ranks-slope")
    assert drawing.startswith("<svg ")
    assert drawing.index(f"fill: {PAPER}") < drawing.index("axes_1")  # legible on a dark page
    assert drawing == draw(ranks, "Gaussian", "ranks-slope")
    text = page({"slope": ranks}, {"slope": made_up_intervals()}, "hierbayes 0.1.0", 3.0, 2, 0.5)
    assert "50 repetitions, 8 tests" in text
    assert "no alarm" in text
    row = next(line for line in text.splitlines() if line.startswith("| x |"))
    assert row.count("(75)") == 2
    assert row.count("**") == 4  # both shares of the intervals that are too short
    assert row.endswith("| 1.00 / 0.30 / 1.00 |")
    assert "{" not in text


@pytest.mark.slow
@pytest.mark.parametrize("key", [key for key, study in STUDIES.items() if study.truth])
def test_intervals_of_the_fixed_effects_hold_the_truth_as_often_as_they_say(key):
    table = coverage(pd.concat(repeat(intervals, key, 3, 200, show=False)))
    for term in ("Intercept", "x"):
        for level in LEVELS:
            for method in (WALD, POSTERIOR):
                row = table.loc[(term, level, method)]
                assert row["missing"] == 0
                assert abs(row["share"] - level) < STANDARD_ERRORS * row["std_error"]


def test_automatic_priors_of_the_binomial_model_do_not_depend_on_the_response():
    """Or a graph whose response is exchanged would have the priors of another one."""
    study = STUDIES["binomial"]
    few = np.arange(len(study.frame)) % 2
    many = study.frame["n"].to_numpy() - few
    assert model_of(study, few, False).priors == model_of(study, many, False).priors
