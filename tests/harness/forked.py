"""The program without its start-up: a process that has imported everything forks one that runs it.

Imports take nine tenths of a start, and the suite starts the program many hundred times. The forked process
runs the same command line, with the given environment and arguments. If coverage is measured, it is measured
there from the fork on, and in no other process that a test starts.
"""

import asyncio
import importlib
import inspect
import multiprocessing
import os
import sys
from asyncio import StreamReader, StreamReaderProtocol
from contextlib import suppress
from multiprocessing.reduction import DupFd
from typing import Any, Self

import coverage
import uvloop  # noqa: F401  # this and the three below are preloaded for the forked processes

import app.kube.kubeconfig
import app.serving
import app.watcher.process  # noqa: F401
from app.cli import main
from app.settings import ServiceSettings, WatcherSettings

# What only some commands import, a third of a second each time.
for library in (
    "aiosmtplib",
    "anyio._backends._asyncio",
    "cryptography.x509",
    "google.auth.jwt",
    "httpcore",
    "httpx",
    "rich.live",
    "typer.rich_utils",
):
    importlib.import_module(library)

# What each process would work out once is worked out before the forks: where modules are (coverage asks for
# the stack), how sources are read (FastAPI asks for those of the routes), how settings are validated.
inspect.stack()
inspect.getsource(main)
for settings in (ServiceSettings, WatcherSettings):
    settings.model_rebuild()

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["__main__", __name__])
_counting: dict[str, str] = {}


def count_here_alone() -> None:
    """Enable coverage only in forked processes: in others it would double the cost."""
    for name in [name for name in os.environ if name.startswith("COVERAGE_PROCESS_")]:
        _counting[name] = os.environ.pop(name)


class Forked:
    """A running program, with the parts of `asyncio.subprocess.Process` that its users need."""

    def __init__(self, process: Any, stderr: StreamReader, stdout: StreamReader | None) -> None:
        self.stderr = stderr
        self.stdout = stdout
        self.returncode: int | None = None
        self._process = process
        self._ended = asyncio.Event()
        asyncio.get_running_loop().add_reader(process.sentinel, self._reap)

    @classmethod
    async def start(
        cls, arguments: list[str], environment: dict[str, str], *, with_stdout: bool = False
    ) -> Self:
        """Run the command line with these arguments, its own name first, and only this environment.

        Its standard output is the caller's, unless the caller reads it.
        """
        readers, ends = [], []
        for _ in range(1 + with_stdout):
            reader, end = await _pipe()
            readers.append(reader)
            ends.append(end)
        process = _CONTEXT.Process(
            target=_run,
            args=(arguments, environment | _counting, [_Passed(end) for end in ends]),
            daemon=True,
        )
        try:
            process.start()
        finally:
            for end in ends:
                os.close(end)
        return cls(process, *readers, *[None] * (not with_stdout))

    @property
    def pid(self) -> int:
        return int(self._process.pid)

    def send_signal(self, number: int) -> None:
        """Send a signal, unless it has ended a moment ago."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, number)

    async def wait(self) -> int:
        """Wait for its end; return its exit code, or the negative number of the signal."""
        await self._ended.wait()
        assert self.returncode is not None
        return self.returncode

    async def communicate(self) -> tuple[bytes, bytes]:
        """Read its standard output and standard error to their end."""
        assert self.stdout
        out, err, _ = await asyncio.gather(self.stdout.read(), self.stderr.read(), self.wait())
        return out, err

    def _reap(self) -> None:
        asyncio.get_running_loop().remove_reader(self._process.sentinel)
        self.returncode = self._process.exitcode
        self._ended.set()


async def _pipe() -> tuple[StreamReader, int]:
    """Create a pipe: its reading end, and the descriptor of its writing end."""
    ours, its = os.pipe()
    reader = StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: StreamReaderProtocol(reader), os.fdopen(ours, "rb", 0)
    )
    return reader, its


class _Passed:
    """A descriptor that the fork passes on, as a number there.

    Outside of pickling, a thread keeps the descriptor of `DupFd` open until the process requests it. A
    process that is killed at once never does, so a reader of its output would wait forever.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def __reduce__(self) -> tuple[Any, ...]:
        return _detached, (DupFd(self._descriptor),)


def _detached(passed: Any) -> int:
    return int(passed.detach())


def _run(arguments: list[str], environment: dict[str, str], outputs: list[int]) -> None:
    for number, descriptor in zip((2, 1), outputs, strict=False):
        os.dup2(descriptor, number)
        os.close(descriptor)
    # As in a new process: a stream opened on a file would try to seek in a pipe.
    sys.stderr = os.fdopen(2, "w", buffering=1, closefd=False)
    if len(outputs) > 1:
        sys.stdout = os.fdopen(1, "w", closefd=False)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = arguments
    coverage.process_startup()  # does nothing without coverage
    main()
