"""Checkpoints: what they say, what they hold, that nothing else loads, and how a second stage starts from one."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from moved import changed
from safetensors.torch import load_file, save_file

from composir import checkpoint
from composir.backbones import load_backbone
from composir.errors import ComposirError
from composir.methods import load_method

TEXTS = ["is red", "has stripes and a round neck"]
IMAGE = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def turned(monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parent)
    yield "turned:Turned"
    sys.modules.pop("turned", None)


@torch.no_grad()
def outputs(method):
    return torch.cat([method.encode_gallery(IMAGE), method.compose(method.encode_reference(IMAGE), TEXTS)])


def rewritten(path, out, *, tensors=None, **header):
    """A copy of a checkpoint with other tensors or header keys."""
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        content = json.loads(file.metadata()["composir"])
    save_file(load_file(path) if tensors is None else tensors, out, {"composir": json.dumps({**content, **header})})
    return out


@pytest.fixture
def saved(turned, tmp_path):
    method = changed(load_method(turned, load_backbone("clip-tiny"), share=0.25))
    path = tmp_path / "runs" / "x" / "best.safetensors"
    checkpoint.save(path, method, arguments={"share": 0.25}, run="x", step=7, scores={"R@10": 31.5})
    return method, path


def test_what_the_header_says(saved, turned):
    method, path = saved
    header = checkpoint.read_header(path)
    assert (header.method, header.arguments, header.run, header.step) == (turned, {"share": 0.25}, "x", 7)
    assert (header.backbone.name, header.backbone.revision) == ("clip-tiny", "seed-0")
    assert header.gallery_key == method.gallery_key()
    assert header.scores == {"R@10": 31.5}
    assert {"composir", "torch", "transformers", "safetensors", "python"} == set(header.versions)
    kept = {name for name in method.state_dict() if method.kept(name)}
    assert set(header.tensors) == kept
    assert 0 < len(kept) < len(method.state_dict())
    assert header.tensors["mix.weight"] == "float32 (16, 16)"


def test_the_header_is_read_without_torch(saved):
    code = (
        "import sys; from pathlib import Path; from composir.checkpoint import read_header; "
        "print(read_header(Path(sys.argv[1])).step, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code, saved[1]], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["7", "False"]


@pytest.mark.parametrize("given", [False, True])
def test_loading_gives_the_method_back(saved, given):
    method, path = saved
    again = checkpoint.load(path, load_backbone("clip-tiny") if given else None)
    assert torch.equal(outputs(again), outputs(method))
    assert again.gallery_key() == method.gallery_key()
    assert not again.training
    assert again.share == 0.25
    origin = checkpoint.loaded_from(again)
    assert (origin.path, origin.sha256) == (path, checkpoint.content_hash(path))
    assert (origin.run, origin.step) == ("x", 7)
    assert checkpoint.loaded_from(method) is None


def test_equal_states_give_equal_files(saved, tmp_path):
    method, path = saved
    options = {"arguments": {"share": 0.25}, "run": "x", "step": 7, "scores": {"R@10": 31.5}}
    checkpoint.save(tmp_path / "again.safetensors", method, **options)
    checkpoint.save(tmp_path / "loaded.safetensors", checkpoint.load(path), **options)
    assert {p.read_bytes() for p in tmp_path.glob("*.safetensors")} == {path.read_bytes()}


def test_in_house_methods_are_named_by_their_plug_in_name(tmp_path):
    method = changed(load_method("contrastive", load_backbone("siglip-tiny"), alpha=0.3))
    checkpoint.save(tmp_path / "a.safetensors", method, arguments={"alpha": 0.3})
    assert checkpoint.read_header(tmp_path / "a.safetensors").method == "contrastive"
    assert torch.equal(outputs(checkpoint.load(tmp_path / "a.safetensors")), outputs(method))


def test_an_argument_that_the_file_leaves_open_may_be_given(tmp_path):
    path = tmp_path / "a.safetensors"
    checkpoint.save(path, load_method("contrastive", load_backbone("clip-tiny")), arguments={})
    assert checkpoint.load(path, arguments={"alpha": 0.4}).alpha == pytest.approx(0.4)
    checkpoint.save(path, load_method("contrastive", load_backbone("clip-tiny")), arguments={"alpha": 0.3})
    assert checkpoint.load(path, arguments={"alpha": 0.4}).alpha == pytest.approx(0.3)


@pytest.mark.parametrize("backbone", ["clip-tiny", "blip-tiny"])
def test_a_word_table_that_has_grown(turned, tmp_path, backbone):
    words = ["[FORWARD]", "[BACKWARD]"]
    method = changed(load_method(turned, load_backbone(backbone), words=words))
    checkpoint.save(tmp_path / "a.safetensors", method, arguments={"words": words})
    again = checkpoint.load(tmp_path / "a.safetensors")
    texts = [f"[FORWARD] {text}" for text in TEXTS]
    assert torch.equal(again.encode_text(texts), method.encode_text(texts))


def test_lora(tmp_path):
    method = changed(load_method("tat", load_backbone("clip-tiny"), rank=2))
    checkpoint.save(tmp_path / "a.safetensors", method, arguments={"rank": 2})
    assert all(".lora_" in name for name in checkpoint.read_header(tmp_path / "a.safetensors").tensors)
    assert torch.equal(outputs(checkpoint.load(tmp_path / "a.safetensors")), outputs(method))


def test_a_backbone_from_a_folder_is_recorded_whole(turned, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    load_backbone("clip-tiny", "seed-3").save_pretrained("base")
    method = changed(load_method(turned, load_backbone("base")))
    checkpoint.save(Path("a.safetensors"), method, arguments={})
    assert checkpoint.read_header(Path("a.safetensors")).backbone.name == str(tmp_path / "base")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")
    assert torch.equal(outputs(checkpoint.load(tmp_path / "a.safetensors")), outputs(method))
    (tmp_path / "base").rename(tmp_path / "moved")
    with pytest.raises(ComposirError, match=r"stands on backbone '.*/base', which cannot be loaded.*--backbone"):
        checkpoint.load(tmp_path / "a.safetensors")
    again = checkpoint.load(tmp_path / "a.safetensors", load_backbone(str(tmp_path / "moved")))
    assert torch.equal(outputs(again), outputs(method))
    load_backbone("clip-tiny", "seed-4").save_pretrained(tmp_path / "base")
    with pytest.raises(ComposirError, match="was trained over other weights of backbone"):
        checkpoint.load(tmp_path / "a.safetensors")


def test_a_fresh_backbone_lies_beside_the_checkpoint(tmp_path):
    from composir.backbones.clip import ClipBackbone

    sizes = {
        "image_width": 16,
        "image_layers": 1,
        "image_heads": 2,
        "text_width": 16,
        "text_layers": 1,
        "text_heads": 2,
    }
    fresh = ClipBackbone.from_scratch(TEXTS, image_size=32, patch_size=16, dim=8, vocab_size=600, **sizes).eval()
    method = changed(load_method("contrastive", fresh))
    checkpoint.save(tmp_path / "x" / "best.safetensors", method, arguments={})
    with pytest.raises(ComposirError, match="x/backbone"):
        checkpoint.load(tmp_path / "x" / "best.safetensors")
    fresh.save_pretrained(tmp_path / "x" / "backbone", dtype=torch.float16)
    (tmp_path / "x").rename(tmp_path / "y")
    # The weights are the checkpoint's to the last bit, not the folder's rounded ones.
    assert torch.equal(outputs(checkpoint.load(tmp_path / "y" / "best.safetensors")), outputs(method))


def test_keys_must_match_in_both_directions(saved, tmp_path):
    _, path = saved
    tensors = load_file(path)
    out = tmp_path / "other.safetensors"
    lacking = {name: tensor for name, tensor in tensors.items() if name != "mix.weight"}
    with pytest.raises(
        ComposirError, match=r"does not match method 'turned:Turned' .*: mix.weight is missing\. It was"
    ):
        checkpoint.load(rewritten(path, out, tensors=lacking))
    with pytest.raises(ComposirError, match=r"'clip-tiny': extra.weight is not the method's"):
        checkpoint.load(rewritten(path, out, tensors={**tensors, "extra.weight": torch.zeros(1)}))
    with pytest.raises(ComposirError, match=r"mix.weight is float32 \(16, 8\), not float32 \(16, 16\)"):
        checkpoint.load(rewritten(path, out, tensors={**tensors, "mix.weight": torch.zeros(16, 8)}))
    with pytest.raises(ComposirError, match=r"mix.weight is float16 \(16, 16\), not float32 \(16, 16\)"):
        checkpoint.load(rewritten(path, out, tensors={**tensors, "mix.weight": torch.zeros(16, 16).half()}))


def test_all_mismatches_are_listed_many_of_them_a_line_each(saved, tmp_path):
    _, path = saved
    tensors = {name: t for name, t in load_file(path).items() if "backbone" not in name}
    with pytest.raises(ComposirError) as caught:
        checkpoint.load(rewritten(path, tmp_path / "a.safetensors", tensors={**tensors, "b": torch.zeros(1)}))
    missing = [f"{name} is missing" for name in sorted(load_file(path).keys() - tensors.keys())]
    assert len(missing) > 8
    lines = "\n  ".join([f"{len(missing) + 1} in all:", *missing, "b is not the method's. It was written by "])
    assert lines in str(caught.value)


def test_other_arguments_are_told_by_their_tensors(saved, tmp_path):
    with pytest.raises(ComposirError, match=r"mix.weight is float32 \(16, 16\), not float32 \(8, 16\)"):
        checkpoint.load(rewritten(saved[1], tmp_path / "a.safetensors", arguments={"width": 8}))
    with pytest.raises(ComposirError, match=r"a.safetensors: unknown argument .* 'shar'; did you mean 'share'"):
        checkpoint.load(rewritten(saved[1], tmp_path / "a.safetensors", arguments={"shar": 8}))


def test_another_backbone_is_refused(saved):
    with pytest.raises(ComposirError, match=r"other weights of backbone 'clip-tiny' \(revision seed-0\)"):
        checkpoint.load(saved[1], load_backbone("clip-tiny", "seed-1"))
    with pytest.raises(ComposirError, match=r"does not match .* over backbone 'siglip-tiny'"):
        checkpoint.load(saved[1], load_backbone("siglip-tiny"))


def test_a_forged_class_is_never_called(saved, tmp_path):
    for name in ("subprocess:Popen", "os:system", "nothing.at:All"):
        with pytest.raises(ComposirError, match=name):
            checkpoint.load(rewritten(saved[1], tmp_path / "a.safetensors", method=name, arguments={}))
    with pytest.raises(ComposirError, match=r"a.safetensors: unknown method 'slrp'; did you mean 'slerp'"):
        checkpoint.load(rewritten(saved[1], tmp_path / "a.safetensors", method="slrp"))


def test_files_that_are_no_checkpoint(saved, tmp_path):
    path = tmp_path / "a.safetensors"
    with pytest.raises(ComposirError, match=r"there is no checkpoint .*a.safetensors"):
        checkpoint.read_header(path)
    whole = saved[1].read_bytes()
    for content, hint in (
        (b"", "no safetensors file, or cut off"),
        (b"hello, this is no safetensors file", "no safetensors file"),
        (whole[:100], "cut off"),
        (whole[:-1], "is cut off"),
        (whole + b"x", "is cut off"),
        (b"\x02\0\0\0\0\0\0\0[]", "no safetensors file"),
    ):
        path.write_bytes(content)
        with pytest.raises(ComposirError, match=hint):
            checkpoint.read_header(path)
    save_file({"a": torch.zeros(1)}, path)
    with pytest.raises(ComposirError, match="is a safetensors file, but no checkpoint"):
        checkpoint.read_header(path)
    with pytest.raises(ComposirError, match="has format 2, this composir reads 1; update"):
        checkpoint.read_header(rewritten(saved[1], path, format=2))
    with pytest.raises(ComposirError, match="damaged header"):
        checkpoint.read_header(rewritten(saved[1], path, backbone="clip-tiny"))


def test_what_cannot_be_written_leaves_the_old_file(saved, tmp_path, monkeypatch):
    method, path = saved
    before = path.read_bytes()
    for arguments, scores in (({"share": object()}, {}), ({}, {"R@10": float("nan")})):
        with pytest.raises(ComposirError, match="are finite numbers, texts, lists, tables"):
            checkpoint.save(path, method, arguments=arguments, scores=scores)
    # A kill between writing and renaming.
    monkeypatch.setattr("composir.checkpoint.weights.os.replace", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        checkpoint.save(path, method, arguments={})
    assert path.read_bytes() == before
    monkeypatch.undo()
    checkpoint.save(path, changed(method), arguments={})
    assert path.read_bytes() != before
    assert [p.name for p in path.parent.iterdir()] == ["best.safetensors"]


def test_where_a_checkpoint_lies(saved, tmp_path):
    _, path = saved
    assert checkpoint.locate(path.parent) == checkpoint.locate(str(path)) == path
    (tmp_path / "config.toml").touch()
    for place, hint in ((tmp_path, "has no best.safetensors"), (tmp_path / "none", "there is no .*none"),
                        (tmp_path / "config.toml", "is no .safetensors file")):  # fmt: skip
        with pytest.raises(ComposirError, match=hint):
            checkpoint.locate(place)


def test_arguments_in_effect(saved):
    again = checkpoint.load(saved[1])
    assert checkpoint.arguments_of(again) == {"share": 0.25}
    slerp = load_method("slerp", load_backbone("clip-tiny"), alpha=0.4)
    assert checkpoint.arguments_of(slerp) == {"alpha": 0.4}


# A second stage.


def test_equal_names_are_taken_over_and_the_rest_stays(saved):
    first, path = saved
    second = load_method("turned:Returning", load_backbone("clip-tiny"))
    taken = checkpoint.take_over(second, path.parent)
    assert taken == sorted(name for name in first.state_dict() if first.kept(name))
    assert torch.equal(outputs(second)[:2], outputs(first)[:2])
    assert all(torch.equal(second.state_dict()[name], first.state_dict()[name]) for name in taken)


def test_what_the_first_stage_lacks_stays_as_built(tmp_path, turned):
    first = changed(load_method("contrastive", load_backbone("clip-tiny")))
    checkpoint.save(tmp_path / "a.safetensors", first, arguments={})
    second = load_method(turned, load_backbone("clip-tiny"))
    mix = second.mix.weight.clone()
    checkpoint.take_over(second, tmp_path / "a.safetensors")
    assert torch.equal(second.mix.weight, mix)
    assert torch.equal(second.encode_gallery(IMAGE), first.encode_gallery(IMAGE))


def test_what_was_taken_over_is_kept_where_it_is_frozen_now(tmp_path, turned):
    """The second stage does not tune the image tower; its checkpoints must hold it all the same, and a third's too."""
    checkpoint.save(
        tmp_path / "1.safetensors", changed(load_method("contrastive", load_backbone("clip-tiny"))), arguments={}
    )
    for one, two in (("1", "2"), ("2", "3")):
        method = load_method(turned, load_backbone("clip-tiny"))
        checkpoint.take_over(method, tmp_path / f"{one}.safetensors")
        checkpoint.save(tmp_path / f"{two}.safetensors", changed(method), arguments={})
        again = checkpoint.load(tmp_path / f"{two}.safetensors")
        assert torch.equal(outputs(again), outputs(method))
        assert "backbone.image.visual_projection.weight" in checkpoint.read_header(again_path(again)).inherited
    checkpoint.save(tmp_path / "4.safetensors", again, arguments={})
    assert torch.equal(outputs(checkpoint.load(tmp_path / "4.safetensors")), outputs(again))


def again_path(method):
    return checkpoint.loaded_from(method).path


@pytest.mark.parametrize(
    ("name", "backbone"), [("turned:Turned", "clip-tiny"), ("bi-blip4cir", "blip-tiny"), ("clip4cir", "clip-tiny")]
)
def test_a_tat_run_gives_its_image_tower_merged(tmp_path, turned, name, backbone):
    """Slerp, then supervised: TAT's tower under the methods that are trained on triplets."""
    first = changed(load_method("tat", load_backbone(backbone), rank=2))
    checkpoint.save(tmp_path / "tat.safetensors", first, arguments={"rank": 2})
    second = load_method(name, load_backbone(backbone)).eval()
    before = {own: tensor.clone() for own, tensor in second.state_dict().items()}
    taken = checkpoint.take_over(second, tmp_path / "tat.safetensors")
    adapted = ("q_proj", "v_proj") if backbone == "clip-tiny" else ("qkv",)
    assert 0 < len(taken) < len(list(second.backbone.image.parameters()))
    assert all(own.startswith("backbone.image.") and any(part in own for part in adapted) for own in taken)
    moved = {own for own, tensor in second.state_dict().items() if not torch.equal(tensor, before[own])}
    assert moved == {own for own in taken if own.endswith(".weight")}  # LoRA leaves biases as they were
    torch.testing.assert_close(second.encode_gallery(IMAGE), first.encode_gallery(IMAGE), atol=1e-5, rtol=0)
    checkpoint.save(tmp_path / "b.safetensors", second, arguments={})
    assert torch.equal(outputs(checkpoint.load(tmp_path / "b.safetensors")), outputs(second))
    third = load_method("tat", load_backbone(backbone), rank=2)  # more of the same: adapters as they are
    assert all(".lora_" in own for own in checkpoint.take_over(third, tmp_path / "tat.safetensors"))
    assert torch.equal(outputs(third), outputs(first))


def test_a_later_stage_may_add_words(saved):
    _, path = saved
    second = load_method("turned:Turned", load_backbone("clip-tiny"), words=["[FORWARD]"])
    [name] = [name for name in checkpoint.take_over(second, path) if name.endswith("token_embedding.weight")]
    mine, theirs = second.state_dict()[name], load_file(path)[name]
    assert len(mine) == len(theirs) + 1
    assert torch.equal(mine[:-1], theirs)


def test_an_init_of_another_method_or_backbone_is_refused_naming_both(saved, tmp_path):
    _, path = saved
    untrained = tmp_path / "slerp.safetensors"
    checkpoint.save(untrained, load_method("slerp", load_backbone("clip-tiny")), arguments={})
    for first, second, hint in (
        (untrained, load_method("slerp", load_backbone("clip-tiny")),
         "'slerp' over backbone 'clip-tiny' .* and the first trained no tensor"),
        (path, load_method("slerp", load_backbone("clip-tiny", "seed-1")),
         r"'turned' over backbone 'clip-tiny' \(revision seed-0\), this run of method 'slerp' over 'clip-tiny' "
         r"\(revision seed-1\), and they do not fit: \d+ in all:\n.* has other values\n"),
        (path, load_method("slerp", load_backbone("siglip-tiny")), r"'siglip-tiny'.*\n.* is float32 \(77, 24\)"),
        (tmp_path, load_method("slerp", load_backbone("clip-tiny")), "has no best.safetensors"),
        (tmp_path / "none", load_method("slerp", load_backbone("clip-tiny")), "there is no .*none"),
    ):  # fmt: skip
        before = {name: tensor.clone() for name, tensor in second.state_dict().items()}
        with pytest.raises(ComposirError, match=hint):
            checkpoint.take_over(second, first)
        assert all(torch.equal(before[name], tensor) for name, tensor in second.state_dict().items())


def test_where_everything_was_trained_the_named_backbone_decides(tmp_path):
    checkpoint.save(
        tmp_path / "a.safetensors", changed(load_method("contrastive", load_backbone("clip-tiny"))), arguments={}
    )
    with pytest.raises(ComposirError, match=r"seed-1.*left none of its weights to compare"):
        checkpoint.take_over(
            load_method("contrastive", load_backbone("clip-tiny", "seed-1")), tmp_path / "a.safetensors"
        )
