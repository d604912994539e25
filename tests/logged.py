"""Collects everything that any library logs, under the service's own configuration."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import structlog
from structlog.typing import EventDict, WrappedLogger

from app.telemetry import logs

SHORT = logging.Formatter("%(name)s %(levelname)s %(message)s")


class Kept(logging.Handler):
    """Stores each line as text: its message, its arguments, and its traceback if there is one."""

    def __init__(self) -> None:
        super().__init__(level=0)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(f"{SHORT.format(record)} {record.__dict__!r}")

    def keep(self, _: WrappedLogger, __: str, event: EventDict) -> EventDict:
        """Store one of our own lines, which do not pass through the standard library."""
        self.lines.append(repr(event))
        return event

    @property
    def text(self) -> str:
        return "\n".join(self.lines)


@contextmanager
def everything_logged(level: str = "DEBUG", form: str = "json") -> Iterator[Kept]:
    """Configure logging as the service does, and collect every line; restore everything at the end."""
    root, kept = logging.getLogger(), Kept()
    handlers, root_level = root.handlers, root.level
    levels = {name: logging.getLogger(name).level for name in logs.TALKATIVE}
    root.handlers = []  # configuring would close these
    logs.configure(level, form)
    root.addHandler(kept)
    *before, renderer = structlog.get_config()["processors"]
    structlog.configure(processors=[*before, kept.keep, renderer], cache_logger_on_first_use=False)
    try:
        yield kept
    finally:
        root.handlers = handlers
        root.setLevel(root_level)
        for name, before in levels.items():
            logging.getLogger(name).setLevel(before)
        structlog.reset_defaults()
