"""Prediction files: what is written is read back, and a file of another shape is refused by file and key."""

from __future__ import annotations

import json
from pathlib import Path
from unicodedata import normalize

import pytest
from hypothesis import given
from hypothesis import strategies as st

from composir.errors import ComposirError, DataError, UnknownNameError
from composir.submission.formats import Answered, Prediction, StartKit, as_json, parse, read

# Names as the readers give them: Unicode's form NFC, no half characters.
TEXT = st.text(st.characters(exclude_categories=["Cs"])).map(lambda text: normalize("NFC", text))
NAME = TEXT.filter(str.strip)
QUERY = st.integers(0, 10**9).map(str)
NAMES = st.lists(NAME, max_size=5).map(tuple)
NUMBERS = st.lists(st.integers(-5, 10**13).map(str), max_size=5).map(tuple)
RECORD = st.tuples(NAME, st.lists(TEXT, max_size=3).map(tuple), NAMES, st.none() | NAME)


# The values are made in the tests: the annotation checks of their constructors draw random items, which strategies may
# not do.
@given(st.sampled_from(["recall", "recall_subset"]), st.dictionaries(QUERY, NAMES))
def test_cirr_comes_back(kind, lists):
    prediction = Prediction(kind, lists)
    assert parse(json.loads(as_json(prediction)), "cirr") == prediction


@given(st.dictionaries(QUERY, NUMBERS))
def test_circo_comes_back(lists):
    prediction = Prediction("circo", lists)
    assert parse(json.loads(as_json(prediction)), "circo") == prediction


@given(st.lists(RECORD, max_size=4))
def test_the_start_kit_comes_back(records):
    prediction = StartKit(tuple(Answered(*record) for record in records))
    assert parse(json.loads(as_json(prediction)), "fashioniq") == prediction


def test_the_public_samples_come_back(shared_data):
    for data, file in (
        ("cirr", "demo_files/test1_pred_ranks_recall_subset.json"),
        ("circo", "submission_examples/submission_val.json"),
        ("circo", "submission_examples/submission_test.json"),
    ):
        path = shared_data / data / file
        prediction = read(path, data)
        assert prediction.path == path
        assert json.loads(as_json(prediction)) == json.loads(path.read_text("utf-8"))


def test_what_is_written_is_as_the_servers_say():
    written = as_json(Prediction("recall", {"20": ("b", "a"), "3": ("é",)}))
    assert written == '{"20": ["b", "a"], "3": ["\\u00e9"], "metric": "recall", "version": "rc2"}'
    assert as_json(Prediction("circo", {"0": ("12", "3")})) == '{"0": [12, 3]}'
    with pytest.raises(ComposirError, match=r"whole numbers.*'img'"):
        as_json(Prediction("circo", {"0": ("img",)}))


def test_names_are_compared_in_one_unicode_form():
    apart = normalize("NFD", "é")
    assert parse({"version": "rc2", "metric": "recall", "1": [apart]}, "cirr").lists == {"1": ("é",)}


HEAD = {"version": "rc2", "metric": "recall"}


@pytest.mark.parametrize(
    ("data", "value", "message"),
    [
        ("cirr", [], "holds a list; the format is"),
        ("cirr", 3, "holds the number 3; the format is"),
        ("cirr", {"0": ["a"]}, "neither the key 'version' nor 'metric'.* say --data circo"),
        ("cirr", {"metric": "recall", "0": ["a"]}, "lacks the key 'version'"),
        ("cirr", {"version": "rc2", "0": ["a"]}, "lacks the key 'metric'"),
        ("cirr", {**HEAD, "version": "rc1"}, "version is 'rc1'; CIRR takes 'rc2'"),
        ("cirr", {**HEAD, "version": 2}, "key 'version' holds the number 2"),
        ("cirr", {**HEAD, "metric": "recall_sub"}, "metric is 'recall_sub'; CIRR takes"),
        ("cirr", {**HEAD, "metrics": "recall"}, "key 'metrics' is no query id"),
        ("cirr", {**HEAD, "012": ["a"]}, "key '012' is no query id"),
        ("cirr", {**HEAD, "٣": ["a"]}, "is no query id"),
        ("cirr", {**HEAD, "": ["a"]}, "key '' is no query id"),
        ("cirr", {**HEAD, "12": "a"}, "key '12' holds the text \"a\""),
        ("cirr", {**HEAD, "12": {"a": 1}}, "key '12' holds an object"),
        ("cirr", {**HEAD, "12": ["a", 3]}, "key '12' holds the number 3"),
        ("cirr", {**HEAD, "12": ["a", None]}, "key '12' holds null"),
        ("cirr", {**HEAD, "12": [["a"]]}, "key '12' holds a list"),
        ("circo", [[1]], "holds a list; the format is"),
        ("circo", {**HEAD, "0": [1]}, "key 'version' is CIRR's"),
        ("circo", {"0": ["12"]}, "key '0' holds the text \"12\""),
        ("circo", {"0": [1, True]}, "key '0' holds true"),
        ("circo", {"0": [1.0]}, "key '0' holds the number 1.0"),
        ("circo", {"0": 1}, "key '0' holds the number 1"),
        ("circo", {"-1": [1]}, "key '-1' is no query id"),
        ("fashioniq", {}, "holds an object; the format is"),
        ("fashioniq", [3], "record 0 .counted from 0.: is the number 3"),
        ("fashioniq", [{"candidate": "a", "captions": ["b"]}], "record 0 .*lacks the key 'ranking'"),
        ("fashioniq", [{"captions": ["b"], "ranking": []}], "record 0 .*lacks the key 'candidate'"),
        ("fashioniq", [{"candidate": "a", "captions": "b", "ranking": []}], "key 'captions' holds the text"),
        ("fashioniq", [{"candidate": "a", "captions": ["b"], "ranking": [1]}], "key 'ranking' holds the number 1"),
        ("fashioniq", [{"candidate": "a", "captions": [], "ranking": [], "target": None}], "key 'target' holds null"),
    ],
)
def test_another_shape_is_refused(data, value, message, put):
    path = put(value)
    with pytest.raises(DataError, match=message) as refused:
        read(path, data)
    assert str(path) in str(refused.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is not JSON"),
        ('{"0": [1, 2}', "line 1, column 12"),
        ('{"0": [1], "0": [2]}', '"0".*twice'),
        ("[" * 100_000, "JSON"),
        ('{"0": [' + "9" * 5000 + "]}", "JSON"),
        ('{"0": [NaN]}', "key '0' holds"),
    ],
)
def test_bad_json_is_refused(text, message, put):
    path = put(text)
    with pytest.raises(DataError, match=message) as refused:
        read(path, "circo")
    assert str(path) in str(refused.value)


def test_files_that_cannot_be_read_are_refused(tmp_path):
    (tmp_path / "latin.json").write_bytes(b'{"version": "\xe9"}')
    for name in ("latin.json", "missing.json", "."):
        with pytest.raises(DataError, match=str(tmp_path)):
            read(tmp_path / name, "cirr")
    with pytest.raises(UnknownNameError, match="'cirro'; did you mean"):
        read(tmp_path / "latin.json", "cirro")
    with pytest.raises(UnknownNameError, match="'lasco'"):
        parse([], "lasco", Path("x"))
