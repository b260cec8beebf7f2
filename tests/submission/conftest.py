"""Drawn benchmarks, the truth of their hidden test splits laid open beside them, and prediction files over the real."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from composir.datasets import load_dataset
from composir.datasets.wardrobe.writers import write
from composir.submission.truth import Truth

SIZE = {"cirr": 600, "circo": 120}  # more than 50 pictures in a gallery


class Made(dict[str, Path]):
    """Folders that are made when they are asked for."""

    def __init__(self, make: Callable[[str], Path]) -> None:
        super().__init__()
        self._make = make

    def __missing__(self, name: str) -> Path:
        self[name] = self._make(name)
        return self[name]


@pytest.fixture(scope="session")
def drawn(tmp_path_factory) -> Made:
    """Folders by layout, drawn small; the test splits are hidden."""
    root = tmp_path_factory.mktemp("drawn")
    return Made(lambda name: write(root / name, name, size=SIZE[name], image_size=64, workers=1).path)


@pytest.fixture(scope="session")
def opened(drawn, tmp_path_factory) -> Made:
    """The annotations of the same, with the truth of the test split where the benchmark has it hidden."""
    root = tmp_path_factory.mktemp("opened")

    def make(name: str) -> Path:
        shutil.copytree(drawn[name], root / name, ignore=shutil.ignore_patterns("*.png", "*.jpg", "truth"))
        for part in drawn[name].joinpath("truth").iterdir():
            if part.is_dir():
                shutil.copytree(part, root / name / part.name, dirs_exist_ok=True)
        return root / name

    return Made(make)


@pytest.fixture(scope="session")
def truth(shared_data) -> Callable[..., Truth]:
    """truth("cirr", "val") reads the real annotations, truth("cirr", "val", root) others."""
    known = {}

    def read(name: str, split: str, root: Path | None = None) -> Truth:
        key = name, split, root
        if key not in known:
            known[key] = Truth.of(load_dataset(name, root=root or shared_data / name), split)
        return known[key]

    return read


@pytest.fixture
def put(tmp_path) -> Callable[..., Path]:
    """put(value, "name.json") writes JSON and gives its path."""

    def save(value: object, name: str = "prediction.json") -> Path:
        path = tmp_path / name
        path.write_text(value if isinstance(value, str) else json.dumps(value), encoding="utf-8")
        return path

    return save


@pytest.fixture(scope="session")
def cirr_lists(shared_data) -> Callable[..., dict]:
    """cirr_lists("perfect") makes a recall file over the real val split; also "random", "constant"."""
    records = json.loads((shared_data / "cirr/captions/cap.rc2.val.json").read_text("utf-8"))
    names = list(json.loads((shared_data / "cirr/image_splits/split.rc2.val.json").read_text("utf-8")))

    def make(how: str, length: int = 50, subset: bool = False) -> dict:
        rng = random.Random(7)
        found = {"version": "rc2", "metric": "recall_subset" if subset else "recall"}
        for record in records:
            among = record["img_set"]["members"] if subset else names
            # Enough for 50 others than the reference and the target.
            order = among[: length + 2] if how == "constant" else rng.sample(among, min(len(among), length + 2))
            if how == "perfect":
                order = [record["target_hard"], *(n for n in order if n != record["target_hard"])]
            found[str(record["pairid"])] = [n for n in order if n != record["reference"]][:length]
        return found

    return make
