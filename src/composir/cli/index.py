"""`composir index`: a folder of pictures into a gallery, again and again."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from composir.gallery.account import Report
    from composir.gallery.store import Gallery, Manifest

DEFAULT_BACKBONE = "wardrobe-clip"  # as composir.opening has it; `composir --help` imports nothing of that
DEFAULT_METHOD = "slerp"
LISTED = 10  # skipped files named on the screen; all are in the file


def index(
    folder: Annotated[Path, typer.Argument(help="The folder of pictures; searched with all its sub-folders.")],
    *,
    gallery: Annotated[
        str, typer.Option(help="Where the gallery is kept: a path, or s3://BUCKET/NAME, gs://…, az://….")
    ],
    method: Annotated[
        str | None,
        typer.Option(
            help="Method, run of `composir train` or checkpoint; searches use it from then on. If not given, the one "
            f"that the gallery remembers; for a new gallery {DEFAULT_METHOD}."
        ),
    ] = None,
    backbone: Annotated[
        str | None, typer.Option(help=f"Name, folder or org/repo@revision; for a new gallery {DEFAULT_BACKBONE}.")
    ] = None,
    metadata: Annotated[
        Path | None, typer.Option(help="CSV or JSONL with a column file_name; FOLDER/metadata.csv if not given.")
    ] = None,
    no_metadata: Annotated[
        bool, typer.Option("--no-metadata", help="Read none, and forget what an earlier run brought.")
    ] = False,
    batch_size: Annotated[int, typer.Option(min=1, help="Pictures encoded at once.")] = 32,
    workers: Annotated[
        int | None, typer.Option(min=0, help="Decoding processes; one a core, 8 at most, if not given.")
    ] = None,
    device: Annotated[str, typer.Option(help="Where to encode: auto, cpu, cuda, cuda:1, mps.")] = "auto",
    follow_symlinks: Annotated[
        bool | None, typer.Option(help="Go through symbolic links; as before if unsaid.")
    ] = None,
    retry_skipped: Annotated[bool, typer.Option("--retry-skipped", help="Try unchanged skipped files again.")] = False,
    verify: Annotated[bool, typer.Option("--verify", help="Check stored vectors; encode damaged ones again.")] = False,
    new_root: Annotated[bool, typer.Option("--new-root", help="FOLDER replaces the folder indexed before.")] = False,
    beside: Annotated[
        bool, typer.Option("--beside", help="Build an edition for another model; `composir gallery swap` exchanges.")
    ] = False,
    strict: Annotated[bool, typer.Option("--strict", help="End with exit code 1 if a file was skipped.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Encode a folder of pictures; only what is new or changed, however often it is called.

    A picture is its content: a rename or a copy encodes nothing. Files that cannot be read are skipped and listed.
    """
    try:
        report, opened = _run(
            folder, gallery, method, backbone, device=device, beside=beside,
            batch_size=batch_size, workers=workers, follow_symlinks=follow_symlinks,
            retry_skipped=retry_skipped, verify=verify, new_root=new_root, metadata=metadata,
            drop_metadata=no_metadata,
        )  # fmt: skip
    except KeyboardInterrupt:
        typer.echo("\nStopped. What was encoded is kept: run the same command again to go on.", err=True)
        raise typer.Exit(130) from None
    typer.echo(_as_json(report) if json else _as_text(report, opened))
    if not report.images and not report.skipped:
        typer.echo(
            f"{folder} holds no file, so the gallery is empty; name the folder that the pictures lie in", err=True
        )
    if strict and report.skipped:
        raise typer.Exit(1)


def _run(
    folder: Path,
    where: str,
    method: str | None,
    backbone: str | None,
    *,
    device: str,
    beside: bool,
    **options: Any,
) -> tuple[Report, Gallery]:
    from composir.cli.progress import shown
    from composir.errors import DataError, GalleryError
    from composir.gallery.editions import edition
    from composir.gallery.place import place_of
    from composir.gallery.store import Gallery, is_gallery
    from composir.indexing import check_metadata, create_gallery, index_folder
    from composir.loading import prepare
    from composir.opening import find_for_gallery, find_method, load_wanted

    if not folder.is_dir():
        raise DataError(f"{folder} is {'not a folder' if folder.exists() else 'missing'}; name the folder of pictures")
    base = place_of(where)
    gallery = Gallery.open(base) if is_gallery(base) else None
    if beside and gallery is None:
        raise GalleryError(f"{base} holds no gallery yet: there is nothing to build beside; leave --beside out")
    # Names are checked before anything heavy is loaded, and what is asked before a gallery is made.
    if gallery is None:
        check_metadata(folder, options["metadata"], drop=options["drop_metadata"])
    if gallery is None or beside:
        wanted = find_method(method or DEFAULT_METHOD, backbone)
    else:
        wanted = find_for_gallery(gallery, method, backbone)
    if options["workers"] != 0:
        prepare()  # while the encoder is being loaded
    built = load_wanted(wanted, device=device)
    own = edition(base, built.gallery_key()) if beside else base
    if beside:
        if gallery and options["follow_symlinks"] is None:  # a new edition is of the same pictures
            options["follow_symlinks"] = gallery.manifest.follow_symlinks
        gallery = Gallery.at(own) if is_gallery(own) else None
    if gallery is None and backbone is None and (wanted.backbone, wanted.checkpoint) == (DEFAULT_BACKBONE, None):
        _tell_default()
    gallery = gallery or create_gallery(own, built, folder)
    before = gallery.manifest
    try:
        with shown() as progress:
            return index_folder(gallery, built, folder, progress=progress, **options), gallery
    finally:  # it is remembered at once, so that a run that was stopped has changed it too
        _tell_method(before, gallery.manifest, where, beside=beside)


def _tell_default() -> None:
    """A quality that nobody expects of photographs is told where it is chosen by saying nothing."""
    other = "for photographs name one that has seen some, such as --backbone clip-vit-b-32"
    typer.echo(f"encoding with {DEFAULT_BACKBONE}, which has seen drawn garments alone; {other}", err=True)


def _tell_method(before: Manifest, now: Manifest, where: str, *, beside: bool) -> None:
    """Say on standard error that searches use another method from now on, and how to go back."""
    if (now.method, now.arguments, now.checkpoint_sha256) == (
        before.method,
        before.arguments,
        before.checkpoint_sha256,
    ):
        return
    old, new = (f"{own.method} ({own.checkpoint or _spelled(own.arguments)})" for own in (before, now))
    # An edition that is not read yet is found by the key of its backbone alone.
    edition = f" --beside --backbone {before.backbone}" if beside else ""
    back = f"composir index {now.root} --gallery {where}{edition} --method {before.checkpoint or before.method}"
    # Only a checkpoint brings its arguments along.
    how = "back, to its defaults, with" if before.arguments and not before.checkpoint else "back with"
    typer.echo(f"searches use method {new} from now on, no longer {old}; {how}: {back}", err=True)


def _spelled(arguments: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} = {value}" for name, value in arguments.items()) or "no arguments"


def _as_json(report: Report) -> str:
    import json

    return json.dumps(report.told(), indent=2)


def _as_text(report: Report, gallery: Gallery) -> str:
    r = report
    lines = [
        f"{r.files:,} files = {r.images:,} pictures + {r.copies:,} copies + {len(r.skipped):,} skipped",
        f"{r.added:,} added, {r.edited:,} edited, {r.moved:,} moved, {r.copied:,} copied, {r.removed:,} removed, "
        f"{r.unchanged:,} unchanged; {r.encoded:,} encoded in {r.seconds:.1f} s",
    ]
    if r.described or r.pointless:
        kept = ", kept from an earlier run: no file was given or found; --no-metadata drops it"
        lines.append(f"metadata of {r.described:,} files{kept if r.metadata_kept else ''}")
    if r.pointless:
        named = ", ".join(r.pointless[:LISTED]) + (", …" if len(r.pointless) > LISTED else "")
        lines.append(f"metadata rows that name no indexed file: {len(r.pointless):,} ({named})")
    if r.links:
        lines.append(f"{r.links:,} symbolic links were not followed; --follow-symlinks does")
    if r.hidden:
        lines.append(f"{r.hidden:,} hidden files or folders (names that begin with a dot) were passed by")
    if r.special:
        lines.append(f"{r.special:,} pipes, sockets or devices were passed by")
    for folder, why in r.closed.items():
        lines.append(f"folder {folder} {why}; what was known of it is kept")
    if r.skipped:
        width = max(len(row.path) for row in r.skipped[:LISTED])
        lines += ["skipped:", *(f"  {row.path:<{width}}  {row.reason}" for row in r.skipped[:LISTED])]
        lines.append(f"  {'… all' if len(r.skipped) > LISTED else 'details'} in {gallery.place}/skipped.jsonl")
    return "\n".join(lines)
