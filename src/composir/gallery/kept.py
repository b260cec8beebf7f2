"""The shelf of a large gallery as files on disk: they are mapped into memory, so that opening reads nothing.

It lies beside the tables; that of a gallery in an object store lies in the cache of each machine that reads it.

FOLDER/shelf-VERSION/   about.json, {ids,vectors,counts,upper,lower,ranges}.npy, {paths,columns}.arrow

It holds what the tables hold and can be made anew at any time. It appears whole or not at all; one that does not fit
its own description, or from which the gallery has not only grown, is not used.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from composir.gallery.columns import Columns
from composir.gallery.growth import Marks, times
from composir.gallery.part import Ids, Part, Paths
from composir.gallery.store import Gallery
from composir.similarity.quantized import Codes

LOGGER = logging.getLogger(__name__)
FORMAT = 3  # 1 had codes in one plane, 2 only those metadata that name a picture's first path
PREFIX, ABOUT = "shelf-", "about.json"


def read(gallery: Gallery) -> tuple[Part, Marks] | None:
    """What is kept, mapped into memory, and up to where; None where there is nothing of use."""
    for folder in sorted(gallery.place.shelves.glob(f"{PREFIX}*"), reverse=True):
        try:
            about = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
            if about["format"] != FORMAT or _sizes(folder) != about["files"]:
                raise ValueError("its files are not those that it describes")
            if times(gallery, about["marks"]) != about["times"]:
                raise ValueError("the gallery's tables are not those that it was made of")
            return _part(folder, about), about["marks"]
        except FileNotFoundError:
            continue  # another has taken its place meanwhile
        except (OSError, KeyError, TypeError, ValueError) as error:
            LOGGER.warning("%s is not used, the gallery's tables are read instead: %s", folder, error)
    return None


def write(gallery: Gallery, part: Part, marks: Marks) -> Path | None:
    """Keep a part, in the place of what was kept before; None where the disk refuses.

    Only while `writing`, unless the shelf lies apart: there several processes may keep the same one at once.

    Takes as much room as the gallery's vectors, and half as much for eight-bit codes where these are used.
    """
    # On disk first, for its room; elsewhere another process may be writing, or about to read.
    if not gallery.place.apart:
        drop(gallery)
    folder, building = gallery.place.shelves, None
    place = folder / f"{PREFIX}{'.'.join(map(str, marks.values()))}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        building = Path(tempfile.mkdtemp(prefix=f".{PREFIX}", dir=folder))
        _fill(building, part, {"marks": dict(marks), "times": times(gallery, marks)})
        if not place.exists():
            building.rename(place)
        for older in folder.glob(f"{PREFIX}*"):
            if older != place:
                shutil.rmtree(older, ignore_errors=True)
    except OSError as error:
        LOGGER.warning("%s: its shelf cannot be kept, so it opens as slowly as before: %s", gallery.place, error)
        return None
    finally:
        if building:
            shutil.rmtree(building, ignore_errors=True)
    return place


def drop(gallery: Gallery) -> None:
    """Remove what is kept, and what a killed writer left; only while `writing`. Who has mapped it keeps it."""
    for pattern in (f"{PREFIX}*", f".{PREFIX}*"):
        for folder in gallery.place.shelves.glob(pattern):
            shutil.rmtree(folder, ignore_errors=True)


def _fill(folder: Path, part: Part, origin: dict[str, Any]) -> None:
    codes = part.nearest.scorer
    about = {"format": FORMAT, **origin, "codes": None}
    _save(folder / "ids.npy", part.ids.packed)
    _save(folder / "vectors.npy", part.vectors)
    _save(folder / "counts.npy", part.paths.counts)
    _save_table(folder / "paths.arrow", pa.table({"path": part.paths.packed}))
    _save_table(folder / "columns.arrow", part.columns.table)
    if isinstance(codes, Codes):
        _save(folder / "upper.npy", codes.upper)
        _save(folder / "lower.npy", codes.lower)
        _save(folder / "ranges.npy", np.stack([codes.mean, codes.step]))
        about["codes"] = {"shape": list(codes.shape), **codes.bounds}
    about["files"] = _sizes(folder)
    with (folder / ABOUT).open("w", encoding="utf-8") as file:
        json.dump(about, file)
        file.flush()
        os.fsync(file.fileno())


def _part(folder: Path, about: dict[str, Any]) -> Part:
    paths, codes = Paths(_table(folder / "paths.arrow")["path"].combine_chunks(), _load(folder / "counts.npy")), None
    if about["codes"]:
        mean, step = _load(folder / "ranges.npy")
        planes = _load(folder / "upper.npy"), _load(folder / "lower.npy")
        codes = Codes.again(tuple(about["codes"]["shape"]), planes, mean, step, about["codes"])
    columns = Columns(_table(folder / "columns.arrow"))
    return Part(Ids(_load(folder / "ids.npy")), paths, _load(folder / "vectors.npy"), columns, codes)


def _save(path: Path, array: NDArray[Any]) -> None:
    with path.open("wb") as file:
        np.save(file, array, allow_pickle=False)
        file.flush()
        os.fsync(file.fileno())


def _load(path: Path) -> NDArray[Any]:
    # Copied where somebody writes to it, which nobody does: torch and numba take no memory that is read-only.
    return np.asarray(np.load(path, mmap_mode="c", allow_pickle=False))


def _save_table(path: Path, table: pa.Table) -> None:
    with path.open("wb") as file:
        with pa.ipc.new_file(file, table.schema) as writer:
            writer.write_table(table.combine_chunks(), max_chunksize=max(1, len(table)))
        file.flush()
        os.fsync(file.fileno())


def _table(path: Path) -> pa.Table:
    return pa.ipc.open_file(pa.memory_map(str(path))).read_all()


def _sizes(folder: Path) -> dict[str, int]:
    return {file.name: file.stat().st_size for file in sorted(folder.iterdir()) if file.name != ABOUT}
