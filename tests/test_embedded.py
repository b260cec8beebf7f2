"""The weights that ship: that they are what their card says, and that they are worth shipping."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import pytest
import torch

from composir.backbones import load_backbone
from composir.backbones.catalog import EMBEDDED
from composir.datasets.wardrobe import Wardrobe
from composir.evaluation import rank, report
from composir.methods import load_method
from composir.methods.slerp import ALPHA

FOLDER = EMBEDDED["wardrobe-clip"]
RESULTS = Path(__file__).parents[1] / "benchmarks" / "results" / "wardrobe_quality.json"


def test_card_names_these_weights_and_they_are_small():
    weights = (FOLDER / "model.safetensors").read_bytes()
    assert len(weights) <= 6_000_000
    card = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert hashlib.sha256(weights).hexdigest() in card
    assert not re.search(r"\{\w+\}|TODO|More Information", card), "a placeholder is left in the card"
    for section in ("recipe", "data", "seed", "steps", "## Scores", "## Limits"):
        assert section in card


def test_weights_are_half_precision_and_no_pickle():
    header = json.loads((FOLDER / "model.safetensors").read_bytes()[8:].split(b"}}", 1)[0] + b"}}")
    assert {entry["dtype"] for name, entry in header.items() if name != "__metadata__"} == {"F16"}
    assert {p.suffix for p in FOLDER.iterdir()} <= {".json", ".safetensors", ".md"}


@pytest.fixture(scope="module")
def backbone():
    return load_backbone("wardrobe-clip")


def test_words_mean_what_they_say(backbone):
    """Caption -> picture on unseen designs: chance is 1 in 300."""
    data = Wardrobe(train=6, val=6, test=300, seed=1)
    pairs = data.pairs("test")
    method = load_method("text-only", backbone)
    transform = method.transform("gallery")
    with torch.inference_mode():
        pictures = method.encode_gallery(torch.stack([transform(data.image(p.image)) for p in pairs]))[:, 0]
        words = method.compose(pictures[:, None], [p.captions[0] for p in pairs])[:, 0]
    hits = (words @ pictures.T).argmax(dim=1) == torch.arange(len(pairs))
    assert hits.float().mean() > 0.6


def test_both_modalities_are_needed(backbone):
    """On a catalogue of its own seed, composing beats either modality, as the published table says."""
    data = Wardrobe(train=6, val=6, test=600, seed=2)
    task = data.tasks("test")[0]
    scores = {}
    for name in ("image-only", "text-only", "slerp"):
        controls = {"alpha": ALPHA["wardrobe"]} if name == "slerp" else {}
        scores[name] = report(rank(load_method(name, backbone), task, data, **controls), task)["R@10"]
    assert scores["slerp"].low > scores["image-only"].high
    assert scores["slerp"].low > scores["text-only"].high


def test_published_alpha_is_the_one_chosen_on_val():
    protocol = json.loads(RESULTS.read_text(encoding="utf-8"))["protocol"]
    assert ALPHA["wardrobe"] == protocol["alpha_chosen"]


def test_published_figures_are_of_these_weights(backbone):
    protocol = json.loads(RESULTS.read_text(encoding="utf-8"))["protocol"]
    assert protocol["gallery_key"] == load_method("slerp", backbone).gallery_key()
