"""The image without an engine: the Dockerfile's own steps in a clean root, and commands in what they leave.

The part of the base image is played by this machine's `/usr`, read only, with a fresh copy of its Python for
`/usr/local`; all else in the root is what the steps made. It takes root, on Linux.
"""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

ENTER = Path(__file__).with_name("enter-root")
CONTEXT = Path(__file__).parents[2]
BASE = {
    "PATH": "/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin",
    "LD_LIBRARY_PATH": "/usr/local/lib",
}
"""Variables of the base image. The second is the stand-in's: its Python is not where it was built to be."""

ETC = ("passwd", "group", "hosts", "resolv.conf", "nsswitch.conf", "ssl", "pip.conf", "xdg")
"""What the root has of this machine's `/etc`: who is who, and how the package registry is reached."""


class Step(NamedTuple):
    """One instruction of a Dockerfile, such as `RUN`, and what follows it."""

    word: str
    rest: str


def stages(dockerfile: Path) -> list[list[Step]]:
    """Return the instructions of each stage, the `FROM` first."""
    found: list[list[Step]] = []
    lines = [line for line in dockerfile.read_text().splitlines() if not line.lstrip().startswith("#")]
    for line in "\n".join(lines).replace("\\\n", " ").splitlines():
        if line.strip():
            word, _, rest = line.strip().partition(" ")
            if word == "FROM":
                found.append([])
            found[-1].append(Step(word, rest.strip()))
    return found


@dataclass
class Stage:
    """A stage as it is built: its root, and what its instructions set."""

    folder: Path
    env: dict[str, str] = field(default_factory=lambda: dict(BASE))
    args: dict[str, str] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    workdir: str = "/"
    user: str = ""
    ports: list[int] = field(default_factory=list)
    entrypoint: list[str] = field(default_factory=list)
    command: list[str] = field(default_factory=list)

    @property
    def root(self) -> Path:
        return self.folder / "root"

    def entering(
        self, *command: str, mounts: Mapping[Path, str] | None = None, read_only: bool = False
    ) -> list[str]:
        """Return the command that runs a command in the root, as the user that the image names."""
        options = ["--workdir", self.workdir]
        options += ["--read-only"] if read_only else []
        options += ["--user", self.user] if self.user else []
        for source, target in (mounts or {}).items():
            options += ["--mount", f"{source}:{target}"]
        return ["unshare", "--mount", str(ENTER), *options, str(self.folder), *command]

    def build(self, steps: list[Step], earlier: Mapping[str, "Stage"]) -> None:
        """Carry the instructions out, one after the other.

        Raises:
            CalledProcessError: a step failed.
            ValueError: an instruction is not known here.
        """
        for step in steps:
            match step.word:
                case "FROM":
                    _base(self)
                case "RUN":
                    self._run(step.rest)
                case "COPY":
                    self._copy(shlex.split(step.rest), earlier)
                case _:
                    self._set(step)

    def _set(self, step: Step) -> None:
        """Take in what an instruction says of the image."""
        match step.word:
            case "WORKDIR":
                self.workdir = step.rest
                self._inside(step.rest).mkdir(parents=True, exist_ok=True)
            case "ENV":
                self.env |= dict(_pairs(step.rest, self.env))
            case "ARG":
                self.args |= dict(_pairs(step.rest, {}))
            case "LABEL":
                self.labels |= dict(_pairs(step.rest, {}))
            case "USER":
                self.user = step.rest
            case "EXPOSE":
                self.ports = [int(port) for port in step.rest.split()]
            case "ENTRYPOINT":
                self.entrypoint = json.loads(step.rest)
            case "CMD":
                self.command = json.loads(step.rest)
            case _:
                raise ValueError(f"{step.word} is not known here")

    def _run(self, script: str) -> None:
        kept = ("PIP_", "SSL_", "REQUESTS_")  # how this machine reaches its package registry
        machine = {name: value for name, value in os.environ.items() if name.startswith(kept)}
        home = "/tmp"  # noqa: S108  # of a root that nobody else knows
        mounts = {
            folder: f"{home}/{folder.relative_to(Path.home())}"
            for folder in (Path.home() / ".config/pip", Path.home() / ".pip")
            if folder.exists()
        }
        command = self.entering("/bin/sh", "-c", script, mounts=mounts)
        subprocess.run(
            command, check=True, env=machine | {"HOME": home} | self.args | self.env, stdout=sys.stderr
        )

    def _copy(self, words: list[str], earlier: Mapping[str, "Stage"]) -> None:
        options = dict(word[2:].split("=", 1) for word in words if word.startswith("--"))
        *sources, target = (word for word in words if not word.startswith("--"))
        source_root = earlier[options["from"]].root if "from" in options else CONTEXT
        into_folder = target.endswith("/") or len(sources) > 1
        for source in sources:
            path = source_root / source.lstrip("/")
            place = self._inside(target) / (path.name if into_folder and path.is_file() else "")
            place.parent.mkdir(parents=True, exist_ok=True)
            if path.is_dir():
                ignored = shutil.ignore_patterns("__pycache__") if source_root == CONTEXT else None
                shutil.copytree(path, place, symlinks=True, dirs_exist_ok=True, ignore=ignored)
            else:
                shutil.copy2(path, place)
            if owner := options.get("chown"):
                subprocess.run(["chown", "-R", "-h", owner, place], check=True)

    def _inside(self, path: str) -> Path:
        return self.root / os.path.join(self.workdir, path).lstrip("/")  # noqa: PTH118  # a path may be absolute


def build(folder: Path) -> Stage:
    """Build the image of this project's Dockerfile below a folder; return its last stage."""
    built: dict[str, Stage] = {}
    for number, steps in enumerate(stages(CONTEXT / "Dockerfile")):
        name = re.sub(r"^.* AS ", "", steps[0].rest) if " AS " in steps[0].rest else str(number)
        built[name] = stage = Stage(folder / name)
        stage.build(steps, built)
    return stage


def _pairs(text: str, known: Mapping[str, str]) -> list[tuple[str, str]]:
    """Read `NAME=value` pairs, in which `$NAME` stands for what is known of it."""
    pairs = [pair.partition("=") for pair in shlex.split(text)]
    return [(name, re.sub(r"\$(\w+)", lambda at: known.get(at[1], ""), value)) for name, _, value in pairs]


def _base(stage: Stage) -> None:
    """Make the root of a slim base image: hardly more than a Python with pip."""
    (stage.root / "tmp").mkdir(parents=True, mode=0o1777)
    (stage.root / "etc").mkdir()
    for path in (Path("/etc", name) for name in ETC):
        if path.is_dir():
            shutil.copytree(path, stage.root / "etc" / path.name, symlinks=True)
        elif path.exists():
            shutil.copy2(path, stage.root / "etc")
    _python(stage.folder / "local")
    command = stage.entering("python", "-m", "ensurepip", "--default-pip")
    subprocess.run(command, check=True, env=stage.env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def _python(prefix: Path) -> None:
    """Copy this machine's Python, with nothing installed in it, to where the base images have theirs."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    library = prefix / "lib" / version
    unwanted = shutil.ignore_patterns("site-packages", "dist-packages", "test", "tests", "__pycache__")
    shutil.copytree(sysconfig.get_path("stdlib"), library, symlinks=True, ignore=unwanted)
    (library / "site-packages").mkdir()
    (prefix / "bin").mkdir()
    shutil.copy2(Path(sys.executable).resolve(), prefix / "bin" / version)
    for name in ("python", "python3"):
        (prefix / "bin" / name).symlink_to(version)
    if sysconfig.get_config_var("Py_ENABLE_SHARED"):
        shared = Path(sysconfig.get_config_var("LIBDIR"), sysconfig.get_config_var("INSTSONAME"))
        shutil.copy2(shared, prefix / "lib" / shared.name)
