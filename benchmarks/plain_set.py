"""Write a plain JSONL set: pictures out of archives, triplets, galleries and pairs of each split, whole or not at all."""

from __future__ import annotations

import json
import shutil
import sys
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp"}


@contextmanager
def whole(out: Path) -> Iterator[Path]:
    """A folder to write into, which becomes `out` when all went well; ends the program if `out` is in use."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        sys.exit(f"{out} exists and is not an empty folder; remove it or name another")
    writing = out.with_name(f"{out.name}.writing")
    if writing.exists():
        sys.exit(f"{writing} exists: {out.name} is being written, or that was cut off; if so, remove it")
    (writing / "images").mkdir(parents=True)
    try:
        yield writing
        if out.exists():
            out.rmdir()
        writing.rename(out)
    except BaseException:
        shutil.rmtree(writing, ignore_errors=True)
        raise


def unpack(archive: Path, folder: Path, wanted: Sequence[str]) -> None:
    """Unpack the `wanted` pictures, which must be just those that the archive holds, all right in it."""
    with zipfile.ZipFile(archive) as file:
        names = [name for name in file.namelist() if not name.endswith("/")]
        odd = [n for n in names if PurePosixPath(n).name != n or PurePosixPath(n).suffix.lower() not in SUFFIXES]
        if odd or sorted(names) != sorted(wanted):
            differing = sorted({*names} ^ {*wanted})
            sys.exit(f"{archive} does not hold just the pictures of its list: {', '.join((odd or differing)[:5])}")
        for name in names:
            (folder / name).write_bytes(file.read(name))


def write_split(
    folder: Path,
    split: str,
    triplets: Sequence[Mapping[str, Any]],
    gallery: Sequence[str],
    pairs: Sequence[Mapping[str, Any]],
) -> None:
    """The three files of a split."""
    write_lines(folder / f"triplets.{split}.jsonl", triplets)
    write_lines(folder / f"pairs.{split}.jsonl", pairs)
    text = "".join(f"{name}\n" for name in sorted(gallery))
    (folder / f"gallery.{split}.txt").write_text(text, encoding="utf-8", newline="\n")
    print(f"{split}: {len(triplets):,} triplets, {len(gallery):,} pictures")


def write_lines(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """One JSON object a line."""
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    path.write_text(text, encoding="utf-8", newline="\n")


def write_settings(folder: Path, name: str) -> None:
    """set.json: the reference is taken out of the ranking."""
    text = json.dumps({"name": name, "drop_reference": True}, indent=1)
    (folder / "set.json").write_text(f"{text}\n", encoding="utf-8", newline="\n")


def folders() -> tuple[Path, Path]:
    """SRC and OUT from the command line."""
    if len(sys.argv) != 3:
        sys.exit(f"say: python {sys.argv[0]} SRC OUT")
    source, out = Path(sys.argv[1]), Path(sys.argv[2]).resolve()
    if not source.is_dir():
        sys.exit(f"{source} is no folder; name the one that holds the archives and triplets")
    return source, out
