"""`composir report`: evaluations as one offline HTML file."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from composir.errors import DataError
from composir.reporting.links import require_page
from composir.reporting.page import page
from composir.reporting.reading import read_sections

__all__ = ["write_report"]


def write_report(
    folders: Sequence[Path], out: Path, *, images: bool = True, worst: int = 20, best: int = 20, search: str = ""
) -> None:
    """Write a report of evaluations: leaderboard, recall curves, bars by category, best and worst queries.

    Args:
        folders: As `composir eval` has written them, at least one; those over the same data stand in one table.
        out: The file; an older one is replaced, and only when the new one is complete.
        images: Whether to show pictures; where they cannot be had, ids stand in their places and the page says so.
        worst: How many of the first method's worst queries to show.
        best: How many of its best.
        search: Address of a search page to which each shown query links, e.g. "http://127.0.0.1:8000"; none is written
            if not given.

    Raises:
        DataError: A folder holds no evaluation or a damaged one.
        ComposirError: `search` is no address.
    """
    if not folders:
        raise DataError("a report needs at least one folder that `composir eval` has written")
    if search:
        require_page(search)
    made = page(read_sections(folders), images=images, worst=worst, best=best, search=search)
    beside = out.with_name(f"{out.name}.writing")
    # Newlines as they are, on every system: the same runs give the same file.
    beside.write_bytes(made.encode("utf-8", "xmlcharrefreplace"))
    os.replace(beside, out)
