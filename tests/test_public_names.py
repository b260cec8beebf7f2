"""`import composir`: what it offers is exactly what it says, and it costs nothing."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import composir


@pytest.mark.parametrize("name", composir.__all__)
def test_every_public_name_is_there(name):
    assert getattr(composir, name).__name__ == name


def test_what_is_listed_is_what_there_is():
    assert sorted(set(composir.__all__)) == list(composir.__all__)
    assert set(dir(composir)) == {*composir.__all__, "__version__"}
    own = {name for name in vars(composir) if not name.startswith("_")}
    leftovers = {"annotations", "import_module", "metadata", "TYPE_CHECKING", "jaxtyping"}
    parts = {path.stem for path in Path(composir.__file__).parent.iterdir()}
    assert own <= set(composir.__all__) | leftovers | parts


def test_type_checkers_see_the_same_names():
    """The block for type checkers and the table for the interpreter name the same things from the same modules."""
    tree = ast.parse(Path(composir.__file__).read_text(encoding="utf-8"))
    [block] = [node for node in tree.body if isinstance(node, ast.If)]
    seen = {alias.name: node.module for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert seen == {name: f"composir.{home}" for name, home in composir._HOME.items()}


def test_unknown_names_are_refused():
    with pytest.raises(AttributeError, match="no attribute 'serach'"):
        composir.serach  # noqa: B018
    with pytest.raises(ImportError, match="cannot import name 'nothing'"):
        from composir import nothing  # noqa: F401


def test_version_is_that_of_the_installation():
    from importlib.metadata import version

    assert composir.__version__ == version("composir")


def test_importing_it_costs_nothing():
    heavy = "{'torch', 'transformers', 'numpy', 'PIL', 'lancedb', 'pyarrow', 'pydantic'}"
    code = f"import composir, sys; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_name_brings_only_what_it_needs():
    code = "import composir, sys; composir.Query, composir.load_dataset; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
