"""The program without its start-up: a process that has imported all of it forks one that runs it.

Nine tenths of a start are imports, and the suite starts the program many hundred times. What runs is the
same: the command line, in a process of its own, with the environment and the arguments that it was given.
"""

import asyncio
import multiprocessing
import os
import sys
from asyncio import StreamReader, StreamReaderProtocol
from multiprocessing.reduction import DupFd
from typing import Any, Self

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(
    ["__main__", __name__, "uvloop", "app.cli", "app.serving", "app.watcher.process"]
)


class Forked:
    """A running program, with what its users take of `asyncio.subprocess.Process`."""

    def __init__(self, process: Any, stderr: StreamReader) -> None:
        self.stderr = stderr
        self.returncode: int | None = None
        self._process = process
        self._ended = asyncio.Event()
        asyncio.get_running_loop().add_reader(process.sentinel, self._reap)

    @classmethod
    async def start(cls, arguments: list[str], environment: dict[str, str]) -> Self:
        """Run the command line with these arguments, its own name first, and this environment alone."""
        ours, its = os.pipe()
        stderr = StreamReader()
        await asyncio.get_running_loop().connect_read_pipe(
            lambda: StreamReaderProtocol(stderr), os.fdopen(ours, "rb", 0)
        )
        process = _CONTEXT.Process(target=_run, args=(arguments, environment, DupFd(its)), daemon=True)
        try:
            process.start()
        finally:
            os.close(its)
        return cls(process, stderr)

    @property
    def pid(self) -> int:
        return int(self._process.pid)

    def send_signal(self, number: int) -> None:
        os.kill(self.pid, number)

    async def wait(self) -> int:
        """Wait until it has ended; its exit code, or the signal's number below zero."""
        await self._ended.wait()
        assert self.returncode is not None
        return self.returncode

    def _reap(self) -> None:
        asyncio.get_running_loop().remove_reader(self._process.sentinel)
        self.returncode = self._process.exitcode
        self._ended.set()


def _run(arguments: list[str], environment: dict[str, str], stderr: Any) -> None:
    os.dup2(stderr.detach(), 2)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = arguments
    from app.cli import main  # noqa: PLC0415  # the forking process has it; whoever asks it to fork has no need

    main()
