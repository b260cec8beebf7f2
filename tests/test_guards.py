"""What conftest.py promises of every test holds: shapes are checked, and no test reaches the network."""

from __future__ import annotations

import os
import random
import socket
import urllib.request

import pytest
import torch
from beartype import beartype
from jaxtyping import TypeCheckError

from composir.gallery.scan import printable
from composir.methods.slerp import slerp
from composir.similarity import maxsim


def test_shapes_are_checked_at_every_call():
    with pytest.raises(TypeCheckError, match="gallery"):
        maxsim(torch.zeros(2, 1, 3), torch.zeros(2, 1, 4))
    with pytest.raises(TypeCheckError, match="alpha"):
        slerp(torch.zeros(2, 4), torch.zeros(2, 4), torch.zeros(3))
    with pytest.raises(TypeCheckError, match="path"):
        printable(3)


def test_these_checks_leave_common_chance_alone():
    @beartype
    def longest(words: list[str]) -> int:
        return max(map(len, words))

    before = random.getstate()
    assert longest(["long", "longest", "longer"]) == 7
    assert random.getstate() == before


# 192.0.2.0/24 and 2001:db8::/32 are reserved for documentation: nobody would answer, but a guard must come first.
@pytest.mark.parametrize("address", [("192.0.2.1", 80), ("example.invalid", 80), ("10.0.0.1", 443)])
def test_the_network_is_out_of_reach(address):
    with pytest.raises(RuntimeError, match="a test reached for the network"):
        socket.create_connection(address, timeout=1)
    with socket.socket() as plain, pytest.raises(RuntimeError, match="a test reached for the network"):
        plain.connect_ex(address)


def test_neither_by_ipv6_nor_by_url():
    with socket.socket(socket.AF_INET6) as six, pytest.raises(RuntimeError, match="a test reached for the network"):
        six.connect(("2001:db8::1", 80))
    with pytest.raises(RuntimeError, match="a test reached for the network"):
        urllib.request.urlopen("http://192.0.2.1/", timeout=1)


def test_this_machine_is_within_reach():
    with socket.create_server(("127.0.0.1", 0)) as server:
        for host in ("127.0.0.1", "localhost"):
            with socket.create_connection((host, server.getsockname()[1]), timeout=5):
                server.accept()[0].close()


def test_the_hub_is_told_to_stay_offline():
    from huggingface_hub import constants

    assert os.environ["HF_HUB_OFFLINE"] == "1"
    assert constants.HF_HUB_OFFLINE
