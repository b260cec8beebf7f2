"""`composir compare` end to end."""

from __future__ import annotations

import json

import pytest

SMALL = ("--data", "wardrobe", "--split", "test", "--backbone", "clip-tiny", "--workers", 0)


def test_compare(cli, tmp_path, monkeypatch):
    """Two results over the same 60 pictures, and one over others."""
    monkeypatch.chdir(tmp_path)
    for folder, method, size in (("a", "slerp", 60), ("b", "sum", 60), ("c", "sum", 120)):
        done = cli("eval", method, *SMALL, "--option", f"test={size}", "-o", folder)
        assert done.code == 0, done.err

    done = cli("compare", "a", "b", "--metric", "R@10", "--metric", "Rs@1")
    assert done.code == 0, done.err
    lines = done.out.splitlines()
    assert lines[0].split()[:5] == ["task", "metric", "slerp", "sum", "difference"]
    assert [line.split()[:2] for line in lines[1:3]] == [["families", "R@10"], ["families", "Rs@1"]]
    assert lines[4].startswith("families R@10: ")
    assert "chance" in lines[4] or "agree" in lines[4]

    content = json.loads(cli("compare", "a", "b", "--json").out)
    assert (content["a"], content["b"]) == ({"folder": "a", "method": "slerp"}, {"folder": "b", "method": "sum"})
    first = content["differences"][0]
    assert set(first) == {
        "task", "metric", "queries", "a", "b", "difference", "low", "high", "p_bootstrap", "p_randomization",
        "wins", "losses", "ties", "told",
    }  # fmt: skip
    assert first["difference"] == pytest.approx(first["a"] - first["b"])
    assert first["wins"] + first["losses"] + first["ties"] == first["queries"] == 30
    # The same two methods within one folder differ by as much.
    within = json.loads(cli("compare", "b:slerp", "b:sum", "--json").out)
    assert [d["metric"] for d in within["differences"]] == [d["metric"] for d in content["differences"]]
    assert [d["a"] for d in within["differences"]] == pytest.approx([d["a"] for d in content["differences"]])

    cases = [
        (("a", "c"), "do not compare: gallery of families is"),
        (("a", "nowhere"), "nowhere holds no result.json"),
        (("a:slurp", "b"), "unknown method of this result: 'slurp'; did you mean 'slerp'"),
        (("a", "b", "--metric", "R@11"), "unknown metric of these results: 'R@11'"),
    ]
    for arguments, hint in cases:
        done = cli("compare", *arguments)
        assert done.code == 1
        assert hint in done.err
        assert done.err.count("\n") == 1
