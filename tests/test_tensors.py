"""Files of tensors."""

from __future__ import annotations

import os

import pytest
import torch
from safetensors.torch import load_file

from composir.tensors import save_file


@pytest.mark.skipif(os.name != "posix", reason="modes are POSIX'")
@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o027, 0o640)])
def test_others_may_read_as_far_as_the_umask_lets_them(tmp_path, umask, mode):
    before = os.umask(umask)
    try:
        save_file({"a": torch.ones(2)}, tmp_path / "w.safetensors", {"format": "pt"})
    finally:
        os.umask(before)
    assert (tmp_path / "w.safetensors").stat().st_mode & 0o777 == mode
    assert load_file(tmp_path / "w.safetensors")["a"].tolist() == [1, 1]
