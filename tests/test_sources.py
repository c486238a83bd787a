"""Files of the user's own: formats, separators, and the code that reads them again."""

from __future__ import annotations

import re
import sys
from io import BytesIO, TextIOWrapper
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pandas.testing import assert_frame_equal

from hierbayes.datasets.sources import File, find_data, read_table
from hierbayes.errors import DataError, HierbayesWarning


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def frame():
    return pd.DataFrame({"y": [1.5, 2.5, np.nan], "g": ["a", "b", "ä"], "n": [1, 2, 3]})


WRITERS = {
    "t.csv": lambda data, path: data.to_csv(path, index=False),
    "t.csv.gz": lambda data, path: data.to_csv(path, index=False),
    "t.parquet": lambda data, path: data.to_parquet(path),
    "t.feather": lambda data, path: data.to_feather(path),
    "t.arrow": lambda data, path: data.to_feather(path, compression="uncompressed"),
    "parquet with another ending.csv": lambda data, path: data.to_parquet(path),
    "a feather's name": lambda data, path: data.to_feather(path),
}


@pytest.mark.parametrize(("name", "write"), WRITERS.items())
def test_every_format_gives_the_table_and_its_code_too(frame, name, write):
    write(frame, name)
    assert_frame_equal(read_table(name), frame)
    assert_frame_equal(eval(File(name).code, {"pd": pd}), frame)
    assert find_data(f"./{name}")[1] == name.split(".")[0]


def test_other_separators_and_decimal_commas(frame):
    frame.to_csv("german.csv", index=False, sep=";", decimal=",")
    german = File("german.csv", ";", ",")
    assert_frame_equal(read_table(german), frame)
    assert_frame_equal(eval(german.code, {"pd": pd}), frame)
    assert german.words == ["german.csv", "--separator", ";", "--decimal", ","]
    frame.to_csv("tabs.tsv", index=False, sep="\t")
    tabs = File("tabs.tsv", "\t")
    assert_frame_equal(read_table(tabs), frame)
    assert tabs.words == ["tabs.tsv", "--separator", "tab"]
    for path, spelled in (("german.csv", "--separator ';'"), ("tabs.tsv", "--separator tab")):
        with pytest.raises(DataError, match="has one column only") as refused:
            read_table(path)
        assert spelled in str(refused.value)


def test_categories_and_a_saved_index_survive(frame):
    frame["g"] = pd.Categorical(frame["g"], categories=["b", "ä", "a"], ordered=True)
    frame.set_index("n").to_parquet("indexed.parquet")
    found = read_table("indexed.parquet")
    assert set(found.columns) == {"y", "g", "n"}
    assert found["g"].cat.categories.tolist() == ["b", "ä", "a"]
    assert found["n"].tolist() == [1, 2, 3]
    assert_frame_equal(eval(File("indexed.parquet").code, {"pd": pd}), found)


def test_lines_that_end_with_a_separator():
    Path("ends.csv").write_text("y,g\n1,a,\n3,b,\n")
    found = read_table("ends.csv")
    assert found.to_dict("list") == {"y": [1, 3], "g": ["a", "b"]}
    assert_frame_equal(eval(File("ends.csv").code, {"pd": pd}), found)


def test_types_that_are_not_guessed():
    Path("codes.csv").write_text("g,y\n01,1\n02,3\n")
    assert read_table("codes.csv", dtype={"g": "str"})["g"].tolist() == ["01", "02"]


def test_a_compressed_parquet_file(frame):
    Path("t.parquet.gz").write_bytes(b"\x1f\x8b")
    with pytest.raises(DataError, match="Uncompress it first"):
        read_table("t.parquet.gz")


def test_what_is_piped_in(frame, monkeypatch):
    for content in (frame.to_csv(index=False).encode(), frame.to_parquet()):
        monkeypatch.setattr(sys, "stdin", TextIOWrapper(BytesIO(content)))
        data, stem = find_data("-")
        assert_frame_equal(data, frame)
        assert stem == "stdin"
    monkeypatch.setattr(sys, "stdin", TextIOWrapper(BytesIO(b"")))
    with pytest.raises(DataError, match="What is piped in is empty"):
        read_table("-")


def test_the_format_of_a_file_that_is_not_there_goes_by_its_ending():
    assert [File(name).format for name in ("a.parquet", "a.pq", "a.FEATHER", "a.arrow", "a.txt", "a")] == [
        "Parquet", "Parquet", "Feather", "Feather", "CSV", "CSV",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda path: path.write_bytes(b"PAR1 and then nothing of the kind"), "begins as a Parquet file"),
        (lambda path: path.write_bytes(b"ARROW1\0\0 and then nothing of the kind"), "begins as a Feather file"),
        (lambda path: path.mkdir(), "is a folder"),
        (lambda path: None, "There is no file"),
        (lambda path: pd.DataFrame({"y": [1]}).to_parquet(path), "one column only"),
        (lambda path: path.write_text("y,g\n1,2,a\n3,4,b\n"), "more values in its lines than the 2 names"),
        (lambda path: path.write_text("y,g\n1,a\n3,b,4\n"), "Expected 2 fields in line 3, saw 3|more values in"),
        (lambda path: path.write_text("y,g,y\n1,a,2\n"), "several columns named 'y'"),
        (lambda path: path.write_text("y,g\n"), "but no rows"),
        (lambda path: pd.DataFrame({"y": [1], "g": [2]}).head(0).to_parquet(path), "but no rows"),
        (
            lambda path: pd.DataFrame({"y": [1], "g": [2]}, index=pd.Index([5], name="g")).to_parquet(path),
            "several columns named 'g'|cannot be read as one",
        ),
    ],
)
def test_what_cannot_be_read(make, reason):
    path = Path("broken.bin")
    make(path)
    with pytest.raises(DataError, match=reason):
        read_table(path)


@pytest.mark.parametrize(
    ("separator", "decimal", "reason"),
    [(";;", ".", "separator is one character"), ("a", ".", "separator is one"), (",", ",", "cannot both be ','")],
)
def test_separators_that_are_none(separator, decimal, reason):
    with pytest.raises(DataError, match=reason):
        read_table(File("x.csv", separator, decimal))


@pytest.mark.parametrize(
    ("y", "hint"),
    [
        (["1,23", "4", "-5,6e3"], "if these are numbers with a decimal comma, say --decimal ','"),
        ([*map(str, range(19)), "?"], "'?' in data row 20; the other 19 values are numbers"),
    ],
)
def test_numbers_that_are_text_are_named(y, hint):
    pd.DataFrame({"y": y, "g": "a"}).to_csv("odd.csv", index=False, sep=";")
    with pytest.warns(HierbayesWarning, match=re.escape(hint)):
        assert read_table(File("odd.csv", separator=";"))["y"].tolist() == y


def test_labels_are_left_alone():
    data = pd.DataFrame({"y": [1.0, 2.0, 3.0], "g": ["a", "b", "7"], "pair": ["1,2", "1,x", "3"]})
    data.to_csv("fine.csv", index=False)
    assert read_table(File("fine.csv")).shape == (3, 3)
