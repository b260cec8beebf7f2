"""Wardrobe drawings a second on all cores; writes results/speed_draw.json.

python benchmarks/speed_draw.py [--drawings 2400]

The baseline is what a stored data set would cost: decoding the same pictures from PNG bytes in memory. Both sides run in
the same processes, in turn; laying out the catalogue and encoding the PNG bytes are not timed.
"""

from __future__ import annotations

import argparse
import io
import os
import time
from concurrent.futures import Future, ProcessPoolExecutor

from PIL import Image
from rows import machine, spread, write

from composir.datasets.wardrobe import Wardrobe

ROUNDS = 5


_DATA: dict[int, Wardrobe] = {}
_FILES: dict[int, list[bytes]] = {}


def prepared(share: tuple[list[str], int]) -> None:
    """Lay out the catalogue and encode this process's pictures, so that neither is timed."""
    ids, size = share
    data = _DATA.setdefault(size, Wardrobe(image_size=size))
    _FILES[size] = []
    for image_id in ids:
        file = io.BytesIO()
        data.image(image_id).save(file, "PNG")
        _FILES[size].append(file.getvalue())


def drawn(share: tuple[list[str], int]) -> int:
    """Draw some pictures; how many."""
    ids, size = share
    return sum(_DATA[size].image(image_id).width > 0 for image_id in ids)


def decoded(size: int) -> int:
    """Decode the same pictures from PNG; how many."""
    return sum(Image.open(io.BytesIO(file)).convert("RGB").width > 0 for file in _FILES[size])


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--drawings", type=int, default=2400)
    options = parser.parse_args()
    cores = len(os.sched_getaffinity(0))
    ids = Wardrobe(test=options.drawings).ids("test")
    rows, detail = [], {}
    # One pool of one process for each core, so that a share stays with the process that prepared it.
    pools = [ProcessPoolExecutor(1) for _ in range(cores)]
    for size, count in ((64, len(ids)), (256, 600), (512, 200)):
        shares = [(list(ids[:count][i::cores]), size) for i in range(cores)]
        done([p.submit(prepared, s) for p, s in zip(pools, shares, strict=True)])
        draw_rates, decode_rates = [], []
        for _ in range(ROUNDS):
            draw_rates.append(count / done([p.submit(drawn, s) for p, s in zip(pools, shares, strict=True)]))
            decode_rates.append(count / done([p.submit(decoded, size) for p in pools]))
        ratios = [a / b for a, b in zip(draw_rates, decode_rates, strict=True)]
        detail[str(size)] = {
            "drawings_per_s": spread(draw_rates),
            "png_per_s": spread(decode_rates),
            "ratio": spread(ratios),
        }
        rows.append({
            "what": f"drawing Wardrobe at {size} px, {cores} processes",
            "value": f"{spread(draw_rates)['median']:,.0f} drawings/s",
            "against": "decoding the same pictures from PNG, same processes",
            "ratio": f"{spread(ratios)['median']:.2f} of its rate ({min(ratios):.2f}–{max(ratios):.2f})",
        })  # fmt: skip
    for pool in pools:
        pool.shutdown()
    write("speed_draw", {"machine": machine(), "sizes": detail, "rows": rows})


def done(futures: list[Future]) -> float:
    """Seconds until all have ended, from now."""
    start = time.perf_counter()
    for future in futures:
        future.result()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
