"""Data sets: their contents, the recipes against the tutorials' own code, and every way to fail."""
# ruff: noqa: NPY002  the tutorials draw from NumPy's global legacy generator, and so must their transcription

from __future__ import annotations

import logging
import socket
import subprocess
import sys
import threading
from contextlib import contextmanager
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pandas as pd
import pooch
import pytest
from pandas.testing import assert_frame_equal

from hierbayes.datasets import download, list_data, load_data
from hierbayes.datasets.registry import REGISTRY, Dataset
from hierbayes.errors import DatasetError, HierbayesError
from hierbayes.model import Model

SHARED = Path(__file__).resolve().parents[2] / "shared" / "datasets"
NAMES = {
    access: [entry.name for entry in REGISTRY.values() if entry.access == access]
    for access in ("embedded", "simulated", "download")
}
LOCAL = NAMES["embedded"] + NAMES["simulated"]

needs_shared = pytest.mark.skipif(
    not SHARED.is_dir(), reason=f"the original data files are not beside the repository, in {SHARED}"
)


@pytest.fixture(autouse=True)
def no_folder(monkeypatch):
    """Keep the machine's own HIERBAYES_DATA from deciding a test."""
    monkeypatch.delenv("HIERBAYES_DATA", raising=False)


# ---------------------------------------------------------------- the table


def test_the_table_lists_every_set():
    table = list_data()
    assert list(table.columns) == ["name", "rows", "columns", "description", "source", "licence", "access"]
    assert table["name"].tolist() == list(REGISTRY)
    assert table["name"].is_unique
    assert (table.drop(columns="rows") != "").all(axis=None)
    assert table["access"].value_counts().to_dict() == {"simulated": 11, "embedded": 12, "download": 2}


@pytest.mark.parametrize("name", LOCAL)
def test_the_table_tells_the_truth(name):
    row = list_data().set_index("name").loc[name]
    data = load_data(name)
    assert len(data) == row["rows"]
    assert ",".join(data.columns) == row["columns"]
    assert data.index.equals(pd.RangeIndex(len(data)))
    assert not data.isna().any(axis=None)


def test_published_figures_name_their_publication_and_the_package_that_has_them():
    table = list_data().set_index("name").loc[NAMES["embedded"]]
    assert table["source"].str.contains(r"\((?:19[3-9]\d|200\d)\)").all()
    package = table["licence"].str.extract(r"R package (\w+) \(GPL-[23] or later\)")[0].drop("eight_schools")
    assert package.value_counts().to_dict() == {"lme4": 8, "nlme": 1, "rstanarm": 1, "ordinal": 1}
    assert "as published" in table.loc["eight_schools", "licence"]


@pytest.mark.parametrize("name", LOCAL)
def test_a_change_never_reaches_the_next_load(name):
    first = load_data(name)
    kept = first.copy(deep=True)
    first.iloc[:, -1] = first.iloc[0, -1]
    first["new"] = 0
    assert_frame_equal(load_data(name), kept)


def test_unknown_names_are_refused_with_a_suggestion():
    with pytest.raises(DatasetError, match=r"no data set 'Sleepstudy'\. Did you mean 'sleepstudy'\?"):
        load_data("Sleepstudy")
    with pytest.raises(DatasetError, match="There are: sleepstudy, Penicillin"):
        load_data("qqq")


def test_a_refusal_can_be_caught_as_hierbayes_or_lookup_error():
    assert issubclass(DatasetError, HierbayesError)
    assert issubclass(DatasetError, LookupError)


# ---------------------------------------------------------------- embedded files

EMBEDDED = {  # text columns with their numbers of levels; numeric columns with their sums
    "sleepstudy": ({"Subject": 18}, {"Reaction": 53731.42049999999, "Days": 810}),
    "Penicillin": ({"plate": 24, "sample": 6}, {"diameter": 3308}),
    "Pastes": ({"batch": 10, "cask": 3, "sample": 30}, {"strength": 3603.2}),
    "Dyestuff": ({"Batch": 6}, {"Yield": 45825}),
    "Dyestuff2": ({"Batch": 6}, {"Yield": 169.968}),
    "cake": ({"replicate": 15, "recipe": 3, "temperature": 6}, {"angle": 8673, "temp": 54000}),
    "cbpp": ({"herd": 15, "period": 4}, {"incidence": 99, "size": 842}),
    "eight_schools": ({"school": 8}, {"effect": 70, "se": 100}),
    "Orthodont": ({"Subject": 27, "Sex": 2}, {"distance": 2594.5, "age": 1188}),
    "radon": (
        {"county": 85},
        {"floor": 153, "radon": 4381.9, "log_radon": 1125.42822620, "log_uranium": -121.04071177},
    ),
    "grouseticks": (
        {"INDEX": 403, "BROOD": 118, "YEAR": 3, "LOCATION": 63},
        {"TICKS": 2567, "HEIGHT": 186283, "cHEIGHT": -0.0000000073},
    ),
    "wine": ({"temp": 2, "contact": 2, "bottle": 8, "judge": 9, "rating": 5}, {"response": 3400}),
}


@pytest.mark.parametrize("name", EMBEDDED)
def test_embedded_contents(name):
    levels, sums = EMBEDDED[name]
    data = load_data(name)
    assert {column: data[column].nunique() for column in data.select_dtypes(["str", "category"])} == levels
    numbers = data.select_dtypes("number")
    assert numbers.sum().to_dict() == pytest.approx(sums, rel=1e-12)
    assert set(levels) | set(numbers) == set(data)


def test_every_embedded_set_is_checked():
    assert set(EMBEDDED) == set(NAMES["embedded"])


@needs_shared
@pytest.mark.parametrize("name", [name for name in NAMES["embedded"] if (SHARED / f"{name}.csv").exists()])
def test_embedded_files_are_the_originals(name):
    packaged = Path(download.__file__).with_name(f"{name}.csv")
    assert packaged.read_bytes() == (SHARED / f"{name}.csv").read_bytes()


def test_no_course_file_is_in_the_package():
    assert {path.stem for path in Path(download.__file__).parent.glob("*.csv")} == set(NAMES["embedded"])


def test_designs_are_what_their_descriptions_say():
    penicillin = load_data("Penicillin")
    assert (penicillin.groupby(["plate", "sample"]).size() == 1).all()
    pastes = load_data("Pastes")
    assert (pastes["sample"] == pastes["batch"] + ":" + pastes["cask"]).all()
    cake = load_data("cake")
    assert (cake["temperature"].astype(int) == cake["temp"]).all()
    cbpp = load_data("cbpp")
    assert (cbpp["incidence"] <= cbpp["size"]).all()
    radon = load_data("radon")
    assert radon["log_radon"].to_numpy() == pytest.approx(np.log(radon["radon"].clip(lower=0.1)), abs=5e-9)
    assert len(radon[["county", "log_uranium"]].drop_duplicates()) == radon["county"].nunique()
    ticks = load_data("grouseticks")
    assert len(ticks[["BROOD", "LOCATION", "YEAR"]].drop_duplicates()) == ticks["BROOD"].nunique()
    assert ticks["cHEIGHT"].to_numpy() == pytest.approx(ticks["HEIGHT"] - ticks["HEIGHT"].mean(), abs=1e-10)
    wine = load_data("wine")
    assert wine["rating"].cat.ordered
    assert wine["rating"].cat.categories.tolist() == ["1", "2", "3", "4", "5"]
    assert (wine["rating"].astype(int) == 1 + wine["response"] // 20).all()
    assert (wine.groupby(["judge", "bottle"]).size() == 1).all()
    orthodont = load_data("Orthodont")
    assert (orthodont.groupby("Subject")["age"].apply(list).map(tuple) == (8, 10, 12, 14)).all()
    assert (orthodont["Subject"].str[0] == orthodont["Sex"].str[0]).all()


def test_the_book_s_radon():
    """Complete, partial and no pooling of Gelman and Hill (2007), sections 12.2-12.6 and 13.1, as printed there."""
    data = load_data("radon")
    book = {  # fixed effects, their standard errors; standard deviations and correlation
        "log_radon ~ floor + (1 | county)": ([1.46, -0.69], [0.05, 0.07], [0.33, 0.76]),
        "log_radon ~ floor + log_uranium + (1 | county)": ([1.47, -0.67, 0.72], [0.04, 0.07, 0.09], [0.16, 0.76]),
        "log_radon ~ floor + (floor | county)": ([1.46, -0.68], [0.05, 0.09], [0.35, 0.34, -0.34, 0.75]),
    }
    for formula, (fixef, errors, sds) in book.items():
        tidy = Model(formula, data).reml().tidy()
        fixed = tidy["effect"] == "fixed"
        assert tidy.loc[fixed, "estimate"].tolist() == pytest.approx(fixef, abs=5.1e-3)
        assert tidy.loc[fixed, "std_error"].tolist() == pytest.approx(errors, abs=5.1e-3)
        assert tidy.loc[~fixed, "estimate"].tolist() == pytest.approx(sds, abs=5.1e-3)
    means = load_data("Dyestuff2").groupby("Batch")["Yield"].agg(["mean", "var"])
    assert 5 * means["mean"].var() < means["var"].mean()


# ---------------------------------------------------------------- simulated sets
# Each function below repeats what a tutorial runs after np.random.seed(42), on the global generator.


def tutorial_clustered_blobs():
    clusters = [
        (np.random.normal(0, 0.5, 50), np.random.normal(0, 0.5, 50)),
        (np.random.normal(3, 0.5, 50), np.random.normal(3, 0.5, 50)),
        (np.random.normal(6, 0.5, 50), np.random.normal(6, 0.5, 50)),
    ]
    X = np.concatenate([c[0] for c in clusters])
    y = np.concatenate([c[1] for c in clusters])
    return pd.DataFrame({"cluster": [0] * 50 + [1] * 50 + [2] * 50, "X": X, "y": y})


def tutorial_simpson():
    group1 = pd.DataFrame({"x": np.random.uniform(0, 10, 100), "y": np.random.uniform(0, 10, 100) + 5, "group": "A"})
    group2 = pd.DataFrame({"x": np.random.uniform(5, 15, 100), "y": np.random.uniform(5, 15, 100), "group": "B"})
    return pd.concat([group1, group2], ignore_index=True)[["group", "x", "y"]]


def tutorial_five_groups():
    n_groups, n_per_group = 5, 20
    group_means = np.random.normal(0, 1, n_groups)
    groups = np.repeat(range(n_groups), n_per_group)
    X = np.random.normal(0, 1, n_groups * n_per_group) + group_means[groups]
    y = 0.5 * X + np.random.normal(0, 0.5, n_groups * n_per_group) + group_means[groups]
    return pd.DataFrame({"group": groups, "X": X, "y": y})


def tutorial_unbalanced_clusters():
    data = []
    for i, size in enumerate([10, 20, 50, 100, 200]):
        X = np.random.normal(i, 1, size)
        y = 0.5 * X + np.random.normal(0, 0.5, size)
        data.extend([(i, x, y_val) for x, y_val in zip(X, y, strict=True)])
    return pd.DataFrame(data, columns=["cluster", "X", "y"])


def tutorial_education():
    schools = []
    for i in range(10):
        school_effect = np.random.normal(0, 5)
        study_hours = np.random.normal(5, 2, 50)
        test_scores = 2 * study_hours + school_effect + np.random.normal(0, 10, 50)
        schools.extend([(i, h, s) for h, s in zip(study_hours, test_scores, strict=True)])
    return pd.DataFrame(schools, columns=["school", "study_hours", "test_score"])


def tutorial_environment():
    cities = []
    for i in range(8):
        city_effect = np.random.normal(0, 10)
        temperatures = np.random.normal(25, 5, 30)
        pollution_levels = 2 * temperatures + city_effect + np.random.normal(0, 15, 30)
        cities.extend([(i, t, p) for t, p in zip(temperatures, pollution_levels, strict=True)])
    return pd.DataFrame(cities, columns=["city", "temperature", "pollution"])


def tutorial_repeated_measures():
    return pd.DataFrame(
        {
            "subject": np.repeat(["A", "B", "C", "D"], 5),
            "time": np.tile(range(5), 4),
            "treatment": np.repeat(["control", "treatment"], 10),
            "response": np.random.normal(0, 1, 20),
        }
    )


def tutorial_crossed():
    n_subjects, n_items = 50, 30
    n_obs = n_subjects * n_items
    return pd.DataFrame(
        {
            "subject": np.repeat(range(n_subjects), n_items),
            "item": np.tile(range(n_items), n_subjects),
            "condition": np.random.choice(["A", "B"], n_obs),
            "response": np.random.normal(0, 1, n_obs),
        }
    )


def tutorial_power_study(n_subjects=20, n_obs_per_subject=5, fixed_effect=0.3, random_effect_sd=0.5):
    subjects = np.repeat(range(n_subjects), n_obs_per_subject)
    X = np.random.normal(0, 1, n_subjects * n_obs_per_subject)
    random_effects = np.random.normal(0, random_effect_sd, n_subjects)
    y = (
        fixed_effect * X
        + np.repeat(random_effects, n_obs_per_subject)
        + np.random.normal(0, 1, n_subjects * n_obs_per_subject)
    )
    return pd.DataFrame({"subject": subjects, "X": X, "y": y})


def tutorial_arma_clusters(generate_sample):
    data = []
    for cluster in range(3):
        ar_params = np.array([0.75 + 0.1 * np.random.randn()])  # a list in the tutorial, where -ar_params fails
        ma_params = np.array([0.65 + 0.1 * np.random.randn()])
        ar = np.r_[1, -ar_params]
        ma = np.r_[1, ma_params]
        y = generate_sample(ar, ma, 50) + cluster * 2
        data.extend([(cluster, t, y[t]) for t in range(50)])
    return pd.DataFrame(data, columns=["cluster", "time", "value"])


def arma_by_recursion(ar, ma, n):
    """y_t = -ar[1] y_{t-1} + e_t + ma[1] e_{t-1}, from zero."""
    noise = np.random.standard_normal(size=n)
    y = np.zeros(n)
    for t in range(n):
        y[t] = noise[t] + (ma[1] * noise[t - 1] - ar[1] * y[t - 1] if t else 0)
    return y


@pytest.fixture
def seeded():
    """Seed the global legacy generator as the tutorials do, and put it back afterwards."""
    state = np.random.get_state()
    np.random.seed(42)
    yield
    np.random.set_state(state)


TUTORIALS = [
    tutorial_clustered_blobs,
    tutorial_simpson,
    tutorial_five_groups,
    tutorial_unbalanced_clusters,
    tutorial_education,
    tutorial_environment,
    tutorial_repeated_measures,
    tutorial_crossed,
    tutorial_power_study,
]


@pytest.mark.parametrize("tutorial", TUTORIALS)
@pytest.mark.usefixtures("seeded")
def test_recipes_give_the_tutorials_numbers(tutorial):
    name = tutorial.__name__.removeprefix("tutorial_")
    assert_frame_equal(load_data(name), tutorial(), check_exact=True)


@pytest.mark.usefixtures("seeded")
def test_arma_clusters_follow_the_recursion():
    expected = tutorial_arma_clusters(arma_by_recursion)
    assert_frame_equal(load_data("arma_clusters"), expected, rtol=1e-12, atol=1e-13)


@pytest.mark.usefixtures("seeded")
def test_arma_clusters_are_what_statsmodels_generates():
    process = pytest.importorskip(
        "statsmodels.tsa.arima_process", reason="statsmodels, which the tutorial uses, is not installed"
    )
    expected = tutorial_arma_clusters(process.arma_generate_sample)
    assert_frame_equal(load_data("arma_clusters"), expected, check_exact=True)


def test_arma_clusters_pinned():
    value = load_data("arma_clusters")["value"]
    assert value.iloc[[0, 1, 49, 50, 149]].tolist() == pytest.approx(
        [0.6476885381006925, 2.453010195801064, -2.2934820458585783, 3.030999522495951, 3.6270528928736967],
        rel=1e-10,
    )


def test_every_recipe_is_checked():
    checked = {tutorial.__name__.removeprefix("tutorial_") for tutorial in TUTORIALS} | {"arma_clusters"}
    checked |= {"reversal"}  # not of a tutorial; tests/test_clusters.py has its true slopes
    assert checked == set(NAMES["simulated"])


@pytest.mark.parametrize("name", NAMES["simulated"])
def test_recipes_leave_the_global_generator_alone(name):
    before = np.random.get_state()
    load_data(name)
    after = np.random.get_state()
    assert before[0] == after[0]
    assert np.array_equal(before[1], after[1])
    assert before[2:] == after[2:]


def test_simulations_are_what_their_descriptions_say():
    blobs = load_data("clustered_blobs")
    assert blobs["X"].corr(blobs["y"]) > 0.9
    assert all(abs(part["X"].corr(part["y"])) < 0.4 for _, part in blobs.groupby("cluster"))
    simpson = load_data("simpson")
    assert abs(simpson["x"].corr(simpson["y"])) < 0.15
    crossed = load_data("crossed")
    assert (crossed.groupby(["subject", "item"]).size() == 1).all()


# ---------------------------------------------------------------- downloaded files
# A tiny file served from this machine stands for the course's repository.

CONTENT = b"group,y\n1,2.5\n2,3.5\n"
TINY = Dataset(
    name="tiny",
    rows=2,
    columns=("group", "y"),
    text=("group",),
    description="two rows",
    source="this test",
    licence="none",
    sha256=sha256(CONTENT).hexdigest(),
)


@pytest.fixture
def cache(monkeypatch, tmp_path):
    """Add an entry 'tiny' to the table, with an empty cache and no server behind the address."""
    folder = tmp_path / "cache"
    monkeypatch.setitem(REGISTRY, "tiny", TINY)
    monkeypatch.setattr(download, "cache_folder", lambda: folder)
    with socket.create_server(("127.0.0.1", 0)) as closed_again:
        port = closed_again.getsockname()[1]
    monkeypatch.setattr(download, "BASE_URL", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    return folder


@pytest.fixture
def serve(monkeypatch):
    """Return a context manager: a server on this machine that gives the one answer to every request."""

    @contextmanager
    def serving(body, status=200, length=None):
        paths = []

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                paths.append(self.path)
                self.send_response(status)
                self.send_header("Content-Length", str(len(body) if length is None else length))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args):
                pass

        with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
            thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
            thread.start()
            monkeypatch.setattr(download, "BASE_URL", f"http://127.0.0.1:{server.server_port}/data")
            try:
                yield paths
            finally:
                server.shutdown()
                thread.join()

    return serving


def files_in(folder):
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def test_downloaded_once_then_kept(cache, serve):
    with serve(CONTENT) as paths:
        data = load_data("tiny")
        assert paths == ["/data/tiny.csv"]
        again = load_data("tiny")
        assert paths == ["/data/tiny.csv"]
    assert_frame_equal(data, pd.DataFrame({"group": ["1", "2"], "y": [2.5, 3.5]}))
    assert again is not data
    assert files_in(cache) == ["tiny.csv"]
    offline = load_data("tiny")  # the server is gone
    assert_frame_equal(offline, data)


def test_downloading_is_silent(cache, serve, capfd):
    records = []
    handler = logging.Handler()
    handler.emit = records.append
    logger = pooch.get_logger()
    level = logger.level
    logger.addHandler(handler)
    try:
        with serve(CONTENT):
            load_data("tiny")
    finally:
        logger.removeHandler(handler)
    assert records == []
    assert logger.level == level
    assert capfd.readouterr() == ("", "")


def test_a_wrong_file_from_the_server_is_refused_and_not_kept(cache, serve):
    with (
        serve(b"version https://git-lfs.github.com/spec/v1\n"),
        pytest.raises(DatasetError, match=r"is not the data set 'tiny', for its checksum is wrong\. Try again"),
    ):
        load_data("tiny")
    assert files_in(cache) == []


def test_a_missing_page_is_named_with_its_status(cache, serve):
    with serve(b"gone", status=404), pytest.raises(DatasetError, match="the server answered 404 Not Found"):
        load_data("tiny")
    assert files_in(cache) == []


def test_a_broken_off_download_is_refused_and_not_kept(cache, serve):
    with serve(CONTENT[:8], length=len(CONTENT)), pytest.raises(DatasetError):
        load_data("tiny")
    assert files_in(cache) == []


def test_without_a_network_the_message_says_what_to_do(cache):
    with pytest.raises(DatasetError) as caught:
        load_data("tiny")
    message = str(caught.value)
    assert message == (
        f"The data set 'tiny' could not be downloaded from {download.BASE_URL}/tiny.csv: "
        "the connection failed (ConnectionError). Check the network and try again, or put tiny.csv into a "
        "folder and let the environment variable HIERBAYES_DATA name that folder."
    )
    assert files_in(cache) == []


def test_a_broken_file_in_the_cache_is_replaced(cache, serve):
    cache.mkdir()
    (cache / "tiny.csv").write_bytes(b"broken")
    with serve(CONTENT):
        load_data("tiny")
    assert (cache / "tiny.csv").read_bytes() == CONTENT


def test_a_broken_file_in_the_cache_is_never_read(cache):
    cache.mkdir()
    (cache / "tiny.csv").write_bytes(b"broken")
    with pytest.raises(DatasetError, match="could not be downloaded"):
        load_data("tiny")


def test_a_cache_that_cannot_be_written(cache, serve):
    cache.write_text("a file where the folder should be")
    with (
        serve(CONTENT),
        pytest.raises(DatasetError, match=r"cache folder .* cannot be written.*HIERBAYES_DATA"),
    ):
        load_data("tiny")


def test_a_local_folder_comes_first(cache, monkeypatch, tmp_path):
    (tmp_path / "tiny.csv").write_bytes(CONTENT)
    monkeypatch.setenv("HIERBAYES_DATA", str(tmp_path))
    assert load_data("tiny")["group"].tolist() == ["1", "2"]
    assert files_in(cache) == []


def test_a_local_folder_without_the_file_is_passed_over(cache, serve, monkeypatch, tmp_path):
    monkeypatch.setenv("HIERBAYES_DATA", str(tmp_path))
    with serve(CONTENT) as paths:
        load_data("tiny")
    assert len(paths) == 1


def test_a_wrong_local_file_is_refused(cache, monkeypatch, tmp_path):
    (tmp_path / "tiny.csv").write_bytes(CONTENT + b"3,4.5\n")
    monkeypatch.setenv("HIERBAYES_DATA", str(tmp_path))
    with pytest.raises(DatasetError, match=r"tiny\.csv is not the data set 'tiny'.*unset HIERBAYES_DATA"):
        load_data("tiny")


def test_an_unreadable_local_file_is_refused(cache, monkeypatch, tmp_path):
    (tmp_path / "tiny.csv").mkdir()
    monkeypatch.setenv("HIERBAYES_DATA", str(tmp_path))
    with pytest.raises(DatasetError, match=r"tiny\.csv cannot be read"):
        load_data("tiny")


def test_a_missing_local_folder_is_refused(cache, monkeypatch, tmp_path):
    monkeypatch.setenv("HIERBAYES_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(DatasetError, match=r"HIERBAYES_DATA names a folder that does not exist, .*nowhere"):
        load_data("tiny")
    assert len(load_data("sleepstudy")) == 180  # the variable is about downloads only


@pytest.mark.parametrize("name", NAMES["download"])
def test_course_files_have_an_address_and_a_checksum(name):
    assert download.BASE_URL == (
        "https://raw.githubusercontent.com/duchesnay/pystatsml/master/statistics/lmm/datasets"
    )
    assert len(bytes.fromhex(REGISTRY[name].sha256)) == 32


@needs_shared
@pytest.mark.parametrize("name", NAMES["download"])
def test_course_files_are_as_described(name, monkeypatch):
    monkeypatch.setenv("HIERBAYES_DATA", str(SHARED))
    data = load_data(name)
    entry = REGISTRY[name]
    assert len(data) == entry.rows
    assert tuple(data.columns) == entry.columns
    assert tuple(data.select_dtypes("str").columns) == entry.text
    assert not data.isna().any(axis=None)


def test_local_data_need_neither_pooch_nor_scipy():
    code = (
        "import sys\n"
        "import hierbayes\n"
        "before = set(sys.modules)\n"
        "import hierbayes.datasets as datasets\n"
        "datasets.list_data(), datasets.load_data('sleepstudy'), datasets.load_data('crossed')\n"
        "print(sorted({'pooch', 'requests', 'scipy', 'statsmodels'} & (set(sys.modules) - before)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
