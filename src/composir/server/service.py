"""What the server asks of the engine: one protocol, called by one thread wherever a model computes.

The server has done by then what concerns the network: the reference is decoded (in a child process), looked up, or a
tensor of finite numbers. A service computes, ranks and remembers encodings.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

from jaxtyping import Float, UInt8
from numpy.typing import NDArray

from composir.errors import ComposirError

if TYPE_CHECKING:
    from composir.backbones.transform import Transform

Stage = Literal["fetch", "decode", "encode_image", "encode_text", "compose", "search", "thumbnail"]
Clock = Callable[[Stage], AbstractContextManager[None]]
"""Times a stage: `with clock("compose"): ...`."""

Side = Literal["gallery", "reference"]
Value = str | int | float | bool | None


class StaleCursorError(ComposirError):
    """A cursor that leads nowhere: of another gallery, another query, or a page that is no more."""


class NotFoundError(ComposirError):
    """An id, a method or a page that is not there (any more)."""


@dataclass(frozen=True, slots=True)
class StoredPicture:
    """Where a gallery picture lies.

    Attributes:
        id: Of its content; a file with other bytes is not shown.
        root: The indexed folder.
        paths: Below `root`, POSIX style; the first that still holds the picture is read.
        follow_symlinks: Whether the gallery was indexed through symbolic links, so that a path may lead out of `root`.
    """

    id: str
    root: Path
    paths: tuple[str, ...]
    follow_symlinks: bool = False


@dataclass(frozen=True, slots=True)
class Reference:
    """The picture of a query; of the three a service uses the first that is there.

    Attributes:
        id: By content, of a gallery picture or an upload; None for a tensor. The key of cached encodings.
        tensor: (R, C) float32, what `Method.encode_reference` gives for one picture.
        pixels: As `Transform.pixels` gives them; None where `Service.knows` said that they are not needed.
    """

    id: str | None = None
    tensor: Float[NDArray, "R C"] | None = None
    pixels: UInt8[NDArray, "3 S S"] | None = None


@dataclass(frozen=True, slots=True)
class SearchRequest:
    """One query, checked for form but not for meaning.

    Attributes:
        reference: None for words alone.
        text: What should differ; "" for none.
        method: Name, None for the server's own.
        alpha: 0 is the picture alone, 1 the words alone; None for the method's default.
        weights: By direction, as the method names them; empty for its default.
        without: Words for what must not show.
        keep: Ids whose look is wanted.
        avoid: Ids whose look is not.
        where: An SQL-like filter over the gallery's columns, "" for none.
        k: How many hits.
        cursor: Where an earlier answer left off, as it said.
        keep_reference: Rank the reference too, if it is in the gallery.
        reverse: The picture is the target; references are looked for.
        fold: Hide near-duplicates of better hits.
        targets: Ids whose ranks to tell.
        state: What `Service.state` told when the reference was decoded or found to be known; None for what is served
            when the request is computed.
    """

    reference: Reference | None = None
    text: str = ""
    method: str | None = None
    alpha: float | None = None
    weights: Mapping[str, float] = field(default_factory=dict)
    without: tuple[str, ...] = ()
    keep: tuple[str, ...] = ()
    avoid: tuple[str, ...] = ()
    where: str = ""
    k: int = 10
    cursor: str | None = None
    keep_reference: bool = False
    reverse: bool = False
    fold: bool = False
    targets: tuple[str, ...] = ()
    state: object = field(default=None, repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class FoundPicture:
    """One hit; `why` has its similarity to "image", "text" and "composed" as far as the method tells them.

    `folded` are the near-duplicates that it hides.
    """

    rank: int
    id: str
    path: str
    score: float
    why: Mapping[str, float] = field(default_factory=dict)
    metadata: Mapping[str, Value] = field(default_factory=dict)
    folded: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SearchAnswer:
    """Hits, best first; `cursor` asks for the next ones (letters, digits, _ and -; at most 1024), None at the end.

    `total` is how many pictures were ranked, `target_ranks` has the ranks of the request's targets among them,
    `folded_among` how many of the best are looked through for near-duplicates, if any. `unread` are the ends of words
    of the request that are too long for the backbone, which cuts them.
    """

    hits: tuple[FoundPicture, ...]
    method: str
    gallery_version: str
    cursor: str | None = None
    total: int = 0
    target_ranks: Mapping[str, int] = field(default_factory=dict)
    folded_among: int | None = None
    unread: tuple[str, ...] = ()


Answering = Generator[None, None, SearchAnswer]
"""An answer that takes long, in pieces of some milliseconds; what it returns, or raises, is the answer."""


@dataclass(frozen=True, slots=True)
class MethodInfo:
    """A method that fits the gallery; `controls` names what it takes beside picture and words, e.g. "alpha"."""

    name: str
    controls: tuple[str, ...]
    gallery_key: str
    default: bool
    words_alone: bool = True
    title: str = ""


@dataclass(frozen=True, slots=True)
class GalleryInfo:
    """The gallery that is served; `columns` are what filters can name, with their types.

    `benchmark` is whose queries `Service.queries` tells, `judging` whether `Service.judge` keeps anything.
    """

    name: str
    pictures: int
    version: str
    key: str
    method: str
    backbone: str
    columns: Mapping[str, str] = field(default_factory=dict)
    benchmark: str | None = None
    judging: bool = False


@dataclass(frozen=True, slots=True)
class KnownQuery:
    """A benchmark's query in ids of the gallery."""

    id: str
    reference: str
    text: str
    targets: tuple[str, ...]
    subset: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a person says of the answers to one query."""

    reference: str
    text: str
    right: tuple[str, ...]
    wrong: tuple[str, ...]


@runtime_checkable
class Service(Protocol):
    """An engine as the server sees it.

    `search`, `embed_texts`, `embed_pictures` and `warm` compute and are called by one thread, one at a time. The others
    answer from memory within a millisecond and may be called by other threads meanwhile.
    """

    def state(self) -> object:
        """What is served now, as one hashable thing that means something to the service alone; it may be None.

        What is looked up by it is computed by it, even if another edition has taken over meanwhile: so a picture is
        decoded, judged known and encoded by one and the same method.
        """
        ...

    def search(
        self, requests: Sequence[SearchRequest], clock: Clock
    ) -> Sequence[SearchAnswer | Answering | ComposirError]:
        """Answer several queries together; an answer each, in their order, the same as if each were alone.

        One that takes long is gone on with by the same thread, between others.
        """
        ...

    def embed_texts(self, texts: Sequence[str], method: str | None, clock: Clock) -> Float[NDArray, "N T D"]:
        """Unit vectors of words, comparable to gallery vectors.

        Raises:
            ComposirError: The method has no place for words in the gallery's space, or is unknown.
        """
        ...

    def embed_pictures(
        self, pixels: UInt8[NDArray, "N 3 S S"], method: str | None, clock: Clock, state: object = None
    ) -> Float[NDArray, "N T D"]:
        """Gallery vectors of pictures, decoded by `transform("gallery", method, state)`."""
        ...

    def transform(self, side: Side, method: str | None, state: object = None) -> Transform:
        """How a picture is decoded for that side, at a `state`; None for now.

        Raises:
            NotFoundError: No such method.
        """
        ...

    def side(self, request: SearchRequest) -> Side:
        """As which side's picture the reference of a request is decoded."""
        ...

    def knows(self, reference: str, request: SearchRequest) -> bool:
        """Whether `request` can be answered without the pixels of the reference with that id."""
        ...

    def picture(self, id: str) -> StoredPicture:
        """Where a gallery picture lies.

        Raises:
            NotFoundError: The gallery has no such picture.
        """
        ...

    def find(self, path: str) -> str:
        """Id of the picture that is indexed at a path below the gallery's folder, POSIX style; no file is opened.

        Raises:
            NotFoundError: None is.
        """
        ...

    def methods(self) -> Sequence[MethodInfo]:
        """Those that fit the gallery, the default first."""
        ...

    def info(self) -> GalleryInfo:
        """What is served."""
        ...

    def queries(self, start: int, count: int) -> tuple[int, Sequence[KnownQuery]]:
        """How many queries the benchmark has, and `count` of them from `start` on; (0, []) without one."""
        ...

    def judge(self, verdict: Verdict, upload: bytes | None) -> tuple[int, str]:
        """Keep a verdict; may take milliseconds and touch the disk, so it is called by a thread of its own.

        Args:
            verdict: It takes the place of an earlier one on the same reference and text.
            upload: The JPEG of a reference that is not in the gallery.

        Returns:
            Queries judged so far, and the folder that `composir eval --data jsonl --root` reads.

        Raises:
            NotFoundError: A picture that the gallery does not have.
            ComposirError: Judging is off, or the folder cannot be written.
        """
        ...

    def warm(self) -> None:
        """Encode a real picture and real words, and search; the server is ready when this returns."""
        ...

    def close(self) -> None:
        """Give everything back; nothing is called after it."""
        ...
