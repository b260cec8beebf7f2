"""A run of a few seconds: a run file over a handful of drawn garments."""

from __future__ import annotations

from pathlib import Path

import pytest

from composir import checkpoint
from composir.backbones import load_backbone
from composir.config import RunConfig, load_config
from composir.methods import load_method

RUN = """
[backbone]
name = "scratch"
image_size = 16
patch_size = 8
image_width = 16
image_layers = 1
image_heads = 2
text_width = 16
text_layers = 1
text_heads = 2
dim = 8
context = 40
vocab_size = 540

[method]
name = "contrastive"

[data]
name = "wardrobe"
train = 48
val = 18
test = 6

[train]
epochs = 3
batch_size = 16
lr = 2e-3
workers = 0
"""

TRIPLETS = """
[backbone]
name = "clip-tiny"

[method]
name = "clip4cir"
stage = 2
projection_dim = 8
hidden_dim = 8

[data]
name = "wardrobe"
train = 48
val = 18
test = 6

[train]
epochs = 3
batch_size = 16
lr = 2e-3
workers = 0
"""


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """Features go where nobody else looks."""
    monkeypatch.setenv("COMPOSIR_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "features"


@pytest.fixture
def load(tmp_path):
    """load("train.lr=1", ...) gives the run on pairs, load(..., text=TRIPLETS) another."""

    def load(*overrides: str, text: str = RUN) -> RunConfig:
        path = tmp_path / "tiny.toml"
        path.write_text(text, encoding="utf-8")
        return load_config(path, overrides)

    return load


@pytest.fixture
def triplets(load, tmp_path):
    """The run on triplets; its first stage is one that has changed nothing."""
    first = tmp_path / "stage-1.safetensors"
    checkpoint.save(first, load_method("clip4cir", load_backbone("clip-tiny"), stage=1), arguments={"stage": 1})

    def triplets(*overrides: str) -> RunConfig:
        return load(f"init={first}", *overrides, text=TRIPLETS)

    return triplets


@pytest.fixture
def recipe() -> str:
    """The run file on pairs."""
    return RUN


@pytest.fixture
def triplet_recipe() -> str:
    """The run file on triplets."""
    return TRIPLETS


@pytest.fixture
def dropping(load, monkeypatch):
    """The run on triplets by the method in dropping.py."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    part = TRIPLETS[TRIPLETS.index("[method]") : TRIPLETS.index("[data]")]
    text = TRIPLETS.replace(part, '[method]\nname = "dropping:Dropping"\n\n')

    def dropping(*overrides: str) -> RunConfig:
        return load(*overrides, text=text)

    return dropping
