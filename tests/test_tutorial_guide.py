"""The guide to the tutorials names what exists, and its figures that the package finds at once are as printed.

Not here: power (slide 11 of the second table) in test_power, the third table in test_tutorial_figures, what needs
draws of a posterior or many simulated data sets in the notebooks, and what other libraries find.
"""

from __future__ import annotations

import math
import re
import warnings
from pathlib import Path

import pytest

import hierbayes as hb

ROOT = Path(__file__).resolve().parents[1]
GUIDE = (ROOT / "docs" / "tutorials.md").read_text(encoding="utf-8")
SECTIONS = dict(zip(["clustered", "mixed", "pystatsml"], GUIDE.split("\n## ")[1:], strict=True))
NOISE = "response ~ time + treatment"


def told(section, slide):
    """What the guide says of a slide."""
    rows = [line for line in SECTIONS[section].splitlines() if re.match(rf"\| {slide}\b", line)]
    assert len(rows) == 1, rows
    return rows[0]


def quiet(call, *arguments, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", hb.SingularFit)
        return call(*arguments, **options)


def test_everything_it_names_exists():
    names = set(re.findall(r"\bhb\.(\w+)", GUIDE))
    assert names
    assert names <= set(hb.__all__)
    for attribute in set(re.findall(r"\breml\.(\w+)", GUIDE)):
        assert hasattr(hb.RemlFit, attribute) or attribute in hb.RemlFit.__annotations__, attribute
    for attribute in set(re.findall(r"\bfit\.(\w+)", GUIDE)):
        assert hasattr(hb.Fit, attribute), attribute
    known = set(hb.list_data()["name"]) if "name" in hb.list_data() else set(hb.list_data().index)
    for name in re.findall(r'load_data\("(\w+)"\)', GUIDE) + re.findall(r", `(\w+)` \|", GUIDE):
        assert name in known, name


def test_every_slide_has_its_row_and_its_notebook():
    rows = {
        name: re.findall(r"^\| (?!slide|section|---)([^|]+) \|.*\| ([^|]*) \|$", text, re.M)
        for name, text in SECTIONS.items()
    }
    slides = {
        name: sorted({int(k) for what, _ in rows[name] for k in re.findall(r"\d+", what)})
        for name in ("clustered", "mixed")
    }
    assert slides == {"clustered": list(range(1, 15)), "mixed": list(range(1, 14))}
    found = {path.name[:2] for path in (ROOT / "notebooks").glob("*.ipynb")}
    assert {number for each in rows.values() for _, cell in each for number in cell.split(", ")} <= found


@pytest.mark.parametrize(("slide", "data", "columns"), [
    (2, "clustered_blobs", ("X", "y", "cluster")),
    (3, "simpson", ("x", "y", "group")),
])  # fmt: skip
def test_correlations(slide, data, columns):
    table = hb.correlations(hb.load_data(data), *columns).table.set_index("level")
    for level in ("overall", "within"):
        row = table.loc[level]
        assert f"{row['correlation']:.2f} [{row['conf_low']:.2f}, {row['conf_high']:.2f}]" in told("clustered", slide)


def test_within_and_between():
    model = hb.Model("y ~ X + (1 | group)", hb.load_data("five_groups"))
    split = hb.between_within(model).reml().fixef
    row = told("clustered", 4)
    assert f"{model.reml().fixef['X']:.3f} mixes {split['within(X, group)']:.3f}" in row
    assert f"{split['between(X, group)']:.2f} between them" in row
    centred = hb.Model("y ~ center(X) + (1 | group)", hb.load_data("five_groups")).reml().fixef
    assert f"{centred['center(X)']:.3f}" in told("clustered", 7)


def test_dummies_beside_random_effects():
    found = hb.hausman(hb.Model("y ~ X + (1 | group)", hb.load_data("five_groups")))
    p = found.tests.set_index("test")["p_value"]
    row = told("clustered", 5)
    assert f"difference is {found.coefficients['difference'].iloc[0]:.3f}, p = {p['Hausman']:.3f} by" in row
    assert f"contextual effect itself p = {p['Mundlak']:.4f}" in row


def test_intraclass_correlations():
    found = hb.icc_estimates(hb.load_data("five_groups"), "y", "group").set_index("estimator")["icc"]
    row = told("clustered", 6)
    assert f"{found['naive']:.3f} instead of {found['REML']:.3f}" in row
    # ratio of the expectations: ρ + (1 - ρ)/n
    assert f"Groups of 3 without any group effect are expected at {1 / 3:.2f}" in row
    assert f"groups of 5 with a true 0.2 at {0.2 + 0.8 / 5:.2f}" in row


def test_errors_in_known_and_in_new_groups():
    """The forest has fewer trees than the guide's; versions of scikit-learn also differ a little."""
    ensemble = pytest.importorskip("sklearn.ensemble")
    forest = {"forest": (ensemble.RandomForestRegressor(n_estimators=30, random_state=0), "number")}
    model = hb.Model("y ~ X + (1 | group)", hb.load_data("five_groups"))
    plain, split = (
        hb.cross_validate(each, rivals, bayes=False, progress=False).optimism
        for each, rivals in ((model, forest), (hb.between_within(model), {}))
    )
    row, reml = told("clustered", 8), plain.loc["REML"]
    assert f"RMSE {plain.loc['ordinary regression', 'grouped']:.2f}, but" in row
    assert f"{reml['random']:.2f} for rows of known groups, {reml['grouped']:.2f} for new groups" in row
    assert f"(slide 4): {split.loc['REML', 'grouped']:.2f} for new groups" in row
    assert reml["percent"] > 100
    figures = re.search(r"RMSE ([\d.]+) promised, ([\d.]+) for", told("clustered", 11))
    assert figures is not None
    assert plain.loc["forest", "random"] == pytest.approx(float(figures[1]), abs=0.05)
    assert plain.loc["forest", "grouped"] == pytest.approx(float(figures[2]), abs=0.15)


def test_the_price_of_ignoring_time():
    data = hb.load_data("arma_clusters")
    fits = [
        hb.Model("value ~ time + (1 | cluster)", data, residual=residual).reml()
        for residual in (None, "ar1(time | cluster)")
    ]
    errors = [math.sqrt(fit.vcov.loc["time", "time"]) for fit in fits]
    assert f"{errors[0]:.3f} instead of {errors[1]:.3f}" in told("clustered", 9)
    ratio = hb.lrt(*fits)["chisq"].iloc[1]
    assert f"ratio {ratio:.1f} on 1 df" in told("clustered", 9)


def test_schools_and_cities():
    row = told("clustered", "12, 13")
    for formula, data in [
        ("test_score ~ study_hours + (1 | school)", "education"),
        ("pollution ~ temperature + (1 | city)", "environment"),
    ]:
        table = hb.Model(formula, hb.load_data(data)).reml().tidy()
        slope, sd = table.iloc[1], table.iloc[2]
        assert f"{slope['estimate']:.2f}" in row
        assert f"{slope['std_error']:.2f}" in row
        assert f"{sd['estimate']:.1f} ({sd['conf_low']:.1f} to {sd['conf_high']:.1f})" in row


def test_intraclass_correlation_of_cities():
    reml = hb.Model("pollution ~ temperature + (1 | city)", hb.load_data("environment")).reml()
    found = reml.icc(bootstrap=reml.bootstrap(300, seed=1)).set_index(["icc", "group"]).loc[("adjusted", "city")]
    interval = f"{found['conf_low']:.2f} to {found['conf_high']:.2f}"
    assert re.search(rf"\b{found['estimate']:.2f}, right, .*: {interval},", told("clustered", 14))


def test_a_variance_divided_by_another(sleepstudy):
    table = hb.Model("Reaction ~ Days + (Days | Subject)", sleepstudy).reml().varcorr["vcov"]
    assert f"{table.iloc[0] / table.iloc[-1]:.2f} where {table.iloc[0]:.0f} is meant" in told("mixed", 13)


def test_the_optimum_of_noise():
    fits = [
        quiet(hb.Model(f"{NOISE} + ({x} | subject)", hb.load_data("repeated_measures")).reml) for x in ("1", "time")
    ]
    assert all(fit.singular and fit.converged for fit in fits)
    assert f"optimum {fits[1].loglik:.2f}" in told("mixed", 6)
    error = math.sqrt(fits[1].vcov.loc["treatment[treatment]", "treatment[treatment]"])
    assert f"is {error:.3f} at the optimum" in told("mixed", "1, 4")


def test_restricted_likelihoods_of_different_fixed_effects_have_a_unit():
    """-2 log restricted likelihood gains log |Xᵀ V⁻¹ X|: a column in other units shifts it by twice a logarithm."""
    data = hb.load_data("repeated_measures")
    ratios = {}
    for unit, factor in {"days": 1.0, "hours": 24.0}.items():
        frame = data.assign(time=factor * data["time"])
        models = [
            hb.Model(f"response ~ {x} + (1 | subject)", frame) for x in ("time + treatment", "time * treatment")
        ]
        ratios[unit] = {
            way: 2.0 * (quiet(getattr(models[1], way)).loglik - quiet(getattr(models[0], way)).loglik)
            for way in ("reml", "ml")
        }
    assert ratios["hours"]["reml"] - ratios["days"]["reml"] == pytest.approx(-2.0 * math.log(24.0), abs=1e-7)
    assert ratios["hours"]["ml"] == pytest.approx(ratios["days"]["ml"], abs=1e-7)
    row = told("mixed", 10)
    assert f"{ratios['days']['reml']:.2f} with time in days and {ratios['hours']['reml']:.2f} in hours" in row
    assert f"By ML {ratios['days']['ml']:.2f}" in row
    assert hb.lrt(*models)["chisq"].iloc[1] == pytest.approx(ratios["days"]["ml"], abs=1e-7)
