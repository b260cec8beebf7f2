"""A second stage starts from the first one's checkpoint."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING

from composir.checkpoint.header import described, locate
from composir.checkpoint.origin import held
from composir.checkpoint.weights import listed, load, place_of
from composir.errors import ComposirError

if TYPE_CHECKING:
    from torch import Tensor

    from composir.methods.base import Method

WORD_TABLES = (
    "word_embeddings.weight",
    "token_embedding.weight",
)  # may have grown at their end by a method's own words


def take_over(method: Method, path: Path | str) -> list[str]:
    """Start a method from an earlier stage: tensors of equal names become the earlier ones, the others stay.

    The method's own checkpoints hold what it took over, also where it is frozen now, so that they stand on the same
    backbone as the first stage. Of a method with adapters, one that has `merged_state`, their layers come merged.

    Args:
        method: Of the later stage; changed in place.
        path: A checkpoint, or the folder of a run.

    Returns:
        Names of what was taken over, sorted.

    Raises:
        ComposirError: Nothing is there, the earlier stage was trained with other switches than this one stands on, the
            methods share no tensor, or their tokens or backbones differ; what differs is listed.
    """
    path = locate(path)
    first = load(path)
    _check_switches(first, method, path)
    theirs, own = first.state_dict(), method.state_dict()
    given = {name: tensor for name, tensor in theirs.items() if held(first, name)} | _merged(first)
    taken = sorted(given.keys() & own.keys())
    one, other = place_of(first.backbone.source), place_of(method.backbone.source)
    there = f"method {first.name!r} over backbone {one['name']!r} (revision {one['revision']})"
    here = f"this run of method {method.name!r} over {other['name']!r} (revision {other['revision']})"
    if not taken:
        raise ComposirError(
            f"init = '{path}' is of {there}, {here}, and the first trained no tensor that the second has. Name a run "
            "of this method, or of one that trains a part of it, over this [backbone]"
        )
    left = sorted(name for name in own.keys() & theirs.keys() - given.keys() if name.startswith("backbone."))
    wrong = _differences({**theirs, **given}, own, taken, left)
    if all(name.endswith(WORD_TABLES) for name in wrong):
        _check_tokens(first, method, path)
    if not wrong and not left and one != other:
        # Everything was trained, so no value tells the two apart; their tokenizers may differ all the same.
        wrong = {"": "the first stage left none of its weights to compare"}
    if wrong:
        raise ComposirError(
            f"init = '{path}' is of {there}, {here}, and they do not fit: {listed(list(wrong.values()))}. Give both "
            "the same [backbone]"
        )
    for name in taken:
        target = own[name]
        (target[: len(given[name])] if target.ndim else target).copy_(given[name])
    method.inherited |= {name for name in taken if not method.kept(name)}
    return taken


def _check_switches(first: Method, method: Method, path: Path) -> None:
    """Refuse a first stage that was trained with other switches than those which the second names."""
    differ = []
    switches = signature(type(first)).parameters  # an attribute of every method, as `bidirectional`, is none
    for name, here in method.first_stage().items():
        there = getattr(first, name, None)
        if there != here and name in switches:
            differ.append(f"{name} is {there!r} there, {here!r} here")
        elif there != here:
            differ.append(f"{name} is {here!r} here, and method {first.name!r} there has no such switch")
    if differ:
        raise ComposirError(
            f"init = '{path}', a run of method {first.name!r}, is no first stage of this run of method "
            f"{method.name!r}: {'; '.join(differ)}. Give both the same [method] switches, or name another run"
        )


def _check_tokens(first: Method, method: Method, path: Path) -> None:
    """Refuse a first stage in whose text tower an id stands for another token, as a method's own words do."""
    own = method.backbone.vocabulary()
    other = {index: token for index, token in first.backbone.vocabulary().items() if own.get(index) != token}
    if other and own:
        told = [
            f"{index} is {token!r} there, {repr(own[index]) if index in own else 'no token'} here"
            for index, token in sorted(other.items())
        ]
        raise ComposirError(
            f"init = '{path}' is of method {first.name!r}, this run of method {method.name!r}, and their text towers "
            f"read other tokens: {listed(told)}. Let both methods add the same words, over the same [backbone]"
        )


def _merged(first: Method) -> dict[str, Tensor]:
    """The layers that adapters wrap, with these added in, under the names that they have without."""
    merged: Callable[[], Mapping[str, Tensor]] = getattr(first, "merged_state", dict)
    plain = {f"backbone.{name}": tensor for name, tensor in merged().items()}
    return {name: plain[name] for name in plain.keys() - first.state_dict().keys()}


def _differences(
    theirs: Mapping[str, Tensor], own: Mapping[str, Tensor], taken: list[str], left: list[str]
) -> dict[str, str]:
    """Tensors of other shapes, or if there are none those of other values where the first stage changed nothing."""
    shapes = {
        name: f"{name} is {_told(theirs[name])}, not {_told(own[name])}"
        for name in [*taken, *left]
        if not _fits(name, own[name], theirs[name])
    }
    return shapes or {name: f"{name} has other values" for name in left if not _same(own[name], theirs[name])}


def _told(tensor: Tensor) -> str:
    return described(str(tensor.dtype), tuple(tensor.shape))


def _fits(name: str, own: Tensor, theirs: Tensor) -> bool:
    if own.shape == theirs.shape:
        return True
    grown = name.endswith(WORD_TABLES) and own.ndim == theirs.ndim and len(own) > len(theirs)
    return grown and own.shape[1:] == theirs.shape[1:]


def _same(own: Tensor, theirs: Tensor) -> bool:
    return bool(((own[: len(theirs)] if own.ndim else own).cpu() == theirs.cpu()).all())
