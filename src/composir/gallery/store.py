"""A stored gallery: the vectors of pictures and the files they come from, in two LanceDB tables.

`images`: id, vector (T*D half floats), checksum. `files`: path -> id of its content or the reason why it was skipped,
and the stamp that tells whether it changed. A picture under several paths has one row in `images`.

Every step is one atomic commit of one table, and the order of commits makes each prefix of them a sound gallery:
pictures are added before the files that point to them, files are removed before their pictures. Vectors are kept in
half precision: the error of a score is below 2e-4, and disk, memory and search time are halved.
"""

from __future__ import annotations

import contextlib
import json
import warnings
import zlib
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import lancedb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from composir.errors import GalleryError
from composir.gallery.editions import current
from composir.gallery.place import Held, Place, place_of
from composir.gallery.scan import FileRow, Stamp

FORMAT = 3  # 1 had neither arguments nor a checkpoint, 2 did not say whether symbolic links were followed
MANIFEST = "gallery.json"
SKIPPED = "skipped.jsonl"
REPORT = "report.json"
COLUMNS = "metadata"
ORIGIN = "metadata.origin"
LATER = {"arguments": {}, "checkpoint": "", "checkpoint_sha256": "", "follow_symlinks": False}  # not in older formats
DELETE_AT_ONCE = 500  # rows named in one delete statement
MANY_COMMITS = 8  # after which a table is compacted; each commit leaves three files
NO_METADATA = pa.table({"path": pa.array([], pa.string())})
FILES = pa.schema(
    [
        pa.field("path", pa.string(), nullable=False),
        ("id", pa.string()),
        ("reason", pa.string()),
        ("detail", pa.string()),
        ("size", pa.int64()),
        ("modified_ns", pa.int64()),
        ("changed_ns", pa.int64()),
        ("settled", pa.bool_()),
    ]
)


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a gallery was built with.

    Attributes:
        key: Gallery key; vectors of another key are not comparable.
        method, backbone, repo, revision: What made the vectors, by name, source and pinned revision.
        vectors: T, vectors per picture.
        dim: D, width of a vector.
        root: The indexed folder, absolute.
        format: Version of the layout on disk.
        arguments: Of the method's constructor.
        checkpoint, checkpoint_sha256: The file that the method's weights came from, absolute, and its hash; or "".
        follow_symlinks: Whether the folder was last indexed through symbolic links.
    """

    key: str
    method: str
    backbone: str
    repo: str
    revision: str
    vectors: int
    dim: int
    root: str
    format: int = FORMAT
    arguments: Mapping[str, Any] = field(default_factory=dict)
    checkpoint: str = ""
    checkpoint_sha256: str = ""
    follow_symlinks: bool = False


class Gallery:
    """An existing gallery; see `create` and `open`. Writing needs `writing()`, reading does not."""

    def __init__(self, place: Place, manifest: Manifest):
        self.place, self.manifest = place, manifest
        self._held: Held = lambda: None
        # 0 = every read asks for the latest version; otherwise a handle shows the gallery as it was when opened.
        self._database = lancedb.connect(str(place), read_consistency_interval=timedelta(0))
        self._images, self._files = self._database.open_table("images"), self._database.open_table("files")

    @classmethod
    def create(cls, where: Place | Path | str, manifest: Manifest) -> Gallery:
        """Create an empty gallery; it appears complete or not at all.

        Args:
            where: A folder that is not there yet or is empty, or a URI as `place_of` takes it.
            manifest: What it is built with.

        Raises:
            GalleryError: There is something already.
        """
        place = place_of(where)
        with place.building() as building:
            database = lancedb.connect(str(building))
            for name, schema in (("images", _image_schema(manifest)), ("files", FILES)):
                # What a creation left that was stopped, which no manifest made a gallery of, is written over.
                mode = "overwrite" if building.holds(f"{name}.lance") else "create"
                database.create_table(name, schema=schema, mode=mode)
            _write_manifest(building, manifest)
        return cls(place, manifest)

    @classmethod
    def open(cls, where: Place | Path | str) -> Gallery:
        """Open an existing gallery: the edition that is read.

        Raises:
            GalleryError: There is none, it cannot be reached, or it was written by a newer composir.
        """
        place = place_of(where)
        # Where there is no gallery, a current.json is somebody else's.
        return cls.at(current(place) if is_gallery(place) else place)

    @classmethod
    def at(cls, where: Place | Path | str) -> Gallery:
        """Open the edition that lies in a place, read or not; raises as `open`."""
        place = place_of(where)
        told = place.read(MANIFEST)
        if told is None:
            what = "holds no gallery" if place.holds("") else "does not exist"
            raise GalleryError(f"{place} {what}; build one with: composir index FOLDER --gallery {place}")
        try:
            content = json.loads(told)
            if content["format"] > FORMAT:
                raise GalleryError(
                    f"{place} has format {content['format']}, this composir reads {FORMAT}; update composir"
                )
            content = {**LATER, **content}
            manifest = Manifest(**{own.name: content[own.name] for own in fields(Manifest)})
        except (KeyError, TypeError, ValueError) as error:
            raise GalleryError(f"{place}/{MANIFEST} is damaged ({error}); remove {place} and index again") from error
        try:
            return cls(place, manifest)
        except ValueError as error:  # lancedb's, of a table
            raise GalleryError(f"{place} is damaged ({error}); remove it and index again") from error

    def require(self, key: str, method: str, backbone: str, checkpoint: str = "", folder: str = "") -> None:
        """Refuse vectors of another kind.

        Args:
            key: Of the method that wants to read or write.
            method: Its name, for the message.
            backbone: The name of its backbone.
            checkpoint: The file of its weights, or "".
            folder: Whose pictures are to be read, if not those of the gallery; for the message.

        Raises:
            GalleryError: `key` is not the gallery's; both are named, with the command that builds a fitting gallery.
        """
        own = self.manifest
        if key != own.key:
            weights = f", checkpoint {own.checkpoint}" if own.checkpoint else ""
            ours = f"method {method} on backbone {backbone}" + (f" with checkpoint {checkpoint}" if checkpoint else "")
            named = f"--method {checkpoint}" if checkpoint else f"--method {method} --backbone {backbone}"
            raise GalleryError(
                f"{self.place} was built with gallery key {own.key} (method {own.method}, backbone {own.backbone}, "
                f"revision {own.revision}{weights}); {ours} has key {key} and cannot read it. "
                f"Build a gallery for it: composir index {folder or own.root} --gallery NEW_PATH {named}"
            )

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Hold the gallery for one writer; the lock ends with the process, however it ends.

        Raises:
            GalleryError: Another process is writing; the disk is full, or refuses.
        """
        otherwise = f"{self.place} is being written by another process; wait until it is done"
        with self.place.exclusive(otherwise) as self._held:
            try:
                yield
            except (OSError, RuntimeError) as error:
                if not _storage(error):
                    raise
                reason = " ".join(str(error).split())[:200]
                raise GalleryError(
                    f"{self.place} cannot be written ({reason}); make room on its disk or mend its access rights, and "
                    "run the same command again: what was committed is kept"
                ) from error

    def move_root(self, root: Path) -> None:
        """Remember that the indexed folder lies elsewhere now."""
        self.remember(replace(self.manifest, root=str(root)))

    def remember(self, manifest: Manifest) -> None:
        """Take another manifest, of the same vectors; only while `writing`."""
        self.manifest = replace(manifest, format=FORMAT)
        self._held()
        _write_manifest(self.place, self.manifest)

    def ids(self) -> set[str]:
        """Ids of all stored pictures, those without a file included."""
        return set(self._read(self._images, ["id"])["id"].to_pylist())

    def files(self) -> dict[str, FileRow]:
        """Path -> what is known of the file."""
        columns = self._read(self._files, FILES.names).to_pydict()
        rows = zip(*(columns[name] for name in FILES.names), strict=True)
        return {path: FileRow(path, own, Stamp(*stamp), reason, detail) for path, own, reason, detail, *stamp in rows}

    def places(self) -> pa.Table:
        """The columns `id` and `path` of all files that hold a picture, in no order."""
        table = self._read(self._files, ["path", "id", "reason"])
        held = pc.and_(pc.is_valid(table["id"]), pc.equal(pc.fill_null(table["reason"], ""), ""))  # pyright: ignore[reportAttributeAccessIssue]
        return table.filter(held).select(["id", "path"]).combine_chunks()

    def vectors(self) -> tuple[list[str], NDArray[np.float16], NDArray[np.uint32]]:
        """All pictures by ascending id: ids, vectors (N, T, D), checksums as they were stored."""
        table = self._read(self._images, ["id", "vector", "checksum"])
        ids = table["id"].combine_chunks()
        order = pc.sort_indices(ids)  # pyright: ignore[reportAttributeAccessIssue]
        # Each piece goes to its places at once: arrow would join a million rows first, then copy them one by one.
        place = np.empty(len(ids), np.int64)
        place[order.to_numpy()] = np.arange(len(ids))
        vectors = np.empty((len(ids), self.manifest.vectors, self.manifest.dim), np.float16)
        start = 0
        for piece in table["vector"].chunks:
            rows = piece.flatten().to_numpy(zero_copy_only=False).reshape(len(piece), *vectors.shape[1:])
            vectors[place[start : start + len(piece)]] = rows
            start += len(piece)
        return ids.take(order).to_pylist(), vectors, table["checksum"].to_numpy()[order.to_numpy()]

    def metadata(self, paths: Sequence[str] | None = None) -> pa.Table:
        """What is known of files beside their pictures: the column `path`, and those that were given.

        Args:
            paths: Only of these.
        """
        table = self._columns()
        if table is None:
            return NO_METADATA
        read = self._read(table, table.schema.names)
        return read if paths is None else read.filter(pc.is_in(read["path"], pa.array(paths, pa.string())))  # pyright: ignore[reportAttributeAccessIssue]

    def replace_metadata(self, table: pa.Table, origin: str) -> None:
        """Take another table of metadata for the one before; only while `writing`.

        Args:
            table: As `read_metadata` gives it.
            origin: Fingerprint of the file, so that the next run can tell whether it changed.
        """
        self._held()
        known = self.place.holds(f"{COLUMNS}.lance")
        self._database.create_table(COLUMNS, table, mode="overwrite" if known else "create")
        # Afterwards: a run that is killed between the two writes the table once more.
        self.place.replace(ORIGIN, origin)

    def metadata_origin(self) -> str:
        """The fingerprint that `replace_metadata` was told last; "" where there is no metadata."""
        return self.place.read(ORIGIN) or ""

    def tables(self) -> dict[str, lancedb.table.Table]:
        """Those that there are, by name."""
        columns = self._columns()
        return {"images": self._images, "files": self._files} | ({} if columns is None else {COLUMNS: columns})

    def _columns(self) -> lancedb.table.Table | None:
        return self._database.open_table(COLUMNS) if self.place.holds(f"{COLUMNS}.lance") else None

    def add(
        self,
        ids: Sequence[str],
        vectors: NDArray[np.float16],
        files: Iterable[FileRow],
        known: Container[str] | None = None,
    ) -> None:
        """Commit new pictures (B, T, D), then the files that point to them or to pictures stored before.

        Args:
            ids: Of pictures that are not stored.
            vectors: Theirs.
            files: Each path once.
            known: Paths of which the gallery may have a row; others are added without looking for one, which in a large
                gallery costs a scan. None = any.
        """
        self._held()
        if ids:
            flat = pa.array(np.ascontiguousarray(vectors, dtype=np.float16).reshape(-1))
            lists = pa.FixedSizeListArray.from_arrays(flat, self.manifest.vectors * self.manifest.dim)
            sums = pa.array([checksum(i, v) for i, v in zip(ids, vectors, strict=True)], pa.uint32())
            self._images.add(pa.table([list(ids), lists, sums], schema=_image_schema(self.manifest)))
            self._held()
        rows = list(files)
        fresh = [] if known is None else [row for row in rows if row.path not in known]
        if fresh:
            self._files.add(_file_table(fresh))
        if others := rows if known is None else [row for row in rows if row.path in known]:
            insert = self._files.merge_insert("path").when_matched_update_all().when_not_matched_insert_all()
            insert.execute(_file_table(others))

    def forget_files(self, paths: Iterable[str]) -> None:
        """Remove files; their pictures stay until `drop_images` removes them."""
        self._held()
        _delete(self._files, "path", paths)

    def drop_images(self, ids: Iterable[str]) -> None:
        """Remove pictures."""
        self._held()
        _delete(self._images, "id", ids)

    def damaged(self) -> list[str]:
        """Ids of the pictures whose vectors differ from what was written."""
        ids, vectors, sums = self.vectors()
        return [i for i, vector, expected in zip(ids, vectors, sums, strict=True) if checksum(i, vector) != expected]

    def compact(self, *, at_once: bool = False) -> None:
        """Join the many small pieces that many commits leave, and drop old versions; only while `writing`.

        Args:
            at_once: However few commits there are.
        """
        for table in self.tables().values():
            self._held()
            if at_once or len(table.list_versions()) > MANY_COMMITS:
                with warnings.catch_warnings():
                    # It warns that readers of old versions fail; `_read` reads again when that happens.
                    warnings.filterwarnings("ignore", message="optimize", category=UserWarning)
                    # What no version names is a killed writer's; among machines it may be one's that is at work.
                    table.optimize(cleanup_older_than=timedelta(0), delete_unverified=not self.place.apart)

    def write_skipped(self, rows: Iterable[FileRow]) -> None:
        """Write a {"path", "reason", "detail"} line for each skipped file beside the tables, to `SKIPPED`."""
        self._held()
        told = ({"path": row.path, "reason": row.reason, "detail": row.detail} for row in rows)
        self.place.replace(SKIPPED, "".join(f"{json.dumps(line, ensure_ascii=False)}\n" for line in told))

    def write_report(self, told: Mapping[str, Any]) -> None:
        """Write what the last run found and did beside the tables, to `REPORT`."""
        self._held()
        self.place.replace(REPORT, json.dumps(told, indent=2, ensure_ascii=False) + "\n")

    def _read(self, table: lancedb.table.Table, columns: list[str]) -> pa.Table:
        try:
            return table.search().select(columns).limit(None).to_arrow()
        except (OSError, RuntimeError):  # compacted away under our hands: take the newer version
            table.checkout_latest()
        try:
            return table.search().select(columns).limit(None).to_arrow()
        except (OSError, RuntimeError) as error:
            reason = " ".join(str(error).split())[:200]
            raise GalleryError(
                f"{self.place} is damaged, its table {table.name!r} cannot be read ({reason}); remove {self.place} and "
                f"index again: composir index {self.manifest.root} --gallery {self.place}"
            ) from error


def is_gallery(where: Place | Path | str) -> bool:
    """Whether a gallery, sound or not, lies there."""
    return place_of(where).holds(MANIFEST)


def checksum(own_id: str, vector: NDArray[np.float16]) -> int:
    """CRC-32 over id and vector, so that exchanged vectors are noticed too."""
    return zlib.crc32(vector.tobytes(), zlib.crc32(own_id.encode()))


def _image_schema(manifest: Manifest) -> pa.Schema:
    width = manifest.vectors * manifest.dim
    return pa.schema([("id", pa.string()), ("vector", pa.list_(pa.float16(), width)), ("checksum", pa.uint32())])


def _file_table(rows: Iterable[FileRow]) -> pa.Table:
    columns = zip(*((f.path, f.id, f.reason, f.detail, *asdict(f.stamp).values()) for f in rows), strict=True)
    return pa.table([list(column) for column in columns], schema=FILES)


def _delete(table: lancedb.table.Table, column: str, values: Iterable[str]) -> None:
    quoted = [f"""'{value.replace("'", "''")}'""" for value in values]
    for start in range(0, len(quoted), DELETE_AT_ONCE):
        table.delete(f"{column} IN ({', '.join(quoted[start : start + DELETE_AT_ONCE])})")


def _write_manifest(place: Place, manifest: Manifest) -> None:
    place.replace(MANIFEST, json.dumps(asdict(manifest), indent=2, ensure_ascii=False) + "\n")


def _storage(error: OSError | RuntimeError) -> bool:
    """Whether it is the disk's: LanceDB tells of that by a RuntimeError or an OSError with an errno in its text."""
    told = str(error)
    return error.__class__ is not RuntimeError or "os error" in told or "LanceError(IO)" in told
