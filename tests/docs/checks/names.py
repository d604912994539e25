"""Checks names of ours in documents: settings, metrics, reasons, problems, values, files, commands, paths."""

import inspect
import json
import re
from collections.abc import Collection, Iterator
from functools import cache
from typing import Any

import typer
from pydantic import ValidationError

from app.cli import cli
from app.domain.errors import Problem
from app.domain.events import TEST, CompletionEvent
from app.domain.problems import PROBLEM_TYPE
from app.domain.reasons import Reason
from app.senders.email import EmailSender
from app.senders.google_drive import GoogleDriveSender
from app.senders.slack import SlackSender
from app.senders.webhook import WebhookSender
from app.settings import PREFIX, ServiceSettings, WatcherSettings
from app.telemetry.instruments import PREFIX as METRICS
from app.telemetry.instruments import Instruments
from app.telemetry.metrics import UNRECORDED, Metrics
from app.watcher.metrics import WatchMetrics
from tests.docs.blocks import ROOT, Block, Row, blocks, files
from tests.harness.documents import read_yaml

Faults = Iterator[str]

KEYS = frozenset[str]().union(
    *(sender.keys for sender in (WebhookSender, SlackSender, EmailSender, GoogleDriveSender))
)
"""The keys of a Secret that any sender reads."""
SUFFIXES = {"counter": ("_total",), "histogram": ("", "_bucket", "_sum", "_count")}
SHIPPED = (
    *("app/", "charts/", "openapi/", "samples/", "clients/"),
    *("Dockerfile", "Makefile", "pyproject.toml", "requirements"),
)
"""Where the words come from that documents put between back ticks."""
SHAPE = re.compile(
    r"[a-z]+(-[a-z]+)+|[a-z]+(_[a-z]+)+|[A-Z]+[a-z]+([A-Z]+[a-z]*)*|[a-z]+[A-Z]\w*|[A-Z]\w*(-[A-Z]\w*)+"
)
"""How names of code are written: kebab-case, snake_case, CamelCase, and as headers are."""
OTHERS = {
    "CreateReplace",
    "Deprecation",
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
PORTS = {
    "service": ServiceSettings.model_fields["port"],
    "watcher": WatcherSettings.model_fields["watch_port"],
}
PREFERENCE = re.compile(r"""(?:^|['"`])prefer["']?: *["']?([\w=-]+)""", re.IGNORECASE)
FILE = re.compile(r"(?<![\w./-])(?:app|tests|samples|docs|charts|openapi|\.ci)/[\w./-]+")


@cache
def metrics() -> frozenset[str]:
    """Return the name of every series that one of our processes may export."""
    found = {"agentteam_delivery_client"}  # the package for callers in Python, which no metric is
    for instruments in (Metrics(), WatchMetrics()):
        for name, show in inspect.getmembers(instruments, inspect.ismethod):
            if name.startswith("show_"):
                show(**dict.fromkeys(inspect.signature(show).parameters, float))
        found |= _series(instruments)
    return frozenset(found)


def _series(instruments: Instruments) -> set[str]:
    return {
        family.name + suffix
        for family in instruments.registry.collect()
        for suffix in SUFFIXES.get(family.type, ("",))
    }


@cache
def _words(*folders: str) -> tuple[str, frozenset[str]]:
    """Return the text below these folders, documents apart, and its words in every form."""
    names = [name for name in files() if name.startswith(folders) and not name.endswith(".md")]
    text = "\n".join((ROOT / name).read_text(errors="replace") for name in names if (ROOT / name).is_file())
    hyphenated = re.findall(r"\w+(?:-\w+)+", text)
    return text, frozenset([*re.findall(r"\w+", text), *hyphenated, *map(str.lower, hyphenated)])


@cache
def settings() -> frozenset[str]:
    """Return every variable that one of our processes reads."""
    fields = ServiceSettings.model_fields | WatcherSettings.model_fields
    read = re.findall(rf'"({PREFIX}[A-Z_]+)"', _words("app/")[0])
    return frozenset(read) | {PREFIX + name.upper() for name in fields}


@cache
def logged() -> frozenset[str]:
    """Return every word of the code that may be a log event or a field of one."""
    return frozenset(re.findall(r'"([a-z]+(?:_[a-z]+)+)"', _words("app/")[0]))


@cache
def problems() -> dict[str, int]:
    """Return the last word of every type of problem, and its status."""
    kinds, found = [Problem], dict[str, int]()
    for kind in kinds:
        kinds += kind.__subclasses__()
        found |= {kind.slug: int(kind.status)} if hasattr(kind, "slug") else {}
    return found


@cache
def description() -> dict[str, Any]:
    """Return the API's operations by path."""
    return dict(read_yaml(ROOT / "openapi/openapi.yaml")["paths"])


def operations() -> list[dict[str, Any]]:
    return [one for path in description().values() for one in path.values()]


def parameters(place: str) -> dict[str, dict[str, Any]]:
    return {one["name"]: one for of in operations() for one in of.get("parameters", []) if one["in"] == place}


@cache
def statuses() -> frozenset[str]:
    """Return every status that callers may get."""
    described = {status for one in operations() for status in one["responses"]}
    return frozenset(described | set(map(str, problems().values())))


@cache
def values() -> dict[str, Any]:
    """Return the chart's values."""
    return dict(read_yaml(ROOT / "charts/agentteam-delivery/values.yaml"))


@cache
def targets() -> frozenset[str]:
    """Return what make can make."""
    return frozenset(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def none_of(what: str, name: str, known: Collection[object]) -> Faults:
    if name not in known:
        yield f"there is no {what} {name}"


def faults_of_text(document: str, text: str) -> Faults:
    """Report, line by line, the unknown names that are recognised wherever they are."""
    for number, line in enumerate(text.splitlines(), 1):
        yield from (f"{document}:{number}: {said}" for said in _faults_of_line(line))


def _faults_of_line(line: str) -> Faults:
    for name in re.findall(rf"(?<![A-Za-z_$]){PREFIX}[A-Z_]*[A-Z]\b", line):
        yield from none_of("setting", name, settings())
    for name in re.findall(rf"\b{METRICS}_\w+", line):
        yield from none_of("metric", name, metrics())
    for name in re.findall(rf"{PROBLEM_TYPE}([\w-]+)", line):
        yield from none_of("problem", name, problems())
    for name, port in re.findall(r"\b(service|watcher) on (\d{4,5})\b", line):
        if int(port) != PORTS[name].default:
            yield f"the {name} is not on {port}"
    for value in PREFERENCE.findall(line):
        examples = [re.sub(r"\d+", "N", one) for one in parameters("header")["prefer"]["schema"]["examples"]]
        yield from none_of(
            "preference", value, [*examples, value if re.fullmatch(r"wait=\d+", value) else ""]
        )


def faults_of_span(block: Block) -> Faults:
    """Report what is wrong with a few words between back ticks."""
    text = block.text
    found = [*_faults_of_words(text), *_faults_of_call(text), *_faults_of_command(text)]
    if SHAPE.fullmatch(text) and not found:
        shown = any(one.document == block.document and text in one.text for one in blocks())
        if block.document in LOGS and "_" in text:
            found += none_of("line and no field of the log", text, logged() | metrics())
        elif not shown:
            found += none_of("name in our code", text, _words(*SHIPPED)[1] | OTHERS | metrics())
    yield from (f"{block.at()}: {said}" for said in found)


def _faults_of_words(text: str) -> Faults:
    """Judge files, values of the chart, keys of a Secret, and fields with their values."""
    for name in FILE.findall(text):
        if "…" not in text and not name.endswith("-"):
            yield from none_of("file", name.partition("::")[0].rstrip("/."), files())
    if (match := re.fullmatch(r"(\w+(?:\.[a-zA-Z]+)+)(=.*)?", text)) and not text.endswith(
        (".py", ".yaml", ".md")
    ):
        yield from _faults_of_value(match[1])
    for key in [
        *re.findall(r'\bkey "([^"]+)"', text),
        *re.findall(r"^--from-(?:file|literal)=([\w.-]+)", text),
    ]:
        yield from none_of("key of a Secret", key, KEYS)
    if re.fullmatch(r'"\w+": [^…]+', text):
        try:
            [(name, value)] = json.loads(f"{{{text}}}").items()
        except ValueError as error:
            yield f"not JSON: {error}"
        else:
            yield from _faults_of_field(name, value)


def _faults_of_value(path: str) -> Faults:
    held: Any = values()
    if isinstance(held.get(path.partition(".")[0]), dict):
        for name in path.split("."):
            if isinstance(held, dict) and held:  # an empty one takes any
                yield from none_of("value of the chart", path, () if name not in held else (path,))
            held = held.get(name) if isinstance(held, dict) else None


def _faults_of_field(name: str, value: object) -> Faults:
    known: dict[str, Collection[object]] = {
        "event": {"team.completed", TEST, *logged()},
        "problem": problems(),
        "answer": {int(status) for status in statuses()},
        "reason": set(Reason),
        "cause": UNRECORDED,
    }
    if name in known:
        yield from none_of(name, value, known[name])  # type: ignore[arg-type]  # of any type
    elif name in set(CompletionEvent.model_fields) - {"phase"}:
        try:
            CompletionEvent.model_validate({"namespace": "research", "team": "report", name: value})
        except ValidationError as error:
            yield f"{name}: {error.errors()[0]['msg']}"


def _faults_of_call(text: str) -> Faults:
    """Judge a method and a path of the API, which may end in an ellipsis, and a query."""
    if match := re.match(r"(GET|POST|PUT|PATCH|DELETE) (/[\w/{}-]*)(…?)", text):
        method, path, open_end = match.groups()
        forms = {re.sub(r"\{\w+\}", "[^/]+", template): asked for template, asked in description().items()}
        found = [
            asked
            for form, asked in forms.items()
            if re.fullmatch(form, path) or (open_end and form.startswith(path))
        ]
        if not any(method.lower() in asked for asked in found):
            yield f"the API has no {method} {path}"
    for name in re.findall(r"[?&](\w+)=", text):
        yield from none_of("parameter", name, parameters("query"))


def _faults_of_command(text: str) -> Faults:
    """Judge a target of make, and a command of ours with its options."""
    words = text.removeprefix(".venv/bin/").split()
    if words[:1] == ["make"]:
        for word in words[1:]:
            yield from none_of("target of make", word, targets() | ({word} if "=" in word else set()))
    if words[:1] == ["agentteam-delivery"] and len(words) > 1 and not words[1].startswith("-"):
        commands = getattr(typer.main.get_command(cli), "commands", {})
        yield from none_of("command of ours", words[1], commands)
        if words[1] in commands:
            known = {option for one in commands[words[1]].params for option in one.opts} | {"-h", "--help"}
            for word in words[2:]:
                if word.startswith("-"):
                    yield from none_of(f"option of {words[1]}", word.partition("=")[0], known)


def faults_of_row(row: Row) -> Faults:
    """Report unknown words in the first column of a table whose words are a closed set."""
    sent = re.findall(r'"([a-z]+(?:-[a-z]+)*)"', (ROOT / "app/senders/webhook.py").read_text())
    closed: dict[str, Collection[object]] = {
        "reason": set(Reason),
        "cause": UNRECORDED,
        "key": KEYS,
        "header": set(sent) - (KEYS - {"authorization"}) | {"traceparent"},
        "answer": {*statuses(), *problems(), *Reason},
    }
    for code in row.codes:
        if row.heading in closed:
            yield from (f"{row.at()}: {said}" for said in none_of(row.heading, code, closed[row.heading]))
        if row.heading == "answer" and code in problems() and str(problems()[code]) not in row.codes:
            yield f"{row.at()}: {code} is {problems()[code]}"
