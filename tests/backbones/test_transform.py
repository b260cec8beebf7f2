"""The image transform against transformers' own processors, pixel by pixel, on real photographs and odd sizes."""

from __future__ import annotations

import io
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers.models.blip.image_processing_pil_blip import BlipImageProcessorPil
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

from composir.backbones.transform import Transform
from composir.datasets.wardrobe import Wardrobe
from composir.errors import ComposirError

CLIP_OLD = {
    "crop_size": 224, "do_center_crop": True, "do_normalize": True, "do_resize": True,
    "feature_extractor_type": "CLIPFeatureExtractor", "resample": 3, "size": 224,
    "image_mean": [0.48145466, 0.4578275, 0.40821073], "image_std": [0.26862954, 0.26130258, 0.27577711],
}  # fmt: skip
CLIP_NEW = CLIP_OLD | {
    "crop_size": {"height": 224, "width": 224}, "size": {"shortest_edge": 224}, "do_rescale": True,
    "rescale_factor": 0.00392156862745098, "do_convert_rgb": True, "image_processor_type": "CLIPImageProcessor",
}  # fmt: skip
SIGLIP = {
    "do_normalize": True, "do_rescale": True, "do_resize": True, "image_mean": [0.5, 0.5, 0.5],
    "image_std": [0.5, 0.5, 0.5], "image_processor_type": "SiglipImageProcessor", "processor_class": "SiglipProcessor",
    "resample": 3, "rescale_factor": 0.00392156862745098, "size": {"height": 224, "width": 224},
}  # fmt: skip
BLIP = {
    "do_normalize": True, "do_rescale": True, "do_resize": True, "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_processor_type": "BlipImageProcessor", "image_std": [0.26862954, 0.26130258, 0.27577711],
    "processor_class": "BlipProcessor", "resample": 3, "rescale_factor": 0.00392156862745098,
    "size": {"height": 384, "width": 384}, "size_divisor": 32,
}  # fmt: skip
# width x height: panoramas, slivers, smaller than the target, exactly it, one pixel off
ODD = [(1, 1), (1, 60), (90, 1), (3, 2), (300, 7), (224, 224), (223, 225), (225, 224), (100, 99), (640, 480)]


@pytest.fixture(scope="module")
def photographs(shared_data: Path) -> list[Image.Image]:
    with zipfile.ZipFile(shared_data / "clothing_small" / "images128.zip") as archive:
        names = sorted(name for name in archive.namelist() if name.endswith(".jpg"))[::60]
        return [Image.open(io.BytesIO(archive.read(name))).convert("RGB") for name in names]


@pytest.fixture(scope="module")
def drawn() -> Image.Image:
    """Needs no file, so that the proof is had on any clone."""
    data = Wardrobe(train=6, val=6, test=6, image_size=256)
    return data.image(data.ids("test")[0])


def processors():
    yield "clip", CLIPImageProcessorPil()
    yield "siglip", SiglipImageProcessorPil()
    yield "clip, resized beyond the crop", CLIPImageProcessorPil(size={"shortest_edge": 96}, crop_size=64)
    yield "clip, padded", CLIPImageProcessorPil(size={"shortest_edge": 61}, crop_size=100)
    yield "clip, bilinear, odd side", CLIPImageProcessorPil(size={"shortest_edge": 77}, crop_size=77, resample=2)
    yield "blip", BlipImageProcessorPil()
    yield "blip, 224", BlipImageProcessorPil(size={"height": 224, "width": 224})
    yield "siglip, 384", SiglipImageProcessorPil(size={"height": 384, "width": 384})
    yield "siglip, not normalised", SiglipImageProcessorPil(do_normalize=False)
    yield "siglip, another scale", SiglipImageProcessorPil(rescale_factor=1 / 127.5)
    yield "siglip, no scale", SiglipImageProcessorPil(do_rescale=False, image_mean=[9, 8, 7], image_std=[50, 60, 70])


@pytest.mark.parametrize(("name", "processor"), [pytest.param(n, p, id=n) for n, p in processors()])
def test_equals_transformers_on_photographs(name, processor, photographs):
    ours = Transform.from_preprocessor(processor.to_dict())
    assert len(photographs) >= 10
    for photograph in photographs:
        expected = processor(photograph, return_tensors="pt")["pixel_values"][0]
        assert (ours(photograph) - expected).abs().max() <= 1e-5


@pytest.mark.parametrize("size", ODD)
@pytest.mark.parametrize(("name", "processor"), [pytest.param(n, p, id=n) for n, p in processors()])
def test_equals_transformers_on_odd_sizes(name, processor, size, drawn):
    picture = drawn.resize(size)
    expected = processor(picture, return_tensors="pt")["pixel_values"][0]
    got = Transform.from_preprocessor(processor.to_dict())(picture)
    assert got.shape == expected.shape
    assert (got - expected).abs().max() <= 1e-5


@pytest.mark.parametrize("size", [(1, 400), (3000, 20)])
def test_endless_panorama_is_cut_before_it_is_enlarged(size, drawn):
    """Within one grey level of transformers, whose intermediate picture is 224 x 89,600 here."""
    picture = drawn.resize(size)
    ours = Transform.from_preprocessor(CLIP_NEW)
    processor = CLIPImageProcessorPil(do_rescale=False, do_normalize=False)
    expected = np.asarray(processor(picture, return_tensors="np")["pixel_values"][0])
    assert np.abs(ours.pixels(picture).astype(int) - expected.astype(int)).max() <= 1


def test_both_steps_make_one(photographs):
    ours = Transform.from_preprocessor(SIGLIP)
    pixels = np.stack([ours.pixels(picture) for picture in photographs])
    assert pixels.dtype == np.uint8
    assert pixels.shape == (len(photographs), 3, 224, 224)
    batch = ours.normalise(torch.from_numpy(pixels))
    assert torch.equal(batch, torch.stack([ours(picture) for picture in photographs]))


def test_other_modes_become_rgb(drawn):
    ours = Transform.from_preprocessor(CLIP_NEW)
    grey = drawn.convert("L")
    assert np.array_equal(ours.pixels(grey), ours.pixels(grey.convert("RGB")))


def test_old_and_new_spelling_agree():
    assert Transform.from_preprocessor(CLIP_OLD) == Transform.from_preprocessor(CLIP_NEW)
    assert Transform.from_preprocessor(CLIP_NEW).resize == "shortest"
    assert Transform.from_preprocessor(SIGLIP).resize == "exact"
    blip = Transform.from_preprocessor(BLIP)
    assert (blip.resize, blip.size) == ("exact", 384)
    assert Transform.from_preprocessor(BLIP | {"size": 384}) == blip  # a lone number is both sides to BLIP
    assert Transform.from_preprocessor({"image_processor_type": "BlipImageProcessor"}) == blip
    bare = {"image_processor_type": "CLIPImageProcessor"}
    assert Transform.from_preprocessor(bare) == Transform.from_preprocessor(CLIP_NEW)
    assert Transform.from_preprocessor({"image_processor_type": "SiglipImageProcessor"}) == (
        Transform.from_preprocessor(SIGLIP)
    )


@pytest.mark.parametrize("config", [CLIP_NEW, SIGLIP, CLIP_NEW | {"size": {"shortest_edge": 256}}])
def test_written_config_reads_back(config):
    ours = Transform.from_preprocessor(config)
    assert Transform.from_preprocessor(ours.to_preprocessor(config["image_processor_type"])) == ours


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("size", {"height": 224, "width": 192}),
        ("size", {"longest_edge": 224}),
        ("size", {"shortest_edge": 224, "longest_edge": 300}),
        ("size", "224"),
        ("size", True),
        ("size", 0),
        ("crop_size", {"height": 224, "width": 192}),
        ("crop_size", 2.5),
        ("do_resize", False),
        ("do_center_crop", False),
        ("do_center_crop", "yes"),
        ("resample", 17),
        ("rescale_factor", 0),
        ("image_mean", 0.5),
        ("image_mean", [0.5, 0.5]),
        ("image_std", [0, 1, 1]),
        ("do_pad", True),
        ("do_thumbnail", True),
    ],
)
def test_what_cannot_be_done_is_refused_by_name(key, value):
    with pytest.raises(ComposirError, match=key):
        Transform.from_preprocessor(CLIP_NEW | {key: value})


def test_two_sizes_that_contradict_are_refused():
    with pytest.raises(ComposirError, match="crop_size"):
        Transform.from_preprocessor(SIGLIP | {"do_center_crop": True, "crop_size": 196})


def test_unknown_processor_must_say_everything():
    known = {"image_processor_type": "SomeImageProcessor", "size": {"height": 384, "width": 384}}
    with pytest.raises(ComposirError, match="image_mean"):
        Transform.from_preprocessor(known)
    full = known | {"image_mean": [0.5] * 3, "image_std": [0.5] * 3, "do_pad": False}
    assert Transform.from_preprocessor(full).size == 384


def test_spec_tells_transforms_apart_and_survives_pickling():
    ours = Transform.from_preprocessor(CLIP_NEW)
    assert pickle.loads(pickle.dumps(ours)) == ours
    others = [CLIP_NEW | {"resample": 2}, CLIP_NEW | {"size": 225}, SIGLIP, CLIP_NEW | {"image_std": [0.5, 0.5, 0.5]}]
    assert len({ours.spec, *(Transform.from_preprocessor(other).spec for other in others)}) == 5


def test_training_looks_at_random_windows_and_repeats_under_a_seed(photographs):
    ours = Transform.from_preprocessor(SIGLIP).augmented(0.5, flip=True)
    torch.manual_seed(3)
    first = [ours.pixels(photographs[0]) for _ in range(4)]
    torch.manual_seed(3)
    again = [ours.pixels(photographs[0]) for _ in range(4)]
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not any(np.array_equal(first[0], other) for other in first[1:])
    assert all(pixels.shape == (3, 224, 224) for pixels in first)


@pytest.mark.parametrize("size", [(1, 1), (2, 1), (7, 500)])
def test_training_window_stays_inside(size):
    ours = Transform.from_preprocessor(SIGLIP).augmented(0.1, flip=True)
    picture = Image.new("RGB", size, (200, 100, 50))
    for _ in range(50):
        assert (ours.pixels(picture) == np.array([200, 100, 50])[:, None, None]).all()


def test_resized_keeps_proportions():
    old = Transform.from_preprocessor(CLIP_NEW | {"size": {"shortest_edge": 256}})
    new = old.resized(112)
    assert (new.size, new.resize_to, new.resize, new.mean) == (112, 128, "shortest", old.mean)
    assert old.resized(224) == old
