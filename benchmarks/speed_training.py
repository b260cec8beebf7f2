"""Steps of the embedded CLIP's recipe by attention kernel, compiled and not; writes results/speed_training.json.

python benchmarks/speed_training.py [--steps 10] [--rounds 4]

configs/continue-wardrobe-clip.toml over the embedded weights, on 6,000 drawings: sizes, batch and precision are the
recipe's. The forms take the same steps in turn in one process; the first steps of each, which compile, do not count.
"""

from __future__ import annotations

import argparse
import itertools
import time
from pathlib import Path

from rows import machine, spread, write

from composir.config import load_config
from composir.training.fit import accelerator_for, fit
from composir.training.job import prepared
from composir.training.run import FITTED

RECIPE = Path(__file__).resolve().parents[1] / "configs" / "continue-wardrobe-clip.toml"
FORMS = {"compiled, eager": (True, "eager"), "compiled, sdpa": (True, "sdpa"), "sdpa": (False, "sdpa")}
DRAWINGS, FIRST = 6000, 6


def steps_of(compiled: bool, kernel: str) -> fit:
    """The recipe's steps in one form."""
    config = load_config(
        RECIPE,
        [
            "backbone.name=wardrobe-clip", f"backbone.attention={kernel}", f"train.compile={str(compiled).lower()}",
            f"data.train={DRAWINGS}", "data.val=6", "data.test=6", "train.epochs=100",
        ],
    )  # fmt: skip
    job = prepared(config, accelerator_for(config.train.precision), lambda _: None, lambda _: None)
    return fit(job.method, job.batches, steps=job.steps, **{key: getattr(config.train, key) for key in FITTED})


def seconds(steps: fit, count: int) -> float:
    """Of so many steps."""
    start = time.perf_counter()
    assert len(list(itertools.islice(steps, count))) == count
    return time.perf_counter() - start


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=4)
    options = parser.parse_args()
    running = {name: steps_of(*form) for name, form in FORMS.items()}
    for steps in running.values():
        seconds(steps, FIRST)
    times: dict[str, list[float]] = {name: [] for name in FORMS}
    for _ in range(options.rounds):
        for name, steps in running.items():
            times[name].append(seconds(steps, options.steps) / options.steps)
    base = times["sdpa"]
    rows = []
    for name in ("compiled, eager", "compiled, sdpa"):
        ratios = spread([b / own for own, b in zip(times[name], base, strict=True)])
        rows.append(
            {
                "what": f"a step of the embedded CLIP's recipe, batch 256, bf16: image tower {name}",
                "value": f"{spread(times[name])['median']:.2f} s",
                "against": f"sdpa, not compiled: {spread(base)['median']:.2f} s",
                "ratio": f"{ratios['median']:.1f} × faster ({ratios['min']:.1f}–{ratios['max']:.1f})",
            }
        )
    write("speed_training", {"machine": machine(), "protocol": __doc__, "seconds_a_step": times, "rows": rows})


if __name__ == "__main__":
    main()
