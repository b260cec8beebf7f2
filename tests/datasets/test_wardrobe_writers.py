"""Wardrobe on disk: every layout keeps what the real annotation files keep, and a folder is whole or not there."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from composir.cli.data import app
from composir.datasets.wardrobe import Wardrobe, writers
from composir.datasets.wardrobe.garment import ATTRIBUTES, Garment
from composir.datasets.wardrobe.layouts import FORMATS
from composir.datasets.wardrobe.writers import Written, _plan, write
from composir.errors import ComposirError, UnknownNameError
from composir.gallery.metadata import find_metadata
from composir.gallery.scan import walk


def helper(name: str):
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


check = helper("layout_checks")
reader = helper("text_reader")

SIZE = {"folder": 100, "fashioniq": 360, "cirr": 66, "circo": 120, "lasco": 60}
IMPORT = "from composir.datasets.wardrobe.writers import write"
CATEGORIES = ("dress", "shirt", "toptee")


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> dict[str, Written]:
    """Every layout once, small."""
    root = tmp_path_factory.mktemp("wardrobe")
    return {name: write(root / name, name, size=SIZE[name], image_size=64, seed=2) for name in FORMATS}


def load(root: Path, path: str):
    text = (root / path).read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()] if path.endswith("l") else json.loads(text)


def garments(done: Written) -> dict[str, Garment]:
    """File -> garment, as written beside the pictures."""
    rows = load(done.about, "garments.jsonl")
    return {row["file"]: Garment(*(row[a] for a in ATTRIBUTES)) for row in rows}


def pictures(root: Path) -> set[str]:
    return {p.relative_to(root).as_posix() for p in root.rglob("*") if p.suffix in (".png", ".jpg")}


# The real files


@pytest.mark.parametrize("category", CATEGORIES)
@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_the_real_fashioniq_passes(shared_data, category, split):
    root = shared_data / "fashioniq"
    records = load(root, f"captions/cap.{category}.{split}.json")
    check.check_fashioniq(records, load(root, f"image_splits/split.{category}.{split}.json"), hidden=split == "test")


@pytest.mark.parametrize(("split", "folder"), [("val", "dev"), ("test1", "test1"), ("train", "train")])
def test_the_real_cirr_passes(shared_data, split, folder):
    root = shared_data / "cirr"
    images = load(root, f"image_splits/split.rc2.{split}.json")
    check.check_cirr_split(images, folder)
    if split != "train":  # its captions are not at hand
        records = load(root, f"captions/cap.rc2.{split}.json")
        check.check_cirr(records, images, hidden=split == "test1")
        extended = load(root, f"captions_ext/cap.ext.rc2.{split}.json")
        check.check_cirr_extended(extended, records, hidden=split == "test1")


@pytest.mark.parametrize("split", ["val", "test"])
def test_the_real_circo_passes(shared_data, split):
    check.check_circo(load(shared_data / "circo", f"annotations/{split}.json"), hidden=split == "test")


def test_the_documented_lasco_records_pass():
    """The files themselves are not at hand: these are the records in protocols.md."""
    record = {
        "qid": 28714000,
        "query-image": [28714, "val2014/COCO_val2014_000000028714.jpg"],
        "query-text": "The person is riding the bike",
        "target-image": [277005, "val2014/COCO_val2014_000000277005.jpg"],
    }
    check.check_lasco([record], "val")
    check.check_lasco_corpus([{"id": 42, "path": "val/val2014/COCO_val2014_000000000042.jpg"}], "val")


# Ours


def test_folder(written):
    done = written["folder"]
    data = Wardrobe(test=102, seed=2)
    expected = {f"{i}.png" for i in data.ids("test")[:100]}
    assert done.pictures == {"test": 100}
    assert {p.name for p in done.path.iterdir()} == expected | {".wardrobe", "metadata.jsonl"}
    told = load(done.path, "metadata.jsonl")
    assert {row["file_name"] for row in told} == expected
    shown = {row["file"]: row for row in load(done.about, "garments.jsonl")}
    assert all(row[name] == shown[row["file_name"]][name] for row in told for name in ATTRIBUTES)
    # Nothing for `composir index` to skip.
    assert set(walk(done.path).files) == expected | {find_metadata(done.path, None).name}
    known = garments(done)
    assert set(known) == expected
    assert all(known[f"{i}.png"] == data.garment(i) for i in data.ids("test")[:100])
    queries = load(done.about, "queries.jsonl")
    assert len({q["id"] for q in queries}) == len(queries)
    assert {q["task"] for q in queries} == {"families", "concepts"}
    for query in queries:
        reference = known[query["reference"]]
        values = reader.read_edits(query["captions"], reference)
        if query["task"] == "families":
            wanted = reader.edited_by(query["captions"], reference)
            assert reader.edited_by([query["text"]], reference) == wanted
            assert query["targets"] == [file for file, garment in known.items() if garment == wanted]
            assert {query["reference"], *query["targets"]} < set(query["subset"]) <= expected
        else:
            values = {a: v for a, v in values.items() if a != "accent"} | reader.read_caption(query["shared_concept"])
            right = {f for f, g in known.items() if f != query["reference"] and reader.fits(g, values)}
            assert [query["text"]] == query["captions"]
            assert set(query["targets"]) == right


def test_fashioniq(written):
    done = written["fashioniq"]
    assert done.pictures == {"train": 288, "val": 36, "test": 36}
    known, listed = garments(done), set()
    for split in ("train", "val", "test"):
        for category in CATEGORIES:
            path = f"captions/cap.{category}.{split}.json"
            images = load(done.path, f"image_splits/split.{category}.{split}.json")
            listed.update(images)
            check.check_fashioniq(load(done.path, path), images, hidden=split == "test")
            records = load(done.path / "truth" if split == "test" else done.path, path)
            check.check_fashioniq(records, images, hidden=False)
            for record in records:
                reference, target = (known[f"images/{record[k]}.png"] for k in ("candidate", "target"))
                assert reader.edited_by(record["captions"], reference) == target
    assert {f"images/{name}.png" for name in listed} == pictures(done.path) == set(known)
    kinds = {}
    for category in CATEGORIES:
        images = load(done.path, f"image_splits/split.{category}.train.json")
        kinds[category] = {known[f"images/{name}.png"].kind for name in images}
    assert kinds == {"dress": {"dress", "jumpsuit"}, "shirt": {"shirt", "polo"}, "toptee": {"hoodie", "jacket"}}


def test_cirr(written):
    done = written["cirr"]
    assert done.pictures == {"train": 54, "val": 6, "test": 6}
    known, listed, pairids, sets = garments(done), set(), [], []
    for split, folder in (("train", "train"), ("val", "dev"), ("test1", "test1")):
        images = load(done.path, f"cirr/image_splits/split.rc2.{split}.json")
        check.check_cirr_split(images, folder)
        listed.update(path.removeprefix("./") for path in images.values())
        for root, hidden in ((done.path, True), (done.about, False)) if split == "test1" else ((done.path, False),):
            records = load(root, f"cirr/captions/cap.rc2.{split}.json")
            check.check_cirr(records, images, hidden=hidden)
            extended = load(root, f"cirr/captions_ext/cap.ext.rc2.{split}.json")
            check.check_cirr_extended(extended, records, hidden=hidden)
        pairids += [r["pairid"] for r in records]
        sets.append({r["img_set"]["id"] for r in records})
        for record in records:
            members = {n: known[images[n].removeprefix("./")] for n in record["img_set"]["members"]}
            wanted = reader.edited_by([record["caption"]], members[record["reference"]])
            assert [n for n, g in members.items() if g == wanted] == [record["target_hard"]]
    assert pairids == list(range(len(pairids)))
    assert not set.intersection(*sets)
    assert listed == pictures(done.path) == set(known)


def test_circo(written):
    done = written["circo"]
    assert done.pictures == {"val": 60, "test": 60}
    folder = done.path / "COCO2017_unlabeled"
    images = load(folder, "annotations/image_info_unlabeled2017.json")["images"]
    assert [image["file_name"] for image in images] == [f"{image['id']:012d}.jpg" for image in images]
    assert {image["file_name"] for image in images} == pictures(folder / "unlabeled2017")
    assert all((image["width"], image["height"]) == (64, 64) for image in images)
    by_file = garments(done)
    known = {int(Path(file).stem): garment for file, garment in by_file.items()}
    gallery = [image["id"] for image in images]
    assert set(known) == set(gallery)
    check.check_circo(load(done.path, "annotations/test.json"), hidden=True, gallery=gallery)
    for split, root in (("val", done.path), ("test", done.about)):
        records = load(root, f"annotations/{split}.json")
        check.check_circo(records, hidden=False, gallery=gallery)
        for record in records:
            reference = known[record["reference_img_id"]]
            edits = reader.read_edits([record["relative_caption"]], reference)
            values = {a: v for a, v in edits.items() if a != "accent"}
            values |= reader.read_caption(record["shared_concept"])
            right = {n for n, g in known.items() if n != record["reference_img_id"] and reader.fits(g, values)}
            assert set(record["gt_img_ids"]) == right


def test_lasco(written):
    done = written["lasco"]
    assert done.pictures == {"train": 48, "val": 12}
    known, listed = garments(done), set()
    for split in ("train", "val"):
        records = load(done.path, f"lasco_{split}.json")
        check.check_lasco(records, split)
        corpus = check.check_lasco_corpus(load(done.path, f"lasco_{split}_corpus.json"), split)
        listed.update(corpus.values())
        for record in records:
            (_, reference), (number, target) = record["query-image"], record["target-image"]
            assert corpus[number] == target
            assert reader.edited_by([record["query-text"]], known[reference]) == known[target]
    assert listed == pictures(done.path) == set(known)


@pytest.mark.parametrize("name", FORMATS)
def test_pictures_show_the_garments_named(written, name):
    """A PNG is the very drawing, a JPEG is close to it; all are of the size asked."""
    done = written[name]
    data = Wardrobe(train=288, val=60, test=102, seed=2)
    rows = load(done.about, "garments.jsonl")
    assert sorted(row["file"] for row in rows) == sorted(pictures(done.path))
    for row in rows[:: len(rows) // 12]:
        with Image.open(done.path / row["file"]) as image:
            assert (image.format, image.mode, image.size) == (
                "PNG" if row["file"].endswith(".png") else "JPEG", "RGB", (64, 64),
            )  # fmt: skip
            error = np.abs(np.asarray(image, int) - np.asarray(data.image(row["id"]), int)).mean()
        assert error == 0 if row["file"].endswith(".png") else error < 4
        assert data.garment(row["id"]) == Garment(*(row[a] for a in ATTRIBUTES))
        assert reader.fits(data.garment(row["id"]), reader.read_caption(row["captions"][0]))
        assert row["split"] in done.pictures


@pytest.mark.parametrize("name", [n for n in FORMATS if n != "folder"])
def test_what_a_benchmark_hides_lies_in_truth_alone(written, name):
    done = written[name]
    assert done.about == done.path / "truth"
    made = load(done.about, "wardrobe.json")
    assert (made["format"], made["size"], made["seed"]) == (name, SIZE[name], 2)
    hidden = [p.relative_to(done.about) for p in done.about.rglob("*.json") if p.name != "wardrobe.json"]
    assert len(hidden) == {"fashioniq": 3, "cirr": 2, "circo": 1, "lasco": 0}[name]
    for path in hidden:
        public, whole = load(done.path, path.as_posix()), load(done.about, path.as_posix())
        assert len(public) == len(whole)
        for told, all_ in zip(public, whole, strict=True):
            assert set(told) < set(all_)  # and in img_set too, as check_cirr has seen
            assert all(all_[k] == v for k, v in told.items() if k != "img_set")
            assert "target" not in json.dumps(told)


def test_records_are_counted(written):
    assert written["cirr"].records["cirr/captions/cap.rc2.train.json"] == len(
        load(written["cirr"].path, "cirr/captions/cap.rc2.train.json")
    )
    assert written["folder"].records[".wardrobe/garments.jsonl"] == 100


# Whole or not there


def tree(root: Path) -> dict[str, str]:
    return {
        p.relative_to(root).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in root.rglob("*")
        if p.is_file()
    }


def test_processes_write_what_one_writes(tmp_path):
    told: list[tuple[int, int]] = []
    write(tmp_path / "one", size=40, image_size=64, style="synthetic", workers=1)
    write(
        tmp_path / "two", size=40, image_size=64, style="synthetic", workers=2,
        progress=lambda done, total: told.append((done, total)),
    )  # fmt: skip
    assert tree(tmp_path / "one") == tree(tmp_path / "two")
    assert [t for _, t in told] == [40] * 3
    assert told[-1] == (40, 40)


def test_seed_and_style_change_the_pictures(tmp_path, written):
    write(tmp_path / "style", size=100, image_size=64, seed=2, style="synthetic")
    write(tmp_path / "seed", size=100, image_size=64, seed=3)
    first, style, seed = (tree(p) for p in (written["folder"].path, tmp_path / "style", tmp_path / "seed"))
    assert set(first) == set(style) == set(seed)
    assert first[".wardrobe/queries.jsonl"] == style[".wardrobe/queries.jsonl"] != seed[".wardrobe/queries.jsonl"]
    assert not {v for k, v in first.items() if k.endswith("png")} & {*style.values(), *seed.values()}


def test_an_empty_folder_may_be_given_and_parents_are_made(tmp_path):
    (tmp_path / "empty").mkdir()
    write(tmp_path / "empty", size=12, image_size=64)
    write(tmp_path / "a" / "b", size=12, image_size=64)
    assert tree(tmp_path / "empty") == tree(tmp_path / "a" / "b")
    assert {p.name for p in tmp_path.iterdir()} == {"empty", "a"}


def test_a_folder_in_use_is_refused_and_untouched(tmp_path, monkeypatch):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    (tmp_path / "file").write_text("dear")
    before = tree(tmp_path)
    for name in ("mine", "file", "mine/letter.txt"):
        with pytest.raises(ComposirError, match="not an empty folder"):
            write(tmp_path / name, size=12, image_size=64)
    with pytest.raises(ComposirError, match="cannot be written"):
        write(tmp_path / "file" / "below", size=12, image_size=64)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(ComposirError, match="current folder"):
        write(".", size=12, image_size=64)
    assert tree(tmp_path) == before


def test_an_unfinished_folder_is_refused(tmp_path):
    (tmp_path / "out.writing").mkdir()
    with pytest.raises(ComposirError, match=r"out\.writing exists.*remove it"):
        write(tmp_path / "out", size=12, image_size=64)
    assert [p.name for p in tmp_path.iterdir()] == ["out.writing"]


@pytest.mark.parametrize(
    ("error", "raised", "message"),
    [
        (OSError(28, "No space left on device"), ComposirError, "No space left on device; make room"),
        (KeyboardInterrupt(), KeyboardInterrupt, None),
        (RuntimeError("a bug"), RuntimeError, "a bug"),
    ],
)
def test_a_write_that_fails_leaves_nothing(tmp_path, monkeypatch, error, raised, message):
    def fail(*args, **kwargs):
        raise error

    monkeypatch.setattr(writers, "draw_files", fail)
    with pytest.raises(raised, match=message):
        write(tmp_path / "out", size=12, image_size=64)
    assert not list(tmp_path.iterdir())


def test_a_killed_write_is_not_read_as_whole(tmp_path):
    code = f"{IMPORT}; import sys; write(sys.argv[1], size=1200, image_size=64, workers=1)"
    out = tmp_path / "out"
    writing = tmp_path / "out.writing"
    with subprocess.Popen([sys.executable, "-c", code, str(out)]) as process:
        until = time.monotonic() + 60
        while len(list(writing.glob("*.png"))) < 3:
            assert time.monotonic() < until
            assert process.poll() is None
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
    assert not out.exists()
    with pytest.raises(ComposirError, match=r"out\.writing exists"):
        write(out, size=12, image_size=64)


def test_a_script_without_a_main_guard_is_told(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(f"{IMPORT}\nwrite('out', size=12, image_size=64, workers=2)\n")
    run = subprocess.run([sys.executable, str(script)], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert run.returncode == 1
    assert "a drawing process ended" in run.stderr
    assert {p.name for p in tmp_path.iterdir()} == {"script.py"}


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"layout": "fashion-iq"}, UnknownNameError, "did you mean 'fashioniq'"),
        ({"layout": "coco"}, UnknownNameError, "format 'coco'"),
        ({"style": "foto"}, UnknownNameError, "did you mean 'photo'"),
        ({"image_size": 63}, ComposirError, r"outside 64\.\.512"),
        ({"image_size": 513}, ComposirError, r"outside 64\.\.512"),
        ({"size": 5}, ComposirError, "larger --size"),
        ({"size": -1}, ComposirError, "larger --size"),
        ({"size": 40_001}, ComposirError, "smaller --size"),
        ({"layout": "cirr", "size": 17}, ComposirError, "larger --size"),
        ({"layout": "lasco", "size": 11}, ComposirError, "larger --size"),
        ({"layout": "circo", "size": 11}, ComposirError, "larger --size"),
        ({"layout": "fashioniq", "size": 60}, ComposirError, r"captions|image_splits.*would be empty"),
        ({"layout": "fashioniq", "size": 1_000_000}, ComposirError, "smaller --size"),
    ],
)
def test_arguments_outside_what_is_allowed(tmp_path, arguments, error, message):
    with pytest.raises(error, match=message):
        write(tmp_path / "out", **arguments)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("size", [60, 600, 1001, 30_000])
def test_sizes_are_divided_whole(name, size):
    sizes = FORMATS[name].divide(size)
    if name == "folder":
        assert sizes == {"test": size}
        return
    assert sum(sizes.values()) == size // 6 * 6
    assert all(count >= 6 and count % 6 == 0 for count in sizes.values())
    share = {"fashioniq": (0.8, 0.1, 0.1), "cirr": (0.8, 0.1, 0.1), "lasco": (0.8, 0.2), "circo": (0.5, 0.5)}[name]
    assert all(abs(count / size - part) < 0.01 + 6 / size for count, part in zip(sizes.values(), share, strict=True))


@pytest.mark.parametrize("name", ["fashioniq", "circo"])  # those that leave queries out
def test_six_hundred_are_enough(name, tmp_path, monkeypatch):
    monkeypatch.setattr(writers, "draw_files", lambda *args: None)
    for seed in range(2):
        write(tmp_path / str(seed), name, size=600, seed=seed)


# The command


def test_command(tmp_path):
    arguments = ["wardrobe", str(tmp_path / "out"), "--format", "cirr", "--size", "60", "--seed", "5"]
    result = CliRunner().invoke(app, [*arguments, "--image-size", "64", "--style", "synthetic"])
    assert result.exit_code == 0, result.output
    assert result.output.splitlines()[0] == f"60 pictures (48 train, 6 val, 6 test) in {tmp_path / 'out'}"
    assert "48  cirr/captions/cap.rc2.train.json" in result.output
    assert result.output.splitlines()[-1].endswith(str(tmp_path / "out" / "truth"))
    made = load(tmp_path / "out" / "truth", "wardrobe.json")
    assert (made["seed"], made["image_size"], made["style"]) == (5, 64, "synthetic")


def test_a_problem_is_one_line_and_exit_code_1(tmp_path):
    code = "from composir.cli.main import run; run()"
    arguments = ["data", "wardrobe", str(tmp_path / "out"), "--format", "fashoniq"]
    run = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)
    assert run.returncode == 1
    assert run.stderr == "error: unknown format 'fashoniq'; did you mean 'fashioniq'?\n"


def test_an_interrupted_command_says_so(tmp_path, monkeypatch):
    def stop(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(writers, "draw_files", stop)
    result = CliRunner().invoke(app, ["wardrobe", str(tmp_path / "out"), "--size", "12"])
    assert result.exit_code == 130
    assert not list(tmp_path.iterdir())


def test_help_imports_nothing_heavy():
    code = "import sys, composir.cli.data; print(sorted({'torch', 'numpy', 'PIL', 'rich.progress'} & set(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("layout", "size", "seed"), [("fashioniq", 60, 1), ("fashioniq", 2, 0), ("cirr", 17, 0), ("circo", 3, 5)]
)
def test_the_larger_size_that_is_advised_is_large_enough(tmp_path, layout, size, seed):
    with pytest.raises(ComposirError) as refused:
        write(tmp_path / "out", layout, size=size, seed=seed)
    advised = int(re.search(r"larger --size, such as (\d+)$", str(refused.value))[1])
    assert advised > size
    _plan(layout, advised, seed, 64, "photo")
