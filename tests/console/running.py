"""Runs the command line as a person would."""

import asyncio
import os
from dataclasses import dataclass
from pathlib import Path

from tests.harness.forked import Forked
from tests.harness.service import SCRIPT


@dataclass(frozen=True)
class Ran:
    """The result of a command: its exit code and its outputs."""

    code: int | None
    out: str
    err: str


async def run(*arguments: str | Path, **env: str) -> Ran:
    """Run the command line to its end, without a terminal."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("DELIVERY_")}
    process = await Forked.start(
        [str(SCRIPT), *map(str, arguments)], {**kept, "COLUMNS": "80", **env}, with_stdout=True
    )
    out, err = await asyncio.wait_for(process.communicate(), 100)
    return Ran(process.returncode, out.decode(), err.decode())
