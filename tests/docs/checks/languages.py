"""Checks programs in documents with each language's own parser."""

import ast
import importlib
import json
import re
import subprocess
import tomllib
import warnings
from collections.abc import Iterator
from importlib.util import find_spec

from tests.docs.blocks import ROOT, Block, files
from tests.docs.checks import Check, Faults, Tools
from tests.docs.checks.words import client
from tests.harness.prometheus import promtool

PROJECT = {"app", "samples", "tests"}
"""Our own packages: what is imported from them must be there."""


def python(block: Block, tools: Tools) -> Faults:
    """Compile the text, and check its imports."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            flags = ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
            tree = compile(block.text, block.document, "exec", flags, dont_inherit=True)
            compile(block.text, block.document, "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
    except SyntaxError as error:
        yield f"{block.at((error.lineno or 1) - 1)}: no Python: {error.msg}"
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield from (f"{block.at(node.lineno - 1)}: {said}" for said in _missing(alias.name))
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names = [alias.name for alias in node.names]
            yield from (f"{block.at(node.lineno - 1)}: {said}" for said in _missing(node.module, *names))


def _missing(module: str, *names: str) -> Iterator[str]:
    top = module.partition(".")[0]
    if top not in PROJECT:
        here = any(f"/{top}/" in f"/{one}/" or one.endswith(f"/{top}.py") for one in files())
        if not here and top != client() and find_spec(top) is None:
            yield f"there is no module {top}"
        return
    try:
        found = importlib.import_module(module)
    except ImportError:
        yield f"there is no module {module}"
        return
    for name in names:
        inner = hasattr(found, "__path__") and find_spec(f"{module}.{name}")
        if name != "*" and not hasattr(found, name) and not inner:
            yield f"{module} has no {name}"


def go(block: Block, tools: Tools) -> Faults:
    """Check with gofmt, which also accepts a part of a file."""
    gofmt = tools.find("gofmt")
    done = subprocess.run([gofmt, "-e"], check=False, input=block.text, capture_output=True, text=True)
    for line in done.stderr.splitlines():
        match = re.match(r"<standard input>:(\d+):\d+: (.*)", line)
        yield f"{block.at(int(match[1]) - 1 if match else 0)}: no Go: {match[2] if match else line}"
    if not done.returncode and done.stdout != block.text:
        yield f"{block.at()}: gofmt would write it in another way"


def javascript(block: Block, tools: Tools) -> Faults:
    """Check with node, as a module."""
    command = [str(tools.find("node")), "--input-type=module", "--check"]
    done = subprocess.run(command, check=False, input=block.text, capture_output=True, text=True)
    if done.returncode:
        match = re.search(r"(?:stdin\]?|eval1\]?):(\d+)", done.stderr)
        said = re.findall(r"^\w*Error: .*", done.stderr, re.MULTILINE) or [done.stderr]
        yield f"{block.at(int(match[1]) - 1 if match else 0)}: no JavaScript: {said[-1]}"


TRANSPILED = """
const { transpileModule } = require(process.argv[1]);
const text = require("node:fs").readFileSync(0, "utf8");
const asked = { reportDiagnostics: true, compilerOptions: { target: "esnext" } };
const { diagnostics } = transpileModule(text, asked);
for (const { file, start, messageText } of diagnostics)
  console.log(`${file.getLineAndCharacterOfPosition(start).line} ${messageText.messageText ?? messageText}`);
"""


def typescript(block: Block, tools: Tools) -> Faults:
    """Check with TypeScript's own compiler."""
    library = tools.find("tsc").resolve().parents[1]
    command = [str(tools.find("node")), "-e", TRANSPILED, str(library)]
    done = subprocess.run(command, check=True, input=block.text, capture_output=True, text=True)
    for line in done.stdout.splitlines():
        offset, _, said = line.partition(" ")
        yield f"{block.at(int(offset))}: no TypeScript: {said}"


def promql(block: Block, tools: Tools) -> Faults:
    """Check each expression with promtool; an empty line separates two."""
    tools.find("promtool")
    for expression in re.split(r"\n\s*\n", block.text.strip()):
        rule = {"record": "documented:expression", "expr": expression}
        try:
            promtool(
                "check",
                "rules",
                "/dev/stdin",
                stdin=json.dumps({"groups": [{"name": "documented", "rules": [rule]}]}),
            )
        except AssertionError as error:
            yield f"{block.at()}: no PromQL: {' '.join(str(error).split())}"


def toml(block: Block, tools: Tools) -> Faults:
    """Check by parsing."""
    try:
        tomllib.loads(block.text)
    except tomllib.TOMLDecodeError as error:
        yield f"{block.at()}: no TOML: {error}"


def dockerfile(block: Block, tools: Tools) -> Faults:
    """Check with hadolint, with our own configuration."""
    command = [str(tools.find("hadolint")), "-"]
    done = subprocess.run(command, check=False, cwd=ROOT, input=block.text, capture_output=True, text=True)
    for line in (done.stdout + done.stderr).splitlines():
        match = re.match(r"-:(\d+)\S* (.*)", line)
        yield f"{block.at(int(match[1]) - 1 if match else 0)}: {match[2] if match else line}"


def toctree(block: Block, tools: Tools) -> Faults:
    """Check that the documents in a table of contents exist."""
    folder = (ROOT / block.document).parent
    for offset, line in enumerate(block.text.splitlines()):
        entry = re.fullmatch(r"(?:.*<(.*)>|([^:<>\s]+))", line.strip())
        if entry and (name := entry[1] or entry[2]) and "://" not in name and name != "self":
            there = "*" in name or any((folder / f"{name}{end}").is_file() for end in ("", ".md", ".rst"))
            if not there:
                yield f"{block.at(offset)}: there is no document {name}"


def of(*languages: str) -> "Languages":
    return Languages(frozenset(languages))


class Languages:
    """Selects blocks by their language alone."""

    def __init__(self, names: frozenset[str]) -> None:
        self.names = names

    def __call__(self, block: Block) -> bool:
        return block.language in self.names


CHECKS = (
    Check("Python", of("python", "py"), python),
    Check("Go", of("go"), go),
    Check("JavaScript", of("javascript", "js"), javascript),
    Check("TypeScript", of("typescript", "ts"), typescript),
    Check("PromQL", of("promql"), promql),
    Check("TOML", of("toml"), toml),
    Check("Dockerfile", of("dockerfile"), dockerfile),
    Check("contents", of("{toctree}"), toctree),
)
