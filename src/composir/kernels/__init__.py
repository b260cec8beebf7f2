"""What is compiled by numba: the scans of codes. numba is loaded when a scan is asked for."""

from __future__ import annotations

from types import ModuleType

from composir.errors import ComposirError

BLOCK = 64  # rows whose best score is told
WIDTH = 64  # bytes of a row of codes that are read at once
INSTALL = "the scan of codes needs the scale extra ({name} is missing): pip install 'composir[scale]'"


def scanner() -> ModuleType:
    """The module `composir.kernels.scan`.

    Raises:
        ComposirError: The scale extra is not installed.
    """
    try:
        from composir.kernels import scan
    except ImportError as error:
        raise ComposirError(INSTALL.format(name=error.name)) from error
    return scan


def available() -> bool:
    """Whether the scale extra is installed."""
    try:
        scanner()
    except ComposirError:
        return False
    return True
