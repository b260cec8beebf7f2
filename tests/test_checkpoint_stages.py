"""What a later stage asks of the one that it stands on: its switches, and the tokens of its text tower."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from moved import changed

from composir import checkpoint
from composir.backbones import load_backbone
from composir.errors import ComposirError
from composir.methods import load_method

SMALL = {"stage": 2, "projection_dim": 8, "hidden_dim": 8}


@pytest.fixture
def turned(monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parent)
    yield "turned:Turned"
    sys.modules.pop("turned", None)


def second_stage(tmp_path, first, first_switches, switches, second="bi-blip4cir"):
    """Take a first stage over into a second one."""
    method = changed(load_method(first, load_backbone("blip-tiny"), **first_switches))
    checkpoint.save(tmp_path / "1.safetensors", method, arguments=first_switches)
    return checkpoint.take_over(
        load_method(second, load_backbone("blip-tiny"), **{**SMALL, **switches}), tmp_path / "1.safetensors"
    )


@pytest.mark.parametrize(
    ("first", "second", "told"),
    [
        ({"bidirectional": False}, {}, ["bidirectional is False there, True here"]),
        ({}, {"bidirectional": False}, ["bidirectional is True there, False here"]),
        ({"direction_sides": "none"}, {"direction_sides": "backward_only"},
         ["direction_sides is 'none' there, 'backward_only' here"]),
        ({}, {"paper_compat": True},
         ["target_pad is 0.0 there, 1.25 here", "direction_token is 'special' there, 'wordpiece' here",
          "direction_per_clause is 'false' there, 'official' here"]),
        ({}, {"direction_per_clause": "word_and"}, ["direction_per_clause is 'false' there, 'word_and' here"]),
    ],
)  # fmt: skip
def test_a_first_stage_of_other_switches_is_refused_naming_each(tmp_path, first, second, told):
    with pytest.raises(ComposirError) as caught:
        second_stage(tmp_path, "bi-blip4cir", first, second)
    assert f"is no first stage of this run of method 'bi-blip4cir': {'; '.join(told)}. Give both" in str(caught.value)


def test_what_a_first_stage_may_do_otherwise(tmp_path):
    """Losses and their weights differ between the paper's stages; so does what has no effect."""
    for first, second in (
        ({"reverse_weight": 0.1, "scale": 50.0}, {"reverse_weight": 0.5, "reverse_negatives": "references"}),
        ({"bidirectional": False, "direction_token": "wordpiece"}, {"bidirectional": False, "direction_sides": "none"}),
        ({"direction_sides": "none", "direction_token": "wordpiece"}, {"direction_sides": "none"}),
        ({"paper_compat": True}, {"direction_token": "wordpiece", "direction_per_clause": "official",
                                  "target_pad": 1.25}),
    ):  # fmt: skip
        assert second_stage(tmp_path, "bi-blip4cir", first, second)
    # The baseline is CLIP4Cir.
    assert second_stage(tmp_path, "clip4cir", {}, {"bidirectional": False})
    assert second_stage(tmp_path, "clip4cir", {"tune": "both"}, {"tune": "both"}, "clip4cir")


def test_a_method_without_the_switches_is_no_first_stage(tmp_path):
    with pytest.raises(
        ComposirError, match="tune is 'text' here, and method 'tat' there has no such switch; target_pad"
    ):
        second_stage(tmp_path, "tat", {"rank": 2}, {}, "clip4cir")
    with pytest.raises(ComposirError) as caught:
        second_stage(tmp_path, "tat", {"rank": 2}, {})
    assert "bidirectional is True here, and method 'tat' there has no such switch" in str(caught.value)
    with pytest.raises(ComposirError, match="bidirectional is True here, and method 'clip4cir' there has no such swi"):
        second_stage(tmp_path, "clip4cir", {}, {})
    with pytest.raises(ComposirError, match="tune is 'both' there, 'text' here"):
        second_stage(tmp_path, "clip4cir", {"tune": "both"}, {}, "clip4cir")


def test_a_backbone_of_another_family_is_told_as_such(tmp_path):
    """The method is the same on both sides, so it is not what differs."""
    first = changed(load_method("bi-blip4cir", load_backbone("blip-tiny")))
    checkpoint.save(tmp_path / "1.safetensors", first, arguments={})
    told = (
        r"is of method 'bi-blip4cir' over backbone 'blip-tiny' \(revision seed-0\), this run of method 'bi-blip4cir' "
        r"over 'clip-tiny' \(revision seed-0\), and the first trained no tensor that the second has\. .*\[backbone\]$"
    )
    with pytest.raises(ComposirError, match=told):
        checkpoint.take_over(
            load_method("bi-blip4cir", load_backbone("clip-tiny"), **SMALL), tmp_path / "1.safetensors"
        )


def test_other_tokens_are_told_as_what_they_are(tmp_path, turned):
    """Not as another backbone: a word fewer, and as many words but others."""
    for mine, told in (([], "no token"), (["[OTHER]"], r"'\[OTHER\]'")):
        method = changed(load_method(turned, load_backbone("clip-tiny"), words=["[FORWARD]"]))
        checkpoint.save(tmp_path / "1.safetensors", method, arguments={"words": ["[FORWARD]"]})
        second = load_method(turned, load_backbone("clip-tiny"), words=mine)
        with pytest.raises(ComposirError, match=rf"read other tokens: \d+ is '\[FORWARD\]' there, {told} here\. Let"):
            checkpoint.take_over(second, tmp_path / "1.safetensors")
