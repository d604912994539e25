"""The guides of docs/how-to for tests: their blocks, their tables, and a shell for their commands."""

import asyncio
import os
import re
import shutil
import tempfile
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import yaml

from tests.harness.commands import forking
from tests.harness.service import SCRIPT
from tests.harness.waiting import until

ROOT = Path(__file__).parents[2]
RECEIVERS = ROOT / "samples/receivers"

_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Ran:
    """The result of a script."""

    code: int | None
    out: str
    err: str


@dataclass(frozen=True)
class Guide:
    """One guide, with its names replaced, so that tests of guides can run in parallel."""

    name: str
    text: str

    @classmethod
    def read(cls, name: str) -> "Guide":
        return cls(name, (ROOT / f"docs/how-to/{name}.md").read_text())

    def told(self, names: Mapping[str, str]) -> "Guide":
        """Replace each of these texts by another, everywhere."""
        text = self.text
        for name, other in names.items():
            assert name in text, f"{self.name} does not say {name}"
            text = text.replace(name, other)
        return Guide(self.name, text)

    def section(self, title: str) -> "Guide":
        """Return the text under a heading."""
        _, found, rest = self.text.partition(f"\n## {title}\n")
        assert found, f"{self.name} has no {title}"
        return Guide(self.name, rest.partition("\n## ")[0])

    def blocks(self, language: str) -> list[str]:
        """Return the blocks of a language."""
        return [block for named, block in _BLOCK.findall(self.text) if named == language]

    def block(self, language: str) -> str:
        """Return the only block of a language."""
        [found] = self.blocks(language)
        return found

    def values(self) -> list[dict[str, Any]]:
        """Return the chart values that the guide shows."""
        return [yaml.safe_load(one) for one in self.blocks("yaml") if one.startswith("# values.yaml")]

    def manifests(self) -> list[dict[str, Any]]:
        """Return the objects that the guide applies."""
        found = [
            yaml.safe_load_all(one) for one in self.blocks("yaml") if not one.startswith("# values.yaml")
        ]
        return [document for documents in found for document in documents]

    def rows(self, title: str) -> list[list[str]]:
        """Return the cells of the table under a heading, without its first row."""
        lines = [line for line in self.section(title).text.splitlines() if line.startswith("|")]
        return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]

    def failures(self) -> set[tuple[str, str]]:
        """Return the failures that the guide lists, each with its reason and message."""
        return {(row[0].strip("`"), row[1].strip("`")) for row in self.rows("When it does not arrive")}


async def run(script: str, folder: Path, kubectl: Path | None = None, **env: str | Path) -> Ran:
    """Run a block of commands as a user would who has the project's commands and kubectl."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("DELIVERY_")}
    given = {name: str(value) for name, value in env.items()}
    async with forking() as commands:
        places = [str(commands), str(SCRIPT.parent), *([str(kubectl.parent)] if kubectl else [])]
        process = await asyncio.create_subprocess_exec(
            *("bash", "-euo", "pipefail", "-c", script),
            cwd=folder,
            env={**kept, "COLUMNS": "200", **given, "PATH": ":".join([*places, os.environ["PATH"]])},
            stdin=DEVNULL,
            stdout=PIPE,
            stderr=PIPE,
        )
        out, err = await asyncio.wait_for(process.communicate(), 60)
    return Ran(process.returncode, out.decode(), err.decode())


@dataclass
class Sample:
    """A receiver of samples/receivers, as a process on loopback that stores notifications in a folder."""

    command: tuple[str | Path, ...]
    secrets: str
    authorization: str = ""
    port: int = 0
    host: str = "127.0.0.1"
    drafts: tuple[str, ...] = ()  # files in the folder before it starts
    said: list[str] = field(default_factory=list)
    _process: Process | None = None
    _reading: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._home = tempfile.TemporaryDirectory(prefix="notifications-")
        self.folder = Path(self._home.name, "all", "notifications")
        for name in self.drafts:
            self.folder.mkdir(parents=True, exist_ok=True)
            (self.folder / name).touch()
        self._process = await asyncio.create_subprocess_exec(
            *self.command,
            env={
                "PATH": os.environ["PATH"],
                "SIGNING_SECRETS": self.secrets,
                "AUTHORIZATION": self.authorization,
                "NOTIFICATIONS": str(self.folder),
                "PORT": str(self.port),
                "HOST": self.host,
            },
            stdin=DEVNULL,
            stdout=PIPE,
            stderr=PIPE,
        )
        self._reading = asyncio.create_task(self._read(self._process))
        assert self._process.stderr
        self._complaining = asyncio.create_task(self._process.stderr.read())
        await until(lambda: self.said, 60)
        self.port = int(self.said[0].removeprefix("listening on port "))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process
        assert self._reading
        if self._process.returncode is None:
            self._process.kill()
        complaints = await self._complaining
        await self._process.wait()
        await self._reading
        self._home.cleanup()
        assert kind or not complaints, complaints.decode()

    @property
    def url(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}/reports"

    @property
    def kept(self) -> dict[str, bytes]:
        """The stored notifications by id, with unfinished files, if any are left."""
        return {file.name.removesuffix(".json"): file.read_bytes() for file in self.folder.iterdir()}

    async def last(self, count: int) -> str:
        """Return its last log line, once it has logged that many lines."""
        await until(lambda: len(self.said) > count)
        return self.said[count]

    async def ask(self, request: bytes, *, whole: bool = True) -> int | None:
        """Send these bytes, and return the status of the answer; an incomplete request is closed."""
        reader, writer = await asyncio.open_connection(self.host, self.port)
        try:
            writer.write(request)
            if not whole:
                writer.write_eof()
            answer = await asyncio.wait_for(reader.readline(), 30)
        finally:
            writer.close()
        return int(answer.split()[1]) if answer else None

    async def _read(self, process: Process) -> None:
        assert process.stdout
        async for line in process.stdout:
            self.said.append(line.decode().strip())


def installed(tool: str) -> bool:
    """Whether a tool is installed."""
    return shutil.which(tool) is not None
