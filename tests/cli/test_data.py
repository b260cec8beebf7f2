"""`composir data check`: what it prints, what it returns, what its JSON holds."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from PIL import Image

from composir.evaluation import load_result


@pytest.fixture
def shop(tmp_path) -> Path:
    """A sound plain set of 30 pictures, with one query for each but the last."""
    root = tmp_path / "shop"
    (root / "images").mkdir(parents=True)
    for number in range(30):
        Image.new("RGB", (4, 4), (8 * number, 3, 3)).save(root / f"images/{number:02}.png")
    rows = [{"reference": f"{n:02}", "caption": "x", "target": f"{n + 1:02}"} for n in range(29)]
    (root / "triplets.test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return root


def test_a_complete_set(cli, shop):
    done = cli("data", "check", "jsonl", shop, "--workers", 0)
    assert done.code == 0, done.err
    assert done.out.splitlines() == [
        f"jsonl at {shop}: test; 30 pictures named, 30 opened",
        "",
        "what there is, and what is lost of it",
        "  test shop: 29 queries over 30 pictures",
        "  test: 29 triplets",
        "",
        "complete",
    ]
    done = cli("data", "check", "jsonl", shop, "--no-decode")
    assert (done.code, done.out.splitlines()[-1]) == (0, "complete")
    assert "note: 30 pictures were not opened" in done.out


def test_problems_are_listed_twenty_of_a_kind(cli, shop):
    for number in range(25):
        (shop / f"images/{number:02}.png").unlink()
    (shop / "images/27.png").write_bytes(b"")
    Image.new("RGB", (9, 9)).save(shop / "images/other.png")
    done = cli("data", "check", "jsonl", shop, "--workers", 0)
    assert done.code == 1
    assert "missing: 25\n  00  1 query cannot be asked; gone from the gallery of" in done.out
    assert "trained on" not in done.out
    assert "\n  19  2 queries cannot be asked" in done.out
    assert "\n  20  " not in done.out
    assert "  … and 5 more; --json has all" in done.out
    assert "unreadable: 1\n  27  empty file; 2 queries" in done.out
    assert f"foreign: pictures that no annotation names: 1\n  {shop}/images/other.png" in done.out
    assert "queries that cannot be asked: 27\n  test shop 0\n" in done.out
    assert "test shop: 29 queries over 30 pictures; 27 cannot be asked; 26 pictures are gone\n" in done.out
    assert "test: 29 triplets; 27 cannot be asked\n" in done.out
    assert done.out.splitlines()[-1] == "26 problems; 1 warning"


def test_json_holds_everything(cli, shop):
    for number in range(25):
        (shop / f"images/{number:02}.png").unlink()
    done = cli("data", "check", "jsonl", shop, "--workers", 0, "--json")
    assert done.code == 1
    found = json.loads(done.out)
    assert (found["complete"], found["problems"], found["opened"]) == (False, 25, 5)
    assert found["missing"] == [f"{number:02}" for number in range(25)]
    assert found["blame"]["03"] == {
        "lost": ["test shop 2", "test shop 3"], "fewer_targets": [], "fewer_members": [],
        "galleries": ["test shop"], "training": [],
    }  # fmt: skip
    [task, triplets] = found["costs"]
    assert task["lost"] == triplets["lost"] == [str(number) for number in range(25)]
    assert task["gallery_lost"] == found["missing"]


HARMLESS = {
    "nothing": lambda root: None,
    "twins": lambda root: shutil.copy(root / "images/03.png", root / "images/07.png"),
    "a second file": lambda root: Image.new("RGB", (5, 5)).save(root / "images/03.webp"),
    "foreign": lambda root: Image.new("RGB", (5, 5)).save(root / "images/other.png"),
    "a query twice": lambda root: append(
        root / "triplets.test.jsonl", '{"reference": "00", "caption": "x", "target": "01"}'
    ),
}
PUBLISHED = {"a query twice"}  # odd, but nothing about the folder
HARMFUL = {
    "missing": lambda root: (root / "images/03.png").unlink(),
    "unreadable": lambda root: (root / "images/03.png").write_bytes(b"none"),
    "outside the gallery": lambda root: append(root / "gallery.txt", "\n".join(f"{n:02}" for n in range(29))),
    "malformed": lambda root: append(root / "triplets.test.jsonl", "{"),
}


def append(path: Path, line: str) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write(f"{line}\n")


@pytest.mark.parametrize("what", [*HARMLESS, *HARMFUL])
def test_what_the_doctor_calls_complete_is_evaluated_whole_and_nothing_else_is(cli, shop, tmp_path, what):
    {**HARMLESS, **HARMFUL}[what](shop)
    asked = (
        "eval",
        "sum",
        "--data",
        "jsonl",
        "--root",
        shop,
        "--backbone",
        "clip-tiny",
        "--workers",
        0,
        "-o",
        tmp_path / "o",
    )
    as_it_should = what == "nothing" or what in PUBLISHED
    done, evaluated = cli("data", "check", "jsonl", shop, "--workers", 0, "--json"), cli(*asked)
    found = json.loads(done.out)
    assert evaluated.code == (what in HARMFUL), evaluated.err
    assert found["complete"] is (what in HARMLESS)
    assert done.code == bool(found["problems"] or found["warnings"]) == (not as_it_should)
    if found["complete"]:
        assert (found["problems"], found["warnings"]) == (0, int(not as_it_should))
        assert found["oddities"] == (what in PUBLISHED)
        assert "(partial)" not in evaluated.out
        assert not load_result(tmp_path / "o").content["protocol"]["partial"]
    else:
        assert (found["problems"], found["warnings"]) == (1, 0)
        partial = cli(*asked, "--partial")
        assert partial.code == 1 if what == "malformed" else "(partial)" in partial.out


def test_subsets_in_some_rows_only_are_told_by_the_doctor_and_beside_the_numbers(cli, shop, tmp_path):
    append(shop / "triplets.test.jsonl", '{"reference": "00", "caption": "y", "target": "01", "subset": ["00", "01"]}')
    told = f"{shop / 'triplets.test.jsonl'}: 1 of 30 queries of test have a subset (line 30 the first); line 1 is"
    done = cli("data", "check", "jsonl", shop, "--workers", 0)
    assert f"\nnote: {told}" in done.out
    asked = ("eval", "sum", "--data", "jsonl", "--root", shop, "--backbone", "clip-tiny", "--workers", 0)
    done = cli(*asked, "-o", tmp_path / "o")
    assert f"\nwarning: {told}" in done.out
    assert "Rs@" not in done.out.replace("so Rs@K is not evaluated", "")


def test_the_authors_name_of_a_split_is_understood(cli, tmp_path, monkeypatch):
    drawn = cli("data", "wardrobe", tmp_path / "cirr", "--format", "cirr", "--size", 60, "--image-size", 64)
    assert drawn.code == 0, drawn.err
    root = ("--root", tmp_path / "cirr")
    done = cli("data", "check", "cirr", tmp_path / "cirr", "--split", "test1", "--split", "test", "--workers", 0)
    assert (done.code, done.out.splitlines()[0].split(": ")[1]) == (0, "test; 6 pictures named, 6 opened")
    refused = cli("eval", "sum", "--data", "cirr", *root, "--split", "test1")
    assert "the targets of cirr test are not public" in refused.err
    out = ("-o", tmp_path / "out", "--backbone", "clip-tiny", "--workers", 0)
    sent = cli("submit", "sum", "--data", "cirr", *root, "--split", "test1", *out)
    assert sent.code == 0, sent.err
    shutil.copytree(tmp_path / "cirr/truth", tmp_path / "cirr", dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    sizes = ("--backbone", "clip-tiny", "--workers", 0)
    assert cli("eval", "sum", "--data", "cirr", *root, "--split", "test1", *sizes).code == 0
    assert load_result(tmp_path / "runs/eval-cirr-test-sum").content["protocol"]["split"] == "test"
    unknown = cli("eval", "sum", "--data", "cirr", *root, "--split", "test2")
    assert "unknown split of cirr: 'test2'; did you mean 'test'" in unknown.err


def test_warnings_and_oddities_are_counted_apart(cli, shop):
    HARMLESS["twins"](shop)
    HARMLESS["a query twice"](shop)
    HARMLESS["a query twice"](shop)
    done = cli("data", "check", "jsonl", shop, "--workers", 0)
    assert (done.code, done.out.splitlines()[-1]) == (1, "complete; 1 warning; 1 oddity")
    assert "queries that stand more than once: 1\n  test shop 0 = 29 = 30  one query, counted 3 times\n" in done.out


def test_captions_without_words_are_listed(cli, shared_data):
    done = cli("data", "check", "fashioniq", shared_data / "fashioniq", "--no-decode", "--split", "val", "--workers", 0)
    told = (
        "queries with a caption of no words: 3\n  val shirt 1928  1 of its 2 captions is blank, and asked like that\n"
    )
    assert told in done.out
    done = cli("data", "check", "cirr", shared_data / "cirr", "--no-decode", "--split", "test", "--workers", 0)
    assert "queries with a caption of no words: 1\n  test cirr 27098  its text asks nothing\n" in done.out


@pytest.mark.parametrize("line", ["{", '{"reference": "00"}', '{"reference": "00", "caption": "", "target": "01"}'])
def test_a_malformed_line_of_the_only_file_is_a_fault(cli, shop, line):
    (shop / "triplets.test.jsonl").rename(shop / "triplets.jsonl")
    with (shop / "triplets.jsonl").open("a") as file:
        file.write(line)
    done = cli("data", "check", "jsonl", shop, "--workers", 0, "--json")
    assert done.code == 1
    found = json.loads(done.out)
    assert not found["complete"]
    assert found["faults"][-1]["split"] == "test"
    assert found["faults"][-1]["why"].startswith(f"{shop / 'triplets.jsonl'}: line 30: ")
    told = cli("data", "check", "jsonl", shop, "--workers", 0)
    assert f"annotations that cannot be read: {len(found['faults'])}\n" in told.out
    refused = cli("eval", "sum", "--data", "jsonl", "--root", shop, "--backbone", "clip-tiny")
    assert refused.code == 1
    assert f"error: {shop / 'triplets.jsonl'}: line 30: " in refused.err


@pytest.mark.parametrize(
    ("option", "told"),
    [
        ("gallery=5", "option gallery of data set 'fashioniq' is 5"),
        ("root=elsewhere", "the folder of data set 'fashioniq' is no option; 'elsewhere' belongs where"),
        ("galery=val", "'galery'"),
    ],
)
def test_wrong_options_are_told(cli, tmp_path, option, told):
    done = cli("data", "check", "fashioniq", tmp_path, "--option", option)
    assert done.code == 1
    assert told in done.err
    assert "Traceback" not in done.err


def test_one_problem_is_no_problems(cli, shop):
    (shop / "images/29.png").unlink()
    done = cli("data", "check", "jsonl", shop, "--workers", 0)
    assert (done.code, done.out.splitlines()[-1]) == (1, "1 problem")
    assert "29  1 query cannot be asked; gone from" in done.out
    assert "29 queries over 30 pictures; 1 cannot be asked; 1 picture is gone\n" in done.out
    (shop / "triplets.test.jsonl").rename(shop / "triplets.train.jsonl")
    done = cli("data", "check", "jsonl", shop, "--workers", 0)
    assert "29  1 query cannot be asked; 1 triplet or pair cannot be trained on; gone from" in done.out


def test_options_and_splits_reach_the_data_set(cli, tmp_path):
    (tmp_path / "x.tsv").write_text("".join(f"text {n}\t{n}.png\n" for n in range(99)))
    for number in range(99):
        Image.new("RGB", (2, 2 + number)).save(tmp_path / f"{number}.png")
    options = ("--option", "columns=caption,image", "--option", "val=0.5", "--split", "val", "--workers", 0)
    done = cli("data", "check", "captions", tmp_path, *options)
    assert done.code == 0, done.out
    assert ": val; " in done.out
    done = cli("data", "check", "captions", tmp_path, "--split", "test")
    assert done.code == 1
    assert "captions has no split 'test'; there is train" in done.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("jsnl", "."), "unknown data set 'jsnl'; did you mean 'jsonl'?"),
        (("jsonl", "nowhere"), "nowhere is missing; name the folder of data set 'jsonl'"),
        (("jsonl", ".", "--option", "gallery=val"), "unknown argument of data set 'jsonl': 'gallery'"),
        (("jsonl", ".", "--option", "gallery"), "write key=value"),
        (("wardrobe", "."), "data set 'wardrobe' has no folder; leave . out"),
    ],
)
def test_mistakes_are_one_line(cli, arguments, message):
    done = cli("data", "check", *arguments)
    assert done.code == 1
    assert message in done.err
    assert done.err.count("\n") == 1


def test_wardrobe_is_still_drawn(cli, tmp_path):
    done = cli("data", "wardrobe", tmp_path / "w", "--size", 12, "--image-size", 64)
    assert done.code == 0, done.err
    assert "12 pictures (12 test)" in done.out
