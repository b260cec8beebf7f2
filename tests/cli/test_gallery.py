"""`composir gallery` and `composir index --beside`, as a user types them."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from composir.cli.main import app
from composir.errors import GalleryError
from composir.gallery.store import Gallery


def call(*arguments: object, code: int = 0) -> str:
    """The output of a command; an error of ours is raised."""
    done = CliRunner().invoke(app, [str(a) for a in arguments])
    if isinstance(done.exception, GalleryError):
        raise done.exception
    assert done.exit_code == code, done.output
    return done.output


@pytest.fixture
def indexed(pictures, tmp_path):
    folder = pictures(4)
    (folder / "metadata.csv").write_text("file_name,price\n000.png,3.5\n")
    (folder / "broken.png").write_bytes(b"no picture")
    call("index", folder, "--gallery", tmp_path / "g", "--backbone", "clip-tiny", "--workers", 0)
    return folder, tmp_path / "g"


def test_info_tells_what_is_there(indexed):
    folder, path = indexed
    told = json.loads(call("gallery", "info", path, "--json"))
    assert (told["pictures"], told["files"], told["skipped"], told["folder"]) == (4, 5, 1, str(folder))
    assert (told["method"], told["backbone"], told["columns"]) == ("slerp", "clip-tiny", {"price": "number"})
    assert (told["edition"], list(told["editions"]), told["read before"]) == (".", ["."], [])
    plain = call("gallery", "info", path)
    assert told["key"] in plain
    assert "price (number)" in plain


def test_info_tells_the_last_run(indexed):
    folder, path = indexed
    (folder / "000.png").rename(folder / "moved.png")
    (folder / "001.png").unlink()
    report = json.loads(call("index", folder, "--gallery", path, "--workers", 0, "--json"))
    last = json.loads(call("gallery", "info", path, "--json"))["last run"]
    assert (last["added"], last["unchanged"], last["moved"], last["removed"], last["skipped"]) == (0, 2, 1, 1, 1)
    assert json.loads((path / "report.json").read_text()) == last == {**report, "skipped": 1, "ended": last["ended"]}
    counts = "0 added, 0 edited, 1 moved, 0 copied, 1 removed, 2 unchanged, 1 skipped, 0 encoded"
    assert f"{last['ended']}: {counts}" in call("gallery", "info", path)
    for content in (None, "{", "[]", "{}"):  # an older gallery's, or a damaged one
        (path / "report.json").unlink() if content is None else (path / "report.json").write_text(content)
        assert json.loads(call("gallery", "info", path, "--json"))["last run"] == {}
        assert "last run        -" in call("gallery", "info", path)


def test_another_model_is_built_beside_and_swapped_and_taken_back(indexed):
    folder, path = indexed
    old = Gallery.open(path).manifest.key
    beside = ("index", folder, "--gallery", path, "--beside", "--backbone", "siglip-tiny", "--workers", 0)
    assert "4 encoded" in call(*beside)
    assert "0 encoded" in call(*beside)
    assert Gallery.open(path).manifest.key == old
    new = next(k for k in json.loads(call("gallery", "info", path, "--json"))["editions"] if k != ".")
    assert f"edition {new} now" in call("gallery", "swap", path, new[:4])
    assert Gallery.open(path).manifest.key == new
    assert "(read)" in next(
        line for line in call("gallery", "info", path).splitlines() if new in line and "edition" in line
    )
    # What is indexed from now on goes into the edition that is read.
    (folder / "more.png").write_bytes((folder / "000.png").read_bytes()[:-8] + b"12345678")
    assert "edition . now" in call("gallery", "rollback", path)
    assert Gallery.open(path).manifest.key == old
    with pytest.raises(GalleryError, match="never swapped"):
        call("gallery", "rollback", path)


def test_an_unfinished_edition_is_not_swapped_in(indexed, pictures):
    folder, path = indexed
    call("index", folder, "--gallery", path, "--beside", "--backbone", "siglip-tiny", "--workers", 0)
    pictures(["zzz.png"], seed=99)
    call("index", folder, "--gallery", path, "--workers", 0)
    with pytest.raises(GalleryError, match=r"differs from the present one in 1 files, e\.g\. 'zzz\.png'; finish it"):
        call("gallery", "swap", path)


def test_an_edition_of_older_contents_is_not_swapped_in(indexed):
    folder, path = indexed
    call("index", folder, "--gallery", path, "--beside", "--backbone", "siglip-tiny", "--workers", 0)
    (folder / "000.png").write_bytes((folder / "001.png").read_bytes() + b"edited")
    (folder / "002.png").unlink()
    call("index", folder, "--gallery", path, "--workers", 0)
    with pytest.raises(GalleryError, match=r"differs from the present one in 2 files, e\.g\. '000\.png'; finish it"):
        call("gallery", "swap", path)
    call("index", folder, "--gallery", path, "--beside", "--backbone", "siglip-tiny", "--workers", 0)
    call("gallery", "swap", path)


def test_going_back_to_an_older_edition_says_what_it_lacks(indexed, pictures, cli):
    folder, path = indexed
    call("index", folder, "--gallery", path, "--beside", "--backbone", "siglip-tiny", "--workers", 0)
    call("gallery", "swap", path)
    assert cli("gallery", "rollback", path).err == ""
    call("gallery", "swap", path)
    pictures(["zzz.png"], seed=99)
    (folder / "metadata.csv").write_text("file_name,price\n000.png,4\n")
    call("index", folder, "--gallery", path, "--workers", 0)
    back = cli("gallery", "rollback", path)
    assert (back.code, "edition . now" in back.out) == (0, True)
    assert back.err == (
        "it differs from the one that was read before in 1 files, e.g. 'zzz.png' and in its metadata; bring it up to "
        f"date: composir index {folder} --gallery {path} --metadata FILE\n"
    )


def test_going_back_works_when_the_present_edition_is_damaged(indexed, cli):
    folder, path = indexed
    call("index", folder, "--gallery", path, "--beside", "--backbone", "siglip-tiny", "--workers", 0)
    call("gallery", "swap", path)
    for manifest in path.glob("editions/*/gallery.json"):
        manifest.write_text("{")
    back = cli("gallery", "rollback", path)
    assert (back.code, "edition . now" in back.out) == (0, True)
    assert "it cannot be told whether the two editions hold the same" in back.err


def test_an_edition_with_other_metadata_is_not_swapped_in(indexed, tmp_path):
    folder, path = indexed
    (tmp_path / "shop.csv").write_text("file_name,price\n000.png,4\n")
    (folder / "metadata.csv").unlink()
    call("index", folder, "--gallery", path, "--workers", 0, "--metadata", tmp_path / "shop.csv")
    beside = ("index", folder, "--gallery", path, "--beside", "--backbone", "siglip-tiny", "--workers", 0)
    call(*beside)
    with pytest.raises(GalleryError, match=r"in its metadata; finish it: .* --beside .* --metadata FILE$"):
        call("gallery", "swap", path)
    call(*beside, "--metadata", tmp_path / "shop.csv")
    call("gallery", "swap", path)


def test_an_edition_that_is_not_there_is_told(indexed, pictures, tmp_path):
    folder, path = indexed
    with pytest.raises(GalleryError, match="no other editions to swap to; there are: none"):
        call("gallery", "swap", path)
    with pytest.raises(GalleryError, match="nothing to build beside"):
        call("index", folder, "--gallery", tmp_path / "none", "--beside", "--backbone", "clip-tiny", "--workers", 0)


def test_verify_finds_what_was_damaged(indexed):
    folder, path = indexed
    assert "4 vectors read, 0 damaged" in call("gallery", "verify", path)
    gallery = Gallery.open(path)
    ids, vectors, _ = gallery.vectors()
    with gallery.writing():
        gallery._images.delete(f"id = '{ids[0]}'")
        gallery._images.update(where=f"id = '{ids[1]}'", values={"vector": vectors[2].reshape(-1).tolist()})
    told = json.loads(CliRunner().invoke(app, ["gallery", "verify", str(path), "--json"]).stdout)
    assert told == {"pictures": 3, "damaged": [ids[1]], "lost": [ids[0]], "unused": [], "kept shelf": "sound"}
    call("gallery", "verify", path, code=1)
    call("index", folder, "--gallery", path, "--verify", "--workers", 0)
    call("gallery", "verify", path)


def test_compact_keeps_everything(indexed):
    _, path = indexed
    before = Gallery.open(path).vectors()
    assert "->" in call("gallery", "compact", path)
    after = Gallery.open(path).vectors()
    assert before[0] == after[0]
    assert (before[1] == after[1]).all()
