"""Annotation files read with care: every fault is told by file, record and key, and nothing else is refused."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from composir.datasets.records import (
    Record,
    is_unicode,
    nfc,
    read_json,
    read_jsonl,
    read_lines,
    read_names,
    records,
    told,
    unique,
)
from composir.errors import DataError

FILE = Path("cap.json")
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda below: st.lists(below) | st.dictionaries(st.text(), below),
    max_leaves=8,
)


def refusal(call: Callable[[], object]) -> str:
    with pytest.raises(DataError) as caught:
        call()
    return str(caught.value)


@pytest.fixture
def file(tmp_path: Path) -> Callable[..., Path]:
    def write(content: str | bytes, name: str = "cap.json") -> Path:
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


# ---- whole files ----


@given(value=JSON)
def test_json_comes_back_as_it_was(tmp_path_factory, value):
    path = tmp_path_factory.mktemp("json") / "a.json"
    path.write_text(json.dumps(value, ensure_ascii=False), encoding="utf-8", errors="surrogatepass")
    assert read_json(path) == value


def test_a_byte_order_mark_is_no_fault(file):
    assert read_json(file(b'\xef\xbb\xbf["a"]')) == ["a"]


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ('[{"a": 1},\n {"a": }]', "line 2, column 8: is not JSON (Expecting value)"),
        ("", "line 1, column 1: is not JSON"),
        ('[{"a": 1}', "is not JSON"),
        ("[1] [2]", "line 1, column 5: is not JSON (Extra data)"),
        ('{"a": 1, "b": 2, "a": 3}', '.json: the key the text "a" stands twice in one object'),
        ('[{}, {"a": 1, "b": 2, "a": 3}]', 'record 1 (counted from 0): the key the text "a" stands twice'),
        ('[{}, {"s": [{}, {"a": 1, "a": 3}]}]', "record 1 (counted from 0), key 's', item 1: the key the text \"a\""),
        # The first of the two was lost with the key it stood under: the outer one can be told.
        ('[{"s": {"a": 1, "a": 1}, "s": 2}]', 'record 0 (counted from 0): the key the text "s" stands twice'),
        ('{"images": [{"id": 1, "id": 1}]}', "key 'images', item 0: the key the text \"id\" stands twice"),
        (b'["caf\xe9"]', "byte 5 is not UTF-8; save the file as UTF-8"),
        ("[" * 200_000, "is not usable JSON"),
        (f"[{'9' * 5000}]", "is not usable JSON"),
    ],
)
def test_malformed_json_is_told_by_place(file, content, complaint):
    path = file(content)
    message = refusal(lambda: read_json(path))
    assert message.startswith(f"{path}: ")
    assert complaint in message


def test_a_missing_file_and_a_folder_are_told(tmp_path):
    assert "none.json: there is no such file" in refusal(lambda: read_json(tmp_path / "none.json"))
    assert f"{tmp_path}: cannot be read (Is a directory)" in refusal(lambda: read_json(tmp_path))


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("[]", "holds an empty list; a list of objects is needed"),
        ('{"a": []}', "holds an object; a list of objects is needed"),
        ("null", "holds null;"),
        ('[{}, {}, "text"]', 'record 2 (counted from 0): is the text "text"; an object with keys is needed'),
        ("[{}, 4]", "record 1 (counted from 0): is the number 4;"),
        ("[[]]", "record 0 (counted from 0): is a list;"),
    ],
)
def test_only_lists_of_objects_are_records(file, content, complaint):
    path = file(content)
    message = refusal(lambda: records(path))
    assert message.startswith(f"{path}: ")
    assert complaint in message


def test_records_know_their_place(file):
    path = file('[{"a": 1}, {"a": 2}]')
    found = records(path)
    assert [record.number("a") for record in found] == [1, 2]
    assert str(found[1].error("is odd")) == f"{path}: record 1 (counted from 0): is odd"


# ---- lines ----


def test_lines_of_json_carry_their_number(file):
    path = file(' {"a": "x\u2028y"}\r\n\n  \n{"a": "é"}')
    assert read_jsonl(path) == [(1, {"a": "x\u2028y"}), (4, {"a": "é"})]
    assert read_jsonl(file("")) == []


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ('{}\n{"a" 1}', "line 2: column 6: is not JSON"),
        ("{}\n\n[1]", "line 3: is a list; an object with keys is needed"),
        (b'{}\n{"a": "\xff"}', "line 2: byte 7 is not UTF-8"),
        ('{}\n{"a": 1, "a": 2}', 'line 2: the key the text "a" stands twice'),
    ],
)
def test_a_bad_line_is_named(file, content, complaint):
    path = file(content, "triplets.jsonl")
    message = refusal(lambda: read_jsonl(path))
    assert message.startswith(f"{path}: ")
    assert complaint in message


def test_names_of_a_text_file_are_stripped(file):
    assert read_lines(file("a.jpg\r\n b.jpg \n\n")) == ("a.jpg", "b.jpg")
    assert "is empty; a name a line is needed" in refusal(lambda: read_lines(file(" \n\n")))
    twice = refusal(lambda: read_lines(file("a\n\nb\na\n", "names.txt")))
    assert "names.txt: line 4 (counted from 1): 'a' stands in line 1 too" in twice


def test_names_of_a_json_list(file):
    assert read_names(file('["a", "b"]')) == ("a", "b")
    assert "holds an empty list" in refusal(lambda: read_names(file("[]")))
    twice = refusal(lambda: read_names(file('["a", "b", "a"]')))
    assert "record 2 (counted from 0): 'a' stands in record 0 too" in twice
    assert "record 1 (counted from 0): is the number 5; a name is needed" in refusal(
        lambda: read_names(file('["a",5]'))
    )
    assert 'record 0 (counted from 0): is the text " "' in refusal(lambda: read_names(file('[" "]')))


def test_two_spellings_of_one_name_are_one_name(file):
    both = [unicodedata.normalize(form, "café") for form in ("NFC", "NFD")]
    assert both[0] != both[1]
    assert read_names(file(json.dumps(both[1:]))) == ("café",)
    assert "stands in record 0 too" in refusal(lambda: read_names(file(json.dumps(both))))


# ---- values ----

RECORD = Record(
    {
        "text": "a dress",
        "blank": " ",
        "int": 3,
        "real": 0.5,
        "true": True,
        "null": None,
        "list": ["a", "b"],
        "numbers": [1, 2],
        "twice": ["a", "b", "a"],
        "numbers twice": [4, 4],
        "mixed": ["a", 1],
        "empty": [],
        "object": {"id": 5, "members": "x"},
        "objects": [{"id": 1}, {"id": "2"}],
        "half": "\ud800",
        "inf": float("inf"),
        "huge": 10**400,
    },
    FILE,
    17,
)


def test_values_of_each_kind():
    assert RECORD.text("text") == "a dress"
    assert RECORD.text("blank") == " "
    assert RECORD.words("text") == "a dress"
    assert RECORD.optional_text("text") == "a dress"
    assert RECORD.optional_text("absent") == ""
    assert RECORD.optional_text("absent", "else") == "else"
    assert RECORD.name("text") == "a dress"
    assert RECORD.number("int") == 3
    assert RECORD.real("int") == 3.0
    assert RECORD.real("real", 1.0) == 0.5
    assert RECORD.real("absent", 1.0) == 1.0
    assert RECORD.texts("list") == RECORD.texts("list", 2) == RECORD.names("list") == ("a", "b")
    assert RECORD.texts("twice") == ("a", "b", "a")
    assert RECORD.texts("empty") == RECORD.names("empty") == RECORD.numbers("empty") == ()
    assert RECORD.numbers("numbers") == (1, 2)
    assert RECORD.values("mixed") == ["a", 1]
    assert RECORD.record("object").number("id") == 5
    assert RECORD.parts("objects")[0].number("id") == 1
    assert RECORD.has("null")
    assert not RECORD.has("absent")


@pytest.mark.parametrize(
    ("call", "complaint"),
    [
        (lambda r: r.text("absent"), "lacks the key 'absent'; it has 'text', 'blank'"),
        (lambda r: r.text("int"), "key 'int' holds the number 3; a text is needed"),
        (lambda r: r.text("null"), "key 'null' holds null; a text is needed"),
        (lambda r: r.text("half"), r"""key 'half' holds the text "\ud800"; a text is needed"""),
        (lambda r: r.words("blank"), """key 'blank' holds the text " "; a text that is not blank is needed"""),
        (lambda r: r.words("int"), "key 'int' holds the number 3; a text is needed"),
        (lambda r: r.optional_text("int"), "key 'int' holds the number 3; a text is needed"),
        (lambda r: r.name("blank"), """key 'blank' holds the text " "; a name is needed"""),
        (lambda r: r.name("list"), "key 'list' holds a list; a name is needed"),
        (lambda r: r.number("text"), """key 'text' holds the text "a dress"; a whole number is needed"""),
        (lambda r: r.number("true"), "key 'true' holds true; a whole number is needed"),
        (lambda r: r.number("real"), "key 'real' holds the number 0.5; a whole number is needed"),
        (lambda r: r.real("true"), "key 'true' holds true; a finite number is needed"),
        (lambda r: r.real("inf"), "key 'inf' holds the number Infinity; a finite number is needed"),
        (lambda r: r.real("huge"), "key 'huge' holds the number 1000"),
        (lambda r: r.real("absent"), "lacks the key 'absent'"),
        (lambda r: r.texts("text"), """key 'text' holds the text "a dress"; a list of texts is needed"""),
        (lambda r: r.texts("list", 3), "key 'list' holds a list of 2; a list of just 3 texts is needed"),
        (lambda r: r.texts("mixed"), "key 'mixed' holds the number 1; only texts are allowed in it"),
        (lambda r: r.names("twice"), """key 'twice' holds the text "a" more than once; each is needed once"""),
        (lambda r: r.numbers("numbers twice"), "key 'numbers twice' holds the number 4 more than once"),
        (lambda r: r.numbers("list"), """key 'list' holds the text "a"; only whole numbers are allowed in it"""),
        (lambda r: r.record("list"), "key 'list': is a list; an object with keys is needed"),
        (lambda r: r.record("object").texts("members"), "key 'object': key 'members' holds the text"),
        (lambda r: r.parts("objects")[1].number("id"), "key 'objects', item 1: key 'id' holds the text"),
        (lambda r: r.parts("list"), "key 'list', item 0: is the text"),
    ],
)
def test_a_value_of_another_kind_is_told_by_file_record_and_key(call, complaint):
    message = refusal(lambda: call(RECORD))
    assert message.startswith(f"{FILE}: record 17 (counted from 0)")
    assert complaint in message
    message.encode()  # can be printed


def test_a_place_may_be_given_in_words():
    assert refusal(lambda: Record([], FILE, "line 3")).startswith(f"{FILE}: line 3: is a list;")


def test_long_values_are_cut_short():
    message = refusal(lambda: Record({"a": "x" * 10_000}, FILE, 0).number("a"))
    assert len(message) < 200


@given(text=st.text(st.characters(exclude_categories=[]), max_size=20))
def test_what_is_unicode_can_be_written(text):
    try:
        text.encode()
        writable = True
    except UnicodeEncodeError:
        writable = False
    assert is_unicode(text) is writable
    assert is_unicode(told(text)) or not writable


@given(text=st.text(max_size=20))
def test_nfc_is_that_of_unicode(text):
    assert nfc(text) == unicodedata.normalize("NFC", text)
    assert nfc(unicodedata.normalize("NFD", text)) == nfc(nfc(unicodedata.normalize("NFD", text)))


def test_ids_borne_twice_are_told_with_both_records():
    found = [Record({"id": number}, FILE, place) for place, number in enumerate([5, 6, 7, 6])]
    unique((str(record.number("id")), record) for record in found[:3])
    message = refusal(lambda: unique((str(record.number("id")), record) for record in found))
    assert "cap.json: record 3 (counted from 0): has the id '6', as record 1 (counted from 0) has" in message
