"""What a user may name as a method, and what is said where nothing fits."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from composir import checkpoint
from composir.backbones import load_backbone
from composir.errors import ComposirError, GalleryError
from composir.gallery.store import Gallery
from composir.indexing import create_gallery
from composir.methods import load_method
from composir.methods.slerp import ALPHA
from composir.opening import find_for_gallery, find_method, load_wanted

RUN = """
[backbone]
name = "clip-tiny"
[method]
name = "contrastive"
alpha = 0.35
[data]
name = "wardrobe"
[train]
epochs = 1
batch_size = 12
lr = 1e-3
"""


def trained(arguments=None, seed=1):
    method = load_method("contrastive", load_backbone("clip-tiny"), **(arguments or {}))
    with torch.no_grad():
        for parameter in method.parameters():
            parameter += 0.05 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(seed))
    return method


@pytest.fixture
def folder(tmp_path) -> Path:
    """A run as `composir train` leaves it: best and last."""
    folder = tmp_path / "runs" / "small"
    checkpoint.save(
        folder / "best.safetensors", trained({"alpha": 0.35}), arguments={"alpha": 0.35}, run="small", step=3
    )
    checkpoint.save(folder / "last.safetensors", trained({"alpha": 0.35}, 2), arguments={"alpha": 0.35}, run="small")
    (folder / "config.toml").write_text(RUN)
    return folder


def test_plug_in_names_and_classes():
    assert find_method("sum").backbone == "wardrobe-clip"
    wanted = find_method("composir.methods.baselines:Sum", "clip-tiny")
    assert (wanted.label, wanted.backbone) == ("Sum", "clip-tiny")
    assert load_wanted(wanted, device="cpu").name == "sum"


def test_slerp_takes_the_alpha_of_the_data_set():
    wanted = find_method("slerp", "clip-tiny")
    assert load_wanted(wanted, "cirr", "cpu").alpha == pytest.approx(ALPHA["cirr"])
    assert load_wanted(wanted, "genecis", "cpu").alpha == pytest.approx(0.8)
    assert load_wanted(wanted, device="cpu").alpha == pytest.approx(0.8)
    drawn = find_method("slerp", "wardrobe-clip")
    assert load_wanted(drawn, device="cpu").alpha == pytest.approx(ALPHA["wardrobe"])  # a folder of one's own drawings
    assert load_wanted(drawn, "fashioniq", "cpu").alpha == pytest.approx(ALPHA["fashioniq"])


def test_a_run_is_its_best_checkpoint(folder):
    wanted = find_method(str(folder))
    assert (wanted.name, wanted.label, wanted.arguments) == ("contrastive", "small", {"alpha": 0.35})
    assert find_method(str(folder / "best.safetensors")) == wanted
    method = load_wanted(wanted, "cirr", "cpu")
    assert method.alpha == pytest.approx(0.35)  # the run's, not that of the data set
    assert method.gallery_key() == trained().gallery_key()
    assert checkpoint.loaded_from(method).path == folder / "best.safetensors"


def test_any_checkpoint_may_be_named(folder, tmp_path):
    last = find_method(str(folder / "last.safetensors"))
    assert last.label == "small-last"
    assert load_wanted(last, device="cpu").gallery_key() == trained(seed=2).gallery_key()
    alone = (folder / "best.safetensors").rename(tmp_path / "mine.safetensors")
    assert find_method(str(alone)).label == "mine"


def test_a_run_without_an_alpha_takes_that_of_the_data_set(tmp_path):
    checkpoint.save(tmp_path / "a.safetensors", trained(), arguments={})
    assert load_wanted(find_method(str(tmp_path / "a.safetensors")), "cirr", "cpu").alpha == pytest.approx(
        ALPHA["cirr"]
    )


def test_a_checkpoint_may_be_told_where_its_backbone_lies(tmp_path):
    base = load_backbone("clip-tiny", "seed-3")
    base.save_pretrained(tmp_path / "base")
    method = load_method("tat", load_backbone(str(tmp_path / "base")), rank=2)
    checkpoint.save(tmp_path / "a.safetensors", method, arguments={"rank": 2})
    (tmp_path / "base").rename(tmp_path / "moved")
    with pytest.raises(ComposirError, match=r"base.*cannot be loaded.*name the place with --backbone"):
        load_wanted(find_method(str(tmp_path / "a.safetensors")), device="cpu")
    wanted = find_method(str(tmp_path / "a.safetensors"), str(tmp_path / "moved"))
    assert load_wanted(wanted, device="cpu").backbone.source.name == str(tmp_path / "moved")
    with pytest.raises(ComposirError, match="other weights"):
        load_wanted(find_method(str(tmp_path / "a.safetensors"), "clip-tiny"), device="cpu")


def test_a_run_that_wrote_its_backbone_alone(folder):
    for name in ("best", "last"):
        (folder / f"{name}.safetensors").unlink()
    trained().backbone.save_pretrained(folder / "backbone")
    wanted = find_method(str(folder))
    assert (wanted.name, wanted.label, wanted.arguments) == ("contrastive", "small", {"alpha": 0.35})
    method = load_wanted(wanted, "cirr", "cpu")
    assert method.backbone.source.name == str(folder / "backbone")
    assert method.alpha == pytest.approx(0.35)
    with pytest.raises(ComposirError, match=r"brings its own backbone; leave --backbone clip-tiny out"):
        find_method(str(folder), "clip-tiny")


def test_what_is_no_run_is_refused(tmp_path):
    with pytest.raises(ComposirError, match=r"has no config.toml: it is not the folder of a run.*slerp"):
        find_method(str(tmp_path))
    (tmp_path / "config.toml").write_text(RUN)
    with pytest.raises(ComposirError, match=r"has no backbone and no best\.safetensors"):
        find_method(str(tmp_path))
    with pytest.raises(ComposirError, match="is no safetensors file"):
        find_method(str(tmp_path / "config.toml"))
    with pytest.raises(ComposirError, match="there is no folder runs/none"):
        find_method("runs/none")
    with pytest.raises(ComposirError, match=r"there is no file best.safetensors"):
        find_method("best.safetensors")
    with pytest.raises(ComposirError, match=r"unknown method .* 'slrp'; did you mean 'slerp'"):
        find_method("slrp")


def test_a_device_that_is_not_there_is_refused():
    with pytest.raises(ComposirError, match="device 'gpu' cannot be used"):
        load_wanted(find_method("sum", "clip-tiny"), device="gpu")


def test_nothing_heavy_is_needed_to_tell_what_is_meant(folder):
    code = (
        "import sys; from composir.opening import find_method; find_method('slerp'); "
        "find_method(sys.argv[1]); print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code, folder], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


# What a gallery remembers.


@pytest.fixture
def gallery(folder, tmp_path, pictures):
    method = load_wanted(find_method(str(folder)), device="cpu")
    return create_gallery(tmp_path / "g", method, pictures(2))


def test_a_gallery_remembers_checkpoint_and_arguments(gallery, folder):
    own = Gallery.open(gallery.place).manifest
    assert own.checkpoint == str(folder / "best.safetensors")
    assert own.checkpoint_sha256 == checkpoint.content_hash(folder / "best.safetensors")
    assert own.arguments == {"alpha": 0.35}
    method = load_wanted(find_for_gallery(gallery), device="cpu")
    assert (method.gallery_key(), method.alpha) == (own.key, pytest.approx(0.35))


def test_a_gallery_remembers_arguments_without_a_checkpoint(tmp_path, pictures):
    method = load_method("slerp", load_backbone("clip-tiny", "seed-2"), alpha=0.3)
    gallery = create_gallery(tmp_path / "g", method, pictures(1))
    again = load_wanted(find_for_gallery(gallery), device="cpu")
    assert (again.gallery_key(), again.alpha) == (method.gallery_key(), pytest.approx(0.3))


def test_another_method_stands_on_the_trained_backbone(gallery):
    method = load_wanted(find_for_gallery(gallery, "image-only"), device="cpu")
    assert (method.name, method.gallery_key()) == ("image-only", gallery.manifest.key)
    assert load_wanted(find_for_gallery(gallery, "contrastive"), device="cpu").gallery_key() == gallery.manifest.key


def test_a_checkpoint_that_moved_or_changed_is_told_with_the_remedy(gallery, folder):
    best = folder / "best.safetensors"
    moved = best.rename(folder / "old.safetensors")
    remedy = f"composir index {gallery.manifest.root} --gallery {gallery.place} --method CHECKPOINT"
    with pytest.raises(GalleryError, match=r"best.safetensors, which is not there any more") as caught:
        find_for_gallery(gallery)
    assert remedy in str(caught.value)
    (folder / "last.safetensors").rename(best)
    for what in (None, "slerp"):
        with pytest.raises(GalleryError, match=r"best.safetensors, which has changed since") as caught:
            find_for_gallery(gallery, what)
        assert remedy in str(caught.value)
    assert find_for_gallery(gallery, str(moved)).checkpoint == moved


def test_galleries_of_the_first_format_are_read(gallery):
    import json

    path = gallery.place.path / "gallery.json"
    content = json.loads(path.read_text())
    assert content["format"] == 3
    for name in ("arguments", "checkpoint", "checkpoint_sha256", "follow_symlinks"):
        del content[name]
    path.write_text(json.dumps({**content, "format": 1, "method": "slerp"}))
    own = Gallery.open(gallery.place).manifest
    assert (own.arguments, own.checkpoint) == ({}, "")
    assert load_wanted(find_for_gallery(Gallery.open(gallery.place)), device="cpu").alpha == pytest.approx(0.8)


def test_an_evaluation_tells_the_checkpoint_and_its_baselines_stand_on_its_backbone(folder):
    from composir.datasets.wardrobe import Wardrobe
    from composir.evaluation import evaluate

    data = Wardrobe(train=6, val=6, test=60, seed=3)
    wanted = find_method(str(folder))
    result = evaluate(load_wanted(wanted, data.name, "cpu"), data, "test", label=wanted.label, workers=0, alpha=0.0)
    protocol = result.content["protocol"]
    assert result.method == "small"
    assert protocol["method"]["arguments"] == {"alpha": 0.35}
    best = folder / "best.safetensors"
    told = {"file": str(best), "sha256": checkpoint.content_hash(best), "run": "small", "step": 3}
    assert protocol["checkpoint"] == told
    # At alpha 0 the method is the picture alone, over one backbone with the same trained weights.
    assert result.content["tasks"] == result.content["baselines"]["image-only"]["tasks"]
    plain = evaluate(load_method("image-only", load_backbone("clip-tiny")), data, "test", workers=0)
    assert plain.content["protocol"]["checkpoint"] is None
    assert plain.content["tasks"] != result.content["tasks"]
