"""A gallery's place in an object store: S3 and what speaks like it, Google's, Azure's.

Access is told by the environment, as LanceDB takes it: `ACCESS`, or what the machine's role in the cloud allows.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

from composir.errors import GalleryError
from composir.gallery.place import Held, Place

try:
    import obstore
    from obstore.exceptions import AlreadyExistsError, BaseError, PreconditionError
    from obstore.store import from_url
except ImportError as error:
    message = f"object storage needs the scale extra ({error.name} is missing): pip install 'composir[scale]'"
    raise GalleryError(message) from error

LOGGER = logging.getLogger(__name__)
ACCESS = (
    "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION, AWS_ENDPOINT for s3://, GOOGLE_SERVICE_ACCOUNT for gs://, "
    "AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY for az://"
)
LOCK = "lock"
SIGNS = 8  # of the lock's last writings that are remembered
LEASE = 30.0  # seconds without a sign of life after which a writer counts as dead
PATIENCE: Any = {"max_retries": 4, "retry_timeout": timedelta(seconds=20)}
OWN = ("images.lance/", "files.lance/", "metadata.lance/")  # what a creation that was stopped may have left


class Bucket(Place):
    """A place under a prefix of a bucket."""

    apart = True

    def __init__(self, uri: str):
        self._uri, self.name = uri, uri.rsplit("/", 1)[-1]
        root = os.environ.get("COMPOSIR_CACHE")
        cache = Path(root).expanduser() if root else Path.home() / ".cache" / "composir"
        self.shelves = cache / "shelves" / hashlib.sha256(uri.encode()).hexdigest()[:32]
        with self._reached():
            self._store = from_url(uri, retry_config=PATIENCE)

    def __str__(self) -> str:
        return self._uri

    def __truediv__(self, name: str) -> Bucket:
        return Bucket(f"{self._uri}/{name}")

    def read(self, name: str) -> str | None:
        """See `Place.read`."""
        with self._reached():
            try:
                return bytes(obstore.get(self._store, name).bytes()).decode(errors="replace")
            except FileNotFoundError:
                return None

    def replace(self, name: str, text: str) -> None:
        """See `Place.replace`: a store shows an object whole or not at all."""
        with self._reached():
            obstore.put(self._store, name, text.encode())

    def holds(self, name: str) -> bool:
        """See `Place.holds`."""
        with self._reached():
            for found in obstore.list(self._store, prefix=name, chunk_size=1):
                return bool(found)
            try:
                obstore.head(self._store, name)
            except FileNotFoundError:
                return False
            return True

    def within(self) -> list[str]:
        """See `Place.within`."""
        with self._reached():
            found = [own.rstrip("/").rsplit("/", 1)[-1] for own in self._listed()]
        return sorted(name for name in found if not name.startswith("."))

    def sizes(self) -> dict[str, int]:
        """See `Place.sizes`."""
        with self._reached():
            return {own["path"]: own["size"] for page in obstore.list(self._store) for own in page}

    @contextmanager
    def exclusive(self, otherwise: str, name: str = LOCK) -> Iterator[Held]:
        """See `Place.exclusive`: a lease; the next writer waits `LEASE` seconds for one that a dead writer left."""
        lease = Lease(self, self._store, name, otherwise)
        try:
            yield lease.held
            lease.held()
        finally:
            lease.end()

    @contextmanager
    def building(self) -> Iterator[Bucket]:
        """See `Place.building`: the manifest, written last, makes a gallery of it."""
        with self.exclusive(f"{self} is being made by another process; wait until it is done"):
            if self.holds("gallery.json"):
                raise GalleryError(f"{self} holds a gallery already; name another place")
            if foreign := [name for name in self.sizes() if name != LOCK and not name.startswith(OWN)]:
                raise GalleryError(
                    f"{self} holds {foreign[0]} and is no gallery; name a place where there is nothing yet"
                )
            yield self

    def _listed(self) -> list[str]:
        return list(obstore.list_with_delimiter(self._store)["common_prefixes"])

    @contextmanager
    def _reached(self) -> Iterator[None]:
        try:
            yield
        except (BaseError, PermissionError) as error:
            raise unreachable(self, error) from error


class Lease:
    """A lock among machines: an object that its holder writes anew every few seconds, each time on top of its own."""

    def __init__(self, place: Place, store: Any, name: str, otherwise: str):
        self._place, self._store, self._name, self._otherwise = place, store, name, otherwise
        self._told: tuple[str, ...] = ()
        self._mark = self._taken()
        self._lost, self._ended = False, threading.Event()
        self._keeper = threading.Thread(target=self._keep, name="composir-lease", daemon=True)
        self._keeper.start()

    def held(self) -> None:
        """Tell whether it is ours still.

        Raises:
            GalleryError: It is not: the process stood still, or the store could not be reached, for too long.
        """
        if self._lost or clock() - self._written > LEASE:
            raise GalleryError(
                f"{self._place} may be written by another process now: this one gave no sign of life for "
                f"{LEASE:.0f} s; run the same command again, what was committed is kept"
            )

    def end(self) -> None:
        """Let another take it at once."""
        self._ended.set()
        self._keeper.join()
        if not self._lost:
            try:
                self._put(self._mark, state="free")
            except (BaseError, OSError) as error:
                LOGGER.warning("%s stays locked for %.0f s: %s", self._place, LEASE, error)

    def _taken(self) -> Any:
        try:
            found = self._seen()
            if found is None:
                return self._put(None)
            mark, state, _ = found
            if state != "free":
                self._outlive(mark)
            return self._put(mark)
        except (AlreadyExistsError, PreconditionError) as error:
            raise GalleryError(self._otherwise) from error
        except (BaseError, PermissionError) as error:
            raise unreachable(self._place, error) from error

    def _outlive(self, mark: Any) -> None:
        """Wait until a holder counts as dead: by our own clock, so that no two machines need agree on the time."""
        LOGGER.warning("%s is locked; waiting %.0f s for a sign of life of its writer", self._place, LEASE)
        until = clock() + LEASE
        while clock() < until:
            time.sleep(LEASE / 30)
            if (seen := self._seen()) is None or seen[0] != mark:
                raise GalleryError(self._otherwise)

    def _keep(self) -> None:
        while not self._lost and not self._ended.wait(LEASE / 6):
            try:
                self._renew()
            except (BaseError, OSError, GalleryError) as error:  # `held` tells once that went on for too long
                LOGGER.warning("the lock of %s could not be written anew: %s", self._place, error)

    def _renew(self) -> None:
        before = clock()
        try:
            self._mark = self._put(self._mark)
        except (AlreadyExistsError, PreconditionError):
            # Ours all the same where only the answer to our own writing was lost on its way.
            seen = self._seen()
            if seen is None or seen[2] not in self._told:
                self._lost = True
                return
            self._mark, self._written = seen[0], before

    def _seen(self) -> tuple[Any, str, str] | None:
        try:
            found = obstore.get(self._store, self._name)
            told = json.loads(bytes(found.bytes()))
            return _mark(found.meta), str(told["state"]), str(told["sign"])
        except FileNotFoundError:
            return None
        except (KeyError, TypeError, ValueError) as error:
            message = (
                f"{self._place}/{self._name} is none of composir's locks ({error}); name another place, or remove it"
            )
            raise GalleryError(message) from error

    def _put(self, mark: Any, state: str = "held") -> Any:
        sign = uuid.uuid4().hex
        self._told = (*self._told[-SIGNS:], sign)  # any of the last may be the one that arrived
        content = json.dumps({"state": state, "sign": sign}).encode()
        before = clock()
        put = obstore.put(self._store, self._name, content, mode="create" if mark is None else mark)
        self._written = before
        return _mark(put)


def unreachable(place: Place, error: Exception) -> GalleryError:
    """What is told where an object store refuses."""
    reason = " ".join(str(error).partition("Debug source")[0].split())[:300]
    return GalleryError(
        f"{place} cannot be reached ({reason}); check its name, the network, and the access that the environment "
        f"tells: {ACCESS}"
    )


def clock() -> float:
    """Seconds that go on while the machine sleeps, where the system counts those."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()


def _mark(meta: Any) -> Any:
    return {name: meta[name] for name in ("e_tag", "version") if meta[name] is not None}
