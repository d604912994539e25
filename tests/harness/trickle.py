"""Many slow clients: connections that each send one byte per second of a request that never ends.

As a process: python -m tests.harness.trickle PORT CONNECTIONS
"""

import asyncio
import contextlib
import resource
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

READY = "trickling"


async def trickle(port: int, begun: asyncio.Semaphore) -> None:
    """Hold a connection, and open another when it is closed."""
    while True:
        with contextlib.suppress(OSError):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            begun.release()
            writer.write(b"POST /deliveries HTTP/1.1\r\nX: ")
            while not writer.transport.is_closing():
                writer.write(b"x")
                await asyncio.sleep(1)
            writer.transport.abort()
        await asyncio.sleep(0.1)


async def main(port: int, connections: int) -> None:
    """Trickle until killed; print when every connection is open."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    begun = asyncio.Semaphore(0)
    async with asyncio.TaskGroup() as tasks:
        for _ in range(connections):
            tasks.create_task(trickle(port, begun))
        for _ in range(connections):
            await begun.acquire()
        sys.stdout.write(READY + "\n")
        sys.stdout.flush()


@asynccontextmanager
async def trickling(port: int, connections: int) -> AsyncIterator[None]:
    """Run it in a process of its own, so that it does not slow down the measuring process."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", __name__, str(port), str(connections), stdout=PIPE
    )
    try:
        assert process.stdout
        assert await process.stdout.readline() == f"{READY}\n".encode()
        yield
    finally:
        process.kill()
        await process.communicate()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2])))
