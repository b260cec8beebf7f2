"""Several editions of one gallery: another model's vectors are built beside the old ones and take their place at once.

GALLERY/                 the first edition, named "."
GALLERY/editions/KEY/    another one, a gallery like the first
GALLERY/current.json     {"current": NAME, "before": [NAME, ...]}; without it the first edition is read

The file is replaced whole: at every moment a reader finds the old edition or the new one.
"""

from __future__ import annotations

import json
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

from composir.errors import GalleryError
from composir.gallery.place import Place

POINTER, EDITIONS, FIRST = "current.json", "editions", "."


@dataclass(frozen=True, slots=True)
class Pointer:
    """Which edition is read, and which were read before, the latest last."""

    current: str = FIRST
    before: tuple[str, ...] = ()


def read_pointer(base: Place) -> Pointer:
    """What a gallery's pointer says.

    Raises:
        GalleryError: It is damaged or cannot be read, or `base` is a file.
    """
    text = base.read(POINTER)
    if text is None:
        return Pointer()
    try:
        told = json.loads(text)
        names = [told["current"], *told["before"]]
        for name in names:
            if name != FIRST and (not isinstance(name, str) or not name or set(name) & set("/\\") or name == ".."):
                raise ValueError(f"{name!r} is no edition")
        return Pointer(names[0], tuple(names[1:]))
    except (KeyError, TypeError, ValueError) as error:
        raise GalleryError(f"{base}/{POINTER} is damaged ({error}); remove it to read the first edition") from error


def edition(base: Place, name: str) -> Place:
    """Where an edition lies."""
    return base if name == FIRST else base / EDITIONS / name


def current(base: Place) -> Place:
    """The place of the edition that is read; `base` itself where there is no pointer."""
    return edition(base, read_pointer(base).current)


def names(base: Place) -> list[str]:
    """All editions, the first one first."""
    return [FIRST, *(base / EDITIONS).within()]


def point(base: Place, name: str) -> Pointer:
    """Let an edition be read from now on; the one before is remembered.

    Raises:
        GalleryError: There is no such edition, or it is the one that is read.
    """
    with _changing(base):
        pointer = read_pointer(base)
        if name not in names(base):
            raise GalleryError(f"{base} has no edition {name!r}; it has {', '.join(names(base))}")
        if name == pointer.current:
            raise GalleryError(f"edition {name!r} of {base} is the one that is read already")
        return _write(base, Pointer(name, (*pointer.before, pointer.current)))


def go_back(base: Place) -> Pointer:
    """Let the edition be read that was read before.

    Raises:
        GalleryError: There was none.
    """
    with _changing(base):
        pointer = read_pointer(base)
        if not pointer.before:
            raise GalleryError(f"{base} was never swapped: there is nothing to go back to")
        return _write(base, Pointer(pointer.before[-1], pointer.before[:-1]))


def _changing(base: Place) -> AbstractContextManager[object]:
    """Not the writer's lock: pictures may be added meanwhile."""
    if base.holds(POINTER) or len(names(base)) > 1:
        return base.exclusive(f"{base} is being swapped by another process; say it again", f"{POINTER}.lock")
    return nullcontext()  # there is nothing to change, and maybe nothing at all


def _write(base: Place, pointer: Pointer) -> Pointer:
    base.replace(POINTER, json.dumps({"current": pointer.current, "before": list(pointer.before)}))
    return pointer
