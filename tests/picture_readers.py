"""Readers that worker processes of the loading tests can import: what honest and hostile files do."""

import os
import signal
import sys
import time
from pathlib import Path

import numpy as np
from PIL import Image


def colour(item: int) -> Image.Image:
    """A plain picture whose red channel tells its number."""
    return Image.new("RGB", (40, 30), (item % 256, item // 256, 7))


def slow_first(item: int) -> Image.Image:
    if item % 7 == 0:
        time.sleep(0.02)
    return colour(item)


def noise(item: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(item).integers(0, 256, (64, 48, 3), dtype=np.uint8))


def bad_thirds(item: int) -> Image.Image:
    if item % 3 == 0:
        raise ValueError(f"number {item} is rotten")
    return colour(item)


def kills(item: int) -> Image.Image:
    if item == 5:
        os.kill(os.getpid(), 11)
    return colour(item)


def hangs(item: int) -> Image.Image:
    if item == 5:
        time.sleep(3600)
    return colour(item)


def spins(item: int) -> Image.Image:
    while item == 5:
        pass
    return colour(item)


def waits(item: int) -> Image.Image:
    if item == 5:
        time.sleep(1.0)
    return colour(item)


def eats_memory(item: int) -> Image.Image:
    if item == 5:
        np.ones((8 * 2**30,), dtype=np.uint8)
    return colour(item)


def dies_once(item: tuple[int, str]) -> Image.Image:
    """An innocent picture whose worker is killed from outside, once; the mark remembers it."""
    number, mark = item
    if number == 5 and not Path(mark).exists():
        Path(mark).touch()
        os.kill(os.getpid(), 9)
    return colour(number)


def tells_modules(item: int) -> Image.Image:
    """Red says whether transformers is loaded, green whether the encoder is stepped back for."""
    return Image.new("RGB", (32, 32), (200 if "transformers" in sys.modules else 0, os.nice(0), 0))


def tells_pid(item: str) -> Image.Image:
    Path(item).write_text(str(os.getpid()))
    return Image.new("RGB", (32, 32))


def freezes(item: int) -> Image.Image:
    """Hangs with its alarm clock taken away, as on a system that has none."""
    if item == 5:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.setitimer(signal.ITIMER_PROF, 0)
        time.sleep(3600)
    return colour(item)
