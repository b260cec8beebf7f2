"""`composir serve`: a gallery over HTTP; its flags are the fields of `composir.server.settings.Settings`."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

    from composir.server.service import Service
    from composir.server.settings import Settings


def serve(context: typer.Context) -> None:
    """Serve a gallery: a page to search with, and an API."""
    # The flags are made when they are needed: `composir --help` need not import pydantic.
    inner = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    inner.command(context_settings={"help_option_names": ["-h", "--help"]})(command(_serve))
    typer.main.get_command(inner)(context.args, prog_name="composir serve", standalone_mode=False)


def command(act: Callable[[Settings, bool], None]) -> Callable[..., None]:
    """A typer command whose flags are the settings; it calls `act` with them and whether to print them only."""
    from composir.server.settings import SECRET, Settings, read_settings

    def run(config: Path | None, print_config: bool, **flags: Any) -> None:
        given = {name: tuple(v) if isinstance(v, list) else v for name, v in flags.items() if v not in (None, [])}
        act(read_settings(given, os.environ, config), print_config)

    fixed = {
        "config": (Path | None, typer.Option(help="A TOML file with settings."), None),
        "print_config": (bool, typer.Option("--print-config", help="Print the settings as TOML and end."), False),
    }
    flags = {n: (_kind(f), _option(n, f), None) for n, f in Settings.model_fields.items() if n not in SECRET}
    parameters = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[kind, option])
        for name, (kind, option, default) in {**flags, **fixed}.items()
    ]
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    run.__doc__ = serve.__doc__
    return run


def _kind(field: FieldInfo) -> Any:
    kind = field.annotation
    several = "tuple" in str(kind)
    plain = next((k for k in (bool, int, float, Path) if kind in (k, k | None)), str)
    return list[str] | None if several else plain | None


def _option(name: str, field: FieldInfo) -> Any:
    default = field.default
    shown = "" if default in (None, ()) else f" [default: {str(default).lower() if default is False else default}]"
    flag = "--" + name.replace("_", "-")
    names = [f"{flag}/--no-{flag[2:]}"] if field.annotation is bool else [flag]
    return typer.Option(*names, help=f"{field.description}{shown}", show_default=False)


def _serve(settings: Settings, print_config: bool) -> None:
    from composir.server import require_extra, serve

    if print_config:
        typer.echo(settings.as_toml(), nl=False)
        return
    require_extra()
    from composir.loading import prepare_without_secrets
    from composir.server.settings import KEYS

    os.environ.pop(KEYS, None)  # they are in the settings by now, and no process that is started from here needs them
    prepare_without_secrets()
    settings.wanted_gallery()

    def opened() -> Service:
        # Imported behind the open door too: it brings what reads galleries and runs models.
        from composir.server.answering.engine import open_service

        return open_service(settings)

    serve(settings, opened)


# Registered with these, so that everything behind `composir serve` reaches the command within.
CONTEXT = {"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []}
