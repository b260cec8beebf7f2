"""The benchmarks, one after the other, then the pages.

python benchmarks/run.py [--myntra FOLDER] [--noto-emoji FOLDER]

The folders are what prepare_myntra.py and prepare_noto_emoji.py wrote; without one, the figures on its pictures are left as
they are. The hours of training behind the embedded backbones and the trial beside them are left out: their commands stand
in pretraining.py and docs/wardrobe.md. Long runs keep their parts under runs/ and go on where they were cut off.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
COMPOSIR = str(Path(sys.executable).with_name("composir"))
BLIP = ("--backbone", "wardrobe-blip", "--out", "wardrobe_blip_quality")


def step(name: str, *arguments: str) -> list[str]:
    """The command of one benchmark."""
    return [sys.executable, str(HERE / f"{name}.py"), *arguments]


def steps(myntra: str | None, noto_emoji: str | None) -> list[list[str]]:
    """All commands, in order."""
    pictures = []
    if myntra is not None:
        pictures = [step(name, "--myntra", myntra) for name in ("tat_wardrobe", "bi_blip4cir_quality")]
        pictures.append(step("real_pictures", "--sets", "myntra", "--myntra", myntra))
    if noto_emoji is not None:
        pictures.append(step("real_pictures", "--sets", "noto_emoji", "--noto-emoji", noto_emoji))
    return [
        [COMPOSIR, "demo"],
        [sys.executable, str(HERE.parent / "docs" / "pictures.py")],
        step("wardrobe_quality"),
        step("wardrobe_quality", *BLIP),
        step("wardrobe_matching"),
        step("steering_quality"),
        step("speed_draw"),
        step("speed_evaluation"),
        step("speed_index"),
        step("speed_reversed_loss"),
        step("speed_search"),
        step("speed_serve"),
        step("speed_start"),
        step("speed_training"),
        *pictures,
        step("render"),
        step("speed_tests"),  # the suite asks that the pages are fresh
        step("render"),
    ]


def main() -> None:
    """Run them; the first that fails ends it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--myntra", help="Folder written by prepare_myntra.py.")
    parser.add_argument("--noto-emoji", help="Folder written by prepare_noto_emoji.py.")
    options = parser.parse_args()
    for command in steps(options.myntra, options.noto_emoji):
        print("$", *command, flush=True)
        subprocess.run(command, check=True, cwd=HERE.parent)


if __name__ == "__main__":
    main()
