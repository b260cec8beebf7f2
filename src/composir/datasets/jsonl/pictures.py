"""Pictures of a plain set: each file has one name, also where a.jpg lies beside a.png."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from composir.datasets.files import stem_of
from composir.datasets.placed import PlacedFiles
from composir.datasets.records import nfc


class NamedFiles(PlacedFiles):
    """The pictures below a folder, by relative path without ending.

    Where several files bear a stem, it stands for the first of them in sorted order; each of the others has its path
    with its ending for a name.
    """

    def path(self, stem: str) -> Path | None:
        """The file of a picture by its name, or None."""
        just = self._just(stem)
        return super().path(stem) if just is None else Path(just)

    def all(self) -> Iterator[tuple[str, Path]]:
        """See `ImageFiles.all`."""
        for stem, file in super().all():
            yield stem if self._just(stem) is None else f"{stem}{file.suffix}", file

    def named(self, name: str) -> str:
        """The name of the picture that a path with or without its ending means."""
        stem = stem_of(name)
        if (just := self._just(name)) is None:
            return stem
        # Beside a.png the stem of a.png.jpg would mean the former.
        return stem if just == self._files(nfc(stem))[0] and self._just(stem) is None else name

    def _just(self, name: str) -> str | None:
        """The file at just this path, ending included."""
        stem = stem_of(name)
        ending = name[len(stem) :]
        return next((file for file in self._files(nfc(stem)) if file.endswith(ending)), None) if ending else None
