"""Nothing in the package reads a pickle: a file from somewhere must never run code."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import composir

READERS = {
    "pickle.load",
    "pickle.loads",
    "pickle.Unpickler",
    "torch.load",
    "joblib.load",
    "marshal.load",
    "shelve.open",
}


def unsafe_calls(source: str) -> list[int]:
    """Lines that unpickle, or let numpy do it; a copy of an own object by loads(dumps(...)) is none."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.module in ("pickle", "joblib", "marshal", "shelve", "dill"):
            found.append(node.lineno)
        if not isinstance(node, ast.Call):
            continue
        own_copy = bool(node.args) and ast.unparse(node.args[0]).startswith("pickle.dumps(")
        tensors_only = any(k.arg == "weights_only" and ast.unparse(k.value) == "True" for k in node.keywords)
        if ast.unparse(node.func) in READERS and not own_copy and not tensors_only:
            found.append(node.lineno)
        if any(k.arg == "allow_pickle" and ast.unparse(k.value) != "False" for k in node.keywords):
            found.append(node.lineno)
    return found


@pytest.mark.parametrize(
    "line",
    [
        "pickle.loads(data)",
        "from pickle import loads",
        "torch.load(f)",
        "torch.load(f, weights_only=False)",
        "np.load(f, allow_pickle=True)",
    ],
)
def test_the_check_sees_what_it_looks_for(line):
    assert unsafe_calls(line)


def test_no_source_reads_a_pickle():
    for path in Path(composir.__file__).parent.rglob("*.py"):
        lines = unsafe_calls(path.read_text(encoding="utf-8"))
        assert not lines, f"{path}:{lines}"
