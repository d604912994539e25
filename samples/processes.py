"""The demo's processes: started in parallel, watched while they run, and always stopped."""

import asyncio
import json
import os
import signal
import subprocess
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from types import TracebackType
from typing import Any, Self, TypeVar

ROOT = Path(__file__).parents[1]
PATIENCE = 30.0  # seconds to wait for anything
GRACE = 5.0  # seconds from SIGTERM to SIGKILL

T = TypeVar("T")


class Trouble(Exception):
    """What went wrong, in one sentence."""


@dataclass(frozen=True)
class Program:
    """A process in a session of its own, and its log file."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def running(self) -> bool:
        """Whether it still runs."""
        return self.process.poll() is None

    @property
    def lines(self) -> list[str]:
        """What it has logged so far."""
        return self.log.read_text(errors="replace").splitlines()

    def logged(self, event: str) -> dict[str, Any] | None:
        """Return the first line about an event."""
        for line in self.lines:
            with suppress(ValueError):  # not JSON, or incomplete
                document: dict[str, Any] = json.loads(line)
                if document["event"] == event:
                    return document
        return None

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to it and to all processes that it has started."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)


class Processes:
    """All started processes, with their files in one folder; those that still run at the end are stopped."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.programs: list[Program] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for program in self.programs:
            if program.running:
                program.signal(signal.SIGTERM)
        deadline = monotonic() + GRACE
        for program in self.programs:
            try:
                program.process.wait(max(0.0, deadline - monotonic()))
            except subprocess.TimeoutExpired:
                program.signal(signal.SIGKILL)
                program.process.wait()

    def start(self, name: str, *command: str | Path, **environment: str) -> Program:
        """Start a process, without waiting for it."""
        log = self.folder / f"{name}.log"
        with log.open("w") as output:
            process = subprocess.Popen(
                command,
                cwd=ROOT,
                env=_inherited() | environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                # Ctrl-C reaches a terminal's whole session: only the demo gets it, and stops the others.
                start_new_session=True,
            )
        program = Program(name, process, log)
        self.programs.append(program)
        return program

    async def until(self, what: str, look: Callable[[], Awaitable[T | None]]) -> T:
        """Call `look` until it returns something, and return that.

        Raises:
            Trouble: it takes too long, or one of the processes has ended.
        """
        deadline = monotonic() + PATIENCE
        while (found := await look()) is None:
            for program in self.programs:
                if not program.running:
                    raise Trouble(f"“{program.name}” has ended ({_verdict(program.process.returncode)}).")
            if monotonic() > deadline:
                raise Trouble(f"After {PATIENCE:.0f} s there is still no {what}.")
            await asyncio.sleep(0.02)
        return found

    async def event(self, program: Program, event: str) -> dict[str, Any]:
        """Wait until a program logs an event, and return that line."""

        async def look() -> dict[str, Any] | None:
            return program.logged(event)

        return await self.until(f"“{event}” from “{program.name}”", look)

    async def text(self, path: Path) -> str:
        """Wait until a file has been written, and return its content."""

        async def look() -> str | None:
            return _text(path) or None

        return await self.until(f"file {path.name}", look)


def _text(path: Path) -> str:
    return path.read_text() if path.exists() else ""


def _inherited() -> dict[str, str]:
    """Return the environment without settings, clusters and proxies, which could misdirect a process."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("DELIVERY_", "KUBERNETES_")) and not name.lower().endswith("_proxy")
    }


def _verdict(code: int) -> str:
    return f"exit code {code}" if code >= 0 else signal.Signals(-code).name
