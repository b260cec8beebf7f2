"""Write Wardrobe to disk in the layout of a benchmark: annotations first, then pictures drawn by several processes.

All is written into `OUT.writing`, which is renamed when it is whole: a folder OUT is never half a data set.
"""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import cast, get_args

import PIL

from composir.datasets.base import Split
from composir.datasets.wardrobe import Wardrobe
from composir.datasets.wardrobe.catalogue import FAMILY, LARGEST
from composir.datasets.wardrobe.draw import Style, check_drawable
from composir.datasets.wardrobe.drawing import Progress, draw_files
from composir.datasets.wardrobe.layouts import FORMATS, Format, Layout, Sizes
from composir.datasets.wardrobe.layouts.base import split_of_id
from composir.errors import ComposirError
from composir.plugins import nearest


@dataclass(frozen=True, slots=True)
class Written:
    """What was written.

    Attributes:
        path: The folder.
        about: The folder in it that holds attributes, captions and, for a benchmark, the truth of its test split.
        pictures: Split -> number of pictures.
        records: Annotation file -> number of records.
    """

    path: Path
    about: Path
    pictures: Mapping[str, int]
    records: Mapping[str, int]


def write(
    out: str | os.PathLike[str],
    layout: str = "folder",
    *,
    size: int = 2000,
    seed: int = 0,
    image_size: int = 256,
    style: str = "photo",
    workers: int | None = None,
    progress: Progress | None = None,
) -> Written:
    """Draw a catalogue into a new folder.

    Args:
        out: A folder that does not exist yet, or is empty.
        layout: "folder", "fashioniq", "cirr", "circo" or "lasco".
        size: Garments in all. A folder holds just so many, all of the test split. The others round down to whole
            families of six: fashioniq and cirr 80 / 10 / 10 over train, val and test, lasco 80 / 20 over train and
            val, circo 50 / 50 over val and test.
        seed: Equal sizes and seeds give equal files for one Pillow version.
        image_size: Side of the pictures in pixels, 64..512.
        style: "photo" or "synthetic".
        workers: Processes that draw; as many as cores (up to 8) if not given, 1 draws in this process. With more, a
            script needs `if __name__ == "__main__":`, as for all of Python's multiprocessing.
        progress: Called with (pictures drawn, pictures in all).

    Raises:
        UnknownNameError: Unknown layout or style; the nearest known ones are listed.
        ComposirError: A size outside what is allowed, a folder that is in use, a disk that cannot be written.
    """
    data, plan = _plan(layout, size, seed, image_size, style)
    made = {"format": layout, "size": size, "seed": seed, "image_size": image_size, "style": style}
    made |= {"composir": version("composir"), "pillow": PIL.__version__}
    plan.files[f"{plan.about}/garments.jsonl"] = _garments(data, plan)
    plan.files[f"{plan.about}/wardrobe.json"] = made
    out = Path(out).resolve()
    with _whole(out) as folder:
        for path, value in plan.files.items():
            _write_json(folder / path, value)
        draw_files(data, plan.pictures, folder, workers, progress)
    return Written(
        path=out,
        about=out / plan.about,
        pictures=Counter(split_of_id(i) for i in plan.pictures.values()),
        records={path: len(rows) for path, rows in plan.files.items() if isinstance(rows, list)},
    )


def _plan(name: str, size: int, seed: int, image_size: int, style: str) -> tuple[Wardrobe, Layout]:
    """The catalogue and its files, nothing drawn yet; every argument is checked here."""
    if name not in FORMATS:
        raise nearest(name, FORMATS, "format")
    if style not in get_args(Style):
        raise nearest(style, get_args(Style), "style")
    check_drawable(image_size, style)
    layout = FORMATS[name]
    sizes = layout.divide(size)
    for split, count in sizes.items():
        if count < FAMILY:
            larger = _larger(layout, size, seed)
            raise ComposirError(f"--size {size} leaves {count} garments for {split} of {name}; {larger}")
        if count > LARGEST[split]:
            raise ComposirError(
                f"--size {size} asks for {count} garments of {split}, which has designs for {LARGEST[split]}; "
                "give a smaller --size, and another --seed for more pictures"
            )
    data = Wardrobe(**_whole_families(sizes), seed=seed, image_size=image_size, style=cast("Style", style))
    plan = layout.build(data, sizes)
    if (path := _empty(plan)) is not None:
        larger = _larger(layout, size, seed)
        raise ComposirError(f"--size {size} is too small for {name}: {path} would be empty; {larger}")
    return data, plan


def _empty(plan: Layout) -> str | None:
    """The first of its files that has no record."""
    return next((path for path, records in plan.files.items() if not records), None)


def _larger(layout: Format, size: int, seed: int) -> str:
    """Advice that holds: a size that was laid out, with nothing empty."""
    for wanted in (max(60, 2 * size) * 2**times for times in range(12)):
        sizes = layout.divide(wanted)
        if min(sizes.values()) >= FAMILY and all(count <= LARGEST[split] for split, count in sizes.items()):
            data = Wardrobe(**_whole_families(sizes), seed=seed, image_size=64, style="photo")
            if _empty(layout.build(data, sizes)) is None:
                return f"give a larger --size, such as {wanted}"
    return "give a larger --size"


def _whole_families(sizes: Sizes) -> dict[str, int]:
    """Garments to lay out in each split: enough for `sizes`; one family where a layout has no such split."""
    return {split: -(-sizes.get(split, FAMILY) // FAMILY) * FAMILY for split in Wardrobe.splits}


def _garments(data: Wardrobe, plan: Layout) -> list[dict[str, object]]:
    """What each picture shows: attributes, and four captions of which the first is full."""
    splits: set[Split] = {split_of_id(i) for i in plan.pictures.values()}
    captions = {pair.image: pair.captions for split in splits for pair in data.pairs(split)}
    return [
        {"file": path, "id": i, "split": split_of_id(i), **asdict(data.garment(i)), "captions": captions[i]}
        for path, i in plan.pictures.items()
    ]


@contextmanager
def _whole(out: Path) -> Iterator[Path]:
    """A folder to write into that becomes `out` when all went well and vanishes otherwise."""
    try:
        if out == Path.cwd():
            raise ComposirError(f"{out} is the current folder; name one that does not exist yet")
        if os.path.lexists(out) and (not out.is_dir() or any(out.iterdir())):
            raise ComposirError(f"{out} exists and is not an empty folder; remove it or name another")
        folder = out.with_name(f"{out.name}.writing")
        if os.path.lexists(folder):
            raise ComposirError(f"{folder} exists: {out.name} is being written, or that was cut off; if so, remove it")
        folder.mkdir(parents=True)
        try:
            yield folder
            if out.exists():
                out.rmdir()
            folder.rename(out)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
    except OSError as error:
        problem = f"{error.filename or out} cannot be written: {error.strerror or error}"
        raise ComposirError(f"{problem}; make room or name another folder") from error


def _write_json(path: Path, value: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".jsonl":
        text = "".join(json.dumps(row) + "\n" for row in cast("Sequence[object]", value))
    else:
        text = json.dumps(value, indent=1) + "\n"
    path.write_text(text, encoding="utf-8", newline="\n")
