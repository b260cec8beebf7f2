"""What the annotation files of the benchmarks promise, as checks that run on the real files and on ours alike."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence

FIQ_KEYS = {"target", "candidate", "captions"}
CIRR_KEYS = {"pairid", "reference", "target_hard", "target_soft", "caption", "img_set"}
CIRR_SET_KEYS = {"id", "members", "reference_rank", "target_rank"}
CIRR_EXT_KEYS = {"pairid", "reference", "target_hard", "caption_extend"}
CIRCO_TEST_KEYS = {"reference_img_id", "relative_caption", "shared_concept", "id"}
CIRCO_KEYS = CIRCO_TEST_KEYS | {"target_img_id", "gt_img_ids", "semantic_aspects"}
ASPECTS = {
    "statement_with_conjunction", "direct_addressing", "spatial_relations_background", "compare_change", "addition",
    "viewpoint", "comparative_statement", "cardinality", "negation",
}  # fmt: skip


def is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())


def is_number(value: object, least: int = 0) -> bool:
    return type(value) is int and value >= least  # and no bool


def check_fashioniq(records: Sequence[dict], split: Sequence[str], *, hidden: bool) -> None:
    """A captions file and the image split of its category."""
    assert records
    assert isinstance(split, list)
    assert len(set(split)) == len(split)
    assert all(re.fullmatch(r"[A-Z0-9]{10}", name) for name in split)
    names = set(split)
    seen = set()
    for record in records:
        assert set(record) == FIQ_KEYS - ({"target"} if hidden else set())
        assert isinstance(record["captions"], list)
        assert len(record["captions"]) == 2
        assert all(isinstance(caption, str) for caption in record["captions"])
        assert record["candidate"] in names
        if not hidden:
            assert record["target"] in names
            assert record["target"] != record["candidate"]
            seen.add((record["candidate"], record["target"]))
    assert hidden or len(seen) == len(records)


def check_cirr_split(split: Mapping[str, str], folder: str) -> None:
    """An image split: name -> path."""
    assert split
    below = r"\d{1,2}/" if folder == "train" else ""
    for name, path in split.items():
        assert re.fullmatch(rf"{folder}-\d+-\d+-img[01]", name)
        assert re.fullmatch(rf"\./{folder}/{below}{re.escape(name)}\.png", path)


def check_cirr(records: Sequence[dict], split: Mapping[str, str], *, hidden: bool) -> None:
    """A captions file against its image split."""
    assert records
    assert len({r["pairid"] for r in records}) == len(records)
    members: dict[int, list[str]] = {}
    ranks: dict[int, dict[str, int]] = {}
    pairs = set()
    for record in records:
        image_set = record["img_set"]
        assert set(record) == CIRR_KEYS - ({"target_hard", "target_soft"} if hidden else set())
        assert set(image_set) == CIRR_SET_KEYS - ({"target_rank"} if hidden else set())
        assert is_number(record["pairid"])
        assert isinstance(record["caption"], str)  # one of the real test1 is blank
        assert is_number(image_set["id"])
        assert len(image_set["members"]) == len(set(image_set["members"])) == 6
        assert set(image_set["members"]) <= set(split)
        assert members.setdefault(image_set["id"], image_set["members"]) == image_set["members"]
        places = ranks.setdefault(image_set["id"], {})
        named = [(record["reference"], image_set["reference_rank"])]
        if not hidden:
            named.append((record["target_hard"], image_set["target_rank"]))
            pairs.add((record["reference"], record["target_hard"]))
            assert record["reference"] != record["target_hard"]
            assert 1 <= len(record["target_soft"]) <= 8
            assert set(record["target_soft"].values()) <= {1.0, 0.5, 0.2, -1.0}
            assert all(type(v) is float for v in record["target_soft"].values())
            assert set(record["target_soft"]) <= set(split)
        for name, rank in named:
            assert name in image_set["members"]
            assert is_number(rank)
            assert rank <= 5
            assert places.setdefault(name, rank) == rank  # one picture has one place in its set
    assert all(len(set(places.values())) == len(places) for places in ranks.values())
    assert hidden or len(pairs) == len(records)


def check_cirr_extended(extended: Sequence[dict], records: Sequence[dict], *, hidden: bool) -> None:
    """An extended captions file against the captions file."""
    keys = ["pairid", "reference", *([] if hidden else ["target_hard"])]
    assert [[e[k] for k in keys] for e in extended] == [[r[k] for k in keys] for r in records]
    for record in extended:
        assert set(record) == CIRR_EXT_KEYS - ({"target_hard"} if hidden else set())
        assert list(record["caption_extend"]) == ["0", "1", "2", "3"]
        assert all(isinstance(text, str) for text in record["caption_extend"].values())


def check_circo(records: Sequence[dict], *, hidden: bool, gallery: Collection[int] | None = None) -> None:
    """An annotations file; `gallery` are the image ids, where they are known."""
    assert [r["id"] for r in records] == list(range(len(records)))
    assert records
    for record in records:
        assert set(record) == (CIRCO_TEST_KEYS if hidden else CIRCO_KEYS)
        assert is_number(record["reference_img_id"], 1)
        assert is_text(record["relative_caption"])
        assert is_text(record["shared_concept"])
        named = [record["reference_img_id"]]
        if not hidden:
            truth = record["gt_img_ids"]
            named += truth
            assert truth[0] == record["target_img_id"]
            assert all(is_number(t, 1) for t in truth)
            assert len(set(truth)) == len(truth) <= 14
            assert record["reference_img_id"] not in truth
            assert record["semantic_aspects"]
            assert len(set(record["semantic_aspects"])) == len(record["semantic_aspects"])
            assert set(record["semantic_aspects"]) <= ASPECTS
        assert gallery is None or set(named) <= set(gallery)


def check_lasco(records: Sequence[dict], split: str) -> None:
    """A queries file."""
    assert records
    assert len({r["qid"] for r in records}) == len(records)
    for record in records:
        assert list(record) == ["qid", "query-image", "query-text", "target-image"]
        assert is_number(record["qid"])
        assert is_text(record["query-text"])
        assert record["qid"] // 1000 == record["query-image"][0]
        assert record["query-image"] != record["target-image"]
        for number, path in (record["query-image"], record["target-image"]):
            assert is_number(number, 1)
            assert path == f"{split}2014/COCO_{split}2014_{number:012d}.jpg"


def check_lasco_corpus(corpus: object, split: str) -> dict[int, str]:
    """A corpus file, a list for val and a dict for train, as number -> path of the picture."""
    if split == "train":
        assert isinstance(corpus, dict)
        paths = {int(number): path for number, path in corpus.items()}
    else:
        assert isinstance(corpus, list)
        assert all(list(item) == ["id", "path"] for item in corpus)
        assert all(item["path"].startswith("val/val2014/") for item in corpus)
        paths = {item["id"]: item["path"].removeprefix("val/") for item in corpus}
        assert len(paths) == len(corpus)
    assert all(path == f"{split}2014/COCO_{split}2014_{number:012d}.jpg" for number, path in paths.items())
    return paths
