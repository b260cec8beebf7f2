"""Wardrobe drawings a second on all cores; writes results/speed_draw.json.

python benchmarks/speed_draw.py [--drawings 4000]

The baseline is what a stored data set would cost: decoding the same pictures from PNG files in memory, on one core.
"""

from __future__ import annotations

import argparse
import io
import os
import time
from concurrent.futures import ProcessPoolExecutor

from PIL import Image
from rows import machine, spread, write

from composir.datasets.wardrobe import Wardrobe

ROUNDS = 5


def drawn(share: tuple[list[str], int]) -> int:
    """Draw some pictures; how many."""
    ids, size = share
    data = Wardrobe(image_size=size)
    return sum(data.image(image_id).width > 0 for image_id in ids)


def decoding(ids: list[str]) -> float:
    """Seconds to decode the same pictures from PNG."""
    data = Wardrobe(image_size=64)
    files = []
    for image_id in ids:
        file = io.BytesIO()
        data.image(image_id).save(file, "PNG")
        files.append(file)
    start = time.perf_counter()
    for file in files:
        file.seek(0)
        Image.open(file).convert("RGB")
    return time.perf_counter() - start


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--drawings", type=int, default=3000)
    options = parser.parse_args()
    cores = len(os.sched_getaffinity(0))
    ids = list(Wardrobe().ids("test"))[: options.drawings]
    rows, detail = [], {}
    with ProcessPoolExecutor(cores) as pool:
        list(pool.map(drawn, [(ids[:1], 64)] * cores))
        for size, count in ((64, len(ids)), (256, 600), (512, 200)):
            shares = [(ids[:count][i::cores], size) for i in range(cores)]
            rates = []
            for _ in range(ROUNDS):
                start = time.perf_counter()
                done = sum(pool.map(drawn, shares))
                rates.append(done / (time.perf_counter() - start))
            detail[str(size)] = spread(rates)
            row = {
                "what": f"drawing Wardrobe at {size} px, {cores} processes",
                "value": f"{spread(rates)['median']:,.0f} drawings/s",
            }
            rows.append({**row, "against": "", "ratio": ""})
    png = len(ids) / decoding(ids)
    rows[0] |= {
        "against": "decoding the same pictures from PNG, one process",
        "ratio": f"{detail['64']['median'] / png:.2f} of its rate",
    }
    write("speed_draw", {"machine": machine(), "drawings_per_s": detail, "png_decodes_per_s": png, "rows": rows})


if __name__ == "__main__":
    main()
