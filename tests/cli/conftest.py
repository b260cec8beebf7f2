"""Calling the command as a user does, without paying for a process."""

from dataclasses import dataclass

import pytest

from composir.cli import main


@dataclass
class Done:
    code: int
    out: str
    err: str


@pytest.fixture
def cli(monkeypatch, capsys):
    """cli("index", "photos") gives exit code, standard output and standard error."""

    def call(*arguments) -> Done:
        monkeypatch.setattr("sys.argv", ["composir", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main.run()
        return Done(int(ended.value.code or 0), *capsys.readouterr())

    return call


@pytest.fixture
def gallery(cli, pictures, tmp_path):
    """The path of a gallery of `pictures`, twelve pictures by clip-tiny."""
    done = cli("index", pictures(12), "--gallery", tmp_path / "g", "--backbone", "clip-tiny", "--workers", 0)
    assert done.code == 0, done.err
    return tmp_path / "g"
