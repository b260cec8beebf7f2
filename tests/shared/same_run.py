"""Whether two folders hold one run, to the last bit."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import load_file


def rows(folder: Path) -> list[dict]:
    read = [json.loads(line) for line in (folder / "log.jsonl").read_text("utf-8").splitlines()]
    return [{key: row[key] for key in row.keys() - {"seconds"}} for row in read]


def same_files(one: Path, other: Path, name: str) -> bool:
    left, right = load_file(one / name), load_file(other / name)
    return left.keys() == right.keys() and all(torch.equal(left[key], right[key]) for key in left)


def check_equal(one: Path, other: Path) -> None:
    assert rows(one) == rows(other)
    assert same_files(one, other, "last.safetensors")
    assert same_files(one, other, "best.safetensors")
    reports = [json.loads((folder / "report.json").read_text("utf-8")) for folder in (one, other)]
    for report in reports:
        for part in (report, report["best"]):
            part.pop("seconds")
        report.pop("run")
    assert reports[0] == reports[1]
