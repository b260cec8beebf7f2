"""Settings: one name for flag, environment and file; a closed door by default; keys that stay secret."""

import os

import pytest

from composir.cli.serve import _serve, command
from composir.errors import ComposirError
from composir.server.settings import Settings, is_loopback, read_settings

KEY = "k" * 32


def test_a_flag_beats_the_environment_which_beats_the_file(tmp_path):
    file = tmp_path / "serve.toml"
    file.write_text('port = 1\nmax_batch = 2\nlog_level = "debug"\nallowed_hosts = ["a.example"]\n')
    env = {"COMPOSIR_CONFIG": str(file), "COMPOSIR_PORT": "3", "COMPOSIR_MAX_BATCH": "4", "COMPOSIR_DEVICE": ""}
    read = read_settings({"port": 5, "host": None}, env)
    assert (read.port, read.max_batch, read.log_level, read.device) == (5, 4, "debug", "auto")
    assert read.allowed_hosts == ("a.example",)


def test_several_values_of_the_environment_are_parted_by_commas():
    read = read_settings({}, {"COMPOSIR_API_KEYS": f"{KEY}, {KEY}2", "COMPOSIR_ALLOWED_HOSTS": "A.example,b.example"})
    assert [key.get_secret_value() for key in read.api_keys] == [KEY, f"{KEY}2"]
    assert read.hosts == {"localhost", "127.0.0.1", "[::1]", "a.example", "b.example"}


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7", "shop.example"])
def test_an_open_address_needs_a_key(host):
    with pytest.raises(ComposirError, match=r"no API key; set COMPOSIR_API_KEYS .*token_urlsafe.* or listen at 127"):
        read_settings({"host": host}, {})
    assert read_settings({"host": host}, {"COMPOSIR_API_KEYS": KEY}).host == host


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.1", "::1", "localhost"])
def test_loopback_needs_none(host):
    assert is_loopback(host)
    assert read_settings({"host": host}, {}).api_keys == ()


def test_own_address_is_an_allowed_host():
    keys = {"COMPOSIR_API_KEYS": KEY}
    assert "192.0.2.7" in read_settings({"host": "192.0.2.7"}, keys).hosts
    assert "[2001:db8::1]" in read_settings({"host": "2001:db8::1"}, keys).hosts
    assert read_settings({"host": "0.0.0.0"}, keys).hosts == read_settings({}, {}).hosts


def test_keys_of_a_file(tmp_path):
    file = tmp_path / "keys"
    file.write_text(f"# rotated in May\n{KEY}a\n\n  {KEY}b\n")
    read = read_settings({"api_keys_file": file}, {"COMPOSIR_API_KEYS": f"{KEY}c"})
    assert {key.get_secret_value() for key in read.api_keys} == {f"{KEY}a", f"{KEY}b", f"{KEY}c"}
    file.write_text("# none\n")
    with pytest.raises(ComposirError, match="holds no API key"):
        read_settings({"api_keys_file": file}, {})
    with pytest.raises(ComposirError, match="cannot be read"):
        read_settings({"api_keys_file": tmp_path / "absent"}, {})


@pytest.mark.parametrize("key", ["short", "with a blank in it, long", "ümläut-ümläut-ümläut"])
def test_a_poor_key_is_refused_and_not_repeated(key):
    with pytest.raises(ComposirError, match="16 or more visible ASCII") as caught:
        read_settings({}, {"COMPOSIR_API_KEYS": key})
    assert key not in str(caught.value)


@pytest.mark.parametrize("host", ["*", "https://a.example", "a.example/x", "u@a", "a b"])
def test_what_is_no_host_name_is_refused(host):
    with pytest.raises(ComposirError, match="is no host name"):
        read_settings({"allowed_hosts": (host,)}, {})


def test_problems_name_where_they_were_set(tmp_path):
    with pytest.raises(ComposirError, match=r"COMPOSIR_PORT = '99999'.*65535"):
        read_settings({}, {"COMPOSIR_PORT": "99999"})
    with pytest.raises(ComposirError, match=r"--max-batch = 0"):
        read_settings({"max_batch": 0}, {})
    file = tmp_path / "serve.toml"
    file.write_text("max_batches = 3\n")
    with pytest.raises(ComposirError, match=r"serve.toml: unknown setting 'max_batches'; did you mean 'max_batch'"):
        read_settings({}, {}, file)
    file.write_text("body_seconds = nan\n")
    with pytest.raises(ComposirError, match=r"serve.toml: body_seconds = nan"):
        read_settings({}, {}, file)
    file.write_text("=")
    with pytest.raises(ComposirError, match="is no TOML file"):
        read_settings({}, {}, file)
    with pytest.raises(ComposirError, match="there is no settings file"):
        read_settings({}, {}, tmp_path / "absent.toml")


def test_printed_settings_read_back_the_same_without_keys(tmp_path):
    given = read_settings({"port": 9, "gallery": 'a"b\\ü', "fetch_urls": True}, {"COMPOSIR_API_KEYS": KEY})
    text = given.as_toml()
    assert KEY not in text
    assert "# 1 API keys, not shown" in text
    assert KEY not in repr(given)
    file = tmp_path / "printed.toml"
    file.write_text(text, encoding="utf-8")
    assert read_settings({}, {"COMPOSIR_API_KEYS": KEY}, file) == given


@pytest.fixture
def flags():
    """Run a line of flags; gives the settings and whether they are to be printed."""
    import typer

    def run(*line: str):
        seen = []
        inner = typer.Typer(add_completion=False)
        inner.command()(command(lambda settings, printed: seen.append((settings, printed))))
        typer.main.get_command(inner)(list(line), standalone_mode=False)
        return seen[0]

    return run


def test_every_setting_but_keys_is_a_flag(flags, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    for name, field in Settings.model_fields.items():
        value = {"host": "localhost", "log_format": "text", "log_level": "error", "port": "7", "split": "test"}.get(
            name
        )
        value = value or ("300000000" if "memory" in name else "64" if "int" in str(field.annotation) else "1")
        if name in ("api_keys", "api_keys_file"):
            continue
        given = ["--fetch-urls"] if name == "fetch_urls" else ["--" + name.replace("_", "-"), value]
        read = getattr(flags(*given)[0], name)
        assert str(read[0] if isinstance(read, tuple) else read).lower().removesuffix(".0") in (value, "true")


def test_no_flag_is_no_setting(flags, monkeypatch, tmp_path):
    monkeypatch.setenv("COMPOSIR_MAX_BATCH", "3")
    file = tmp_path / "a.toml"
    file.write_text("max_batch = 2\nport = 4\n")
    settings, printed = flags("--config", str(file), "--print-config", "--allowed-hosts", "a", "--allowed-hosts", "b")
    assert (settings.max_batch, settings.port, settings.allowed_hosts, printed) == (3, 4, ("a", "b"), True)
    assert flags("--no-fetch-urls")[0] == Settings(max_batch=3)


def test_keys_leave_the_environment(monkeypatch):
    """Lest a process that is started later inherits them."""
    seen = {}
    monkeypatch.setenv("COMPOSIR_API_KEYS", "k" * 40)
    monkeypatch.setenv("COMPOSIR_DEVICE", "cpu")
    monkeypatch.setattr("composir.loading.prepare_without_secrets", lambda: None)
    monkeypatch.setattr("composir.server.answering.engine.open_service", lambda settings: None)
    monkeypatch.setattr("composir.server.serve", lambda settings, service: seen.update(os.environ))
    _serve(Settings(gallery="anywhere"), False)
    assert "COMPOSIR_DEVICE" in seen
    assert "COMPOSIR_API_KEYS" not in seen
