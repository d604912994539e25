"""One format for all log lines, including those of libraries, without addresses."""

import asyncio
import json
import logging
import re
import sys
import time
import traceback
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import cache, lru_cache
from typing import Any, TextIO

import structlog
from structlog.typing import EventDict, FilteringBoundLogger, Processor, WrappedLogger

from app.domain.errors import DeliveryError
from app.domain.text import as_json

log = structlog.get_logger(__name__)

PLAIN = frozenset({str, int, float, bool, type(None)})
"""The types of nearly all values in a line."""

TALKATIVE = ("aiohttp", "asyncio", "hpack", "httpcore", "httpx", "kubernetes_asyncio")
"""Libraries that log URLs, headers or bodies; limited to WARNING at every level."""


SILENT = ("opentelemetry", "urllib3")
"""Libraries whose errors quote addresses and headers; we log their errors in our own words."""


def configure(level: str, form: str) -> None:
    """Send structlog and the standard library's loggers to stderr, as JSON lines or for people."""
    renderer: Processor = (
        _as_json if form == "json" else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    handler = _Stderr(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[_hide_addresses, _complete],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for name in TALKATIVE:
        logging.getLogger(name).setLevel(max(logging.WARNING, logging.getLevelName(level)))
    for name in SILENT:
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    structlog.configure(
        processors=[_complete, renderer],
        logger_factory=_Lines,
        wrapper_class=filtering(level),
        cache_logger_on_first_use=True,
    )


@cache
def filtering(level: int | str) -> type[FilteringBoundLogger]:
    """Return the class of loggers that write lines of at least this level."""
    at_least: Any = structlog.make_filtering_bound_logger(level)

    class Logger(at_least):  # type: ignore[misc]  # structlog makes the class at run time
        """Writes a line without structlog's checks of what a processor returns."""

        def _proxy_to_logger(self, method_name: str, event: str | None = None, **fields: Any) -> None:
            line: Any = {**self._context, **fields, "event": event}
            for process in self._processors:
                line = process(self._logger, method_name, line)
            getattr(self._logger, method_name)(line)

    return Logger


def note_loop_error(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Log an error that nothing caught in an event loop, without the content of tasks and exceptions."""
    log.error("uncaught_in_event_loop", what=context.get("message"), exc_info=context.get("exception"))


class _Lines:
    """Writes our own lines to stderr; through the standard library, a line takes three times as long."""

    def __init__(self, name: str = "") -> None:
        self.name = name

    def write(self, line: str) -> None:
        try:  # noqa: SIM105  # a line per target: `suppress` would cost as much as a step of it
            sys.stderr.write(f"{line}\n")
        except (OSError, ValueError):  # a failed write must not stop the work
            pass

    debug = info = warning = error = critical = write


class _Stderr(logging.StreamHandler[TextIO]):
    """Writes the lines of libraries to stderr."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  # the standard library's name
        """Report that a line could not be written; the standard library would print all of its content."""
        where = f"{record.pathname}:{record.lineno}"
        log.error("line_not_written", by=record.name, at=where, exc_info=sys.exc_info())


def _complete(logger: WrappedLogger, level: str, event: EventDict) -> EventDict:
    """Add what every line has: one step, since there is a line for every target."""
    if "request_id" not in event:
        structlog.contextvars.merge_contextvars(logger, level, event)
    record = event.get("_record")  # of the standard library's
    event["level"] = level
    event["logger"] = record.name if record else logger.name
    second, microseconds = divmod(time.time_ns() // 1000, 1_000_000)
    event["timestamp"] = f"{_second(second)}.{microseconds:06}Z"
    if shown := event.pop("exc_info", None):
        _show_exception(shown, event)
    return event


@lru_cache(maxsize=2)
def _second(since_epoch: int) -> str:
    return datetime.fromtimestamp(since_epoch, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def _as_json(_: WrappedLogger, __: str, event: EventDict) -> str:
    # Any other value is shown as Python shows it: JSON would show what an object hides.
    if PLAIN.issuperset(map(type, event.values())):
        return as_json(event, ascii_only=True).decode()
    return json.dumps(event, default=repr, separators=(",", ":"))


def _show_exception(shown: Any, event: EventDict) -> None:
    """Show an exception by types and places. Only the texts of our own errors are known to be safe."""
    if shown is True:
        shown = sys.exc_info()
    error = shown[1] if isinstance(shown, tuple) else shown
    if isinstance(error, BaseException):
        event["exception"] = "".join(_traced(error, set())).rstrip()


def _traced(error: BaseException, seen: set[int]) -> Iterator[str]:
    seen.add(id(error))
    before = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if before is not None and id(before) not in seen:
        yield from _traced(before, seen)
        yield "and then\n"
    yield from traceback.format_tb(error.__traceback__)
    kind = f"{type(error).__module__}.{type(error).__qualname__}"
    yield f"{kind}: {error}\n" if isinstance(error, DeliveryError) else f"{kind}\n"
    for part in error.exceptions if isinstance(error, BaseExceptionGroup) else ():
        if id(part) not in seen:
            yield from _traced(part, seen)


def _hide_addresses(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Reduce every URL in a library's line to its scheme: any of them may be secret."""
    event["event"] = _URL.sub(r"\1://…", str(event["event"]))
    return event


_URL = re.compile(r"\b([A-Za-z][A-Za-z0-9+.-]{0,20})://[^\s'\"<>]*")
