"""The contracts of `composir.testing`, over every part found; and that each check fails on a part broken on purpose."""

from __future__ import annotations

import copy
import functools
import itertools
import re
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn

from composir import backbones, datasets, methods
from composir.backbones import load_backbone
from composir.backbones.base import Backbone
from composir.backbones.catalog import EMBEDDED, VARIANTS
from composir.backbones.clip import ClipBackbone
from composir.datasets import load_dataset
from composir.datasets.base import Dataset
from composir.datasets.wardrobe import Wardrobe
from composir.errors import ComposirError, DataError
from composir.methods import load_method
from composir.methods.baselines import Sum
from composir.methods.contrastive import Contrastive
from composir.methods.slerp import Slerp
from composir.testing import check_backbone, check_dataset, check_method
from composir.types import Pair, Query, Task

TINY = ("blip-tiny", "clip-tiny", "siglip-tiny")
# Methods that do not go with every backbone; each says so itself, in its own tests.
ONLY = {"image-text-matching": ("blip-tiny",)}
# Arguments that make a small instance of a data set that needs no files; sets of files have tests of their own.
SMALL = {"wardrobe": {"train": 60, "val": 120, "test": 120}}
# Those are under contract in datasets/test_reader_contracts.py.
READERS = {"captions", "circo", "cirr", "fashioniq", "genecis", "jsonl", "lasco", "shoes"}


@functools.cache
def tiny(name: str, seed: int = 0) -> Backbone:
    """Shared: a check must leave a part as it was, which a test below watches."""
    return load_backbone(name, f"seed-{seed}")


@pytest.fixture(scope="module")
def small() -> Dataset:
    return load_dataset("wardrobe", **SMALL["wardrobe"])


# ---- everything found ----


@pytest.mark.parametrize(("name", "backbone"), [(m, b) for m in methods.names() for b in ONLY.get(m, TINY)])
def test_methods(name, backbone):
    arguments = {}
    fresh = load_method(name, copy.deepcopy(tiny(backbone, seed=1)), **arguments)
    check_method(load_method(name, copy.deepcopy(tiny(backbone)), **arguments), fresh=fresh)


@pytest.mark.parametrize("name", TINY)
def test_backbones(name):
    check_backbone(tiny(name))


@pytest.mark.parametrize("name", sorted(EMBEDDED))
def test_embedded_backbones(name):
    check_backbone(load_backbone(name))


@pytest.mark.parametrize("name", sorted(SMALL))
def test_datasets(name):
    check_dataset(load_dataset(name, **SMALL[name]))


def test_every_part_is_under_contract():
    assert {*TINY, *EMBEDDED, *VARIANTS} == set(backbones.names())  # what is downloaded has tests of its own
    assert {"contrastive", "image-only", "image-text-matching", "slerp", "sum", "text-only"} <= set(methods.names())
    assert set(datasets.names()) == {*SMALL, *READERS}, "add the data set to SMALL, or give it a test over its files"


@pytest.mark.parametrize("backbone", TINY)
def test_methods_of_one_gallery_side_share_a_gallery(backbone):
    keys = {load_method(name, tiny(backbone)).gallery_key() for name in ("image-only", "text-only", "sum", "slerp")}
    assert len(keys) == 1
    assert keys != {load_method("slerp", tiny(backbone, seed=1)).gallery_key()}
    assert keys != {load_method("slerp", tiny({TINY[0]: TINY[1]}.get(backbone, TINY[0]))).gallery_key()}


def test_gallery_key_of_bfloat16_weights():
    method = load_method("slerp", copy.deepcopy(tiny("clip-tiny")))
    key = method.gallery_key()
    assert method.bfloat16().gallery_key() != key
    assert len(method.gallery_key()) == 16


def test_checks_leave_the_part_as_it_was():
    backbone = ClipBackbone.tiny()
    method = Contrastive(backbone).train()
    before = {name: tensor.clone() for name, tensor in method.state_dict().items()}
    state = torch.random.get_rng_state()
    check_method(method)
    check_backbone(backbone)
    assert method.training
    assert all(torch.equal(before[name], tensor) for name, tensor in method.state_dict().items())
    assert all(parameter.grad is None for parameter in method.parameters())
    assert torch.equal(state, torch.random.get_rng_state())


# ---- methods broken on purpose ----


class NotUnit(Slerp):
    def encode_gallery(self, images):
        return 1.001 * super().encode_gallery(images)


class HalfPrecision(Slerp):
    def encode_gallery(self, images):
        return super().encode_gallery(images).half()


class NotUnitQuery(Sum):
    def compose(self, reference, texts):
        return reference + self.encode_text(texts)


class IgnoresText(Slerp):
    def compose(self, reference, texts, alpha=None):
        return reference


class IgnoresReference(Slerp):
    def compose(self, reference, texts, alpha=None):
        return self.encode_text(texts)


class ReadsMoreThanItSays(Sum):
    reads = ("text",)


class DependsOnItsBatch(Slerp):
    def encode_gallery(self, images):
        features = super().encode_gallery(images)
        return F.normalize(features - 0.1 * features.mean(dim=0, keepdim=True), dim=-1)


class QueriesDependOnTheirBatch(Slerp):
    def compose(self, reference, texts, alpha=None):
        return super().compose(reference, [max(texts)] * len(texts), alpha)


class ForgetsTheOrder(Slerp):
    def compose(self, reference, texts, alpha=None):
        return super().compose(reference, sorted(texts), alpha)


class Random(Slerp):
    def encode_gallery(self, images):
        features = super().encode_gallery(images)
        return F.normalize(features + 1e-4 * torch.randn_like(features), dim=-1)


class DropoutLeftOn(Slerp):
    def compose(self, reference, texts, alpha=None):
        return F.normalize(F.dropout(super().compose(reference, texts, alpha), 0.1), dim=-1)


class SwallowsControls(Slerp):
    def compose(self, reference, texts, alpha=None, **controls):
        return super().compose(reference, texts, alpha)


class UndeclaredControl(Sum):
    def compose(self, reference, texts, boost=1.0):
        return super().compose(reference, texts)


class ControlThatIsNone(Slerp):
    controls = ("alpha", "beta")


class OtherWidth(Slerp):
    def encode_gallery(self, images):
        return F.normalize(super().encode_gallery(images)[..., :8], dim=-1)

    def encode_reference(self, images):
        return super().encode_gallery(images)


class ChangesItsInput(Slerp):
    def encode_gallery(self, images):
        return super().encode_gallery(images.mul_(1.01))


class ChangesTheReference(Slerp):
    def compose(self, reference, texts, alpha=None):
        composed = super().compose(reference, texts, alpha)
        reference += 1
        return composed


class SameForEveryImage(Slerp):
    def encode_gallery(self, images):
        return super().encode_gallery(torch.zeros_like(images))

    def encode_reference(self, images):
        return super().encode_gallery(images)


class GalleryReadsMore(Slerp):
    """The gallery side is changed by a tensor that the key does not hold."""

    def __init__(self, backbone, alpha=0.8):
        super().__init__(backbone, alpha)
        self.shift = nn.Parameter(torch.zeros(backbone.dim))

    def encode_gallery(self, images):
        return F.normalize(super().encode_gallery(images) + self.shift, dim=-1)


class KeyHoldsTooMuch(Slerp):
    def gallery_key(self):
        return str(sum(tensor.double().sum().item() for tensor in self.state_dict().values()))


class KeyHoldsNothing(Slerp):
    def gallery_key(self):
        return "0123456789abcdef"


class WeightOutsideTheStateDict(Slerp):
    count = itertools.count()

    def __init__(self, backbone, alpha=0.8):
        super().__init__(backbone, alpha)
        generator = torch.Generator().manual_seed(next(self.count))
        self.turn = torch.linalg.qr(torch.randn(backbone.dim, backbone.dim, generator=generator))[0]

    def encode_reference(self, images):
        return self.encode_gallery(images) @ self.turn


class MisspeltSide(Slerp):
    gallery_side = ("backbone.image.", "backbone.picture.")


class NothingTrainsButSaysNothing(Slerp):
    def loss(self, batch):
        return {"loss": torch.zeros(())}


BROKEN_METHODS = {
    NotUnit: "not of unit length",
    HalfPrecision: "float16, not float32",
    NotUnitQuery: "compose gives vectors that are not of unit length",
    IgnoresText: "the text does not matter",
    IgnoresReference: "the reference does not matter",
    ReadsMoreThanItSays: "another reference, which `reads` does not name",
    DependsOnItsBatch: "an image alone and in a batch",
    QueriesDependOnTheirBatch: "a query alone and in a batch",
    ForgetsTheOrder: "a query alone and in a batch",
    Random: "encode_gallery",
    DropoutLeftOn: "compose",
    SwallowsControls: "controls|unknown control",
    UndeclaredControl: "compose takes",
    ControlThatIsNone: "controls names",
    OtherWidth: "queries have width 16, gallery embeddings 8",
    ChangesItsInput: "pixels|alone and in a batch",
    ChangesTheReference: "reference after compose|alone and in a batch",
    SameForEveryImage: "gallery images do not matter",
    GalleryReadsMore: "outside gallery_side",
    KeyHoldsTooMuch: "the gallery key follows a tensor outside",
    KeyHoldsNothing: "the gallery key does not follow",
    WeightOutsideTheStateDict: "after saving and loading",
    MisspeltSide: "backbone.picture.",
    NothingTrainsButSaysNothing: "trains on nothing",
}


@pytest.mark.parametrize("kind", BROKEN_METHODS, ids=lambda kind: kind.__name__)
def test_broken_methods_are_found(kind):
    with pytest.raises(AssertionError, match=BROKEN_METHODS[kind]):
        check_method(kind(tiny("clip-tiny")), fresh=kind(tiny("clip-tiny", seed=1)))


class ForgetsTuned(Contrastive):
    tuned = ("backbone.image.", "backbone.logit_scale")


class UselessParameter(Contrastive):
    def __init__(self, backbone):
        super().__init__(backbone)
        self.idle = nn.Linear(3, 3)


class LossRises(Contrastive):
    """The value is right, the gradient points the other way."""

    def loss(self, batch):
        loss = super().loss(batch)["loss"]
        return {"loss": 2 * loss.detach() - loss}


class LossStays(Contrastive):
    def loss(self, batch):
        return {"loss": 0 * super().loss(batch)["loss"] + 1}


class LossCutOff(Contrastive):
    def loss(self, batch):
        return {"loss": super().loss(batch)["loss"].detach().requires_grad_()}


class LossIsNaN(Contrastive):
    def loss(self, batch):
        return {"loss": super().loss(batch)["loss"] * float("nan")}


class LossByAnotherName(Contrastive):
    def loss(self, batch):
        return {"total": super().loss(batch)["loss"]}


class GroupsForgetOne(Contrastive):
    def parameter_groups(self, weight_decay):
        groups = super().parameter_groups(weight_decay)
        return [{**groups[0], "params": groups[0]["params"][1:]}, groups[1]]


class FrozenPartDrifts(Contrastive):
    """Its text tower is frozen, yet goes on in training mode."""

    def __init__(self, backbone):
        super().__init__(backbone)
        backbone.text.requires_grad_(False)

    def train(self, mode=True):
        return nn.Module.train(self, mode)


class FrozenPartChanges(Contrastive):
    """A frozen tensor changed behind the optimiser's back."""

    def __init__(self, backbone):
        super().__init__(backbone)
        backbone.text.requires_grad_(False)

    def loss(self, batch):
        losses = super().loss(batch)
        with torch.no_grad():
            self.backbone.text.text_projection.weight.mul_(0.999)
        return losses


BROKEN_LEARNERS = {
    ForgetsTuned: "`tuned` does not name it",
    UselessParameter: "'idle.weight' is declared trainable, but no gradient reaches it",
    LossRises: "do not reduce the loss",
    LossStays: "every gradient is zero",
    LossCutOff: "no gradient reaches it",
    LossIsNaN: "the loss is nan",
    LossByAnotherName: "must be named 'loss'",
    GroupsForgetOne: "parameter_groups",
    FrozenPartDrifts: "the frozen part 'backbone.text",
    FrozenPartChanges: "is frozen, but changes",
}


@pytest.mark.parametrize("kind", BROKEN_LEARNERS, ids=lambda kind: kind.__name__)
def test_broken_learners_are_found(kind):
    # A copy, for these freeze parts of the backbone that the other tests share.
    with pytest.raises(AssertionError, match=BROKEN_LEARNERS[kind]):
        check_method(kind(copy.deepcopy(tiny("clip-tiny"))))


def test_dropout_of_a_trainable_part_is_on_in_training_and_off_in_a_frozen_one():
    class WithHeads(Slerp):
        def __init__(self, backbone):
            super().__init__(backbone)
            self.head = nn.Sequential(nn.Linear(2, 2), nn.Dropout())
            self.still = nn.Sequential(nn.Linear(2, 2), nn.Dropout()).requires_grad_(False)

    method = WithHeads(tiny("clip-tiny")).train()
    assert [module.training for module in method.head] == [True, True]
    assert [module.training for module in method.still] == [False, False]
    assert not any(module.training for module in method.eval().modules())


# ---- backbones broken on purpose ----


def spoilt(**changes) -> ClipBackbone:
    """A tiny CLIP with methods replaced; each replacement gets the true one first."""
    backbone = ClipBackbone.tiny()
    made = type("Spoilt", (ClipBackbone,), {})
    for name, change in changes.items():
        setattr(made, name, functools.partialmethod(_call, change, getattr(ClipBackbone, name)))
    backbone.__class__ = made
    return backbone


def _call(self, change, true, *args, **kwargs):
    return change(self, functools.partial(true, self), *args, **kwargs)


def mixed_batch(self, true, pixels):
    features = true(pixels)
    return features + 0.01 * features.mean(dim=0)


def blind(self, true, pixels):
    return true(torch.zeros_like(pixels))


def noisy(self, true, pixels):
    features = true(pixels)
    return features + 1e-7 * torch.randn_like(features)


def same_patches(self, true, pixels, layer=-1):
    return true(pixels, -1)


def flat_patches(self, true, pixels, layer=-1):
    return true(pixels, layer).mean(dim=1)


def deaf(self, true, texts, **kwargs):
    return true(["red"] * len(texts), **kwargs)


def keeps_the_end(self, true, texts, **kwargs):
    return true([" ".join(text.split()[-20:]) for text in texts], **kwargs)


def not_before(self, true, texts, *, before="", words=None):
    return true(texts, words=words)


def no_empty_text(self, true, texts, **kwargs):
    features = true(texts, **kwargs)
    return torch.where(torch.tensor([[not text] for text in texts]), torch.nan, features)


def sorts_texts(self, true, texts, **kwargs):
    return true(sorted(texts), **kwargs)


def ignores_words(self, true, texts, *, before="", words=None):
    features = true(texts, before=before)
    return features if words is None else features + 0 * words.sum()


def spoils_words(self, true, texts, *, before="", words=None):
    features = true(texts, before=before, words=words)
    if words is not None:
        words.data.add_(1)
    return features


def words_behind(self, true, texts, *, before="", words=None):
    """Where they should not stand: after the text."""
    if words is None:
        return true(texts, before=before)
    return torch.cat([true([""], before=f"{before} {t}", words=w[None]) for t, w in zip(texts, words, strict=True)])


def other_size(self, true, train=False):
    return replace(true(train), size=31) if train else true(train)


def forgets_scale(self, true, folder, dtype=None):
    with torch.no_grad():
        self.logit_scale.add_(1)
        true(folder, dtype)
        self.logit_scale.sub_(1)


def saves_rounded(self, true, folder, dtype=None):
    true(folder, torch.float16)


BROKEN_BACKBONES = {
    "in a batch": {"embed_image": mixed_batch},
    "the image does not matter": {"embed_image": blind},
    "image": {"embed_image": noisy},
    "layer -1 and -2 are the same": {"patches": same_patches},
    "patches gives": {"patches": flat_patches},
    "the text does not matter": {"embed_text": deaf},
    "long text": {"embed_text": keeps_the_end},
    "`before` and the same words": {"embed_text": not_before},
    "an empty text": {"embed_text": no_empty_text},
    "a text alone and in a batch": {"embed_text": sorts_texts},
    "pseudo-words do not matter|no gradient reaches": {"embed_text": ignores_words},
    "pseudo-words a second time|the caller's pseudo-words": {"embed_text": spoils_words},
    "pseudo-words and the tokens they are": {"embed_text": words_behind},
    "makes 31 pixels a side": {"transform": other_size},
    "logit_scale after save and load": {"save_pretrained": forgets_scale},
    "images after save and load": {"save_pretrained": saves_rounded},
}


@pytest.mark.parametrize(
    ("complaint", "changes"),
    BROKEN_BACKBONES.items(),
    ids=[next(iter(c.values())).__name__ for c in BROKEN_BACKBONES.values()],
)
def test_broken_backbones_are_found(complaint, changes):
    with pytest.raises(AssertionError, match=complaint):
        check_backbone(spoilt(**changes))


def test_backbone_tensor_outside_the_towers_is_found():
    backbone = ClipBackbone.tiny()
    backbone.extra = nn.Linear(2, 2)
    with pytest.raises(AssertionError, match=r"extra\.weight"):
        check_backbone(backbone)


def test_backbone_loader_of_another_house_is_used():
    wrong = ClipBackbone.tiny(seed=5)
    with pytest.raises(AssertionError, match="after save and load"):
        check_backbone(tiny("clip-tiny"), load=lambda folder: wrong)


# ---- data sets broken on purpose ----


class Toy(Dataset):
    """Six plain pictures in three splits, right in every respect."""

    name = "toy"

    def __init__(self, **changes):
        self.changes = changes

    def ids(self, split):
        if split not in self.splits:
            raise DataError(f"toy has no split {split!r}; allowed: {', '.join(self.splits)}")
        return tuple(f"{split}-{number}" for number in range(6))

    def queries(self, split):
        ids = self.ids(split)
        first = Query("q0", ids[0], ("is red",), (ids[1],), subset=ids[:3])
        return replace(first, **self.changes.get("query", {})), replace(first, id="q1", targets=(ids[2],))

    def tasks(self, split):
        made = Task("all", self.ids(split), self.queries(split), ("R@1", "Rs@1"), drop_reference=True)
        return [replace(made, **self.changes.get("task", {}))]

    def triplets(self, split):
        return list(self.queries(split))

    def pairs(self, split):
        return [Pair(i, i, self.changes.get("captions", ("a picture",))) for i in self.ids(split)]

    def image(self, image_id):
        if not image_id.startswith(("train-", "val-", "test-")):
            raise DataError(f"toy has no image {image_id!r}")
        return Image.new("RGB", (8, 8), (40 * int(image_id[-1]), 0, 0))


def test_toy_is_sound():
    check_dataset(Toy())


BROKEN_CHANGES = [
    ({"query": {"targets": ("val-9",)}}, "target 'val-9', which is not in the gallery"),
    ({"query": {"targets": ()}}, "0 targets"),
    ({"query": {"reference": "elsewhere", "subset": ("elsewhere", "train-1")}}, "drops reference 'elsewhere'"),
    ({"query": {"captions": (" ",)}}, "empty caption"),
    ({"query": {"captions": ()}}, "empty caption"),
    ({"query": {"id": "q1"}}, "query ids are not unique: q1"),
    ({"query": {"weight": -1.0}}, "weight -1.0"),
    ({"query": {"subset": ()}}, "no subset"),
    ({"query": {"subset": ("train-0", "train-2")}}, "the target is not in the subset"),
    ({"query": {"subset": ("train-1", "train-2")}}, "the reference is not in the subset"),
    ({"query": {"targets": ("train-0",)}}, "its own reference"),
    ({"query": {"targets": ("train-1", "train-1")}}, "targets are not unique"),
    ({"task": {"gallery": ()}}, "gallery is empty"),
    ({"task": {"gallery": ("train-0",) * 2}}, "gallery ids are not unique"),
    ({"task": {"queries": ()}}, "has no query"),
    ({"task": {"metrics": ("R@0",)}}, "'R@0'"),
    ({"task": {"metrics": ("recall@1",)}}, "'recall@1'"),
    ({"task": {"metrics": ()}}, "no metric"),
    ({"task": {"hidden": True}}, "hidden=True"),
    ({"captions": ()}, "pair train-0 has an empty caption"),
]


@pytest.mark.parametrize(("changes", "complaint"), BROKEN_CHANGES, ids=[c for _, c in BROKEN_CHANGES])
def test_broken_annotations_are_found(changes, complaint):
    with pytest.raises(AssertionError, match=re.escape(complaint)):
        check_dataset(Toy(**changes))


class Grey(Toy):
    def image(self, image_id):
        return super().image(image_id).convert("L")


class LosesAPicture(Toy):
    def image(self, image_id):
        if image_id == "val-3":
            raise DataError("val-3 is gone")
        return super().image(image_id)


class NeverTheSame(Toy):
    count = itertools.count()

    def image(self, image_id):
        super().image(image_id)
        return Image.new("RGB", (8, 8), (next(self.count), 0, 0))


class MakesUpPictures(Toy):
    def image(self, image_id):
        return Image.new("RGB", (8, 8))


class KeyErrorForAStranger(Toy):
    def image(self, image_id):
        return {i: super(KeyErrorForAStranger, self).image(i) for s in self.splits for i in self.ids(s)}[image_id]


class AnySplitWillDo(Toy):
    def ids(self, split):
        return super().ids(split if split in self.splits else "test")


class DoesNotNameTheSplit(Toy):
    def ids(self, split):
        if split not in self.splits:
            raise DataError("no such split")
        return super().ids(split)


class OneGallery(Toy):
    def ids(self, split):
        super().ids(split)
        return super().ids("val")


class Shuffles(Toy):
    count = itertools.count()

    def ids(self, split):
        ids, turn = super().ids(split), next(self.count) % 6
        return ids[turn:] + ids[:turn]


class CannotTravel(Toy):
    def __init__(self):
        super().__init__()
        self.open = lambda: None


BROKEN_DATASETS = {
    Grey: "mode L",
    LosesAPicture: "'val-3' is named, but cannot be had",
    NeverTheSame: "not the same picture the second time",
    MakesUpPictures: "unknown image id: nothing is raised",
    KeyErrorForAStranger: "unknown image id: raises KeyError",
    AnySplitWillDo: "tasks of an unknown split: nothing is raised",
    DoesNotNameTheSplit: "does not name 'nowhere'",
    OneGallery: "is in train and in val",
}


@pytest.mark.parametrize("kind", BROKEN_DATASETS, ids=lambda kind: kind.__name__)
def test_broken_datasets_are_found(kind):
    with pytest.raises(AssertionError, match=BROKEN_DATASETS[kind]):
        check_dataset(kind())


def test_dataset_that_gives_other_annotations_each_time_is_found():
    with pytest.raises(AssertionError):
        check_dataset(Shuffles())


def test_dataset_that_cannot_travel_is_found():
    with pytest.raises(AssertionError, match="cannot be pickled"):
        check_dataset(CannotTravel())


def test_splits_may_share_pictures_where_that_is_said():
    class Shared(OneGallery):
        disjoint = False

    globals()["Shared"] = Shared  # pickle finds a class by its name
    Shared.__qualname__ = "Shared"
    check_dataset(Shared())


def test_dangling_target_in_wardrobe_is_found():
    class Dangling(Wardrobe):
        def tasks(self, split):
            first, *rest = super().tasks(split)
            spoilt_query = replace(first.queries[0], targets=("train-99999-0",))
            return [replace(first, queries=(spoilt_query, *first.queries[1:])), *rest]

    globals()["Dangling"] = Dangling
    Dangling.__qualname__ = "Dangling"
    with pytest.raises(AssertionError, match="train-99999-0"):
        check_dataset(Dangling(**SMALL["wardrobe"]))


def test_unpicklable_errors_name_the_method_that_trains_on_nothing():
    with pytest.raises(ComposirError, match="'slerp' has nothing to train"):
        load_method("slerp", load_backbone("clip-tiny")).loss({})
