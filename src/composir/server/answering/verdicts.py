"""What people say of answers, kept as a plain data set that `composir eval --data jsonl --root` reads.

DIR/images/gallery     a link to the indexed folder
DIR/images/odd/        links to pictures of it whose names the format cannot write
DIR/images/uploads/    references that are no pictures of it
DIR/verdicts.jsonl     all that was said, in the order in which it was; the last on a reference and text counts
DIR/triplets.jsonl     made of it: a line for each query with a right answer; right ones are its targets; with the wrong
                       ones they are its subset, by which Rs@K tells right from wrong among the judged alone
DIR/gallery.txt        what is ranked: all pictures of the gallery, and the uploads
"""

from __future__ import annotations

import contextlib
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path

from composir.datasets.files import IMAGE_SUFFIXES
from composir.datasets.records import nfc
from composir.errors import ComposirError, DataError, GalleryError
from composir.gallery.lock import exclusive
from composir.gallery.search import Shelf
from composir.server.answering.log import Log, Row, lines_of, replace
from composir.server.service import NotFoundError, Verdict

VERDICTS, TRIPLETS, GALLERY, LOCK = "verdicts.jsonl", "triplets.jsonl", "gallery.txt", ".lock"
PATIENCE = 10.0  # seconds that another server over the same folder is waited for


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
        self._log = Log(self.folder / VERDICTS, _key, lambda row: bool(row["right"] or row["wrong"]))
        self._named: Callable[[], Shelf | None] = lambda: None  # a weak reference to that whose names are written
        self._odd: dict[str, str] = {}
        if self.folder.exists() and any(self.folder.iterdir()) and not self._log.path.is_file():
            raise DataError(f"{self.folder} holds something else than verdicts; name another folder with --judgements")

    def add(self, verdict: Verdict, upload: bytes | None, shelf: Shelf) -> int:
        """Keep a verdict in the place of an earlier one on the same reference and text; gives how many there are.

        Without any right and wrong answer it takes the earlier one back.

        Raises:
            NotFoundError: A picture that the gallery does not have.
            ComposirError: The reference is among the right answers.
            DataError: The folder cannot be written, or a line of it is no verdict.
        """
        if verdict.reference in verdict.right:
            told = f"picture {verdict.reference} is the reference and among the right answers"
            raise ComposirError(f"{told}; a set takes the reference out of its own ranking, so leave it out of 'right'")
        for own in (*([] if upload is not None else [verdict.reference]), *verdict.right, *verdict.wrong):
            if own not in shelf.rows:
                raise NotFoundError(f"the gallery has no picture {own}")
        try:
            with self._lock, self._alone():
                if self._named() is not shelf:
                    self._name(shelf)
                if upload is not None:
                    self._keep(verdict.reference, upload)
                rows = self._log.add(self._row(verdict, upload, shelf))
                replace(self.folder / TRIPLETS, lines_of(_triplet(row) for row in rows if row["right"]))
        except OSError as error:
            self._named = lambda: None  # the list may lack an upload
            raise DataError(f"{self.folder} cannot be written ({error.strerror}); name another folder") from error
        return len(rows)

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Make the folder, and keep other servers out of it."""
        (self.folder / "images" / "uploads").mkdir(parents=True, exist_ok=True)
        self._log.path.touch()  # by it a later start knows the folder again
        end, otherwise = time.monotonic() + PATIENCE, f"another server goes on writing to {self.folder}; try again"
        with contextlib.ExitStack() as held:
            while True:
                try:
                    held.enter_context(exclusive(self.folder / LOCK, otherwise))
                    break
                except GalleryError:
                    if time.monotonic() > end:
                        raise
                    time.sleep(0.02)
            yield

    def _row(self, verdict: Verdict, upload: bytes | None, shelf: Shelf) -> Row:
        own = verdict.reference
        name = _upload(own) if upload is not None else self._name_of(shelf, own)
        right, wrong = ([self._name_of(shelf, i) for i in dict.fromkeys(ids)] for ids in (verdict.right, verdict.wrong))
        return {"reference": name, "caption": verdict.text, "right": right, "wrong": wrong}

    def _name_of(self, shelf: Shelf, own: str) -> str:
        return self._odd.get(own) or f"gallery/{shelf.paths[shelf.rows[own]][0]}"

    def _name(self, shelf: Shelf) -> None:
        """Write what is ranked, and link the pictures whose names a line cannot hold or two files share."""
        link, odd = (self.folder / "images" / name for name in ("gallery", "odd"))
        if not link.is_symlink():
            link.symlink_to(self.root, target_is_directory=True)
        # Of names that look the same, the format sees one form alone.
        shared = {nfc(path) for paths in shelf.paths for path in paths if nfc(path) != path}
        firsts = [(own, paths[0]) for own, paths in zip(shelf.ids, shelf.paths, strict=True)]
        strange = {own: path for own, path in firsts if not _plain(path) or nfc(path) in shared}
        self._odd = {own: f"odd/{own}{_ending(path) or '.jpg'}" for own, path in strange.items()}
        for own, path in strange.items():
            odd.mkdir(exist_ok=True)
            file = self.folder / "images" / self._odd[own]
            file.unlink(missing_ok=True)
            file.symlink_to(self.root / path)
        names = sorted(self._odd.get(own) or f"gallery/{path}" for own, path in firsts)
        names += sorted(_upload(path.stem) for path in (self.folder / "images" / "uploads").glob("*.jpg"))
        replace(self.folder / GALLERY, "".join(f"{name}\n" for name in names).encode())
        self._named = weakref.ref(shelf)

    def _keep(self, own: str, upload: bytes) -> None:
        """Keep an upload, and rank it: its line follows those that are written already."""
        path, ranked = self.folder / "images" / _upload(own), self.folder / GALLERY
        if not path.is_file():
            replace(path, upload)
            replace(ranked, ranked.read_bytes() + f"{_upload(own)}\n".encode())


def _triplet(row: Row) -> Row:
    judged = [row["reference"], *row["right"], *row["wrong"]]
    subset = {"subset": list(dict.fromkeys(judged))} if row["wrong"] else {}
    return {"reference": row["reference"], "caption": row["caption"], "targets": row["right"], **subset}


def _key(row: Row) -> tuple[str, str]:
    return row["reference"], row["caption"]


def _upload(own: str) -> str:
    return f"uploads/{own}.jpg"


def _ending(path: str) -> str:
    """Of a picture's file; files may bear any, but the format knows pictures by theirs."""
    name, dot, ending = path.rpartition(".")
    return f".{ending}" if name and f"{dot}{ending}".lower() in IMAGE_SUFFIXES else ""


def _plain(path: str) -> bool:
    """Whether a line of the set can hold a path: printed on one line, with an ending by which a picture is known."""
    return path.isprintable() and path == path.strip() and "\\" not in path and bool(_ending(path))
