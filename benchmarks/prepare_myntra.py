"""Make a plain JSONL set of the Myntra product photographs: python benchmarks/prepare_myntra.py SRC OUT.

SRC holds items.csv, images60.{split}.zip and triplets.{split}.json. Each split's gallery is all of its pictures. Three
captions are made of a product's attributes: all of them, the shop's own name, and colour and type alone.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import plain_set

SPLITS = ("train", "val", "test")
WHOSE = {"Men": "men's", "Women": "women's", "Boys": "boys'", "Girls": "girls'", "Unisex": "unisex"}
NO_COLOUR = {"", "NA"}
COLOURS = {"Multi": "multicoloured", "Grey Melange": "grey melange", "Metallic": "metallic", "Skin": "skin-coloured"}
TYPES = {
    "Tshirts": "T-shirt",
    "Sarees": "saree",
    "Necklace and Chains": "necklace",
    "Mobile Pouch": "mobile phone pouch",
}
# Said of one product in the plural, by their last word; and those without number.
PLURAL = {
    "Accessories", "Booties", "Capris", "Cufflinks", "Earrings", "Flats", "Flops", 
    "Gloves", "Heels", "Jeans", "Jeggings", "Leggings", "Pants", "Sandals", "Shoes", "Shorts", "Socks", "Sunglasses",
    "Suspenders", "Tights", "Trousers", "Wristbands",
}  # fmt: skip
BARE = {
    "Churidar", "Patiala", "Salwar", "Perfume and Body Mist", "Deodorant", "Lipstick", "Nail Polish", "Lip Gloss",
    "Kajal and Eyeliner", "Foundation and Primer", "Eyeshadow", "Highlighter and Blush", "Sunscreen", "Mascara",
    "Lip Care", "Face Wash and Cleanser", "Hair Colour", "Body Lotion", "Makeup Remover", "Concealer",
    "Face Scrub and Exfoliator", "Eye Cream", "Face Moisturisers",
}  # fmt: skip


def noun(kind: str) -> tuple[str, bool]:
    """What an article type is called, and whether "a" goes before it."""
    if kind in TYPES:
        return TYPES[kind], True
    word = kind.lower()
    if kind in BARE or kind.rpartition(" ")[2] in PLURAL:
        return word, False
    if word.endswith(("ches", "sses")):
        return word[:-2], True
    if word.endswith("scarves"):
        return "scarf", True
    return (word[:-1] if word.endswith("s") and not word.endswith("ss") else word), True


def described(item: Mapping[str, str], *details: str) -> str:
    """A caption of an item: "a photo of a women's printed red kurta"."""
    word, counted = noun(item["articleType"])
    colour = item["baseColour"]
    words = {
        "gender": WHOSE[item["gender"]],
        "pattern": "" if item["pattern"] == "solid" else item["pattern"],
        "colour": "" if colour in NO_COLOUR else COLOURS.get(colour, colour.lower()),
    }
    text = " ".join([*(words[d] for d in ("gender", "pattern", "colour") if d in details and words[d]), word])
    if counted:
        an = text[0].lower() in "aeio" or text.startswith("umb")  # "a unisex watch", but "an umbrella"
        text = f"{'an' if an else 'a'} {text}"
    return f"a photo of {text}" + (f" by {item['brand']}" if "brand" in details and item["brand"] else "")


def captions(item: Mapping[str, str]) -> list[str]:
    """Three captions of an item, fewer where they are alike."""
    told = [described(item, "gender", "pattern", "colour", "brand"), item["name"].strip(), described(item, "colour")]
    return list(dict.fromkeys(caption for caption in told if caption))


def row(triplet: Mapping[str, Any]) -> dict[str, Any]:
    """A line of triplets; the subset is sorted, so that its order does not give the target away."""
    target = triplet["target"]
    return {
        "id": triplet["pairid"],
        "reference": triplet["reference"],
        "caption": triplet["caption"],
        "targets": [target, *(other for other in triplet["targets"] if other != target)],
        "subset": sorted(triplet["subset"]),
        "aspects": [triplet["kind"]],
    }


def main() -> None:
    """Unpack and write."""
    source, out = plain_set.folders()
    with (source / "items.csv").open(encoding="utf-8", newline="") as file:
        items: Sequence[Mapping[str, str]] = list(csv.DictReader(file))
    with plain_set.whole(out) as folder:
        for split in SPLITS:
            inside = [item for item in items if item["split"] == split]
            files = [f"{item['id']}.jpg" for item in inside]
            plain_set.unpack(source / f"images60.{split}.zip", folder / "images", files)
            triplets = json.loads(Path(source / f"triplets.{split}.json").read_text(encoding="utf-8"))
            pairs = [{"image": item["id"], "captions": captions(item)} for item in inside]
            plain_set.write_split(folder, split, [row(triplet) for triplet in triplets], files, pairs)
        plain_set.write_settings(folder, "myntra")


if __name__ == "__main__":
    main()
