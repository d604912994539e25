"""The command line: the processes `serve` and `watch`, and the commands for people."""

import asyncio
import gc
import os
import sys
from contextlib import AsyncExitStack, suppress
from importlib.metadata import version as installed
from typing import NoReturn

import structlog
import typer
import uvloop
import yaml

from app import logs, server
from app.cluster import open_cluster
from app.console.commands import people
from app.console.trouble import Trouble
from app.errors import SettingsError
from app.main import create_app
from app.metrics import Metrics
from app.settings import CommonSettings, ServiceSettings, WatcherSettings
from app.targets import shortened
from app.tracing import Tracing, exported

GARBAGE_THRESHOLD = 20_000  # objects made and not freed between two looks for cycles; by default 700

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
    settings = ServiceSettings.load()
    _configure_logs(settings)
    uvloop.run(_serve(settings))


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
    except OSError as error:
        _end(f"the answer cannot be written: {error.strerror or type(error).__name__}")
    except Exception as error:
        # Python's own traceback would quote what the exception and the variables hold.
        if not structlog.is_configured():  # no process, but a command for people
            _end(f"an unexpected {type(error).__name__}; it is a mistake of this program, please report it")
        log.exception("crashed")
        sys.exit(1)


def _end(sentence: str) -> NoReturn:
    with suppress(OSError):
        typer.echo(f"agentteam-delivery: {shortened(sentence, 2000)}", err=True)
    with suppress(OSError):
        sys.stdout = open(os.devnull, "w")  # noqa: PTH123, SIM115  # what cannot be written is not tried again
    sys.exit(2)


async def _serve(settings: ServiceSettings) -> None:
    # What is loaded by now stays, and what a delivery makes is mostly freed by counting: to look for cycles
    # seldom costs little memory, and often it costs a tenth of all the time.
    gc.freeze()
    gc.set_threshold(GARBAGE_THRESHOLD)
    asyncio.get_running_loop().set_exception_handler(logs.note_loop_error)
    metrics = Metrics()
    async with AsyncExitStack() as stack:
        cluster = await stack.enter_async_context(open_cluster(settings, metrics.count_api_request))
        tracing = stack.enter_context(exported()) if settings.tracing else Tracing()
        app = create_app(settings, cluster=cluster, metrics=metrics, tracing=tracing)

        async def drain() -> None:
            await app.state.service.dispatcher.drain()

        def abandon() -> None:
            app.state.service.dispatcher.abandon()

        if not await server.run(app, settings, drain=drain, abandon=abandon, metrics=metrics):
            raise typer.Exit(1)


async def _watch(settings: WatcherSettings) -> None:
    from app.watcher import watch as run  # noqa: PLC0415  # the service does not carry the watcher's weight

    asyncio.get_running_loop().set_exception_handler(logs.note_loop_error)
    await run(settings)


def _configure_logs(settings: CommonSettings) -> None:
    logs.configure(settings.log_level, settings.log_format)


if __name__ == "__main__":
    main()
