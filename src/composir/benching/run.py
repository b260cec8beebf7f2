"""One run: every system over the same vectors and queries, timed in turns, checked against the true ranking."""

from __future__ import annotations

import ctypes
import itertools
import os
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from jaxtyping import Float16, Float32
from numpy.typing import NDArray

from composir.benching.systems import System, chosen
from composir.benching.vectors import mixture, queries
from composir.errors import ComposirError
from composir.gallery.columns import ROW, Columns
from composir.gallery.part import searcher
from composir.similarity.nearest import Wanted

ROUNDS = 4  # forwards and backwards in turns, so that a machine that slows down slows all down
REST = 0.3  # seconds before each turn: the threads of the system before go on spinning for a while
TURN, MORE = 0.2, 1000  # seconds a turn takes at least, as far as so many further queries last: of a few quick ones
# alone, whatever else the machine does for a moment is most of what would be seen
CUTS = (10, 50)
SHARE = 0.01  # of the gallery that passes the filter
STATM = Path("/proc/self/statm")
PAGE = 4096


@dataclass(frozen=True, slots=True)
class Row:
    """What was measured of a system; milliseconds of one query, megabytes that it holds.

    These are by how much the process grew at building, and the rows themselves where the system goes on reading them.

    `ratio` is the median over rounds of its fastest half's mean against the baseline's in the same round.
    """

    name: str
    exact: bool
    p50: float
    p99: float
    ratio: float
    recall: Mapping[str, float]
    seconds_to_build: float
    megabytes: float | None
    note: str


@dataclass(frozen=True, slots=True)
class Report:
    """A run: what was searched, a row a system, and what a filter and the search of what it leaves take, in ms."""

    n: int
    dim: int
    k: int
    queries: int
    seed: int
    baseline: str
    rows: tuple[Row, ...]
    filter_ms: float
    filtered_ms: float
    filtered_recall: float


def measure(
    n: int,
    dim: int,
    k: int = 50,
    *,
    count: int = 32,
    seed: int = 0,
    systems: Sequence[str] = (),
    tell: Callable[[str], None] = lambda _: None,
) -> Report:
    """Build and time every system.

    Args:
        n: Vectors.
        dim: Their width.
        k: Answers asked for.
        count: Queries whose answers are checked; systems that are quick are timed with further ones.
        seed: Of vectors and queries.
        systems: Names; none for all. The first is the baseline of the ratios.
        tell: Told what is being done.

    Raises:
        ComposirError: Sizes below 1, or k above n; an unknown system; a system whose package is not installed.
    """
    if min(n, dim, k, count) < 1 or k > n:
        raise ComposirError(f"n {n}, dim {dim}, k {k}, queries {count}: all are 1 or more, and k at most n")
    kinds = chosen(list(systems))
    tell(f"drawing {n:,} vectors of width {dim}")
    rows = mixture(n, dim, seed)
    asked, more = queries(rows, count, seed), queries(rows, MORE, seed + 1)
    truth = _truth(rows, asked, max(k, *CUTS))
    built: dict[str, tuple[System, float, float | None]] = {}
    times: dict[str, list[list[float]]] = {name: [] for name in kinds}
    found: dict[str, list[list[int]]] = {}
    try:
        for name, kind in kinds.items():
            tell(f"building {name}")
            built[name] = _built(kind, rows)
        for number in range(ROUNDS):
            for name in list(built)[:: -1 if number % 2 else 1]:
                tell(f"round {number + 1} of {ROUNDS}: {name}")
                seconds, found[name] = _timed(built[name][0], asked, more, k)
                times[name].append(seconds)
    finally:
        for system, *_ in built.values():
            system.close()
    base = next(iter(built))
    made = [
        _row(name, built[name], _milliseconds(times[name], times[base]), _recalls(found[name], truth)) for name in built
    ]
    return Report(n, dim, k, count, seed, base, tuple(made), *_filtered(rows, asked, k, seed))


def _truth(rows: Float16[NDArray, "N D"], asked: Float32[NDArray, "Q D"], k: int) -> list[list[int]]:
    """The best rows by scores in double precision: independent of everything that is measured."""
    best: list[list[tuple[float, int]]] = [[] for _ in asked]
    for start in range(0, len(rows), 65_536):
        scores = rows[start : start + 65_536].astype(np.float64) @ asked.T.astype(np.float64)
        for own, column in zip(best, scores.T, strict=True):
            top = np.argpartition(-column, min(k, len(column)) - 1)[:k]
            own += [(-float(column[row]), start + int(row)) for row in top]
            own.sort()
            del own[k:]
    return [[row for _, row in own] for own in best]


def _built(kind: type[System], rows: Float16[NDArray, "N D"]) -> tuple[System, float, float | None]:
    _give_back()
    before, start = _resident(), time.perf_counter()
    try:
        system = kind(rows)
    except ImportError as error:
        told = f"{kind.name} needs the scale extra ({error.name} is missing): pip install 'composir[scale]'"
        raise ComposirError(told) from error
    seconds = time.perf_counter() - start
    _give_back()
    after = _resident()
    kept = rows.nbytes if kind.keeps else 0
    return system, seconds, None if before is None or after is None else (after - before + kept) / 1e6


def _give_back() -> None:
    """Let the C library return what is free, or a system built later would be told smaller for taking it over."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if os.name == "posix" else None  # glibc's
    if trim is not None:
        trim(0)


def _resident() -> int | None:
    """Bytes in memory; None where the system does not tell."""
    return int(STATM.read_text().split()[1]) * PAGE if STATM.exists() else None


def _timed(
    system: System, asked: Float32[NDArray, "Q D"], more: Float32[NDArray, "M D"], k: int
) -> tuple[list[float], list[list[int]]]:
    time.sleep(REST)
    system.search(asked[0], k)
    seconds, found, spent = [], [], 0.0
    for number, query in enumerate(itertools.chain(asked, more)):
        if number >= len(asked) and spent >= TURN:
            break
        start = time.perf_counter()
        rows = system.search(query, k)
        seconds.append(time.perf_counter() - start)
        spent += seconds[-1]
        found.append(rows.tolist())
    return seconds, found[: len(asked)]


def _row(
    name: str,
    built: tuple[System, float, float | None],
    times: tuple[float, float, float],
    recall: Mapping[str, float],
) -> Row:
    system, seconds, megabytes = built
    return Row(name, system.exact, *times, recall, seconds, megabytes, system.note())


def _milliseconds(times: Sequence[Sequence[float]], base: Sequence[Sequence[float]]) -> tuple[float, float, float]:
    """p50 and p99 of all queries of all rounds, and the ratio."""
    every = [1000 * second for own in times for second in own]
    ratios = [_fast(own) / _fast(other) for own, other in zip(times, base, strict=True)]
    return float(np.quantile(every, 0.5)), float(np.quantile(every, 0.99)), statistics.median(ratios)


def _fast(seconds: Sequence[float]) -> float:
    return statistics.fmean(sorted(seconds)[: max(1, len(seconds) // 2)])


def _recalls(found: Sequence[Sequence[int]], truth: Sequence[Sequence[int]]) -> dict[str, float]:
    cuts = [cut for cut in CUTS if cut <= min(map(len, found))]
    return {
        f"recall@{cut}": float(np.mean([len({*f[:cut]} & {*t[:cut]}) / cut for f, t in zip(found, truth, strict=True)]))
        for cut in cuts
    }


def _filtered(
    rows: Float16[NDArray, "N D"], asked: Float32[NDArray, "Q D"], k: int, seed: int
) -> tuple[float, float, float]:
    """A new filter for each query, then the best of what it leaves: median milliseconds of both, and recall."""
    numbers = np.random.default_rng([seed, 2]).integers(round(1 / SHARE), size=len(rows))
    columns = Columns(pa.table({"number": numbers, ROW: np.arange(len(rows))}))
    nearest, empty = searcher(rows[:, None]), np.zeros(0, np.int64)
    evaluated, searched, right = [], [], []
    for place, query in enumerate(asked):
        passing = np.flatnonzero(numbers == place)
        start = time.perf_counter()
        found = columns.rows(f"number = {place}")
        told = time.perf_counter()
        best = nearest.best(Wanted.of(query[None]), k, found)[0] if len(passing) else empty
        searched.append(time.perf_counter() - told)
        evaluated.append(told - start)
        truth = set(passing[_truth(rows[passing], query[None], k)[0]].tolist())
        right.append(len(truth & set(best.tolist())) / max(1, len(truth)) if truth else 1.0)
    return 1000 * statistics.median(evaluated), 1000 * statistics.median(searched), float(np.mean(right))
