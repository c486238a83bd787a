"""Figures of both inferences show the numbers of their tables; looked at without drawing, and as SVG."""

from __future__ import annotations

import warnings
from types import SimpleNamespace

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from fixtures_figures import GRADES, check_drawing, family_study
from fixtures_report import LEVELS, study
from numpy.testing import assert_allclose

import hierbayes as hb
from hierbayes.errors import HierbayesWarning
from hierbayes.plots import (
    caterpillar_figure,
    elpd_figure,
    pareto_k_figure,
    plane_figure,
    predictive_figure,
    prior_posterior_figure,
    profile_figure,
    residuals_figure,
    shrinkage_figure,
    style,
    variance_figure,
)
from hierbayes.plots.elpd import verdict
from hierbayes.plots.style import shortened


def points(axes, mark):
    """Positions of the markers of one inference in a panel."""
    found = [
        line.get_xydata()
        for line in axes.get_lines()
        if line.get_marker() == mark.marker and mpl.colors.same_color(line.get_markeredgecolor(), mark.color)
    ]
    return np.concatenate(found) if found else np.empty((0, 2))


def curves(axes, colour):
    """Lines of many points in a colour."""
    return [
        line.get_xydata()
        for line in axes.get_lines()
        if mpl.colors.same_color(line.get_color(), colour) and len(line.get_xdata()) > 40
    ]


def intervals(axes, colour):
    """Ends and heights of the horizontal bars of one colour."""
    found = [
        np.array([[*path.vertices[0], *path.vertices[-1]] for path in bars.get_paths()])
        for bars in axes.collections
        if isinstance(bars, mpl.collections.LineCollection)
        and np.allclose(np.atleast_2d(bars.get_color())[0, :3], mpl.colors.to_rgb(colour))
    ]
    return np.concatenate(found) if found else np.empty((0, 4))


def shown(figure):
    return [axes for axes in figure.axes if axes.get_visible()]


def labels(figure):
    return [text.get_text() for legend in figure.legends for text in legend.get_texts()]


# --- the plane --------------------------------------------------------------------------------------


def test_plane_shows_every_stop_of_every_level_and_the_ellipses():
    found = hb.plane(study("slopes").fit)
    figure = plane_figure(found)
    (axes,) = shown(figure)
    for name, mark in {"no pooling": style.NO_POOLING, "REML": style.REML, "posterior": style.POSTERIOR}.items():
        own = found.table[found.table["inference"] == name]
        assert_allclose(points(axes, mark), own[["x", "y"]])
    for name, mark in {"REML": style.REML, "posterior": style.POSTERIOR}.items():
        for p, line in zip((0.5, 0.95), curves(axes, mark.color), strict=True):
            wanted = found.ellipses[(found.ellipses["inference"] == name) & (found.ellipses["probability"] == p)]
            assert_allclose(line, wanted[["x", "y"]])
    assert labels(figure) == ["no pooling", "REML", "posterior", "50%", "95%"]
    low, high = axes.get_xlim()
    assert low < found.table["x"].min() < found.table["x"].max() < high
    check_drawing(figure)


def test_plane_of_a_family_has_no_unpooled_stop():
    made = family_study("counts")
    figure = plane_figure(hb.plane(made.fit, maximum=made.ml))
    assert labels(figure)[:2] == ["ML", "posterior"]
    assert labels(plane_figure(hb.plane(made.fit)))[:1] == ["posterior"]
    check_drawing(figure)


def test_plane_says_what_is_cut_off_and_left_out():
    found = hb.plane(study("crowd").fit)
    (axes,) = shown(plane_figure(found))
    title = axes.get_title(loc="left")
    assert title.startswith(f"400 of {LEVELS:,} levels of g")
    low, high = np.array(axes.get_xlim()), np.array(axes.get_ylim())
    own = found.table.query("inference == 'no pooling'").dropna()
    beyond = ~(own["x"].between(*low) & own["y"].between(*high))
    count = int(title.split("; ")[-1].split()[0])
    assert 0 < beyond.sum() <= count < 400


def test_plane_names_the_line_of_a_singular_covariance():
    found = hb.plane(study("slopes").fit)
    flat = np.array([[4.0, 2.0], [2.0, 1.0]])
    changed = hb.Plane(
        found.group,
        found.x,
        found.y,
        found.method,
        found.table,
        {**found.covariances, "REML": flat},
        found.ellipses,
        18,
    )
    (axes,) = shown(plane_figure(changed))
    assert axes.get_title(loc="left").endswith("By REML the correlation is 1, so the ellipse is a line.")
    still = hb.Plane(
        found.group, found.x, found.y, found.method, found.table, {"REML": np.diag([4.0, 0.0])}, found.ellipses, 18
    )
    assert still.note == "By REML Days does not vary, so the ellipse is a line."


# --- the caterpillar --------------------------------------------------------------------------------


def test_caterpillar_is_sorted_with_both_intervals():
    made = study("slopes")
    figure = caterpillar_figure(made.table, "Subject")
    for axes, effect in zip(shown(figure), ("Intercept", "Days"), strict=True):
        part = made.table[made.table["effect"] == effect].sort_values("mean")
        assert [label.get_text() for label in axes.get_yticklabels()] == list(part["level"])
        assert_allclose(points(axes, style.POSTERIOR)[:, 0], part["mean"])
        assert_allclose(points(axes, style.REML)[:, 0], part["blup"])
        assert_allclose(intervals(axes, style.POSTERIOR.color)[:, [0, 2]], part[["q2.5", "q97.5"]])
        reach = 1.959963984540054 * part["blup_sd"]
        assert_allclose(intervals(axes, style.REML.color)[:, [0, 2]].T, [part["blup"] - reach, part["blup"] + reach])
    assert labels(figure) == ["REML BLUP and 95% interval", "posterior and 95% interval"]
    check_drawing(figure)


def test_caterpillar_of_many_levels_shows_its_ends_and_counts_the_rest():
    table = study("crowd").table
    axes = shown(caterpillar_figure(table))[0]
    part = table[table["effect"] == "Intercept"].sort_values("mean")
    drawn = points(axes, style.POSTERIOR)[:, 0]
    assert_allclose(drawn, [*part["mean"][:20], *part["mean"][-20:]])
    assert [text.get_text() for text in axes.texts] == [f"{LEVELS - 40:,} levels between"]


def test_caterpillar_of_a_family_without_a_maximum():
    made = family_study("counts")
    figure = caterpillar_figure(hb.level_effects(made.fit))
    assert labels(figure) == ["posterior and 95% interval"]
    names = [label.get_text() for label in shown(figure)[0].get_yticklabels()]
    assert len(set(names)) == 15  # long names still differ
    assert max(map(len, names)) <= 24
    figure = caterpillar_figure(hb.level_effects(made.fit, made.ml))
    assert labels(figure)[0] == "ML conditional mode and 95% interval"


def test_caterpillar_of_one_level():
    table = study("intercepts").table.head(1)
    (axes,) = shown(caterpillar_figure(table))
    assert axes.get_title(loc="left") == "Intercept: 1 level of Batch"
    with pytest.raises(ValueError, match="no effects of 'batch'; it has those of Batch"):
        caterpillar_figure(table, "batch")


# --- prior and posterior ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["slopes", "series", "meta"])
def test_prior_and_posterior_curves_are_those_of_the_table(name):
    found = hb.prior_posterior(study(name).fit)
    figure = prior_posterior_figure(found)
    panels = shown(figure)
    assert len(panels) == len(found.table)
    for axes, (_, row) in zip(panels, found.table.iterrows(), strict=True):
        own = found.densities[found.densities["term"] == row["term"]]
        (posterior,) = curves(axes, style.POSTERIOR.color)
        assert_allclose(posterior, own[own["which"] == "posterior"][["value", "density"]])
        (prior,) = [line for line in curves(axes, style.INK) if len(line) == len(posterior)]
        assert_allclose(prior, own[own["which"] == "prior"][["value", "density"]])
        assert_allclose(points(axes, style.REML)[:, 0], row["maximum"])
        assert_allclose(points(axes, style.POSTERIOR)[:, 0], row["mean"])
        assert bool(axes.texts) == ("mean of the predictors" in row["note"])
    check_drawing(figure)


def test_a_flat_prior_and_a_far_maximum_are_said():
    found = hb.prior_posterior(study("intercepts").fit)
    table = found.table.assign(note=["the prior is flat", "", ""], maximum=[1e6, 40.0, np.nan])
    densities = found.densities[~((found.densities["term"] == "Intercept") & (found.densities["which"] == "prior"))]
    first, _, last = shown(prior_posterior_figure(hb.PriorPosterior("REML", table, densities)))
    assert [text.get_text() for text in first.texts] == ["flat prior"]
    (edge,) = [line for line in first.get_lines() if line.get_marker() == ">"]
    assert edge.get_xdata()[0] <= first.get_xlim()[1]
    assert not len(points(last, style.REML))


def test_thresholds_have_panels():
    made = family_study("grades")
    figure = prior_posterior_figure(hb.prior_posterior(made.fit, made.ml))
    assert [axes.get_title(loc="left") for axes in shown(figure)][-1] == "threshold[2]"
    assert labels(figure)[-1] == "ML"
    assert "ML" not in labels(prior_posterior_figure(hb.prior_posterior(made.fit)))


# --- profiles ---------------------------------------------------------------------------------------


def test_profiles_lie_over_posteriors():
    found = hb.profiles(study("singular").fit)
    figure = profile_figure(found)
    panels = shown(figure)
    assert [axes.get_title(loc="left") for axes in panels] == ["sd(Intercept) of Batch", "sigma (residual sd)"]
    for axes, term in zip(panels, ("sd(Intercept)", "sigma"), strict=True):
        for which, mark in {"profile": style.REML, "posterior": style.POSTERIOR}.items():
            own = found.table[(found.table["term"] == term) & (found.table["which"] == which)]
            assert_allclose(curves(axes, mark.color)[0], own[["value", "density"]])
            row = found.intervals[(found.intervals["term"] == term) & (found.intervals["which"] == which)].iloc[0]
            assert_allclose(points(axes, mark)[:, 0], row["estimate"])
    edges = [line for line in panels[0].get_lines() if line.get_marker() == "|"]
    assert [line.get_xdata()[0] for line in edges] == [0.0]
    check_drawing(figure)


def test_a_likelihood_without_a_profile_is_said():
    found = hb.profiles(study("singular").fit)
    lost = found.table[~((found.table["term"] == "sigma") & (found.table["which"] == "profile"))]
    last = shown(profile_figure(hb.Profiles("REML", 0.95, lost, found.intervals)))[-1]
    assert [text.get_text() for text in last.texts] == ["the likelihood has no profile"]


# --- posterior predictive ---------------------------------------------------------------------------


def test_predictive_intervals_and_rows_are_those_of_the_table():
    found = hb.predictive(study("slopes").fit)
    figure = predictive_figure(found)
    overall, axes = shown(figure)
    bars = intervals(axes, style.POSTERIOR.color)
    assert_allclose(bars[:18, [0, 2]], found.levels[["q2.5", "q97.5"]])
    assert_allclose(bars[18:, [0, 2]], found.levels[["q25", "q75"]])
    drawn = np.concatenate([line.get_xdata() for line in axes.get_lines() if line.get_marker() == "o"])
    assert_allclose(np.sort(drawn), np.sort(study("slopes").model.data["Reaction"]))
    assert len(curves(overall, style.POSTERIOR.color)) == 40
    assert len(curves(overall, style.INK)) == 1
    assert f"{int(found.levels['inside'].sum())} of 180 rows" in figure.get_suptitle()
    check_drawing(figure)


def test_counts_that_go_far_are_on_a_square_root_scale():
    figure = predictive_figure(hb.predictive(family_study("counts").fit))
    overall, axes = shown(figure)
    assert {each.get_xscale() for each in (overall, axes)} == {"function"}
    assert axes.get_xlabel() == "y (square-root scale)"
    check_drawing(figure)


def test_categories_and_proportions_have_panels_of_shares():
    found = hb.predictive(family_study("grades").fit)
    figure = predictive_figure(found)
    assert [axes.get_title(loc="left") for axes in shown(figure)] == GRADES
    for axes, (_, part) in zip(shown(figure), found.levels.groupby("category", sort=False), strict=True):
        (dots,) = [line.get_xdata() for line in axes.get_lines() if line.get_marker() == "o"]
        assert_allclose(dots, part["observed"])
    figure = predictive_figure(hb.predictive(family_study("herds").fit))
    (axes,) = shown(figure)
    assert axes.get_xlabel() == "share of successes, p(incidence, size)"
    check_drawing(figure)


# --- residuals --------------------------------------------------------------------------------------


def test_residual_panels_show_every_row():
    panel = hb.residual_panel(study("slopes").reml)
    figure = residuals_figure(panel)
    top, quantile, bottom, groups = shown(figure)
    for axes, column in ((top, "residual"), (bottom, "root")):
        drawn = next(line for line in axes.get_lines() if line.get_marker() == "o")
        assert_allclose(drawn.get_xydata(), panel.table[["fitted", column]])
        assert {text.get_text() for text in axes.texts} == {"56", "59", "7"}
    drawn = next(line for line in quantile.get_lines() if line.get_marker() == "o")
    assert_allclose(drawn.get_xydata(), panel.qq[["theoretical", "sample"]])
    assert quantile.get_title(loc="left") == f"Normal Q-Q: {panel.outside} of 180 outside"
    assert_allclose(points(groups, style.REML)[:, 1], panel.levels["q50"])
    assert [label.get_text() for label in groups.get_xticklabels()] == list(panel.levels["level"])
    check_drawing(figure)


def test_residuals_of_many_rows_are_thinned_but_not_those_far_out():
    panel = hb.residual_panel(study("crowd").reml)
    top, quantile, _, groups = shown(residuals_figure(panel))
    drawn = next(line for line in top.get_lines() if line.get_marker() == "o").get_ydata()
    assert 1500 <= len(drawn) < 1700 < len(panel.table)
    assert (np.abs(drawn) > 3).sum() == (panel.table["residual"].abs() > 3).sum()
    assert len(next(line for line in quantile.get_lines() if line.get_marker() == "o").get_xdata()) == 1500
    assert len(points(groups, style.REML)) == 30
    assert "15 lowest and highest of 10,000" in groups.get_title(loc="left")


def test_residuals_without_fitted_values():
    top, _, bottom, _ = shown(residuals_figure(hb.residual_panel(family_study("grades").ml)))
    for axes in (top, bottom):
        assert [text.get_text() for text in axes.texts] == ["there are no fitted values"]
        assert not len(axes.get_xticks())


# --- comparison of models ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tables():
    """Comparisons for both targets of two models."""
    fits = {"slopes": study("slopes").fit, "no correlation": study("uncorrelated").fit}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", HierbayesWarning)
        return {"row": hb.compare(fits, round_to="none"), "group": hb.compare(fits, target="group", round_to="none")}


def test_elpd_has_a_panel_a_target_and_the_differences_of_the_table(tables):
    figure = elpd_figure(tables)
    panels = shown(figure)
    assert [axes.get_title(loc="left") for axes in panels] == ["New rows of known groups (LOO)", "New groups (LOGO)"]
    order = list(tables["row"].index)
    for axes, table in zip(panels, tables.values(), strict=True):
        assert [label.get_text() for label in axes.get_yticklabels()] == order
        behind = table.iloc[1]
        bars = [line.get_xdata() for line in axes.get_lines() if len(line.get_xdata()) == 2]
        difference, error = -abs(behind["elpd_diff"]), behind["dse"]
        assert_allclose(bars[1:], [[difference - k * error, difference + k * error] for k in (2, 1)])
        texts = [text.get_text() for text in axes.texts]
        assert "best" in texts
        assert any(verdict(difference, error) in text for text in texts)
    check_drawing(figure)


def test_elpd_is_drawn_as_it_is_where_the_table_is_rounded(tables):
    for table in tables.values():
        exact = table.attrs["exact"]
        (axes,) = shown(elpd_figure(table.round(0)))
        bars = [line.get_xdata() for line in axes.get_lines() if len(line.get_xdata()) == 2]
        name = table.index[1]
        assert_allclose(bars[1], exact["elpd_diff"][name] + 2 * exact["dse"][name] * np.array([-1, 1]))


def test_elpd_against_a_reference_keeps_its_sign():
    table = pd.DataFrame({"elpd_diff": [31.0, 0.0, -3.0], "dse": [4.0, 0.0, 5.0]}, index=["a", "base", "c"])
    table["p_better"] = [1.0, np.nan, 0.3]
    figure = elpd_figure(table)
    (axes,) = shown(figure)
    assert [text.get_text() for text in axes.texts] == ["31 ± 4, better", "reference", "−3 ± 5, not told apart"]
    assert figure.get_supxlabel().startswith("elpd less that of the reference")
    assert axes.get_xlim()[1] > 31
    assert (
        elpd_figure(table.drop(columns="p_better").iloc[1:]).get_supxlabel().startswith("elpd less that of the best")
    )


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda fit: elpd_figure({}), r"hb\.compare"),
        (lambda fit: elpd_figure(fit), r"hb\.compare"),
        (lambda fit: pareto_k_figure({}), r"fit\.loo"),
        (lambda fit: caterpillar_figure(fit), "hb.level_effects"),
        (lambda fit: shrinkage_figure(fit, "Subject"), "hb.level_effects"),
        (
            lambda fit: shrinkage_figure(study("slopes").table, "subject"),
            "no effects of 'subject'; it has those of Subj",
        ),
        (lambda fit: variance_figure(fit), "variance_partition"),
    ],
)
def test_figures_refuse_what_is_no_table_of_theirs(make, message):
    with pytest.raises(ValueError, match=message):
        make(study("slopes").fit)


def test_elpd_of_one_table_and_of_long_names():
    long = "y ~ something + something_else + (1 | a_group_with_a_long_name) + (1 | another_one)"
    table = pd.DataFrame({"elpd_diff": [0.0, -9.0, -40.0], "dse": [0.0, 2.0, 5.0]}, index=["a", long, "c"])
    (axes,) = shown(elpd_figure(table))
    assert [text.get_text() for text in axes.texts] == ["best", "−9 ± 2, worse", "−40 ± 5, worse"]
    assert all(len(line) <= 36 for label in axes.get_yticklabels() for line in label.get_text().split("\n"))


# --- Pareto k ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def elpds():
    """Left-out rows and groups, without a second estimate."""
    fit = study("slopes").fit
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", HierbayesWarning)
        return {"rows": fit.loo(refine=False), "groups": fit.logo(refine=False)}


def test_pareto_k_is_drawn_by_arviz_and_named_here(elpds):
    figure = pareto_k_figure(elpds)
    first, second = shown(figure)
    (dots,) = [each for each in first.collections if isinstance(each, mpl.collections.PathCollection)]
    assert_allclose(np.asarray(dots.get_offsets())[:, 1], elpds["rows"].pareto_k)
    assert elpds["rows"].source.row_labels is study("slopes").model.design.row_labels
    codes = study("slopes").model.design.factors[0].codes
    k = elpds["groups"].pareto_k.to_numpy()
    (dots,) = [each for each in second.collections if isinstance(each, mpl.collections.PathCollection)]
    assert_allclose(np.asarray(dots.get_offsets())[:, 1], [k[codes == level][0] for level in range(18)])
    for axes, elpd in zip((first, second), elpds.values(), strict=True):
        assert any(np.allclose(line.get_ydata(), elpd.good_k) for line in axes.get_lines())
    check_drawing(figure)


def test_high_pareto_k_is_counted_and_named(elpds):
    import copy

    elpd = copy.copy(elpds["groups"])
    codes = study("slopes").model.design.factors[0].codes
    elpd.pareto_k = elpd.pareto_k.copy(data=np.where(codes == 5, np.inf, np.where(codes == 2, 0.9, 0.1)))
    (axes,) = shown(pareto_k_figure(elpd))
    levels = study("slopes").model.design.factors[0].levels
    assert axes.get_title(loc="left").startswith("2 of 18 levels of Subject above")
    assert {str(levels[5]), str(levels[2])} <= {text.get_text() for text in axes.texts}
    assert len(points(axes, style.POSTERIOR)) == 2


def test_rows_are_named_as_in_the_data():
    k = xr.DataArray([0.1, 0.2, 0.9], {"row": np.arange(3)}, ["row"])
    source = SimpleNamespace(row_labels=np.array(["a", "b", "a rather long name of a row number 7"]))
    (axes,) = shown(pareto_k_figure(SimpleNamespace(pareto_k=k, good_k=0.7, source=source)))
    named = {text.get_text() for text in axes.texts}
    assert named >= {"a", "b", shortened("a rather long name of a row number 7", 20)}
    assert [label.get_text() for label in axes.get_xticklabels()] == ["a", "b", "a ra…er 7"]


def test_of_many_rows_the_worst_neighbours_are_drawn():
    k = np.random.default_rng(2).uniform(-0.2, 0.5, 100_000)
    k[[12_345, 99_999]] = 0.8, 0.95
    found = SimpleNamespace(pareto_k=xr.DataArray(k, {"row": np.arange(len(k))}, ["row"]), good_k=0.7)
    (axes,) = shown(pareto_k_figure(found))
    assert axes.get_title(loc="left") == "2 of 100,000 rows above 0.7"
    assert [text.get_text() for text in axes.texts if text.get_text() != "0.7"] == ["99999", "12345"]
    (dots,) = [each for each in axes.collections if isinstance(each, mpl.collections.PathCollection)]
    assert len(dots.get_offsets()) <= 1500
    assert axes.get_xlabel().endswith("the largest of every 67")


def test_scores_without_pareto_k_are_refused(elpds):
    import copy

    elpd = copy.copy(elpds["rows"])
    elpd.pareto_k = None
    with pytest.raises(ValueError, match="no Pareto k"):
        pareto_k_figure(elpd)


# --- variance ---------------------------------------------------------------------------------------


def test_variance_shares_are_those_of_the_tables():
    made = study("crossed")
    posterior, maximum = made.fit.variance_partition(), made.reml.variance_partition()
    figure = variance_figure(posterior, maximum)
    (axes,) = shown(figure)
    assert [label.get_text() for label in axes.get_yticklabels()] == [
        "fixed effects", "levels of plate", "levels of sample", "residuals",
    ]  # fmt: skip
    assert_allclose(points(axes, style.REML)[:, 0], 100 * maximum["share"])
    assert_allclose(points(axes, style.POSTERIOR)[:, 0], 100 * posterior["share"])
    assert labels(figure) == ["REML", "posterior mean and interval"]
    check_drawing(figure)


def test_variance_of_a_family_has_a_panel_a_scale():
    table = family_study("herds").ml.variance_partition()
    figure = variance_figure(None, table)
    assert labels(figure) == ["ML"]
    assert [axes.get_title(loc="left") for axes in shown(figure)] == ["latent scale", "response scale"]
    with pytest.raises(ValueError, match=r"Give the table of fit\.variance_partition"):
        variance_figure(None)


# --- all --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "make",
    [
        lambda: plane_figure(hb.plane(study("slopes").fit)),
        lambda: predictive_figure(hb.predictive(study("intercepts").fit)),
        lambda: variance_figure(study("crossed").fit.variance_partition()),
    ],
)
def test_figures_are_the_same_at_every_run(make):
    first = check_drawing(make())
    with mpl.rc_context({"font.size": 30, "axes.facecolor": "red", "lines.linewidth": 9, "svg.hashsalt": "x"}):
        assert check_drawing(make()) == first


def test_long_names_keep_both_ends():
    assert shortened("short", 10) == "short"
    names = {shortened(f"a rather long name of a site number {k}", 20) for k in range(30)}
    assert len(names) == 30
    assert max(map(len, names)) == 20
