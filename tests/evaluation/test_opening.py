"""What a user may name as a data set, and what is said where nothing fits."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from composir.datasets.wardrobe import Wardrobe
from composir.errors import ComposirError, DataError
from composir.evaluation.opening import open_dataset


def test_data_sets_open_with_their_options(tmp_path):
    data = open_dataset("wardrobe", None, {"test": 60, "seed": 4})
    assert isinstance(data, Wardrobe)
    assert (data.sizes["test"], data.seed) == (60, 4)


@pytest.mark.parametrize(
    ("name", "root", "options", "hint"),
    [
        ("warrobe", None, {}, "unknown data set 'warrobe'; did you mean 'wardrobe'"),
        ("wardrobe", None, {"tset": 60}, "did you mean 'test'"),
        ("wardrobe", ".", {}, "'wardrobe' has no folder; leave . out"),
        ("cirr", None, {}, "'cirr' lies in a folder; name it with --root"),
        ("cirr", "nowhere", {}, "nowhere is missing; name the folder of data set 'cirr'"),
        ("cirr", ".", {"root": "."}, "belongs where the folder is named"),
        ("cirr", ".", {"drop_referenc": True}, "did you mean 'drop_reference'"),
        ("nothing.like:This", None, {}, "cannot be loaded"),
    ],
)
def test_wrong_names_are_refused(name, root, options, hint):
    with pytest.raises(ComposirError, match=hint):
        open_dataset(name, None if root is None else Path(root), options)


def test_nothing_heavy_is_needed_to_tell_what_is_meant():
    import subprocess

    code = (
        "import sys; from composir.evaluation.opening import open_dataset; "
        "from composir.evaluation import load_result, compare; "
        "open_dataset('wardrobe', None, {'test': 6}); print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_data_errors_are_data_errors():
    with pytest.raises(DataError):
        open_dataset("cirr", Path("nowhere"))
