"""LaSCo's layout: one text and one target a query, COCO's names and numbers.

    lasco_train.json  lasco_val.json
    lasco_train_corpus.json (number -> path)  lasco_val_corpus.json (list, its paths with a "val/" before them)
    train2014/COCO_train2014_%012d.jpg  val2014/COCO_val2014_%012d.jpg

There is no test split: four fifths of the garments are for training, the rest is val. As in the original, the paths of
the val corpus begin with a "val/" that is no folder: the pictures lie where the queries say.
"""

from __future__ import annotations

from collections import Counter

from composir.datasets.wardrobe import Wardrobe
from composir.datasets.wardrobe.catalogue import FAMILY
from composir.datasets.wardrobe.layouts.base import Layout, Sizes, single_text

QUERIES_PER_IMAGE = 1000


def divide(size: int) -> Sizes:
    """80 / 20, in whole families; a split of too few has 0."""
    families = size // FAMILY
    val = max(1, families // 5)
    return {"train": max(0, families - val) * FAMILY, "val": val * FAMILY}


def build(data: Wardrobe, sizes: Sizes) -> Layout:
    """Both splits; numbers run on from one to the other, and a query's begins with that of its reference."""
    layout = Layout()
    first = 1
    for split in sizes:
        number = {i: n for n, i in enumerate(data.ids(split), start=first)}
        first += len(number)
        paths = {i: f"{split}2014/COCO_{split}2014_{n:012d}.jpg" for i, n in number.items()}
        layout.pictures |= {path: i for i, path in paths.items()}
        asked: Counter[str] = Counter()
        records = []
        for query in data.triplets(split):
            reference, target = query.reference, query.targets[0]
            records.append(
                {
                    "qid": number[reference] * QUERIES_PER_IMAGE + asked[reference],
                    "query-image": [number[reference], paths[reference]],
                    "query-text": single_text(data, query),
                    "target-image": [number[target], paths[target]],
                }
            )
            asked[reference] += 1
        layout.put(f"lasco_{split}.json", records)
        if split == "train":
            layout.files["lasco_train_corpus.json"] = {str(n): paths[i] for i, n in number.items()}
        else:
            layout.files["lasco_val_corpus.json"] = [{"id": n, "path": f"val/{paths[i]}"} for i, n in number.items()]
    return layout
