"""The command line: `agentteam-delivery serve`, `watch`, `version`."""

import asyncio
import contextlib
import resource
import signal
import socket
import sys
from collections.abc import Iterator
from importlib.metadata import version as installed

import structlog
import typer
import uvicorn
import uvloop
import yaml
from fastapi import FastAPI

from app import logs
from app.cluster import connect, open_cluster
from app.errors import SettingsError
from app.main import create_app
from app.settings import CommonSettings, ServiceSettings, WatcherSettings

log = structlog.get_logger(__name__)
cli = typer.Typer(
    help="Delivers the outcome of finished AgentTeams, and records in their status what landed.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

LINGERING = 2  # seconds after a drain for callers that neither end their request nor read their answer


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
    document = create_app(ServiceSettings(auth="none")).openapi()
    typer.echo(yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=110), nl=False)


def main() -> None:
    """Run the command line; settings that cannot be used end it with a sentence."""
    try:
        cli()
    except SettingsError as error:
        typer.echo(f"agentteam-delivery: {error}", err=True)
        sys.exit(2)
    except Exception:
        log.exception("crashed")  # Python's own traceback would quote what the exception holds
        sys.exit(1)


class Server(uvicorn.Server):
    """uvicorn, with its signals left to us: it would close the port at once and die by the signal."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture nothing."""
        yield


async def _serve(settings: ServiceSettings) -> None:
    asyncio.get_running_loop().set_exception_handler(logs.note_loop_error)
    _raise_file_limit()
    async with open_cluster(settings) as cluster:
        await _run(create_app(settings, cluster=cluster), settings)


async def _run(app: FastAPI, settings: ServiceSettings) -> None:
    """Serve until told to stop; then answer 503 while what is in flight finishes, and only then close."""
    server = Server(
        uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=LINGERING,
        )
    )
    listener = _listen(settings)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    host, port = listener.getsockname()[:2]
    log.info("serving", host=host, port=port)
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if server.started and not serving.done():
        log.info("draining", seconds=settings.drains)
        try:
            async with asyncio.timeout(settings.drains):
                await app.state.service.dispatcher.drain()
        except TimeoutError:
            log.warning("drain_cut_short", seconds=settings.drains)
            app.state.service.dispatcher.abandon()
    server.should_exit = True
    await serving
    if not server.started:
        raise typer.Exit(1)
    log.info("stopped")


def _raise_file_limit() -> None:
    """Ask for as many open files as may be had: each connection is one, and shells give out few."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _listen(settings: ServiceSettings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        return socket.create_server((settings.host, settings.port), family=family, backlog=2048)
    except OSError as error:
        where = f"{settings.host}:{settings.port}"
        raise SettingsError(f"cannot listen on {where} ({error.strerror}); set DELIVERY_PORT") from None


async def _watch(settings: WatcherSettings) -> None:
    from app.watcher import watch as run  # noqa: PLC0415  # the service does not carry the watcher's weight

    asyncio.get_running_loop().set_exception_handler(logs.note_loop_error)
    async with connect() as api:
        await run(settings, api)


def _configure_logs(settings: CommonSettings) -> None:
    logs.configure(settings.log_level, settings.log_format)


if __name__ == "__main__":
    main()
