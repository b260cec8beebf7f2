"""Names, folders and the hub's cache: what is found, and what is said when something is missing."""

from __future__ import annotations

import json
import logging
import re
import shutil
import subprocess
import sys
from pathlib import Path

import huggingface_hub
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers.utils import logging as transformers_logging

from composir.backbones import catalog, hub, load_backbone, names
from composir.backbones.clip import VARIANTS, ClipBackbone
from composir.backbones.tokenizer import TextTokenizer
from composir.errors import ComposirError, UnknownNameError

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("saved")
    ClipBackbone.tiny(seed=3).save_pretrained(folder)
    return folder


@pytest.fixture
def folder(saved, tmp_path) -> Path:
    """A copy to spoil."""
    return Path(shutil.copytree(saved, tmp_path / "folder"))


@pytest.fixture
def offline(monkeypatch, tmp_path) -> Path:
    """An empty hub cache and no network, whatever the machine has."""
    cache = tmp_path / "hub"
    cache.mkdir()
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(cache))
    return cache


def test_names_are_listed_without_torch():
    code = (
        "import sys; from composir.backbones import names; assert 'clip-tiny' in names();"
        "assert not {'torch', 'transformers', 'numpy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    assert names() == sorted(names())
    assert {"clip-vit-b-32", "clip-vit-l-14", "siglip-base-patch16-224", "siglip-tiny", "wardrobe-clip"} <= set(names())


def test_every_published_variant_is_pinned_to_a_commit():
    """But BLIP's, whose commits nobody here knows; the catalogue says so."""
    loose = {name for name, variant in VARIANTS.items() if not re.fullmatch(r"[0-9a-f]{40}", variant.revision)}
    assert loose == {"blip-itm-base-coco", "blip-itm-base-flickr", "blip-itm-large-coco"}
    assert {VARIANTS[name].revision for name in loose} == {"main"}
    assert all(variant.repo.count("/") == 1 for variant in VARIANTS.values())


@pytest.mark.parametrize("name", ["blip-tiny", "clip-tiny", "siglip-tiny"])
def test_tiny_ones_need_nothing(name, offline):
    backbone = load_backbone(name)
    assert backbone.source.name == name
    assert not backbone.training
    assert backbone.embed_text(["red"]).shape == (1, backbone.dim)


def test_source_leads_back_to_the_same_weights(saved, monkeypatch):
    monkeypatch.setitem(catalog.EMBEDDED, "wardrobe-clip", saved)
    for backbone in (ClipBackbone.tiny(seed=7), load_backbone("wardrobe-clip"), load_backbone(str(saved))):
        again = load_backbone(backbone.source.name, backbone.source.revision)
        assert again.source == backbone.source
        assert torch.equal(again.embed_text(["red"]), backbone.embed_text(["red"]))
    with pytest.raises(ComposirError, match="seed-0"):
        load_backbone("clip-tiny", "main")


def test_folder(saved):
    backbone = load_backbone(str(saved))
    assert backbone.source.name == backbone.source.repo == str(saved)
    kept = ClipBackbone.tiny(seed=3)
    assert backbone.state_dict().keys() == kept.state_dict().keys()
    assert all(torch.equal(own, kept.state_dict()[name]) for name, own in backbone.state_dict().items())
    # Weights that lie in a file are aligned otherwise, and the processor's sums then come in another order.
    assert torch.allclose(backbone.embed_text(["red"]), kept.embed_text(["red"]), atol=1e-6)


def test_unknown_short_name_names_the_nearest():
    with pytest.raises(UnknownNameError, match="clip-vit-b-32"):
        load_backbone("clip-vit-b32")


@pytest.mark.parametrize("name", ["/no/such/folder", "./org/repo", "~/nothing", "a/b/c"])
def test_missing_folder_says_what_belongs_into_one(name):
    with pytest.raises(ComposirError, match=r"no folder .*model\.safetensors"):
        load_backbone(name)


def test_offline_says_what_was_sought_where_and_what_to_do(offline):
    with pytest.raises(ComposirError) as caught:
        load_backbone("clip-vit-b-32")
    message = str(caught.value)
    variant = VARIANTS["clip-vit-b-32"]
    for part in (
        variant.repo,
        variant.revision,
        str(offline),
        "model.safetensors",
        "tokenizer.json",
        "HF_HOME",
        "folder",
    ):
        assert part in message
    assert "\n" not in message
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def test_invalid_hub_name_is_explained(offline):
    with pytest.raises(ComposirError, match="alphanumeric"):
        load_backbone("foo bar/baz")


def cached(cache: Path, saved: Path, repo: str) -> None:
    place = cache / f"models--{repo.replace('/', '--')}"
    shutil.copytree(saved, place / "snapshots" / COMMIT)
    (place / "refs").mkdir()
    (place / "refs" / "main").write_text(COMMIT)


@pytest.mark.parametrize(
    ("name", "revision", "expected"),
    [
        ("org/repo", None, "main"),
        (f"org/repo@{COMMIT}", None, COMMIT),
        ("org/repo", COMMIT, COMMIT),
        ("org/repo@main", COMMIT, COMMIT),
    ],
)
def test_cached_repository_needs_no_network(name, revision, expected, offline, saved):
    cached(offline, saved, "org/repo")
    backbone = load_backbone(name, revision)
    assert (backbone.source.repo, backbone.source.revision) == ("org/repo", expected)


def test_short_name_finds_its_pinned_commit_in_the_cache(offline, saved, monkeypatch):
    cached(offline, saved, "org/repo")
    monkeypatch.setitem(catalog.VARIANTS, "clip-vit-b-32", catalog.Variant("org/repo", COMMIT))
    source = load_backbone("clip-vit-b-32").source
    assert (source.name, source.repo, source.revision) == ("clip-vit-b-32", "org/repo", COMMIT)


def test_cached_but_other_revision_is_missing(offline, saved):
    cached(offline, saved, "org/repo")
    with pytest.raises(ComposirError, match="revision 'v2' cannot be had"):
        load_backbone("org/repo@v2")


def test_who_switched_the_hub_off_is_told_to_switch_it_on(offline, monkeypatch):
    remedy = r"[^.]\. Looked for .* Remedy: unset HF_HUB_OFFLINE and connect once; or set HF_HOME"
    with pytest.raises(ComposirError, match=remedy):
        load_backbone("org/repo")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(
        huggingface_hub.HfApi, "model_info", lambda *_, **__: (_ for _ in ()).throw(OSError("no route"))
    )
    with pytest.raises(ComposirError, match=r"no route\. Looked for .* Remedy: connect once; or set HF_HOME"):
        load_backbone("org/repo")


@pytest.mark.parametrize("name", [*hub.FILES, "model.safetensors"])
def test_half_a_cached_copy_is_not_used(name, offline, saved):
    cached(offline, saved, "org/repo")
    (offline / "models--org--repo" / "snapshots" / COMMIT / name).unlink()
    with pytest.raises(ComposirError, match="cannot be had"):
        load_backbone("org/repo")


def listing(monkeypatch, files: list[str]) -> None:
    """The hub answers, with a repository of these files."""

    class Entry:
        def __init__(self, name):
            self.rfilename = name

    class Api:
        def model_info(self, repo, revision, timeout):
            return type("Info", (), {"siblings": [Entry(name) for name in files]})()

    monkeypatch.setattr(huggingface_hub, "HfApi", Api)


def test_repository_with_only_a_pickle_is_refused_before_the_download(offline, monkeypatch):
    listing(monkeypatch, [*hub.FILES, "pytorch_model.bin"])
    with pytest.raises(
        ComposirError, match=r"lacks model\.safetensors \(it has pytorch_model\.bin, but pickled"
    ) as caught:
        load_backbone("org/repo")
    assert "refs/pr/" in str(caught.value)


def test_repository_without_a_file_is_refused_before_the_download(offline, monkeypatch):
    listing(monkeypatch, ["config.json", "preprocessor_config.json", "tokenizer_config.json", "model.safetensors"])
    with pytest.raises(ComposirError, match=r"lacks tokenizer\.json\. Remedy"):
        load_backbone("org/repo")


def test_embedded_weights(monkeypatch, saved, tmp_path):
    monkeypatch.setitem(catalog.EMBEDDED, "wardrobe-clip", saved)
    source = load_backbone("wardrobe-clip").source
    assert (source.name, source.repo, source.revision) == ("wardrobe-clip", "wardrobe-clip", "embedded")
    monkeypatch.setitem(catalog.EMBEDDED, "wardrobe-clip", tmp_path / "gone")
    with pytest.raises(ComposirError, match="gone is missing"):
        load_backbone("wardrobe-clip")


@pytest.mark.parametrize("name", [*hub.FILES, "model.safetensors"])
def test_missing_file_is_named(name, folder):
    (folder / name).unlink()
    with pytest.raises(ComposirError, match=f"lacks {name}"):
        load_backbone(str(folder))


def test_pickled_weights_are_refused(folder):
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(ComposirError, match=r"only pickled weights \(pytorch_model\.bin\).*save_pretrained"):
        load_backbone(str(folder))


def spoil(folder: Path, change) -> None:
    path = folder / "model.safetensors"
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path, metadata={"format": "pt"})


def test_missing_tensor_is_named(folder):
    spoil(folder, lambda tensors: tensors.pop("visual_projection.weight"))
    with pytest.raises(ComposirError, match=r"1 of the tensors .* visual_projection\.weight"):
        load_backbone(str(folder))


def test_tensor_of_another_shape_is_named(folder):
    spoil(folder, lambda tensors: tensors.update({"text_projection.weight": torch.zeros(3, 3)}))
    with pytest.raises(ComposirError, match=r"text_projection\.weight"):
        load_backbone(str(folder))


def test_old_position_buffers_are_ignored(folder):
    spoil(folder, lambda tensors: tensors.update({"text_model.embeddings.position_ids": torch.arange(77)[None]}))
    assert "text.text_model.embeddings.position_ids" not in load_backbone(str(folder)).state_dict()


def test_truncated_weights_are_explained(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ComposirError, match="fetch both files again"):
        load_backbone(str(folder))


@pytest.mark.parametrize("name", ["config.json", "preprocessor_config.json", "tokenizer_config.json"])
@pytest.mark.parametrize("content", ["{", "[]", "\ud800".encode("utf-8", "surrogatepass")])
def test_broken_json_is_named(name, content, folder):
    (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ComposirError, match=name):
        load_backbone(str(folder))


def edit(path: Path, change: dict[str, object]) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | change))


@pytest.mark.parametrize("load", [load_backbone, ClipBackbone.from_pretrained])
def test_other_model_type_is_refused(load, folder):
    edit(folder / "config.json", {"model_type": "vit"})
    with pytest.raises(ComposirError, match="model_type 'vit'"):
        load(str(folder))


def test_preprocessor_of_another_checkpoint_is_refused(folder):
    edit(folder / "preprocessor_config.json", {"size": {"shortest_edge": 64}, "crop_size": 64})
    with pytest.raises(ComposirError, match="makes 64 pixels, the image tower reads 32"):
        load_backbone(str(folder))


def test_tokenizer_of_another_checkpoint_is_refused(folder, tmp_path):
    words = [f"{a}{b}{a}{b} " * 2 for a in "abcdefghijklm" for b in "nopqrstuvwxyz"]
    other = TextTokenizer.train_clip(words, 900, 77)
    other.save(folder)
    with pytest.raises(ComposirError, match="tokens, the text tower knows 546"):
        load_backbone(str(folder))


def test_code_in_a_folder_is_not_run(folder):
    (folder / "evil.py").write_text("raise SystemExit('ran')")
    edit(folder / "config.json", {"auto_map": {"AutoModel": "evil.Evil", "AutoConfig": "evil.Evil"}})
    assert load_backbone(str(folder)).dim == 16


def test_loading_is_silent_and_leaves_transformers_settings_alone(folder, capfd, monkeypatch):
    monkeypatch.delenv("HF_HUB_DISABLE_PROGRESS_BARS", raising=False)
    edit(folder / "config.json", {"an_unknown_key": 1})
    before = transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()
    load_backbone(str(folder)).save_pretrained(folder)
    load_backbone("siglip-tiny").save_pretrained(folder)
    load_backbone(str(folder))
    assert capfd.readouterr() == ("", "")
    assert (transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()) == before
    assert not logging.getLogger("transformers").disabled


def test_corrupt_weights_leave_transformers_settings_alone(folder):
    before = transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()
    (folder / "model.safetensors").write_bytes(b"nothing")
    with pytest.raises(ComposirError):
        load_backbone(str(folder))
    assert (transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()) == before


@pytest.mark.parametrize("name", ["clip-tiny", "siglip-tiny", "blip-tiny"])
def test_eager_attention_computes_the_same_without_the_fused_kernel(name, monkeypatch):
    fused, eager = load_backbone(name), load_backbone(name, attention="eager")
    pixels, texts = torch.randn(3, 3, fused.image_size, fused.image_size), ["is red", "has no sleeves and is longer"]
    kernel, calls = torch.nn.functional.scaled_dot_product_attention, []

    def counted(*given, **more):
        calls.append(given)
        return kernel(*given, **more)

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", counted)
    with torch.no_grad():
        found = eager.embed_image(pixels), eager.embed_text(texts)
        assert not calls
        torch.testing.assert_close(found[0], fused.embed_image(pixels), atol=1e-5, rtol=0)
        torch.testing.assert_close(found[1], fused.embed_text(texts), atol=1e-5, rtol=0)
    assert calls


def test_unknown_attention_kernel_names_the_known_ones():
    # The annotation says so too, where annotations are checked.
    with pytest.raises((ComposirError, TypeError), match="flash"):
        load_backbone("clip-tiny", attention="flash")
