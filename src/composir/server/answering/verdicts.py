"""What people say of answers, kept as a plain data set that `composir eval --data jsonl --root` reads.

DIR/images/gallery     a link to the indexed folder
DIR/images/uploads/    references that are no pictures of it
DIR/verdicts.jsonl     all that was said
DIR/triplets.jsonl     made of it: a line for each query with a right answer; right ones are its targets; with the wrong
                       ones they are its subset, by which Rs@K tells right from wrong among the judged alone
DIR/gallery.txt        what is ranked: all pictures of the gallery, and the uploads
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Any

from composir.errors import DataError
from composir.gallery.search import Shelf
from composir.server.service import NotFoundError, Verdict

VERDICTS, TRIPLETS, GALLERY = "verdicts.jsonl", "triplets.jsonl", "gallery.txt"

Row = dict[str, Any]


class Verdicts:
    """The folder of verdicts; made with the first one.

    Args:
        folder: Where they are kept.
        root: The indexed folder.

    Raises:
        DataError: The folder holds something else.
    """

    def __init__(self, folder: Path, root: Path):
        self.folder, self.root = folder.absolute(), root
        self._lock = threading.Lock()
        if self.folder.exists() and any(self.folder.iterdir()) and not (self.folder / VERDICTS).is_file():
            raise DataError(f"{self.folder} holds something else than verdicts; name another folder with --judgements")

    def add(self, verdict: Verdict, upload: bytes | None, shelf: Shelf) -> int:
        """Keep a verdict in the place of an earlier one on the same reference and text; gives how many there are.

        Without any right and wrong answer it takes the earlier one back.

        Raises:
            NotFoundError: A picture that the gallery does not have.
            DataError: The folder cannot be written.
        """
        row = self._row(verdict, upload, shelf)
        with self._lock:
            try:
                rows = {_key(old): old for old in self._rows()}
                rows[_key(row)] = row
                if not verdict.right and not verdict.wrong:
                    del rows[_key(row)]
                self._write(list(rows.values()), upload, verdict.reference, shelf)
            except OSError as error:
                raise DataError(f"{self.folder} cannot be written ({error.strerror}); name another folder") from error
        return len(rows)

    def _row(self, verdict: Verdict, upload: bytes | None, shelf: Shelf) -> Row:
        name = f"uploads/{verdict.reference}" if upload is not None else _name(shelf, verdict.reference)
        right, wrong = ([_name(shelf, own) for own in ids] for ids in (verdict.right, verdict.wrong))
        return {"reference": name, "caption": verdict.text, "right": right, "wrong": wrong}

    def _rows(self) -> list[Row]:
        path = self.folder / VERDICTS
        return [json.loads(line) for line in path.read_text("utf-8").splitlines()] if path.is_file() else []

    def _write(self, rows: list[Row], upload: bytes | None, own: str, shelf: Shelf) -> None:
        uploads = self.folder / "images" / "uploads"
        uploads.mkdir(parents=True, exist_ok=True)
        link = self.folder / "images" / "gallery"
        if not link.is_symlink():
            link.symlink_to(self.root, target_is_directory=True)
        if upload is not None:
            _replace(uploads / f"{own}.jpg", upload)
        names = sorted({_name(shelf, own) for own in shelf.ids})
        names += sorted(f"uploads/{path.stem}" for path in uploads.glob("*.jpg"))
        _replace(self.folder / GALLERY, "".join(f"{name}\n" for name in names).encode())
        _replace(self.folder / VERDICTS, _lines(rows))
        _replace(self.folder / TRIPLETS, _lines(_triplet(row) for row in rows if row["right"]))


def _triplet(row: Row) -> Row:
    judged = [row["reference"], *row["right"], *row["wrong"]]
    subset = {"subset": list(dict.fromkeys(judged))} if row["wrong"] else {}
    return {"reference": row["reference"], "caption": row["caption"], "targets": row["right"], **subset}


def _lines(rows: Iterable[Row]) -> bytes:
    return "".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows).encode()


def _key(row: Row) -> tuple[str, str]:
    return row["reference"], row["caption"]


def _name(shelf: Shelf, own: str) -> str:
    if own not in shelf.rows:
        raise NotFoundError(f"the gallery has no picture {own}")
    return f"gallery/{PurePosixPath(shelf.paths[shelf.rows[own]][0]).with_suffix('')}"


def _replace(path: Path, content: bytes) -> None:
    fresh = path.with_name(f".{path.name}.new")
    fresh.write_bytes(content)
    os.replace(fresh, path)
