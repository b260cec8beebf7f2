"""Several editions of one gallery: another model's vectors are built beside the old ones and take their place at once.

GALLERY/                 the first edition, named "."
GALLERY/editions/KEY/    another one, a gallery like the first
GALLERY/current.json     {"current": NAME, "before": [NAME, ...]}; without it the first edition is read

The file is replaced whole: at every moment a reader finds the old edition or the new one.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

from composir.errors import GalleryError

POINTER, EDITIONS, FIRST = "current.json", "editions", "."


@dataclass(frozen=True, slots=True)
class Pointer:
    """Which edition is read, and which were read before, the latest last."""

    current: str = FIRST
    before: tuple[str, ...] = ()


def read_pointer(path: Path) -> Pointer:
    """What a gallery's pointer says.

    Raises:
        GalleryError: It is damaged or cannot be read, or `path` is a file.
    """
    file = path / POINTER
    try:
        told = json.loads(file.read_text(encoding="utf-8"))
        names = [told["current"], *told["before"]]
        for name in names:
            if name != FIRST and (not isinstance(name, str) or Path(name).name != name):
                raise ValueError(f"{name!r} is no edition")
        return Pointer(names[0], tuple(names[1:]))
    except FileNotFoundError:
        return Pointer()
    except NotADirectoryError as error:
        raise GalleryError(f"{path} is a file and no gallery; name the folder that composir index made") from error
    except OSError as error:
        raise GalleryError(f"{file} cannot be read ({error.strerror}); mend its access rights") from error
    except (KeyError, TypeError, ValueError) as error:
        raise GalleryError(f"{file} is damaged ({error}); remove it to read the first edition") from error


def place(path: Path, name: str) -> Path:
    """Where an edition lies."""
    return path.absolute() if name == FIRST else path.absolute() / EDITIONS / name


def current(path: Path) -> Path:
    """The folder of the edition that is read; `path` itself where there is no pointer."""
    return place(path, read_pointer(path).current)


def names(path: Path) -> list[str]:
    """All editions, the first one first."""
    folder = path / EDITIONS
    others = sorted(own.name for own in folder.iterdir() if own.is_dir()) if folder.is_dir() else []
    return [FIRST, *(name for name in others if not name.startswith("."))]


def point(path: Path, name: str) -> Pointer:
    """Let an edition be read from now on; the one before is remembered.

    Raises:
        GalleryError: There is no such edition, or it is the one that is read.
    """
    pointer = read_pointer(path)
    if name not in names(path):
        raise GalleryError(f"{path} has no edition {name!r}; it has {', '.join(names(path))}")
    if name == pointer.current:
        raise GalleryError(f"edition {name!r} of {path} is the one that is read already")
    return _write(path, Pointer(name, (*pointer.before, pointer.current)))


def go_back(path: Path) -> Pointer:
    """Let the edition be read that was read before.

    Raises:
        GalleryError: There was none.
    """
    pointer = read_pointer(path)
    if not pointer.before:
        raise GalleryError(f"{path} was never swapped: there is nothing to go back to")
    return _write(path, Pointer(pointer.before[-1], pointer.before[:-1]))


def _write(path: Path, pointer: Pointer) -> Pointer:
    fresh = path / f"{POINTER}.new"
    with fresh.open("w", encoding="utf-8") as file:
        json.dump({"current": pointer.current, "before": list(pointer.before)}, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(fresh, path / POINTER)
    return pointer
