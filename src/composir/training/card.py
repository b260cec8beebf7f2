"""The model card beside a best checkpoint, filled in from the run itself."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from composir.config import RunConfig
from composir.methods.base import Method

CARD = """---
library_name: composir
tags: [composed-image-retrieval, composir, {method}]
base_model: {repo}
datasets: [{data}]
---

# {run}

{about}

- **Method:** `{method}`, with {arguments}
- **Backbone:** {backbone}{started}
- **Data:** `{data}`{given}; {counts}
- **Trained:** {trained}
- **Gallery key:** `{key}`; indexes of this key can be searched with it

## Validation

Step {step:,}, the best so far by `{metric}`. All numbers are per cent, on the validation split, which also chose this
step: expect a little less on data that chose nothing.

| metric | value |
|---|---|
{scores}

## Use

In this folder:

```python
{use}
```

## Training

One run with seed {seed}; nothing here says how much another seed would change. `config.toml` beside this
file is the whole recipe, `log.jsonl` its log.

| setting | value |
|---|---|
{settings}

## Limits

It has seen the kind of pictures and texts named above and was judged on no other; on others, measure before you rely
on it. Licences of the data and of the backbone's weights apply to these weights too.
"""


def card(
    config: RunConfig,
    method: Method,
    run: str,
    *,
    step: int,
    metric: str,
    scores: Mapping[str, float],
    sizes: Mapping[str, int],
) -> str:
    """README.md of a run.

    Args:
        config: As it took effect.
        method: With the best weights so far.
        run: Its name.
        step: Whose weights these are.
        metric: By which they were chosen.
        scores: Of that validation, in per cent.
        sizes: How many of what there were: "training pairs", ...
    """
    source = method.backbone.source
    trained = sum(p.numel() for p in method.parameters() if p.requires_grad)
    every = sum(p.numel() for p in method.parameters())
    module = inspect.getmodule(type(method))
    facts = {
        "run": run,
        "about": (inspect.getdoc(module) or "").strip() if module else "",
        "method": method.name,
        "arguments": ", ".join(f"{key} = {value!r}" for key, value in config.method.arguments.items())
        or "the defaults",
        "repo": source.repo,
        "backbone": f"{source.name} ({source.repo}, revision {source.revision})",
        "started": f"\n- **Started from:** `{config.init}`" if config.init else "",
        "data": config.data.name,
        "given": _given(config.data.arguments),
        "counts": ", ".join(f"{count:,} {what}" for what, count in sizes.items()),
        "trained": f"{trained:,} of {every:,} parameters ({100 * trained / every:.2f} %)",
        "key": method.gallery_key(),
        "step": step,
        "metric": metric,
        "scores": _table({name: f"{value:.2f}" for name, value in scores.items()}),
        "use": _use(any("backbone.".startswith(prefix) for prefix in method.tuned)),
        "seed": config.train.seed,
        "settings": _table(config.train.model_dump()),
    }
    return CARD.format(**facts)


def _use(whole: bool) -> str:
    if whole:  # every tensor was trained, so the folder that holds them is a backbone of its own
        return """from composir.backbones import load_backbone
from composir.methods import load_method

method = load_method("slerp", load_backbone("backbone"))"""
    return """from pathlib import Path

from composir import checkpoint

method = checkpoint.load(Path("best.safetensors"))"""


def _given(arguments: Mapping[str, Any]) -> str:
    return f" ({', '.join(f'{key} = {value!r}' for key, value in arguments.items())})" if arguments else ""


def _table(rows: Mapping[str, object]) -> str:
    return "\n".join(f"| {name} | {value} |" for name, value in rows.items())
