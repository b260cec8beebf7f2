"""`composir index` end to end: reports, exit codes, defaults from the gallery, Ctrl-C."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

import pytest
import torch

from composir import checkpoint, indexing
from composir.backbones import load_backbone
from composir.errors import GalleryError
from composir.gallery.store import Gallery
from composir.methods import load_method

TINY = ("--backbone", "clip-tiny", "--workers", 0)


def test_a_first_and_a_second_run(cli, pictures, tmp_path):
    root = pictures(5)
    shutil.copy(root / "000.png", root / "copy.png")
    (root / "bad.png").write_text("text")
    first = cli("index", root, "--gallery", tmp_path / "g", *TINY)
    assert first.code == 0
    assert first.out.splitlines()[0] == "7 files = 5 pictures + 1 copies + 1 skipped"
    assert first.out.splitlines()[1].startswith(
        "5 added, 0 edited, 0 moved, 1 copied, 0 removed, 0 unchanged; 5 encoded in"
    )
    assert "  bad.png  not an image" in first.out
    assert str(tmp_path / "g" / "skipped.jsonl") in first.out
    second = cli("index", root, "--gallery", tmp_path / "g", "--workers", 0)
    assert "0 added, 0 edited, 0 moved, 0 copied, 0 removed, 6 unchanged; 0 encoded in" in second.out


def test_an_empty_folder_is_told_and_its_gallery_has_no_answers(cli, tmp_path):
    (tmp_path / "photos").mkdir()
    done = cli("index", tmp_path / "photos", "--gallery", tmp_path / "g", *TINY)
    assert done.code == 0
    assert "photos holds no file, so the gallery is empty" in done.err
    found = cli("search", "--gallery", tmp_path / "g", "--text", "red")
    assert (found.code, found.out) == (0, "")
    assert "no answers: the gallery holds no picture" in found.err
    assert json.loads(cli("search", "--gallery", tmp_path / "g", "--text", "red", "--json").out) == []


def test_metadata_that_is_kept_is_told_and_dropped_by_a_flag(cli, pictures, tmp_path):
    root, shop = pictures(2), tmp_path / "shop.csv"
    shop.write_text("file_name,price\n000.png,3\n")
    made = ("index", root, "--gallery", tmp_path / "g", "--workers", 0)
    assert "metadata of 1 files\n" in cli(*made, "--backbone", "clip-tiny", "--metadata", shop).out
    assert "metadata of 1 files, kept from an earlier run: no file was given or found; --no-metadata" in cli(*made).out
    both = cli(*made, "--metadata", shop, "--no-metadata")
    assert (both.code, "leave out one of the two" in both.err) == (1, True)
    assert "metadata" not in cli(*made, "--no-metadata").out
    assert Gallery.open(tmp_path / "g").metadata().column_names == ["path"]


def test_a_long_list_of_skipped_files_is_cut_on_the_screen_only(cli, pictures, tmp_path):
    root = pictures(1)
    for i in range(25):
        (root / f"{i}.txt").write_text("text")
    out = cli("index", root, "--gallery", tmp_path / "g", *TINY).out
    assert out.count("not an image") == 10
    assert "… all in" in out
    lines = (tmp_path / "g" / "skipped.jsonl").read_text().splitlines()
    assert len(lines) == 25
    assert {tuple(json.loads(line)) for line in lines} == {("path", "reason", "detail")}


def test_strict_ends_with_one_if_something_was_skipped(cli, pictures, tmp_path):
    root = pictures(2)
    assert cli("index", root, "--gallery", tmp_path / "g", *TINY, "--strict").code == 0
    (root / "bad.png").write_text("text")
    assert cli("index", root, "--gallery", tmp_path / "g", "--strict", "--workers", 0).code == 1
    assert cli("index", root, "--gallery", tmp_path / "g", "--workers", 0).code == 0


def test_the_report_as_json(cli, pictures, tmp_path):
    root = pictures(3)
    (root / "bad.png").write_text("text")
    report = json.loads(cli("index", root, "--gallery", tmp_path / "g", *TINY, "--json").out)
    assert report["files"] == 4 == report["images"] + report["copies"] + len(report["skipped"])
    told = "the content is of no known kind; JPEG, PNG, WebP, GIF, BMP, TIFF, AVIF and HEIC are read"
    assert report["skipped"] == [{"path": "bad.png", "reason": "not an image", "detail": told}]
    assert {
        "unchanged",
        "added",
        "edited",
        "moved",
        "copied",
        "removed",
        "encoded",
        "seconds",
        "closed",
        "kept",
    } <= set(report)


MEASURED = """
import resource, subprocess, sys
done = subprocess.run([sys.executable, "-m", "composir", *sys.argv[1:]], stdout=subprocess.PIPE)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, done.returncode, done.stdout.decode())
"""


@pytest.mark.long
@pytest.mark.skipif(sys.platform != "linux", reason="counts in kilobytes as Linux does")
def test_hostile_files_end_in_the_report_within_a_gigabyte(shared_data, tmp_path):
    """Of the command and of the processes that decode for it, the largest."""
    given = ["index", shared_data / "hostile_images", "--gallery", tmp_path / "g", "--backbone", "clip-tiny", "--json"]
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, *map(str, given)], capture_output=True, text=True, timeout=200
    )
    kilobytes, code, told = done.stdout.split(" ", 2)
    assert code == "0", done.stderr
    report = json.loads(told)
    files = sum(1 for path in (shared_data / "hostile_images").rglob("*") if path.is_file())
    assert report["files"] == files == report["images"] + report["copies"] + len(report["skipped"])
    assert all(row["reason"] for row in report["skipped"])
    assert int(kilobytes) < 1_000_000


def test_real_photographs(cli, shared_data, tmp_path):
    from zipfile import ZipFile

    for archive, kept in (("grocery/images96.test.zip", 30), ("clothing_small/images128.zip", 30)):
        with ZipFile(shared_data / archive) as opened:
            opened.extractall(tmp_path / "photos", [n for n in opened.namelist() if not n.endswith("/")][::20][:kept])
    report = json.loads(
        cli("index", tmp_path / "photos", "--gallery", tmp_path / "g", "--backbone", "clip-tiny", "--json").out
    )
    assert (report["images"], report["skipped"]) == (60, [])


def test_the_gallery_remembers_backbone_and_method(cli, pictures, tmp_path):
    root = pictures(2)
    assert cli("index", root, "--gallery", tmp_path / "g", "--method", "sum", *TINY).code == 0
    manifest = Gallery.open(tmp_path / "g").manifest
    assert (manifest.method, manifest.backbone, manifest.root) == ("sum", "clip-tiny", str(root))
    again = cli("index", root, "--gallery", tmp_path / "g", "--method", "slerp", "--workers", 0)
    assert (again.code, Gallery.open(tmp_path / "g").manifest.method) == (0, "slerp")
    assert "0 encoded" in again.out
    kept = cli("index", root, "--gallery", tmp_path / "g", "--workers", 0)
    assert (kept.code, Gallery.open(tmp_path / "g").manifest.method) == (0, "slerp")


def test_another_method_is_told_with_the_way_back_and_out(cli, pictures, tmp_path):
    root, path = pictures(2), tmp_path / "g"
    made = ("index", root, "--gallery", path, "--workers", 0)
    assert "searches use" not in cli(*made, "--backbone", "clip-tiny").err
    told = cli(*made, "--method", "sum", "--json")
    back = f"back, to its defaults, with: composir index {root} --gallery {path} --method slerp"
    assert told.err.splitlines()[-1] == (
        f"searches use method sum (no arguments) from now on, no longer slerp (alpha = 0.8); {back}"
    )
    assert json.loads(told.out)["unchanged"] == 2
    assert "searches use" not in cli(*made).err  # nothing changed any more
    asked = ("search", "--gallery", path, "--image", root / "000.png", "--text", "is red", "--alpha", 0.5)
    refused = cli(*asked)
    assert refused.code == 1
    assert refused.err.endswith("; over this gallery: --method slerp\n")
    assert cli(*asked, "--method", "slerp").code == 0
    assert "searches use method slerp (alpha = 0.8) from now on, no longer sum" in cli(*made, "--method", "slerp").err
    assert cli(*asked).code == 0


def test_another_method_of_an_edition_is_told_with_the_way_back(cli, pictures, tmp_path, gallery):
    made = ("index", pictures(12), "--gallery", gallery, "--workers", 0, "--beside", "--backbone", "siglip-tiny")
    assert "searches use" not in cli(*made, "--method", "sum").err
    back = f"--gallery {gallery} --beside --backbone siglip-tiny --method sum\n"
    assert cli(*made, "--method", "slerp").err.endswith(
        f"no longer sum (no arguments); back with: composir index {made[1]} {back}"
    )


def test_a_run_that_fails_after_the_method_changed_tells_the_change(cli, pictures, gallery, monkeypatch):
    monkeypatch.setattr("composir.indexing.walk", lambda *_, **__: (_ for _ in ()).throw(GalleryError("no luck")))
    done = cli("index", pictures(12), "--gallery", gallery, "--workers", 0, "--method", "sum")
    assert (done.code, Gallery.open(gallery).manifest.method) == (1, "sum")
    assert "searches use method sum" in done.err


def test_a_damaged_table_is_one_line_with_the_remedy(cli, pictures, tmp_path):
    cli("index", pictures(3), "--gallery", tmp_path / "g", "--workers", 0, *TINY)
    for part in (tmp_path / "g").glob("images.lance/data/*.lance"):
        part.write_bytes(part.read_bytes()[:100])
    done = cli("search", "--gallery", tmp_path / "g", "--text", "red")
    assert done.code == 1
    assert done.err.count("\n") == 1
    assert "is damaged" in done.err
    assert "composir index" in done.err


def test_a_trained_run_is_named_once_and_remembered(cli, pictures, tmp_path):
    best = tmp_path / "runs" / "x" / "best.safetensors"
    method = load_method("contrastive", load_backbone("clip-tiny"))
    with torch.no_grad():
        method.backbone.image.visual_projection.weight.mul_(-1)
    checkpoint.save(best, method, arguments={"alpha": 0.35})
    root = pictures(3)
    made = ("index", root, "--gallery", tmp_path / "g", "--workers", 0)
    done = cli(*made, "--method", best.parent)
    assert done.code == 0, done.err
    manifest = Gallery.open(tmp_path / "g").manifest
    assert (manifest.method, manifest.checkpoint, manifest.arguments) == ("contrastive", str(best), {"alpha": 0.35})
    assert "3 unchanged; 0 encoded" in cli(*made).out
    assert json.loads(cli("search", "--gallery", tmp_path / "g", "--text", "red", "--json").out)
    refused = cli(*made, "--method", "slerp", "--backbone", "clip-tiny", "--gallery", tmp_path / "g")
    assert refused.code == 0, refused.err  # over the trained backbone, which is that of the gallery
    best.rename(best.with_name("old.safetensors"))
    gone = cli("search", "--gallery", tmp_path / "g", "--text", "red")
    assert gone.code == 1
    assert f"composir index {root} --gallery {tmp_path / 'g'} --method CHECKPOINT" in gone.err
    assert cli(*made, "--method", best.with_name("old.safetensors")).code == 0
    assert cli("search", "--gallery", tmp_path / "g", "--text", "red").code == 0
    foreign = cli("index", root, "--gallery", tmp_path / "g", "--method", "runs/none")
    assert (foreign.code, foreign.err.startswith("error: there is no folder runs/none")) == (1, True)


def test_another_backbone_is_refused_naming_both_keys(cli, pictures, gallery, tmp_path):
    done = cli("index", pictures(12), "--gallery", gallery, "--backbone", "siglip-tiny")
    assert done.code == 1
    assert Gallery.open(gallery).manifest.key in done.err
    assert "--backbone siglip-tiny" in done.err


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (("--method", "slurp"), "unknown method (nor the folder of a run) 'slurp'; did you mean 'slerp'"),
        (("--method", "runs/none"), "there is no folder runs/none; name a run"),
        (("--method", "."), "has no config.toml"),
        (("--backbone", "clip-tny"), "did you mean 'clip-tiny'"),
        (("--backbone", "clip-tiny", "--device", "gpu"), "device 'gpu' cannot be used"),
    ],
)
def test_names_that_nothing_bears(cli, pictures, tmp_path, arguments, hint):
    done = cli("index", pictures(1), "--gallery", tmp_path / "g", *arguments)
    assert done.code == 1
    assert hint in done.err
    assert not (tmp_path / "g").exists()


def test_a_folder_that_is_not_there(cli, tmp_path):
    done = cli("index", tmp_path / "nowhere", "--gallery", tmp_path / "g")
    assert (done.code, done.err) == (1, f"error: {tmp_path / 'nowhere'} is missing; name the folder of pictures\n")


def test_ctrl_c_ends_with_130_and_keeps_what_was_encoded(cli, pictures, tmp_path, monkeypatch):
    root, real, seen = pictures(7), indexing.encode, []

    def encode(method, pixels):
        seen.append(len(pixels))
        if len(seen) == 4:  # the first is a blank, by which the gallery is made
            signal.raise_signal(signal.SIGINT)
        return real(method, pixels)

    made = ("index", root, "--gallery", tmp_path / "g", *TINY, "--batch-size", 2)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # deaf to it where the suite runs in background
    try:
        with monkeypatch.context() as patch:
            patch.setattr(indexing, "encode", encode)
            done = cli(*made)
    finally:
        signal.signal(signal.SIGINT, before)
    assert (done.code, done.out) == (130, "")
    assert done.err == "\nStopped. What was encoded is kept: run the same command again to go on.\n"
    assert len(Gallery.open(tmp_path / "g").ids()) == 4
    assert "4 unchanged; 3 encoded in" in cli(*made).out


@pytest.mark.long
def test_ctrl_c_says_how_to_go_on_and_leaves_no_process(pictures, tmp_path, cli):
    root, mark = pictures(400), uuid.uuid4().hex
    command = [
        "index",
        root,
        "--gallery",
        tmp_path / "g",
        "--backbone",
        "clip-tiny",
        "--batch-size",
        "1",
        "--workers",
        "2",
    ]
    # Where the suite itself runs in the background of a shell, its children are born deaf to SIGINT.
    hear = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    code = hear + "from composir.cli.main import run; run()"
    process = subprocess.Popen(
        [sys.executable, "-c", code, *map(str, command)],
        env={**os.environ, "COMPOSIR_MARK": mark},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    while process.poll() is None and not (tmp_path / "g" / "lock").exists():
        time.sleep(0.02)
    time.sleep(0.3)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to every process of the group
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, "")
    assert err.splitlines()[-1] == "Stopped. What was encoded is kept: run the same command again to go on."
    assert "Traceback" not in err
    assert marked_processes(mark) == []
    assert cli("index", root, "--gallery", tmp_path / "g", "--workers", 0).out.startswith("400 files = 400 pictures")


def marked_processes(mark: str) -> list[str]:
    """What still runs after 10 s of those processes that were started with this mark in their environment."""
    for _ in range(100):
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            try:
                if mark.encode() in (process / "environ").read_bytes():
                    found.append((process / "cmdline").read_text())
            except OSError:
                continue
        if not found:
            break
        time.sleep(0.1)
    return found


@pytest.mark.parametrize(("name", "content"), [("nofile.csv", None), ("bad.jpg", "x"), ("bad.csv", "price\n3\n")])
def test_metadata_that_cannot_be_read_leaves_no_gallery(cli, pictures, tmp_path, name, content):
    if content:
        (tmp_path / name).write_text(content)
    done = cli("index", pictures(2), "--gallery", tmp_path / "g", *TINY, "--metadata", tmp_path / name)
    assert done.code == 1
    assert name in done.err
    assert not (tmp_path / "g").exists()


def test_what_is_passed_by_is_counted(cli, pictures, tmp_path):
    root = pictures(2)
    (root / ".archive").mkdir()
    (root / "000.png").rename(root / ".archive" / "000.png")
    os.mkfifo(root / "pipe.png")
    told = cli("index", root, "--gallery", tmp_path / "g", *TINY).out
    assert "1 hidden files or folders (names that begin with a dot) were passed by" in told
    assert "1 pipes, sockets or devices were passed by" in told
    assert cli("index", pictures(2, "plain"), "--gallery", tmp_path / "h", *TINY).out.count("passed by") == 0


def test_links_are_followed_as_in_the_run_before(cli, pictures, tmp_path):
    root = pictures(2)
    (tmp_path / "more").mkdir()
    (root / "000.png").rename(tmp_path / "more" / "far.png")
    (root / "link").symlink_to(tmp_path / "more")
    made = ("index", root, "--gallery", tmp_path / "g")
    assert "1 symbolic links were not followed" in cli(*made, *TINY).out
    assert "2 files = 2 pictures" in cli(*made, "--follow-symlinks").out
    assert "2 files = 2 pictures" in cli(*made).out
    assert "2 files = 2 pictures" in cli(*made, *TINY, "--beside").out
    assert "1 removed" in cli(*made, "--no-follow-symlinks").out
    assert "1 files = 1 pictures" in cli(*made).out


def test_the_remedy_for_another_backbone_names_the_folder_that_was_given(cli, pictures, tmp_path):
    cli("index", pictures(2), "--gallery", tmp_path / "g", *TINY)
    other = pictures(2, "other")
    done = cli("index", other, "--gallery", tmp_path / "g", "--backbone", "siglip-tiny")
    assert done.code == 1
    assert f"composir index {other} --gallery NEW_PATH --method slerp --backbone siglip-tiny" in done.err


def test_what_is_encoded_with_by_default_is_told(cli, pictures, tmp_path):
    made = ("index", pictures(2), "--gallery", tmp_path / "g", "--workers", 0)
    told = "encoding with wardrobe-clip, which has seen drawn garments alone; for photographs name one that has seen"
    assert told in cli(*made).err
    assert told not in cli(*made).err  # it is known by now
    assert told in cli("index", pictures(2), "--gallery", tmp_path / "m", "--method", "sum", "--workers", 0).err
    named = cli("index", pictures(2), "--gallery", tmp_path / "h", "--backbone", "wardrobe-clip", "--workers", 0)
    assert told not in named.err
