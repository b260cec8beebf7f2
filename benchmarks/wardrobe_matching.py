"""What the matching head of the embedded BLIP is worth on Wardrobe's test split; writes results/wardrobe_blip_matching.json.

python benchmarks/wardrobe_matching.py [--backbone wardrobe-blip]
"""

from __future__ import annotations

import argparse
from dataclasses import asdict

import torch
import torch.nn.functional as F
from rows import machine, write

from composir.backbones import load_backbone
from composir.backbones.blip import BlipBackbone
from composir.datasets.wardrobe import Wardrobe

GARMENTS, DEPTH, BATCH = 3000, 16, 256
FAMILY = 6  # neighbours in the catalogue that look alike


def yes(blip: BlipBackbone, texts: list[str], tokens: torch.Tensor) -> torch.Tensor:
    """Log-odds that each text tells of its image."""
    parts = [blip.match(texts[i : i + BATCH], tokens[i : i + BATCH]) for i in range(0, len(texts), BATCH)]
    logits = torch.cat(parts)
    return logits[:, 1] - logits[:, 0]


@torch.inference_mode()
def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backbone", default="wardrobe-blip")
    blip = load_backbone(parser.parse_args().backbone)
    assert isinstance(blip, BlipBackbone)
    data = Wardrobe(val=GARMENTS, test=GARMENTS, seed=0)
    pairs, transform = data.pairs("test"), blip.transform()
    texts, n = [p.captions[0] for p in pairs], len(pairs)
    pixels = torch.stack([transform(data.image(p.image)) for p in pairs])
    tokens = torch.cat([blip.tokens(part) for part in pixels.split(BATCH)])
    image, text = F.normalize(blip.project(tokens), dim=-1), F.normalize(blip.embed_text(texts), dim=-1)
    own = yes(blip, texts, tokens)
    sibling = [i + 1 if i % FAMILY < FAMILY - 1 else i - FAMILY + 1 for i in range(n)]
    random = (
        (torch.arange(n) + torch.randint(FAMILY, n - FAMILY, (n,), generator=torch.Generator().manual_seed(0))) % n
    ).tolist()
    apart = {"own_from_lookalike": sibling, "own_from_random": random}
    told = {name: (own > yes(blip, [texts[j] for j in other], tokens)) for name, other in apart.items()}
    best = (text @ image.T).topk(DEPTH, dim=1).indices
    asked = [text_ for text_ in texts for _ in range(DEPTH)]
    scores = torch.cat(
        [
            yes(blip, asked[k : k + DEPTH * BATCH], tokens[best.flatten()[k : k + DEPTH * BATCH]])
            for k in range(0, n * DEPTH, DEPTH * BATCH)
        ]
    ).view(n, DEPTH)
    first = best.gather(1, scores.argmax(dim=1, keepdim=True))[:, 0]
    right = torch.arange(n)
    write(
        "wardrobe_blip_matching",
        {
            "data": f"wardrobe, seed 0, test, {n} garments, full captions; look-alikes are of one family",
            "backbone": asdict(blip.source),
            "pictures": n,
            "depth": DEPTH,
            "told_apart": {name: 100 * hits.float().mean().item() for name, hits in told.items()},
            "caption_to_image": {
                "cosine": 100 * (best[:, 0] == right).float().mean().item(),
                "reranked": 100 * (first == right).float().mean().item(),
            },
            "machine": machine(),
        },
    )


if __name__ == "__main__":
    main()
