"""The books of an indexing run: every file found is accounted for once, and the store is asked, not the run."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from composir.errors import GalleryError
from composir.gallery.scan import FileRow, Scan
from composir.gallery.store import REPORT, Gallery


@dataclass(frozen=True, slots=True)
class Report:
    """What a run found and did.

    files = images + copies + skipped = unchanged + added + edited + moved + copied + skipped.

    Attributes:
        files: Regular, visible files in the folder.
        images: Distinct pictures among them: the size of the gallery.
        copies: Further paths of these pictures.
        skipped: Files that are not indexed, each with its reason.
        unchanged: Paths that hold what they held.
        added: New paths with new content.
        edited: Known paths with other content.
        moved: New paths of pictures whose old path is gone.
        copied: New paths of pictures that are elsewhere too.
        removed: Paths that are gone, those moved left out.
        encoded: Pictures that went through the encoder in this run.
        links: Symbolic links passed by.
        hidden: Files and folders passed by because their names begin with a dot.
        special: Pipes, sockets and devices passed by.
        closed: Folders that could not be listed, with the reason; what was known of them is kept.
        kept: Paths in such folders, counted nowhere else.
        described: Indexed files that metadata tells something of.
        pointless: Rows of metadata that name no indexed file.
        metadata_kept: Whether the metadata is an earlier run's: this one was given none and found none.
        seconds: Wall-clock time.
    """

    files: int
    images: int
    copies: int
    skipped: tuple[FileRow, ...]
    unchanged: int
    added: int
    edited: int
    moved: int
    copied: int
    removed: int
    encoded: int
    links: int
    hidden: int
    special: int
    closed: Mapping[str, str]
    kept: int
    described: int
    pointless: tuple[str, ...]
    metadata_kept: bool
    seconds: float

    def told(self) -> dict[str, Any]:
        """For JSON."""
        skipped = [{"path": row.path, "reason": row.reason, "detail": row.detail} for row in self.skipped]
        return {**asdict(self), "skipped": skipped}


def last_report(gallery: Gallery) -> dict[str, Any]:
    """What the last run wrote of itself; nothing where none has ended yet, or what it wrote cannot be read."""
    try:
        told = json.loads(gallery.place.read(REPORT) or "{}")
    except ValueError:
        return {}
    return told if isinstance(told, dict) else {}


def account(
    gallery: Gallery,
    scan: Scan,
    before: Mapping[str, FileRow],
    kept: Collection[str],
    *,
    encoded: int,
    seconds: float,
    metadata_kept: bool,
) -> Report:
    """Compare what the gallery holds now with what was found and with what it held before.

    Raises:
        GalleryError: A file is not accounted for, or a picture is missing: the gallery must be rebuilt.
    """
    rows, ids = gallery.files(), gallery.ids()
    found = {path: rows[path] for path in sorted(scan.files.keys() | scan.refused.keys()) if path in rows}
    skipped = tuple(row for row in found.values() if row.reason)
    indexed = [row for row in found.values() if not row.reason]
    gone = Counter(row.id for path, row in before.items() if path not in rows and not row.reason)
    holes = {row.id for row in rows.values() if not row.reason} ^ ids
    files = len(scan.files.keys() | scan.refused.keys())
    if holes or len(found) != files or len(rows) != files + len(kept):
        raise GalleryError(
            f"{gallery.place} does not add up: {files} files found, {len(found)} recorded, {len(rows)} in all, "
            f"{len(holes)} pictures without a file or files without a picture; remove the gallery and index again"
        )
    fate = _fates(indexed, before, gone)
    images = len({row.id for row in indexed})
    told = gallery.metadata()["path"].to_pylist()
    pointless = tuple(path for path in told if path not in rows or rows[path].reason)
    return Report(
        files=len(found),
        images=images,
        copies=len(indexed) - images,
        skipped=skipped,
        unchanged=fate["unchanged"],
        added=fate["added"],
        edited=fate["edited"],
        moved=fate["moved"],
        copied=fate["copied"],
        removed=gone.total(),
        encoded=encoded,
        links=scan.links,
        hidden=scan.hidden,
        special=scan.special,
        closed=dict(scan.closed),
        kept=len(kept),
        described=len(told) - len(pointless),
        pointless=pointless,
        metadata_kept=metadata_kept,
        seconds=round(seconds, 3),
    )


def _fates(indexed: list[FileRow], before: Mapping[str, FileRow], gone: Counter[str | None]) -> Counter[str]:
    """Count what became of each indexed path; `gone` loses those that were moved."""
    fate: Counter[str] = Counter()
    seen: set[str | None] = set()
    new = []
    for row in indexed:
        old = before.get(row.path)
        if old is None:
            new.append(row)
            continue
        fate["unchanged" if old.id == row.id and not old.reason else "edited"] += 1
        seen.add(row.id)
    for row in new:
        if gone[row.id]:
            gone[row.id] -= 1
            fate["moved"] += 1
        else:
            fate["copied" if row.id in seen else "added"] += 1
        seen.add(row.id)
    return fate
