"""Every benchmark, one after the other, then the pages: python benchmarks/run.py."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
COMPOSIR = str(Path(sys.executable).with_name("composir"))
STEPS = (
    [COMPOSIR, "demo"],
    [sys.executable, str(HERE.parent / "docs" / "pictures.py")],
    [sys.executable, str(HERE / "wardrobe_quality.py")],
    [sys.executable, str(HERE / "speed_draw.py")],
    [sys.executable, str(HERE / "speed_index.py")],
    [sys.executable, str(HERE / "speed_start.py")],
    [sys.executable, str(HERE / "render.py")],
)

for step in STEPS:
    print("$", *step, flush=True)
    subprocess.run(step, check=True, cwd=HERE.parent)
