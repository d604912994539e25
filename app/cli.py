"""The command line: the processes `serve` and `watch`, and the commands for people."""

import asyncio
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import version as installed
from typing import Annotated, NoReturn

import structlog
import typer

from app.console.commands import people
from app.console.listing import Serving, Watching
from app.console.trouble import Trouble
from app.domain.errors import SettingsError
from app.domain.text import shortened
from app.loading import quickly
from app.settings import CommonSettings, ServiceSettings, WatcherSettings, misspelt
from app.telemetry import logs

# Each is imported only when it is called: a process does not load the other, and a command for people loads
# neither. Commands for people work without the extra `service`.

log = structlog.get_logger(__name__)
cli = typer.Typer(
    help="Notifies the targets of finished AgentTeams, and records the outcomes in their status.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
)
cli.add_typer(people)


def _show_version(asked: bool) -> None:  # noqa: FBT001  # as Typer calls it
    if asked:
        version()
        raise typer.Exit


@cli.callback()
def whole(
    *,
    _: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    """Deliver the outcome of finished AgentTeams, and record in their status what was delivered."""


@cli.command(cls=Serving)
def serve() -> None:
    """Run the service: accept events over HTTP and deliver them."""
    with _parts():
        import uvloop  # noqa: PLC0415

        from app.serving import serve as run  # noqa: PLC0415

    settings = ServiceSettings.load()
    _configure_logs(settings)
    if not uvloop.run(run(settings)):
        raise typer.Exit(1)


@cli.command(cls=Watching)
def watch() -> None:
    """Run the watcher: submit finished teams to the service."""
    with _parts():
        import uvloop  # noqa: PLC0415

        from app.watcher import watch as run  # noqa: PLC0415

    async def watched() -> None:
        asyncio.get_running_loop().set_exception_handler(logs.note_loop_error)
        await run(settings)

    settings = WatcherSettings.load()
    _configure_logs(settings)
    uvloop.run(watched())


@cli.command()
def version() -> None:
    """Print the version."""
    typer.echo(installed("agentteam-delivery"))


@cli.command(hidden=True)
def openapi() -> None:
    """Print the OpenAPI description as YAML."""
    import yaml  # noqa: PLC0415

    with _parts():
        from app.main import create_app  # noqa: PLC0415

    document = create_app(ServiceSettings(auth="none", host="127.0.0.1")).openapi()
    typer.echo(yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=110), nl=False)


def main() -> None:
    """Run the command line; print an error as one sentence."""
    try:
        try:
            cli()
        finally:
            sys.stdout.flush()
    except (SettingsError, Trouble) as error:
        _end(str(error))
    except Exception as error:
        # Python's own traceback would print the content of the exception and of variables.
        if structlog.is_configured():  # true in both processes
            log.exception("crashed")
            sys.exit(1)
        if isinstance(error, OSError):
            _end(f"the answer cannot be written: {error.strerror or type(error).__name__}")
        _end(f"an unexpected {type(error).__name__}; this is a bug of this program, please report it")


def _end(sentence: str) -> NoReturn:
    with suppress(OSError):
        typer.echo(f"agentteam-delivery: {shortened(sentence, 2000)}", err=True)
    with suppress(OSError):
        sys.stdout = open(os.devnull, "w")  # noqa: PTH123, SIM115  # a failed write is not retried
    sys.exit(2)


@contextmanager
def _parts() -> Iterator[None]:
    """Import parts of the service; say what to install if one is missing."""
    try:
        with quickly():
            yield
    except ModuleNotFoundError as error:
        raise Trouble(
            f"this command runs the service, which requires {error.name}, and that is not installed;"
            " to install everything: pip install 'agentteam-delivery[service]'"
        ) from None


def _configure_logs(settings: CommonSettings) -> None:
    logs.configure(settings.log_level, settings.log_format)
    for variable, advice in misspelt(os.environ).items():
        log.warning("setting_unknown", variable=shortened(variable, 100), advice=advice)


if __name__ == "__main__":
    main()
