"""Training: `fit` is the loop, `run` turns a run file into a folder of results."""

from composir.training.fit import Step as Step
from composir.training.fit import fit as fit
from composir.training.run import run as run
