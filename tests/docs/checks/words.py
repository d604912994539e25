"""Checks names of ours in documents: metrics, settings, problems, reasons, chart values."""

import inspect
import re
from collections.abc import Collection, Iterator
from difflib import get_close_matches
from functools import cache
from typing import Any

import yaml

from app.domain.events import TERMINAL_PHASES
from app.domain.reasons import Reason
from app.domain.receipts import Phase
from app.settings import PREFIX, ServiceSettings, WatcherSettings
from app.telemetry.instruments import PREFIX as METRICS
from app.telemetry.instruments import Instruments
from app.telemetry.metrics import Metrics
from app.watcher.metrics import WatchMetrics
from tests.docs.blocks import ROOT, Block, blocks, files

SUFFIXES = {"counter": ("_total",), "histogram": ("", "_bucket", "_sum", "_count")}
CODE = ("app/", "charts/", "openapi/", "samples/", "tests/", ".ci/", "clients/", "Dockerfile", "Makefile")
"""Where the words come from that documents put between back ticks."""
SHIPPED = (*(one for one in CODE if one not in {"tests/", ".ci/"}), "pyproject.toml", "requirements")
SHAPE = re.compile(
    r"[a-z]+(-[a-z]+)+|[a-z]+(_[a-z]+)+|[A-Z]+[a-z]+([A-Z]+[a-z]*)*|[a-z]+[A-Z]\w*|[A-Z]\w*(-[A-Z]\w*)+"
)
"""How names of code are written: kebab-case, snake_case, CamelCase, and as headers are."""
OTHERS = {
    "CreateReplace",
    "Deprecation",
    "fieldValidation=Strict",
    "sendInitialEvents",
    "x-kubernetes-validations",
    "httpx-aiohttp",
    "prometheus-alertmanager",
    "wait_max",
    "workload-low",
}
"""Names that others gave."""
LOGS = {"docs/how-to/operate.md"}
"""Documents that write no other words in snake_case than the log's."""


@cache
def metrics() -> frozenset[str]:
    """Return the name of every series that one of our processes may export."""
    found: set[str] = set()
    for instruments in (Metrics(), WatchMetrics()):
        for name, show in inspect.getmembers(instruments, inspect.ismethod):
            if name.startswith("show_"):
                show(**dict.fromkeys(inspect.signature(show).parameters, _zero))
        found |= _series(instruments)
    return frozenset(found)


def _zero() -> float:
    return 0.0


def _series(instruments: Instruments) -> set[str]:
    return {
        family.name + suffix
        for family in instruments.registry.collect()
        for suffix in SUFFIXES.get(family.type, ("",))
    }


@cache
def settings() -> frozenset[str]:
    """Return every variable that one of our processes reads."""
    fields = ServiceSettings.model_fields | WatcherSettings.model_fields
    sources = (path.read_text() for path in (ROOT / "app").rglob("*.py"))
    read = {name for source in sources for name in re.findall(rf'"({PREFIX}[A-Z_]+)"', source)}
    return frozenset(read | {PREFIX + name.upper() for name in fields})


@cache
def code() -> frozenset[str]:
    """Return every word of the repository's code."""
    sources = "\n".join(
        (ROOT / name).read_text(errors="replace")
        for name in files()
        if name.startswith(CODE) and not name.endswith(".md") and not name.startswith("tests/docs/")
        if (ROOT / name).is_file()
    )
    return frozenset(re.findall(r"\w+", sources)) | frozenset(re.findall(r"\w+(?:-\w+)+", sources))


@cache
def product() -> frozenset[str]:
    """Return every word of the shipped files."""
    sources = "\n".join((ROOT / name).read_text(errors="replace") for name in files() if _shipped(name))
    return frozenset(re.findall(r"\w+", sources)) | frozenset(re.findall(r"\w+(?:-\w+)+", sources))


@cache
def hyphenated() -> frozenset[str]:
    """Return every hyphenated lower-case word of the shipped files, because code writes headers so."""
    return frozenset(word.lower() for word in product() if "-" in word)


def _shipped(name: str) -> bool:
    return name.startswith(SHIPPED) and not name.endswith(".md") and (ROOT / name).is_file()


@cache
def logged() -> frozenset[str]:
    """Return every word of the code that may be a log event."""
    sources = (path.read_text() for path in (ROOT / "app").rglob("*.py"))
    return frozenset(word for source in sources for word in re.findall(r'"([a-z]+(?:_[a-z]+)+)"', source))


@cache
def client() -> str:
    """Return the name of the package that is generated for Python."""
    config = ROOT / "clients/python.yaml"
    return str(yaml.safe_load(config.read_text())["package_name_override"]) if config.exists() else ""


def unknown_settings(text: str) -> Iterator[str]:
    """Report settings that do not exist."""
    for name in re.findall(rf"(?<![A-Za-z_$]){PREFIX}[A-Z_]*[A-Z]\b", text):
        if name not in settings():
            yield f"there is no setting {name}"


def unknown_metrics(text: str) -> Iterator[str]:
    """Report metrics that do not exist."""
    for name in re.findall(rf"\b{METRICS}_\w+", text):
        if name not in metrics() and name != client():
            yield f"there is no metric {name}"


def unknown_problems(text: str, known: frozenset[str]) -> Iterator[str]:
    """Report types of problems that do not exist."""
    for name in re.findall(r"urn:agentteam-delivery:[\w-]+", text):
        if name not in known:
            yield f"there is no problem {name}"


def unknown_ports(text: str) -> Iterator[str]:
    """Report ports that are not ours, in words such as `the watcher on 8081`."""
    ports = {
        "service": ServiceSettings.model_fields["port"].default,
        "watcher": WatcherSettings.model_fields["watch_port"].default,
    }
    for name, port in re.findall(r"\b(service|watcher) on (\d{4,5})\b", text):
        if int(port) != ports[name]:
            yield f"the {name} is on {ports[name]}, not on {port}"


def unknown_values(text: str, values: dict[str, Any]) -> Iterator[str]:
    """Report values that the chart does not have, in words like `settings.email` and `tls.secretName=…`."""
    match = re.fullmatch(r"([a-zA-Z]+(?:\.[a-zA-Z]+)+)(=.*)?", text)
    first, *_ = text.split(".")
    if (
        not match
        or not isinstance(values.get(first), dict)
        or text.endswith((".py", ".yaml", ".md", ".json"))
    ):
        return
    held: Any = values
    for name in match[1].split("."):
        if isinstance(held, dict) and held and name not in held:
            yield f"the chart has no value {match[1]}"
            return
        held = held.get(name) if isinstance(held, dict) else None


def unknown_words(text: str) -> Iterator[str]:
    """Report words that look like a reason or an outcome of ours, and are not in the code."""
    if not re.fullmatch(r"[A-Z][A-Za-z]+", text) or text in code():
        return
    ours = [*Reason, *Phase, *TERMINAL_PHASES]
    ends = {re.split(r"(?<=[a-z])(?=[A-Z])", word)[-1] for word in ours}
    if get_close_matches(text, ours, 1, cutoff=0.7) or text.endswith(tuple(ends)):
        yield f"there is no reason and no phase {text}"


def misspelt(text: str, slugs: Collection[str]) -> Iterator[str]:
    """Report words that are almost a problem or a log event, and are not in the code."""
    if re.fullmatch(r"[a-z]+(-[a-z]+)+", text) and text not in code():
        for meant in get_close_matches(text, slugs, 1, cutoff=0.85):
            yield f"there is no problem {text}; did you mean {meant}?"
    if re.fullmatch(r"[a-z]+(_[a-z]+)+", text) and text not in code() | metrics():
        for meant in get_close_matches(text, logged(), 1, cutoff=0.85):
            yield f"the log has no line {text}; did you mean {meant}?"


def unknown_lines(text: str) -> Iterator[str]:
    """Report words that look like words of the log, and are not in it."""
    for name in re.findall(r"(?<![\w.-])[a-z]+(?:_[a-z]+)+(?![\w-])", text):
        if name not in logged() | metrics():
            yield f"the log has no line and no field {name}"


def unheard_of(block: Block) -> Iterator[str]:
    """Report words that look like code, and are neither in our code nor in a block of the document."""
    if SHAPE.fullmatch(block.text) and not block.text.startswith(f"{METRICS}_"):
        shown = (one.text for one in blocks() if one.document == block.document)
        named = block.text in product() | OTHERS or ("-" in block.text and block.text.lower() in hyphenated())
        if not named and not any(block.text in one for one in shown):
            yield f"{block.text} is not in the code; correct it, or add it to OTHERS in {__name__}"


def absent_files(text: str) -> Iterator[str]:
    """Report files and folders of ours that do not exist."""
    if (
        re.fullmatch(r"(app|tests|samples|docs|charts|openapi|\.ci)/[\w./-]+", text)
        and text.rstrip("/") not in files()
    ):
        yield f"{text} is not in the repository"


def faults_of_words(block: Block, values: dict[str, Any], problems: Collection[str]) -> Iterator[str]:
    """Report what is wrong with a code span."""
    slugs = {problem.rpartition(":")[2] for problem in problems}
    found = (
        *unknown_words(block.text),
        *unknown_values(block.text, values),
        *misspelt(block.text, slugs),
        *absent_files(block.text),
    )
    if block.document in LOGS and SHAPE.fullmatch(block.text):
        found = found or (*unknown_lines(block.text),)
    yield from (f"{block.at()}: {said}" for said in found or unheard_of(block))


def prose(document: str, text: str, known: frozenset[str]) -> Iterator[str]:
    """Report, line by line, names of ours that do not exist."""
    for number, line in enumerate(text.splitlines(), 1):
        found = (*unknown_settings(line), *unknown_metrics(line), *unknown_problems(line, known))
        yield from (f"{document}:{number}: {said}" for said in (*found, *unknown_ports(line)))
