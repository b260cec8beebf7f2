"""Fixtures that several test files share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of test data that is too large to commit; tests that need it are skipped where it is absent."""
    folder = Path(os.environ.get("COMPOSIR_TEST_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no test data at {folder}; set COMPOSIR_TEST_DATA to where it lies")
    return folder
