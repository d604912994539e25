"""Checks commands with each program's own parser if possible; runs none that would change anything."""

import ast
import os
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from unittest.mock import patch

import typer
import yaml

from app.cli import cli
from app.domain.errors import SettingsError
from app.settings import CommonSettings, ServiceSettings, WatcherSettings
from tests.docs.blocks import ROOT, Block, documents, files
from tests.docs.checks import Check, Faults, Tools
from tests.docs.checks.http import faults_of_curl
from tests.docs.checks.installation import faults_of_kubectl, unknown_keys
from tests.docs.checks.kubernetes import crd, faults_of_documents, kinds
from tests.docs.checks.outputs import OUTPUTS, faults_of_output, tests_of
from tests.docs.checks.shell import Command, Typed, Unreadable, commands, options, session
from tests.docs.checks.words import unknown_lines, unknown_settings
from tests.harness.helm import CHART

LANGUAGES = {"console", "bash", "sh", "shell"}
OURS = "agentteam-delivery"
OPEN_ENDED = {OURS, "kubectl", "helm", "docker"}
"""Programs that are spoken of by their first words alone, as in `kubectl logs`."""
NOWHERE = "http://127.0.0.1:1"
"""An address on which nothing listens, for programs that require one."""

Complaints = Iterator[str]


@dataclass(frozen=True)
class Line:
    """One command in its block."""

    block: Block
    command: Command
    tools: Tools
    written: frozenset[str] = field(default_factory=frozenset)  # files that an earlier command writes

    @property
    def arguments(self) -> list[str]:
        return self.command.words[1:]

    def file(self, name: str) -> Complaints:
        """Report a file that is neither in the repository nor mentioned earlier."""
        if (
            name in {"-", "/dev/null", "/dev/stdin"}
            or "$" in name
            or name.startswith(("http://", "https://"))
        ):
            return
        path = os.path.normpath(name)
        known = any(Path(one).match(path) for one in files()) if "*" in path else path in files()
        text = documents().get(self.block.document, "")
        before = "".join(text.splitlines(keepends=True)[: self.block.line - 1])
        spoken = re.search(rf"(?<![\w.-]){re.escape(name)}(?![\w/-])", before)
        if name.startswith("/"):  # in a pod
            folder = re.escape(str(Path(name).parent))
            spoken = re.search(rf"{folder}(?![\w-])", text.replace(self.block.text, ""))
        made = self.block.id in OUTPUTS  # by the test that runs this session
        if not (known or spoken or made or path in self.written):
            yield f"{name} is not in the repository, and nothing above says what it holds"


def run(*command: str | Path, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """Run a checking program, without access to a cluster."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("DELIVERY_", "HELM_"))}
    return subprocess.run(
        [str(part) for part in command],
        check=False,
        cwd=ROOT,
        env={**kept, "KUBECONFIG": os.devnull},
        input=stdin,
        capture_output=True,
        text=True,
        timeout=60,
    )


def first(done: subprocess.CompletedProcess[str]) -> str:
    """Return the first line of a program's error."""
    said = [line for line in (done.stderr or done.stdout).splitlines() if line.strip()]
    return said[0].removeprefix("error: ").removeprefix("Error: ") if said else "it fails"


def make(line: Line) -> Complaints:
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    variables = re.findall(r"^(\w+) [?:]?=|\$\((\w+)\)", (ROOT / "Makefile").read_text(), re.MULTILINE)
    known = {name for pair in variables for name in pair}
    for argument in line.arguments:
        name, sign, _ = argument.partition("=")
        if sign and name not in known:
            yield f"the Makefile knows no variable {name}"
        if not sign and argument not in targets:
            yield f"the Makefile has no target {argument}"


def ours(line: Line) -> Complaints:
    """Check a command with the command line's own parser."""
    arguments = [argument for argument in line.arguments if argument != "--help"]
    if not arguments or arguments[0] in {"--install-completion", "--show-completion"}:
        return
    command = getattr(typer.main.get_command(cli), "commands", {}).get(arguments[0])
    if command is None:
        yield f"agentteam-delivery has no command {arguments[0]}"
        return
    if "--help" not in line.arguments:
        try:
            command.make_context(arguments[0], arguments[1:])
        except Exception as error:  # noqa: BLE001  # any exception of the parser
            yield f"agentteam-delivery {arguments[0]}: {getattr(error, 'message', '') or error}"
    if arguments[0] == "validate":
        for name in arguments[1:]:
            yield from line.file(name)
    if arguments[0] == "serve":
        yield from _settings(ServiceSettings, line.command.env)
    if arguments[0] == "watch":
        yield from _settings(WatcherSettings, line.command.env)


def _settings(kind: type[CommonSettings], env: dict[str, str]) -> Complaints:
    """Check a process's variables by reading its settings from them."""
    given = {name: value for name, value in env.items() if "$" not in value}
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("DELIVERY_")}
    with patch.dict(os.environ, inherited | given, clear=True):
        try:
            kind.load()
        except SettingsError as error:
            if "cannot be read" not in str(error):  # a file that is not on this machine
                yield str(error)


def asked_for_help(arguments: list[str]) -> list[str]:
    """Add `--help`, before the arguments of another program."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    return [*arguments[:end], "--help", *arguments[end:]]


DRY = {"namespace", "ns", "secret", "rolebinding", "clusterrolebinding", "configmap", "serviceaccount", "sa"}
"""What `kubectl create` makes without asking a cluster."""
READERS = {"get", "describe", "delete", "edit", "patch", "annotate", "label", "wait"}


def kubectl(line: Line) -> Complaints:
    done = run(line.tools.kubectl, *asked_for_help(line.arguments))
    if done.returncode:
        yield f"kubectl: {first(done)}"
        return
    for name in options(line.arguments, "-f", "--filename", "--patch-file"):
        yield from line.file(name)
    for value in options(line.arguments, "--from-file"):
        yield from line.file(value.rpartition("=")[2])
    yield from faults_of_kubectl(line.arguments, line.tools, documents().get(line.block.document, ""))
    yield from _templates(line)
    yield from _created(line)
    yield from _patched(line)
    plain = [argument for argument in line.arguments if not argument.startswith("-")]
    if plain and plain[0] in READERS and len(plain) > 1 and "$" not in plain[1]:
        for one in plain[1].split(","):
            name = one.partition("/")[0]
            if name.partition(".")[0].lower() not in kinds():
                yield f"kubectl {plain[0]}: there is no kind of resource {name}"
    if line.command.here is not None:
        text = documents().get(line.block.document, "")
        yield from faults_of_documents(list(yaml.safe_load_all(line.command.here)), line.tools, text)


def _templates(line: Line) -> Complaints:
    """Let kubectl parse its templates, on a made-up object."""
    for value in options(line.arguments, "-o", "--output"):
        if value.startswith("custom-columns="):
            for column in value.removeprefix("custom-columns=").split(","):
                if not re.fullmatch(r"[A-Z-]+:[.\w\[\]*()?@=\"!-]+", column):
                    yield f"kubectl: a column is NAME:.path, which {column} is not"
            yield from _fields(line, value)
        if value.startswith(("jsonpath", "go-template")):
            dry = ("create", "namespace", "x", "--dry-run=client", "-o", value)
            if (done := run(line.tools.kubectl, *dry)).returncode and "is not found" not in done.stderr:
                yield f"kubectl: {first(done)}"
            yield from _fields(line, value)


def _created(line: Line) -> Complaints:
    """Let kubectl do what it can without a cluster."""
    files_of_theirs = options(line.arguments, "--from-file")
    if "--help" in line.arguments:
        return
    if line.arguments[:3] == ["create", "secret", "generic"]:
        yield from unknown_keys(line.arguments)
    if line.arguments[:1] == ["create"] and DRY & set(line.arguments[1:2]) and not files_of_theirs:
        made = run(line.tools.kubectl, "--server", NOWHERE, *line.arguments, "--dry-run=client", "-o", "yaml")
        if made.returncode:
            yield f"kubectl: {first(made)}"
        else:
            role = options(line.arguments, "--clusterrole")  # checked with the option
            for one in yaml.safe_load_all(made.stdout):
                yield from faults_of_documents([one], line.tools, "", named=not role)


_DATE = re.compile(r"\$\(date -u \+([^)]*)\)")
"""What a shell puts the time into."""


def _patched(line: Line) -> Complaints:
    """Check a patch of a team."""
    for value in options(line.arguments, "-p", "--patch"):
        try:
            patched = yaml.safe_load(_DATE.sub(lambda found: datetime.now(UTC).strftime(found[1]), value))
        except yaml.YAMLError:
            yield f"kubectl patch: this is no patch: {value[:80]}"
            continue
        if re.search(r"\bagentteams?\b", " ".join(line.arguments)) and isinstance(patched, dict):
            yield from faults_of_documents([patched], line.tools)


def _fields(line: Line, template: str) -> Complaints:
    """Report fields of a team that its CRD does not have."""
    if (
        not re.search(r"\bagentteams?\b", " ".join(line.arguments))
        or " crd " in f" {' '.join(line.arguments)} "
    ):
        return
    known = set(re.findall(r"\b[a-zA-Z]+\b", str(crd()))) | {"items", "metadata", "name", "namespace"}
    for name in re.findall(r"\.([a-zA-Z]+)", re.sub(r"\"[^\"]*\"", "", template)):
        if name not in known:
            yield f"kubectl: the AgentTeam has no field {name}"


def helm(line: Line) -> Complaints:
    done = run(line.tools.helm, *asked_for_help(line.arguments))
    if done.returncode:
        yield f"helm: {first(done)}"
        return
    charts = [one for one in line.arguments if "/" in one and "=" not in one and not one.startswith("-")]
    given: list[str] = []
    for name in ("--set", "--set-string", "--set-json"):
        for value in options(line.arguments, name):
            given += [name, re.sub(r"\$(\w+|\{\w+\})", "example", value)]
    for file in options(line.arguments, "--values", "-f"):
        yield from line.file(file)
        if file in files() or (file == "-" and line.command.here is not None):
            given += ["--values", file]
        charts = [chart for chart in charts if chart != file]
    for chart in charts:
        yield from line.file(chart)
    if given and any((ROOT / chart).resolve() == CHART for chart in charts):
        here = line.command.here or ""
        rendered = run(line.tools.helm, "template", "delivery", CHART, *given, stdin=here)
        if rendered.returncode:
            yield f"helm: {' '.join(rendered.stderr.split())}"


def pytest_(line: Line) -> Complaints:
    takes = {"-k", "-m", "-n", "-p", "--numprocesses", "--dist"}
    given = iter(line.arguments)
    for argument in given:
        if argument in takes:
            next(given, None)
        elif not argument.startswith("-"):
            file, _, name = argument.partition("::")
            yield from line.file(file)
            if name and file in files() and name.partition("[")[0] not in tests_of(file):
                yield f"{file} has no test {name}"


def python(line: Line) -> Complaints:
    arguments = [one for one in line.arguments if one not in {"-u", "-I", "-q"}]
    if not arguments:
        return
    if arguments[0] == "-m" and len(arguments) > 1:
        module = arguments[1]
        if module == "pip":
            yield from pip(Line(line.block, Command(0, arguments[1:]), line.tools, line.written))
        elif module not in sys.stdlib_module_names and find_spec(module) is None:
            yield f"there is no module {module}"
    elif arguments[0] == "-c" and len(arguments) > 1:
        try:
            ast.parse(arguments[1])
        except SyntaxError as error:
            yield f"python: {error.msg}"
    elif not arguments[0].startswith("-"):
        yield from line.file(arguments[0])


def pip(line: Line) -> Complaints:
    if line.arguments[:1] not in (["install"], ["show"], ["list"], ["wheel"], ["download"]):
        yield f"this pip command is not checked: {' '.join(line.arguments)[:80]}"
    for name in options(line.arguments, "-r", "--requirement", "-c", "--constraint"):
        yield from line.file(name)
    for name in line.arguments[1:]:
        if "/" in name and not name.startswith(("-", "http", "git+")):
            yield from line.file(name.partition("[")[0])


DOCKER = {
    # Subcommands of docker, and the options of each that take a value, or none.
    "build": (
        {"-t", "--tag", "--build-arg", "-f", "--file", "--platform", "--target"},
        {"--pull", "--no-cache"},
    ),
    "push": (set[str](), {"--quiet"}),
    "pull": (set[str](), {"--quiet"}),
    "tag": (set[str](), set[str]()),
    "run": (
        {"-p", "--publish", "-e", "--env", "-v", "--volume", "--name", "--network"},
        {"--rm", "-d", "-it"},
    ),
    "inspect": ({"--format"}, set[str]()),
    "login": ({"-u", "--username"}, {"--password-stdin"}),
}


def docker(line: Line) -> Complaints:
    verb, *rest = line.arguments or [""]
    if verb not in DOCKER:
        yield f"docker {verb}: not among {', '.join(DOCKER)}, which DOCKER in {__name__} knows"
    if verb not in DOCKER or "--help" in rest:
        return
    plain: list[str] = []
    yield from _docker_options(line, verb, rest, plain)
    if verb == "build":
        if len(plain) != 1:
            yield f"docker build takes one folder, not {len(plain)}"
        for folder in plain:
            yield from line.file(folder)
            if folder in files() and f"{folder}/Dockerfile".removeprefix("./") not in files():
                yield f"there is no Dockerfile in {folder}"


def _docker_options(line: Line, verb: str, rest: list[str], plain: list[str]) -> Complaints:
    """Check the options, and collect everything else."""
    takes, flags = DOCKER[verb]
    given = iter(rest)
    for argument in given:
        name, sign, value = argument.partition("=")
        if name in takes:
            value = value if sign else next(given, "")
            if name == "--build-arg":
                yield from _build_argument(line, value)
        elif not argument.startswith("-"):
            plain.append(argument)
        elif name not in flags:
            yield f"docker {verb}: unknown option {name}"


def _build_argument(line: Line, value: str) -> Complaints:
    name, _, given = value.partition("=")
    if not re.search(rf"^ARG {re.escape(name)}\b", (ROOT / "Dockerfile").read_text(), re.MULTILINE):
        yield f"the Dockerfile has no argument {name}"
    if given.endswith(".txt"):
        yield from line.file(given)


def subcommand(known: set[str]) -> Callable[[Line], Complaints]:
    """Check a program of the documents only by its subcommand."""

    def judge(line: Line) -> Complaints:
        verb = next((one for one in line.arguments if not one.startswith("-")), "")
        if verb not in known:
            yield f"{line.command.words[0]} {verb}: not among {', '.join(sorted(known))} of {__name__}"

    return judge


def grep(line: Line) -> Complaints:
    extended = any(re.fullmatch(r"-[a-zA-Z]*E[a-zA-Z]*", one) for one in line.arguments)
    plain = [one for one in line.arguments if not one.startswith("-")]
    if not plain:
        yield "grep has nothing to look for"
        return
    try:
        re.compile(plain[0] if extended else re.escape(plain[0]))
    except re.error as error:
        yield f"grep: {plain[0]}: {error}"
    if len(plain) == 1:  # it reads a pipe, mostly a log
        yield from unknown_lines(plain[0])
    for name in plain[1:]:
        yield from line.file(name)


def harmless(line: Line) -> Complaints:
    """Check a common program, whose words `bash -n` has parsed: only the files of ours that it names."""
    for word in line.arguments:
        if re.fullmatch(r"(app|tests|samples|docs|charts|openapi|clients|\.ci)/[\w./*-]+", word):
            yield from line.file(word)


HARMLESS = {
    "[", "awk", "base64", "cat", "cd", "chmod", "cp", "cut", "date", "du", "echo", "export", "false", "head",
    "java", "jq", "kill", "ls", "mkdir", "mktemp", "node", "printf", "promtool", "pwd", "read", "rm", "sed",
    "seq", "set", "sleep", "sort", "source", "tail", "tee", "test", "touch", "tr", "trap", "true", "umask",
    "uniq", "uuidgen", "wait", "wc", "xargs",
}  # fmt: skip
"""Programs that everybody knows, of which `bash -n` has judged the words."""

PROGRAMS: dict[str, Callable[[Line], Complaints]] = {
    "make": make,
    OURS: ours,
    "kubectl": kubectl,
    "helm": helm,
    "pytest": pytest_,
    "python": python,
    "python3": python,
    "pip": pip,
    "docker": docker,
    "grep": grep,
    "git": subcommand({"clone", "add", "commit", "push", "tag", "checkout", "switch", "diff", "status"}),
    "openssl": subcommand({"rand", "x509", "req", "s_client", "dgst", "verify", "genrsa", "base64"}),
    "go": subcommand({"run", "build", "get", "mod", "test", "vet", "install"}),
    "npm": subcommand({"install", "ci", "run", "test", "start", "init", "pkg"}),
    "npx": subcommand({"tsc"}),
    "mvn": subcommand({"compile"}),
    "cargo": subcommand({"build", "run"}),
    "pre-commit": subcommand({"install", "run"}),
    **dict.fromkeys(HARMLESS, harmless),
}


COMMON = {"PATH", "HOME", "TMPDIR", "GOCACHE", "GOFLAGS", "PYTHONPATH", "NODE_OPTIONS"}
"""Variables that any program may be given."""


def _told(command: Command) -> Complaints:
    """Report variables that a sample does not read."""
    for program in command.words:
        if program in files() and program.startswith("samples/receivers/"):
            reads = set(re.findall(r"(?:[\"']|env\.)([A-Z][A-Z_]+)\b", (ROOT / program).read_text()))
            for name in command.env:
                if name not in reads | COMMON:
                    yield f"{program} does not read {name}, but {', '.join(sorted(reads))}"


def faults_of_command(line: Line) -> Complaints:
    """Report what is wrong with one command."""
    command = line.command
    named = {**command.env, **dict(one.split("=", 1) for one in line.arguments if "=" in one)}
    if command.words[:1] in ([], ["export"], ["env"]):
        yield from unknown_settings(" ".join(named))
    else:
        yield from unknown_settings(" ".join(command.env))
    for sign, target in command.redirects:
        if sign == "<":
            yield from line.file(target)
    if not command.words:
        return
    program = command.words[0]
    if program == "curl":
        yield from faults_of_curl(line.arguments, line.file)
        return
    yield from _told(command)
    if "/" in program and not program.startswith((".venv/bin/", "/")):
        yield from line.file(program)
        if program in files() and not os.access(ROOT / program, os.X_OK):
            yield f"{program} cannot be run"
        return
    name = program.rpartition("/")[2]
    if name not in PROGRAMS:
        yield f"there is no check for {program}; add one to PROGRAMS in tests/docs/checks/console.py"
        return
    yield from PROGRAMS[name](line)


def written_by(command: Command) -> frozenset[str]:
    """Return the files that a command creates."""
    targets = [target for sign, target in command.redirects if ">" in sign]
    targets += options(command.words, "-o", "-out", "-keyout", "--output")
    if command.words[:1] in (["tee"], ["touch"], ["mkdir"]):
        targets += [word for word in command.words[1:] if not word.startswith("-")]
    return frozenset(os.path.normpath(target) for target in targets)


def faults(block: Block, tools: Tools) -> Faults:
    """Report what is wrong with the commands of a block, and with the outputs it shows."""
    try:
        for typed in session(block.text):
            yield from _faults_of_typed(block, typed, tools)
    except Unreadable as error:
        yield f"{block.at()}: {error}"


def _faults_of_typed(block: Block, typed: Typed, tools: Tools) -> Faults:
    with tempfile.NamedTemporaryFile("w", suffix=".sh") as script:
        script.write(typed.text)
        script.flush()
        done = run("bash", "-n", script.name)
    for complaint in done.stderr.splitlines():
        match = re.search(r"line (\d+): (.*)", complaint)
        offset = int(match[1]) - 1 if match else 0
        yield f"{block.at(typed.line + offset)}: bash: {match[2] if match else complaint}"
    if done.returncode:
        return
    written: frozenset[str] = frozenset()
    found = commands(typed.text)
    for command in found:
        place = block.at(typed.line + command.line)
        yield from (f"{place}: {said}" for said in faults_of_command(Line(block, command, tools, written)))
        written |= written_by(command)
    if not typed.prints.strip():
        return
    printed = typed.line + typed.text.count("\n")
    words = shlex.split(typed.text, comments=True)
    if words[:2] == ["kubectl", "get"] and options(words, "-o", "--output") == ["yaml"]:
        shown = yaml.safe_load(typed.prints)
        yield from (f"{block.at(printed)}: {said}" for said in faults_of_documents([shown], tools))
    else:
        yield from faults_of_output(block, typed.prints, printed)


def judged_in_sentences(name: str) -> bool:
    """Whether words that start with a program's name count as a command."""
    return name in OPEN_ENDED | {"make", "pytest", "pre-commit"} or name.startswith(("tests/", ".ci/"))


def faults_of_words(block: Block, tools: Tools) -> Faults:
    """Report what is wrong with a command in a code span, which may be incomplete."""
    if "…" in block.text or not re.match(r"(\w+=\S* )*\S+ \S", block.text):
        return
    try:
        found = commands(block.text)
    except Unreadable:
        return
    for position, command in enumerate(found):
        name = (command.words or [""])[0].removeprefix(".venv/bin/")
        if position == 0 and not judged_in_sentences(name):
            return  # it may be a sentence
        if name in OPEN_ENDED:
            part = name == OURS and len(command.words) > 2  # with arguments
            command.words += [] if part else ["--help"]
        yield from (f"{block.at()}: {said}" for said in faults_of_command(Line(block, command, tools)))


def claims(block: Block) -> bool:
    return block.language in LANGUAGES


CHECK = Check("commands", claims, faults)
