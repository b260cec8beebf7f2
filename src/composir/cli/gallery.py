"""`composir gallery`: what a gallery holds, whether it is sound, and which of its editions is read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from composir.gallery.place import Place
    from composir.gallery.store import Gallery

app = typer.Typer(name="gallery", help="Look after a gallery.", no_args_is_help=True)

Where = Annotated[str, typer.Argument(metavar="GALLERY", help="Its path or URI, as built by `composir index`.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command()
def info(gallery: Where, *, json: Json = False) -> None:
    """Tell what a gallery holds, what made its vectors, and its editions."""
    from composir.gallery import editions
    from composir.gallery.place import place_of
    from composir.gallery.store import Gallery

    base = place_of(gallery)
    opened = Gallery.open(base)
    pointer = editions.read_pointer(base)
    told = _described(opened)
    told["edition"] = pointer.current
    told["editions"] = {
        name: {"key": own.key, "method": own.method, "backbone": own.backbone}
        for name in editions.names(base)
        if (own := _manifest(editions.edition(base, name))) is not None
    }
    told["read before"] = list(pointer.before)
    if json:
        _print_json(told)
        return
    for name, value in told.items():
        if name == "editions":
            for edition, own in value.items():
                mark = "  (read)" if edition == pointer.current else ""
                typer.echo(f"{'edition':<16}{edition}: key {own['key']}, {own['method']} on {own['backbone']}{mark}")
        elif name == "last run":
            typer.echo(f"{name:<16}{_last_run(value)}")
        elif name not in ("edition", "read before"):
            shown = ", ".join(f"{k} ({v})" for k, v in value.items()) if isinstance(value, dict) else value
            typer.echo(f"{name:<16}{f'{shown:,}' if isinstance(shown, int) else shown or '-'}")


@app.command()
def verify(gallery: Where, *, json: Json = False) -> None:
    """Read every vector and compare its checksum; exit code 1 if one is damaged or anything is missing."""
    from composir.gallery.search import Shelf
    from composir.gallery.store import Gallery

    opened = Gallery.open(gallery)
    ids, rows = opened.ids(), opened.files()
    damaged = sorted(opened.damaged())
    pointed = {str(row.id) for row in rows.values() if not row.reason}
    told = {"pictures": len(ids), "damaged": damaged, "lost": sorted(pointed - ids), "unused": sorted(ids - pointed)}
    told["kept shelf"] = "sound" if Shelf.sound(opened) else "damaged"
    if json:
        _print_json(told)
    else:
        typer.echo(f"{len(ids):,} vectors read, {len(damaged):,} damaged")
        for name, what in (("lost", "files whose picture is missing"), ("unused", "pictures without a file")):
            if told[name]:
                typer.echo(f"{len(told[name]):,} {what}")
        if told["kept shelf"] == "damaged":
            typer.echo("the shelf that is kept for opening is not what the tables hold")
    if damaged or told["lost"] or told["kept shelf"] == "damaged":
        typer.echo(f"mend it with: composir index {opened.manifest.root} --gallery {gallery} --verify", err=True)
        raise typer.Exit(1)


@app.command()
def compact(gallery: Where) -> None:
    """Join the small files that many commits leave, and drop old states; readers go on meanwhile."""
    from composir.gallery.search import Shelf
    from composir.gallery.store import Gallery

    opened = Gallery.open(gallery)
    before = _files(opened.place)
    with opened.writing():
        opened.compact(at_once=True)
        Shelf.keep(opened)
    after = _files(opened.place)
    typer.echo(f"{before[0]:,} files, {before[1] / 1e6:,.1f} MB -> {after[0]:,} files, {after[1] / 1e6:,.1f} MB")


@app.command()
def swap(
    gallery: Where,
    edition: Annotated[str | None, typer.Argument(help="Its name, or the beginning of it; the only other one.")] = None,
) -> None:
    """Let another edition be read, built with `composir index --beside`; a server that runs follows without a gap."""
    from composir.gallery import editions
    from composir.gallery.place import place_of
    from composir.gallery.store import Gallery

    base = place_of(gallery)
    name = _other(base, edition)
    opened = Gallery.at(editions.edition(base, name))
    present = Gallery.open(base)
    if stale := _stale(present, opened):
        from composir.errors import GalleryError

        own = opened.manifest
        raise GalleryError(
            f"edition {name} differs from the present one in {stale}; finish it: composir index {own.root} "
            f"--gallery {gallery} --beside --method {own.method} --backbone {own.backbone}{_metadata(present, opened)}"
        )
    pointer = editions.point(base, name)
    typer.echo(f"{gallery} is read from edition {pointer.current} now; back with: composir gallery rollback {gallery}")


@app.command()
def rollback(gallery: Where) -> None:
    """Let the edition be read again that was read before the last swap."""
    from composir.gallery import editions
    from composir.gallery.place import place_of

    base = place_of(gallery)
    left = editions.read_pointer(base).current
    now = editions.go_back(base).current
    typer.echo(f"{gallery} is read from edition {now} now")
    _tell_stale(gallery, editions.edition(base, left), editions.edition(base, now))


def _tell_stale(gallery: str, left: Place, now: Place) -> None:
    """Say on standard error what the edition that was gone back to lacks.

    Unlike a swap, going back is not refused for it: it is what helps when the new model fails, and has to work then.
    """
    from composir.errors import GalleryError
    from composir.gallery.store import Gallery

    try:
        newer, older = Gallery.at(left), Gallery.at(now)
        stale = _stale(newer, older)
    except GalleryError as error:  # damage may be the reason to go back
        typer.echo(f"it cannot be told whether the two editions hold the same: {error}", err=True)
        return
    if stale:
        typer.echo(
            f"it differs from the one that was read before in {stale}; bring it up to date: composir index "
            f"{older.manifest.root} --gallery {gallery}{_metadata(newer, older)}",
            err=True,
        )


def _described(opened: Gallery) -> dict[str, Any]:
    from composir.gallery.account import last_report
    from composir.gallery.columns import Columns

    own, rows = opened.manifest, opened.files()
    count, size = _files(opened.place)
    return {
        "pictures": len(opened.ids()),
        "files": len(rows),
        "skipped": sum(bool(row.reason) for row in rows.values()),
        "folder": own.root,
        "key": own.key,
        "method": own.method,
        "backbone": own.backbone,
        "revision": own.revision,
        "checkpoint": own.checkpoint,
        "vectors": f"{own.vectors} x {own.dim}, half precision",
        "search": "exact, filtered or not; a server searches in part from approximate_from pictures on",
        "last run": last_report(opened),
        "columns": Columns.of(opened.metadata(), []).types,
        "on disk": f"{count:,} files, {size / 1e6:,.1f} MB",
    }


def _last_run(told: dict[str, Any]) -> str:
    """In a line; "-" for a gallery whose runs did not write a report yet."""
    fates = ("added", "edited", "moved", "copied", "removed", "unchanged", "skipped", "encoded")
    counts = ", ".join(f"{told[name]:,} {name}" for name in fates if isinstance(told.get(name), int))
    return f"{told.get('ended', '')}: {counts}" if counts else "-"


def _manifest(place: Place) -> Any:
    from composir.errors import GalleryError
    from composir.gallery.store import Gallery

    try:
        return Gallery.at(place).manifest
    except GalleryError:
        return None  # still being made


def _other(base: Place, given: str | None) -> str:
    from composir.errors import GalleryError
    from composir.gallery import editions

    others = [name for name in editions.names(base) if name != editions.read_pointer(base).current]
    fitting = [name for name in others if name.startswith(given or "")]
    if len(fitting) != 1:
        told = f"named {given!r}" if given else "to swap to"
        listed = (
            ", ".join(others)
            or "none; build one with: composir index FOLDER --gallery GALLERY --beside --backbone NAME"
        )
        raise GalleryError(f"{base} has {len(fitting) or 'no'} other editions {told}; there are: {listed}")
    return fitting[0]


def _stale(present: Gallery, other: Gallery) -> str:
    """What another edition differs in, in words; "" for nothing.

    Files of which it holds no picture, or an older one, or one although there is none any more; and metadata.
    """
    here, there = ({path: row.id for path, row in own.files().items() if not row.reason} for own in (present, other))
    paths = sorted(path for path in here.keys() | there.keys() if here.get(path) != there.get(path))
    told = [f"{len(paths):,} files, e.g. {paths[0]!r}"] if paths else []
    if present.metadata_origin() != other.metadata_origin():
        told.append("its metadata")
    return " and in ".join(told)


def _metadata(present: Gallery, other: Gallery) -> str:
    """The option that gives another edition the metadata of the present one; where they came from is not stored."""
    if present.metadata_origin() == other.metadata_origin():
        return ""
    return " --metadata FILE" if present.metadata_origin() else " --no-metadata"


def _files(place: Place) -> tuple[int, int]:
    """Files of one edition, and their bytes."""
    own = [size for name, size in place.sizes().items() if not name.startswith("editions/")]
    return len(own), sum(own)


def _print_json(told: dict[str, Any]) -> None:
    from json import dumps

    typer.echo(dumps(told, indent=2, ensure_ascii=False))
