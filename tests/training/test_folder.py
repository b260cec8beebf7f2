"""The folder of a run, cut off between any two moves of its files: what is read is the old or the new, whole."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from composir.backbones import load_backbone
from composir.backbones.clip import ClipBackbone
from composir.errors import ComposirError
from composir.methods.base import fingerprint
from composir.training import run
from composir.training.folder import RunFolder

RUN_MODULE = sys.modules["composir.training.run"]  # by attribute it is the function of that name


class Killed(Exception):
    pass


def key(backbone) -> str:
    return fingerprint({name: own.half() for name, own in backbone.state_dict().items()})


@pytest.mark.parametrize("survived", [0, 1, 2])
def test_a_kill_between_renames_leaves_a_whole_backbone(load, tmp_path, monkeypatch, survived):
    place, (old, new, newest) = RunFolder(tmp_path / "run"), (ClipBackbone.tiny(seed=seed) for seed in range(3))
    place.begin(load())
    place.keep_backbone(old)
    done, rename = [], Path.rename

    def renamed(path, to):
        if len(done) == survived:
            raise Killed
        done.append(rename(path, to))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", renamed)
        if survived < 2:
            with pytest.raises(Killed):
                place.keep_backbone(new)
        else:
            place.keep_backbone(new)
    place.begin(load())
    assert key(load_backbone(str(place.backbone))) == key(new if survived == 2 else old)
    place.keep_backbone(newest)
    assert key(load_backbone(str(place.backbone))) == key(newest)
    assert {path.name for path in place.path.iterdir()} == {"config.toml", "backbone"}


@pytest.mark.parametrize("name", ["config.toml", "README.md"])
def test_a_kill_while_writing_leaves_the_old_file(load, tmp_path, monkeypatch, name):
    place = RunFolder(tmp_path / "run")
    place.begin(load())
    place.keep_card("the first\n")
    before, write = (place.path / name).read_text("utf-8"), Path.write_text

    def half(path, text, **how):
        write(path, text[: len(text) // 2], **how)
        raise Killed

    monkeypatch.setattr(Path, "write_text", half)
    with pytest.raises(Killed):
        place.begin(load("train.lr=0.5")) if name == "config.toml" else place.keep_card("the second\n")
    assert (place.path / name).read_text("utf-8") == before


def test_a_file_where_the_folder_should_be_is_told_before_anything_is_built(load, tmp_path, monkeypatch):
    monkeypatch.setattr(RUN_MODULE, "prepared", lambda *_: pytest.fail("the run is being prepared"))
    (tmp_path / "taken").write_text("mine")
    for out in (tmp_path / "taken", tmp_path / "taken" / "run"):
        with pytest.raises(
            ComposirError, match=rf"taken is a file, so no run can be kept in {out}; give another --out"
        ):
            run(load(), out)
    assert (tmp_path / "taken").read_text() == "mine"
