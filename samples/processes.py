"""The processes of the demo: started side by side, watched while they run, and stopped whatever happens."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Awaitable, Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from types import TracebackType
from typing import Any, Self, TypeVar

ROOT = Path(__file__).parents[1]
LOOPBACK = "127.0.0.1"
PATIENCE = 30.0  # seconds for anything to come about
GRACE = 5.0  # seconds from SIGTERM to SIGKILL
TAIL = 12  # lines of each log that are shown when something went wrong

FOREGROUND = """
trap exit TERM
trap '"$0" down "$1"' EXIT
"$0" up "$1" || exit
sleep infinity & wait
"""
"""Makes one process of tests/harness/apiserver's up and down, which ends when both its servers have."""

T = TypeVar("T")


class Trouble(Exception):
    """What went wrong, in a sentence."""


@dataclass(frozen=True)
class Program:
    """A process, and the file that it logs to."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path

    def logged(self, event: str) -> dict[str, Any] | None:
        """Return the first line that tells of this event; the last line may still be in the writing."""
        for line in self.log.read_text().splitlines():
            with suppress(ValueError):
                document: dict[str, Any] = json.loads(line)
                if document.get("event") == event:
                    return document
        return None

    @property
    def tail(self) -> str:
        """The end of its log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-TAIL:])

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to it and to whatever it started."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)


class Processes:
    """Everything that the demo starts, with its files in one folder. All of it is stopped at the end."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.programs: list[Program] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for program in self._running:
            program.signal(signal.SIGTERM)
        deadline = monotonic() + GRACE
        while self._running and monotonic() < deadline:
            await asyncio.sleep(0.01)
        for program in self._running:
            program.signal(signal.SIGKILL)
            program.process.wait()

    def start(self, name: str, *command: str | Path, **environment: str) -> Program:
        """Start a process without waiting for it."""
        log = self.folder / f"{name}.log"
        with log.open("w") as output:
            process = subprocess.Popen(
                command,
                cwd=ROOT,
                env=_inherited() | environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                # Ctrl-C reaches a terminal's whole process group: the demo alone hears it, and stops the rest.
                start_new_session=True,
            )
        self.programs.append(Program(name, process, log))
        return self.programs[-1]

    def python(self, name: str, module: str, **options: Path | bool) -> Program:
        """Start one of the project's modules."""
        words: list[str | Path] = []
        for option, value in options.items():
            words += [f"--{option.replace('_', '-')}", *([value] if isinstance(value, Path) else [])]
        return self.start(name, sys.executable, "-m", module, *words)

    def command(self, word: str, kubeconfig: Path, **settings: str) -> Program:
        """Start a command of the service."""
        script = Path(sys.executable).with_name("agentteam-delivery")
        given = {f"DELIVERY_{name.upper()}": value for name, value in settings.items()}
        return self.start(word, script, word, KUBECONFIG=str(kubeconfig), **given)

    def kubernetes(self) -> tuple[Program, Path]:
        """Start a Kubernetes API, and return it with its kubeconfig to be; KUBEBUILDER_ASSETS asks for a real one."""
        if not os.environ.get("KUBEBUILDER_ASSETS"):
            kubeconfig = self.folder / "kubeconfig"
            return self.python("kubernetes", "tests.harness.fake_cluster", kubeconfig=kubeconfig), kubeconfig
        script, folder = ROOT / "tests/harness/apiserver", self.folder / "kubernetes"
        ports = _free_ports("KUBE_APISERVER_PORT", "ETCD_PORT", "ETCD_PEER_PORT")
        program = self.start("kubernetes", "bash", "-c", FOREGROUND, script, folder, **ports)
        return program, folder / "kubeconfig"

    async def until(self, what: str, look: Callable[[], Awaitable[T | None]]) -> T:
        """Look again and again until there is something to return.

        Raises:
            Trouble: it took too long, or one of the processes has ended.
        """
        deadline = monotonic() + PATIENCE
        while (found := await look()) is None:
            for program in self.programs:
                if (code := program.process.poll()) is not None:
                    raise Trouble(f"The process “{program.name}” has ended ({_said(code)}).")
            if monotonic() > deadline:
                raise Trouble(f"Waited {PATIENCE:.0f} s in vain for {what}.")
            await asyncio.sleep(0.01)
        return found

    async def event(self, program: Program, event: str) -> dict[str, Any]:
        """Wait for a line of a program's log, and return it."""

        async def look() -> dict[str, Any] | None:
            return program.logged(event)

        return await self.until(f"“{program.name}” to log “{event}”", look)

    async def text(self, path: Path, holding: str = "") -> str:
        """Wait for a file, and return what it holds."""

        async def look() -> str | None:
            text = path.read_text() if path.exists() else ""
            return text if text and holding in text else None

        return await self.until(f"the file {path.name}", look)

    @property
    def _running(self) -> list[Program]:
        return [program for program in self.programs if program.process.poll() is None]


def _inherited() -> dict[str, str]:
    """Return the environment without what would lead the processes elsewhere: settings, clusters, proxies."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("DELIVERY_", "KUBERNETES_")) and not name.lower().endswith("_proxy")
    }


def _free_ports(*names: str) -> dict[str, str]:
    with ExitStack() as held:
        sockets = [held.enter_context(socket.create_server((LOOPBACK, 0))) for _ in names]
        return {name: str(one.getsockname()[1]) for name, one in zip(names, sockets, strict=True)}


def _said(code: int) -> str:
    return f"exit code {code}" if code >= 0 else signal.Signals(-code).name
