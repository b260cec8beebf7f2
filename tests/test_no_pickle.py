"""Nothing in the package reads a pickle: a file from somewhere must never run code."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import composir

# Modules that unpickle, with the names through which they do; None = whatever is taken from them.
READERS: dict[str, set[str] | None] = {
    "pickle": {"load", "loads", "Unpickler", "_load", "_loads", "_Unpickler"},
    "_pickle": None,
    "cPickle": None,
    "marshal": {"load", "loads"},
    "shelve": None,
    "dill": None,
    "cloudpickle": None,
    "joblib": {"load"},
    "torch": {"load"},
    "torch.serialization": {"load"},
    "pandas": {"read_pickle"},
    "pandas.io.pickle": {"read_pickle"},
}


class Names(dict[str, str]):
    """What the names of a source stand for: local name -> full dotted name."""

    def __init__(self, tree: ast.AST) -> None:
        super().__init__()
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                # `import a.b` binds a, `import a.b as c` binds a.b
                self.update({a.asname or a.name.split(".")[0]: a.name if a.asname else "" for a in node.names})
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                self.update({a.asname or a.name: f"{node.module}.{a.name}" for a in node.names})

    def of(self, node: ast.AST) -> str:
        """The full name of what is spoken of, "" where it is none."""
        if isinstance(node, ast.Name):
            return self.get(node.id) or node.id
        if isinstance(node, ast.Attribute) and (owner := self.of(node.value)):
            return f"{owner}.{node.attr}"
        return ""


def reads(name: str) -> bool:
    module, _, last = name.rpartition(".")
    known = READERS.get(module, set())
    return known is None or last in known


def allowed(call: ast.Call, name: str, names: Names) -> bool:
    """The two exceptions: a copy of an own object by loads(dumps(...)), and torch.load of tensors only."""
    if name == "pickle.loads":
        own = call.args[0] if call.args else None
        return isinstance(own, ast.Call) and names.of(own.func) == "pickle.dumps"
    only = [k.value for k in call.keywords if k.arg == "weights_only"]
    return name == "torch.load" and any(isinstance(value, ast.Constant) and value.value is True for value in only)


def found_in(tree: ast.AST) -> Iterator[ast.AST]:
    names = Names(tree)
    # A reader that is named but not called is passed on, to be called elsewhere: as bad as a call.
    excused = {id(n.func) for n in ast.walk(tree) if isinstance(n, ast.Call) and allowed(n, names.of(n.func), names)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            if any(READERS.get(alias.name, set()) is None for alias in node.names):
                yield node
        elif isinstance(node, ast.ImportFrom):
            if any(reads(f"{node.module}.{a.name}") or (a.name == "*" and node.module in READERS) for a in node.names):
                yield node
        elif isinstance(node, ast.Name | ast.Attribute):
            if (reads(names.of(node)) or getattr(node, "attr", "") == "read_pickle") and id(node) not in excused:
                yield node
        elif isinstance(node, ast.keyword) and node.arg == "allow_pickle":
            if not (isinstance(node.value, ast.Constant) and node.value.value is False):
                yield node
        elif isinstance(node, ast.Call) and positional_pickle(node, names):
            yield node


def positional_pickle(call: ast.Call, names: Names) -> bool:
    """Whether numpy.load is given its third argument, which is allow_pickle, without its name."""
    return names.of(call.func) == "numpy.load" and len(call.args) > 2


def unsafe_lines(source: str) -> list[int]:
    """Lines that unpickle, or let numpy do it."""
    return sorted({node.lineno for node in found_in(ast.parse(source))})


@pytest.mark.parametrize(
    "source",
    [
        "import pickle\npickle.loads(data)",
        "import pickle\npickle.Unpickler(file).load()",
        "import pickle as p\np.loads(data)",
        "import pickle as p\nread = p.load",
        "from pickle import loads",
        "from pickle import loads as own\nown(data)",
        "from pickle import *",
        "import pickle\nmap(pickle.loads, rows)",
        "import pickle\npickle.loads(file.read(pickle.dumps(1)))",
        "import _pickle",
        "import marshal as m\nm.loads(data)",
        "import shelve",
        "import pandas\npandas.read_pickle(path)",
        "import pandas as pd\npd.read_pickle(path)",
        "from pandas import read_pickle",
        "import joblib\njoblib.load(path)",
        "import joblib as j\nj.load(path)",
        "from joblib import load",
        "import dill",
        "import dill as d\nd.loads(data)",
        "from dill import loads",
        "import cloudpickle",
        "from cloudpickle import loads",
        "import numpy\nnumpy.load(path, allow_pickle=True)",
        "import numpy as np\nnp.load(path, allow_pickle=wanted)",
        "from numpy import load\nload(path, None, True)",
        "import numpy as n\nn.load(path, None, True)",
        "import torch\ntorch.load(path)",
        "import torch as t\nt.load(path)",
        "from torch import load",
        "import torch.serialization\ntorch.serialization.load(path)",
        "import torch\ntorch.load(path, weights_only=False)",
        "import torch\ntorch.load(path, weights_only=wanted)",
    ],
)
def test_the_check_sees_what_it_looks_for(source):
    assert unsafe_lines(source)[-1:] == [source.count("\n") + 1]


@pytest.mark.parametrize(
    "source",
    [
        "import pickle\npickle.dumps(own)",
        "import pickle\ntry:\n    pass\nexcept pickle.PicklingError:\n    pass",
        "import pickle\npickle.loads(pickle.dumps(own))",
        "import pickle as p\np.loads(p.dumps(own))",
        "import torch\ntorch.load(path, weights_only=True)",
        "import numpy as np\nnp.load(path, mmap_mode='c', allow_pickle=False)",
        "import numpy as np\nnp.load(path)",
        "import json\njson.loads(text)",
        "from safetensors.torch import load",
    ],
)
def test_the_check_lets_the_rest_pass(source):
    assert not unsafe_lines(source)


def test_no_source_reads_a_pickle():
    paths = list(Path(composir.__file__).parent.rglob("*.py"))
    assert len(paths) > 100
    for path in paths:
        lines = unsafe_lines(path.read_text(encoding="utf-8"))
        assert not lines, f"{path}:{lines}"
