"""Fits in files: what is loaded is what was saved, half a file never replaces a good one, and a bad one says so."""

from __future__ import annotations

import json
import pickletools
import shutil
import signal
import subprocess
import sys
import warnings
import zipfile
from pathlib import Path

import arviz as az
import bambi as bmb
import numpy as np
import pandas as pd
import pytest
import xarray as xr
import zarr
from numpy.testing import assert_allclose, assert_array_equal
from pandas.testing import assert_frame_equal

import hierbayes as hb
from hierbayes.plain import from_plain, to_plain
from hierbayes.store import archive
from hierbayes.store.fingerprint import fingerprint
from hierbayes.store.frame import from_parquet, to_parquet
from hierbayes.store.recipe import words_of
from hierbayes.store.tree import from_members, to_members

PRIORS = {
    "Days": bmb.Prior("Normal", mu=0, sigma=10),
    "1|Subject": bmb.Prior("Normal", mu=0, sigma=bmb.Prior("HalfStudentT", nu=4, sigma=50)),
    "Subject_corr": bmb.Prior("LKJ", eta=2),
    "sigma": bmb.Prior("Exponential", lam=0.02),
}


def again(fit, path, **more):
    """The same fit, from a file."""
    fit.save(path)
    return hb.load(path, **more)


@pytest.fixture(scope="module")
def dyestuff():
    return hb.Model("Yield ~ 1 + (1 | Batch)", hb.load_data("Dyestuff"))


@pytest.fixture(scope="module")
def saved(tmp_path_factory, fit_sleepstudy):
    """The posterior of the random-slope model in a file."""
    path = tmp_path_factory.mktemp("store") / "sleep.hb"
    fit_sleepstudy.save(path)
    return path


@pytest.fixture(scope="module")
def small(tmp_path_factory, dyestuff):
    """A REML fit in a file of a few thousand bytes."""
    path = tmp_path_factory.mktemp("store") / "small.hb"
    dyestuff.reml().save(path)
    return path


# --- what comes back ----------------------------------------------------------------------------


half = 7.0  # not the one that the fit has


def centred(x):
    """A function of the caller."""
    return x - np.mean(x)


def models():
    """REML fits with everything that a model can be made of, by name."""
    sleep = hb.load_data("sleepstudy")
    rng = np.random.default_rng(1)
    w = rng.uniform(0.5, 2.0, len(sleep))
    half = 2.0  # noqa: F841  (the formula finds it)
    labelled = sleep.set_index(pd.Index([f"row {i}" for i in range(len(sleep))]))
    holes = sleep.assign(Reaction=sleep["Reaction"].where(np.arange(len(sleep)) % 50 != 3))
    ordered = sleep.assign(part=pd.cut(sleep["Days"], 3), Subject=sleep["Subject"].astype("category"))
    meta = pd.DataFrame({"y": rng.normal(size=12), "s": rng.uniform(0.1, 1.0, 12), "study": [*"aabbccddeeff"]})
    return {
        "slopes": hb.Model("Reaction ~ Days + (Days | Subject)", sleep, priors=PRIORS, center_predictors=False),
        "uncorrelated": hb.Model("Reaction ~ Days + (Days || Subject)", sleep),
        "crossed": hb.Model("Reaction ~ 1 + (1 | Subject) + (1 | Days)", sleep),
        "weights": hb.Model("Reaction ~ Days + (1 | Subject)", sleep, weights=w),
        "se": hb.Model("y ~ 1 + (1 | study)", meta, se="s"),
        "ar1": hb.Model("Reaction ~ Days + (1 | Subject)", sleep, residual="ar1(Days | Subject)"),
        "residuals only": hb.Model("Reaction ~ Days", sleep, residual="cs(Subject)"),
        "offset": hb.Model("Reaction ~ offset(Days) + (1 | Subject)", sleep),
        "functions": hb.Model("Reaction ~ centred(Days) + np.minimum(Days, half) + (1 | Subject)", sleep),
        "splines": hb.Model("Reaction ~ bs(Days, df=4) + scale(np.sin(Days)) + (1 | Subject)", sleep),
        "intervals": hb.Model("Reaction ~ part + (1 | Subject)", ordered),
        "labels": hb.Model("Reaction ~ Days + (1 | Subject)", labelled),
        "missing": quiet(hb.Model, "Reaction ~ Days + (1 | Subject)", holes),
    }


def quiet(call, *args, **more):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", hb.HierbayesWarning)
        return call(*args, **more)


@pytest.fixture(scope="module")
def made():
    return models()


KINDS = [
    "slopes", "uncorrelated", "crossed", "weights", "se", "ar1", "residuals only", "offset", "functions", "splines",
    "intervals", "labels", "missing",
]  # fmt: skip


@pytest.mark.parametrize("name", KINDS)
def test_a_reml_fit_comes_back(name, made, tmp_path):
    model, reml = made[name], made[name].reml()
    back = again(reml, tmp_path / "fit.hb")
    assert type(back) is hb.RemlFit
    assert_frame_equal(back.tidy(df="z"), reml.tidy(df="z"))
    for factor, table in reml.ranef.items():
        assert_frame_equal(back.ranef[factor], table)
        assert_frame_equal(back.ranef_sd[factor], reml.ranef_sd[factor])
    assert (back.criterion, back.message, back.singular) == (reml.criterion, reml.message, reml.singular)
    assert_array_equal(back.design.row_labels, reml.design.row_labels)
    assert (back.design.n_dropped, back.design.dropped_columns) == (
        model.design.n_dropped,
        model.design.dropped_columns,
    )
    same = hb.Model.of(back)
    assert same.priors == model.priors
    assert str(same.given_priors) == str(model.given_priors)
    assert repr(same) == repr(model)
    assert_allclose(same.ml().criterion, model.ml().criterion, rtol=1e-12)


def test_the_maximum_is_not_looked_for_again(dyestuff, tmp_path, monkeypatch):
    ml = dyestuff.ml()
    ml.save(tmp_path / "ml.hb")
    monkeypatch.setattr("hierbayes.model.maximise", None)
    back = hb.load(tmp_path / "ml.hb")
    assert (back.method, back.criterion) == ("ML", ml.criterion)


def test_a_posterior_comes_back_whole(fit_sleepstudy, saved):
    back = hb.load(saved)
    assert type(back) is hb.Fit
    assert_same_tree(back.idata, fit_sleepstudy.idata)
    assert back.priors == fit_sleepstudy.priors
    assert_frame_equal(back.tidy(), fit_sleepstudy.tidy())
    assert_frame_equal(back.reml.tidy(), fit_sleepstudy.reml.tidy())
    assert_array_equal(back.thetas, fit_sleepstudy.thetas)
    assert back.loo().elpd == fit_sleepstudy.loo().elpd
    new = pd.DataFrame({"Days": [0, 11], "Subject": ["308", "372"]})
    assert_frame_equal(back.predict(new), fit_sleepstudy.predict(new))
    assert_frame_equal(back.reml.predict(new), fit_sleepstudy.reml.predict(new))
    assert_frame_equal(back.check().findings, fit_sleepstudy.check().findings)


def test_a_restored_model_samples_the_same_draws(fit_sleepstudy, saved):
    fit = hb.Model.of(hb.load(saved)).fit(draws=1000, seed=1, progress=False)
    assert fit.posterior.equals(fit_sleepstudy.posterior)


@pytest.mark.filterwarnings("ignore::hierbayes.errors.ConvergenceWarning")
def test_summaries_come_back(dyestuff, tmp_path):
    fit = dyestuff.fit(draws=50, seed=1, progress=False, ranef="summary")
    back = again(fit, tmp_path / "fit.hb")
    assert not back.ranef_kept
    assert_frame_equal(back.ranef()["Batch"], fit.ranef()["Batch"])


@pytest.mark.filterwarnings("ignore::hierbayes.errors.ConvergenceWarning")
def test_streamed_draws_stay_in_their_folder(dyestuff, tmp_path):
    folder, path = tmp_path / "draws.zarr", tmp_path / "fit.hb"
    fit = dyestuff.fit(draws=50, seed=1, progress=False, ranef=folder)
    wanted = fit.ranef()["Batch"]
    fit.save(path)
    assert not [name for name in zipfile.ZipFile(path).namelist() if "1|Batch/" in name]
    assert_frame_equal(hb.load(path).ranef()["Batch"], wanted)
    assert list(hb.load(path).posterior) == list(fit.posterior)
    other = tmp_path / "moved"
    other.mkdir()
    for thing in (folder, path):
        shutil.move(thing, other)
    moved = hb.load(other / "fit.hb")
    assert_frame_equal(moved.ranef()["Batch"], wanted)
    assert_frame_equal(again(moved, other / "fit.hb").ranef()["Batch"], wanted)
    shutil.rmtree(other / "draws.zarr")
    with pytest.raises(hb.LoadError, match="which is gone; put that folder back, or beside the file"):
        hb.load(other / "fit.hb")
    dyestuff.fit(draws=50, seed=2, progress=False, ranef=other / "draws.zarr")
    with pytest.raises(hb.LoadError, match="are not those of the fit"):
        hb.load(other / "fit.hb")


@pytest.fixture(scope="module")
def cbpp():
    return hb.load_data("cbpp").astype({"period": str})


def test_laplace_fits_come_back(cbpp, tmp_path):
    model = hb.Model("p(incidence, size) ~ period + (1 | herd)", cbpp, family="binomial")
    for nagq in (1, 9):
        ml = model.ml(nagq=nagq)
        back = again(ml, tmp_path / "ml.hb")
        assert (type(back), back.nagq, back.criterion) == (hb.LaplaceFit, nagq, ml.criterion)
        assert_frame_equal(back.tidy(), ml.tidy())
        assert_frame_equal(back.ranef["herd"], ml.ranef["herd"])
        assert_frame_equal(back.ranef_sd["herd"], ml.ranef_sd["herd"])
        assert_allclose(back.fitted, ml.fitted, rtol=1e-12)  # modes depend on where the search for them began
        assert_frame_equal(back.predict(cbpp.head(3)), ml.predict(cbpp.head(3)), rtol=1e-10)


def test_posteriors_of_other_families_come_back(cbpp, tmp_path):
    priors = {"1|herd": bmb.Prior("Normal", mu=0, sigma=bmb.Prior("HalfNormal", sigma=2)), "alpha": 3}
    model = hb.Model("incidence ~ period + (1 | herd)", cbpp, family="negativebinomial", priors=priors)
    fit = hb.FamilyFit(model.design, model.priors, made_up(model), specification=model.specification)
    back = again(fit, tmp_path / "fit.hb")
    assert type(back) is hb.FamilyFit
    assert_same_tree(back.idata, fit.idata)
    assert back.priors == fit.priors
    assert back.design.family == fit.design.family
    assert_frame_equal(back.tidy(), fit.tidy())
    assert_frame_equal(back.predict(cbpp.head(3)), fit.predict(cbpp.head(3)))
    assert str(hb.Model.of(back).given_priors) == str(priors)
    assert [rv.name for rv in hb.Model.of(back).graph().free_RVs] == [rv.name for rv in model.graph().free_RVs]


def made_up(model):
    """Draws of a family's parameters that no sampler made."""
    rng = np.random.default_rng(1)
    dims = {"period": ("period_dim",), "1|herd": ("herd__factor_dim",), "Intercept": (), "1|herd_sigma": ()}
    coords = {"period_dim": ["2", "3", "4"], "herd__factor_dim": model.design.factors[0].levels.astype(str)}
    sizes = {name: [len(coords[dim]) for dim in of] for name, of in dims.items()}
    draws = {name: (("chain", "draw", *of), rng.gamma(2.0, size=(2, 9, *sizes[name]))) for name, of in dims.items()}
    posterior = xr.Dataset(draws, {"chain": [0, 1], "draw": np.arange(9), **coords}, {"engine": "graph"})
    stats = xr.Dataset({"diverging": (("chain", "draw"), np.zeros((2, 9), bool))})
    return xr.DataTree.from_dict(
        {"/": xr.Dataset(attrs={"seed": 1}), "/posterior": posterior, "/sample_stats": stats}
    )


def assert_same_tree(one, other):
    """Groups, variables, their order, types, dimensions, coordinates and attributes."""
    assert one.groups == other.groups
    assert one.attrs == other.attrs
    for path in one.groups:
        a, b = one[path].to_dataset(inherit=False), other[path].to_dataset(inherit=False)
        xr.testing.assert_identical(a, b)
        assert [(name, v.dtype) for name, v in a.variables.items()] == [
            (name, v.dtype) for name, v in b.variables.items()
        ]


def test_a_refit_has_nothing_to_be_made_of(dyestuff, tmp_path):
    refit = dyestuff.refit(2.0 * dyestuff.design.y)
    with pytest.raises(hb.HierbayesError, match="refit to other responses or rows"):
        refit.save(tmp_path / "fit.hb")
    with pytest.raises(hb.HierbayesError, match="no Model was made of them"):
        hb.Model.of(refit)
    assert list(tmp_path.iterdir()) == []


def test_names_that_no_tree_can_have_are_refused_before_sampling(sleepstudy, monkeypatch):
    monkeypatch.setattr("nutpie.sample", None)
    for formula, name in {
        "Reaction ~ I(Days / 2) + (1 | Subject)": r"I\(Days / 2\)",
        "Reaction ~ 1 + (0 + I(Days / 2) | Subject)": r"I\(Days / 2\)",
    }.items():
        model = hb.Model(formula, sleepstudy)
        with pytest.raises(hb.HierbayesError, match=f"cannot have a variable named '{name}', because of the slash"):
            model.fit(progress=False)
        assert model.reml().converged


# --- others read it -----------------------------------------------------------------------------


def test_arviz_and_pandas_read_the_same_file(fit_sleepstudy, saved, tmp_path):
    tree = az.from_zarr(zarr.storage.ZipStore(saved))
    assert_array_equal(tree["posterior"]["Days|Subject"], fit_sleepstudy.posterior["Days|Subject"])
    assert_frame_equal(az.summary(tree, var_names=["sigma"]), az.summary(fit_sleepstudy.idata, var_names=["sigma"]))
    with zipfile.ZipFile(saved) as opened:
        data = pd.read_parquet(opened.extract("data.parquet", tmp_path))
        manifest = json.loads(opened.read("hierbayes.json"))
    assert_frame_equal(data, hb.load_data("sleepstudy"))
    assert manifest["model"]["formula"] == "Reaction ~ Days + (Days | Subject)"
    assert manifest["estimate"]["fixef"]["Days"][0] == fit_sleepstudy.reml.fixef["Days"]


def test_bambi_predicts_from_a_loaded_fit(fit_sleepstudy, saved):
    back = hb.load(saved)
    new = hb.load_data("sleepstudy").head(3)
    idata = hb.Model.of(back).bambi.predict(back.idata, data=new, inplace=False)
    wanted = hb.Model.of(fit_sleepstudy).bambi.predict(fit_sleepstudy.idata, data=new, inplace=False)
    assert_array_equal(idata["posterior"]["mu"], wanted["posterior"]["mu"])


def test_there_is_no_pickle_in_a_file(saved):
    with zipfile.ZipFile(saved) as opened:
        for name in opened.namelist():
            content = opened.read(name)
            assert content[:1] != b"\x80", name  # every pickle since protocol 2 begins so
            if name.endswith(".zarray"):
                about = json.loads(content)
                assert about["filters"] is None
                assert about["dtype"] != "|O"
    assert pickletools  # what such content would be read with


def test_arrays_of_pickles_are_not_read():
    tree = xr.DataTree.from_dict({"/posterior": xr.Dataset({"x": ("draw", np.zeros(3))})})
    members, notes = to_members(tree)
    for name in ("posterior/x/.zarray", ".zmetadata"):
        text = members[name].decode()
        evil = {**members, name: text.replace('"filters": null', '"filters": [{"id": "pickle"}]').encode()}
        assert evil[name] != members[name]
        with pytest.raises(hb.HierbayesError, match="something else than numbers or texts"):
            from_members(evil, notes)


# --- data ---------------------------------------------------------------------------------------

N = 6
MIXED = np.array(["a", 1, True, 2.5, None, (1, "b")], dtype=object)
COLUMNS = {
    "float": np.array([0.1, 1e-300, -0.0, 1e308, np.pi, 1 / 3]),
    "float32": np.linspace(0, 1, N, dtype="float32"),
    "int8": np.arange(N, dtype="int8"),
    "uint64": np.arange(N, dtype="uint64") + np.uint64(2**63),
    "bool": np.arange(N) % 2 == 0,
    "text": pd.Series(["a", "é", "", " c", "d\n", "'"]),
    "object text": pd.Series([*"abcabc"], dtype=object),
    "mixed": pd.Series(MIXED),
    "tuples": pd.Series([(1, 2), (3, 4)] * 3),
    "categories": pd.Categorical([*"abcabc"], categories=["c", "b", "a"], ordered=True),
    "numbered categories": pd.Categorical([3, 1, 2] * 2),
    "mixed categories": pd.Categorical([1, "1", 2] * 2),
    "intervals": pd.cut(np.linspace(-1, 1, N), 3),
    "days": pd.date_range("2020", periods=N),
    "zoned": pd.date_range("2020", periods=N, tz="Europe/Berlin"),
    "zoned categories": pd.Categorical(pd.date_range("2020", periods=N, tz="Europe/Berlin")),
    "periods": pd.period_range("2020-01", periods=N, freq="M"),
    "durations": pd.to_timedelta(np.arange(N), "h"),
    "Int64": pd.array(np.arange(N), dtype="Int64"),
    "boolean": pd.array([True, False] * 3, dtype="boolean"),
    "string": pd.array([*"abcabc"], dtype="string"),
    "sparse": pd.arrays.SparseArray(np.arange(N) % 2 * 1.0),
}


@pytest.mark.parametrize("name", COLUMNS)
def test_columns_of_every_type_come_back(name):
    data = pd.DataFrame({"x": COLUMNS[name]})
    back = from_parquet(*to_parquet(data))
    assert_frame_equal(back, data, check_exact=True, check_freq=False)
    assert [*map(type, back["x"])] == [*map(type, data["x"])]
    assert fingerprint(back) == fingerprint(data)


def test_a_column_that_would_not_come_back_is_named():
    with pytest.raises(hb.DataError, match=r"Column 'x' of type complex128 does not fit .*data=False"):
        to_parquet(pd.DataFrame({"x": np.arange(3) * 1j}))
    with pytest.raises(hb.DataError, match="Column 'x' holds objects of type object"):
        to_parquet(pd.DataFrame({"x": pd.Series([object(), 1, 2], dtype=object)}))


def test_a_fingerprint_is_one_of_values_not_of_memory():
    data = pd.DataFrame({"x": np.arange(6.0), "n": np.arange(6), "g": [*"abcabc"], "c": pd.Categorical([*"abcabc"])})
    wanted = fingerprint(data)
    strided = pd.DataFrame({name: data[name].repeat(2).reset_index(drop=True)[::2] for name in data})
    assert fingerprint(strided) == wanted
    assert fingerprint(data.astype({"x": "float32", "n": "int8", "g": object})) == wanted
    assert fingerprint(data.astype({"x": "Float64", "n": "Int64", "g": "string"})) == wanted
    different = {
        "a value": data.assign(x=[0, 1, 2, 3, 4, 5 + 1e-15]),
        "the order of rows": data.iloc[::-1],
        "a type": data.astype({"n": float}),
        "order of categories": data.assign(c=data["c"].cat.reorder_categories(["c", "b", "a"])),
        "ordered": data.assign(c=data["c"].cat.as_ordered()),
        "text": data.assign(g=[*"abcabd"]),
        "a name": data.rename(columns={"x": "z"}),
        "columns": data[["n", "x", "g", "c"]],
    }
    assert len({wanted, *(fingerprint(other) for other in different.values())}) == 1 + len(different)


def test_a_fit_saved_without_data_wants_the_same_ones(fit_sleepstudy, sleepstudy, tmp_path):
    path = tmp_path / "fit.hb"
    fit_sleepstudy.save(path, data=False)
    assert "data.parquet" not in zipfile.ZipFile(path).namelist()
    back = hb.load(path, data=sleepstudy.sample(frac=1, random_state=1).sort_index()[["Subject", "Days", "Reaction"]])
    assert_frame_equal(back.tidy(), fit_sleepstudy.tidy())
    with pytest.raises(
        hb.LoadError, match=r"saved without its data; load it with data=.*'Reaction', 'Days', 'Subject'"
    ):
        hb.load(path)
    with pytest.raises(hb.DataError, match=r"have 179 complete rows, .* fitted to 180"):
        hb.load(path, data=sleepstudy.iloc[1:])
    with pytest.raises(
        hb.DataError, match="Column 'Days' of the data, of type int64, has other values, another order"
    ):
        hb.load(path, data=sleepstudy.assign(Days=sleepstudy["Days"] + 1))
    with pytest.raises(
        hb.DataError, match=r"Column 'Days' .* of type float64, .* than what was fitted, of type int64"
    ):
        hb.load(path, data=sleepstudy.astype({"Days": float}))
    with pytest.raises(hb.DataError, match=r"no column 'Days'.*Did you mean 'days'"):
        hb.load(path, data=sleepstudy.rename(columns={"Days": "days"}))
    with pytest.raises(hb.DataError, match="must be a pandas DataFrame, not list"):
        hb.load(path, data=[1, 2])


def test_data_are_compared_even_if_they_are_in_the_file(small):
    with pytest.raises(hb.DataError, match="Column 'Yield'"):
        hb.load(small, data=hb.load_data("Dyestuff").assign(Yield=np.arange(30)))


def test_arrays_that_were_given_are_asked_for(made, sleepstudy, tmp_path):
    reml = made["weights"].reml()
    reml.save(tmp_path / "fit.hb", data=False)
    with pytest.raises(hb.DataError, match=r"weights= was given as an array; add it .* column named '\(weights\)'"):
        hb.load(tmp_path / "fit.hb", data=sleepstudy)
    back = hb.load(tmp_path / "fit.hb", data=sleepstudy.assign(**{"(weights)": reml.design.weights}))
    assert back.criterion == reml.criterion


def test_incomplete_rows_are_left_out_again(made, sleepstudy, tmp_path):
    reml = made["missing"].reml()
    reml.save(tmp_path / "fit.hb", data=False)
    holes = sleepstudy.assign(Reaction=sleepstudy["Reaction"].where(np.arange(len(sleepstudy)) % 50 != 3))
    back = hb.load(tmp_path / "fit.hb", data=holes)
    assert back.criterion == reml.criterion
    assert_array_equal(back.design.row_labels, reml.design.row_labels)


# --- functions ----------------------------------------------------------------------------------


def test_a_function_must_be_there_again_and_do_the_same(made, tmp_path):
    path = tmp_path / "fit.hb"
    reml = made["functions"].reml()
    reml.save(path)
    assert hb.load(path).criterion == reml.criterion
    code = f"import hierbayes as hb\ntry:\n    hb.load({str(path)!r})\nexcept hb.LoadError as e:\n    print(e)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "uses centred, the function centred of test_store, which is not in the file; define or import it" in out

    code = (
        "import hierbayes as hb\ndef load():\n    centred = lambda v: v - v.mean()\n    return scope(centred)\n"
        f"def scope(f):\n    return hb.load({str(path)!r}, namespace={{'centred': f}})\nprint(load().criterion)"
    )
    run = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=False)
    assert run.stdout.strip() == str(reml.criterion), run.stderr

    def elsewhere():
        centred = np.sqrt
        assert centred(4.0) == 2.0
        return hb.load(path)

    with pytest.raises(
        hb.LoadError, match=r"no longer makes the same columns: centred.Days. .* differs; define centred"
    ):
        elsewhere()


def test_words_of_a_formula():
    formula = "y ~ f(x, df=k) + `df a` + np.log(z) + C(u, levels=['v']) + (a == b) + (0 + x | g)"
    assert words_of(formula) == {"y", "f", "x", "k", "np", "z", "C", "u", "a", "b", "g"}


def test_what_a_formula_does_not_use_is_not_saved(sleepstudy, tmp_path):
    df, Days, Reaction, log = sleepstudy, object(), sleepstudy, "log"
    model = hb.Model("Reaction ~ bs(Days, df=4) + (1 | Subject)", df)
    assert len({id(Days), id(Reaction), log}) == 3
    model.reml().save(tmp_path / "fit.hb")
    with zipfile.ZipFile(tmp_path / "fit.hb") as opened:
        about = json.loads(opened.read("hierbayes.json"))["model"]
    assert (about["values"], about["functions"]) == ({}, {})


# --- values -------------------------------------------------------------------------------------

VALUES = [
    None, True, 1, 2**70, 0.1, -0.0, "é", [1, "a", [None]], {"a": 1, "b": [2]}, {1: "a", (1, 2): "b"}, {"$a": 1}, (),
    (1, (2,)), np.float64(0.1), np.float32(0.1), np.int8(3), np.bool_(True), np.str_("a"), pd.Timestamp("2020-01-02"),
    pd.Timestamp("2020-01-02 03:04", tz="Europe/Berlin"), pd.Timedelta("3 h"), pd.Interval(0.1, 2.5, closed="left"),
    pd.Period("2020-03", freq="M"), np.datetime64("2020-01-01", "D"),
]  # fmt: skip


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_values_survive_json(value):
    back = from_plain(json.loads(json.dumps(to_plain(value), allow_nan=False)))
    assert type(back) is type(value)
    assert back == value
    assert repr(back) == repr(value)


@pytest.mark.parametrize(
    "value",
    [
        np.array([[1.5, np.nan], [np.inf, -0.0]]),
        np.zeros((0, 3)),
        np.array(2.0),
        np.array(["a", "éé"]),
        np.arange(3, dtype="uint8"),
        np.array(["2020", "2021"], dtype="datetime64[Y]"),
        np.array(["a", None, 1.5], dtype=object),
        np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    ],
)
def test_arrays_survive_json(value):
    back = from_plain(json.loads(json.dumps(to_plain(value), allow_nan=False)))
    assert (back.dtype, back.shape) == (value.dtype, value.shape)
    assert_array_equal(back, value)


def test_what_json_cannot_have_is_refused():
    with pytest.raises(TypeError, match=r"^object$"):
        to_plain([1, object()])
    assert np.isnan(from_plain(to_plain(float("nan"))))


def test_trees_survive_with_all_that_they_have():
    group = xr.Dataset(
        {
            "objects": ("x", np.array(["a", None, 1], dtype=object)),
            "when": ("x", pd.date_range("2020", periods=3)),
            "flags": ("x", np.array([True, False, True])),
            "small": ("x", np.ones(3, "float32"), {"unit": None}),
            "none": ("z", np.zeros(0)),
            "one": ((), 3.5),
            "b first": ("x", np.array([1, 2, 3], "uint64")),
            "a last": ("x", [np.nan, np.inf, 0.1]),
        },
        {"x": ["c", "é", "a"], "y": ("x", [1, 2, 3])},
        {"list": [1, "a", None, True], "nested": {"k": [1, (2, 3)]}, "array": np.float64(0.1), "nan": None},
    )
    tree = xr.DataTree.from_dict({"/": xr.Dataset(attrs={"tuple": (1, 2)}), "/a": group, "/a/b": group[["one"]]})
    assert_same_tree(from_members(*to_members(tree)), tree)
    tree["a"].attrs["what"] = object()
    with pytest.raises(hb.HierbayesError, match="group '/a' of idata has objects of type object"):
        to_members(tree)


# --- half-written, damaged, of another kind ----------------------------------------------------

SAVE = """
import sys, time, zipfile
import hierbayes as hb
model = hb.Model("Yield ~ 1 + (1 | Batch)", hb.load_data("Dyestuff").assign(Yield=lambda d: 2 * d["Yield"]))
reml = model.reml()
place = {place!r}
def stuck(whole):
    def call(*args, **more):
        if place == "before":
            whole(*args, **more)
        print("saving", flush=True)
        time.sleep(100)
    return call
if place == "middle":
    zipfile.ZipFile.writestr = stuck(zipfile.ZipFile.writestr)
else:
    import os
    os.fsync = stuck(os.fsync)
reml.save({path!r})
"""


@pytest.mark.parametrize("place", ["middle", "before"])
def test_a_save_that_is_killed_leaves_the_old_file(place, small, tmp_path):
    path = tmp_path / "fit.hb"
    shutil.copy(small, path)
    before = path.read_bytes()
    code = SAVE.format(place=place, path=str(path))
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout.readline() == "saving\n"
        child.send_signal(signal.SIGKILL)
        child.wait()
    assert path.read_bytes() == before
    assert hb.load(path).nobs == 30
    left = [other for other in tmp_path.iterdir() if other != path]
    assert [other.name.startswith(".fit.hb.") for other in left] == [True]
    hb.load(path).save(path)  # and saving goes on
    assert hb.load(path).nobs == 30


def test_a_save_that_fails_leaves_the_old_file(small, dyestuff, tmp_path, monkeypatch):
    path = tmp_path / "fit.hb"
    shutil.copy(small, path)

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(zipfile.ZipFile, "writestr", full)
    with pytest.raises(hb.OutputError, match="no space left on device"):
        dyestuff.ml().save(path)
    monkeypatch.undo()
    assert [other.name for other in tmp_path.iterdir()] == ["fit.hb"]
    assert hb.load(path).method == "REML"


def test_a_saved_fit_is_replaced_and_nothing_else_is(dyestuff, tmp_path):
    path = tmp_path / "fit.hb"
    path.touch()
    dyestuff.reml().save(path)
    dyestuff.ml().save(str(path))
    assert hb.load(str(path)).method == "ML"
    table = tmp_path / "data.csv"
    table.write_text("x,y\n1,2\n")
    with pytest.raises(hb.OutputError, match=r"data.csv is there already and is not a saved fit; name another file"):
        dyestuff.reml().save(table)
    assert table.read_text() == "x,y\n1,2\n"
    with pytest.raises(hb.OutputError, match="is a folder; name a file in it"):
        dyestuff.reml().save(tmp_path)
    with pytest.raises(hb.OutputError, match="there is no folder"):
        dyestuff.reml().save(tmp_path / "missing" / "fit.hb")


def test_files_that_are_none_say_so(tmp_path):
    with pytest.raises(hb.LoadError, match=r"There is no file .*nothing.hb; check the name"):
        hb.load(tmp_path / "nothing.hb")
    with pytest.raises(OSError, match="is a folder; name a file"):
        hb.load(tmp_path)
    for name, content in {"empty": b"", "text": b"x,y\n1,2\n", "short": b"PK\x03\x04"}.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(hb.LoadError, match=f"{name} is not a file that hierbayes has saved"):
            hb.load(tmp_path / name)
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as other:
        other.writestr("a.txt", "a")
    with pytest.raises(hb.LoadError, match="is not a file that hierbayes has saved"):
        hb.load(tmp_path / "other.zip")


def test_a_file_of_the_future_says_so(small, tmp_path):
    path = tmp_path / "fit.hb"
    rewrite(small, path, lambda about: about | {"format": 2, "versions": {"hierbayes": "9.1"}, "members": {"x": {}}})
    with pytest.raises(
        hb.LoadError, match=r"has format 2, written by hierbayes 9.1; this is hierbayes .*Update hierbayes"
    ):
        hb.load(path)
    rewrite(small, path, lambda about: about | {"kind": "SplineFit"})
    with pytest.raises(hb.LoadError, match="holds a SplineFit, which this version of hierbayes does not know"):
        hb.load(path)


def rewrite(source, target, change):
    """A saved fit with another manifest."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            if name == archive.MANIFEST:
                content = json.dumps(change(json.loads(content))).encode()
            new.writestr(name, content)


def test_a_changed_estimate_is_noticed(small, tmp_path):
    def change(about):
        about["estimate"]["fixef"]["Intercept"][0] += 0.1
        return about

    rewrite(small, tmp_path / "fit.hb", change)
    with pytest.raises(hb.LoadError, match=r"The coefficient 'Intercept' in .* was 1527.6, and is 1527.5"):
        hb.load(tmp_path / "fit.hb")


def flipped(path, content, places):
    """The same file again and again, each time with one other byte changed."""
    for place in places:
        damaged = bytearray(content)
        damaged[place] ^= 0x55
        path.write_bytes(damaged)
        yield place


def loaded(call, path):
    """What is loaded, or what is said instead."""
    try:
        return call(path), ""
    except hb.LoadError as error:
        return None, str(error)


def test_every_damaged_byte_is_noticed_or_does_not_matter(small, dyestuff, tmp_path):
    content, wanted = small.read_bytes(), dyestuff.reml()
    places = np.unique(np.r_[np.arange(60), np.linspace(60, len(content) - 1, 150).astype(int)])
    said = 0
    for _ in flipped(tmp_path / "fit.hb", content, places):
        back, message = loaded(hb.load, tmp_path / "fit.hb")
        if back is None:
            said += 1
            assert "is damaged: " in message
        else:  # a date, or a name of an operating system
            assert back.criterion == wanted.criterion
            assert_frame_equal(back.specification.data, dyestuff.data)
    assert said > 0.8 * len(places)


def test_every_damaged_byte_of_a_posterior_is_noticed_or_does_not_matter(saved, tmp_path):
    content = saved.read_bytes()
    manifest, members = archive.read(saved)
    places = np.unique(np.linspace(0, len(content) - 1, 200).astype(int))
    said = 0
    for _ in flipped(tmp_path / "fit.hb", content, places):
        back, message = loaded(archive.read, tmp_path / "fit.hb")
        said += back is None
        assert "is damaged: " in message if back is None else back == (manifest, members)
    assert said > 0.95 * len(places)


def test_a_damaged_part_is_named(saved, tmp_path):
    path = tmp_path / "fit.hb"
    with zipfile.ZipFile(saved) as opened:
        info = opened.getinfo("posterior/Days|Subject/0.0.0")
        parquet = opened.getinfo("data.parquet")
    for member in (info, parquet):
        content = bytearray(saved.read_bytes())
        content[member.header_offset + 30 + len(member.filename.encode()) + 100] ^= 1
        path.write_bytes(content)
        with pytest.raises(hb.LoadError) as caught:
            hb.load(path)
        assert f"is damaged: its part {member.filename} is unreadable. Take a copy" in str(caught.value)


def test_a_part_of_another_file_is_noticed(saved, tmp_path):
    path = tmp_path / "fit.hb"
    with zipfile.ZipFile(saved) as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            source = "posterior/Days/0.0" if name == "posterior/sigma/0.0" else name
            new.writestr(name, old.read(source))
    with pytest.raises(hb.LoadError, match=r"its part posterior/sigma/0.0 is not what was saved"):
        hb.load(path)


@pytest.mark.parametrize("share", [0.0005, 0.1, 0.5, 0.9, 0.999])
def test_a_truncated_file_says_so(saved, tmp_path, share):
    content = saved.read_bytes()
    Path(tmp_path, "fit.hb").write_bytes(content[: int(share * len(content))])
    with pytest.raises(hb.LoadError, match="is damaged: its end, with the table of contents, is missing"):
        hb.load(tmp_path / "fit.hb")


def test_a_response_of_unordered_categories_is_the_one_that_was_fitted(tmp_path, sleepstudy):
    data = sleepstudy.assign(
        slow=pd.Categorical(np.where(sleepstudy["Reaction"] > 300, "yes", "no"), categories=["yes", "no"])
    )
    fit = hb.Model("slow ~ Days + (1 | Subject)", data, family="bernoulli").ml()
    for whole in (True, False):
        fit.save(tmp_path / f"{whole}.hb", data=whole)
        back = hb.load(tmp_path / f"{whole}.hb", data=None if whole else data)
        assert_array_equal(back.design.y, data["slow"] == "yes")
        assert_allclose(back.fixef, fit.fixef)
