"""`composir report`: folders in, one file out."""

from __future__ import annotations

import subprocess
import sys

import pytest

from composir.evaluation.results import Result, load_result


@pytest.fixture
def run(tmp_path_factory, cli):
    """A folder as `composir eval` writes it, by the command itself."""
    folder = tmp_path_factory.mktemp("runs") / "slerp"
    sizes = [f"--option={split}=12" for split in ("train", "val", "test")]
    done = cli("eval", "slerp", "--data", "wardrobe", *sizes, "--workers", 0, "-o", folder)
    assert done.code == 0, done.err
    return folder


def test_a_report_of_a_real_evaluation(cli, run, tmp_path):
    out = tmp_path / "made" / "report.html"
    done = cli("report", run, "-o", out, "--worst", 2, "--best", 1)
    assert done.code == 0, done.err
    assert done.out.startswith(f"wrote {out} (")
    page = out.read_text(encoding="utf-8")
    result = load_result(run)
    for task in result.content["tasks"]:
        for value in task["metrics"].values():
            assert f">{value:.1f}</" in page
    assert page.count("<article") <= 3
    assert "data:image/jpeg;base64," in page


def test_a_folder_of_runs_stands_for_them(cli, run, tmp_path):
    assert cli("report", run.parent, "-o", tmp_path / "all.html").code == 0
    assert cli("report", run, "-o", tmp_path / "one.html").code == 0
    assert (tmp_path / "all.html").read_text() == (tmp_path / "one.html").read_text()
    done = cli("report", tmp_path, "-o", tmp_path / "none.html")
    assert done.code == 1
    assert "result.json" in done.err


def test_pictures_and_queries_can_be_left_out(cli, run, tmp_path):
    out = tmp_path / "report.html"
    assert cli("report", run, run, "-o", out, "--no-images").code == 0
    assert "data:image" not in out.read_text(encoding="utf-8").partition("<title>")[2]
    assert cli("report", run, "-o", out, "--worst", 0, "--best", 0).code == 0
    assert "<article" not in out.read_text(encoding="utf-8")


def test_the_file_is_report_html_unless_named(cli, run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert cli("report", run, "--no-images").code == 0
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


def test_queries_link_to_a_page_that_is_named(cli, run, tmp_path):
    done = cli("report", run, "-o", tmp_path / "r.html", "--page", "http://127.0.0.1:8000")
    assert done.code == 0, done.err
    assert "its links lead to http://127.0.0.1:8000" in done.out
    page = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert page.count('href="http://127.0.0.1:8000/?reference_path=val-') == page.count("<article")
    assert cli("report", run, "-o", tmp_path / "r.html").code == 0
    assert "http://127" not in (tmp_path / "r.html").read_text(encoding="utf-8")


def test_two_runs_stand_in_one_table(cli, run, tmp_path):
    result = load_result(run)
    content = {**result.content, "average": {"mean": 1.5}, "average_intervals": {"mean": [1.0, 2.0]}}
    Result(content, result.queries).save(tmp_path / "again")
    assert cli("report", run, tmp_path / "again", "-o", tmp_path / "r.html", "--no-images").code == 0
    assert (tmp_path / "r.html").read_text(encoding="utf-8").count('class="board"') == 1


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("nowhere",), "nowhere holds no result.json; name a folder that `composir eval` has written"),
        (("nowhere", "-o", "."), "is a folder; name a file"),
    ],
)
def test_problems_are_one_line(cli, tmp_path, monkeypatch, arguments, told):
    monkeypatch.chdir(tmp_path)
    done = cli("report", *arguments)
    assert done.code == 1
    assert told in done.err
    assert done.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_numbers_out_of_range_are_refused(cli, tmp_path):
    done = cli("report", tmp_path, "--worst", -1)
    assert done.code == 2
    assert "--worst" in done.err


def test_it_needs_no_torch(run, tmp_path):
    """Reading what was measured costs no encoder: the page is there in the time of a start, not of a model."""
    code = (
        "import sys; from pathlib import Path; from composir.reporting import write_report; "
        "write_report([Path(sys.argv[1])], Path(sys.argv[2])); print('torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(run), str(tmp_path / "r.html")], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "False"
