"""CIRCO's layout: one gallery for val and test, a shared concept, several right answers a query.

    annotations/{val,test}.json
    COCO2017_unlabeled/annotations/image_info_unlabeled2017.json
    COCO2017_unlabeled/unlabeled2017/%012d.jpg

There is no training split: half of the garments are of Wardrobe's val split and half of its test split, and a query
belongs to the split of its reference. All garments of the gallery that fit are its ground truth, whichever their split.
The test file lacks `target_img_id`, `gt_img_ids` and `semantic_aspects`.
"""

from __future__ import annotations

from collections.abc import Iterable

from composir.datasets.wardrobe import Wardrobe, catalogue
from composir.datasets.wardrobe.catalogue import FAMILY
from composir.datasets.wardrobe.garment import Garment
from composir.datasets.wardrobe.layouts.base import Layout, Sizes, split_of_id

IMAGES = "COCO2017_unlabeled/unlabeled2017"
IMAGE_INFO = "COCO2017_unlabeled/annotations/image_info_unlabeled2017.json"
QUERIES_PER_FAMILY = 1


def divide(size: int) -> Sizes:
    """Half and half, in whole families."""
    families = size // FAMILY
    return {"val": families // 2 * FAMILY, "test": (families - families // 2) * FAMILY}


def build(data: Wardrobe, sizes: Sizes) -> Layout:
    """The gallery is the val garments followed by the test garments, numbered from 1."""
    layout = Layout()
    families = [family for split in sizes for family in data.families(split)]
    origins = [i for split in sizes for i in data.ids(split)]
    number = {catalogue.name("circo", n // FAMILY, n % FAMILY): n + 1 for n in range(len(origins))}
    layout.pictures = {f"{IMAGES}/{n + 1:012d}.jpg": i for n, i in enumerate(origins)}
    layout.files[IMAGE_INFO] = _image_info(number.values(), data.image_size)
    records: dict[str, list[dict[str, object]]] = {"val": [], "test": []}
    for query in catalogue.concept_queries("circo", families, len(families) * QUERIES_PER_FAMILY, data.seed):
        origin = origins[number[query.reference] - 1]
        mine = records[split_of_id(origin)]
        truth = [number[t] for t in query.targets]
        mine.append(
            {
                "reference_img_id": number[query.reference],
                "target_img_id": truth[0],
                "relative_caption": query.captions[0],
                "shared_concept": query.shared_concept,
                "gt_img_ids": truth,
                "id": len(mine),
                "semantic_aspects": _aspects(query.captions[0], data.garment(origin)),
            }
        )
    layout.put("annotations/val.json", records["val"])
    layout.put("annotations/test.json", records["test"], ("target_img_id", "gt_img_ids", "semantic_aspects"))
    return layout


def _image_info(numbers: Iterable[int], side: int) -> dict[str, object]:
    """COCO's description of its images; what only a photograph from the web has is left blank."""
    images = [
        {
            "license": 1,
            "file_name": f"{n:012d}.jpg",
            "coco_url": "",
            "height": side,
            "width": side,
            "date_captured": "",
            "flickr_url": "",
            "id": n,
        }
        for n in numbers
    ]
    licenses = [{"url": "", "id": 1, "name": "drawn by composir"}]
    return {"info": {"description": "Wardrobe in the layout of CIRCO"}, "images": images, "licenses": licenses}


def _aspects(text: str, reference: Garment) -> list[str]:
    """Those of CIRCO's semantic aspects that these texts have."""
    aspects = []
    edits = text.split(" and ")
    if len(edits) > 1:
        aspects.append("statement_with_conjunction")
    negated = [e for e in edits if e.startswith("has no ")]
    added = [e for e in edits if e.endswith(" logo") and e not in negated and reference.logo == "no"]
    if added:
        aspects.append("addition")
    if negated:
        aspects.append("negation")
    if len(added) + len(negated) < len(edits):
        aspects.append("direct_addressing")
    return aspects
