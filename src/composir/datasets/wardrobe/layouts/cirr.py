"""CIRR's layout (version rc2): a family of six look-alikes is an image set, one caption a query.

    train/<n>/<name>.png  dev/<name>.png  test1/<name>.png
    cirr/captions/cap.rc2.{train,val,test1}.json
    cirr/captions_ext/cap.ext.rc2.{train,val,test1}.json
    cirr/image_splits/split.rc2.{train,val,test1}.json

test1 lacks `target_hard`, `target_soft` and `img_set.target_rank`.
"""

from __future__ import annotations

import random
from collections.abc import Mapping

from composir.datasets.base import Split
from composir.datasets.wardrobe import Wardrobe, catalogue, words
from composir.datasets.wardrobe.layouts.base import Layout, Sizes, family_of_id, single_text, tenths
from composir.types import Query

FOLDER: Mapping[Split, str] = {"train": "train", "val": "dev", "test": "test1"}
LABEL: Mapping[Split, str] = {"train": "train", "val": "val", "test": "test1"}
TRAIN_FOLDERS = 100
NOTHING = "[cr0] Nothing worth mentioning"

divide = tenths


def build(data: Wardrobe, sizes: Sizes) -> Layout:
    """All three splits; `pairid` and `img_set.id` run on from one split to the next."""
    layout = Layout()
    pairs = sets = 0
    for split in sizes:
        names = {i: _name(FOLDER[split], i) for i in data.ids(split)}
        paths = {i: _path(split, i, name) for i, name in names.items()}
        layout.pictures |= {path: i for i, path in paths.items()}
        records = [_record(data, q, names, pairs + k, sets) for k, q in enumerate(data.triplets(split))]
        extended = [
            {k: r[k] for k in ("pairid", "reference", "target_hard")} | {"caption_extend": _auxiliary(data, q)}
            for r, q in zip(records, data.triplets(split), strict=True)
        ]
        hidden = ("target_hard", "target_soft", "target_rank") if split == "test" else ()
        layout.put(f"cirr/captions/cap.rc2.{LABEL[split]}.json", records, hidden)
        layout.put(f"cirr/captions_ext/cap.ext.rc2.{LABEL[split]}.json", extended, hidden)
        layout.files[f"cirr/image_splits/split.rc2.{LABEL[split]}.json"] = {
            n: f"./{paths[i]}" for i, n in names.items()
        }
        pairs += len(records)
        sets += len(data.families(split))
    return layout


def _name(folder: str, image_id: str) -> str:
    """As in NLVR2, from which CIRR took its pictures: folder, two numbers, left or right of a pair."""
    family, member = family_of_id(image_id)
    return f"{folder}-{family}-{member // 2}-img{member % 2}"


def _path(split: Split, image_id: str, name: str) -> str:
    below = f"/{family_of_id(image_id)[0] % TRAIN_FOLDERS}" if split == "train" else ""
    return f"{FOLDER[split]}{below}/{name}.png"


def _record(data: Wardrobe, query: Query, names: Mapping[str, str], pair: int, first_set: int) -> dict[str, object]:
    """One query; the ranks are places in the family before its members were shuffled."""
    target = query.targets[0]
    members = [names[i] for i in query.subset]
    random.Random(f"wardrobe/cirr/{data.seed}/{query.subset[0]}").shuffle(members)
    return {
        "pairid": pair,
        "reference": names[query.reference],
        "target_hard": names[target],
        "target_soft": {names[target]: 1.0},
        "caption": single_text(data, query),
        "img_set": {
            "id": first_set + family_of_id(query.reference)[0],
            "members": members,
            "reference_rank": query.subset.index(query.reference),
            "target_rank": query.subset.index(target),
        },
    }


def _auxiliary(data: Wardrobe, query: Query) -> dict[str, str]:
    """CIRR's four auxiliary texts: what both show, what changes, the view, the background; we know the first two."""
    before, after = data.garment(query.reference), data.garment(query.targets[0])
    shared = [a for a in catalogue.CONCEPT_ATTRIBUTES if getattr(before, a) == getattr(after, a)][:2]
    return {"0": f"being a photo of {words.concept(before, shared)}", "1": query.text, "2": NOTHING, "3": NOTHING}
