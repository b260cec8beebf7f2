"""`composir search` end to end: its three kinds of question and its three kinds of answer."""

import json

import pytest
from PIL import Image

from composir.gallery.scan import file_id
from composir.gallery.store import Gallery


@pytest.fixture
def picture(gallery):
    return gallery.parent / "pictures" / "003.png"


def hits(done):
    assert done.code == 0, done.err
    return json.loads(done.out)


def test_json_is_rank_id_path_score(cli, gallery, picture):
    answer = hits(cli("search", "--gallery", gallery, "--image", picture, "--text", "is red", "-k", 4, "--json"))
    assert [list(hit) for hit in answer] == [["rank", "id", "path", "score"]] * 4
    assert [hit["rank"] for hit in answer] == [1, 2, 3, 4]
    assert [hit["score"] for hit in answer] == sorted((hit["score"] for hit in answer), reverse=True)
    for hit in answer:
        assert hit["id"] == file_id(picture.parent / hit["path"])
        assert hit["path"] != "003.png"


def test_the_same_question_has_the_same_answer(cli, gallery, picture):
    question = ("search", "--gallery", gallery, "--image", picture, "--text", "is red", "--json")
    assert cli(*question).out == cli(*question).out


def test_picture_words_or_a_gallery_id(cli, gallery, picture):
    alone = hits(cli("search", "--gallery", gallery, "--image", picture, "--json"))
    assert len(alone) == 10
    by_id = hits(cli("search", "--gallery", gallery, "--image", file_id(picture), "--json"))
    assert by_id == alone
    words = hits(cli("search", "--gallery", gallery, "--text", "is red", "-k", 99, "--json"))
    assert len(words) == 12
    kept = hits(cli("search", "--gallery", gallery, "--image", picture, "--keep-reference", "--json"))
    assert kept[0]["path"] == "003.png"


def test_alpha_and_another_method(cli, gallery, picture):
    question = ("search", "--gallery", gallery, "--image", picture, "--text", "is red", "--keep-reference", "--json")
    assert hits(cli(*question, "--alpha", 0))[0]["path"] == "003.png"
    assert hits(cli(*question, "--alpha", 1)) != hits(cli(*question, "--alpha", 0))
    assert hits(cli(*question, "--method", "image-only")) == hits(cli(*question, "--alpha", 0))
    done = cli(*question, "--method", "sum", "--alpha", 0.5)
    assert done.code == 1
    assert "'sum' takes no 'alpha'; methods that take it:" in done.err
    assert "slerp" in done.err


def test_lines_for_programs(cli, gallery, picture):
    done = cli("search", "--gallery", gallery, "--image", picture, "-k", 3)
    lines = [line.split("\t") for line in done.out.splitlines()]
    assert [(len(line), line[0]) for line in lines] == [(4, "1"), (4, "2"), (4, "3")]


def test_a_table_for_people(cli, gallery, picture, monkeypatch):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    out = cli("search", "--gallery", gallery, "--image", picture, "-k", 3).out
    assert "rank" in out
    assert out.count(".png") == 3


def test_a_sheet_is_drawn(cli, gallery, picture, tmp_path):
    sheet = tmp_path / "new" / "sheet.png"
    done = cli(
        "search", "--gallery", gallery, "--image", picture, "--text", "is red", "-k", 3, "--sheet", sheet, "--json"
    )
    assert len(hits(done)) == 3
    with Image.open(sheet) as drawn:
        assert drawn.format == "PNG"
        assert drawn.width > drawn.height
    assert cli("search", "--gallery", gallery, "--text", "is red", "--sheet", tmp_path / "s.jpg").code == 0
    assert cli("search", "--gallery", gallery, "--image", file_id(picture), "--sheet", tmp_path / "t.png").code == 0
    (picture.parent / "004.png").unlink()
    assert cli("search", "--gallery", gallery, "--image", picture, "-k", 12, "--sheet", tmp_path / "u.png").code == 0


def test_reverse(cli, gallery, picture, tmp_path, monkeypatch):
    question = ("search", "--gallery", gallery, "--image", picture, "--text", "is red", "-k", 4, "--alpha", 0.5)
    answer = hits(cli(*question, "--reverse", "--json", "--sheet", tmp_path / "r.png"))
    assert [list(hit) for hit in answer] == [["rank", "id", "path", "score", "reverse"]] * 4
    assert all(hit["reverse"] is True and hit["path"] != "003.png" for hit in answer)
    # Forward, the best of them leads to the picture with the same score.
    best = picture.parent / answer[0]["path"]
    forward = hits(
        cli("search", "--gallery", gallery, "--image", best, "--text", "is red", "-k", 12, "--alpha", 0.5, "--json")
    )
    [score] = [hit["score"] for hit in forward if hit["path"] == "003.png"]
    assert score == pytest.approx(answer[0]["score"], abs=1e-3)
    assert cli(*question, "--sheet", tmp_path / "f.png").code == 0
    assert (tmp_path / "r.png").read_bytes() != (tmp_path / "f.png").read_bytes()
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    assert "reference" in cli(*question, "--reverse").out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "nothing to search for; give a picture, words, or both"),
        (("--image", "nowhere.png"), "there is no file nowhere.png; check the path"),
        (("--image", "/"), "error: / is a folder; name one picture in it"),
        (("--text", "x", "--method", "slrp"), "unknown method (nor the folder of a run) 'slrp'; did you mean 'slerp'"),
        (("--text", "x", "--method", "runs/none"), "there is no folder runs/none; name a run"),
        (("--text", "x", "--reverse"), "leads to a target; give both"),
        (("--image", "nowhere.png", "--text", "x", "--reverse"), "there is no file nowhere.png; check the path"),
        (("--text", "x", "--sheet", "a.bmp"), "a contact sheet is a .png or .jpg file, not 'a.bmp'"),
    ],
)
def test_questions_without_an_answer(cli, gallery, arguments, message):
    done = cli("search", "--gallery", gallery, *arguments)
    assert (done.code, done.out) == (1, "")
    assert message in done.err


def test_an_empty_gallery_answers_nothing(cli, pictures, tmp_path):
    assert cli("index", pictures(0), "--gallery", tmp_path / "e", "--backbone", "clip-tiny").code == 0
    assert hits(cli("search", "--gallery", tmp_path / "e", "--text", "is red", "--json")) == []


def test_a_gallery_of_a_backbone_that_changed_is_refused(cli, gallery, picture):
    manifest = gallery / "gallery.json"
    manifest.write_text(manifest.read_text().replace(Gallery.open(gallery).manifest.key, "0123456789abcdef"))
    done = cli("search", "--gallery", gallery, "--image", picture)
    assert done.code == 1
    assert "0123456789abcdef" in done.err
    assert "composir index" in done.err


def test_names_of_any_script_travel_through_json(cli, pictures, tmp_path):
    root = pictures(["日本 'é\n👗.png", "b.png"])
    assert cli("index", root, "--gallery", tmp_path / "g", "--backbone", "clip-tiny", "--workers", 0).code == 0
    answer = hits(cli("search", "--gallery", tmp_path / "g", "--image", root / "b.png", "--json"))
    assert [hit["path"] for hit in answer] == ["日本 'é\n👗.png"]


def test_a_path_with_a_tab_stays_one_field(cli, pictures, tmp_path):
    root = pictures(3)
    (root / "000.png").rename(root / "a\tb\\c\nd.png")
    cli("index", root, "--gallery", tmp_path / "g", "--method", "image-only", "--backbone", "clip-tiny")
    lines = cli("search", "--gallery", tmp_path / "g", "--image", root / "001.png").out.splitlines()
    fields = [line.split("\t") for line in lines]
    assert {len(field) for field in fields} == {4}
    assert {field[2] for field in fields} == {r"a\tb\\c\nd.png", "002.png"}


def test_the_end_of_a_text_that_is_not_read_is_told(cli, gallery):
    read = "red " * 25  # three tokens each in this vocabulary; 77 places, of which one opens and one closes
    assert cli("search", "--gallery", gallery, "--text", read).err == ""
    told = cli("search", "--gallery", gallery, "--text", f"{read} dress, LONG").err
    assert told == "the text is too long for backbone clip-tiny, which does not read its end: 'dress, LONG'\n"


def test_an_address_is_no_file(cli, gallery):
    done = cli("search", "--gallery", gallery, "--image", "https://shop.example/dress.jpg", "--text", "is red")
    assert done.code == 1
    assert "https://shop.example/dress.jpg is a web address; save the picture to a file and name that" in done.err
