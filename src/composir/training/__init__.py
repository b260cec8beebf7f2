"""Training: `fit` is the loop, `run` turns a run file into a folder of results.

run.py        the loop of a run: log, validation, states      job.py       what a run file names, built and decoded
fit.py        steps                                           schedule.py  learning rates
batches.py    order and shares; pairs.py, triplets.py         pictures.py  bytes or cached features; augment.py
validate.py   the same `rank` as evaluation                   state.py     resume; chance.py: random numbers
folder.py     runs/<name>/                                    log.py, card.py, recompute.py, build.py
"""

from composir.training.fit import NotFiniteError as NotFiniteError
from composir.training.fit import Step as Step
from composir.training.fit import fit as fit
from composir.training.job import Progress as Progress
from composir.training.run import run as run
