"""What processes of the tests' own need: ports, an end, a look at their memory."""

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
    """Find ports that nobody listens on at this moment."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(number)]
    ports = [int(one.getsockname()[1]) for one in sockets]
    for one in sockets:
        one.close()
    return ports


class Memory:
    """What a process holds in memory, and has held at most since it was last asked to forget that."""

    def __init__(self, pid: int) -> None:
        self._folder = Path("/proc") / str(pid)

    @property
    def held(self) -> int:
        """Bytes, now."""
        return self._bytes("VmRSS")

    @property
    def peak(self) -> int:
        """Bytes, at most."""
        return self._bytes("VmHWM")

    @property
    def files(self) -> int:
        """Files that it has open."""
        return len(list((self._folder / "fd").iterdir()))

    def forget_peak(self) -> None:
        (self._folder / "clear_refs").write_text("5")

    def _bytes(self, what: str) -> int:
        lines = (self._folder / "status").read_text().splitlines()
        [line] = [line for line in lines if line.startswith(f"{what}:")]
        return int(line.split()[1]) * 1024


class Processor:
    """What a process has had of the machine's processors, and how long it has waited for one."""

    def __init__(self, pid: int) -> None:
        self._file = Path("/proc") / str(pid) / "schedstat"

    @property
    def used(self) -> float:
        """Seconds, so far."""
        return self._seconds(0)

    @property
    def lacked(self) -> float:
        """Seconds that it could have run, and others did."""
        return self._seconds(1)

    def _seconds(self, field: int) -> float:
        return int(self._file.read_text().split()[field]) / 1e9
