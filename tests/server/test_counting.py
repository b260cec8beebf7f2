"""How many pictures are ranked, counted without listing them."""

from __future__ import annotations

import numpy as np
import pytest

from composir.server.answering.cutting import count


@pytest.mark.parametrize("rows", [None, [], [3], [0, 2, 4, 9], list(range(10))])
@pytest.mark.parametrize("drop", [[], [0], [9], [1, 5], [2, 4, 9]])
def test_it_is_the_size_of_the_difference(rows, drop):
    given = None if rows is None else np.asarray(rows, np.int64)
    assert count(10, given, drop) == len(set(range(10) if rows is None else rows) - set(drop))


def test_a_large_gallery_is_not_listed(monkeypatch):
    for name in ("arange", "setdiff1d", "isin", "unique"):
        monkeypatch.setattr(np, name, lambda *_, **__: pytest.fail("all rows were listed"))
    assert count(10**15, None, [1, 2]) == 10**15 - 2
