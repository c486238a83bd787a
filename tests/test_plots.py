"""Figures show the numbers of their tables, leave no global state behind, and are the same at every run."""

from __future__ import annotations

import re
import subprocess
import sys
from xml.etree import ElementTree as ET

import matplotlib as mpl
import numpy as np
import pytest
from fixtures_report import LEVELS, study
from matplotlib.figure import Figure
from numpy.testing import assert_allclose

from hierbayes.partial_pooling.shrinkage import group_lines
from hierbayes.plots import estimates_figure, groups_figure, shrinkage_figure, style, to_svg


def points(axes, mark):
    """Positions of the markers of one estimator in a panel, from top to bottom."""
    found = [
        line
        for line in axes.get_lines()
        if line.get_marker() == mark.marker and mpl.colors.same_color(line.get_markeredgecolor(), mark.color)
    ]
    return np.concatenate([line.get_xdata() for line in found])


def shown(figure):
    return [axes for axes in figure.axes if axes.get_visible() and axes.get_label() != "<colorbar>"]


def test_estimates_are_where_the_tables_say():
    made = study("slopes")
    reml, posterior = made.reml.tidy(), made.fit.tidy()
    figure = estimates_figure(reml, posterior)
    assert isinstance(figure, Figure)
    panels = shown(figure)
    assert [panel.get_title(loc="left") for panel in panels] == [
        "Intercept", "Days", "sd(Intercept) of Subject", "sd(Days) of Subject", "corr(Intercept, Days) of Subject",
        "sigma (residual sd)",
    ]  # fmt: skip
    for panel, (_, a), (_, b) in zip(panels, reml.iterrows(), posterior.iterrows(), strict=True):
        for mark, row in ((style.REML, a), (style.POSTERIOR, b)):
            assert points(panel, mark) == [row["estimate"]]
            interval = next(
                line for line in panel.get_lines() if line.get_color() == mark.color and len(line.get_xdata()) == 2
            )
            assert_allclose(interval.get_xdata(), [row["conf_low"], row["conf_high"]])


def test_every_parameter_of_several_factors_and_of_the_residuals_has_a_name():
    for name, titles in {
        "crossed": ["sd(Intercept) of plate", "sd(Intercept) of sample", "sigma (residual sd)"],
        "series": ["age", "sex[m]", "sigma (residual sd)", "rho (residual correlation)"],
        "meta": ["sd(Intercept) of school"],
    }.items():
        made = study(name)
        panels = shown(estimates_figure(made.reml.tidy(), made.fit.tidy()))
        assert [panel.get_title(loc="left") for panel in panels] == ["Intercept", *titles]


def test_a_missing_interval_is_not_drawn():
    made = study("singular")
    panel = shown(estimates_figure(made.reml.tidy(), made.fit.tidy()))[1]
    assert points(panel, style.REML) == [0.0]
    lines = [line for line in panel.get_lines() if len(line.get_xdata()) == 2]
    assert [line.get_color() for line in lines] == [style.POSTERIOR.color]


def test_an_interval_without_end_leaves_the_posterior_visible():
    made = study("intercepts")
    reml, posterior = made.reml.tidy(), made.fit.tidy()
    reml.loc[1, "conf_high"] = 1e6
    panel = shown(estimates_figure(reml, posterior))[1]
    low, high = panel.get_xlim()
    assert high < 30 * (posterior.loc[1, "conf_high"] - posterior.loc[1, "conf_low"])
    assert low < reml.loc[1, "estimate"] < high


def test_few_levels_are_drawn_one_by_one():
    made = study("slopes")
    left, right = shown(shrinkage_figure(made.table, "Subject"))
    first = made.table[made.table["effect"] == "Intercept"].sort_values("mean")
    second = made.table[made.table["effect"] == "Days"].set_index("level").loc[first["level"]]
    for panel, part in ((left, first), (right, second)):
        assert_allclose(points(panel, style.NO_POOLING), part["no_pooling"])
        assert_allclose(points(panel, style.REML), part["blup"])
        assert_allclose(points(panel, style.POSTERIOR), part["mean"])
    assert [label.get_text() for label in left.get_yticklabels()] == list(first["level"])


def test_levels_of_one_of_several_factors_are_drawn():
    made = study("crossed")
    for factor, levels in {"plate": 24, "sample": 6}.items():
        (panel,) = shown(shrinkage_figure(made.table, factor))
        part = made.table[made.table["group"] == factor].sort_values("mean", kind="stable")
        assert len(part) == levels
        assert_allclose(points(panel, style.REML), part["blup"])
        assert [label.get_text() for label in panel.get_yticklabels()] == list(part["level"])
        assert panel.get_ylabel() == factor


def test_a_far_estimate_is_drawn_at_the_edge_and_a_missing_one_not_at_all():
    table = study("intercepts").table.copy()
    table.loc[0, "no_pooling"] = 1e6
    table.loc[1, "no_pooling"] = np.nan
    panel = shown(shrinkage_figure(table, "Batch"))[0]
    assert len(points(panel, style.NO_POOLING)) == 4
    edge = [line for line in panel.get_lines() if line.get_marker() == ">" and len(line.get_xdata())]
    assert len(edge) == 1
    low, high = panel.get_xlim()
    assert low < edge[0].get_xdata()[0] < high < 1e4


def test_many_levels_become_a_cloud():
    made = study("crowd")
    panels = shown(shrinkage_figure(made.table, "g"))
    assert [panel.get_xlabel().split(" (")[0] for panel in panels] == ["no pooling", "REML BLUP"] * 2
    assert f"{LEVELS:,} levels" in panels[0].get_title(loc="left")
    counted = panels[1].collections[0].get_array()
    assert counted.sum() == LEVELS


def test_a_hundred_levels_are_points():
    table = study("crowd").table
    some = table[table["level"].isin(table["level"][:100])]
    panels = shown(shrinkage_figure(some, "g"))
    drawn = next(line for line in panels[3].get_lines() if len(line.get_xdata()) == 100)
    part = some[some["effect"] == "x"]
    assert_allclose(drawn.get_xydata(), part[["blup", "mean"]])


def test_no_level_with_an_estimate_of_its_own():
    table = study("crowd").table
    some = table[table["level"].isin(table["level"][:100])].assign(no_pooling=np.nan)
    panels = shown(shrinkage_figure(some, "g"))
    assert [text.get_text() for text in panels[0].texts] == ["no level has an estimate of its own"]


def test_groups_show_every_line_and_every_row():
    made = study("slopes")
    lines = group_lines(made.reml, made.fit, made.table, made.model.data)
    panels = shown(groups_figure(lines))
    assert [panel.get_title(loc="left") for panel in panels] == list(lines.levels)
    for panel, level in zip(panels, lines.levels, strict=True):
        rows = made.model.data[made.model.data["Subject"] == level]
        drawn = panel.get_lines()
        assert_allclose(drawn[0].get_xydata(), rows[["Days", "Reaction"]])
        wanted = lines.lines[lines.lines["level"] == level]
        assert len(drawn) == 5
        for line, (_, row) in zip(drawn[1:], wanted.iterrows(), strict=True):
            assert_allclose(line.get_ydata(), [row["y0"], row["y1"]])


def test_no_predictor_no_figure():
    made = study("intercepts")
    assert groups_figure(group_lines(made.reml, made.fit, made.table, made.model.data)) is None


def test_marks_differ_without_colour():
    marks = [style.COMPLETE, style.NO_POOLING, style.REML, style.POSTERIOR]
    assert len({mark.marker for mark in marks}) == len({str(mark.line) for mark in marks}) == 4


@pytest.mark.parametrize("name", ["slopes", "crowd"])
def test_svg_is_well_formed_and_the_same_at_every_run(name):
    table, factor = study(name).table, study(name).model.design.factors[0].name
    first = to_svg(shrinkage_figure(table, factor), "one")
    with mpl.rc_context({"font.size": 30, "axes.facecolor": "red", "lines.linewidth": 9, "svg.hashsalt": "x"}):
        again = to_svg(shrinkage_figure(table, factor), "one")
    assert first == again
    root = ET.fromstring(first)
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert not list(root.iter("{http://www.w3.org/2000/svg}metadata"))
    assert all("d" in path.attrib for path in root.iter("{http://www.w3.org/2000/svg}path"))


def test_ids_of_two_figures_do_not_meet():
    made = study("slopes")
    figure = estimates_figure(made.reml.tidy(), made.fit.tidy())
    one, two = to_svg(figure, "one"), to_svg(figure, "two")
    ids = [set(re.findall(r'\bid="([^"]+)"', text)) for text in (one, two)]
    assert len(ids[0]) > 20
    assert not ids[0] & ids[1]
    used = set(re.findall(r'href="#([^"]+)"', one)) | set(re.findall(r"url\(#([^)]+)\)", one))
    assert used <= ids[0]


def test_figures_need_no_pyplot():
    code = (
        "import sys, hierbayes.plots; print([m for m in ('matplotlib.pyplot', 'pymc', 'bambi') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
