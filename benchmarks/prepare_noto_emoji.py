"""Make a plain JSONL set of the Noto emoji: python benchmarks/prepare_noto_emoji.py SRC OUT.

SRC holds items.{split}.json, images72.{split}.zip and triplets.{split}.json for train and test; there is no val. Each
split's gallery is all of its pictures. Captions are an emoji's name with its skin tone, and its keywords.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import plain_set

SPLITS = ("train", "test")


def captions(item: Mapping[str, Any]) -> list[str]:
    """The name, with the skin tone where there is one; and the keywords."""
    name = f"{item['name']}, {item['tone']}" if item["tone"] else item["name"]
    keywords = ", ".join(dict.fromkeys(word.replace("_", " ") for word in item["keywords"]))
    return [f"an emoji of {name}", *([f"an emoji: {keywords}"] if keywords else [])]


def row(triplet: Mapping[str, Any]) -> dict[str, Any]:
    """A line of triplets."""
    return {
        "id": triplet["pairid"],
        "reference": triplet["reference"],
        "caption": triplet["caption"],
        "target": triplet["target"],
        "aspects": [triplet["kind"]],
    }


def main() -> None:
    """Unpack and write."""
    source, out = plain_set.folders()
    with plain_set.whole(out) as folder:
        for split in SPLITS:
            items = json.loads((source / f"items.{split}.json").read_text(encoding="utf-8"))
            triplets = json.loads((source / f"triplets.{split}.json").read_text(encoding="utf-8"))
            files = [item["file"] for item in items]
            plain_set.unpack(source / f"images72.{split}.zip", folder / "images", files)
            pairs = [{"image": item["file"], "captions": captions(item)} for item in items]
            plain_set.write_split(folder, split, [row(triplet) for triplet in triplets], files, pairs)
        plain_set.write_settings(folder, "noto_emoji")


if __name__ == "__main__":
    main()
