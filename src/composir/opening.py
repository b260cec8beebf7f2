"""What a user names as a method, opened: a plug-in, a class, a run, a checkpoint, or what a gallery remembers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from composir import methods
from composir.checkpoint import BEST, content_hash, read_header
from composir.errors import ComposirError, GalleryError
from composir.plugins import load_class, nearest

if TYPE_CHECKING:
    from composir.backbones.base import Backbone
    from composir.gallery.store import Gallery
    from composir.methods.base import Method

DEFAULT_BACKBONE = "wardrobe-clip"


@dataclass(frozen=True, slots=True)
class Wanted:
    """A method as it was named, before anything heavy is loaded.

    Attributes:
        name: A plug-in name, or "package.module:Class".
        arguments: Of its constructor.
        backbone: A name, a folder or "org/repo@revision"; "" for the one that the checkpoint names.
        label: Short, for folders and tables.
        revision: Of the backbone, where its name does not say it.
        checkpoint: The weights. Where they are another method's, the method stands on that one's backbone.
    """

    name: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    backbone: str = DEFAULT_BACKBONE
    label: str = ""
    revision: str | None = None
    checkpoint: Path | None = None


def find_method(what: str, backbone: str | None = None) -> Wanted:
    """Tell what a user means by METHOD; torch is not imported.

    Args:
        what: A plug-in name, "package.module:Class", the folder of a run made by `composir train`, or a checkpoint.
        backbone: A name, a folder or "org/repo@revision". A checkpoint brings its own: there it says where that lies.

    Raises:
        ComposirError: Nothing of that name (the nearest are listed), a folder without a finished run, a file that is no
            checkpoint.
    """
    if _is_name(what):
        return Wanted(what, {}, backbone or DEFAULT_BACKBONE, what.rpartition(":")[2])
    place = Path(what).expanduser()
    if not place.exists():
        if "/" in what or place.suffix:
            kind = "file" if place.suffix else "folder"
            raise ComposirError(f"there is no {kind} {what}; name a run made by `composir train`, or a method")
        raise nearest(what, methods.names(), "method (nor the folder of a run)")
    if place.is_file() or (place / BEST).is_file():
        return _of_checkpoint(place if place.is_file() else place / BEST, backbone)
    return _of_folder(place, backbone)


def _is_name(what: str) -> bool:
    return what in methods.names() or (":" in what and not Path(what).exists())


def _of_checkpoint(path: Path, backbone: str | None) -> Wanted:
    header = read_header(path)
    path = path.resolve()
    inside = path.name == BEST or (path.parent / "config.toml").exists()
    label = "-".join([path.parent.name] * inside + [path.stem] * (path.name != BEST))
    return Wanted(header.method, header.arguments, backbone or "", label, checkpoint=path)


def _of_folder(folder: Path, backbone: str | None) -> Wanted:
    """A run that trained its whole backbone and wrote that alone."""
    from composir.config import load_config

    for part, instead in (("config.toml", ""), ("backbone", f" and no {BEST}")):
        if not (folder / part).exists():
            raise ComposirError(
                f"{folder} has no {part}{instead}: it is not the folder of a run that `composir train` has saved; name "
                f"one, or a method: {', '.join(methods.names())}"
            )
    if backbone is not None:
        raise ComposirError(f"{folder} is a run, which brings its own backbone; leave --backbone {backbone} out")
    section = load_config(folder / "config.toml").method
    return Wanted(section.name, section.arguments, str(folder / "backbone"), folder.resolve().name)


def find_for_gallery(gallery: Gallery, what: str | None = None, backbone: str | None = None) -> Wanted:
    """Tell which method is to read or to extend a gallery; torch is not imported.

    Args:
        gallery: It remembers the method that it was indexed with, its arguments, backbone and checkpoint.
        what: As for `find_method`; None = the one it remembers. A method given by its name alone stands on the
            gallery's backbone, the trained one where there is a checkpoint.
        backbone: Instead of the gallery's.

    Raises:
        GalleryError: The checkpoint that it remembers has moved or changed.
        ComposirError: As for `find_method`.
    """
    own = gallery.manifest
    if what is not None and not _is_name(what):
        return find_method(what, backbone)
    wanted = Wanted(own.method, own.arguments, label=own.method) if what is None else find_method(what)
    if backbone is None:
        wanted = replace(wanted, backbone=own.backbone, revision=own.revision)
    else:
        wanted = replace(wanted, backbone=backbone)
    return replace(wanted, checkpoint=_remembered(gallery)) if own.checkpoint else wanted


def _remembered(gallery: Gallery) -> Path:
    own = gallery.manifest
    path = Path(own.checkpoint)
    what = "is not there any more" if not path.is_file() else "has changed since"
    if path.is_file() and content_hash(path) == own.checkpoint_sha256:
        return path
    raise GalleryError(
        f"{gallery.place} was indexed with the checkpoint {path}, which {what}. Say with --method which one is to be "
        "used; to have the gallery remember it: "
        f"composir index {own.root} --gallery {gallery.place} --method CHECKPOINT"
    )


def load_wanted(wanted: Wanted, data: str = "", device: str = "auto") -> Method:
    """Build a method.

    Args:
        wanted: Which.
        data: Name of the data set it is for: Slerp and its kin take their alpha by it where none is given. "" = none,
            or that for which the backbone was made.
        device: auto, cpu, cuda, cuda:1, mps.

    Raises:
        ComposirError: A part is not usable, or the device is not.
    """
    from composir import checkpoint
    from composir.backbones import load_backbone
    from composir.methods.slerp import ALPHA, MADE_FOR, Slerp

    arguments = dict(wanted.arguments)
    kind = load_class("composir.methods", wanted.name, "method", arguments, leave_out="backbone")
    purpose = data or MADE_FOR.get(wanted.backbone, "")
    if issubclass(kind, Slerp) and "alpha" not in arguments and purpose in ALPHA:
        arguments["alpha"] = purpose
    backbone = load_backbone(wanted.backbone, wanted.revision) if wanted.backbone else None
    path = wanted.checkpoint
    if path is not None and read_header(path).method == wanted.name:
        return on_device(checkpoint.load(path, backbone, arguments=arguments), device)
    if path is not None:
        backbone = checkpoint.load(path, backbone).backbone
    return on_device(methods.load_method(wanted.name, cast("Backbone", backbone), **arguments), device)


def on_device(method: Method, device: str) -> Method:
    """The method on its device; "auto" is a GPU where there is one.

    Raises:
        ComposirError: There is no such device.
    """
    import torch

    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        return method.to(device)
    except (RuntimeError, AssertionError) as error:
        raise ComposirError(f"device {device!r} cannot be used ({error}); say --device cpu") from error
