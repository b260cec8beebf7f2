"""Progress where nobody looks: plain lines with how many of how many, the rate, what was skipped, and the time left."""

import re
from types import SimpleNamespace

from composir.cli import progress
from composir.indexing import Progress


def test_indexing_tells_pictures_a_second(capsys, monkeypatch):
    clock = SimpleNamespace(now=100.0, monotonic=lambda: clock.now)
    monkeypatch.setattr(progress, "LINE_SECONDS", 0.0)
    monkeypatch.setattr(progress, "time", clock)
    with progress.shown() as tell:
        tell(Progress(0, 2000, 0, 0))
        clock.now += 40.0
        tell(Progress(1200, 2000, 1000, 3))
    first, second = capsys.readouterr().err.splitlines()
    assert first == "indexing: 0 of 2,000, 0.0 images/s, 0 skipped, time left unknown"
    assert second == "indexing: 1,200 of 2,000, 25.0 images/s, 3 skipped, 27 s left"  # the rate of the encoded ones


def test_what_has_nothing_to_add_adds_no_comma(capsys, monkeypatch):
    monkeypatch.setattr(progress, "LINE_SECONDS", 0.0)
    with progress._meter("preparing") as tell:
        tell(1, 3, "")
    assert re.fullmatch(r"preparing: 1 of 3, (\d+ s left|time left unknown)\n", capsys.readouterr().err)
