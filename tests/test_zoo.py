"""The cards of the model zoo, what is expected of them, and that a wrong expectation is found."""

from __future__ import annotations

import json
import re
import warnings
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

import hierbayes as hb
from hierbayes.zoo import recording, shelf, verification
from hierbayes.zoo.cards import read_card
from hierbayes.zoo.expected import BLOCKS, read_expected
from hierbayes.zoo.prior_text import read_priors

NAMES = shelf.names()
AT_LEAST = 20
AS_LME4 = 1e-5
"""Of estimates, in their standard errors: both optimisers are good to about 1e-7 (see the note in the reference)."""
LME4_CRITERION = 1e-6
FEW_FAILURES = 1e-3
"""Chance that a correct package is told otherwise by the whole zoo."""
TOO_SMALL = 0.85
"""Monte Carlo standard errors over what they should be, and still few failures."""
ISSUE = {
    *("sleepstudy", "penicillin", "pastes", "dyestuff", "dyestuff2", "cake", "cbpp", "score_parentedu_byclass"),
    *("rat_pup", "education", "environment", "unbalanced_clusters", "arma_clusters", "crossed", "repeated_measures"),
    "insteval",
}
CARD = """
title = "Three groups"
question = "Do they differ?"
topics = ["example"]
look_for = ["A difference."]
references = ["Nobody (2026)."]

[data]
file = "data.csv"
source = "Made up"
licence = "None needed"
text = ["g"]

[[models]]
name = "groups"
formula = "y ~ 1 + (1 | g)"
why = "They may."

[models.priors]
"1|g" = "Normal(mu=0, sigma=HalfNormal(sigma=5))"

[[models]]
name = "trend"
formula = "y ~ x + (1 | g)"
why = "And with x."
posterior = false

[verify]
draws = 100
"""


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of one's own with a card, data and what is expected."""
    folder = tmp_path_factory.mktemp("zoo") / "three_groups"
    folder.mkdir()
    rng = np.random.default_rng(1)
    g = np.repeat([1, 2, 3, 4], 6)
    x = rng.normal(size=24)
    y = np.array([0.0, 1.0, 2.0, 4.0])[g - 1] + 0.5 * x + rng.normal(size=24)
    rows = [f"{a},{b},{c}" for a, b, c in zip(g, x, y, strict=True)]
    folder.joinpath("data.csv").write_text("\n".join(["g,x,y", *rows]) + "\n")
    folder.joinpath("card.toml").write_text(CARD)
    path = hb.zoo.record(str(folder), progress=False)
    assert path == folder / "expected.json"
    return folder


def altered(own, tmp_path, change):
    """A copy of the folder with another expectation."""
    folder = tmp_path / own.name
    folder.mkdir()
    for name in ("card.toml", "data.csv"):
        folder.joinpath(name).write_bytes(own.joinpath(name).read_bytes())
    values = json.loads(own.joinpath("expected.json").read_text())
    change(values["models"]["groups"])
    folder.joinpath("expected.json").write_text(json.dumps(values))
    return str(folder)


def test_the_zoo_has_what_was_promised():
    """At least twenty cards, those of the issue among them, under names that are easy to type."""
    assert len(NAMES) >= AT_LEAST
    assert set(NAMES) >= ISSUE
    assert all(re.fullmatch("[a-z][a-z0-9_]*", name) for name in NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_card_and_expectations_are_complete(name):
    """A card says what it must; `expected.json` has what the card asks for, and says how that was checked."""
    card = hb.zoo.card(name)
    assert card.licence
    assert card.source.source
    assert all(text.rstrip("`").endswith((".", "?", ")")) for text in (card.question, *card.look_for)), name
    assert all(re.search(r"\(\d{4}\)|tutorial|\d{4}", text) for text in card.references)
    values = read_expected(card)
    assert set(values["versions"]) == {"python", *recording.PACKAGES}
    for candidate in card.models:
        model = values["models"][candidate.name]
        assert ("posterior" in model) == candidate.posterior
        assert ("elpd" in model) == bool(candidate.posterior and card.verify.elpd)
        blocks = [block for block in BLOCKS if block in model]
        assert blocks
        for block in blocks:
            assert model[block]["checked"], f"{name}, {candidate.name}, {block}: say how the figures were checked"
        for row in model.get("posterior", {}).get("estimates", []):
            assert row["sd"] > 0.0
            assert min(row["mcse_mean"], row["mcse_sd"]) >= 0.0
            assert (row["mcse_mean"] == 0.0) == (model["posterior"]["method"] == "quadrature")
        scores = model.get("elpd", {}).get("scores", {})
        assert all(np.isfinite(score["elpd"]) and score["sd"] > 0.0 for score in scores.values())


def test_expected_maxima_are_lme4s(shared):
    """Criterion, fixed effects with standard errors, standard deviations: REML and Laplace as lme4 has them."""
    reference = json.loads(shared("reference/lme4.json").read_text())
    known = {
        (fit["data"].removesuffix(".csv"), fit["formula"].replace(" ", "")): fit["REML"]
        for fit in reference["lmm"].values()
    }
    compared = set()
    for name in NAMES:
        card = hb.zoo.card(name)
        for candidate in card.models:
            theirs = known.get((card.source.name, candidate.formula.replace(" ", "")))
            if theirs is None or candidate.arguments:
                continue
            ours = read_expected(card)["models"][candidate.name]["maximum"]
            assert ours["criterion"] == pytest.approx(theirs["criterion"], abs=LME4_CRITERION)
            fixed = {row["term"]: row for row in ours["estimates"] if row["effect"] == "fixed"}
            assert sorted(row["estimate"] for row in fixed.values()) == pytest.approx(
                sorted(theirs["fixef"].values()), abs=AS_LME4 * min(row["std_error"] for row in fixed.values())
            )
            compared.add((name, candidate.name))
    assert len(compared) >= 10


def test_list_describes_every_card_once():
    """One row a card; nothing is downloaded for it."""
    table = hb.zoo.list()
    assert table["name"].tolist() == NAMES
    assert not table.drop(columns="at_hand").isna().any(axis=None)
    assert (table["models"] > 0).all()


def test_load_by_name_number_and_formula():
    """The main model unless another one is named."""
    main = hb.zoo.load("sleepstudy")
    assert main.formula == "Reaction ~ Days + (Days | Subject)"
    other = "Reaction ~ Days + (1 | Subject)"
    assert {hb.zoo.load("sleepstudy", which).formula for which in ("intercepts", 2, other)} == {other}
    with pytest.raises(hb.FormulaError, match=r"has no model 'intercept'. Did you mean 'intercepts'\?"):
        hb.zoo.load("sleepstudy", "intercept")
    with pytest.raises(hb.DatasetError, match=r"no model 'sleep_study' in the zoo. Did you mean 'sleepstudy'\?"):
        hb.zoo.load("sleep_study")
    for nothing in (False, True, 1.0, 7):
        with pytest.raises(hb.FormulaError, match=f"has no model {nothing}"):
            hb.zoo.load("sleepstudy", nothing)
    for nothing in (None, 3):
        with pytest.raises(hb.DatasetError, match=f"name of a model of the zoo is a text, not {nothing}"):
            hb.zoo.load(nothing)


def test_columns_that_a_card_names_are_in_its_data(own, tmp_path):
    """The labels and the factor that is left out."""
    for old, new, message in (
        (
            'text = ["g"]',
            'text = ["G"]',
            r"\[data\]: 'text' has 'G', which is no column of data.csv",
        ),
        ("draws = 100", 'group = "h"', r"\[verify\]: 'group' is 'h', which is no column of the data"),
    ):
        tmp_path.joinpath("card.toml").write_text(CARD.replace(old, new))
        tmp_path.joinpath("data.csv").write_bytes(own.joinpath("data.csv").read_bytes())
        with pytest.raises(hb.DataError, match=message):
            hb.zoo.load(str(tmp_path))


def test_arguments_and_priors_of_a_card_reach_the_model(own):
    """Family, residual structure and priors are those of the card."""
    assert hb.zoo.load("cbpp").family.name == "binomial"
    assert hb.zoo.load("dyestuff", "marginal").design.residual.text == "cs(Batch)"
    assert repr(hb.zoo.load(str(own)).priors.sds[0]) == "HalfNormal(sigma=5)"
    assert hb.zoo.load(str(own)).data["g"].tolist()[0] == "1"


@pytest.mark.parametrize(
    "text", ["Normal(0, 1)", "Normal", "Normal(mu=x)", "__import__('os').system('true')", "Normal(**{})", "3"]
)
def test_a_prior_is_a_distribution_with_named_parameters(text):
    """Anything else is refused, and nothing is evaluated."""
    with pytest.raises(hb.PriorError, match=r"prior of 'x' is .*; write a distribution with named parameters"):
        read_priors({"x": text})


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('title = "Three groups"', "", r"three_groups/card.toml has no 'title'; add it."),
        ('title = "Three groups"', "title = 3", r"'title' is 3; it should be a text."),
        ('title = "Three groups"', 'title = " "', r"'title' is empty; write it."),
        ('title = "Three', 'titel = "x"\ntitle = "Three', r"a key 'titel' that is not known. Did you mean 'title'\?"),
        ("title = ", "title ", r"three_groups/card.toml is not TOML: .*\."),
        ('topics = ["example"]', "topics = []", r"'topics' is empty; write at least one."),
        ('topics = ["example"]', "topics = [1]", r"'topics' has 1; it should be a list of texts."),
        ('why = "They may."', "", r"\[\[models\]\] number 1 has no 'why'; add it."),
        ('name = "trend"', 'name = "groups"', r"two \[\[models\]\] with the same name"),
        ("draws = 100", "draws = 0", r"\[verify\]: 'draws' is 0; it should be a positive whole number."),
        ("draws = 100", "tolerance = 0", r"\[verify\]: 'tolerance' is 0.0; it should be positive."),
        ("draws = 100", "tolerance = inf", r"\[verify\]: 'tolerance' is inf; it should be finite."),
        ("draws = 100", "draws = true", r"'draws' is True; it should be a whole number."),
        ("draws = 100", 'elpd = ["rows"]', r"'elpd' has 'rows'; it should be a list of texts among row, group."),
        ('file = "data.csv"\n', 'name = "slepstudy"\n', r"\[data\]: there is no data set 'slepstudy'"),
        ('licence = "None needed"', "", r"\[data\] has no 'licence'; add it."),
        ("posterior = false", 'familie = "t"', r"number 2 has a key 'familie' that is not known"),
    ],
)
def test_a_wrong_card_is_refused_in_one_sentence(tmp_path, old, new, message):
    """The message names file and key."""
    folder = tmp_path / "three_groups"
    folder.mkdir()
    assert old in CARD
    folder.joinpath("card.toml").write_text(CARD.replace(old, new, 1))
    with pytest.raises(hb.DataError, match=message) as caught:
        read_card(folder)
    assert "\n" not in str(caught.value)


def test_a_folder_without_a_card_is_refused(tmp_path):
    """The folder is named."""
    with pytest.raises(hb.DataError, match=f"no file card.toml in {re.escape(str(tmp_path))}"):
        read_card(tmp_path)


def test_the_zoo_is_found_in_a_wheel_and_in_a_checkout(tmp_path, monkeypatch):
    """Inside the package, else beside it, else one sentence."""
    package = tmp_path / "site-packages" / "hierbayes"
    package.mkdir(parents=True)
    monkeypatch.setattr(shelf, "files", lambda _: package)
    with pytest.raises(hb.DatasetError, match="has no model zoo; install it again"):
        shelf.shelf()
    beside = package.parent / "model_zoo"
    beside.mkdir()
    with pytest.raises(hb.DatasetError, match="has no model zoo; install it again"):
        shelf.shelf()
    package.parent.joinpath("pyproject.toml").touch()
    assert shelf.shelf() == beside
    inside = package / "model_zoo" / "one"
    inside.mkdir(parents=True)
    inside.joinpath("card.toml").write_text(CARD)
    assert shelf.names() == ["one"]


def test_data_that_need_a_download_are_left_out(tmp_path, monkeypatch):
    """They are named, nothing is fetched, and whoever asks for them by name is told how to get them."""
    monkeypatch.setenv("HIERBAYES_DATA", str(tmp_path))
    monkeypatch.setattr("hierbayes.datasets.download.cache_folder", lambda: tmp_path)
    monkeypatch.setattr(verification, "all_names", lambda: ["insteval", "rat_pup", "dyestuff"])
    found = hb.zoo.verify(posterior="none", progress=False)
    assert found.skipped == ("insteval", "rat_pup")
    assert set(found.table["model"]) == {"dyestuff"}
    assert "Left out: insteval, rat_pup, whose data are not here." in repr(found)
    with pytest.raises(hb.DatasetError, match=r"InstEval.csv.gz is not here: write it by R"):
        hb.zoo.load("insteval")


def test_data_of_the_folder_that_the_variable_names_are_at_hand(shared, monkeypatch):
    """Course files and InstEval, with its labels as text."""
    monkeypatch.setenv("HIERBAYES_DATA", str(shared("datasets/InstEval.csv.gz").parent))
    table = hb.zoo.list()
    assert table["at_hand"].all()
    data = hb.zoo.card("insteval").data()
    assert len(data) == 73421
    assert data["s"].iloc[0] == "1"


def test_verify_agrees_with_what_was_just_recorded(own):
    """Every quantity once; posterior means and scores by draws of another seed."""
    found = hb.zoo.verify(str(own), progress=False)
    assert found.ok
    assert len(found.failures) == 0
    quantities = found.table[found.table["formula"] == "groups"]["quantity"].tolist()
    assert len(set(quantities)) == len(quantities)
    assert {"criterion", "sigma", "error of sigma", "mean of sigma", "sd of sd(Intercept) of g"} <= set(quantities)
    assert {"elpd of a new row", "elpd of a new group"} <= set(quantities)
    assert not found.table["quantity"][found.table["formula"] == "trend"].str.startswith(("mean", "elpd")).any()
    assert repr(found).startswith(f"All {len(found.table)} figures of three_groups are as expected.")
    assert found.summary()["failed"].tolist() == [0, 0]


def a_thousandth_of_a_standard_error(model):
    """In the estimate of a fixed effect."""
    row = model["maximum"]["estimates"][0]
    row["estimate"] += 1e-3 * row["std_error"]


def a_hundredth(model):
    """Of a standard error."""
    model["maximum"]["estimates"][-1]["std_error"] *= 1.01


def the_criterion(model):
    """By less than any test would notice."""
    model["maximum"]["criterion"] += 1e-4


def another_variance(model):
    """A posterior standard deviation that is twice as large."""
    model["posterior"]["estimates"][1]["sd"] *= 2.0


def a_shifted_mean(model):
    """By half a posterior standard deviation: 100 draws a chain do not see less."""
    row = model["posterior"]["estimates"][0]
    row["mean"] += 0.5 * row["sd"]


def one_more_parameter(model):
    """That is not found."""
    model["posterior"]["estimates"].append(model["posterior"]["estimates"][0] | {"term": "x"})


def one_less_parameter(model):
    """That is found, but not expected."""
    del model["maximum"]["estimates"][0]


def a_score(model):
    """By little more than two, though the recorded runs are said to have varied by as much."""
    model["elpd"]["scores"]["group"]["elpd"] += verification.MOST + 0.25
    model["elpd"]["scores"]["group"]["sd"] = verification.MOST


def no_error(model):
    """On the boundary there is none."""
    model["maximum"]["estimates"][-1]["std_error"] = None


def another_method(model):
    """Than REML."""
    model["maximum"]["method"] = "Laplace approximation"


def no_maximum(model):
    """And one is found."""
    del model["maximum"]


def the_boundary(model):
    """A fit that was singular."""
    model["maximum"]["singular"] = True


@pytest.mark.parametrize(
    ("change", "posterior", "where"),
    [
        (a_thousandth_of_a_standard_error, "none", ["Intercept"]),
        (a_hundredth, "none", ["error of sigma"]),
        (the_criterion, "none", ["criterion"]),
        (one_less_parameter, "none", ["Intercept", "error of Intercept"]),
        (no_error, "none", ["error of sigma"]),
        (another_method, "none", ["method: Laplace approximation"]),
        (no_maximum, "none", ["criterion"]),
        (the_boundary, "none", ["singular"]),
        (another_variance, "main", ["sd of sd(Intercept) of g"]),
        (a_shifted_mean, "main", ["mean of Intercept"]),
        (one_more_parameter, "main", ["mean of x", "sd of x"]),
        (a_score, "main", ["elpd of a new group"]),
    ],
)
def test_verify_finds_a_wrong_expectation(own, tmp_path, change, posterior, where):
    """The quantity that was changed, and no other."""
    found = hb.zoo.verify(altered(own, tmp_path, change), posterior=posterior, progress=False)
    assert not found.ok
    assert found.failures["quantity"].tolist() == where
    assert repr(found).startswith(f"{len(where)} of {len(found.table)} figures of three_groups are not as expected.")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda values: values.pop("versions"), "has no 'versions'; add it"),
        (lambda values: values["models"]["groups"].update(formula="y ~ 1"), "of other models than the card"),
        (lambda values: values["models"].pop("trend"), "of other models than the card"),
        (lambda values: values["models"]["groups"]["maximum"].pop("criterion"), "has no 'criterion'; add it"),
        (
            lambda values: values["models"]["groups"].pop("posterior"),
            "has no block 'posterior', and .* for one",
        ),
        (lambda values: values["models"]["groups"].pop("elpd"), "has no block 'elpd', and the card asks for one"),
        (lambda values: values["models"]["trend"].update(posterior={}), "has a block 'posterior', and .* for none"),
        (lambda values: values["models"]["trend"].pop("maximum"), r"\[trend\] expects nothing"),
        (lambda values: values["models"]["groups"]["elpd"]["scores"].pop("row"), r"has scores of \['group'\]"),
        (
            lambda values: values["models"]["groups"]["elpd"].update(draws=500),
            "500 draws, and the card asks for 100",
        ),
        (lambda values: values["models"]["groups"]["elpd"].update(runs=1), "'runs' is 1; one run does not say"),
        (lambda values: values["models"]["groups"]["elpd"].update(scores=[1]), r"'scores' is \[1\]; .* be a table"),
        (lambda values: values["models"]["groups"]["maximum"].update(criterion="1"), "'1'; it should be a number"),
        (lambda values: values["models"]["groups"]["maximum"].update(estimates=[1]), "'estimates' should be one or"),
        (lambda values: values["models"]["groups"]["posterior"]["estimates"][0].update(sd=None), "'sd' is None; it"),
        (lambda values: values["models"]["groups"]["posterior"]["estimates"][0].pop("term"), "has no 'term'; add it"),
        (lambda values: values["models"].update(groups=3), "'groups' is 3; it should be a table"),
        (lambda values: values.update(models=None), "'models' is None; it should be a table"),
    ],
)
def test_expectations_of_other_models_are_refused(own, tmp_path, change, message):
    """And say what to do."""
    folder = Path(altered(own, tmp_path, lambda _: None))
    values = json.loads(folder.joinpath("expected.json").read_text())
    change(values)
    folder.joinpath("expected.json").write_text(json.dumps(values))
    with pytest.raises(hb.DataError, match=message):
        hb.zoo.verify(str(folder), progress=False)
    folder.joinpath("expected.json").write_text("[]")
    with pytest.raises(hb.DataError, match=r"three_groups/expected.json is not one object of JSON"):
        hb.zoo.verify(str(folder), progress=False)
    folder.joinpath("expected.json").write_text("{")
    with pytest.raises(hb.DataError, match=r"three_groups/expected.json is not JSON: .*\."):
        hb.zoo.verify(str(folder), progress=False)
    folder.joinpath("expected.json").unlink()
    with pytest.raises(hb.DataError, match=r"There is no expected.json of 'three_groups'; hb.zoo.record"):
        hb.zoo.verify(str(folder), progress=False)


def test_record_keeps_how_the_figures_were_checked(own, tmp_path):
    """And nothing else of the old file."""

    def say(model):
        model["maximum"]["checked"] = ["By hand."]
        model["posterior"]["checked"] = ["By other hands."]
        model["posterior"]["estimates"][0]["mean"] += model["posterior"]["estimates"][0]["sd"]
        model["elpd"]["checked"] = ["By head."]

    folder = altered(own, tmp_path, say)
    values = json.loads(hb.zoo.record(folder, progress=False).read_text())["models"]
    assert values["groups"]["maximum"]["checked"] == ["By hand."]
    assert values["groups"]["elpd"]["checked"] == ["By head."]
    assert values["groups"]["posterior"]["checked"] == [], "the figure that was checked is another one now"
    assert values["groups"]["posterior"]["method"] == "quadrature"
    assert values["groups"]["elpd"]["runs"] == recording.RUNS
    with pytest.raises(ValueError, match="runs must be at least 10, not 1"):
        hb.zoo.record(folder, runs=1)


def test_ctrl_c_is_not_swallowed(own, tmp_path, monkeypatch):
    """Half a posterior is neither compared nor recorded."""
    folder = altered(own, tmp_path, lambda _: None)
    before = Path(folder, "expected.json").read_bytes()

    def interrupted(self, **options):
        warnings.warn("12 of 100 draws", hb.IncompleteWarning, stacklevel=2)

    monkeypatch.setattr(hb.Model, "fit", interrupted)
    with pytest.raises(KeyboardInterrupt):
        hb.zoo.verify(folder, progress=False)
    with pytest.raises(KeyboardInterrupt):
        hb.zoo.record(folder, progress=False)
    assert Path(folder, "expected.json").read_bytes() == before


def test_the_limit_rarely_fails_a_correct_package():
    """Over all comparisons of the whole zoo, even where Monte Carlo errors are taken too small."""
    comparisons, failures = 0, 0.0
    for name in NAMES:
        for model in read_expected(hb.zoo.card(name))["models"].values():
            comparisons += 2 * len(model.get("posterior", {}).get("estimates", []))
            elpd = model.get("elpd", {"scores": {}})
            for score in elpd["scores"].values():
                part = verification.score_limit(score["sd"], elpd["runs"]) / score["sd"]
                failures += 2.0 * stats.t.sf(part / np.sqrt(1.0 + 1.0 / elpd["runs"]), elpd["runs"] - 1)
    assert comparisons > 200
    assert comparisons * 2.0 * stats.norm.sf(TOO_SMALL * verification.LIMIT) + failures < FEW_FAILURES


def test_run_fits_what_competes(own):
    """Both inferences of every model; those without a posterior only if they are named."""
    found = hb.zoo.run("dyestuff", seed=1, progress=False)
    assert list(found.models) == list(found.maxima) == list(found.fits) == ["batches", "marginal"]
    assert found.table.columns.tolist()[:2] == ["model", "method"]
    assert set(found.table["method"]) == {"REML", "posterior"}
    assert repr(found).startswith("Six batches of dyestuff")
    assert "<table" in found._repr_html_()
    with pytest.warns(hb.ComparisonWarning):
        table = found.compare()
    assert set(table.index) == {"batches", "marginal"}
    assert list(hb.zoo.run(str(own), draws=100, seed=1, posterior=False).fits) == []
    assert list(hb.zoo.run(str(own), "trend", seed=1, progress=False).fits) == ["trend"]


def test_a_card_shows_itself():
    """As text of any width, as HTML and as plain values."""
    card = hb.zoo.card("cake")
    assert repr(card) == card.text()
    assert max(map(len, card.text(60).splitlines())) <= 60
    assert "What to look for:" in card.text()
    assert "<table" in card._repr_html_()
    assert json.loads(json.dumps(card.as_dict()))["models"][0]["name"] == "recipes"


def test_verify_refuses_what_it_does_not_know():
    """Arguments and names."""
    with pytest.raises(ValueError, match="posterior must be one of 'all', 'main', 'none', not 'some'"):
        hb.zoo.verify("dyestuff", posterior="some")
    with pytest.raises(ValueError, match="names is empty; name at least one card"):
        hb.zoo.verify([])
    with pytest.raises(hb.DatasetError, match="Did you mean 'dyestuff'"):
        hb.zoo.verify(["dystuff"])
