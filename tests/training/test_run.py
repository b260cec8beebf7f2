"""A whole run on a handful of drawn garments: what it writes, refuses, skips and says."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from same_run import check_equal

from composir import checkpoint
from composir.backbones import load_backbone
from composir.backbones.clip import ClipBackbone
from composir.config import TrainConfig, load_config
from composir.datasets import load_dataset
from composir.errors import ComposirError, DataError, UnknownNameError
from composir.evaluation import encode, rank
from composir.evaluation import report as reported
from composir.methods import load_method
from composir.methods.contrastive import Contrastive
from composir.training import NotFiniteError, Progress, fit, run
from composir.training.build import build_backbone
from composir.training.folder import RunFolder
from composir.training.pictures import Source, decoded
from composir.training.state import load_state, save_state
from composir.training.validate import CAPTION_METRICS, Validation, caption_scores

RUN_MODULE = sys.modules["composir.training.run"]  # by attribute it is the function of that name


def quiet(_):
    pass


def rows(folder) -> list[dict]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text("utf-8").splitlines()]


def test_run_from_end_to_end(load, tmp_path):
    lines: list[str] = []
    config, folder = load("train.seed=4"), tmp_path / "runs" / "tiny"
    report = run(config, folder, say=lines.append)
    assert {p.name for p in folder.iterdir()} == {
        "config.toml", "log.jsonl", "best.safetensors", "last.safetensors", "README.md", "backbone", "report.json"
    }  # fmt: skip
    assert load_config(folder / "config.toml") == config
    assert json.loads((folder / "report.json").read_text()) == report
    assert (report["run"], report["steps"]) == ("tiny", 9)
    logged = rows(folder)
    validations = [row for row in logged if "val" in row]
    assert [row["epoch"] for row in validations] == [1, 2, 3]
    assert [row["step"] for row in validations] == [3, 6, 9]
    assert [row["number"] for row in logged if "number" in row] == [1]
    assert all(set(row["val"]) == set(CAPTION_METRICS) for row in validations)
    assert report["best"] == max(validations, key=lambda row: row["val"]["caption R@1"])
    assert len(lines) == 4
    assert "caption R@1" in lines[1]
    # The same number again from the saved weights; they are stored in half precision, and 18 pictures are few.
    dataset = load_dataset("wardrobe", train=48, val=18, test=6)
    method = load_method("slerp", load_backbone(str(folder / "backbone")))
    val = dataset.pairs("val")
    scores = caption_scores(method, val, decoded(dataset, [p.image for p in val], method.transform("gallery"), 0)[0])
    assert scores["R@10"] == pytest.approx(report["best"]["val"]["caption R@10"], abs=100 / 18 + 1e-9)


def test_run_keeps_the_best_weights_and_not_the_last(load, tmp_path, monkeypatch):
    told = iter([30.0, 90.0, 50.0])
    kept = []
    monkeypatch.setattr(Validation, "__call__", lambda _: dict.fromkeys(CAPTION_METRICS, next(told)))
    monkeypatch.setattr(RunFolder, "keep_backbone", lambda *_: kept.append(1))
    report = run(load(), tmp_path / "out", say=quiet)
    assert report["best"]["epoch"] == 2
    assert len(kept) == 2
    best, last = (checkpoint.read_header(tmp_path / "out" / f"{name}.safetensors") for name in ("best", "last"))
    assert (best.step, best.scores["caption R@1"], best.run, best.method) == (6, 90.0, "out", "contrastive")
    assert (last.step, last.scores["caption R@1"]) == (9, 50.0)
    assert "Step 6, the best so far by `caption R@1`" in (tmp_path / "out" / "README.md").read_text("utf-8")


def test_validation_every_second_epoch_and_at_the_end(load, tmp_path):
    run(load("eval.every=2"), tmp_path / "out", say=quiet)
    assert [row["epoch"] for row in rows(tmp_path / "out") if "val" in row] == [2, 3]


def test_runs_of_one_seed_are_equal(load, tmp_path):
    found = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        run(load(f"train.seed={seed}", "train.epochs=1"), tmp_path / name, say=quiet)
        found.append([{key: row[key] for key in row.keys() - {"seconds"}} for row in rows(tmp_path / name)])
    assert found[0] == found[1]
    assert found[0] != found[2]


def test_a_second_run_into_the_same_folder_is_refused(load, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "report.json").write_text("{}")
    with pytest.raises(ComposirError, match="already holds a finished run"):
        run(load(), tmp_path / "out")
    assert (tmp_path / "out" / "report.json").read_text() == "{}"


def test_a_run_that_was_cut_off_may_be_started_again(load, tmp_path):
    (tmp_path / "out" / "backbone").mkdir(parents=True)
    (tmp_path / "out" / "log.jsonl").write_text("half a li")
    run(load("train.epochs=1"), tmp_path / "out", say=quiet)
    assert load_backbone(str(tmp_path / "out" / "backbone")).dim == 8


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("eval.metric=caption R@2", r"unknown metric in \[eval\] 'caption R@2'; did you mean 'caption R@"),
        ("method.name=slerp", "'slerp' trains on 'nothing'"),
        ("method.name=contrastiv", "did you mean 'contrastive'"),
        ("method.alfa=1", "'alfa'; did you mean 'alpha'"),
        ("method.alpha=2.0", r"alpha = 2\.0 is outside 0\.\.1"),
        ("data.name=wardrobes", "did you mean 'wardrobe'"),
        ("data.size=3", "unknown argument of data set 'wardrobe': 'size'"),
        ("data.val=5", "val has 5 garments"),
        ("backbone.name=clip-tny", "did you mean 'clip-tiny'"),
        ("backbone.name=scrach", "did you mean 'scratch'"),
        ("backbone.width=3", "unknown argument of backbone 'scratch': 'width'"),
        ("backbone.seed=3", "unknown argument of backbone 'scratch': 'seed'"),
        ("init=nowhere", "there is no nowhere"),
        ("train.checkpointing=maybe", "checkpointing"),
        ("train.batch_size=49", r"batch_size 49 is larger than the data \(48 pairs\)"),
    ],
)
def test_what_is_wrong_is_said_before_training(load, tmp_path, override, message, monkeypatch):
    monkeypatch.setattr(RUN_MODULE, "fit", lambda *_, **__: pytest.fail("training began"))
    with pytest.raises(ComposirError, match=message):
        run(load(override), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_loaded_backbone_takes_only_its_own_arguments(load):
    config = load("backbone.name=clip-tiny")
    with pytest.raises(UnknownNameError, match="unknown argument of backbone 'clip-tiny': 'image_size'"):
        build_backbone(config, [])


def test_scratch_needs_its_sizes(load):
    config = load()
    less = config.model_copy(update={"backbone": type(config.backbone)(name="scratch", image_size=16)})
    with pytest.raises(ComposirError, match="backbone 'scratch' needs patch_size, image_width"):
        build_backbone(less, ["a text"])


# ---- triplets and stages ----


def test_a_run_on_triplets(triplets, tmp_path, cache):
    said: list[str] = []
    report = run(triplets(), tmp_path / "out", say=said.append)
    assert "R@10" in report["best"]["val"]
    validations = [row["val"] for row in rows(tmp_path / "out") if "val" in row]
    assert all(own["R@10"] == own["families R@10"] for own in validations), "concepts has no R@10"
    assert {"concepts mAP@10", "families Rs@1"} <= set(validations[0])
    assert not (tmp_path / "out" / "backbone").exists(), "its backbone stands still"
    assert len(list(cache.glob("*-float32/*.safetensors"))) == 4, "pictures, texts, both sides of validation"
    made = checkpoint.load(tmp_path / "out" / "best.safetensors")
    assert made.name == "clip4cir"
    task = load_dataset("wardrobe", train=48, val=18, test=6).tasks("val")[0]
    again = reported(rank(made, task, load_dataset("wardrobe", train=48, val=18, test=6)), task)
    assert again["R@10"].value == pytest.approx(report["best"]["val"]["families R@10"])


def test_a_second_run_reads_the_cache_and_equals_the_first(triplets, tmp_path, cache, monkeypatch):
    run(triplets("train.epochs=1"), tmp_path / "a", say=quiet)
    files = {path: path.stat().st_mtime_ns for path in cache.rglob("*.safetensors")}
    run(triplets("train.epochs=1"), tmp_path / "b", say=quiet)
    assert {path: path.stat().st_mtime_ns for path in cache.rglob("*.safetensors")} == files
    for one, other in zip(rows(tmp_path / "a"), rows(tmp_path / "b"), strict=True):
        assert {**one, "seconds": 0} == {**other, "seconds": 0}


def test_a_second_run_encodes_no_picture_and_no_text(triplets, tmp_path, monkeypatch):
    """Nor does one of another width of the Combiner: what is frozen is the same. Validation reads texts of its own."""
    seen, read = [], []
    encode_picture, encode_text = ClipBackbone.embed_image, ClipBackbone.embed_text

    def counted(self, pixels):
        seen.append(len(pixels))
        return encode_picture(self, pixels)

    def told(self, texts, **k):
        read.append(len(texts))
        return encode_text(self, texts, **k)

    monkeypatch.setattr(ClipBackbone, "embed_image", counted)
    monkeypatch.setattr(ClipBackbone, "embed_text", told)
    monkeypatch.setattr(Validation, "__call__", lambda own: {own.metric: 1.0})
    run(triplets("train.epochs=1"), tmp_path / "a", say=quiet)
    assert sum(seen) > 0
    assert sum(read) > 0
    seen.clear()
    read.clear()
    run(triplets("train.epochs=1", "method.hidden_dim=16"), tmp_path / "b", say=quiet)
    assert seen == read == []


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_constant_sides_are_what_evaluation_computes(tmp_path, dtype):
    """To the last bit, from an empty cache and from a full one, however training rounds."""
    dataset, method = load_dataset("wardrobe", train=48, val=18, test=6), load_method("clip4cir", ClipBackbone.tiny())
    source = Source(dataset, TrainConfig(epochs=1, batch_size=4, lr=1.0, workers=0), tmp_path, dtype)
    for _ in range(2):
        validation = Validation(method, source, "R@10")
        validation.prepare()
        for side, made in validation._sides.items():
            assert made.constant
            assert torch.equal(made(), encode(method, dataset, made.ids, side, workers=0))


def test_a_side_that_training_changes_is_encoded_anew(tmp_path):
    dataset = load_dataset("wardrobe", train=48, val=18, test=6)
    method = load_method("clip4cir", ClipBackbone.tiny(), tune="both")
    validation = Validation(method, Source(dataset, TrainConfig(epochs=1, batch_size=4, lr=1.0, workers=0)), "R@10")
    validation.prepare()
    gallery = validation._sides["gallery"]
    before = gallery()
    with torch.no_grad():
        method.backbone.image.visual_projection.weight.mul_(torch.rand(1) + torch.rand(16, 1))
    assert not torch.allclose(gallery(), before, atol=1e-3)
    assert torch.equal(gallery(), encode(method, dataset, gallery.ids, "gallery", workers=0))


def test_features_may_be_half_and_elsewhere(triplets, tmp_path, cache):
    settings = (f"features.folder={tmp_path / 'mine'}", "features.dtype=float16", "train.epochs=1")
    run(triplets(*settings), tmp_path / "out", say=quiet)
    assert not cache.exists()
    assert len(list((tmp_path / "mine").glob("*-float16/*.safetensors"))) == 2, "pictures and texts"


def test_a_second_stage_starts_from_the_first(triplets, tmp_path):
    run(triplets("method.stage=1", "train.epochs=1"), tmp_path / "first", say=quiet)
    run(triplets(f"init={tmp_path / 'first'}", "train.epochs=1"), tmp_path / "second", say=quiet)
    first, second = (checkpoint.load(tmp_path / name / "best.safetensors") for name in ("first", "second"))
    fresh = load_backbone("clip-tiny").text.state_dict()
    for name, tensor in second.backbone.text.state_dict().items():
        assert torch.equal(tensor, first.backbone.text.state_dict()[name])
    assert any(not torch.equal(tensor, fresh[name]) for name, tensor in second.backbone.text.state_dict().items())
    assert f"`{tmp_path / 'first'}`" in (tmp_path / "second" / "README.md").read_text("utf-8")


def test_a_second_stage_without_a_first_is_refused(triplets, tmp_path):
    told = r'stands on an earlier stage and names none: give init = "FOLDER" .*tune = \'text\', target_pad = 1.25'
    with pytest.raises(ComposirError, match=told):
        run(triplets("init=", "method.target_pad=1.25"), tmp_path / "out", say=quiet)
    assert not (tmp_path / "out").exists()


CONFIGS = Path(__file__).parents[2] / "configs"


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*-stage2.toml")), ids=lambda path: path.stem)
def test_published_second_stages_stand_on_their_first(path):
    second = load_config(path)
    first = load_config(CONFIGS / f"{Path(second.init).name}.toml")
    name = "clip-tiny" if second.backbone.name.startswith("clip") else "blip-tiny"
    small = {"projection_dim": 8, "hidden_dim": 8}
    wanted = load_method(second.method.name, load_backbone(name), **{**second.method.arguments, **small}).first_stage()
    built = load_method(first.method.name, load_backbone(name), **first.method.arguments)
    assert len(wanted) >= 2
    assert {switch: getattr(built, switch) for switch in wanted} == wanted
    assert first.backbone == second.backbone


@pytest.mark.parametrize(
    ("metric", "message"),
    [
        ("R@7", r"unknown metric in \[eval\] 'R@7'; did you mean .*'R@1'"),
        ("families R@2", "did you mean .*'families R@"),
        ("caption R@1", "unknown metric in"),
    ],
)
def test_metrics_that_nothing_gives_are_refused(triplets, tmp_path, metric, message):
    with pytest.raises(UnknownNameError, match=message):
        run(triplets(f"eval.metric={metric}"), tmp_path / "out", say=quiet)


@pytest.mark.parametrize("metric", ["R@10", "concepts mAP@10"])
def test_a_run_on_pairs_may_be_judged_by_a_task(load, tmp_path, metric):
    report = run(load("train.epochs=1", f"eval.metric={metric}"), tmp_path / "out", say=quiet)
    assert metric in report["best"]["val"]
    assert not any(name.startswith("caption") for name in report["best"]["val"])


# ---- what stops a run, and what it passes by ----


class Breaks(Contrastive):
    """Its loss is NaN at a step, the third."""

    name = "breaks"
    seen = 0
    broken = 3
    began: ClassVar[list[torch.Tensor]] = []  # where random numbers stood at each step

    def loss(self, batch):
        self.seen += 1
        self.began.append(torch.get_rng_state())
        losses = super().loss(batch)
        torch.rand(1)
        return {"loss": losses["loss"] * (math.nan if self.seen == self.broken else 1)}


def test_nan_stops_with_ids_and_a_state_from_which_it_happens_again(load, tmp_path):
    Breaks.began.clear()
    config = load(f"method.name={__name__}:Breaks")
    with pytest.raises(NotFiniteError, match=r"the loss is nan at step 3; .*and all these ids, are in") as caught:
        run(config, tmp_path / "out", say=quiet)
    told = json.loads((tmp_path / "out" / "failed" / "batch.json").read_text("utf-8"))
    assert (told["step"], told["value"], told["ids"]) == (3, "nan", caught.value.ids)
    assert len(told["ids"]) == 16
    assert not (tmp_path / "out" / "report.json").exists()
    saved = load_state(tmp_path / "out" / "failed" / "state.safetensors")
    assert saved.step == 2
    assert all(bool(tensor.isfinite().all()) for name, tensor in saved.tensors.items() if name.startswith("model/"))
    # Where random numbers stood before that step, not behind it: the step itself has drawn one.
    assert torch.equal(saved.tensors["chance/torch"], Breaks.began[2])
    assert not torch.equal(torch.get_rng_state(), Breaks.began[2])


def test_a_failed_run_goes_on_from_the_state_before_the_step(load, tmp_path, monkeypatch):
    """In the place of the run's own state, once the reason is gone; it is then the run that never failed."""
    config = load(f"method.name={__name__}:Breaks")
    monkeypatch.setattr(Breaks, "broken", 0)
    run(config, tmp_path / "whole", say=quiet)
    monkeypatch.setattr(Breaks, "broken", 5)
    with pytest.raises(NotFiniteError):
        run(config, tmp_path / "out", say=quiet)
    monkeypatch.setattr(Breaks, "broken", 0)
    (tmp_path / "out" / "failed" / "state.safetensors").replace(tmp_path / "out" / "state.safetensors")
    run(config, tmp_path / "out", say=quiet, resume=True)
    check_equal(tmp_path / "whole", tmp_path / "out")


def test_a_state_without_notes_is_refused_by_name(load, tmp_path):
    """As composir left them in failed/ at first."""
    config = load()
    place = RunFolder(tmp_path / "out")
    place.begin(config)
    save_state(place.state, fit(Contrastive(ClipBackbone.tiny()), [], steps=1, lr=1e-3), {})
    with pytest.raises(ComposirError, match=r"state\.safetensors does not say best, log, seconds"):
        run(config, tmp_path / "out", say=quiet, resume=True)


def test_a_corrupt_picture_stops_the_run_and_is_named(load, recipe, tmp_path, damaged):
    root, bad = damaged
    text = f'[data]\nname = "jsonl"\nroot = "{root}"\n'
    config = load("train.epochs=1", "train.batch_size=8", text=_with_data(recipe, text))
    path = root / "images" / f"{bad}.png"
    remedy = r"or leave such pictures out by --skip-bad \(\[train\] skip_bad = true\)$"
    with pytest.raises(
        DataError, match=rf"^picture '{bad}' of jsonl cannot be read: .*; mend or remove the file, {remedy}"
    ):
        run(config, tmp_path / "out", say=quiet)
    path.unlink()
    with pytest.raises(DataError, match=rf"^jsonl has no picture '{bad}': .*; put it there \(.*\), {remedy}") as caught:
        run(config, tmp_path / "out", say=quiet)
    assert "mend or remove" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_a_corrupt_picture_of_validation_is_named_before_the_first_step(triplets, tmp_path, monkeypatch):
    """Also where the image tower is frozen, and whatever is said of training pictures."""
    drawn, root = load_dataset("wardrobe", train=48, val=18, test=6), tmp_path / "set"
    (root / "images").mkdir(parents=True)
    for split in ("train", "val"):
        queries = drawn.triplets(split)
        gallery = list(dict.fromkeys(i for q in queries for i in (q.reference, *q.targets)))
        for image in gallery:
            drawn.image(image).save(root / "images" / f"{image}.png")
        lines = [{"reference": q.reference, "captions": q.captions, "targets": q.targets[:1]} for q in queries]
        (root / f"triplets.{split}.jsonl").write_text("\n".join(map(json.dumps, lines)) + "\n", encoding="utf-8")
    bad = root / "images" / f"{drawn.triplets('val')[0].targets[0]}.png"
    bad.write_bytes(bad.read_bytes()[:300])
    config = triplets("train.epochs=1", "train.skip_bad=true", "data.name=jsonl")
    config = config.model_copy(update={"data": type(config.data)(name="jsonl", root=str(root))})
    monkeypatch.setattr(RUN_MODULE, "fit", lambda *_, **__: pytest.fail("training began"))
    with pytest.raises(DataError, match=bad.stem):
        run(config, tmp_path / "out", say=quiet)


def test_or_is_counted_and_left_out(load, recipe, tmp_path, damaged):
    root, bad = damaged
    text = f'[data]\nname = "jsonl"\nroot = "{root}"\n'
    said: list[str] = []
    config = load("train.epochs=1", "train.batch_size=8", "train.skip_bad=true", text=_with_data(recipe, text))
    run(config, tmp_path / "out", say=said.append)
    assert any(
        line.startswith(f"left out 1 of 24 training pairs, for 1 pictures cannot be read: {bad}") for line in said
    )
    assert list(rows(tmp_path / "out")[0]["skipped"]) == [bad]
    assert "23 training pairs, 1 pictures left out" in (tmp_path / "out" / "README.md").read_text("utf-8")


def _with_data(recipe: str, data: str) -> str:
    return recipe.replace(recipe[recipe.index("[data]") : recipe.index("[train]")], data + "\n")


# ---- log ----


def test_progress_is_told(load, tmp_path):
    heard: list[Progress] = []
    run(load("train.epochs=1"), tmp_path / "out", say=quiet, watch=heard.append)
    assert {now.stage for now in heard} == {"preparing", "training"}
    trained = [now for now in heard if now.stage == "training"]
    assert [(now.done, now.total) for now in trained] == [(1, 3), (2, 3), (3, 3)]
    assert all(now.told.startswith("loss ") for now in trained)


def test_tensorboard_missing_is_explained_before_anything_is_done(load, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(ComposirError, match="pip install tensorboard, or leave it out"):
        run(load("train.tensorboard=true"), tmp_path / "out", say=quiet)
    assert not (tmp_path / "out").exists()


def test_tensorboard_hears_the_numbers_of_the_log(load, tmp_path, monkeypatch):
    heard = []

    class Writer:
        def __init__(self, folder, purge_step):
            assert (folder, purge_step) == (str(tmp_path / "out" / "tensorboard"), 1)

        def add_scalar(self, name, value, step):
            heard.append((name, value, step))

        def close(self):
            heard.append("closed")

    monkeypatch.setattr("composir.training.log.event_writer", lambda: Writer)
    monkeypatch.setattr(RUN_MODULE, "event_writer", lambda: Writer)
    run(load("train.tensorboard=true", "train.epochs=1"), tmp_path / "out", say=quiet)
    first, last = rows(tmp_path / "out")
    assert ("losses/loss", first["losses"]["loss"], 1) in heard
    assert ("val/caption R@1", last["val"]["caption R@1"], 3) in heard
    assert heard[-1] == "closed"


# ---- captions ----


@torch.no_grad()
def test_caption_scores_are_the_loop():
    """Each caption against every picture, ranks by counting who is ahead."""
    dataset = load_dataset("wardrobe", train=12, val=18, test=6)
    val = dataset.pairs("val")
    method = load_method("slerp", load_backbone("clip-tiny", "seed-2"))
    pixels = decoded(dataset, [p.image for p in val], method.transform("gallery"), workers=0)[0]
    images = method.encode_gallery(method.transform("gallery").normalise(pixels))[:, 0]
    for caption in (0, 2):
        texts = method.encode_text([p.captions[caption] for p in val])[:, 0]
        ranks = [1 + sum(float(t @ g) > float(t @ images[i]) for g in images) for i, t in enumerate(texts)]
        got = caption_scores(method, val, pixels, caption=caption, batch_size=5)
        assert got == {f"R@{k}": pytest.approx(100 * sum(r <= k for r in ranks) / 18) for k in (1, 5, 10)}


def test_caption_scores_put_the_method_into_eval_mode():
    dataset = load_dataset("wardrobe", train=12, val=6, test=6)
    method = load_method("slerp", load_backbone("clip-tiny")).train()
    val = dataset.pairs("val")
    caption_scores(method, val, decoded(dataset, [p.image for p in val], method.transform("gallery"), workers=0)[0])
    assert not method.training
