"""`composir demo` at a small size, twice."""

from __future__ import annotations

import json
import shutil

from PIL import Image


def test_demo_draws_indexes_answers_and_says_how_to_go_on(cli, tmp_path):
    out = tmp_path / "demo"
    first = cli("demo", "--out", out, "--size", 90)
    assert first.code == 0, first.err
    assert "90 encoded" in first.out
    assert first.out.count("rank") == 3
    assert "composir search --gallery" in first.out
    # `make serve` is for the usual folder alone.
    assert f"composir serve --gallery {out / 'gallery'} " in first.out
    assert "make serve" not in first.out
    queries = [json.loads(line) for line in (out / "pictures/.wardrobe/queries.jsonl").read_text("utf-8").splitlines()]
    assert sum(row["text"] in " ".join(first.out.split()) for row in queries) >= 3
    with Image.open(out / "answers.png") as sheet:
        assert sheet.width > 1200
        assert sheet.height > 600
    second = cli("demo", "--out", out, "--size", 90)
    assert "90 pictures in the gallery; 0 encoded" in second.out


def test_demo_in_the_usual_folder_ends_by_offering_the_page(cli, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    told = cli("demo", "--size", 30)
    assert told.code == 0, told.err
    offered = told.out.partition("Go on with\n")[2].splitlines()[0].split("#")
    assert offered[0].strip() == "make serve"
    assert "composir serve --gallery demo/gallery, with the serve extra: a page to search with" in offered[1]


def test_demo_refuses_a_folder_that_is_something_else(cli, tmp_path):
    (tmp_path / "pictures").mkdir()
    done = cli("demo", "--out", tmp_path)
    assert done.code == 1
    assert "holds no catalogue of 2000 garments; give another --out" in done.err
    assert "remove" not in done.err


def test_demo_of_another_size_is_not_taken_for_this_one(cli, tmp_path):
    assert cli("demo", "--out", tmp_path / "d", "--size", 60).code == 0
    done = cli("demo", "--out", tmp_path / "d", "--size", 90)
    assert done.code == 1
    assert "holds a catalogue of 60 garments, not of 90; say --size 60" in done.err


def test_demo_over_a_gallery_of_other_weights_says_what_to_remove(cli, tmp_path):
    out = tmp_path / "d"
    assert cli("demo", "--out", out, "--size", 30).code == 0
    manifest = out / "gallery" / "gallery.json"
    manifest.write_text(manifest.read_text("utf-8").replace(json.loads(manifest.read_text("utf-8"))["key"], "0" * 32))
    done = cli("demo", "--out", out, "--size", 30)
    assert done.code == 1
    assert f"remove it (rm -r {out / 'gallery'}) to have it built anew" in " ".join(done.err.split())
    shutil.rmtree(out / "gallery")
    assert cli("demo", "--out", out, "--size", 30).code == 0
