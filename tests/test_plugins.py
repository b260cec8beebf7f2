"""Names -> parts: what is found, what is refused and how, and that listing costs nothing."""

from __future__ import annotations

import copy
import subprocess
import sys
from pathlib import Path
from typing import Literal

import pytest

from composir import backbones, datasets, methods
from composir.backbones import load_backbone
from composir.datasets import load_dataset
from composir.errors import ComposirError, UnknownNameError
from composir.methods import load_method
from composir.plugins import check_arguments, classes_in, load_object, nearest

OUTSIDE = """
from composir.methods.baselines import ImageOnly
from composir.methods.slerp import Slerp
from composir.datasets.wardrobe import Wardrobe

NOT_A_CLASS = 3

class Mine(Slerp):
    def __init__(self, backbone, alpha=0.3, *, beta):
        super().__init__(backbone, alpha)
        self.beta = beta

class Open(ImageOnly):
    def __init__(self, backbone, **rest):
        super().__init__(backbone)
        self.rest = rest

class Set(Wardrobe):
    pass
"""


@pytest.fixture
def backbone():
    return load_backbone("clip-tiny")


@pytest.fixture
def outside(tmp_path, monkeypatch) -> str:
    """A module that is no part of this house."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "parts.py").write_text(OUTSIDE)
    monkeypatch.syspath_prepend(tmp_path)
    yield "elsewhere.parts"
    for name in [n for n in sys.modules if n.split(".")[0] == "elsewhere"]:
        del sys.modules[name]


def test_every_name_loads_its_class():
    backbone = load_backbone("blip-tiny")  # the one that every method takes
    for name in methods.names():
        assert load_method(name, copy.deepcopy(backbone)).name == name
    for name in datasets.names():
        spec = classes_in("composir.datasets")[name]
        assert load_object(spec, "data set").name == name


def test_names_are_those_of_the_files():
    assert methods.names() == sorted(methods.names())
    assert {"image-only", "text-only", "sum", "slerp", "contrastive"} <= set(methods.names())
    assert "wardrobe" in datasets.names()
    assert {"clip-tiny", "siglip-tiny", "wardrobe-clip", "clip-vit-b-32"} <= set(backbones.names())


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("slurp", "unknown method 'slurp'; did you mean 'slerp'"),
        ("image_only", "did you mean 'image-only'"),
        ("xyzzy", "unknown method 'xyzzy'; known: bi-blip4cir, clip4cir, contrastive, image-only, "),
        ("", "unknown method ''; known: "),
        ("Slerp", "did you mean 'slerp'"),
    ],
)
def test_unknown_method_names_the_nearest(name, message, backbone):
    with pytest.raises(UnknownNameError) as caught:
        load_method(name, backbone)
    assert message in str(caught.value)


def test_unknown_data_set_and_backbone_name_the_nearest():
    with pytest.raises(UnknownNameError, match="unknown data set 'wardrob'; did you mean 'wardrobe'"):
        load_dataset("wardrob")
    with pytest.raises(UnknownNameError, match=r"unknown backbone .*'clip-tny'; did you mean 'clip-tiny'"):
        load_backbone("clip-tny")


def test_unknown_arguments_name_the_nearest(backbone):
    with pytest.raises(UnknownNameError, match="unknown argument of method 'slerp': 'alfa'; did you mean 'alpha'"):
        load_method("slerp", backbone, alfa=0.3)
    with pytest.raises(UnknownNameError, match="unknown argument of method 'sum': 'alpha'; known: none"):
        load_method("sum", backbone, alpha=0.3)
    with pytest.raises(UnknownNameError, match="unknown argument of data set 'wardrobe': 'imagesize'; did you mean"):
        load_dataset("wardrobe", imagesize=64)


def test_what_the_caller_fills_no_user_may_name(backbone):
    with pytest.raises(UnknownNameError, match="unknown argument of method 'slerp': 'backbone'"):
        load_method("slerp", backbone, backbone=backbone)
    with pytest.raises(UnknownNameError, match="unknown argument of data set 'wardrobe': 'name'"):
        load_dataset("wardrobe", name="wardrobe")


def test_parts_of_another_house(outside, backbone):
    mine = load_method(f"{outside}:Mine", backbone, alpha=0.25, beta=7)
    assert (type(mine).__name__, mine.alpha, mine.beta, mine.training) == ("Mine", 0.25, 7, False)
    assert load_dataset(f"{outside}:Set", train=6, val=6, test=6).ids("val")
    assert "Mine" not in str(methods.names())


def test_their_arguments_are_checked_too(outside, backbone):
    with pytest.raises(
        UnknownNameError, match=f"unknown argument of method '{outside}:Mine': 'gamma'; known: alpha, beta"
    ):
        load_method(f"{outside}:Mine", backbone, gamma=1, beta=2)
    with pytest.raises(ComposirError, match=f"method '{outside}:Mine' needs beta; give it beside its name"):
        load_method(f"{outside}:Mine", backbone)
    assert load_method(f"{outside}:Open", backbone, anything=1).rest == {"anything": 1}
    with pytest.raises(UnknownNameError, match=f"argument of method '{outside}:Open': 'backbone'"):
        load_method(f"{outside}:Open", backbone, backbone=backbone)


@pytest.mark.parametrize(
    "spec",
    [
        "elsewhere.parts:Absent", "elsewhere.parts:", "elsewhere.absent:Mine", "absent_package:Mine", ":Mine",
        ".parts:Mine", "..:Mine", "elsewhere/parts.py:Mine", "C:Mine", "elsewhere.parts.:Mine",
    ],
)  # fmt: skip
def test_what_cannot_be_imported_is_explained(spec, outside, backbone):
    with pytest.raises(ComposirError, match=r"cannot be loaded.*write it as 'package\.module:Class'"):
        load_method(spec, backbone)


def test_what_is_no_class_is_explained(outside, backbone):
    with pytest.raises(ComposirError, match=r"is 3; name a class as 'package\.module:Class'"):
        load_method(f"{outside}:NOT_A_CLASS", backbone)


def test_nearest_of_nothing():
    assert str(nearest("a", [], "thing")) == "unknown thing 'a'; known: none"


def test_arguments_by_position_only_are_nobodys():
    def call(first, /, second, *rest, third=3):
        return first, second, rest, third

    check_arguments(call, "it", {"second": 1}, ("first",))
    for key in ("first", "rest"):
        with pytest.raises(UnknownNameError, match=f"'{key}'; known: second, third"):
            check_arguments(call, "it", {key: 1, "second": 1}, ("first",))


@pytest.mark.parametrize(
    "statement",
    [
        "from composir import backbones, datasets, methods; backbones.names(), datasets.names(), methods.names()",
        "import composir.config, composir.types, composir.errors, composir.metrics, composir.datasets.wardrobe",
        "from composir.config import load_config; load_config(__import__('pathlib').Path({path!r}))",
    ],
    ids=["names", "torch-free modules", "reading a run file"],
)
def test_costs_no_import_of_torch(statement, tmp_path):
    path = tmp_path / "run.toml"
    path.write_text(
        "backbone.name = 'a'\nmethod.name = 'b'\ndata.name = 'c'\n[train]\nepochs = 1\nbatch_size = 2\nlr = 1\n"
    )
    heavy = "{'torch', 'transformers', 'lancedb', 'pyarrow', 'accelerate'}"
    code = f"{statement.format(path=str(path))}; import sys; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_check_for_torch_would_see_it():
    code = "import composir.similarity, sys; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "True"


def takes(
    flag: bool = True,
    count: int = 1,
    share: float = 0.5,
    side: Literal["both", "none"] = "both",
    mixed: Literal[False, "word"] = False,
    maybe: float | None = None,
    path: Path | str = "",
    many: tuple[float, ...] = (),
    own: UnknownNameError | None = None,
):
    """Something with arguments of every kind."""


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"flag": "False"}, "flag of it is 'False': input should be a valid boolean; write true or false"),
        ({"flag": "maybe"}, "flag of it is 'maybe': input should be a valid boolean$"),
        ({"flag": 1}, "flag of it is 1: input should be a valid boolean"),
        ({"count": 1.5}, "count of it is 1.5: input should be a valid integer"),
        ({"count": True}, "count of it is True: input should be a valid integer"),
        ({"share": "abc"}, "share of it is 'abc': input should be a valid number"),
        ({"share": False}, "share of it is False: input should be a valid number"),
        ({"side": "left"}, "side of it is 'left': input should be 'both' or 'none'"),
        ({"mixed": "words"}, "mixed of it is 'words': input should be False or 'word'"),
        ({"many": [1, "x"]}, "many of it is \\[1, 'x'\\]: input should be a valid number"),
        ({"maybe": "x"}, "maybe of it is 'x': input should be a valid number"),
    ],
)
def test_a_value_of_another_kind_is_told(given, told):
    with pytest.raises(ComposirError, match=f"option {told}"):
        check_arguments(takes, "it", given)


def test_values_that_fit_and_kinds_that_no_file_can_spell_pass():
    given = {"flag": False, "count": 3, "share": 1, "side": "none", "mixed": False, "maybe": None}
    check_arguments(takes, "it", {**given, "path": "x", "many": [1, 2.5], "own": 3})
