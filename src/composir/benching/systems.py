"""The systems that are measured: each is built over half-precision vectors and gives the best rows of one query."""

from __future__ import annotations

import tempfile
from abc import ABC, abstractmethod
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float16, Float32, Int
from numpy.typing import NDArray

from composir.errors import ComposirError
from composir.similarity.approximate import CHUNK, RECALL, Approximate
from composir.similarity.nearest import Nearest, Products, Wanted
from composir.similarity.quantized import Codes

NEAR = 0.001  # of the recall of all lists


class System(ABC):
    """Something that searches.

    Attributes:
        name: As users type it.
        exact: Whether it promises to find the best.
        keeps: Whether it goes on reading the rows it was built from, so that they count as its memory.
    """

    name: ClassVar[str]
    exact: ClassVar[bool] = True
    keeps: ClassVar[bool] = False

    @abstractmethod
    def __init__(self, rows: Float16[NDArray, "N D"]): ...

    @abstractmethod
    def search(self, query: Float32[NDArray, " D"], k: int) -> Int[NDArray, " K"]:
        """The k best rows, best first."""

    def note(self) -> str:
        """What was chosen when it was built."""
        return ""

    def close(self) -> None:  # noqa: B027  (most hold memory only)
        """Give back what it holds on disk."""


class NumPy(System):
    """A product in single precision, argpartition, and a sort of what is left."""

    name = "numpy"

    def __init__(self, rows):
        self._rows = rows.astype(np.float32)

    def search(self, query, k):
        """See `System`."""
        scores = self._rows @ query
        found = np.argpartition(scores, -k)[-k:]
        return found[np.argsort(-scores[found], kind="stable")]


class Torch(System):
    """A product in single precision, and topk."""

    name = "torch"

    def __init__(self, rows):
        self._rows = torch.from_numpy(rows).float()

    def search(self, query, k):
        """See `System`."""
        return torch.mv(self._rows, torch.from_numpy(query)).topk(k).indices.numpy()


class Composir(System):
    """Eight-bit scan, then true scores of all rows that its error allows among the best."""

    name = "composir"
    keeps = True

    def __init__(self, rows):
        self._nearest = Nearest(rows[:, None], Codes(rows[:, None]))

    def search(self, query, k):
        """See `System`."""
        return self._nearest.best(Wanted.of(query[None]), k)[0]


class ComposirProducts(System):
    """The same without the scale extra: a scan in single precision."""

    name = "composir-products"
    keeps = True

    def __init__(self, rows):
        self._nearest = Nearest(rows[:, None], Products(rows[:, None]))

    def search(self, query, k):
        """See `System`."""
        return self._nearest.best(Wanted.of(query[None]), k)[0]


class ComposirApproximate(System):
    """Inverted lists, then true scores."""

    name = "composir-approximate"
    exact = False
    keeps = True

    def __init__(self, rows):
        self._lists = Approximate(Nearest(rows[:, None], Codes(rows[:, None])))

    def search(self, query, k):
        """See `System`."""
        return self._lists.best(Wanted.of(query[None]), k)[0]

    def note(self):
        """See `System`."""
        return f"{self._lists.probes} of {self._lists.lists} lists"


class FaissFlat(System):
    """faiss' exhaustive search."""

    name = "faiss-flat"
    factory: ClassVar[str] = "Flat"

    def __init__(self, rows):
        import faiss

        self._index = faiss.index_factory(rows.shape[1], self.factory, faiss.METRIC_INNER_PRODUCT)
        for start in range(0, len(rows), CHUNK):
            self._index.add(rows[start : start + CHUNK].astype(np.float32))

    def search(self, query, k):
        """See `System`."""
        return self._index.search(query[None], k)[1][0]


class FaissHnsw(FaissFlat):
    """faiss' graph; what it finds depends on how far it looks, 128 here."""

    name = "faiss-hnsw"
    exact = False
    factory = "HNSW32"

    def __init__(self, rows):
        super().__init__(rows)
        self._index.hnsw.efSearch = 128  # pyright: ignore[reportAttributeAccessIssue]

    def note(self):
        """See `System`."""
        return "M 32, efSearch 128"


class FaissIvf(System):
    """faiss' inverted lists as they are, over as many lists as `composir-approximate`; the fewest that reach 0.99.

    Eight bits alone may end below that: then the fewest whose recall is within a thousandth of that of all lists.
    """

    name = "faiss-ivf"
    exact = False

    def __init__(self, rows):
        exact = Nearest(rows[:, None], Codes(rows[:, None]))
        lists = Approximate(exact)
        self._index, self._count = lists.index, lists.lists
        at_best = lists.recall_of(self._found, lists.lists)
        self._probes, _ = lists.fewest(self._found, min(RECALL, at_best - NEAR))
        self._index.nprobe = self._probes

    def _found(self, query, k, probes):
        self._index.nprobe = probes
        return self._index.search(query[None], k)[1][0]

    def search(self, query, k):
        """See `System`."""
        return self._index.search(query[None], k)[1][0]

    def note(self):
        """See `System`."""
        return f"{self._probes} of {self._count} lists"


class Lance(System):
    """LanceDB on disk, without an index."""

    name = "lancedb"

    def __init__(self, rows):
        import lancedb
        import pyarrow as pa

        self._folder = tempfile.TemporaryDirectory()
        width = rows.shape[1]
        schema = pa.schema([("row", pa.int64()), ("vector", pa.list_(pa.float32(), width))])

        def batches():
            for start in range(0, len(rows), CHUNK):
                part = rows[start : start + CHUNK].astype(np.float32)
                lists = pa.FixedSizeListArray.from_arrays(pa.array(part.reshape(-1)), width)
                yield pa.record_batch([pa.array(np.arange(start, start + len(part))), lists], schema=schema)

        self._table = lancedb.connect(self._folder.name).create_table("rows", batches(), schema=schema)

    def search(self, query, k):
        """See `System`."""
        asked: Any = self._table.search(query)
        return asked.distance_type("dot").select(["row", "_distance"]).limit(k).to_arrow()["row"].to_numpy()

    def close(self):
        """See `System`."""
        self._folder.cleanup()


KINDS = (NumPy, Torch, Composir, ComposirProducts, ComposirApproximate, FaissFlat, FaissIvf, FaissHnsw, Lance)
SYSTEMS: dict[str, type[System]] = {kind.name: kind for kind in KINDS}


def chosen(names: list[str]) -> dict[str, type[System]]:
    """Some systems by name; all for none.

    Raises:
        ComposirError: There is none of that name.
    """
    for name in names:
        if name not in SYSTEMS:
            raise ComposirError(f"no system {name!r} is measured; known: {', '.join(SYSTEMS)}")
    return {name: SYSTEMS[name] for name in names} if names else SYSTEMS
