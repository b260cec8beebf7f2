"""All that a run needs to go on as if it had not stopped: one safetensors file, written beside and renamed.

Tensors: "model/<name>", "optimizer/<key>/<name of the parameter>", "chance/<generator>", of the second process of a
distributed run "chance-1/<generator>", and so on. The header holds, as JSON under "composir", the step, where the other
random numbers stand, the loss scale of half precision, and the caller's notes. The learning rate needs no place: it is
a function of the step.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from composir.checkpoint.origin import held
from composir.checkpoint.weights import listed
from composir.errors import ComposirError
from composir.methods.base import Method
from composir.tensors import save_file
from composir.training.chance import of_all, put_back, snapshot
from composir.training.fit import fit

FORMAT = 1


@dataclass(frozen=True)
class Saved:
    """What a state file holds.

    Attributes:
        step: Optimiser steps done.
        notes: The caller's.
        tensors: By the names above.
        rest: Of the header.
    """

    step: int
    notes: Mapping[str, Any]
    tensors: Mapping[str, Tensor]
    rest: Mapping[str, Any]


def save_state(path: Path, steps: fit, notes: Mapping[str, Any], *, before: bool = False) -> None:
    """Write where a run stands; in a distributed run all processes call this at the same step, and the first writes.

    Args:
        path: At every moment it is the old state or the new one, whole.
        steps: The loop.
        notes: What JSON has.
        before: Random numbers as they stood when the step that failed began, instead of now.
    """
    chances = of_all(steps.before if before else snapshot())
    if not steps.accelerator.is_main_process:
        return
    tensors = {f"model/{name}": own for name, own in _changing(steps.method).items()}
    for rank, (chance, _) in enumerate(chances):
        tensors |= {f"{_generators(rank)}{name}": own for name, own in chance.items()}
    names = {id(parameter): name for name, parameter in steps.method.named_parameters()}
    for parameter, kept in steps.adam.state.items():
        tensors |= {f"optimizer/{key}/{names[id(parameter)]}": torch.as_tensor(own) for key, own in kept.items()}
    scaler = steps.accelerator.scaler
    content = {"format": FORMAT, "step": steps.done, "notes": dict(notes)}
    content |= {"chance": chances[0][1], "others": [rest for _, rest in chances[1:]]}
    content["scaler"] = None if scaler is None else scaler.state_dict()
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f"{path.name}.writing")
    metadata = {"composir": json.dumps(content, ensure_ascii=False)}
    save_file({name: own.detach().to("cpu", copy=True).contiguous() for name, own in tensors.items()}, fresh, metadata)
    with fresh.open("rb") as file:
        os.fsync(file.fileno())
    fresh.replace(path)


def load_state(path: Path) -> Saved:
    """Read a state file.

    Raises:
        ComposirError: It is damaged, or a newer composir wrote it.
    """
    try:
        with safe_open(path, framework="pt") as file:
            content = json.loads((file.metadata() or {})["composir"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (it is no mapping)
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise ComposirError(f"{path} is no state to go on from ({error!r}); remove it and train anew") from error
    if content["format"] != FORMAT:
        raise ComposirError(f"{path} has format {content['format']}, this composir reads {FORMAT}; train anew")
    return Saved(content["step"], content["notes"], tensors, content)


def restore(saved: Saved, steps: fit) -> None:
    """Put method, optimizer, loss scale and random numbers where they were; `steps` must start at `saved.step`.

    Random numbers of a process that the saved run had not, because it had fewer, stay as they are.

    Raises:
        ComposirError: The state is of another method.
    """
    given, own = _under(saved.tensors, "model/"), _changing(steps.method)
    if given.keys() != own.keys():
        wrong = [f"{name} is missing there" for name in sorted(own.keys() - given.keys())]
        wrong += [f"{name} is not the method's" for name in sorted(given.keys() - own.keys())]
        raise ComposirError(f"the saved state is of another method or backbone: {listed(wrong)}. Train anew")
    with torch.no_grad():
        for name, tensor in given.items():
            own[name].copy_(tensor)
    parameters = dict(steps.method.named_parameters())
    places = {id(p): i for i, p in enumerate(p for group in steps.adam.param_groups for p in group["params"])}
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in _under(saved.tensors, "optimizer/").items():
        key, _, parameter = name.partition("/")
        state.setdefault(places[id(parameters[parameter])], {})[key] = tensor.clone()
    steps.adam.load_state_dict({**steps.adam.state_dict(), "state": state})
    if saved.rest["scaler"] is not None and steps.accelerator.scaler is not None:
        steps.accelerator.scaler.load_state_dict(saved.rest["scaler"])
    rank = steps.accelerator.process_index
    rests = [saved.rest["chance"], *saved.rest.get("others", ())]
    if rank < len(rests):
        put_back(_under(saved.tensors, _generators(rank)), rests[rank])


def _generators(rank: int) -> str:
    """What the names of a process's tensors begin with."""
    return f"chance-{rank}/" if rank else "chance/"


def _changing(method: Method) -> dict[str, Tensor]:
    """Everything that is trained, was trained in an earlier stage, or counts along: all that a fresh build has not."""
    trained = {name for name, parameter in method.named_parameters() if parameter.requires_grad}
    buffers = {name for name, _ in method.named_buffers()}
    own = method.state_dict()
    return {name: own[name] for name in own if name in trained or name in buffers or held(method, name)}


def _under(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): own for name, own in tensors.items() if name.startswith(prefix)}
