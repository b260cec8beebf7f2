"""Trains as a run file says, or goes on with it, and kills itself, without warning, as soon as a step is done.

python killed_trainer.py RUN.toml FOLDER STEP; STEP 0 lets it live
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from composir.config import load_config
from composir.training import Progress, run


def main() -> None:
    path, folder, last = sys.argv[1:]

    def watch(now: Progress) -> None:
        if now.stage == "training" and now.done == int(last):
            os.kill(os.getpid(), signal.SIGKILL)

    run(load_config(Path(path)), Path(folder), say=lambda _: None, resume=True, watch=watch)


if __name__ == "__main__":
    main()
