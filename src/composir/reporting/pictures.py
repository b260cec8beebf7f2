"""The pictures of a report, small and each in the file once, however often it is shown."""

from __future__ import annotations

import base64
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from composir.datasets import load_dataset
from composir.datasets.base import Dataset
from composir.datasets.files import FileDataset
from composir.errors import ComposirError
from composir.images import thumbnail
from composir.reporting.links import page_link
from composir.reporting.markup import Html, quoted, tag

SIDE = 96  # longest side of a thumbnail, in pixels


class Album:
    """Thumbnails as JPEG, re-encoded so that no metadata travels with them.

    They stand once in a definition and are shown by reference: that needs no script, and prints.

    Args:
        wanted: False leaves all pictures out.
        search: Address of a search page that `link` leads to; "" for no link.
    """

    def __init__(self, wanted: bool = True, search: str = ""):
        self.wanted, self.search = wanted, search
        self.failed: dict[str, str] = {}
        self.why = "" if wanted else "The pictures were left out on request, so ids stand in their places."
        self._dataset: Dataset | None = None
        self._numbers: dict[bytes, int] = {}  # by content: copies of a picture share one
        self._known: dict[str, int | None] = {}

    def open(self, data: Mapping[str, Any]) -> None:
        """Take pictures from the data set that a result names; `why` says what is wrong where it cannot be opened."""
        self._dataset, self._known, self.failed = None, {}, {}
        if not self.wanted and not self.search:
            return
        self.why = self.why if not self.wanted else ""
        place = {"root": data["root"]} if data.get("root") else {}
        try:
            self._dataset = load_dataset(data["name"], **place, **(data.get("arguments") or {}))
        except (ComposirError, OSError) as error:
            self.why = self.why or f"The pictures cannot be had, so ids stand in their places: {error}"

    def link(self, reference: str, text: str) -> str | None:
        """Where a composed query can be asked again, or None where no search page was named.

        Paths are relative to the folder that holds all pictures of the data set: those of an index of just that. A
        picture without a file goes by its id.
        """
        if not self.search:
            return None
        data = self._dataset
        path = data.path(reference) if isinstance(data, FileDataset) else None
        if path is None or not isinstance(data, FileDataset):
            return page_link(self.search, reference, text)
        folder = os.path.commonpath([os.path.abspath(root) for root in data.images.roots])
        return page_link(self.search, Path(os.path.relpath(os.path.abspath(path), folder)).as_posix(), text)

    def show(self, image_id: str, told: str) -> Html:
        """The picture, or its id where it cannot be had.

        Args:
            image_id: As the data set names it.
            told: What it is, for those who do not see it.
        """
        number = self._number(image_id)
        if number is None:
            return tag("span", quoted(image_id), class_="picture absent", title=image_id)
        box = f"0 0 {SIDE} {SIDE}"
        use = tag("use", href=f"#p{number}")
        label = f"{told}: {image_id}"
        return tag("svg", tag("title", image_id), use, viewBox=box, role="img", aria_label=label, class_="picture")

    def definitions(self) -> Html:
        """All pictures shown so far; belongs into the page once."""
        made = [
            tag("image", id=f"p{number}", width=SIDE, height=SIDE, href=_uri(jpeg))
            for jpeg, number in self._numbers.items()
        ]
        return tag("svg", tag("defs", made), width="0", height="0", class_="album", aria_hidden="true")

    def _number(self, image_id: str) -> int | None:
        if image_id not in self._known:
            self._known[image_id] = self._fresh(image_id)
        return self._known[image_id]

    def _fresh(self, image_id: str) -> int | None:
        if self._dataset is None or not self.wanted:
            return None
        try:
            jpeg = thumbnail(self._dataset.image(image_id), SIDE)
        except (ComposirError, OSError) as error:
            self.failed[image_id] = str(error)
            return None
        return self._numbers.setdefault(jpeg, len(self._numbers))


def _uri(jpeg: bytes) -> str:
    return f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode('ascii')}"
