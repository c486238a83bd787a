"""Residual correlation: R⁻¹ and log|R| from a few sums of squares, and what users write for it."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from oracle import MANY, ar1, cs, differences, groups, oracle_loglik, residual_correlation, residual_range

import hierbayes as hb
from hierbayes.moments import take_moments
from hierbayes.residual import coefficients
from hierbayes.series import parse

INVERSE = 1e-10
"""Relative to the largest entry of R⁻¹."""
SLOPE = 1e-8
"""Relative, of derivatives against Richardson differences."""
NEAR_ONE = 1e-6
"""The same where R is nearly singular: its condition number is about 1e8."""

PERSON = groups(0, 40, 7)[0]
ODD = np.random.default_rng(1).permutation(np.repeat(np.arange(6), [1, 9, 2, 1, 4, 5]))
"""Series of very different lengths, two of them of one row."""

STRUCTURES = {
    "AR(1)": ar1(PERSON),
    "AR(1), gaps": ar1(PERSON, 2),
    "AR(1), unequal series": ar1(ODD),
    "AR(1), unequal series with gaps": ar1(ODD, 3),
    "compound symmetry": cs(PERSON),
    "compound symmetry, unequal series": cs(ODD),
}
SEVERAL = pytest.mark.parametrize("name", STRUCTURES)


def places(residual):
    """Values of ρ over its range, negative ones among them."""
    low, high = residual_range(residual)
    return [low + u * (high - low) for u in (0.02, 0.3, 0.5, 0.77, 0.98)]


@SEVERAL
def test_the_range_of_the_correlation(name):
    """Inside it R is positive definite; at its ends it is not."""
    residual = STRUCTURES[name]
    low, high = residual.bounds
    assert (low, high) == pytest.approx(residual_range(residual), rel=1e-15)
    for rho in places(residual):
        assert np.linalg.eigvalsh(residual_correlation(residual, len(residual.codes), rho))[0] > 0
    for end in (low, high):
        assert abs(np.linalg.eigvalsh(residual_correlation(residual, len(residual.codes), end))).min() < 1e-12


@SEVERAL
def test_the_matrix_is_that_of_the_definition(name):
    residual = STRUCTURES[name]
    for rho in (*places(residual), 0.0):
        expected = residual_correlation(residual, len(residual.codes), rho)
        np.testing.assert_allclose(residual.matrix(rho), expected, rtol=1e-15)


@SEVERAL
def test_a_few_sums_of_squares_make_the_inverse(name):
    residual = STRUCTURES[name]
    n = len(residual.codes)
    for rho in (*places(residual), 0.0):
        R = residual_correlation(residual, n, rho)
        c, _, logdet, _ = coefficients(rho, residual.table)
        sets = list(residual.transformed(np.eye(n)))
        assert len(c) == len(sets) == residual.statistics
        found = sum(weight * F.T @ F for weight, (F, _) in zip(c, sets, strict=True))
        expected = np.linalg.inv(R)
        np.testing.assert_allclose(found, expected, rtol=0, atol=INVERSE * np.abs(expected).max())
        np.testing.assert_allclose(logdet, np.linalg.slogdet(R)[1], rtol=INVERSE, atol=INVERSE)


@SEVERAL
def test_their_derivatives(name):
    residual = STRUCTURES[name]
    for rho in places(residual):
        _, slope, _, logdet_slope = coefficients(rho, residual.table)
        # near an end of the range the coefficients have poles
        h = 1e-2 * min(rho - residual.bounds[0], residual.bounds[1] - rho)
        for k, value in enumerate(slope):
            numeric = differences(lambda x, k=k: coefficients(x[0], residual.table)[0][k], np.array([rho]), h)[0]
            assert value == pytest.approx(numeric, rel=SLOPE, abs=SLOPE)
        numeric = differences(lambda x: coefficients(x[0], residual.table)[2], np.array([rho]), h)[0]
        assert logdet_slope == pytest.approx(numeric, rel=SLOPE, abs=SLOPE)


@SEVERAL
def test_the_derivatives_at_independence(name):
    """ρ = 0 is where powers of ρ lose their logarithms."""
    residual = STRUCTURES[name]
    c, slope, logdet, logdet_slope = coefficients(0.0, residual.table)
    np.testing.assert_array_equal(c, [1.0, *np.zeros(len(c) - 1)])
    assert logdet == 0.0
    for k, value in enumerate(slope):
        numeric = differences(lambda x, k=k: coefficients(x[0], residual.table)[0][k], np.zeros(1), 1e-2)[0]
        assert value == pytest.approx(numeric, rel=SLOPE, abs=SLOPE)
    numeric = differences(lambda x: coefficients(x[0], residual.table)[2], np.zeros(1), 1e-2)[0]
    assert logdet_slope == pytest.approx(numeric, rel=SLOPE, abs=SLOPE)


@SEVERAL
def test_next_to_perfect_correlation(name):
    residual = STRUCTURES[name]
    n, rho = len(residual.codes), 1.0 - 1e-8
    c, _, logdet, _ = coefficients(rho, residual.table)
    found = sum(weight * F.T @ F for weight, (F, _) in zip(c, residual.transformed(np.eye(n)), strict=True))
    R = residual_correlation(residual, n, rho)
    np.testing.assert_allclose(found @ R, np.eye(n), rtol=0, atol=NEAR_ONE)
    np.testing.assert_allclose(logdet, np.linalg.slogdet(R)[1], rtol=NEAR_ONE)


@SEVERAL
def test_transformed_rows_know_their_series(name):
    residual = STRUCTURES[name]
    for rows, of in residual.transformed(np.arange(40.0)[: len(residual.codes), None]):
        assert len(rows) == len(of)
        assert set(residual.codes[of]) <= set(residual.codes)
    marks = np.eye(residual.codes.max() + 1)[residual.codes]
    for rows, of in residual.transformed(marks):
        np.testing.assert_array_equal(np.argmax(rows, axis=1), residual.codes[of])
        assert ((rows > 0).sum(axis=1) == 1).all()  # never rows of two series together


def test_the_number_of_sets_is_that_of_the_gaps_not_of_the_series():
    design = MANY["AR(1) alone"]
    assert take_moments(design).data.shape[0] == 3
    gaps = MANY["AR(1) with gaps and slopes"]
    order = gaps.residual.order
    steps = np.diff(gaps.residual.time[order])[np.diff(gaps.residual.codes[order]) == 0]
    assert take_moments(gaps).data.shape[0] == 1 + 2 * len(np.unique(steps))


# --- what users write -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(4)
    frame = pd.DataFrame(
        {
            "g": np.repeat([f"g{k}" for k in range(8)], 6),
            "h": np.repeat(["u", "v"], 24),
            "t": np.tile(np.arange(6) * 0.5 + 3.0, 8),
            "x": rng.standard_normal(48),
            "text": "later",
        }
    )
    frame["day"] = pd.Timestamp("2024-02-27") + pd.to_timedelta(np.tile(np.arange(6) * 7, 8), "D")
    frame["y"] = frame["x"] + rng.standard_normal(48) + np.repeat(rng.standard_normal(8), 6)
    return frame


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ar1(t | g)", ("ar1", "t", ("g",))),
        (" ar1( t|g ) ", ("ar1", "t", ("g",))),
        ("ar1(1 | g)", ("ar1", None, ("g",))),
        ("ar1(t | g:h)", ("ar1", "t", ("g", "h"))),
        ("ar1(`my time` | `my group`)", ("ar1", "my time", ("my group",))),
        ("cs(g)", ("cs", None, ("g",))),
        ("cs(1 | g)", ("cs", None, ("g",))),
        ("cs(g:h)", ("cs", None, ("g", "h"))),
    ],
)
def test_structures_are_read(text, expected):
    found = parse(text)
    assert (found.kind, found.time, found.groups) == expected
    assert found.text == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ar1",
        "ar1()",
        "ar1(t)",
        "ar1(g | )",
        "ar2(t | g)",
        "cs(t | g)",
        "cs()",
        "AR1(t | g)",
        "ar1(t | g) + cs(g)",
        3,
    ],
)
def test_other_texts_are_refused(text):
    with pytest.raises(
        hb.FormulaError, match=r"is not a structure; write 'ar1\(time \| group\)' or 'cs\(group\)'\.$"
    ):
        parse(text)


def residual_of(data, text, formula="y ~ x"):
    return hb.Model(formula, data, residual=text).design.residual


def test_times_are_steps_of_the_grid(data):
    for text in ("ar1(t | g)", "ar1(day | g)", "ar1(1 | g)"):
        residual = residual_of(data, text)
        np.testing.assert_array_equal(residual.time, np.tile(np.arange(6), 8))
        np.testing.assert_array_equal(residual.codes, np.repeat(np.arange(8), 6))
    order = np.random.default_rng(5).permutation(48)
    moved = data.iloc[order]
    np.testing.assert_array_equal(residual_of(moved, "ar1(t | g)").time, np.tile(np.arange(6), 8)[order])
    # the order of the rows is what it is
    assert (residual_of(moved, "ar1(1 | g)").time != np.tile(np.arange(6), 8)[order]).any()


@pytest.mark.parametrize(
    ("times", "steps"),
    [
        ([0, 1, 2, 3, 4, 9], [0, 1, 2, 3, 4, 9]),
        ([0, 2, 4, 6, 8, 12], [0, 1, 2, 3, 4, 6]),
        ([0, 2, 5, 7, 9, 11], [0, 2, 5, 7, 9, 11]),
        ([0.0, 0.1, 0.2, 0.3, 0.4, 0.7], [0, 1, 2, 3, 4, 7]),
        ([2000, 2001, 2003, 2004, 2010, 2011], [0, 1, 3, 4, 10, 11]),
        ([1 / 3, 2 / 3, 1, 5 / 3, 2, 3], [0, 1, 2, 4, 5, 8]),
    ],
    ids=str,
)
def test_gaps_are_whole_numbers_of_steps(data, times, steps):
    residual = residual_of(data.assign(t=np.tile(times, 8)), "ar1(t | g)")
    np.testing.assert_array_equal(residual.time, np.tile(steps, 8))


@pytest.mark.parametrize("offset", [0.5, 1.0 / 3.0, np.pi, 1e6])
def test_series_need_not_begin_at_one_time(data, offset):
    """Visits a year apart are neighbours, whatever the birthday: only times within a series are compared."""
    moved = data["t"] + offset * data["g"].str[1:].astype(int)
    residual = residual_of(data.assign(t=moved), "ar1(t | g)")
    steps = pd.Series(residual.time).groupby(residual.codes).diff()
    np.testing.assert_array_equal(steps.dropna(), 1)


@pytest.mark.parametrize("times", [[0, 2, 5, 7, 10, 12], [0, 3, 7, 10, 14, 17], [0, 2, 4, 7, 9, 12]], ids=str)
@pytest.mark.parametrize("rho", [0.9, 0.6])
def test_series_without_neighbours_have_a_correlation_too(times, rho):
    """Where no two rows are one step apart, ρ = 0 is a stationary point of the likelihood, but not its maximum."""
    t = np.array(times)
    half = np.linalg.cholesky(rho ** np.abs(t[:, None] - t))
    y = (np.random.default_rng(0).standard_normal((60, 6)) @ half.T).ravel()
    frame = pd.DataFrame({"y": y, "t": np.tile(t, 60), "g": np.repeat(np.arange(60), 6)})
    found = hb.Model("y ~ 1", frame, residual="ar1(t | g)").reml()
    assert found.converged
    assert found.rho == pytest.approx(rho, abs=0.1)
    for other in (-0.9, -0.5, 0.0, 0.3, rho):
        assert oracle_loglik(found.design, np.zeros((0, 0)), found.sigma, "REML", other) < found.loglik


def test_an_interaction_of_groups(data):
    residual = residual_of(data.assign(k=np.tile([0, 0, 0, 1, 1, 1], 8)), "cs(g:k)")
    assert residual.name == "g:k"
    assert residual.codes.max() == 15
    np.testing.assert_array_equal(np.bincount(residual.codes), 3)


def test_rows_with_missing_times_or_groups_are_left_out(data):
    frame = data.assign(t=data["t"].where(data.index != 7), g=data["g"].where(data.index != 20))
    with pytest.warns(hb.RowsDropped, match=r"^2 of 48 rows have missing values in 'g', 't'"):
        design = hb.Model("y ~ x", frame, residual="ar1(t | g)").design
    assert design.n == 46
    assert design.residual.time.max() == 5
    np.testing.assert_array_equal(design.residual.time[6:11], [0, 2, 3, 4, 5])


REFUSED = {
    "no such time": ("ar1(T | g)", {}, r"uses 'T', which is not a column of the data. Did you mean 't'\?$"),
    "no such group": ("cs(group)", {}, r"uses 'group', which is not a column of the data"),
    "a text as time": ("ar1(text | g)", {}, r"^The time 'text' of residual=.* must be numbers or dates\.$"),
    "two rows at one time": (
        "ar1(t | g)",
        {"t": [0, 0, *range(46)]},
        r"the series 'g0' has two rows at t = 0; keep one row for each time\.$",
    ),
    "no grid": (
        "ar1(t | g)",
        {"t": np.sqrt(np.arange(48.0))},
        r"^The times 't' of residual=.* are not equally spaced; round them to a grid, or write ar1\(1 \| g\)",
    ),
    "series of one row": (
        "cs(t)",
        {"t": np.arange(48)},
        r"every series has one row, .*name a coarser grouping factor\.$",
    ),
    "an infinite time": ("ar1(t | g)", {"t": [np.inf, *range(47)]}, r"^Column 't' has an infinite value in row 0"),
}


@pytest.mark.parametrize(("text", "columns", "message"), REFUSED.values(), ids=REFUSED)
def test_structures_that_do_not_fit_the_data_are_refused(data, text, columns, message):
    with pytest.raises(hb.DataError, match=message) as error:
        hb.Model("y ~ x", data.assign(**columns), residual=text)
    assert "\n" not in str(error.value)


def test_series_across_levels_are_refused(data):
    frame = data.assign(k=np.tile([0, 1, 2], 16))
    with pytest.raises(hb.DataError, match=r"a series has rows in several levels of the grouping factor 'k'"):
        hb.Model("y ~ x + (1 | k)", frame, residual="ar1(t | g)")
    with pytest.raises(hb.DataError, match=r"grouping factor 'k'"):
        hb.Model("y ~ x + (1 | g) + (1 | k)", frame, residual="ar1(t | g)")
    # a factor above the series is fine, and so is one that is the series
    assert hb.Model("y ~ x + (1 | h) + (1 | g)", frame, residual="ar1(t | g)").design.residual.name == "g"


def test_compound_symmetry_repeats_a_random_intercept(data):
    with pytest.raises(hb.DataError, match=r"and the random intercept of 'g' say the same; take one of them out\.$"):
        hb.Model("y ~ x + (1 | g)", data, residual="cs(g)")
    # a slope is something else, and so is an intercept of larger groups
    assert hb.Model("y ~ x + (0 + x | g)", data, residual="cs(g)").design.residual.kind == "cs"
    assert hb.Model("y ~ x + (1 | h)", data, residual="cs(g)").design.residual.kind == "cs"


def test_a_model_without_random_effects_needs_a_residual_structure(data):
    with pytest.raises(hb.FormulaError, match="has no random effect"):
        hb.Model("y ~ x", data)
    assert hb.Model("y ~ x", data, residual="cs(g)").design.blocks == ()
