"""The command line: the processes `serve` and `watch`, and the commands for people."""

import asyncio
import os
import sys
from contextlib import suppress
from importlib.metadata import version as installed
from typing import NoReturn

import structlog
import typer
import uvloop

from app.console.commands import people
from app.console.trouble import Trouble
from app.domain.errors import SettingsError
from app.domain.text import shortened
from app.settings import CommonSettings, ServiceSettings, WatcherSettings
from app.telemetry import logs

# Neither process bears the weight of the other, and a command for people that of none: each is loaded when
# it is called.

log = structlog.get_logger(__name__)
cli = typer.Typer(
    help="Delivers the outcome of finished AgentTeams, and records in their status what landed.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
cli.add_typer(people)


@cli.command()
def serve() -> None:
    """Run the service: take events over HTTP and deliver them."""
    from app.serving import serve as run  # noqa: PLC0415

    settings = ServiceSettings.load()
    _configure_logs(settings)
    if not uvloop.run(run(settings)):
        raise typer.Exit(1)


@cli.command()
def watch() -> None:
    """Run the watcher: hand finished teams to the service."""
    settings = WatcherSettings.load()
    _configure_logs(settings)
    uvloop.run(_watch(settings))


@cli.command()
def version() -> None:
    """Print the version."""
    typer.echo(installed("agentteam-delivery"))


@cli.command(hidden=True)
def openapi() -> None:
    """Print the OpenAPI description as YAML."""
    import yaml  # noqa: PLC0415

    from app.main import create_app  # noqa: PLC0415

    document = create_app(ServiceSettings(auth="none", host="127.0.0.1")).openapi()
    typer.echo(yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=110), nl=False)


def main() -> None:
    """Run the command line; what cannot be done ends it with a sentence."""
    try:
        try:
            cli()
        finally:
            sys.stdout.flush()
    except (SettingsError, Trouble) as error:
        _end(str(error))
    except Exception as error:
        # Python's own traceback would quote what the exception and the variables hold.
        if structlog.is_configured():  # which the processes do
            log.exception("crashed")
            sys.exit(1)
        if isinstance(error, OSError):
            _end(f"the answer cannot be written: {error.strerror or type(error).__name__}")
        _end(f"an unexpected {type(error).__name__}; it is a mistake of this program, please report it")


def _end(sentence: str) -> NoReturn:
    with suppress(OSError):
        typer.echo(f"agentteam-delivery: {shortened(sentence, 2000)}", err=True)
    with suppress(OSError):
        sys.stdout = open(os.devnull, "w")  # noqa: PTH123, SIM115  # what cannot be written is not tried again
    sys.exit(2)


async def _watch(settings: WatcherSettings) -> None:
    from app.watcher import watch as run  # noqa: PLC0415

    asyncio.get_running_loop().set_exception_handler(logs.note_loop_error)
    await run(settings)


def _configure_logs(settings: CommonSettings) -> None:
    logs.configure(settings.log_level, settings.log_format)


if __name__ == "__main__":
    main()
