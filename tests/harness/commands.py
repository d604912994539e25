"""The command `agentteam-delivery` for scripts that tests run: each call forks, and imports nothing.

A small program of this name passes its arguments, its environment and its folder to this process, which runs
the command as tests/harness/forked.py does. Standard input is not passed.
"""

import asyncio
import json
import sys
import tempfile
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, chdir
from pathlib import Path

from tests.harness.forked import Forked

NAME = "agentteam-delivery"
CALL = """#!{python} -SE
import json, os, socket, sys
with socket.socket(socket.AF_UNIX) as server:
    server.connect({address!r})
    call = [sys.argv, dict(os.environ), os.getcwd()]
    server.sendall(json.dumps(call).encode() + b"\\n")
    code, out, err = json.loads(server.makefile("rb").readline())
sys.stdout.write(out)
sys.stderr.write(err)
sys.exit(code)
"""
LONGEST = 2**22  # bytes of a call and of its outputs


@asynccontextmanager
async def forking() -> AsyncIterator[Path]:
    """Yield a folder with the command, for the PATH of a script."""
    with tempfile.TemporaryDirectory(prefix="commands-") as folder:
        async with await asyncio.start_unix_server(_answer, _written(Path(folder)), limit=LONGEST):
            yield Path(folder)


def _written(folder: Path) -> Path:
    """Write the command, and return the address to which it connects."""
    address, program = folder / "calls", folder / NAME
    program.write_text(CALL.format(python=sys.executable, address=str(address)))
    program.chmod(0o755)
    return address


async def _answer(reader: StreamReader, writer: StreamWriter) -> None:
    arguments, environment, folder = json.loads(await reader.readline())
    with chdir(folder):  # a fork begins where this process is
        process = await Forked.start(arguments, environment, with_stdout=True)
    out, err = await process.communicate()
    told = json.dumps([process.returncode, out.decode(), err.decode()])
    writer.write(told.encode() + b"\n")
    await writer.drain()
    writer.close()
