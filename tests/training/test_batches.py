"""Batches of pairs and triplets: order, draws, shares, augmentation, features in place of pictures, bad pictures."""

from __future__ import annotations

import errno
import itertools

import pytest
import torch
from PIL import Image

from composir.backbones.clip import ClipBackbone
from composir.config import TrainConfig
from composir.datasets import load_dataset
from composir.datasets.base import Dataset
from composir.errors import ComposirError, DataError
from composir.methods.base import Frozen
from composir.methods.contrastive import Contrastive
from composir.training import room
from composir.training.augment import Moves
from composir.training.batches import ALONE, Share
from composir.training.pairs import PairBatches, pair_batches
from composir.training.pictures import Pictures, Pixels, Source, decoded
from composir.training.triplets import TripletBatches, drawn_text, triplet_batches
from composir.types import Pair, Query


def pairs(count: int, captions: int = 3) -> list[Pair]:
    return [Pair(f"id{i}", f"id{i}", tuple(f"{i}/{c}" for c in range(captions))) for i in range(count)]


def config(**changes) -> TrainConfig:
    return TrainConfig(**{"epochs": 1, "batch_size": 4, "lr": 1.0, **changes})


def numbered(count: int) -> Pictures:
    """Pictures whose value is their number."""
    pixels = torch.arange(count, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 3, 2, 2).contiguous()
    return Pictures(Pixels(pixels), {f"id{i}": i for i in range(count)})


def epochs(count: int, **changes) -> list[list[dict]]:
    made = PairBatches(pairs(count), numbered(count), config(**changes))
    return [list(made.epoch(number)) for number in range(3)]


def equal(one: dict, other: dict) -> bool:
    return (one["ids"], one["texts"]) == (other["ids"], other["texts"]) and torch.equal(one["pixels"], other["pixels"])


@pytest.mark.parametrize("changes", [{}, {"block": 3, "block_share": 1.0}, {"shift": 1, "flip": True}])
def test_same_seed_same_batches(changes):
    first, again, other = (epochs(13, seed=seed, **changes) for seed in (5, 5, 6))
    flat = [[b for epoch in run_ for b in epoch] for run_ in (first, again, other)]
    assert all(equal(a, b) for a, b in zip(flat[0], flat[1], strict=True))
    assert not all(equal(a, b) for a, b in zip(flat[0], flat[2], strict=True))
    assert [b["ids"] for b in first[0]] != [b["ids"] for b in first[1]], "every epoch has the same order"


@pytest.mark.parametrize("changes", [{}, {"block": 3, "block_share": 1.0}, {"block": 5, "block_share": 0.5}])
@pytest.mark.parametrize("count", [4, 13, 16])
def test_each_pair_once_an_epoch_and_the_rest_left_out(count, changes):
    for epoch in epochs(count, **changes):
        ids = [i for b in epoch for i in b["ids"]]
        assert len(epoch) == count // 4
        assert all(len(b["ids"]) == 4 for b in epoch)
        assert len(set(ids)) == len(ids) == count // 4 * 4
        assert set(ids) <= {f"id{i}" for i in range(count)}


def test_texts_and_pictures_belong_to_the_ids():
    drawn = set()
    for b in itertools.chain(*epochs(13)):
        for place, image_id in enumerate(b["ids"]):
            number, caption = b["texts"][place].split("/")
            assert f"id{number}" == image_id
            assert (b["pixels"][place] == int(number)).all()
            drawn.add(caption)
    assert drawn == {"0", "1", "2"}


def test_every_caption_is_drawn_equally_often():
    made = PairBatches(pairs(100, captions=4), numbered(100), config(batch_size=100))
    drawn = [text.split("/")[1] for number in range(40) for text in next(made.epoch(number))["texts"]]
    # 4,000 draws at 1/4: deviation 27.
    assert all(abs(drawn.count(caption) - 1000) < 5 * 27 for caption in "0123")


def test_blocks_stay_together():
    made = PairBatches(pairs(24), numbered(24), config(batch_size=6, block=3, block_share=1.0))
    order = made.order(torch.Generator().manual_seed(0), blocks=True)
    assert sorted(order.tolist()) == list(range(24))
    assert all(b - a == 1 and a % 3 == 0 for a, b in order.view(8, 3)[:, :2].tolist())
    assert order.tolist() != list(range(24))
    for number in range(3):
        for b in made.epoch(number):
            numbers = [int(i[2:]) for i in b["ids"]]
            assert all(numbers[i : i + 3] == list(range(numbers[i], numbers[i] + 3)) for i in (0, 3))


def test_a_last_block_that_is_not_full_stays_within_the_data():
    made = PairBatches(pairs(14), numbered(14), config(block=5, block_share=1.0))
    assert sorted(made.order(torch.Generator().manual_seed(1), blocks=True).tolist()) == list(range(14))


def test_share_of_epochs_with_blocks():
    made = PairBatches(pairs(60), numbered(60), config(batch_size=60, block=6, block_share=0.3))
    count = 0
    for number in range(200):
        numbers = [int(i[2:]) for i in next(made.epoch(number))["ids"]]
        count += all(b - a == 1 for i in range(0, 60, 6) for a, b in itertools.pairwise(numbers[i : i + 6]))
    # 200 draws at 0.3: deviation 6.5.
    assert abs(count - 60) < 4 * 6.5


def test_all_configured_epochs_follow_each_other():
    made = PairBatches(pairs(13), numbered(13), config(epochs=3))
    whole = list(made)
    assert len(whole) == 3 * made.steps == 9
    assert all(equal(a, b) for a, b in zip(whole, itertools.chain(*epochs(13)), strict=True))


def test_a_batch_larger_than_the_data_is_refused():
    with pytest.raises(ComposirError, match=r"batch_size 4 is larger than the data \(3 pairs\)"):
        PairBatches(pairs(3), numbered(3), config())


# ---- pixels ----


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("reach", [0, 1, 3, 9])
def test_moved_is_the_loop(reach, flip):
    """Every output must be one of the pictures a slow loop makes for some shift, and all shifts occur."""
    size = 5
    picture = torch.randint(0, 256, (3, size, size), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    allowed = {}
    for down in range(-reach, reach + 1):
        for right in range(-reach, reach + 1):
            for mirrored in (False, True) if flip else (False,):
                made = torch.empty_like(picture)
                for y in range(size):
                    for x in range(size):
                        seen = size - 1 - x if mirrored else x
                        made[:, y, x] = picture[:, min(max(y + down, 0), size - 1), min(max(seen + right, 0), size - 1)]
                allowed[made.numpy().tobytes()] = (down, right, mirrored)
    many = Moves.draw(3000, reach, flip, torch.Generator().manual_seed(1))(picture.expand(3000, -1, -1, -1))
    got = {row.numpy().tobytes() for row in many}
    assert got <= set(allowed)
    # 3000 draws from at most 722 outcomes, of which those beyond the edge repeat: nearly all must occur.
    assert len(got) >= 0.95 * len(allowed)


def test_every_second_picture_is_mirrored():
    ramp = torch.arange(4, dtype=torch.uint8).view(1, 1, 1, 4).expand(2000, 3, 4, 4)
    mirrored = (Moves.draw(2000, 0, True, torch.Generator().manual_seed(0))(ramp)[:, 0, 0, 0] == 3).sum()
    assert abs(int(mirrored) - 1000) < 5 * 22  # binomial deviation 22


def test_decoded_is_the_transform_of_each_picture():
    dataset = load_dataset("wardrobe", train=12, val=6, test=6)
    transform, done = ClipBackbone.tiny().transform(), []
    ids = [p.image for p in dataset.pairs("train")]
    store, kept, failed = decoded(dataset, ids, transform, 0, lambda n, of: done.append((n, of)))
    assert (kept, failed) == (ids, {})
    assert store.dtype == torch.uint8
    assert all(
        torch.equal(row, torch.from_numpy(transform.pixels(dataset.image(i))))
        for row, i in zip(store, ids, strict=True)
    )
    assert done == [(12, 12)]
    with pytest.raises(DataError, match="train-99999-0"):
        decoded(dataset, [*ids, "train-99999-0"], transform, workers=0)
    store, kept, failed = decoded(dataset, [ids[0], "train-99999-0", ids[1]], transform, workers=0, skip_bad=True)
    assert (len(store), kept, list(failed)) == (2, ids[:2], ["train-99999-0"])


def test_more_pictures_than_fit_in_memory_lie_in_a_file_without_a_name(tmp_path, monkeypatch):
    dataset, transform = load_dataset("wardrobe", train=6, val=6, test=6), ClipBackbone.tiny().transform()
    ids = [p.image for p in dataset.pairs("train")]
    here = decoded(dataset, ids, transform, workers=0)[0]
    monkeypatch.setattr(room, "IN_MEMORY", 100)
    there = decoded(dataset, ids, transform, workers=0, spill=tmp_path / "cache")[0]
    assert torch.equal(here, there)
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_disk_without_room_is_told_before_anything_is_decoded(tmp_path, monkeypatch):
    """Its free space is asked for, then taken: a file with holes would end in SIGBUS."""
    monkeypatch.setattr(room, "IN_MEMORY", 100)
    with pytest.raises(ComposirError) as caught:
        room.room((10**9, 3, 224, 224), tmp_path)
    assert f"1,000,000,000 decoded pictures need 140190.1 GiB on disk in {tmp_path} (" in str(caught.value)
    assert "GiB are free); make room there, or name a folder on another disk by [features] folder" in str(caught.value)
    (tmp_path / "file").write_text("")
    with pytest.raises(ComposirError, match=r"in .*file/cache \(Not a directory\)"):
        room.room((8, 3, 32, 32), tmp_path / "file" / "cache")
    asked: list[int] = []

    def full(_, start, size):
        asked.append(size - start)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.posix_fallocate", full)
    with pytest.raises(
        ComposirError, match=r"8 decoded pictures need 0.0 GiB on disk in .* \(No space left on device\)"
    ):
        room.room((8, 3, 32, 32), tmp_path)
    assert asked == [8 * 3 * 32 * 32]


# ---- what follows from (seed, epoch, place) ----


@pytest.mark.parametrize("changes", [{"shift": 1, "flip": True}, {"block": 3, "block_share": 0.5}, {"accumulate": 2}])
@pytest.mark.parametrize("step", [0, 1, 2, 3, 5, 8])
def test_batches_after_a_step_are_the_rest(step, changes):
    made = PairBatches(pairs(13), numbered(13), config(epochs=3, **changes))
    whole, rest = list(made), list(made.after(step))
    accumulate = changes.get("accumulate", 1)
    assert len(whole) == 3 * made.steps * accumulate
    assert len(rest) == max(0, 3 * made.steps - step) * accumulate
    assert all(equal(a, b) for a, b in zip(whole[step * accumulate :], rest, strict=True))


@pytest.mark.parametrize("changes", [{}, {"shift": 2, "flip": True}])
def test_shares_of_processes_make_up_the_batch(changes):
    whole = PairBatches(pairs(13), numbered(13), config(**changes))
    shares = [PairBatches(pairs(13), numbered(13), config(**changes), share=Share(rank, 2)) for rank in range(2)]
    for one, *parts in zip(whole, *shares, strict=True):
        assert one["ids"] == parts[0]["ids"] + parts[1]["ids"]
        assert one["texts"] == parts[0]["texts"] + parts[1]["texts"]
        assert torch.equal(one["pixels"], torch.cat([part["pixels"] for part in parts]))


def test_a_batch_that_processes_cannot_share_is_refused():
    with pytest.raises(ComposirError, match="batch_size 4 cannot be shared by 3 processes; give a multiple of it"):
        PairBatches(pairs(13), numbered(13), config(), share=Share(1, 3))


def test_a_step_larger_than_the_data_is_refused():
    with pytest.raises(ComposirError, match=r"batch_size 4 x accumulate 2 is larger than the data \(7 pairs\)"):
        PairBatches(pairs(7), numbered(7), config(accumulate=2))


# ---- triplets ----


def queries(count: int, captions: int = 2, targets: int = 1) -> list[Query]:
    return [
        Query(
            f"q{i}",
            f"id{i}",
            tuple(f"is {i}.{c}?" for c in range(captions)),
            tuple(f"id{(i + 1 + t) % count}" for t in range(targets)),
            weight=i / 10,
        )
        for i in range(count)
    ]


def triplets(count: int, *, captions: int = 2, targets: int = 1, share: Share = ALONE, **changes) -> TripletBatches:
    made = queries(count, captions, targets)
    return TripletBatches(made, numbered(count), numbered(count), config(**changes), share=share)


@pytest.mark.parametrize("how", ["shuffle", "and"])
def test_one_caption_is_read_as_it_stands(how):
    assert drawn_text(Query("q", "r", ("is Red. ",)), how, 0.7) == "is Red. "


def test_two_captions_in_four_ways_equally_often():
    query = Query("q", "r", ("is Red. ", " has Dots?"))
    drawn = [drawn_text(query, "shuffle", (i + 0.5) / 4000) for i in range(4000)]
    assert {text: drawn.count(text) for text in set(drawn)} == {
        "Is red and has Dots": 1000, "Has dots and is Red": 1000, "Is red": 1000, "Has dots": 1000
    }  # fmt: skip
    assert {drawn_text(query, "and", u) for u in (0, 0.3, 0.99)} == {"Is red and has Dots"}


def test_three_captions_are_all_read_in_any_order():
    query = Query("q", "r", ("a", "b", "c"))
    drawn = [drawn_text(query, "shuffle", (i + 0.5) / 600).lower() for i in range(600)]
    orders = [" and ".join(order) for order in itertools.permutations("abc")]
    assert {order: drawn.count(order) for order in orders} == dict.fromkeys(orders, 100)


def test_triplet_batches_hold_what_belongs_together():
    seen: dict[str, set] = {"texts": set(), "reversed_texts": set(), "target": set()}
    apart = 0
    for b in triplets(13, targets=2, epochs=40):
        assert set(b) == {"ids", "texts", "reversed_texts", "weights", "reference", "target"}
        for place, query_id in enumerate(b["ids"]):
            number = int(query_id[1:])
            assert b["weights"][place] == pytest.approx(number / 10)
            assert (b["reference"][place] == number).all()
            step = (int(b["target"][place, 0, 0, 0]) - number) % 13
            assert step in (1, 2)
            seen["target"].add(step)
            for side in ("texts", "reversed_texts"):
                assert str(number) in b[side][place]
                seen[side].add(b[side][place].lower().replace(f"is {number}.", ""))
            apart += b["texts"][place] != b["reversed_texts"][place]
    assert seen["target"] == {1, 2}
    assert seen["texts"] == seen["reversed_texts"] == {"0", "1", "0 and 1", "1 and 0"}
    assert abs(apart / 480 - 0.75) < 0.1, "both directions are drawn together"


def test_one_caption_reads_the_same_both_ways():
    assert all(b["texts"] == b["reversed_texts"] for b in triplets(13, captions=1))


def test_triplets_follow_from_seed_epoch_and_place():
    def flat(b):
        return b["ids"], b["texts"], b["reversed_texts"], b["reference"].tolist(), b["target"].tolist()

    options = {"targets": 2, "epochs": 3, "shift": 1, "flip": True}
    whole = [flat(b) for b in triplets(13, **options)]
    assert [flat(b) for b in triplets(13, **options).after(4)] == whole[4:]
    assert [flat(b) for b in triplets(13, seed=1, **options)] != whole
    halves = [[flat(b) for b in triplets(13, share=Share(rank, 2), **options)] for rank in range(2)]
    assert [tuple(a + b for a, b in zip(*both, strict=True)) for both in zip(*halves, strict=True)] == whole


def test_both_pictures_of_a_triplet_are_mirrored_together():
    ramp = torch.arange(4, dtype=torch.uint8).view(1, 1, 1, 4).expand(13, 3, 4, 4).contiguous()
    pictures = Pictures(Pixels(ramp), {f"id{i}": i for i in range(13)})
    made = TripletBatches(queries(13), pictures, pictures, config(epochs=10, flip=True))
    mirrored = [(b[side][:, 0, 0, 0] == 3).tolist() for b in made for side in ("reference", "target")]
    assert mirrored[::2] == mirrored[1::2]
    assert {m for row in mirrored for m in row} == {True, False}


# ---- what a method is fed ----


class FrozenImages(Contrastive):
    """Its image tower stands still."""

    trains_on = "triplets"

    def frozen(self, side):
        if side in ("text", "reversed_text"):
            return None
        transform = self.transform("gallery")
        return Frozen(self.fingerprint(("backbone.image.",), transform.spec), transform, self.backbone.embed_image)


class FrozenTexts(Contrastive):
    def frozen(self, side):
        if side != "text":
            return None
        return Frozen(self.fingerprint(("backbone.text.",), ""), None, lambda texts: self.encode_text(texts)[:, 0])


@pytest.fixture(scope="module")
def wardrobe():
    return load_dataset("wardrobe", train=24, val=6, test=6)


def source(dataset: Dataset, cache=None, **changes) -> Source:
    return Source(dataset, config(workers=0, **changes), cache)


@torch.no_grad()
def test_frozen_sides_are_features(wardrobe, tmp_path):
    method, plain = FrozenImages(ClipBackbone.tiny()), Contrastive(ClipBackbone.tiny())
    plain.trains_on = "triplets"
    fed = triplet_batches(method, wardrobe.triplets("train"), source(wardrobe, tmp_path, epochs=2))
    raw = triplet_batches(plain, wardrobe.triplets("train"), source(wardrobe, tmp_path, epochs=2))
    for features, pixels in zip(fed, raw, strict=True):
        assert features["ids"] == pixels["ids"]
        for side in ("reference", "target"):
            assert pixels[side].dtype == torch.uint8
            expected = plain.backbone.embed_image(plain.transform("gallery").normalise(pixels[side]))
            assert features[side].dtype == torch.float32
            assert torch.allclose(features[side], expected, atol=1e-6)


@torch.no_grad()
@torch.no_grad()
def test_frozen_texts_of_triplets_are_all_that_the_run_reads(wardrobe, tmp_path):
    class Both(FrozenImages):
        def frozen(self, side):
            if side not in ("text", "reversed_text"):
                return super().frozen(side)
            before = {"text": "", "reversed_text": "[BACK]"}[side]
            asked[side] = []

            def run(texts):
                asked[side].extend(texts)
                return self.backbone.embed_text(texts, before=before)

            return Frozen(self.fingerprint(("backbone.text.",), side), None, run)

    asked: dict[str, list[str]] = {}
    method, settings = Both(ClipBackbone.tiny()), {"epochs": 3, "accumulate": 2}
    made = triplet_batches(method, wardrobe.triplets("train"), source(wardrobe, tmp_path, **settings))
    for side, before in (("text", ""), ("reversed_text", "[BACK]")):
        read = dict.fromkeys(text for b in made for text in b[f"{side}s"])
        assert asked[side] == list(read), "each once, none that no epoch draws"
        for b in made:
            wanted = method.backbone.embed_text(b[f"{side}s"], before=before)
            assert torch.allclose(b[side], wanted, atol=1e-6)
    again = triplet_batches(method, wardrobe.triplets("train"), source(wardrobe, tmp_path, **settings))
    assert asked == {"text": [], "reversed_text": []}, "the second run computes them anew"
    assert all(torch.equal(a["text"], b["text"]) for a, b in zip(made, again, strict=True))


def test_frozen_texts_stand_beside_the_texts(wardrobe, tmp_path):
    method = FrozenTexts(ClipBackbone.tiny())
    for b in pair_batches(method, wardrobe.pairs("train"), source(wardrobe, tmp_path, epochs=3)):
        assert set(b) == {"ids", "texts", "text", "pixels"}
        assert torch.allclose(b["text"], method.encode_text(b["texts"])[:, 0], atol=1e-6)
        assert torch.allclose(b["text"].norm(dim=-1), torch.ones(4))


@torch.no_grad()
def test_frozen_pictures_of_pairs(wardrobe):
    class Both(FrozenImages):
        trains_on = "pairs"

    made = pair_batches(Both(ClipBackbone.tiny()), wardrobe.pairs("train"), source(wardrobe))
    assert set(next(iter(made))) == {"ids", "texts", "image"}


@torch.no_grad()
def test_a_frozen_tower_reads_moved_pictures_anew(wardrobe, tmp_path):
    """What it makes of the pixels that a tower which trains would get; no such thing is kept."""
    method, settings = FrozenImages(ClipBackbone.tiny()), {"shift": 2, "flip": True, "epochs": 3}
    made = triplet_batches(method, wardrobe.triplets("train"), source(wardrobe, tmp_path, **settings))
    plain = triplet_batches(Contrastive(ClipBackbone.tiny()), wardrobe.triplets("train"), source(wardrobe, **settings))
    seen: dict[str, set[bytes]] = {}
    for got, pixels in zip(made, plain, strict=True):
        assert got["texts"] == pixels["texts"]
        for side in ("reference", "target"):
            wanted = method.backbone.embed_image(method.transform("gallery").normalise(pixels[side]))
            assert torch.equal(got[side], wanted)
        for name, row in zip(got["ids"], got["reference"], strict=True):
            seen.setdefault(name, set()).add(row.numpy().tobytes())
    assert max(map(len, seen.values())) == 3, "the epochs read one and the same"
    assert list(tmp_path.iterdir()) == []


@torch.no_grad()
def test_frozen_pictures_of_pairs_may_move_too(wardrobe):
    class Both(FrozenImages):
        trains_on = "pairs"

    made = pair_batches(Both(ClipBackbone.tiny()), wardrobe.pairs("train"), source(wardrobe, shift=2))
    b = next(iter(made))
    assert set(b) == {"ids", "texts", "image"}
    assert b["image"].shape == (4, 16)


class Bad(Dataset):
    """Six pictures a split, of which some cannot be read."""

    name = "bad"
    bad = ("id2",)

    def tasks(self, split):
        return []

    def triplets(self, split):
        return queries(6, targets=2)

    def pairs(self, split):
        return [Pair(f"p{i}", f"id{i}", (f"number {i}",)) for i in range(6)]

    def image(self, image_id):
        if image_id in self.bad:
            raise DataError(f"{image_id}.jpg is cut off")
        return Image.new("RGB", (8, 8), (int(image_id[2:]), 0, 0))


@pytest.mark.parametrize("kind", [Contrastive, FrozenImages])
def test_a_bad_picture_is_named_or_left_out(kind, tmp_path):
    dataset, method = Bad(), kind(ClipBackbone.tiny())
    both = (pair_batches, dataset.pairs("train")), (triplet_batches, dataset.triplets("train"))
    for make, items in both:
        with pytest.raises(
            DataError,
            match=r"^id2: id2\.jpg is cut off; mend or remove the file, or leave such pictures out by --skip-bad",
        ):
            make(method, items, source(dataset, tmp_path))
        made = make(method, items, source(dataset, tmp_path, skip_bad=True, batch_size=2))
        assert {i: failure.detail for i, failure in made.failed.items()} == {"id2": "id2.jpg is cut off"}
        assert len(made.items) == 5
    # q2 lost its reference; q0 and q1 one of two targets, and live on by the other.
    left = {query.id: query.targets for query in made.items}
    assert "q2" not in left
    assert (left["q0"], left["q1"]) == (("id1",), ("id3",))
    assert len(next(iter(made))["ids"]) == 2


def test_what_is_left_may_be_too_little():
    with pytest.raises(ComposirError, match=r"batch_size 6 is larger than the data \(5 pairs\)"):
        pair_batches(Contrastive(ClipBackbone.tiny()), Bad().pairs("train"), source(Bad(), skip_bad=True, batch_size=6))


def test_a_triplet_without_target_is_named(wardrobe):
    with pytest.raises(DataError, match="training query lost has no target"):
        triplet_batches(FrozenImages(ClipBackbone.tiny()), [Query("lost", "a", ("b",))], source(wardrobe))


def test_sides_of_equal_pixels_share_them(wardrobe):
    method = Contrastive(ClipBackbone.tiny())
    made = triplet_batches(method, wardrobe.triplets("train"), source(wardrobe))
    assert made.references is made.targets
    named = {i for q in wardrobe.triplets("train") for i in (q.reference, *q.targets)}
    assert len(made.references.store) == len(named)
