"""Indexing throughput over the bare forward pass, at an encoder of ViT-B/32's size; writes results/speed_index.json.

python benchmarks/speed_index.py [--pictures 768] [--rounds 4]

Both encode the same pictures in batches of 32 on the same cores, each round as bare, indexed, indexed, bare, so that a
machine that grows faster or slower meanwhile favours neither; a round's ratio is that of the sums. The bare pass goes
from tensors that are already decoded and normalised, indexing from JPEG files to a finished gallery (scan, hash, decode,
encode, commit, report). The decoding processes are made ready before, as `composir index` does while it loads the
backbone.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import torch
from rows import machine, spread, write

from composir.backbones.clip import TINY_CORPUS, ClipBackbone
from composir.datasets.wardrobe import Wardrobe
from composir.indexing import create_gallery, index_folder
from composir.loading import pixel_batches, prepare
from composir.methods import load_method
from composir.methods.base import Method

BATCH = 32


def vit_b_32() -> Method:
    """Slerp over random weights; the image tower has ViT-B/32's sizes (the text tower is small: it is not measured)."""
    backbone = ClipBackbone.from_scratch(
        TINY_CORPUS, image_size=224, patch_size=32, image_width=768, image_layers=12, image_heads=12, text_width=64,
        text_layers=1, text_heads=2, dim=512, vocab_size=640, activation="quick_gelu",
    )  # fmt: skip
    return load_method("slerp", backbone)


def draw_pictures(folder: Path, count: int) -> None:
    """JPEG files of 512 px, quality 90."""
    data = Wardrobe(test=max(6, count + 5), image_size=512)
    for image_id in data.ids("test")[:count]:
        data.image(image_id).save(folder / f"{image_id}.jpg", quality=90)


@torch.inference_mode()
def bare(method: Method, batches: list[torch.Tensor]) -> float:
    """Seconds of the forward pass alone."""
    start = time.perf_counter()
    for batch in batches:
        method.encode_gallery(batch)
    return time.perf_counter() - start


def indexed(method: Method, pictures: Path, gallery_path: Path, workers: int | None) -> float:
    """Seconds from an empty gallery to a finished one."""
    start = time.perf_counter()
    report = index_folder(
        create_gallery(gallery_path, method, pictures), method, pictures, batch_size=BATCH, workers=workers
    )
    assert report.encoded == sum(1 for _ in pictures.iterdir())
    return time.perf_counter() - start


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=768)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--workers", type=int, default=None)
    options = parser.parse_args()
    method = vit_b_32()
    with tempfile.TemporaryDirectory() as scratch:
        pictures = Path(scratch) / "pictures"
        pictures.mkdir()
        draw_pictures(pictures, options.pictures)
        transform = method.transform("gallery")
        read = _Reader(pictures)
        names = sorted(p.name for p in pictures.iterdir())
        batches = [transform.normalise(b.pixels) for b in pixel_batches(read, names, transform, BATCH, workers=0)]
        bare(method, batches[:2])
        prepare()
        rounds = []
        for turn in range(options.rounds):
            first, *both = (
                bare(method, batches),
                *(indexed(method, pictures, Path(scratch) / f"{turn}-{i}.gallery", options.workers) for i in range(2)),
            )
            rounds.append((first, *both, bare(method, batches)))
    ratios = [(b1 + b2) / (i1 + i2) for b1, i1, i2, b2 in rounds]
    rates = [2 * options.pictures / (i1 + i2) for _, i1, i2, _ in rounds]
    value = f"{spread(rates)['median']:.1f} images/s"
    write(
        "speed_index",
        {
            "machine": machine(),
            "protocol": f"{options.pictures} JPEG of 512 px, batch {BATCH}, float32, random weights of ViT-B/32's size",
            "rounds_bare_indexed_indexed_bare_s": rounds,
            "ratio": spread(ratios),
            "rows": [
                {
                    "what": "indexing JPEG files, ViT-B/32-sized encoder",
                    "value": value,
                    "against": "the bare forward pass over decoded tensors",
                    "ratio": f"{spread(ratios)['median']:.2f} of its throughput ({min(ratios):.2f}–{max(ratios):.2f})",
                }
            ],
        },
    )


class _Reader:
    """Opens a picture by its file name."""

    def __init__(self, folder: Path):
        self.folder = folder

    def __call__(self, name: str):
        from composir.images import load_image

        return load_image(self.folder / name)


if __name__ == "__main__":
    main()
