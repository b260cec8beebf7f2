"""The command as such: quick to answer, suggests what may have been meant, and ends problems in one line."""

import subprocess
import sys

import pytest

import composir

RUN = "import sys; from composir.cli.main import run; "


def python(code, *arguments):
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.parametrize("arguments", ["--help", "index --help", "search --help", "--version"])
def test_help_imports_nothing_heavy(arguments):
    report = "print(*sorted(m for m in sys.modules if '.' not in m), sep='\\n', file=sys.stderr)"
    code = f"{RUN}sys.argv[1:] = {arguments.split()!r}\ntry:\n    run()\nfinally:\n    {report}"
    done = python(code)
    assert done.returncode == 0
    heavy = {"torch", "transformers", "lancedb", "pyarrow", "numpy", "PIL", "accelerate"}
    assert heavy & set(done.stderr.split()) == set()


def test_help_lists_the_verbs(cli):
    done = cli("--help")
    assert done.code == 0
    assert {"index", "search"} <= set(done.out.split())


def test_version(cli):
    assert cli("--version").out == f"composir {composir.__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (("indx", "x"), "index"),
        (("serch",), "search"),
        (("index", "x", "--galery", "g"), "--gallery"),
        (("search", "--gallery", "g", "--txt", "x"), "--text"),
    ],
)
def test_the_nearest_name_is_suggested(cli, arguments, hint):
    done = cli(*arguments)
    assert done.code == 2
    assert hint in done.err.replace("Usage", "")


def test_a_problem_is_one_line_without_a_traceback(tmp_path):
    done = python(f"{RUN}run()", "search", "--gallery", str(tmp_path / "nowhere"), "--text", "x")
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith(f"error: {tmp_path / 'nowhere'} does not exist; build one with: composir index")
    assert done.stderr.count("\n") == 1
