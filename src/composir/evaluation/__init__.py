"""Rank tasks, score them, and keep what was found; each name is imported on first use, so that reading costs no torch.

`evaluate` runs a whole benchmark with its baselines; `rank` and `report` are one task by one method; `load_result` and
`compare` read what was kept. All of it is the same encode, compose and scoring as search.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from composir.evaluation.bench import evaluate as evaluate
    from composir.evaluation.comparison import compare as compare
    from composir.evaluation.embedding import encode as encode
    from composir.evaluation.ranking import rank as rank
    from composir.evaluation.results import Result as Result
    from composir.evaluation.results import load_result as load_result
    from composir.evaluation.runs import Run as Run
    from composir.evaluation.scoring import Score as Score
    from composir.evaluation.scoring import per_query as per_query
    from composir.evaluation.scoring import report as report

_HOME = {
    "Result": "results",
    "Run": "runs",
    "Score": "scoring",
    "compare": "comparison",
    "encode": "embedding",
    "evaluate": "bench",
    "load_result": "results",
    "per_query": "scoring",
    "rank": "ranking",
    "report": "scoring",
}
__all__ = ["Result", "Run", "Score", "compare", "encode", "evaluate", "load_result", "per_query", "rank", "report"]


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'composir.evaluation' has no attribute {name!r}; it has {', '.join(__all__)}")
    return getattr(import_module(f"composir.evaluation.{_HOME[name]}"), name)
