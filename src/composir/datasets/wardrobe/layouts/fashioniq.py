"""FashionIQ's layout: three categories of two kinds each, two captions a query, `candidate` is the reference.

    captions/cap.{dress,shirt,toptee}.{train,val,test}.json
    image_splits/split.{dress,shirt,toptee}.{train,val,test}.json
    images/<name>.png

Queries whose reference and target are of two categories are left out. The test files lack `target`.
"""

from __future__ import annotations

from composir.datasets.wardrobe import Wardrobe
from composir.datasets.wardrobe.layouts.base import Layout, Sizes, family_of_id, tenths

CATEGORIES = {"dress": ("dress", "jumpsuit"), "shirt": ("shirt", "polo"), "toptee": ("hoodie", "jacket")}
DIGIT = {"train": 0, "val": 1, "test": 2}

divide = tenths


def build(data: Wardrobe, sizes: Sizes) -> Layout:
    """All three splits of the three categories."""
    layout = Layout()
    for split in sizes:
        names = {i: _name(DIGIT[split], i) for i in data.ids(split)}
        layout.pictures |= {f"images/{name}.png": i for i, name in names.items()}
        queries = data.triplets(split)
        for category, kinds in CATEGORIES.items():
            inside = {i: name for i, name in names.items() if data.garment(i).kind in kinds}
            layout.files[f"image_splits/split.{category}.{split}.json"] = list(inside.values())
            records = [
                {"target": inside[q.targets[0]], "candidate": inside[q.reference], "captions": list(q.captions)}
                for q in queries
                if q.reference in inside and q.targets[0] in inside
            ]
            layout.put(f"captions/cap.{category}.{split}.json", records, ("target",) if split == "test" else ())
    return layout


def _name(digit: int, image_id: str) -> str:
    """Ten characters as an ASIN has, beginning as none does: "W", split, family, member."""
    family, member = family_of_id(image_id)
    return f"W{digit}{family:07d}{member}"
