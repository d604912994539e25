"""Helpers for processes: free ports, a clean end, memory and CPU use."""

import asyncio
import signal
import socket
from pathlib import Path


async def until_stopped() -> None:
    """Wait for SIGTERM or SIGINT."""
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    await stopped.wait()


def free_ports(number: int) -> list[int]:
    """Find ports on which nothing listens at this moment."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(number)]
    ports = [int(one.getsockname()[1]) for one in sockets]
    for one in sockets:
        one.close()
    return ports


class Memory:
    """The memory of a process, now and at its peak since the last reset."""

    def __init__(self, pid: int) -> None:
        self._folder = Path("/proc") / str(pid)

    @property
    def held(self) -> int:
        """Bytes now."""
        return self._bytes("VmRSS")

    @property
    def peak(self) -> int:
        """Bytes at the peak."""
        return self._bytes("VmHWM")

    @property
    def files(self) -> int:
        """Number of open files."""
        return len(list((self._folder / "fd").iterdir()))

    def forget_peak(self) -> None:
        (self._folder / "clear_refs").write_text("5")

    def _bytes(self, what: str) -> int:
        lines = (self._folder / "status").read_text().splitlines()
        [line] = [line for line in lines if line.startswith(f"{what}:")]
        return int(line.split()[1]) * 1024


class Processor:
    """The CPU time of a process, and the time that it waited for a CPU."""

    def __init__(self, pid: int) -> None:
        self._file = Path("/proc") / str(pid) / "schedstat"

    @property
    def used(self) -> float:
        """Seconds of CPU time so far."""
        return self._seconds(0)

    @property
    def lacked(self) -> float:
        """Seconds in which it was ready to run, but others ran."""
        return self._seconds(1)

    def _seconds(self, field: int) -> float:
        return int(self._file.read_text().split()[field]) / 1e9
