"""Comparison of models: ArviZ's table, and everything that is refused or warned of."""

from __future__ import annotations

import copy
import re

import arviz as az
import numpy as np
import pytest

import hierbayes as hb
from hierbayes.cross_validation.elpd_kfold import KFoldELPD
from hierbayes.errors import ComparisonWarning, DataError, HierbayesError

FORMULAS = {"intercepts": "Reaction ~ Days + (1 | Subject)", "slopes": "Reaction ~ Days + (Days | Subject)"}


@pytest.fixture(scope="module")
def fits(sleepstudy, fit_sleepstudy):
    model = hb.Model(FORMULAS["intercepts"], sleepstudy)
    return {"intercepts": model.fit(draws=1000, seed=1, progress=False), "slopes": fit_sleepstudy}


@pytest.fixture(scope="module")
def elpds(fits):
    return {name: fit.loo() for name, fit in fits.items()}


def other_fit(formula, data):
    return hb.Model(formula, data).fit(draws=200, tune=500, seed=1, progress=False)


few = pytest.mark.filterwarnings("ignore::hierbayes.errors.ConvergenceWarning")
"""What is refused does not need many draws."""


def test_table_is_arvizs(fits, elpds):
    table = hb.compare(fits)
    expected = az.compare(elpds)
    assert table.index.tolist() == ["slopes", "intercepts"]
    assert table.loc["slopes", "weight"] > 0.8
    numbers = ["rank", "elpd", "se", "elpd_diff", "dse", "p", "weight"]
    np.testing.assert_array_equal(table[numbers].astype(float), expected[numbers].astype(float))
    np.testing.assert_array_equal(table[numbers], hb.compare(elpds)[numbers])


def test_difference_and_its_error(elpds):
    table = hb.compare(elpds, round_to="none")
    difference = (elpds["intercepts"].elpd_i - elpds["slopes"].elpd_i).to_numpy()
    assert table.loc["intercepts", "elpd_diff"] == pytest.approx(difference.sum())
    assert table.loc["intercepts", "dse"] == pytest.approx(np.sqrt(180) * difference.std())


def test_the_table_knows_what_it_rounds(fits, elpds):
    rounded, table = hb.compare(elpds), hb.compare(elpds, round_to="none")
    assert rounded.loc["intercepts", "elpd_diff"] != table.loc["intercepts", "elpd_diff"]
    assert rounded.attrs["exact"] == table[["elpd_diff", "dse"]].to_dict()
    assert (rounded.attrs["items"], rounded.attrs["reference"]) == (180, None)
    groups = hb.compare(fits, target="group", reference="intercepts")
    exact = hb.compare(fits, target="group", reference="intercepts", round_to="none")
    assert groups.attrs["exact"] == exact[["elpd_diff", "dse"]].to_dict()
    assert (groups.attrs["items"], groups.attrs["reference"]) == (18, "intercepts")


@pytest.mark.parametrize("joint", [False, True])
def test_groups(fits, joint):
    expected = {name: fit.logo(joint=joint).elpd for name, fit in fits.items()}
    table = hb.compare(fits, target="group", joint=joint, round_to="none")
    for name, value in expected.items():
        assert table.loc[name, "elpd"] == pytest.approx(value)


def test_rows_of_a_left_out_group_are_not_independent(fits):
    """From the group sums; with one score a row, ArviZ's error of sleepstudy is less than half as large."""
    elpds = {name: fit.logo() for name, fit in fits.items()}
    table = hb.compare(elpds, round_to="none")
    sums = {name: elpd.elpd_i.to_numpy().reshape(18, 10).sum(axis=1) for name, elpd in elpds.items()}
    for name, each in sums.items():
        assert table.loc[name, "se"] == pytest.approx(np.sqrt(18) * each.std(ddof=1))
    difference = sums["intercepts"] - sums["slopes"]
    assert table.loc["intercepts", "dse"] == pytest.approx(np.sqrt(18) * difference.std())
    plain = az.compare(elpds, round_to="none")
    same = ["elpd", "elpd_diff", "p", "weight"]
    np.testing.assert_allclose(table[same].astype(float), plain[same].astype(float), rtol=1e-12, atol=1e-12)
    assert table.loc["intercepts", "dse"] > plain.loc["intercepts", "dse"]


def test_scores_of_another_target_are_refused(fits, elpds):
    logo = {name: fit.logo() for name, fit in fits.items()}
    with pytest.raises(
        HierbayesError, match=r"'intercepts' leaves out one row at a time, which is not target='group'"
    ):
        hb.compare(elpds, target="group")
    with pytest.raises(HierbayesError, match=r"scored row by row, which is not target='row'"):
        hb.compare(logo, target="row")
    with pytest.raises(HierbayesError, match=r"which is not target='group', joint=True"):
        hb.compare(logo, target="group", joint=True)
    with pytest.raises(HierbayesError, match=r"which is not target='group', group='Day'"):
        hb.compare(logo, target="group", group="Day")
    said = hb.compare(logo, target="group", group="Subject", round_to="none")
    assert said.equals(hb.compare(logo, round_to="none"))


def test_options_are_arvizs(fits):
    table = hb.compare(fits, method="pseudo-bma", reference="intercepts")
    assert "p_better" in table.columns


def test_close_models_are_warned_of(fits):
    """The same model twice, with other draws; and the figure is said."""
    with pytest.warns(ComparisonWarning, match=r"ahead of '(again|slopes)' by 0\.\d, within the standard error"):
        hb.compare({"slopes": fits["slopes"].loo(), "again": _shifted(fits["slopes"].loo())})


def _shifted(elpd):
    other = copy.copy(elpd)
    other.elpd_i = elpd.elpd_i + np.random.default_rng(0).normal(0.0, 0.05, 180)
    other.elpd = float(other.elpd_i.sum())
    return other


def test_a_pareto_k_that_is_not_known_is_too_high(elpds):
    elpd = copy.copy(elpds["slopes"])
    elpd.pareto_k = elpd.pareto_k.copy(data=np.where(np.arange(180) < 2, np.nan, 0.1))
    with pytest.warns(ComparisonWarning, match="for 2 of 180 scores"):
        hb.compare({"intercepts": elpds["intercepts"], "slopes": elpd})
    assert "for 2 of 180 scores" in elpd._repr_html_()


def test_high_pareto_k_is_warned_of(elpds):
    bad = copy.copy(elpds["intercepts"])
    bad.pareto_k = bad.pareto_k.copy()
    bad.pareto_k[[3, 5]] = 0.9
    with pytest.warns(ComparisonWarning, match=r"'intercepts' is above 0\.70 for 2 of 180 scores.*reloo"):
        hb.compare(elpds | {"intercepts": bad})


@few
def test_other_rows_are_refused(fits, sleepstudy):
    shorter = other_fit(FORMULAS["intercepts"], sleepstudy.iloc[:170])
    with pytest.raises(HierbayesError, match=r"uses 180 rows and .* 170"):
        hb.compare({"a": fits["slopes"], "b": shorter})
    with pytest.raises(HierbayesError, match="180 and 170 items"):
        hb.compare({"a": fits["slopes"].loo(), "b": shorter.loo()})


@few
def test_other_responses_are_refused(fits, sleepstudy):
    logarithm = other_fit(
        "log_reaction ~ Days + (1 | Subject)", sleepstudy.assign(log_reaction=np.log(sleepstudy["Reaction"]))
    )
    with pytest.raises(HierbayesError, match=r"same response row by row \('Reaction', 'log_reaction'"):
        hb.compare({"a": fits["slopes"], "b": logarithm})


@few
def test_scores_of_other_responses_are_refused(fits, sleepstudy):
    """The same rows, but not the same numbers: nothing else in the scores tells."""
    logarithm = other_fit(
        "log_reaction ~ Days + (1 | Subject)", sleepstudy.assign(log_reaction=np.log(sleepstudy["Reaction"]))
    )
    renamed = other_fit("y ~ Days + (1 | Subject)", sleepstudy.rename(columns={"Reaction": "y"}))
    a, b = fits["slopes"], logarithm
    for models in ({"a": a.loo(), "b": b.loo()}, {"a": a, "b": b.loo()}, {"a": a.loo(), "b": b}):
        with pytest.raises(DataError, match=r"same response row by row \('Reaction', 'log_reaction'\)"):
            hb.compare(models)
    assert hb.compare({"a": a.loo(), "b": renamed}).index[0] == "a"


@few
def test_other_groups_are_refused(fits, sleepstudy):
    swapped = sleepstudy.assign(Subject=sleepstudy["Subject"].to_numpy()[::-1])
    other = other_fit(FORMULAS["intercepts"], swapped)
    with pytest.raises(HierbayesError, match="different groups"):
        hb.compare({"a": fits["slopes"], "b": other}, target="group")
    with pytest.raises(HierbayesError, match="do not score the same"):
        hb.compare({"a": fits["slopes"].logo(joint=True), "b": _renamed(other.logo(joint=True))})


def _renamed(elpd):
    other = copy.copy(elpd)
    (dim,) = elpd.elpd_i.dims
    other.elpd_i = elpd.elpd_i.assign_coords({dim: elpd.elpd_i[dim].to_numpy()[::-1]})
    return other


def test_other_targets_are_refused(fits, elpds):
    fit = fits["slopes"]
    leave = {
        "one row at a time": elpds["intercepts"],
        "one level of 'Subject' at a time, scored row by row": fit.logo(),
        "one level of 'Subject' at a time, scored as a whole": fit.logo(joint=True),
    }
    said = list(leave)
    for k, first in enumerate(said):
        for second in said[k + 1 :]:
            expected = f"one leaves out {first}, the other {second}"
            with pytest.raises(HierbayesError, match=re.escape(expected)):
                hb.compare({"a": leave[first], "b": leave[second]})


def test_other_parts_are_refused(elpds):
    def kfold(elpd, fold, group=None, part=None):
        return KFoldELPD(
            elpd=elpd.elpd, se=elpd.se, p=elpd.p, n_samples=4000, n_data_points=180, scale="log", warning=False,
            good_k=None, elpd_i=elpd.elpd_i, n_folds=int(fold.max()) + 1, fold=fold, group=group, part=part,
        )  # fmt: skip

    a, b = elpds.values()
    parts = np.arange(180) % 10
    assert hb.compare({"a": kfold(a, parts), "b": kfold(b, parts)}).index[0] == "b"
    assert hb.compare({"a": kfold(a, parts), "b": kfold(b, 9 - parts)}).index[0] == "b"
    # a model without the factor whose levels are left out does not know of it, the other does
    levels = np.arange(180) // 10
    table = hb.compare({"a": kfold(a, parts, part=levels), "b": kfold(b, parts)}, round_to="none")
    of_levels = (a.elpd_i - b.elpd_i).to_numpy().reshape(18, 10).sum(axis=1)
    assert table.loc["a", "dse"] == pytest.approx(np.sqrt(18) * of_levels.std())
    assert table.loc["b", "se"] == pytest.approx(np.sqrt(18) * b.elpd_i.to_numpy().reshape(18, 10).sum(axis=1).std())
    with pytest.raises(HierbayesError, match=r"the parts differ; use the same seed= or folds="):
        hb.compare({"a": kfold(a, parts), "b": kfold(b, np.sort(parts))})
    with pytest.raises(HierbayesError, match="10 parts, the other 9 parts of the levels of 'Subject'"):
        hb.compare({"a": kfold(a, parts), "b": kfold(b, parts % 9, "Subject")})
    with pytest.raises(HierbayesError, match="10 parts, the other one row at a time"):
        hb.compare({"a": kfold(a, parts), "b": b})


def test_conditional_and_integrated_scores_are_of_the_same_target(fits, elpds):
    """Both estimate the density of a row given all others; PSIS of the conditional one is not to be trusted."""
    with pytest.warns(hb.HierbayesWarning):
        conditional = fits["slopes"].loo(conditional=True)
    with pytest.warns(ComparisonWarning):
        table = hb.compare({"conditional": conditional, "integrated": elpds["slopes"]})
    assert abs(table["elpd_diff"]).max() < 2.0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"target": "rows"}, "'row' or 'group', not 'rows'"),
        ({"joint": True}, "go with target='group'"),
        ({"group": "Subject"}, "go with target='group'"),
    ],
)
def test_impossible_arguments(elpds, arguments, message):
    with pytest.raises(ValueError, match=message):
        hb.compare(elpds, **arguments)


def test_one_model_is_no_comparison(fits):
    with pytest.raises(ValueError, match="at least two models, not 1"):
        hb.compare({"slopes": fits["slopes"]})


def test_what_is_no_score_is_refused(fits):
    with pytest.raises(HierbayesError, match="'b' is a RemlFit without pointwise scores"):
        hb.compare({"a": fits["slopes"], "b": fits["slopes"].reml})
