"""Reverse search by Bi-BLIP4CIR, as its checkpoint is used: a few drawings, ranked by hand."""

from __future__ import annotations

from itertools import pairwise

import torch
from moved import changed
from PIL import Image

from composir import checkpoint
from composir.backbones import load_backbone
from composir.datasets import load_dataset
from composir.engine import Engine
from composir.gallery.store import Gallery
from composir.indexing import create_gallery, index_folder
from composir.methods import load_method

SMALL = {"stage": 2, "projection_dim": 12, "hidden_dim": 16}


def test_reverse_search_of_a_bi_blip4cir_checkpoint_is_its_way_back(tmp_path):
    drawn, root, text = (
        load_dataset("wardrobe", train=6, val=6, test=6),
        tmp_path / "drawings",
        "is red and has no logo",
    )
    root.mkdir()
    for pair in [*drawn.pairs("train"), *drawn.pairs("val")]:
        drawn.image(pair.image).save(root / f"{pair.image}.png")
    path = tmp_path / "best.safetensors"
    trained = changed(load_method("bi-blip4cir", load_backbone("blip-tiny"), **SMALL))
    checkpoint.save(path, trained, arguments=SMALL)
    method = checkpoint.load(path)
    gallery = create_gallery(tmp_path / "g", method, root)
    index_folder(gallery, method, root, workers=0)
    names = sorted(own.name for own in root.iterdir())
    with torch.inference_mode():
        seen = {
            name: method.encode_gallery(method.transform("gallery")(Image.open(root / name))[None])[0, 0]
            for name in names
        }
        target = method.encode_reference(method.transform("reference")(Image.open(root / names[4]))[None])
        ways = {way.__name__: way(target, [text])[0, 0] for way in (method.compose_reversed, method.compose)}
    scores = {way: {name: float(query @ own) for name, own in seen.items()} for way, query in ways.items()}
    engine = Engine(method, Gallery.open(tmp_path / "g"))
    for way, reverse in (("compose_reversed", True), ("compose", False)):
        hits = engine.search(root / names[4], text, k=99, reverse=reverse, keep_reference=True)
        found = {hit.path: hit.score for hit in hits}
        assert found.keys() == set(names)
        # The gallery is kept in half precision, so what lies closer than this may change places.
        assert all(abs(found[name] - scores[way][name]) < 1e-3 for name in names)
        wanted = [scores[way][hit.path] for hit in hits]
        assert all(one > other - 2e-3 for one, other in pairwise(wanted))
    apart = max(abs(scores["compose_reversed"][name] - scores["compose"][name]) for name in names)
    assert apart > 1e-2, "both ways answer alike, so this tells nothing"  # ten times what may differ
    assert names[4] not in {hit.path for hit in engine.search(root / names[4], text, k=99, reverse=True)}
