"""What holds for every test (shapes are checked, no network), and fixtures that several test files share."""

from __future__ import annotations

import gc
import importlib.util
import ipaddress
import json
import os
import random
import shutil
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from unittest import mock

# beartype looks at one item of a list by chance. It shall not draw that from the generator everybody shares: a thread
# that is still at work would then do so while hypothesis makes an example, which takes it for a fault of the test.
with mock.patch.object(random, "getrandbits", random.Random(0).getrandbits):
    import beartype._check.code.codemain  # noqa: F401  from here on holds that one

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from jaxtyping import install_import_hook
from PIL import Image

# Before anything of huggingface_hub is imported: it reads this once.
os.environ["HF_HUB_OFFLINE"] = "1"
# Before anything of composir is imported: from here on its annotations are checked at every call, shapes included.
# An int may stand for a float, as type checkers have it; and a wrong split reaches the code that refuses it by name.
SPLIT = "__import__('typing').Literal['train', 'val', 'test']"
CONF = f"is_pep484_tower=True, hint_overrides=beartype.FrozenDict({{{SPLIT}: str}})"
# Readers of text are left out: they hold no arrays, and a check at each of 100,000 records doubles the suite's time.
# So are the kernels, which numba could not compile with a check in them.
UNCHECKED = {"types", "datasets", "submission", "kernels"}
PARTS = {path.stem for path in Path(__file__).parents[1].glob("src/composir/[a-z]*")} - UNCHECKED
CHECKED = [f"composir.{part}" for part in sorted(PARTS)]
install_import_hook(CHECKED, f"beartype.beartype(conf=beartype.BeartypeConf({CONF}))")

# Before torch is imported. Its threads spin while they wait for each other: on a machine that also runs other tests,
# the tiny products of these cost four times as much with two threads as with one.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# numba tells OpenMP its own number, and torch would follow it from then on: sums would come in another order.
os.environ.setdefault("NUMBA_NUM_THREADS", "1")

BROWSER = ("/usr/bin/chromium", "/usr/bin/chromedriver")  # Debian's

# Its clocks measure the machine's load, not the code.
CALM = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("house", max_examples=40, **CALM)
settings.register_profile("thorough", max_examples=400, **CALM)  # `make test-slow`
settings.load_profile("house")


def pytest_configure() -> None:
    """Let no test, nor anything it imports, reach further than this machine."""
    for name in ("connect", "connect_ex"):
        setattr(socket.socket, name, _guarded(getattr(socket.socket, name)))
    resolve = socket.getaddrinfo

    def getaddrinfo(host, *args, **kwargs):
        _require_here(host)
        return resolve(host, *args, **kwargs)

    socket.getaddrinfo = getaddrinfo


def _guarded(connect):
    def guarded(self, address):
        if self.family in (socket.AF_INET, socket.AF_INET6):
            _require_here(address[0])
        return connect(self, address)

    return guarded


def _require_here(host: str | bytes | None) -> None:
    name = host.decode() if isinstance(host, bytes) else host or "localhost"
    try:
        here = ipaddress.ip_address(name.partition("%")[0]).is_loopback
    except ValueError:
        here = name == "localhost"
    if not here:
        raise RuntimeError(f"a test reached for the network: {name!r}; tests must need none")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of test data that is too large to commit; tests that need it are skipped where it is absent."""
    named = os.environ.get("COMPOSIR_TEST_DATA")
    folder = Path(named) if named else Path(__file__).resolve().parents[2] / "shared" / "data"
    if named and not folder.is_dir():
        pytest.fail(f"COMPOSIR_TEST_DATA names {folder}, which is no folder")
    if not folder.is_dir():
        pytest.skip(f"no test data at {folder}; set COMPOSIR_TEST_DATA to where it lies")
    return folder


@pytest.fixture(scope="module", autouse=True)
def _threads_end() -> Iterator[None]:
    """Let no thread of ours outlive the module whose tests began it: it would work beside other tests."""
    before = set(threading.enumerate())
    yield
    left = [t.name for t in threading.enumerate() if t not in before and t.name.startswith("composir")]
    assert not left, f"{left} are still at work"


@pytest.fixture(scope="session")
def machine_browser() -> tuple[str, str]:
    """Browser and driver; fails where they are lacking, for then they are required: else such tests were left out."""
    if why := _lacking():
        pytest.fail(why)
    return BROWSER


@pytest.fixture(scope="session")
def tiny_method():
    """Slerp over random tiny towers: every layer of the real thing, in milliseconds."""
    from composir.backbones import load_backbone
    from composir.methods import load_method

    return load_method("slerp", load_backbone("clip-tiny"))


@pytest.fixture
def pictures(tmp_path: Path) -> Callable[..., Path]:
    """A maker of folders of small distinct pictures: pictures(5) or pictures(["a.png", "b/c.jpg"]) gives the folder.

    Their times lie in the past, so that an index trusts their stamps, as it does with a user's files.
    """

    def make(names: int | Sequence[str], folder: str = "pictures", seed: int = 0) -> Path:
        root = tmp_path / folder
        root.mkdir(parents=True, exist_ok=True)
        for number, name in enumerate([f"{i:03}.png" for i in range(names)] if isinstance(names, int) else names):
            draw(root / name, seed + number)
        return root

    return make


@pytest.fixture
def damaged(tmp_path: Path) -> tuple[Path, str]:
    """A set in plain files with captions, and the name of the one training picture in it that is cut off."""
    from composir.datasets import load_dataset

    root = tmp_path / "set"
    (root / "images").mkdir(parents=True)
    drawn = load_dataset("wardrobe", train=24, val=6, test=6)
    for split in ("train", "val"):
        pairs = drawn.pairs(split)
        for pair in pairs:
            drawn.image(pair.image).save(root / "images" / f"{pair.image}.png")
        lines = [json.dumps({"image": pair.image, "captions": pair.captions}) for pair in pairs]
        (root / f"pairs.{split}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    bad = root / "images" / f"{drawn.pairs('train')[3].image}.png"
    bad.write_bytes(bad.read_bytes()[:300])
    return root, bad.stem


@pytest.fixture
def indexed(pictures, tmp_path: Path, tiny_method) -> Path:
    """A folder of twelve pictures that are indexed in tmp_path/g by `tiny_method`."""
    from composir.indexing import create_gallery, index_folder

    root = pictures(12)
    gallery = create_gallery(tmp_path / "g", tiny_method, root)
    index_folder(gallery, tiny_method, root, workers=0)
    return root


@pytest.fixture
def engine(indexed: Path, tmp_path: Path, tiny_method):
    """Over the gallery of `indexed`."""
    from composir.engine import Engine
    from composir.gallery.store import Gallery

    return Engine(tiny_method, Gallery.open(tmp_path / "g"))


@pytest.fixture
def encoded(engine, monkeypatch) -> list[int]:
    """How many pictures the engine's image encoder has seen, call by call."""
    seen: list[int] = []
    real = engine.method.backbone.embed_image
    monkeypatch.setattr(engine.method.backbone, "embed_image", lambda pixels: seen.append(len(pixels)) or real(pixels))
    return seen


def draw(path: Path, seed: int) -> None:
    """Write one picture that differs from those of every other seed."""
    corners = np.random.default_rng(seed).integers(0, 256, (4, 3, 3), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(corners).resize((60, 48), Image.Resampling.BICUBIC).save(
        path, format=path.suffix[1:].upper().replace("JPG", "JPEG")
    )


def _lacking() -> str:
    """What the tests in a browser lack here, and how to get it; "" for nothing."""
    lacking = [name for name in BROWSER if not shutil.which(name)]
    lacking += [name for name in ("playwright", "selenium") if not importlib.util.find_spec(name)]
    told = "apt-get install chromium chromium-driver; pip install 'composir[dev]'"
    return f"no {' and no '.join(lacking)}: {told}" if lacking else ""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what needs a browser where there is none, unless COMPOSIR_BROWSER is "required"."""
    if _lacking() and os.environ.get("COMPOSIR_BROWSER") != "required":
        seen = [item for item in items if {"chromium", "browser"} & set(getattr(item, "fixturenames", ()))]
        items[:] = [item for item in items if item not in set(seen)]
        config.hook.pytest_deselected(items=seen)


def pytest_terminal_summary(terminalreporter) -> None:
    """One line about what was left out."""
    if (why := _lacking()) and os.environ.get("COMPOSIR_BROWSER") != "required":
        terminalreporter.write_line(f"The tests in a browser were skipped: {why}")


def pytest_collection_finish() -> None:
    """Spare the collector what all tests have in common: a third of a million objects of imported libraries."""
    gc.collect()
    gc.freeze()
