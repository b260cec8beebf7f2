"""The feature cache: what is computed, what is found, what names a row, and what a kill leaves."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import textwrap

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from composir.backbones.clip import ClipBackbone
from composir.datasets import load_dataset
from composir.datasets.base import Dataset
from composir.errors import ComposirError, DataError
from composir.features import cache_folder, file_hashes, image_features, text_features
from composir.methods.base import Frozen

TRANSFORM = ClipBackbone.tiny().transform()


def tower(key: str = "key", told: list | None = None, scale: float = 1.0) -> Frozen:
    """Means over colours, or lengths of texts; `told` hears how many rows were computed."""

    def run(given):
        if told is not None:
            told.append(len(given))
        if isinstance(given, list):
            return torch.tensor([[float(len(text)), 1.0] for text in given]) * scale
        return given.mean(dim=(2, 3)) * scale

    return Frozen(key, TRANSFORM, run)


def texts_of(key: str = "key", told: list | None = None) -> Frozen:
    return Frozen(key, None, tower(told=told).run)


@pytest.fixture
def files(pictures):
    """Five pictures in plain files; two of them are the same bytes."""
    root = pictures(5, "set/images")
    (root / "004.png").write_bytes((root / "001.png").read_bytes())
    lines = [json.dumps({"image": f"{i:03}", "captions": [f"number {i}"]}) for i in range(5)]
    (root.parent / "captions.jsonl").write_text("\n".join(lines), encoding="utf-8")
    return load_dataset("jsonl", root=root.parent)


IDS = [f"{i:03}" for i in range(5)]


def expected(dataset: Dataset, ids=IDS) -> torch.Tensor:
    return torch.stack([TRANSFORM(dataset.image(i)).mean(dim=(1, 2)) for i in ids])


def compute(frozen, dataset, folder, ids=IDS, **options):
    return image_features(frozen, dataset, ids, folder, workers=0, **options)


@pytest.mark.parametrize("kept", [True, False])
def test_rows_are_those_asked_for(files, tmp_path, kept):
    folder = tmp_path / "cache" if kept else None
    found, ids, failed = compute(tower(), files, folder, batch_size=2)
    assert (ids, failed, len(found)) == (IDS, {}, 5)
    rows = torch.tensor([3, 0, 3, 4])
    assert torch.allclose(found.take(rows), expected(files)[rows], atol=1e-6)
    assert found.take(rows).dtype == torch.float32
    assert (tmp_path / "cache").exists() == kept


def test_what_is_known_is_neither_computed_nor_decoded(files, tmp_path, monkeypatch):
    told: list[int] = []
    first, *_ = compute(tower(told=told), files, tmp_path)
    assert sum(told) == 4, "equal bytes are computed once"
    monkeypatch.setattr(type(files), "image", lambda *_: pytest.fail("a known picture is decoded"))
    again, *_ = compute(tower(told=told), files, tmp_path, ids=IDS[::-1])
    assert sum(told) == 4
    everything = torch.arange(5)
    assert torch.equal(first.take(everything), again.take(everything.flip(0)))


def test_only_what_is_new_is_computed(files, tmp_path):
    told: list[int] = []
    compute(tower(told=told), files, tmp_path, ids=IDS[:2])
    found, *_ = compute(tower(told=told), files, tmp_path)
    assert told == [2, 2]
    assert torch.allclose(found.take(torch.arange(5)), expected(files), atol=1e-6)
    assert len(list((tmp_path / "key-float32").iterdir())) == 2


def test_a_replaced_picture_is_computed_anew(files, tmp_path):
    compute(tower(), files, tmp_path)
    Image.new("RGB", (60, 48), (255, 0, 0)).save(files.path("002"))
    told: list[int] = []
    found, *_ = compute(tower(told=told), files, tmp_path)
    assert told == [1]
    assert torch.allclose(found.take(torch.arange(5)), expected(files), atol=1e-6)


def test_each_key_and_each_type_has_its_own(files, tmp_path):
    for key, dtype in (("one", torch.float32), ("two", torch.float32), ("one", torch.float16)):
        told: list[int] = []
        compute(tower(key, told), files, tmp_path, dtype=dtype)
        assert sum(told) == 4
    assert sorted(path.name for path in tmp_path.glob("*-float*")) == ["one-float16", "one-float32", "two-float32"]


def test_half_precision_rounds_and_is_said(files, tmp_path):
    whole, half = (compute(tower(), files, tmp_path, dtype=d)[0] for d in (torch.float32, torch.float16))
    rows = torch.arange(5)
    assert torch.equal(half.take(rows), whole.take(rows).half().float())


def test_drawn_pictures_are_named_by_their_pixels(tmp_path):
    dataset = load_dataset("wardrobe", train=12, val=6, test=6)
    ids = [pair.image for pair in dataset.pairs("train")]
    assert file_hashes(dataset, ids) == {}
    told: list[int] = []
    first, *_ = compute(tower(told=told), dataset, tmp_path, ids=ids)
    again, *_ = compute(tower(told=told), dataset, tmp_path, ids=ids)
    assert sum(told) == 12
    rows = torch.arange(12)
    assert torch.equal(first.take(rows), again.take(rows))
    assert torch.allclose(first.take(rows), expected(dataset, ids), atol=1e-6)


def test_texts_are_computed_once_each(tmp_path):
    told: list[int] = []
    texts = ["red", "short", "red", "", "grün"]
    found = text_features(texts_of(told=told), texts, tmp_path, batch_size=3)
    assert sum(told) == 4
    assert found.take(torch.arange(5))[:, 0].tolist() == [3, 5, 3, 0, 4]
    again = text_features(texts_of(told=told), [*texts, "new"], tmp_path)
    assert sum(told) == 5
    assert again.take(torch.tensor([5, 4]))[:, 0].tolist() == [3, 4]


def test_progress_counts_what_was_known(files, tmp_path):
    compute(tower(), files, tmp_path, ids=IDS[:2])
    heard: list[tuple[int, int]] = []
    compute(tower(), files, tmp_path, batch_size=1, tick=lambda *now: heard.append(now))
    # 004 is known too: it is 001 by its bytes.
    assert heard == [(4, 5), (5, 5)]


def test_many_parts_are_one(files, tmp_path, monkeypatch):
    monkeypatch.setattr("composir.features.PART_BYTES", 1)
    found, *_ = compute(tower(), files, tmp_path, batch_size=1)
    assert len(list((tmp_path / "key-float32").iterdir())) == 4
    rows = torch.tensor([4, 2, 0, 1, 3])
    for features in (found, compute(tower(), files, tmp_path)[0]):
        assert torch.allclose(features.take(rows), expected(files)[rows], atol=1e-6)


def test_a_bad_picture_is_named_or_left_out(files, tmp_path):
    path = files.path("002")
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(DataError, match="002"):
        compute(tower(), files, tmp_path)
    found, ids, failed = compute(tower(), files, tmp_path, skip_bad=True)
    assert ids == ["000", "001", "003", "004"]
    assert list(failed) == ["002"]
    assert torch.allclose(found.take(torch.arange(4)), expected(files, ids), atol=1e-6)


def test_a_missing_picture_is_named(files, tmp_path):
    with pytest.raises(DataError, match="nowhere"):
        compute(tower(), files, tmp_path, ids=[*IDS, "nowhere"])


def test_a_feature_that_is_not_finite_is_refused_and_not_kept(files, tmp_path):
    with pytest.raises(ComposirError, match=r"the features of '000', .* are not finite as torch\.float32"):
        compute(tower(scale=float("nan")), files, tmp_path)
    with pytest.raises(ComposirError, match=r"not finite as torch\.float16; take float32"):
        text_features(
            Frozen("big", None, lambda texts: torch.full((len(texts), 2), 1e6)), ["a"], tmp_path, dtype=torch.float16
        )
    assert not list(tmp_path.rglob("*.safetensors"))


def test_rows_too_few_are_refused(tmp_path):
    with pytest.raises(ComposirError, match="makes 1 rows of 2"):
        text_features(Frozen("key", None, lambda texts: torch.zeros(1, 2)), ["a", "b"], tmp_path)


def test_texts_are_no_pictures(files, tmp_path):
    with pytest.raises(ComposirError, match="has no transform, so it reads texts"):
        compute(texts_of(), files, tmp_path)


def test_a_damaged_part_is_named(files, tmp_path):
    compute(tower(), files, tmp_path)
    (part,) = (tmp_path / "key-float32").iterdir()
    part.write_bytes(part.read_bytes()[:20])
    with pytest.raises(ComposirError, match=rf"{part.name} is damaged .*; remove it"):
        compute(tower(), files, tmp_path)


def test_a_cache_that_cannot_be_written_is_named(files, tmp_path):
    (tmp_path / "cache").write_text("a file, not a folder")
    with pytest.raises(ComposirError, match=r"cache.* cannot be written .*; give \[features\] folder another"):
        compute(tower(), files, tmp_path / "cache")


def test_where_it_lies(tmp_path, monkeypatch):
    monkeypatch.setenv("COMPOSIR_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path / "features"
    assert cache_folder("~/mine").is_absolute()
    monkeypatch.delenv("COMPOSIR_CACHE")
    assert cache_folder().parts[-3:] == (".cache", "composir", "features")


KILLED = """
import os, signal, sys, torch
import composir.features as features
from composir.methods.base import Frozen
from pathlib import Path
features.PART_BYTES = 1
count = 0
def run(texts):
    global count
    count += 1
    if count == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return torch.tensor([[float(len(text))] for text in texts])
features.text_features(Frozen("key", None, run), ["a", "bb", "ccc", "dddd", "eeeee"], Path(sys.argv[1]), batch_size=1)
"""


def test_a_kill_loses_only_what_was_not_written(tmp_path):
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(KILLED), str(tmp_path)], check=False, timeout=200)
    assert done.returncode == -signal.SIGKILL
    parts = list((tmp_path / "key-float32").glob("*.safetensors"))
    assert sorted(load_file(part)["features"].item() for part in parts) == [1, 2]
    told: list[int] = []
    found = text_features(texts_of(told=told), ["eeeee", "a", "bb"], None)
    assert sum(told) == 3
    frozen = Frozen(
        "key", None, lambda texts: (told.append(len(texts)), torch.tensor([[float(len(t))] for t in texts]))[1]
    )
    found = text_features(frozen, ["a", "bb", "ccc", "dddd", "eeeee"], tmp_path)
    assert sum(told) == 6
    assert found.take(torch.arange(5))[:, 0].tolist() == [1, 2, 3, 4, 5]
