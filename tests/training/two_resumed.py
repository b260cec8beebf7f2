"""A whole run, one that all processes leave behind a step and go on with, and one whose loss breaks in one process.

python two_resumed.py RUN.toml FOLDER STEP, in the environment that torchrun makes and with dropping.py on the path;
FOLDER gets "whole", "cut" and "broken". What the broken run says is printed.
"""

from __future__ import annotations

import math
import sys
from pathlib import Path
from unittest import mock

from accelerate import Accelerator
from dropping import Dropping

from composir.config import load_config
from composir.training import NotFiniteError, fit, run

step_of, loss_of = fit.__next__, Dropping.loss


def main(path: Path, folder: Path, last: int) -> None:
    config = load_config(path)

    def left(steps):
        if steps.done == last:
            raise KeyboardInterrupt
        return step_of(steps)

    def broken(method, batch):
        losses = loss_of(method, batch)
        rank = Accelerator().process_index
        return {"loss": losses["loss"] * (math.nan if rank == 1 else 1.0)}

    run(config, folder / "whole", say=lambda _: None)
    with mock.patch.object(fit, "__next__", left):
        try:
            run(config, folder / "cut", say=lambda _: None)
        except KeyboardInterrupt:
            pass
        else:
            raise AssertionError("the run was not left")
    run(config, folder / "cut", say=lambda _: None, resume=True)
    with mock.patch.object(Dropping, "loss", broken):
        try:
            run(config, folder / "broken", say=lambda _: None)
        except NotFiniteError as error:
            print(error)


if __name__ == "__main__":
    # The runs share one process group, which each would take down at its end.
    with mock.patch.object(Accelerator, "end_training", return_value=None):
        main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
