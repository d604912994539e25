"""Containers of the image, run by the engine that `tests/harness/image-engine` starts."""

import json
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.harness.service import Program

SCRIPT = Path(__file__).with_name("image-engine")

Document = dict[str, Any]


@dataclass(frozen=True)
class Engine:
    """A container engine that has built the image."""

    client: tuple[str, ...]
    image: str

    def tell(self, *command: str) -> str:
        """Run a command of the engine, and return its output.

        Raises:
            CalledProcessError: it fails.
        """
        return subprocess.run([*self.client, *command], check=True, stdout=subprocess.PIPE, text=True).stdout

    def inspect(self, image: str) -> Document:
        """Return the engine's description of an image."""
        [found] = json.loads(self.tell("image", "inspect", image))
        return dict(found)

    def starting(self, options: Sequence[str], *arguments: str) -> list[str]:
        """Return the command that runs the image with these arguments, in the foreground."""
        return [*self.client, "run", "--rm", *options, self.image, *arguments]

    def run(self, options: Sequence[str], *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run the image without a network until it ends."""
        command = self.starting(["--network", "none", *options], *arguments)
        return subprocess.run(command, check=False, capture_output=True, text=True)

    def script(self, options: Sequence[str], script: str) -> str:
        """Run a Python script in the image, and return its output."""
        done = self.run(["--entrypoint", "python", *options], "-c", script)
        assert done.returncode == 0, done.stderr
        return done.stdout


@contextmanager
def held() -> Iterator[Engine]:
    """Start an engine and build the image; stop the engine at the end, even if this process is killed."""
    with subprocess.Popen(
        [SCRIPT, "hold"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdin
        assert holder.stdout
        client, image = holder.stdout.readline().split(), holder.stdout.readline().strip()
        assert image, "what is amiss stands above"
        yield Engine(tuple(client), image)
        holder.stdin.close()
        assert holder.wait() == 0


def confined(pod: Document, container: Document) -> list[str]:
    """Return the options that confine a container as a pod's spec does.

    Raises:
        ValueError: the spec contains an unknown field or value.
    """
    options: list[str] = []
    for name, value in (pod["securityContext"] | container["securityContext"]).items():
        match name, value:
            case ("runAsNonRoot", True) | ("seccompProfile", {"type": "RuntimeDefault"}):
                pass  # the user is set below; the engine's own profile is its default
            case "runAsUser", int():
                options += ["--user", f"{value}:{pod['securityContext']['runAsGroup']}"]
            case "runAsGroup" | "fsGroup", int():
                options += ["--group-add", str(value)]
            case "allowPrivilegeEscalation", False:
                options += ["--security-opt", "no-new-privileges"]
            case "readOnlyRootFilesystem", True:
                options += ["--read-only"]
            case "capabilities", {"drop": [*names]}:
                options += [f"--cap-drop={name}" for name in names]
            case _:
                raise ValueError(f"{name}: {value} is not known here")
    return [*options, "--memory", str(mebibytes(container["resources"]["limits"]["memory"])) + "m"]


def mebibytes(quantity: str) -> int:
    """Read a quantity of memory."""
    return int(quantity.removesuffix("Mi"))


@dataclass
class Container(Program):
    """A container of the image on this machine's network."""

    engine: Engine | None = None
    options: list[str] = field(default_factory=list)
    run: list[str] = field(default_factory=list)
    variables: Mapping[str, str] = field(default_factory=dict)
    mounts: Mapping[Path, str] = field(default_factory=dict)
    named: str = ""

    def arguments(self) -> list[str]:
        assert self.engine
        options = ["--network", "host", *self.options]
        options += ["--name", self.named] if self.named else []
        for name, value in self.variables.items():
            options += ["--env", f"{name}={value}"]
        for source, target in self.mounts.items():
            options += ["--volume", f"{source}:{target}:ro"]
        return self.engine.starting(options, *self.run)

    def environment(self) -> dict[str, str]:
        """The client's environment; a container gets its variables from its options."""
        return {}

    def held(self) -> float:
        """Return the MiB that the container uses, as its limit counts them, without what can be dropped."""
        assert self.engine
        said = self.engine.tell("stats", "--no-stream", "--format", "{{.MemUsage}}", self.named)
        used = said.split("/")[0].strip()
        assert used.endswith("MiB"), used
        return float(used.removesuffix("MiB"))
