"""The command as such: quick to answer, suggests what may have been meant, and ends problems in one line."""

import errno
import re
import subprocess
import sys
from pathlib import Path

import pytest

import composir
from composir.cli import main

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


def test_help_lists_every_verb(cli):
    """Each file of cli/ that is a verb is registered."""
    done = cli("--help")
    assert done.code == 0
    files = {path.stem for path in Path(main.__file__).parent.glob("*.py")}
    verbs = {
        name for name in files if re.search(rf"^(def {name}\(|def evaluate\(|app = typer)", _source(name), re.MULTILINE)
    } - {"main"}
    assert {"index", "search", "data", "train", "demo"} <= verbs
    assert verbs <= set(done.out.split())


def _source(name):
    return (Path(main.__file__).parent / f"{name}.py").read_text(encoding="utf-8")


def test_version(cli):
    assert cli("--version").out == f"composir {composir.__version__}\n"


def test_python_runs_it_as_a_module():
    done = subprocess.run([sys.executable, "-m", "composir", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"composir {composir.__version__}\n"


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


def test_a_path_that_the_system_refuses_is_one_line(cli, pictures, tmp_path):
    (tmp_path / "file").write_text("x")
    done = cli("index", pictures(1), "--gallery", tmp_path / "file" / "g", "--backbone", "clip-tiny", "--workers", 0)
    assert done.code == 1
    assert done.err.startswith(f"error: {tmp_path / 'file'}")
    assert done.err.count("\n") == 1


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "error: No space left on device; check the path"),
        (OSError(errno.ENOSPC, "No space left on device", "a.png"), "error: a.png: No space left on device; check"),
    ],
)
def test_a_full_disk_is_one_line(monkeypatch, capsys, error, told):
    """Also where the library that wrote does not say what."""

    def fails():
        raise error

    monkeypatch.setattr(main, "app", fails)
    with pytest.raises(SystemExit):
        main.run()
    assert capsys.readouterr().err.startswith(told)


def test_an_error_that_names_no_file_keeps_its_traceback(monkeypatch):
    def fails():
        raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr(main, "app", fails)
    with pytest.raises(OSError, match="Invalid argument"):
        main.run()
