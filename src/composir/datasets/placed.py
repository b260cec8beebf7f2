"""Pictures that are named by their place: the path below one folder, without ending."""

from __future__ import annotations

import os
from pathlib import Path

from composir.datasets.files import ImageFiles
from composir.datasets.records import nfc


class PlacedFiles(ImageFiles):
    """The pictures below a folder, by relative path without ending, "a/b"; nothing is found elsewhere than there."""

    def path(self, stem: str) -> Path | None:
        """The file of a picture, of several the first in sorted order; or None."""
        files = self._files(nfc(stem))
        return Path(files[0]) if files else None

    def _index(self) -> dict[str, str | list[str]]:
        if self._found is None:
            found: dict[str, list[str]] = {}
            for folder, name, suffix in self._walk():
                place = os.path.relpath(folder, self.roots[0])
                prefix = "" if place == os.curdir else f"{Path(place).as_posix()}/"
                found.setdefault(nfc(f"{prefix}{name[: -len(suffix)]}"), []).append(os.path.join(folder, name))
            self._found = {s: files[0] if len(files) == 1 else sorted(files) for s, files in found.items()}
        return self._found
