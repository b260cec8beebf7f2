"""The scripts that make plain sets of the two collections of real pictures, and what the doctor says of them."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[2] / "benchmarks"
CHECK = "from composir.cli.main import run; run()"


def prepare(name: str, source: Path, out: Path) -> subprocess.CompletedProcess[str]:
    call = [sys.executable, str(SCRIPTS / f"prepare_{name}.py"), str(source), str(out)]
    return subprocess.run(call, capture_output=True, text=True, check=False)


def checked(root: Path) -> dict:
    """What the doctor says; as a process of its own, where types are not checked at every call."""
    call = [
        sys.executable,
        "-c",
        CHECK,
        "data",
        "check",
        "jsonl",
        str(root),
        "--sample",
        "60",
        "--workers",
        "0",
        "--json",
    ]
    return json.loads(subprocess.run(call, capture_output=True, text=True, check=False).stdout)


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def counts(found: dict) -> dict[str, tuple[int, int]]:
    return {c["split"]: (c["queries"], c["gallery"]) for c in found["costs"] if c["kind"] == "task"}


@pytest.fixture(scope="module")
def made(shared_data, tmp_path_factory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("prepared")
    for name in ("myntra", "noto_emoji"):
        done = prepare(name, shared_data / name, root / name)
        assert done.returncode == 0, done.stderr
    return {name: root / name for name in ("myntra", "noto_emoji")}


@pytest.mark.long
def test_myntra(made, shared_data):
    found = checked(made["myntra"])
    assert found["complete"], found
    assert counts(found) == {"train": (19_827, 14_290), "val": (825, 2_532), "test": (1_914, 3_785)}
    assert found["opened"] == 60
    pairs = [c["queries"] for c in found["costs"] if c["kind"] == "pairs"]
    assert pairs == [14_290, 2_532, 3_785]
    source = json.loads((shared_data / "myntra/triplets.test.json").read_text(encoding="utf-8"))
    for row, said in zip(lines(made["myntra"] / "triplets.test.jsonl"), source, strict=True):
        assert row["targets"][0] == said["target"]
        assert sorted(row["targets"]) == sorted(said["targets"])
        assert sorted(row["subset"]) == row["subset"] == sorted(said["subset"])
        assert (row["id"], row["caption"], row["aspects"]) == (said["pairid"], said["caption"], [said["kind"]])
    captions = {row["image"]: row["captions"] for row in lines(made["myntra"] / "pairs.test.jsonl")}
    assert captions["13951"] == [
        "a photo of a men's printed purple T-shirt by united colors of benetton",
        "United Colors of Benetton Men Printed Purple Tshirts",
        "a photo of a purple T-shirt",
    ]


def test_noto_emoji(made):
    found = checked(made["noto_emoji"])
    assert counts(found) == {"train": (2_639, 1_760), "test": (925, 815)}
    # The collection itself holds three drawings under several code points; nothing else is wrong with it.
    assert found["complete"]
    assert (found["problems"], found["warnings"], len(found["same"])) == (0, 3, 3)
    assert all(len(c["lost"]) == 0 for c in found["costs"])
    [row] = [
        r for r in lines(made["noto_emoji"] / "pairs.test.jsonl") if r["image"] == "emoji_u1f9db_1f3fb_200d_2642.png"
    ]
    assert row["captions"] == [
        "an emoji of man vampire, light skin tone",
        "an emoji: man vampire, man, male, dracula, fantasy, men, undead",
    ]


def test_the_same_again_and_never_over_something(made, shared_data, tmp_path):
    done = prepare("noto_emoji", shared_data / "noto_emoji", tmp_path / "again")
    assert done.returncode == 0, done.stderr
    assert digests(tmp_path / "again") == digests(made["noto_emoji"])
    done = prepare("noto_emoji", shared_data / "noto_emoji", tmp_path / "again")
    assert done.returncode == 1
    assert "is not an empty folder" in done.stderr


def digests(root: Path) -> dict[str, str]:
    files = (path for path in root.rglob("*") if path.is_file())
    return {path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.mark.parametrize("member", ["../out.png", "sub/a.png", "a.txt", "b.png"])
def test_an_archive_with_something_else_leaves_nothing(tmp_path, member):
    source = tmp_path / "source"
    source.mkdir()
    item = {"file": "a.png", "name": "a", "tone": "", "keywords": []}
    (source / "items.train.json").write_text(json.dumps([item]))
    (source / "triplets.train.json").write_text("[]")
    with zipfile.ZipFile(source / "images72.train.zip", "w") as file:
        file.writestr("a.png", b"")
        file.writestr(member, b"")
    done = prepare("noto_emoji", source, tmp_path / "out")
    assert done.returncode == 1
    assert f"does not hold just the pictures of its list: {member}" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["source"]
