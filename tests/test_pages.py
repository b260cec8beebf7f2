"""The pages show what the result files hold, and the README's names and files exist."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

from composir.cli.demo import demo

ROOT = Path(__file__).parents[1]


@pytest.fixture
def render(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    yield importlib.import_module("render")
    for name in ("render", "bi_blip4cir_tables", "tat_tables"):
        sys.modules.pop(name, None)


def test_tables_are_fresh():
    done = subprocess.run(
        [sys.executable, "benchmarks/render.py", "--check"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    told = f"{done.stdout}{done.stderr}run python benchmarks/render.py"
    assert done.stdout.splitlines() == ["stale: none", "not measured yet: none"], told
    assert done.returncode == 0


def unmeasured():
    raise FileNotFoundError


@pytest.mark.parametrize(
    ("table", "page", "told", "code"),
    [
        (lambda: "| 1 |\n", "| 1 |\n", ["stale: none", "not measured yet: none"], 0),
        (lambda: "| 1 |\n", "| 2 |\n", ["stale: page.md", "not measured yet: none"], 1),
        (unmeasured, "(not measured yet)\n", ["stale: none", "not measured yet: page.md own"], 1),
        (unmeasured, "| 1 |\n", ["stale: page.md", "not measured yet: page.md own"], 1),
    ],
)
def test_check_fails_on_what_is_stale_or_not_measured(render, tmp_path, monkeypatch, capsys, table, page, told, code):
    text = f"A\n<!-- figures own -->\n{page}<!-- /figures -->\nB\n"
    (tmp_path / "page.md").write_text(text, encoding="utf-8")
    for name, value in (("ROOT", tmp_path), ("PAGES", ("page.md",)), ("TABLES", {"own": table})):
        monkeypatch.setattr(render, name, value)
    monkeypatch.setattr(sys, "argv", ["render.py", "--check"])
    assert render.main() == code
    assert capsys.readouterr().out.splitlines() == told
    assert (tmp_path / "page.md").read_text("utf-8") == text
    monkeypatch.setattr(sys, "argv", ["render.py"])
    assert render.main() == 0
    assert (tmp_path / "page.md").read_text(
        "utf-8"
    ) == f"A\n<!-- figures own -->\n{render.made('own')}<!-- /figures -->\nB\n"


def test_orderings_are_decided_by_holm(render):
    """0.02 and 0.03 are told apart alone, but not among four; 0.001 * 4 is, and the sign says which way."""
    tables = importlib.import_module("bi_blip4cir_tables")
    chances = {0.001: -1.0, 0.02: 1.0, 0.03: 1.0, 0.5: 1.0}
    cells = [{"difference": d, "low": d - 1, "high": d + 1, "p": p} for p, d in chances.items()]
    rows = [{"claim": "x", "metrics": dict.fromkeys(tables.SHOWN, cell)} for cell in cells]
    head, body = tables.orderings({"orderings": rows})
    assert [row[-2:] for row in body] == [
        ["0.004", "no"],
        ["0.06", "undecided"],
        ["0.06", "undecided"],
        ["0.5", "undecided"],
    ]
    assert [row[1].rpartition("p = ")[2] for row in body] == ["0.001", "0.02", "0.03", "0.5"]
    assert len(head) == len(body[0])


def test_local_links_lead_somewhere():
    for page in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *ROOT.glob("docs/**/*.md")]:
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page.name} links to {target}, which is not there"


def test_contributing_is_short():
    assert len((ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").splitlines()) <= 60


def test_make_targets_of_the_readme_exist():
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    named = set(re.findall(r"\bmake ([\w-]+)", (ROOT / "README.md").read_text(encoding="utf-8")))
    assert named <= targets


@pytest.mark.long
def test_the_readme_s_python_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    demo(out=Path("demo"), size=60)
    capsys.readouterr()
    section = (ROOT / "README.md").read_text("utf-8").split("## In Python")[1]
    code = section.split("```python\n")[1].split("```")[0]
    exec(compile(code, "README.md", "exec"), {})
    *hits, recall = capsys.readouterr().out.splitlines()
    assert len(hits) == 5
    assert [hit.split()[0] for hit in hits] == ["1", "2", "3", "4", "5"]
    assert "value=" in recall
