"""What a user may name as method and data set, and what is said where nothing fits."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from composir.config import load_config
from composir.datasets.wardrobe import Wardrobe
from composir.errors import ComposirError, DataError
from composir.evaluation.opening import find_method, load_wanted, open_dataset
from composir.methods.slerp import ALPHA
from composir.training import run


def test_data_sets_open_with_their_options(tmp_path):
    data = open_dataset("wardrobe", None, {"test": 60, "seed": 4})
    assert isinstance(data, Wardrobe)
    assert (data.sizes["test"], data.seed) == (60, 4)


@pytest.mark.parametrize(
    ("name", "root", "options", "hint"),
    [
        ("warrobe", None, {}, "unknown data set 'warrobe'; did you mean 'wardrobe'"),
        ("wardrobe", None, {"tset": 60}, "did you mean 'test'"),
        ("wardrobe", ".", {}, "'wardrobe' has no folder; leave --root out"),
        ("cirr", None, {}, "'cirr' lies in a folder; name it with --root"),
        ("cirr", "nowhere", {}, "nowhere is missing; name the folder of data set 'cirr' with --root"),
        ("cirr", ".", {"root": "."}, "give it as --root"),
        ("cirr", ".", {"drop_referenc": True}, "did you mean 'drop_reference'"),
        ("nothing.like:This", None, {}, "cannot be loaded"),
    ],
)
def test_wrong_names_are_refused(name, root, options, hint):
    with pytest.raises(ComposirError, match=hint):
        open_dataset(name, None if root is None else Path(root), options)


def test_plug_in_names_and_classes():
    assert find_method("sum").backbone == "wardrobe-clip"
    wanted = find_method("composir.methods.baselines:Sum", "clip-tiny")
    assert (wanted.label, wanted.backbone) == ("Sum", "clip-tiny")
    assert load_wanted(wanted, device="cpu").name == "sum"


def test_slerp_takes_the_alpha_of_the_data_set():
    wanted = find_method("slerp", "clip-tiny")
    assert load_wanted(wanted, "cirr", "cpu").alpha == pytest.approx(ALPHA["cirr"])
    assert load_wanted(wanted, "genecis", "cpu").alpha == pytest.approx(0.8)


RUN = """
[backbone]
name = "clip-tiny"
[method]
name = "contrastive"
alpha = 0.35
[data]
name = "wardrobe"
train = 24
val = 6
test = 6
[train]
epochs = 1
batch_size = 12
lr = 1e-3
workers = 0
[eval]
metric = "caption R@1"
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    (folder / "small.toml").write_text(RUN)
    run(load_config(folder / "small.toml"), folder / "small", say=lambda line: None)
    return folder / "small"


def test_a_run_brings_method_arguments_and_backbone(trained):
    wanted = find_method(str(trained))
    assert (wanted.name, wanted.label, wanted.arguments) == ("contrastive", "small", {"alpha": 0.35})
    method = load_wanted(wanted, "cirr", "cpu")
    assert method.alpha == pytest.approx(0.35)  # the run's, not that of the data set
    assert method.backbone.source.name == str(trained / "backbone")
    with pytest.raises(ComposirError, match=r"brings its own backbone; leave --backbone clip-tiny out"):
        find_method(str(trained), "clip-tiny")


def test_folders_without_a_run_are_refused(tmp_path, trained):
    with pytest.raises(ComposirError, match=r"has no config.toml: it is not the folder of a run.*slerp"):
        find_method(str(tmp_path))
    (tmp_path / "config.toml").write_text((trained / "config.toml").read_text())
    with pytest.raises(ComposirError, match="has no backbone"):
        find_method(str(tmp_path))
    with pytest.raises(ComposirError, match="there is no folder runs/none"):
        find_method("runs/none")
    with pytest.raises(ComposirError, match=r"unknown method .* 'slrp'; did you mean 'slerp'"):
        find_method("slrp")


def test_a_device_that_is_not_there_is_refused():
    with pytest.raises(ComposirError, match="device 'gpu' cannot be used"):
        load_wanted(find_method("sum", "clip-tiny"), device="gpu")


def test_nothing_heavy_is_needed_to_tell_what_is_meant():
    import subprocess

    code = (
        "import sys; from composir.evaluation.opening import find_method, open_dataset; "
        "from composir.evaluation import load_result, compare; "
        "open_dataset('wardrobe', None, {'test': 6}); find_method('slerp'); print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_data_errors_are_data_errors():
    with pytest.raises(DataError):
        open_dataset("cirr", Path("nowhere"))
