"""From formula and data frame to design and priors: every syntax form, Bambi's names, every refusal."""

from __future__ import annotations

import warnings

import bambi as bmb
import numpy as np
import pandas as pd
import pytest

import hierbayes as hb
from hierbayes.priors import Prior

AGREE = 1e-12
"""Relative: the same numbers from the same columns."""
PREDICTION = 1e-9
"""Relative to the response: the same sum in another order."""

RECODING = "ignore:Constructing a Categorical:pandas.errors.Pandas4Warning"
"""formulae 0.6 recodes new data that carry categories without rows in a way that pandas 3 announces to change."""


def doubled(values):
    """A function of the caller's own, for use in formulas."""
    return 2.0 * values


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    n = 120
    recipe = rng.choice(["r1", "r2", "r3"], n)
    site = rng.choice(list("abcdef"), n)
    frame = pd.DataFrame(
        {
            "y": rng.standard_normal(n) + 10.0,
            "x": rng.uniform(1.0, 3.0, n),
            "z": rng.standard_normal(n),
            "flag": rng.choice([True, False], n),
            "recipe": recipe,
            "dose": pd.Categorical(rng.choice(["low", "mid", "high"], n), ["low", "mid", "high"], ordered=True),
            "g": site,
            "number": rng.integers(1, 9, n),
            "a": rng.choice(["A", "B"], n),
            "b": rng.choice([1, 2, 3], n),
        }
    )
    frame["kind"] = pd.Categorical(frame["recipe"], ["r1", "r2", "r3", "never"])
    frame["grade"] = pd.Categorical(frame["dose"], ["never", "low", "mid", "high"], ordered=True)
    frame["place"] = pd.Categorical(frame["g"], list("fedcbaz"))  # an order of its own, and a level without rows
    return frame


def design_of(formula, data, **options):
    return hb.Model(formula, data, **options).design


def factor_of(formula, data):
    """The only grouping factor of a formula."""
    (factor,) = design_of(formula, data).factors
    return factor


def blocks_of(design):
    """(correlated, labels of the effects) of every block."""
    return [(block.correlated, block.labels) for block in design.blocks]


# --- what a random effect means -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("effects", "blocks"),
    [
        ("(1 | g)", [(True, ["Intercept"])]),
        ("(x | g)", [(True, ["Intercept", "x"])]),
        ("(1 + x | g)", [(True, ["Intercept", "x"])]),
        ("(x + 1 | g)", [(True, ["Intercept", "x"])]),
        ("(0 + x | g)", [(True, ["x"])]),
        ("(-1 + x | g)", [(True, ["x"])]),
        ("(x - 1 | g)", [(True, ["x"])]),
        ("(x + 0 | g)", [(True, ["x"])]),
        ("(x + I(x - 1) - 1 || g)", [(False, ["x", "I(x - 1)"])]),
        ("(x || g)", [(False, ["Intercept", "x"])]),
        ("(1 + x||g)", [(False, ["Intercept", "x"])]),
        ("(0 + x || g)", [(False, ["x"])]),
        ("((x || g))", [(False, ["Intercept", "x"])]),
        ("(x + z | g)", [(True, ["Intercept", "x", "z"])]),
        ("(x * z | g)", [(True, ["Intercept", "x", "z", "x:z"])]),
        ("(x:z | g)", [(True, ["Intercept", "x:z"])]),
        ("(1 | g) + (0 + x | g)", [(True, ["Intercept"]), (True, ["x"])]),
        ("(0 + x | g) + (1 | g)", [(True, ["x"]), (True, ["Intercept"])]),
        ("(x | g) + (0 + z | g)", [(True, ["Intercept", "x"]), (True, ["z"])]),
        ("(x | g) + (0 + z + x:z || g)", [(True, ["Intercept", "x"]), (False, ["z", "x:z"])]),
        ("(recipe | g)", [(True, ["Intercept", "recipe[r2]", "recipe[r3]"])]),
        ("(0 + recipe | g)", [(True, ["recipe[r1]", "recipe[r2]", "recipe[r3]"])]),
        ("(recipe || g)", [(False, ["Intercept", "recipe[r2]", "recipe[r3]"])]),
        ("(dose | g)", [(True, ["Intercept", "dose[mid]", "dose[high]"])]),
        ("(flag | g)", [(True, ["Intercept", "flag"])]),
        ("(np.log(x) | g)", [(True, ["Intercept", "np.log(x)"])]),
        ("(I(x ** 2) | g)", [(True, ["Intercept", "I(x ** 2)"])]),
        ("(doubled(z) | g)", [(True, ["Intercept", "doubled(z)"])]),
    ],
)
def test_random_effects(data, effects, blocks):
    design = design_of(f"y ~ x + {effects}", data)
    assert blocks_of(design) == blocks
    assert [factor.name for factor in design.factors] == ["g"]
    assert design.labels == ["Intercept", "x"]
    assert design.layout.q == sum(len(labels) for _, labels in blocks)


@pytest.mark.parametrize(
    ("effects", "mask"),
    [
        ("(x | g)", [[1, 0], [1, 1]]),
        ("(x || g)", [[1, 0], [0, 1]]),
        ("(1 | g) + (0 + x | g)", [[1, 0], [0, 1]]),
        ("(0 + x | g)", [[1]]),
        ("(x | g) + (0 + z | g)", [[1, 0, 0], [1, 1, 0], [0, 0, 1]]),
        ("(x + z | g)", [[1, 0, 0], [1, 1, 0], [1, 1, 1]]),
    ],
)
def test_what_is_correlated(data, effects, mask):
    """As in lme4: one pair of parentheses has a full covariance, two bars or two pairs have none."""
    np.testing.assert_array_equal(design_of(f"y ~ x + {effects}", data).layout.mask.astype(int), mask)


def test_effect_columns_hold_the_predictor(data):
    design = design_of("y ~ x + (x + np.log(x) + x:z + doubled(z) | g)", data)
    x, z = data["x"], data["z"]
    np.testing.assert_allclose(
        design.blocks[0].Z, np.column_stack([np.ones(120), x, np.log(x), x * z, 2.0 * z]), rtol=AGREE
    )


@pytest.mark.parametrize(
    ("effects", "factors", "blocks"),
    [
        ("(1 | g) + (1 | a)", ["g", "a"], [["Intercept"], ["Intercept"]]),
        ("(x | g) + (z || a)", ["g", "a"], [["Intercept", "x"], ["Intercept", "z"]]),
        ("(1 | a/b)", ["a", "a:b"], [["Intercept"], ["Intercept"]]),
        ("(x | a/b)", ["a", "a:b"], [["Intercept", "x"], ["Intercept", "x"]]),
        ("(1 | a/b/g)", ["a", "a:b", "a:b:g"], [["Intercept"]] * 3),
        ("(1 | a) + (0 + x | a:b)", ["a", "a:b"], [["Intercept"], ["x"]]),
        # blocks of one factor stand together, wherever they are written
        ("(1 | g) + (1 | a) + (0 + x | g)", ["g", "a"], [["Intercept"], ["x"], ["Intercept"]]),
    ],
)
def test_several_grouping_factors(data, effects, factors, blocks):
    design = design_of(f"y ~ x + {effects}", data)
    assert [factor.name for factor in design.factors] == factors
    assert [block.labels for block in design.blocks] == blocks
    named = [block.factor.name for block in design.blocks]
    assert named == sorted(named, key=factors.index)
    at = 0
    for factor in design.factors:
        width = sum(len(block.labels) for block in design.blocks if block.factor.name == factor.name)
        assert design.effects_of(factor) == slice(at, at + width)
        at += width
    assert at == design.layout.q


def test_a_nested_factor_is_its_interaction(data):
    """As in lme4, (1 | a/b) is (1 | a) + (1 | a:b)."""
    short, long = design_of("y ~ x + (x | a/b)", data), design_of("y ~ x + (x | a) + (x | a:b)", data)
    for one, other in zip(short.blocks, long.blocks, strict=True):
        assert (one.factor.name, one.labels, one.correlated) == (other.factor.name, other.labels, other.correlated)
        np.testing.assert_array_equal(one.factor.codes, other.factor.codes)
        np.testing.assert_array_equal(one.Z, other.Z)


def test_two_names_for_the_same_groups_are_refused(data):
    frame = data.assign(twin=data["g"].map(dict(zip("abcdef", "fadceb", strict=True))))
    with pytest.raises(hb.DataError, match=r"^The grouping factors 'g' and 'twin' make the same groups, .*take one"):
        design_of("y ~ x + (1 | g) + (1 | twin)", frame)
    with pytest.raises(hb.DataError, match="make the same groups"):
        design_of("y ~ x + (1 | a:b) + (1 | b:a)", frame)
    # an intercept and a slope can be told apart
    assert len(design_of("y ~ x + (1 | g) + (0 + x | twin)", frame).factors) == 2


# --- offsets ----------------------------------------------------------------------------------------


def test_offsets_are_known_parts_of_the_response(data):
    design = design_of("y ~ x + offset(z) + (1 | g)", data)
    np.testing.assert_allclose(design.offset, data["z"], rtol=AGREE)
    assert design.labels == ["Intercept", "x"]
    two = design_of("y ~ offset(z) + x + offset(np.log(x)) + (1 | g)", data)
    np.testing.assert_allclose(two.offset, data["z"] + np.log(data["x"]), rtol=AGREE)
    constant = design_of("y ~ x + offset(3) + (1 | g)", data)
    np.testing.assert_array_equal(constant.offset, np.full(120, 3.0))
    assert design_of("y ~ x + (1 | g)", data).offset is None


def test_an_offset_must_be_finite(data):
    with pytest.raises(hb.DataError, match=r"not finite in row"):
        design_of("y ~ x + offset(np.log(z)) + (1 | g)", data)


def test_priors_are_for_what_an_offset_leaves(data):
    """The automatic scales are those of the response less the offset."""
    frame = data.assign(far=1e6 + data["z"], less=data["y"] - 1e6 - data["z"])
    one = hb.Model("y ~ x + offset(far) + (x | g)", frame).priors
    other = hb.Model("less ~ x + (x | g)", frame).priors
    for ours, theirs in zip(
        (*one.coefficients, *one.sds, one.sigma), (*other.coefficients, *other.sds, other.sigma), strict=True
    ):
        assert ours.name == theirs.name
        for key, value in theirs.args.items():
            assert ours.args[key] == pytest.approx(value, rel=1e-9)


# --- fixed effects --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fixed", "labels"),
    [
        ("1", ["Intercept"]),
        ("x", ["Intercept", "x"]),
        ("0 + x", ["x"]),
        ("x - 1", ["x"]),
        ("x + z", ["Intercept", "x", "z"]),
        ("x * z", ["Intercept", "x", "z", "x:z"]),
        ("(x + z) ** 2", ["Intercept", "x", "z", "x:z"]),
        ("recipe", ["Intercept", "recipe[r2]", "recipe[r3]"]),
        ("0 + recipe", ["recipe[r1]", "recipe[r2]", "recipe[r3]"]),
        ("recipe * x", ["Intercept", "recipe[r2]", "recipe[r3]", "x", "recipe[r2]:x", "recipe[r3]:x"]),
        ("recipe:x", ["Intercept", "recipe[r1]:x", "recipe[r2]:x", "recipe[r3]:x"]),
        ("a/x", ["Intercept", "a[B]", "a[A]:x", "a[B]:x"]),
        ("a/dose", ["Intercept", "a[B]", *[f"a[{a}]:dose[{d}]" for a in "AB" for d in ("mid", "high")]]),
        ("x/a", ["Intercept", "x", "x:a[B]"]),
        ("a * dose", ["Intercept", "a[B]", "dose[mid]", "dose[high]", "a[B]:dose[mid]", "a[B]:dose[high]"]),
        ("dose", ["Intercept", "dose[mid]", "dose[high]"]),
        ("C(b)", ["Intercept", "C(b)[2]", "C(b)[3]"]),
        ("flag", ["Intercept", "flag"]),
        ("np.log(x)", ["Intercept", "np.log(x)"]),
        ("log(x)", ["Intercept", "log(x)"]),
        ("I(x**2)", ["Intercept", "I(x ** 2)"]),
        ("scale(x)", ["Intercept", "scale(x)"]),
        ("center(x)", ["Intercept", "center(x)"]),
        ("poly(x, 2)", ["Intercept", "poly(x, 2)[0]", "poly(x, 2)[1]"]),
        ("bs(x, df=4)", ["Intercept", *[f"bs(x, df=4)[{k}]" for k in range(4)]]),
        ("doubled(x)", ["Intercept", "doubled(x)"]),
    ],
)
def test_fixed_effects(data, fixed, labels):
    design = design_of(f"y ~ {fixed} + (1 | g)", data)
    assert design.labels == labels
    assert design.X.shape == (120, len(labels))
    assert (design.intercept == 0) if labels[0] == "Intercept" else (design.intercept is None)


@pytest.mark.parametrize("right", ["x", "dose"])
def test_what_is_nested_in_categories_is_their_interaction(data, right):
    nested, written = (
        hb.Model(f"y ~ {fixed} + (1 | g)", data) for fixed in (f"recipe/{right}", f"recipe + recipe:{right}")
    )
    np.testing.assert_array_equal(nested.design.X, written.design.X)
    assert nested.design.labels == written.design.labels
    assert nested.priors == written.priors
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", hb.SingularFit)
        one, other = nested.reml(), written.reml()
    pd.testing.assert_frame_equal(one.tidy(), other.tidy())
    pd.testing.assert_frame_equal(one.anova(), other.anova())


def test_transformations_are_evaluated(data):
    x = data["x"]
    design = design_of("np.log(y) ~ np.log(x) + I(x**2) + scale(x) + center(x**3) + doubled(x**4) + (1 | g)", data)
    columns = [np.ones(120), np.log(x), x**2, (x - x.mean()) / x.std(ddof=0), x**3 - (x**3).mean(), 2.0 * x**4]
    np.testing.assert_allclose(design.X, np.column_stack(columns), rtol=AGREE, atol=1e-9)
    np.testing.assert_allclose(design.y, np.log(data["y"]), rtol=AGREE)
    assert design.response == "np.log(y)"


def test_a_function_and_a_value_of_the_caller(data):
    power = 3

    def raised(values, k):
        return values**k

    assert raised(2, power) == 8
    design = hb.Model("y ~ raised(x, power) + (1 | g)", data).design
    np.testing.assert_allclose(design.X[:, 1], data["x"] ** 3, rtol=AGREE)
    # a column of the data comes before a variable of the caller
    x = np.zeros(120)
    assert not x.any()
    np.testing.assert_array_equal(hb.Model("y ~ x + (1 | g)", data).design.X[:, 1], data["x"])


def test_no_fixed_effect_at_all(data):
    design = design_of("y ~ 0 + (1 | g)", data)
    assert design.X.shape == (120, 0)
    assert design.labels == []


def test_names_in_backticks(data):
    frame = data.rename(columns={"x": "my x", "g": "the group", "y": "the response"})
    model = hb.Model("`the response` ~ `my x` + (`my x` | `the group`)", frame)
    assert model.design.labels == ["Intercept", "my x"]
    assert [factor.name for factor in model.design.factors] == ["the group"]
    plain = hb.Model("y ~ x + (x | g)", data)
    np.testing.assert_array_equal(model.design.X, plain.design.X)
    assert model.priors == plain.priors


# --- grouping factors -----------------------------------------------------------------------------


def test_levels_are_sorted_and_coded(data):
    factor = factor_of("y ~ x + (1 | g)", data)
    assert factor.levels.tolist() == list("abcdef")
    np.testing.assert_array_equal(factor.levels[factor.codes], data["g"])


def test_an_interaction_of_factors_names_its_levels(data):
    factor = factor_of("y ~ x + (1 | a:b)", data)
    assert factor.name == "a:b"
    assert factor.levels.tolist() == ["A:1", "A:2", "A:3", "B:1", "B:2", "B:3"]
    np.testing.assert_array_equal(factor.levels[factor.codes], data["a"] + ":" + data["b"].astype(str))
    assert factor_of("y ~ x + (1 | b:a)", data).levels[0] == "1:A"


def test_only_combinations_that_occur_are_levels(data):
    frame = data[~((data["a"] == "A") & (data["b"] == 2))]
    factor = factor_of("y ~ x + (1 | a:b)", frame)
    assert factor.levels.tolist() == ["A:1", "A:3", "B:1", "B:2", "B:3"]
    assert factor.codes.max() == 4


def test_integer_levels_are_sorted_as_numbers(data):
    frame = data.assign(number=data["number"] * 7)
    factor = factor_of("y ~ x + (1 | number)", frame)
    assert factor.levels.tolist() == [str(7 * k) for k in range(1, 9)]
    np.testing.assert_array_equal(factor.levels[factor.codes], frame["number"].astype(str))


def test_boolean_levels(data):
    assert factor_of("y ~ x + (1 | flag)", data).levels.tolist() == ["False", "True"]


def test_a_categorical_factor_keeps_only_levels_with_rows(data):
    factor = factor_of("y ~ x + (1 | place)", data)
    assert sorted(factor.levels) == list("abcdef")
    np.testing.assert_array_equal(factor.levels[factor.codes], data["g"])


def test_categories_without_rows_make_no_columns(data):
    assert design_of("y ~ kind + (kind | g)", data).labels == ["Intercept", "kind[r2]", "kind[r3]"]
    design = design_of("y ~ grade + (grade | g)", data)
    assert design.labels == design.blocks[0].labels == ["Intercept", "grade[mid]", "grade[high]"]


def test_categories_that_lose_all_rows_to_missing_values_make_no_columns(data):
    frame = data.assign(x=data["x"].where(data["dose"] != "mid"))
    with pytest.warns(hb.RowsDropped):
        design = design_of("y ~ x + dose + (1 | g)", frame)
    assert design.labels == ["Intercept", "x", "dose[high]"]


# --- the names are Bambi's ------------------------------------------------------------------------

SAME_IN_BAMBI = [
    "y ~ 1 + (1 | g)",
    "y ~ x + (x | g)",
    "y ~ 0 + x + (0 + x | g)",
    "y ~ x + (x || g)",
    "y ~ x * z + (x:z | g)",
    "y ~ x + z + (x + z | g)",
    "y ~ recipe * x + (recipe | g)",
    "y ~ 0 + recipe + (0 + recipe | g)",
    "y ~ recipe:x + (0 + recipe:x | g)",
    "y ~ a * dose + (dose | g)",
    "y ~ flag + (flag | g)",
    "y ~ np.log(x) + I(x ** 2) + (scale(x) | g)",
    "y ~ poly(x, 2) + (bs(x, df=4) | g)",
    "y ~ doubled(x) + (doubled(x) | g)",
    "y ~ C(b) + (1 | a:b)",
    "y ~ x + (x | b:a)",
    "y ~ x + (x | number)",
    "y ~ x + (x | place)",
    "y ~ kind + (kind | g)",
    "y ~ x + (1 | g) + (1 | recipe)",
    "y ~ x + (x | recipe) + (1 | number) + (z | g)",
    "y ~ x + (1 | a/b)",
    "y ~ x + (x | recipe/a/b)",
    "y ~ x + (x | g) + (1 | place:b)",
]


def bambi_of(formula, data, **options):
    with warnings.catch_warnings():
        # Bambi 0.21 selects text columns in a way that pandas 3 announces to change
        warnings.simplefilter("ignore", pd.errors.Pandas4Warning)
        return bmb.Model(formula.replace("||", "|"), data, **options)


def matrix(values):
    values = np.asarray(values, dtype=float)
    return values[:, None] if values.ndim == 1 else values


@pytest.mark.parametrize("formula", SAME_IN_BAMBI)
def test_terms_columns_and_levels_are_those_of_bambi(data, formula):
    design = design_of(formula, data)
    mu = bambi_of(formula, data).parameters["mu"]
    common = ["Intercept"] if mu.intercept_term is not None else []
    assert [term.name for term in design.terms] == common + list(mu.common_terms)
    at = 0
    for term in design.terms:
        columns = design.X[:, at : at + len(term.labels)]
        at += len(term.labels)
        if term.name == "Intercept":
            np.testing.assert_array_equal(columns, 1.0)
            continue
        theirs = mu.common_terms[term.name]
        np.testing.assert_allclose(columns, matrix(theirs.data), rtol=AGREE)
        coords = [tuple(map(str, values)) for values in theirs.coords.values()]
        assert coords == ([] if term.levels is None else [term.levels])
    names = []
    for block in design.blocks:
        at = 0
        for term in block.terms:
            columns = block.Z[:, at : at + len(term.labels)]
            at += len(term.labels)
            names.append(f"{term.name}|{block.factor.name}")
            theirs = mu.group_specific_terms[names[-1]]
            np.testing.assert_allclose(columns, matrix(theirs.predictor), rtol=AGREE)
            assert theirs.groups == block.factor.levels.tolist()
            np.testing.assert_array_equal(theirs.group_index, block.factor.codes)
            coords = {key: tuple(map(str, values)) for key, values in theirs.coords.items()}
            expected = {f"{block.factor.name}__factor_dim": tuple(block.factor.levels)}
            if term.levels is not None:
                expected[f"{term.name}__expr_dim"] = term.levels
            assert coords == expected
    assert sorted(names) == sorted(mu.group_specific_terms)


# --- automatic priors -----------------------------------------------------------------------------


def flat(prior):
    """A Bambi prior as (name, {parameter: array})."""
    return prior.name, {key: np.atleast_1d(value).astype(float) for key, value in prior.args.items()}


def assert_prior(ours, theirs):
    """One `Prior` a column against one Bambi prior a term."""
    name, args = flat(theirs)
    assert {prior.name for prior in ours} == {name}
    for key, values in args.items():
        np.testing.assert_allclose([prior.args[key] for prior in ours], values, rtol=AGREE)
    assert all(set(prior.args) == set(args) for prior in ours)


def assert_fixed_priors(model, theirs):
    mu = theirs.parameters["mu"]
    at = 0
    for term in model.design.terms:
        ours = model.priors.coefficients[at : at + len(term.labels)]
        at += len(term.labels)
        expected = mu.intercept_term if term.name == "Intercept" else mu.common_terms[term.name]
        assert_prior(ours, expected.prior)
    assert_prior([model.priors.sigma], theirs.parameters["sigma"].prior)


def sds_of(model):
    """Priors of the standard deviations by term."""
    found, at = {}, 0
    for block in model.design.blocks:
        for term in block.terms:
            found[f"{term.name}|{block.factor.name}"] = model.priors.sds[at : at + len(term.labels)]
            at += len(term.labels)
    return found


@pytest.mark.parametrize("centered", [True, False])
@pytest.mark.parametrize("formula", SAME_IN_BAMBI)
def test_automatic_priors_are_those_of_bambi(data, formula, centered):
    model = hb.Model(formula, data, center_predictors=centered)
    theirs = bambi_of(formula, data, center_predictors=centered)
    assert_fixed_priors(model, theirs)
    assert model.priors.centered == (centered and model.design.intercept is not None)
    for name, ours in sds_of(model).items():
        if not name.startswith("1|"):
            assert_prior(ours, theirs.parameters["mu"].group_specific_terms[name].prior.args["sigma"])


@pytest.mark.parametrize("formula", ["y ~ x + (x | g)", "y ~ x + z + (x + z || g)", "y ~ recipe + (recipe | g)"])
def test_with_all_slopes_the_group_intercept_has_bambis_prior(data, formula):
    ours = sds_of(hb.Model(formula, data))["1|g"]
    theirs = bambi_of(formula, data).parameters["mu"].group_specific_terms["1|g"]
    assert_prior(ours, theirs.prior.args["sigma"])


@pytest.mark.parametrize("formula", ["y ~ x + (1 | g)", "y ~ x + z + recipe + (1 | g)", "y ~ 0 + x + (1 | g)"])
def test_without_slopes_the_group_intercept_does_not_know_the_predictors(data, formula):
    """Bambi's own scale grows with their means; ours is 2.5 sd(y)."""
    (prior,) = sds_of(hb.Model(formula, data))["1|g"]
    assert prior.name == "HalfNormal"
    assert prior.args["sigma"] == pytest.approx(2.5 * data["y"].std(ddof=0), rel=AGREE)


def test_a_slope_on_one_predictor_counts_that_one(data):
    """(x | g) beside a fixed z: the scale is that of the model without z."""
    one = sds_of(hb.Model("y ~ x + z + (x | g)", data))["1|g"]
    other = sds_of(hb.Model("y ~ x + (x | g)", data))["1|g"]
    assert one == other


def test_a_year_does_not_make_the_prior_absurd(data):
    frame = data.assign(year=2000 + data["number"])
    (prior,) = sds_of(hb.Model("y ~ year + (1 | g)", frame))["1|g"]
    theirs = bambi_of("y ~ year + (1 | g)", frame).parameters["mu"].group_specific_terms["1|g"].prior
    assert prior.args["sigma"] < 10 * data["y"].std()
    assert float(theirs.args["sigma"].args["sigma"]) > 100 * prior.args["sigma"]


# --- priors of the user ---------------------------------------------------------------------------


def half(sigma):
    return bmb.Prior("Normal", mu=0, sigma=bmb.Prior("HalfNormal", sigma=sigma))


NORMAL = bmb.Prior("Normal", mu=1, sigma=3)


def test_priors_of_the_user_are_used(data):
    model = hb.Model(
        "y ~ x + recipe + (x | g)",
        data,
        priors={
            "Intercept": bmb.Prior("StudentT", nu=4, mu=10, sigma=2),
            "x": NORMAL,
            "recipe": bmb.Prior("Normal", mu=[1, 2], sigma=5),
            "1|g": half(7),
            "x|g": bmb.Prior("Normal", mu=0, sigma=bmb.Prior("Gamma", alpha=2, beta=0.5)),
            "sigma": bmb.Prior("Exponential", lam=0.1),
            "g_corr": bmb.Prior("LKJ", eta=2),
        },
    )
    assert model.priors.coefficients == (
        Prior("StudentT", {"nu": 4.0, "mu": 10.0, "sigma": 2.0}),
        Prior("Normal", {"mu": 1.0, "sigma": 3.0}),
        Prior("Normal", {"mu": 1.0, "sigma": 5.0}),
        Prior("Normal", {"mu": 2.0, "sigma": 5.0}),
    )
    assert model.priors.sds == (Prior("HalfNormal", {"sigma": 7.0}), Prior("Gamma", {"alpha": 2.0, "beta": 0.5}))
    assert model.priors.sigma == Prior("Exponential", {"lam": 0.1})
    assert model.priors.eta == (2.0,)
    assert model.priors.kept.tolist() == [True, False, False, False]


def test_common_and_group_specific_stand_for_many(data):
    model = hb.Model(
        "y ~ x + z + (x | g)", data, priors={"common": NORMAL, "z": bmb.Prior("Flat"), "group_specific": half(2)}
    )
    theirs = bambi_of("y ~ x + z + (x | g)", data, priors={"common": NORMAL, "z": bmb.Prior("Flat")})
    assert model.priors.coefficients[1:] == (Prior("Normal", {"mu": 1.0, "sigma": 3.0}), Prior("Flat", {}))
    assert_fixed_priors(model, theirs)
    assert model.priors.sds == (Prior("HalfNormal", {"sigma": 2.0}),) * 2


def test_one_term_beats_group_specific(data):
    model = hb.Model("y ~ x + (x | g)", data, priors={"group_specific": half(2), "x|g": half(9)})
    assert [prior.args["sigma"] for prior in model.priors.sds] == [2.0, 9.0]


def test_what_is_not_given_stays_automatic(data):
    given = hb.Model("y ~ x + z + (x | g)", data, priors={"x": NORMAL}).priors
    automatic = hb.Model("y ~ x + z + (x | g)", data).priors
    assert given.coefficients[0].args["mu"] == automatic.coefficients[0].args["mu"]
    assert given.coefficients[2] == automatic.coefficients[2]
    assert given.sigma == automatic.sigma
    assert given.eta == automatic.eta == (1.0,)
    theirs = bambi_of("y ~ x + z + (x | g)", data, priors={"x": NORMAL})
    assert_fixed_priors(hb.Model("y ~ x + z + (x | g)", data, priors={"x": NORMAL}), theirs)


def test_every_correlated_block_has_its_own_lkj(data):
    model = hb.Model(
        "y ~ x + (x | g) + (0 + z + x:z | g)",
        data,
        priors={"g_corr": bmb.Prior("LKJ", eta=2), "g_corr2": bmb.Prior("LKJCorr", eta=5)},
    )
    assert model.priors.eta == (2.0, 5.0)


def test_priors_do_not_touch_reml(data):
    one = hb.Model("y ~ x + (1 | number)", data, priors={"x": bmb.Prior("Normal", mu=100, sigma=0.001)})
    other = hb.Model("y ~ x + (1 | number)", data)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", hb.SingularFit)
        assert one.reml().criterion == other.reml().criterion


REFUSED_PRIORS = {
    "an unknown term": ({"X": NORMAL}, r"^There is a prior for 'X', but .*Did you mean 'x'\?$"),
    "nothing like it": ({"nope": NORMAL}, r"'nope', but .*There are: Intercept, x, common, 1\|g, x\|g, group_spec"),
    "no correlation": ({"g_corr2": bmb.Prior("LKJ", eta=1)}, r"'g_corr2', but the model has no such term"),
    "group prior not Normal": (
        {"x|g": bmb.Prior("StudentT", nu=3, mu=0, sigma=bmb.Prior("HalfNormal", sigma=1))},
        r"^The prior of 'x\|g' must be Normal with a prior for its sigma",
    ),
    "group prior without hyperprior": ({"1|g": bmb.Prior("Normal", mu=0, sigma=2)}, r"^The prior of '1\|g' must be"),
    "all group priors": ({"group_specific": bmb.Prior("Normal", mu=0, sigma=2)}, r"^The prior of '1\|g' must be Nor"),
    "a mean of effects": (
        {"x|g": bmb.Prior("Normal", mu=1, sigma=bmb.Prior("HalfNormal", sigma=1))},
        r"^The prior of 'x\|g' has a mean other than 0",
    ),
    "a prior of the mean": (
        {"x|g": bmb.Prior("Normal", mu=bmb.Prior("Normal", mu=0, sigma=1), sigma=bmb.Prior("HalfNormal", sigma=1))},
        r"^The prior of 'x\|g' has a mean other than 0",
    ),
    "a correlation that is not LKJ": ({"g_corr": NORMAL}, r"^The prior of 'g_corr' must be bambi.Prior\(\"LKJ\""),
    "LKJ without eta": ({"g_corr": bmb.Prior("LKJ", n=2)}, r"^The prior of 'g_corr' must be"),
    "a negative eta": ({"g_corr": bmb.Prior("LKJ", eta=-1)}, r"^The eta of 'g_corr' must be a positive number"),
    "a text as eta": ({"g_corr": bmb.Prior("LKJ", eta="two")}, r"^The eta of 'g_corr' must be a positive number"),
    "a number": ({"x": 3}, r"^The prior of 'x' must be a bambi.Prior, not int"),
    "a text": ({"x": "narrow"}, r"^The prior of 'x' must be a bambi.Prior, not str"),
    "a function": ({"x": bmb.Prior("Mine", dist=lambda name: None)}, r"^The prior of 'x' is a custom function"),
    "no such distribution": ({"x": bmb.Prior("Norml", mu=0)}, r"^The prior of 'x' is 'Norml', which is not"),
    "a discrete distribution": ({"x": bmb.Prior("Poisson", mu=1)}, r"^The prior of 'x' is 'Poisson', which is not"),
    "a distribution of vectors": ({"x": bmb.Prior("LKJCorr", n=2, eta=1)}, r"'x', .* is a distribution of vectors"),
    "a parameter that PyMC would ignore": (
        {"x": bmb.Prior("Normal", mu=0, sd=1)},
        r"^The prior of 'x', .* has a parameter 'sd' that PyMC's Normal does not take. There are: mu, sigma, tau",
    ),
    "too few parameters": ({"x": bmb.Prior("Gamma", alpha=2)}, r"^PyMC cannot make .*, the prior of 'x'"),
    "too many numbers": ({"x": bmb.Prior("Normal", mu=[0, 1], sigma=1)}, r"^The parameter 'mu' of the prior of 'x'"),
    "a negative scale": (
        {"x": bmb.Prior("Normal", mu=0, sigma=-1)},
        r"^The prior of 'x', .* has an impossible sigma",
    ),
    "not a number": ({"x": bmb.Prior("Normal", mu=np.nan, sigma=1)}, r"^The prior of 'x', .* has an impossible mu"),
    "a prior in a prior": (
        {"x": bmb.Prior("Normal", mu=0, sigma=bmb.Prior("HalfNormal", sigma=1))},
        r"^The prior of 'x' has a prior inside",
    ),
    "a negative sigma": ({"sigma": NORMAL}, r"^The prior of 'sigma', .* allows negative numbers"),
    "a negative sd": (
        {"x|g": bmb.Prior("Normal", mu=0, sigma=bmb.Prior("Normal", mu=0, sigma=1))},
        r"^The prior of 'x\|g_sigma', .* allows negative numbers",
    ),
}


@pytest.mark.parametrize(("priors", "message"), REFUSED_PRIORS.values(), ids=REFUSED_PRIORS)
def test_priors_that_cannot_be_honoured_are_refused(data, priors, message):
    with pytest.raises(hb.PriorError, match=message):
        hb.Model("y ~ x + (x | g)", data, priors=priors)


@pytest.mark.parametrize(
    "prior",
    [
        bmb.Prior("Uniform", lower=0, upper=100),
        bmb.Prior("TruncatedNormal", mu=1, sigma=1, lower=0),
        bmb.Prior("Weibull", alpha=2, beta=1),
        bmb.Prior("Gamma", mu=2, sigma=1),
        bmb.Prior("Beta", alpha=2, beta=2),
    ],
    ids=str,
)
def test_positive_distributions_serve_as_priors_of_scales(data, prior):
    model = hb.Model("y ~ x + (1 | g)", data, priors={"sigma": prior, "1|g": bmb.Prior("Normal", mu=0, sigma=prior)})
    assert model.priors.sigma.name == model.priors.sds[0].name == prior.name


# --- missing values -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def incomplete(data):
    frame = data.copy()
    frame.loc[[3, 5], "x"] = np.nan
    frame.loc[[5, 9], "g"] = None
    frame.loc[[11], "z"] = np.nan
    return frame


def test_incomplete_rows_are_dropped_counted_and_warned_of(data, incomplete):
    with pytest.warns(hb.RowsDropped, match=r"^3 of 120 rows have missing values in 'x', 'g' and were left out\.$"):
        model = hb.Model("y ~ x + (1 | g)", incomplete)
    assert (model.design.n, model.design.n_dropped, model.design.dropped_columns) == (117, 3, ("x", "g"))
    complete = hb.Model("y ~ x + (1 | g)", data.drop(index=[3, 5, 9]))
    np.testing.assert_array_equal(model.design.X, complete.design.X)
    np.testing.assert_array_equal(model.design.y, complete.design.y)
    np.testing.assert_array_equal(model.design.factors[0].codes, complete.design.factors[0].codes)
    assert "3 incomplete rows left out" in repr(model)


def test_columns_that_are_not_used_may_have_gaps(incomplete):
    assert hb.Model("y ~ dose + (1 | number)", incomplete).design.n_dropped == 0


def test_incomplete_rows_can_be_refused(incomplete):
    with pytest.raises(hb.DataError, match=r"^3 of 120 rows have missing values in 'x', 'g'; fill them or pass"):
        hb.Model("y ~ x + (1 | g)", incomplete, dropna=False)


def test_a_missing_response_is_a_missing_row(data):
    with pytest.warns(hb.RowsDropped, match="1 of 120 rows have missing values in 'y'"):
        assert design_of("y ~ x + (1 | g)", data.assign(y=data["y"].where(data.index != 7))).n == 119


@pytest.mark.parametrize("dtype", ["Int64", "Float64", "boolean"])
def test_nullable_columns(data, dtype):
    whole = (data["number"] % 2).astype(dtype)
    np.testing.assert_array_equal(design_of("y ~ w + (1 | g)", data.assign(w=whole)).X[:, 1], data["number"] % 2)
    with pytest.warns(hb.RowsDropped, match="1 of 120 rows have missing values in 'w'"):
        assert design_of("y ~ w + (1 | g)", data.assign(w=whole.mask(data.index == 0))).n == 119


# --- refusals -------------------------------------------------------------------------------------

REFUSED_FORMULAS = {
    "no text": ("", r"must be a text"),
    "not a text": (3, r"must be a text"),
    "no response": ("x + (1 | g)", r"'x \+ \(1 \| g\)' has no response"),
    "nothing before the tilde": ("~ x + (1 | g)", r"does not parse"),
    "nothing after the tilde": ("y ~ ", r"does not parse"),
    "a loose plus": ("y ~ x + (1 | g) +", r"does not parse"),
    "an open parenthesis": ("y ~ x + (1 | g", r"does not parse: a parenthesis is not closed"),
    "a parenthesis too many": ("y ~ x + (1 | g))", r"does not parse: a parenthesis is closed but never opened"),
    "two tildes": ("y ~ x ~ z + (1 | g)", r"does not parse"),
    "no operator": ("y ~ x z + (1 | g)", r"does not parse: it cannot be read from 'z' on"),
    "no operator at the end": ("y ~ x + (1 | g) z", r"does not parse: it cannot be read from 'z' on"),
    "no operator inside": ("y ~ x + (x z | g)", r"does not parse"),
    "a comma": ("y ~ x, z + (1 | g)", r"does not parse: it cannot be read from ',' on"),
    "an unknown character": ("y ~ x + (1 | g) ; z", r"does not parse"),
    "no random effect": ("y ~ x + z", r"'y ~ x \+ z' has no random effect"),
    "a bar without parentheses": ("y ~ x | g", r"in parentheses: \(x \| group\)"),
    "a bar after parentheses": ("y ~ (x + z) | g", r"in parentheses"),
    "two bars in one": ("y ~ x + (x | g | a)", r"one random effect has two bars"),
    "bars apart": ("y ~ x + (x | | g)", r"one random effect has two bars"),
    "no group": ("y ~ x + (1 | )", r"does not parse"),
    "no effect": ("y ~ x + ( | g)", r"does not parse"),
    "nothing varies": ("y ~ x + (0 | g)", r"does not parse"),
    "a random effect taken away": ("y ~ x - (1 | g)", r"random effects can only be added"),
    "a random effect multiplied": ("y ~ x * (1 | g)", r"does not parse"),
    "an effect twice": ("y ~ x + (x | g) + (1 | g)", r"random effect 1\|g appears twice"),
    "a slope twice": ("y ~ x + (x | g) + (0 + x | g)", r"random effect x\|g appears twice"),
    "categories beside the intercept": ("y ~ x + (1 | g) + (0 + recipe | g)", r"\(recipe \| g\)"),
    "a computed group": ("y ~ x + (1 | C(b))", r"grouping factor 'C\(b\)' .* is computed in the formula"),
    "an unknown function": ("y ~ nofunction(x) + (1 | g)", r"cannot be evaluated on these data: 'nofunction'"),
    "two responses": ("y + z ~ x + (1 | g)", r"does not parse"),
}


def one_sentence(error):
    """The message is one line, and ends like a sentence."""
    text = str(error.value)
    return "\n" not in text and len(text.split()) > 4 and text.endswith((".", "?"))


@pytest.mark.parametrize(("formula", "message"), REFUSED_FORMULAS.values(), ids=REFUSED_FORMULAS)
def test_formulas_that_are_refused(data, formula, message):
    with pytest.raises(hb.FormulaError, match=message) as error:
        hb.Model(formula, data)
    assert one_sentence(error)


REFUSED_DATA = {
    "unknown column": ("y ~ X + (1 | g)", {}, r"^The formula uses 'X', which is not a column .* Did you mean 'x'\?$"),
    "unknown group": ("y ~ x + (1 | school)", {}, r"^The formula uses 'school'"),
    "unknown response": ("score ~ x + (1 | g)", {}, r"^The formula uses 'score'"),
    "unknown argument": ("y ~ np.log(w) + (1 | g)", {}, r"^The formula uses 'w'"),
    "one level": ("y ~ x + (1 | g)", {"g": "only"}, r"^The grouping factor 'g' has one level, 'only'"),
    "one level of two": ("y ~ x + (1 | g:a)", {"g": "only", "a": "A"}, r"^The grouping factor 'g:a' has one level"),
    "a level a row": (
        "y ~ x + (1 | g)",
        {"g": np.arange(120)},
        r"^The grouping factor 'g' has as many levels as .*120",
    ),
    "constant response": ("y ~ x + (1 | g)", {"y": 4.0}, r"^The response 'y' has the same value in every row"),
    "text response": ("recipe ~ x + (1 | g)", {}, r"^The response 'recipe' is text"),
    "categorical response": ("dose ~ x + (1 | g)", {}, r"^The response 'dose' is text"),
    "infinite value": (
        "y ~ w + (1 | g)",
        {"w": [np.inf, *range(119)]},
        r"^Column 'w' has an infinite value in row 0",
    ),
    "infinite response": ("w ~ x + (1 | g)", {"w": [0, -np.inf, *range(118)]}, r"^Column 'w' .* infinite .* row 1"),
    "log of zero": ("y ~ np.log(w) + (1 | g)", {"w": np.arange(120)}, r"^'np.log\(w\)' is not finite in row 0"),
    "log of a negative slope": ("y ~ (np.log(z) | g)", {}, r"^'np.log\(z\)' is not finite in row"),
    "log of a negative response": ("np.log(z) ~ x + (1 | g)", {}, r"^'np.log\(z\)' is not finite in row"),
    "nothing but gaps": ("y ~ w + (1 | g)", {"w": np.nan}, r"^Column 'w' has no value at all"),
    "a group of gaps": ("y ~ x + (1 | w)", {"w": None}, r"^Column 'w' has no value at all"),
    "dependent fixed effects": (
        "y ~ x + w + (1 | g)",
        {"w": "2 * x + 1"},
        r"^Column 'w' of the fixed effects is .* 'x'",
    ),
    "constant predictor": ("y ~ w + (1 | g)", {"w": 3.0}, r"^Column 'w' of the fixed effects .* of 'Intercept'"),
    "predictor of zeros": ("y ~ w + (1 | g)", {"w": 0.0}, r"^Column 'w' of the fixed effects is zero in every row"),
    "the same factor twice": ("y ~ recipe + w + (1 | g)", {"w": "recipe"}, r"^Column 'w\[r2\]' .* of 'recipe\[r2\]'"),
    "dependent random effects": (
        "y ~ (x + w | g)",
        {"w": "2 * x + 1"},
        r"^Column 'w' of the random effects of 'g' is",
    ),
    "one category": ("y ~ w + (1 | g)", {"w": "same"}, r"^The predictor 'w' has only one category"),
    "one category, no intercept": ("y ~ 0 + w + (1 | g)", {"w": "same"}, r"^The predictor 'w' has only one category"),
    "one category of a slope": ("y ~ (w | g)", {"w": "same"}, r"^The predictor 'w' has only one category"),
    "nothing left to explain": ("w ~ x + (1 | g)", {"w": "3 - x"}, r"^The fixed effects reproduce the response 'w'"),
    "the response explains itself": ("y ~ y + (1 | g)", {}, r"^The fixed effects reproduce the response 'y'"),
}


@pytest.mark.parametrize(("formula", "columns", "message"), REFUSED_DATA.values(), ids=REFUSED_DATA)
def test_data_that_are_refused(data, formula, columns, message):
    frame = data.copy()
    for name, value in columns.items():
        frame[name] = frame.eval(value) if isinstance(value, str) and value not in ("only", "same", "A") else value
    with pytest.raises(hb.DataError, match=message) as error:
        hb.Model(formula, frame)
    assert one_sentence(error)


def test_more_coefficients_than_rows(data):
    with pytest.raises(hb.DataError, match="8 fixed-effect coefficients but only 8 rows"):
        hb.Model("y ~ x * z * flag + (1 | a)", data.groupby(["a", "flag"]).head(2))


def test_no_row_is_complete(data):
    gaps = data.assign(x=data["x"].where(data.index % 2 == 0), z=data["z"].where(data.index % 2 == 1))
    with pytest.raises(hb.DataError, match=r"^No row is complete: every one has a missing value in 'x', 'z'"):
        hb.Model("y ~ x + z + (1 | g)", gaps)


def test_an_empty_data_frame(data):
    with pytest.raises(hb.DataError, match="The data have no rows"):
        hb.Model("y ~ x + (1 | g)", data.iloc[:0])


def test_two_columns_of_one_name(data):
    with pytest.raises(hb.DataError, match="2 columns named 'x'"):
        hb.Model("y ~ x + (1 | g)", pd.concat([data, data[["x"]]], axis=1))


@pytest.mark.parametrize("wrong", [{"y": [1.0]}, None, np.zeros((3, 3)), pd.Series([1.0]), "data.csv"], ids=type)
def test_not_a_data_frame(wrong):
    with pytest.raises(hb.DataError, match=f"must be a pandas DataFrame, not {type(wrong).__name__}"):
        hb.Model("y ~ x + (1 | g)", wrong)


@pytest.mark.parametrize("family", ["Gaussian", "gausian"])
def test_a_family_that_does_not_exist(data, family):
    with pytest.raises(hb.FormulaError, match=f"There is no family '{family}'. Did you mean 'gaussian'"):
        hb.Model("y ~ x + (1 | g)", data, family=family)


def test_every_refusal_has_one_base_class():
    for kind in (hb.FormulaError, hb.DataError, hb.PriorError):
        assert issubclass(kind, hb.HierbayesError)
        assert issubclass(kind, ValueError)


def test_the_data_of_the_user_are_left_alone(data):
    frame = data.copy()
    hb.Model("y ~ grade + scale(x) + (dose | place)", frame)
    pd.testing.assert_frame_equal(frame, data)


# --- prediction through Bambi ---------------------------------------------------------------------


def short_fit(formula, frame, **options):
    model = hb.Model(formula, frame, **options)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", hb.ConvergenceWarning)  # a few draws are enough to compare two sums
        return model, model.fit(draws=20, tune=60, chains=2, cores=1, seed=1, progress=False)


def by_hand(design, posterior):
    """X β + Z b + offset for every draw and row."""
    mu, at = 0.0, 0
    for term in design.terms:
        beta = posterior[term.name].to_numpy()
        beta = beta[..., None] if term.levels is None else beta
        mu = mu + beta @ design.X[:, at : at + len(term.labels)].T
        at += len(term.labels)
    for block in design.blocks:
        at = 0
        for term in block.terms:
            b = posterior[f"{term.name}|{block.factor.name}"].to_numpy()
            b = b[:, :, None] if term.levels is None else b
            columns = block.Z[:, at : at + len(term.labels)]
            mu = mu + np.einsum("cdkn,nk->cdn", b[..., block.factor.codes], columns)
            at += len(term.labels)
    return mu if design.offset is None else mu + design.offset


@pytest.mark.filterwarnings(RECODING)
@pytest.mark.parametrize(
    "formula",
    [
        "y ~ x + (x | g)",
        "y ~ x + (x || a:b)",
        "y ~ 0 + x + (0 + x | number)",
        "y ~ recipe * x + (recipe | g)",
        "y ~ dose + (0 + dose | place)",
        "y ~ poly(x, 2) + (1 | place)",
        "y ~ scale(x) + (bs(x, df=4) || g)",
        "y ~ doubled(x) + (flag | flag)",
        "y ~ kind + (1 | grade)",
        "y ~ x + (x | g) + (1 | recipe)",
        "y ~ x + (x | a/b)",
        "y ~ x + offset(z) + (1 | g)",
    ],
)
def test_bambi_predicts_from_the_posterior(data, formula):
    model, fit = short_fit(formula, data)
    expected = by_hand(model.design, fit.posterior)
    inside = model.bambi.predict(fit.idata, inplace=False)["posterior"]["mu"].to_numpy()
    np.testing.assert_allclose(inside, expected, rtol=PREDICTION)
    rows = [17, 3, 99]
    outside = model.bambi.predict(fit.idata, data=data.iloc[rows], inplace=False)["posterior"]["mu"].to_numpy()
    np.testing.assert_allclose(outside, expected[..., rows], rtol=PREDICTION)


@pytest.mark.xfail(
    reason="Bambi has a level for every combination of a and b, ours only those that occur", strict=True
)
def test_bambi_predicts_with_combinations_that_do_not_occur(data):
    """Usual for nested factors: classes 1, 2, … of school A are not all there in school B."""
    frame = data[~((data["a"] == "A") & (data["b"] == 2))]
    model, fit = short_fit("y ~ x + (1 | a/b)", frame)
    found = model.bambi.predict(fit.idata, inplace=False)["posterior"]["mu"].to_numpy()
    np.testing.assert_allclose(found, by_hand(model.design, fit.posterior), rtol=PREDICTION)


def test_bambi_predicts_for_new_values(sleepstudy, fit_sleepstudy):
    model = hb.Model("Reaction ~ Days + (Days | Subject)", sleepstudy)
    new = pd.DataFrame({"Days": [0.5, 20.0], "Subject": ["309", "371"]})
    found = model.bambi.predict(fit_sleepstudy.idata, data=new, inplace=False)["posterior"]["mu"].to_numpy()
    posterior = fit_sleepstudy.posterior
    for k, (day, subject) in enumerate(new.itertuples(index=False)):
        b = posterior.sel(Subject__factor_dim=subject)
        expected = b["Intercept"] + b["1|Subject"] + (b["Days"] + b["Days|Subject"]) * day
        np.testing.assert_allclose(found[..., k], expected.to_numpy(), rtol=PREDICTION)


def test_the_model_behind_has_the_resolved_priors(data):
    model = hb.Model("y ~ x + recipe + (x | g)", data, priors={"x": NORMAL, "x|g": half(9)})
    mu = model.bambi.parameters["mu"]
    assert_fixed_priors(model, model.bambi)
    for name, ours in sds_of(model).items():
        assert_prior(ours, mu.group_specific_terms[name].prior.args["sigma"])
    assert model.bambi.parameters["sigma"].prior.name == "HalfStudentT"
