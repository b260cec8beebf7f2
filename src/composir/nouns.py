"""A number with its noun, as messages and pages write it. Torch-free."""

from __future__ import annotations


def counted(count: int, one: str, many: str = "") -> str:
    """One query, 2,017 queries: a number and its noun, or whatever else changes with it.

    Args:
        count: The number.
        one: What stands behind 1.
        many: What stands behind any other; `one` with an s if not given.
    """
    return f"{count:,} {one if count == 1 else many or one + 's'}"
