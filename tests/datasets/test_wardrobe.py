"""Wardrobe: drawings that repeat and show every attribute, families, splits, and texts that leave one right answer."""

from __future__ import annotations

import hashlib
import importlib.util
import itertools
import random
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import PIL
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from composir.datasets import load_dataset, names
from composir.datasets.wardrobe import Wardrobe, catalogue, shapes, words
from composir.datasets.wardrobe.draw import draw
from composir.datasets.wardrobe.garment import ATTRIBUTES, Garment, differences, edited, random_garment, split_of
from composir.errors import ComposirError, DataError, UnknownNameError

mask_of = sys.modules["composir.datasets.wardrobe.draw"]._mask

_spec = importlib.util.spec_from_file_location("text_reader", Path(__file__).with_name("text_reader.py"))
reader = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(reader)

PLAIN = Garment("dress", "red", "plain", "none", "short", "round", "regular", "star")
PATTERNED = Garment("hoodie", "teal", "checked", "white", "long", "v", "short", "heart")
STYLES = ("photo", "synthetic")
SPLITS = ("train", "val", "test")

# blake2b of the pixel bytes of draw(garment, "golden", size, style), by Pillow version: drawing is Pillow's work, and a
# new version may round otherwise. To add one: `python tests/datasets/test_wardrobe.py` prints them.
GOLDEN = {
    "13.0.0": {
        "catalogue": "03fa3f1d24e9e4d6c413aea4",
        "patterned photo 128": "0b8774813a8a373274be12fe",
        "patterned photo 512": "73eb2df0d72cb561130fa9d5",
        "patterned photo 64": "0b52244964c04b2a6f050e4d",
        "patterned synthetic 128": "9cb306502f848f652c8e804b",
        "patterned synthetic 512": "740859331721a9785202bf4e",
        "patterned synthetic 64": "224f7fe26a3135816cfc0dc1",
        "plain photo 128": "1d685903b2022b41995d2c53",
        "plain photo 512": "71d971ca9f171e53ad491189",
        "plain photo 64": "558e979a5f69ceaecd0ee23e",
        "plain synthetic 128": "91fa8150c0f3d3e35bef37e5",
        "plain synthetic 512": "e62092cfc7d885dab44d12ee",
        "plain synthetic 64": "3cc877ae01a8992c5fa58abd",
    },
}
# Families, captions and texts need no Pillow: the published weights and figures rest on them for good.
GOLDEN_CATALOGUE = {
    "test captions": "a9d2f68e6194777543d59bf7",
    "test garments": "961eac1bf3006302b79b9dd6",
    "test texts": "7e91e9302074eb34986c4393",
    "train captions": "ffb4ba6cab765f432a340684",
    "train garments": "767ce6c4cc9c4130656f11a7",
    "train texts": "2fab34a4bf5c39d3513e4c72",
    "val captions": "f7034032cdce2216e6c1961e",
    "val garments": "54fcc1e59d12b9d5c3ea90dd",
    "val texts": "fbafbd4e08dde6a73e98c6eb",
}


def digest(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=12).hexdigest()


def golden_drawings() -> dict[str, str]:
    named = Wardrobe(test=12, seed=5).image("test-00001-4")  # the name of a drawing is golden too
    return {"catalogue": digest(named.tobytes())} | {
        f"{label} {style} {size}": digest(draw(garment, "golden", size, style).tobytes())
        for label, garment in (("plain", PLAIN), ("patterned", PATTERNED))
        for style in STYLES
        for size in (64, 128, 512)
    }


def golden_catalogue() -> dict[str, str]:
    data = Wardrobe(train=120, val=60, test=60, seed=7)
    made = {}
    for split in SPLITS:
        queries = [q for task in data.tasks(split) for q in task.queries]
        made |= {
            f"{split} garments": [data.garment(i).values() for i in data.ids(split)],
            f"{split} captions": [(p.image, *p.captions) for p in data.pairs(split)],
            f"{split} texts": [(q.reference, *q.captions, q.shared_concept, *q.targets) for q in queries],
        }
    return {what: digest("\n".join("|".join(row) for row in rows).encode()) for what, rows in made.items()}


@pytest.fixture(scope="module")
def data() -> Wardrobe:
    return Wardrobe(train=300, val=300, test=600, seed=1)


# Drawings


def test_golden_drawings():
    if PIL.__version__ not in GOLDEN:
        pytest.skip(f"no golden drawings for Pillow {PIL.__version__}, only for {', '.join(GOLDEN)}")
    assert golden_drawings() == GOLDEN[PIL.__version__]


def test_golden_catalogue():
    assert golden_catalogue() == GOLDEN_CATALOGUE


def test_a_fresh_process_draws_the_same_bytes_and_imports_no_torch():
    code = (
        "import hashlib, sys\n"
        "import composir.datasets.wardrobe.writers\n"
        "from composir.datasets.wardrobe import Wardrobe\n"
        "data = Wardrobe(train=6, val=6, test=12, seed=3)\n"
        "print(*(hashlib.blake2b(data.image(i).tobytes()).hexdigest() for i in data.ids('test')))\n"
        "print(repr(data.tasks('test')), 'torch' in sys.modules)\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    data = Wardrobe(train=6, val=6, test=12, seed=3)
    hashes, tasks = run.stdout.splitlines()
    assert hashes.split() == [hashlib.blake2b(data.image(i).tobytes()).hexdigest() for i in data.ids("test")]
    assert tasks == f"{data.tasks('test')!r} False"


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("size", [64, 65, 200, 512])
def test_pictures_are_rgb_and_of_the_size_asked(style, size):
    image = draw(PATTERNED, 0, size, style)
    assert (image.mode, image.size) == ("RGB", (size, size))


@pytest.mark.parametrize("size", [-1, 0, 63, 513, 4096])
def test_sizes_outside_the_limits_are_refused(size):
    with pytest.raises(ComposirError, match=r"outside 64\.\.512 px"):
        draw(PLAIN, 0, size)


def test_what_cannot_be_drawn_is_refused_when_the_set_is_made():
    with pytest.raises(ComposirError, match=r"image size 32 is outside 64\.\.512 px"):
        Wardrobe(train=6, val=6, test=6, image_size=32)
    # The annotation says so too, where annotations are checked.
    with pytest.raises((ComposirError, TypeError), match="oil"):
        Wardrobe(train=6, val=6, test=6, style="oil")


@pytest.mark.parametrize("style", STYLES)
def test_equal_seeds_give_equal_pictures_and_others_do_not(style):
    first, again, other = (np.asarray(draw(PLAIN, seed, 64, style), int) for seed in ("a", "a", "b"))
    assert (first == again).all()
    assert np.abs(first - other).mean() > 5


def test_the_styles_differ():
    assert np.abs(np.asarray(draw(PLAIN, 0), int) - np.asarray(draw(PLAIN, 0, style="synthetic"), int)).mean() > 20


def area_of(garment: Garment, seed: str, size: int, style: str) -> np.ndarray:
    """Where the garment lies in its picture."""
    canvas = size * 4  # as draw does for sizes up to 96
    pose = shapes.Pose.drawn(random.Random(f"{style}/{seed}"), canvas, garment)
    return np.asarray(mask_of(garment, pose, canvas).reduce(4)) > 127


# Mean difference in the garment's area (0..255), and the share of its pixels that change by more than 24: half of the
# least that 250 random garments showed. The neck of a hoodie is the smallest thing there is.
VISIBLE = {
    "kind": (0.7, 0.015), "color": (5, 0.15), "pattern": (3.5, 0.08), "accent": (3, 0.08), "sleeve": (2, 0.045),
    "neck": (0.4, 0.008), "length": (8, 0.15), "logo": (0.7, 0.011),
}  # fmt: skip


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("attribute", ATTRIBUTES)
def test_every_value_of_every_attribute_shows(attribute, style):
    rng = random.Random(attribute)
    values = [v for v in ATTRIBUTES[attribute] if v != "none"]
    for number, (old, new) in enumerate(itertools.combinations(values, 2)):
        before = value_given(random_garment(rng), attribute, old)
        after = value_given(before, attribute, new)
        seed = f"visible {number}"
        one, two = (np.asarray(draw(g, seed, 64, style), int) for g in (before, after))
        area = area_of(before, seed, 64, style) | area_of(after, seed, 64, style)
        change = np.abs(one - two)[area]
        least_mean, least_share = VISIBLE[attribute]
        assert change.mean() > least_mean, (before, after)
        assert (change.max(-1) > 24).mean() > least_share, (before, after)


def value_given(garment: Garment, attribute: str, value: str) -> Garment:
    """The garment with a value, and with whatever else must change for it to be a garment."""
    if attribute == "accent" and garment.pattern == "plain":
        garment = replace(garment, pattern="dotted")
    garment = replace(garment, **{attribute: value})
    if garment.pattern == "plain":
        return replace(garment, accent="none")
    if garment.accent in ("none", garment.color):
        taken = garment.accent if attribute == "accent" else garment.color
        other = next(c for c in reversed(ATTRIBUTES["color"]) if c != taken)
        garment = replace(garment, **{"color" if attribute == "accent" else "accent": other})
    return garment


def test_an_accent_colours_the_pattern_and_not_the_cloth():
    """In one pose and light another accent changes the dots and nothing else."""
    lit = replace(PATTERNED, pattern="dotted", accent="black", color="white", logo="no")
    one, two = (np.asarray(draw(g, "dots", 64, "synthetic"), int) for g in (lit, replace(lit, accent="red")))
    changed = (np.abs(one - two).max(-1) > 24)[area_of(lit, "dots", 64, "synthetic")].mean()
    assert 0.1 < changed < 0.6


# Garments, families, splits


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32), split=st.sampled_from(SPLITS))
def test_families_are_six_distinct_neighbours_and_unique(seed, split):
    made = catalogue.families(split, 8, seed)
    garments = [g for family in made for g in family]
    assert [len(family) for family in made] == [6] * 8
    assert len(set(garments)) == len(garments)
    for family in made:
        assert all(1 <= len(differences(family[0], g)) <= 2 for g in family[1:])
    for garment in garments:
        assert split_of(garment) == split
        assert (garment.accent == "none") == (garment.pattern == "plain")
        assert garment.accent != garment.color
        assert all(v in ATTRIBUTES[a] for a, v in zip(ATTRIBUTES, garment.values(), strict=True))


def test_no_split_has_a_design_of_another_whatever_the_seed():
    seen = {
        split: {g for seed in (0, 1, 2) for family in catalogue.families(split, 40, seed) for g in family}
        for split in SPLITS
    }
    for one, two in itertools.combinations(SPLITS, 2):
        assert not seen[one] & seen[two]


def test_a_drawn_design_falls_in_each_split_by_its_share():
    rng = random.Random(0)
    counts = [split_of(random_garment(rng)) for _ in range(5000)]
    assert 0.78 < counts.count("train") / 5000 < 0.83
    assert 0.085 < counts.count("val") / 5000 < 0.115


@pytest.mark.long
def test_every_design_there_is_counts_in_one_split():
    """The figures of catalogue.py and docs/wardrobe.md: whoever adds a value of an attribute mends them."""
    designs = (Garment(*values) for values in itertools.product(*ATTRIBUTES.values()))
    sound = (g for g in designs if (g.accent == "none") == (g.pattern == "plain") and g.accent != g.color)
    counts = Counter(split_of(garment) for garment in sound)
    assert counts == {"train": 438_341, "val": 52_950, "test": 53_029}
    assert counts.total() == 544_320
    shares = {split: round(100 * count / counts.total(), 1) for split, count in counts.items()}
    assert shares == {"train": 80.5, "val": 9.7, "test": 9.7}
    assert all(catalogue.LARGEST[split] < count for split, count in counts.items())


@settings(max_examples=200, deadline=None)
@given(seed=st.integers(0, 2**32), attribute=st.sampled_from(list(ATTRIBUTES)))
def test_one_edit_is_one_difference(seed, attribute):
    rng = random.Random(seed)
    garment = random_garment(rng)
    other = edited(garment, attribute, rng)
    if other is None:
        assert (attribute, garment.pattern) == ("accent", "plain")
    else:
        assert differences(garment, other) == differences(other, garment) == (attribute,)


# Texts


@settings(max_examples=300, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_texts_lead_from_any_garment_to_any_other_one_or_two_edits_away(seed):
    rng = random.Random(seed)
    before = random_garment(rng)
    after = before
    for attribute in rng.sample(list(ATTRIBUTES), rng.choice((1, 2))):
        after = edited(after, attribute, rng) or after
    if after == before:
        with pytest.raises(ValueError, match="equal"):
            words.edit_texts(before, after, rng)
        return
    texts = words.edit_texts(before, after, rng)
    assert len(texts) == 2
    assert reader.edited_by(texts, before) == after
    assert reader.edited_by([words.edit_text(before, after, rng)], before) == after


@pytest.mark.parametrize("split", SPLITS)
def test_reference_and_texts_leave_exactly_one_right_garment(data, split):
    gallery = {i: data.garment(i) for i in data.ids(split)}
    assert len(data.triplets(split)) > len(gallery) / 3
    for query in data.triplets(split):
        reference = gallery[query.reference]
        assert len(query.captions) == 2
        assert all(query.captions)
        assert 1 <= len(differences(reference, gallery[query.targets[0]])) <= 2
        wanted = reader.edited_by(query.captions, reference)
        assert tuple(i for i, g in gallery.items() if g == wanted) == query.targets
        assert {query.reference, *query.targets} < set(query.subset)
        assert len(set(query.subset)) == 6


@pytest.mark.parametrize("split", SPLITS)
def test_a_full_caption_fits_one_garment_and_the_others_are_true(data, split):
    gallery = {i: data.garment(i) for i in data.ids(split)}
    for pair in data.pairs(split):
        full, *others = [reader.read_caption(c) for c in pair.captions]
        assert [i for i, g in gallery.items() if reader.fits(g, full)] == [pair.image]
        assert all(reader.fits(gallery[pair.image], values) for values in others)
        assert all(others)  # no caption says nothing


@pytest.mark.parametrize("split", SPLITS)
def test_the_targets_of_a_concept_query_are_all_that_fit(data, split):
    gallery = {i: data.garment(i) for i in data.ids(split)}
    _, task = data.tasks(split)
    assert len(task.queries) > 20
    for query in task.queries:
        reference = gallery[query.reference]
        shared, changed = reader.read_caption(query.shared_concept), reader.read_edits(query.captions, reference)
        changed = {a: v for a, v in changed.items() if a != "accent"}  # "is plain" tells it, nothing else may
        assert len(shared) == 2
        assert 1 <= len(changed) <= 2
        assert reader.fits(reference, shared)
        assert not any(reader.fits(reference, {a: v}) for a, v in changed.items())
        wanted = shared | changed
        right = []
        for image_id, garment in gallery.items():
            if image_id != query.reference and all(getattr(garment, a) == v for a, v in wanted.items()):
                right.append(image_id)
        assert set(query.targets) == set(right)
        assert len(query.targets) == len(right)
        assert 2 <= len(right) <= 14


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_concept_queries_for_any_seed(seed):
    made = catalogue.families("test", 20, seed)
    garments = {catalogue.name("test", f, m): made[f][m] for f in range(20) for m in range(6)}
    for query in catalogue.concept_queries("test", made, 20, seed):
        assert query.reference not in query.targets
        assert len(set(query.targets)) == len(query.targets)
        assert set(query.targets) <= set(garments)


# The data set


def test_wardrobe_is_a_plug_in():
    assert "wardrobe" in names()
    assert isinstance(load_dataset("wardrobe", test=12), Wardrobe)
    with pytest.raises(UnknownNameError, match="image_size"):
        load_dataset("wardrobe", image_sise=64)


def test_sizes_are_whole_families_within_the_designs_of_a_split():
    assert len(Wardrobe(test=17).ids("test")) == 12
    with pytest.raises(ComposirError, match="at least 6"):
        Wardrobe(val=5)
    with pytest.raises(ComposirError, match="at most 40000"):
        Wardrobe(test=40_001)


@pytest.mark.parametrize(
    "image_id", ["", "dress", "test-00000-6", "test-99999-0", "test-0-0", "test-00000--1", "dev-00000-0"]
)
def test_unknown_ids_are_refused(data, image_id):
    with pytest.raises(DataError, match="ids look like"):
        data.image(image_id)


def test_a_larger_catalogue_begins_with_the_smaller():
    assert Wardrobe(test=120, seed=4).families("test")[:5] == Wardrobe(test=30, seed=4).families("test")


def test_tasks_carry_their_protocols(data):
    families, concepts = data.tasks("test")
    assert families.gallery == concepts.gallery == data.ids("test")
    assert (families.name, concepts.name) == ("families", "concepts")
    assert families.drop_reference
    assert concepts.drop_reference
    assert "Rs@1" in families.metrics
    assert "mAP@10" in concepts.metrics
    for task in (families, concepts):
        assert len({q.id for q in task.queries}) == len(task.queries)


if __name__ == "__main__":
    import pprint

    pprint.pprint({PIL.__version__: golden_drawings()}, width=100)
    pprint.pprint(golden_catalogue(), width=100)
