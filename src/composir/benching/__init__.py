"""Measures search on this machine: exact and approximate, beside what one would use instead, in one run."""

from composir.benching.run import Report, measure

__all__ = ["Report", "measure"]
