"""Indexing that dies. The imports are paid for once: each death is that of a forked child.

Reads lines of JSON {"folder", "gallery", "when", "moment", "mark"} and answers each with the number of steps taken and
the seconds that were counted. "at": die after that step, a write to disk; 0 lives. "after": die from outside after
seconds, or live where all was done before. "amid": likewise, counted from the first batch that is encoded. "slowly": as
"after", while each batch takes a second and the interval between commits is the shipped one.
"""

import json
import os
import pathlib
import select
import signal
import sys
import time
import warnings

import lancedb.merge
import lancedb.table
import torch

from composir import indexing
from composir.backbones import load_backbone
from composir.gallery import store
from composir.gallery.store import Gallery
from composir.indexing import create_gallery, index_folder
from composir.methods import load_method

WRITES = (
    (lancedb.table.LanceTable, "add"),
    (lancedb.table.LanceTable, "delete"),
    (lancedb.table.LanceTable, "optimize"),
    (lancedb.merge.LanceMergeInsertBuilder, "execute"),
    (os, "replace"),
    (pathlib.Path, "rename"),
)
SHIPPED = indexing.COMMIT_SECONDS
steps = 0


def die_at(last: int) -> None:
    def step() -> None:
        global steps
        steps += 1
        if steps == last:
            os.kill(os.getpid(), signal.SIGKILL)

    for owner, name in WRITES:
        setattr(owner, name, followed_by(step, getattr(owner, name)))


def followed_by(step, write):
    def wrapped(*args, **kwargs):
        result = write(*args, **kwargs)
        step()
        return result

    return wrapped


def told_by(tells, encode):
    def telling(method, pixels):
        os.write(tells, b".")
        return encode(method, pixels)

    return telling


def after_a_while(encode):
    def slow(method, pixels):
        time.sleep(1.0)
        return encode(method, pixels)

    return slow


def index(folder: pathlib.Path, path: pathlib.Path, workers: int, tells: int | None) -> None:
    gallery = Gallery.open(path) if path.exists() else create_gallery(path, method, folder)  # which encodes a blank
    if tells is not None:
        indexing.encode = told_by(tells, indexing.encode)
    index_folder(gallery, method, folder, batch_size=2, workers=workers)


def die(folder: str, gallery: str, when: str, moment: float, mark: str) -> tuple[int, float]:
    (told, tells), (batch, batches) = os.pipe(), os.pipe()
    child = os.fork()
    if not child:
        os.environ["COMPOSIR_MARK"] = mark  # to be found in the environment of every process that this one starts
        if when == "at":
            die_at(int(moment))
        if when == "slowly":
            indexing.COMMIT_SECONDS = SHIPPED
            indexing.encode = after_a_while(indexing.encode)
        workers, telling = int(when in {"after", "amid"}), batches if when == "amid" else None
        index(pathlib.Path(folder), pathlib.Path(gallery), workers, telling)
        os.write(tells, str(steps).encode())
        os._exit(0)
    os.close(tells)
    os.close(batches)
    if when == "amid":
        os.read(batch, 1)
    start = time.monotonic()
    if when != "at":
        select.select([told], [], [], moment)  # what it tells at its end comes first if it lives on
        os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    lived = time.monotonic() - start
    answer = os.read(told, 20)
    os.close(told)
    os.close(batch)
    return int(answer or 0), lived


if __name__ == "__main__":
    warnings.filterwarnings("ignore", message="lancedb fork support")  # nothing of it runs yet when we fork
    torch.set_num_threads(1)  # a thread pool would not survive the fork
    indexing.COMMIT_SECONDS, indexing.COMPACT_COMMITS, store.MANY_COMMITS = 0.0, 3, 2
    method = load_method("slerp", load_backbone("clip-tiny"))
    for line in sys.stdin:
        print(json.dumps(die(**json.loads(line))), flush=True)
