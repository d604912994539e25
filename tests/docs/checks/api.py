"""Checks API words in code spans, and tables whose first column has a closed set of words."""

import json
import re
from collections.abc import Collection, Iterator
from functools import cache

from app.domain.events import TEST, CompletionEvent
from app.domain.problems import PROBLEM_TYPE
from app.domain.reasons import Reason
from app.telemetry.metrics import UNRECORDED
from tests.docs.blocks import ROOT, Block, Row
from tests.docs.checks.data import problems
from tests.docs.checks.http import (
    faults_of_event,
    faults_of_preference,
    faults_of_query,
    operations,
)
from tests.docs.checks.secrets import KEYS
from tests.docs.checks.words import logged

PREFERENCE = re.compile(
    r"""(?:^|['"`])prefer["']?: *["']?([\w=-]+)|\bprefer["']?: *["']([\w=-]+)""", re.IGNORECASE
)
"""The header, as it appears in a command, a sentence, a request or a program."""


@cache
def statuses() -> frozenset[str]:
    """Return every status that callers may get."""
    described = {status for one in operations() for status in one["responses"]}
    return frozenset(described | {str(kind.status) for kind in problems().values()})


@cache
def headers() -> frozenset[str]:
    """Return every word of the senders' code that may be a header's name, and the one that tracing adds."""
    words = re.findall(r'"([a-z]+(?:-[a-z]+)*)"', (ROOT / "app/senders/webhook.py").read_text())
    return frozenset(words) - (KEYS - {"authorization"}) | {"traceparent"}


def slugs() -> frozenset[str]:
    """Return the last word of every type of problem."""
    return frozenset(one.removeprefix(PROBLEM_TYPE) for one in problems())


def closed() -> dict[str, Collection[str]]:
    """Return the words allowed in the first column of a table, by its heading."""
    return {"reason": list(Reason), "cause": UNRECORDED, "key": KEYS, "header": headers()}


def faults_of_row(row: Row) -> Iterator[str]:
    """Report what is wrong in the first column of a table's row."""
    for code in row.codes:
        if row.heading in closed() and code not in closed()[row.heading]:
            yield f"{row.at()}: there is no {row.heading} {code}"
        if row.heading == "answer":
            yield from (f"{row.at()}: {said}" for said in _faults_of_answer(code, row.codes))


def _faults_of_answer(code: str, beside: Collection[str]) -> Iterator[str]:
    """Check a status, a problem with its status, or a reason."""
    kind = problems().get(PROBLEM_TYPE + code)
    if kind is not None:
        if str(kind.status) not in beside:
            yield f"{code} is {kind.status}"
    elif code not in statuses() and code not in set(Reason):
        yield f"there is no answer {code}"


def faults_of_api_words(block: Block) -> Iterator[str]:
    """Report what is wrong with a code span such as `"redeliver": "failed"`."""
    yield from (f"{block.at()}: {said}" for said in _faults_of_text(block.text))


def _faults_of_text(text: str) -> Iterator[str]:
    if match := re.search(r"\?(\w+=[^\s#]*)$", text):
        yield from faults_of_query(match[1])
    for key in re.findall(r'\bkey "([^"]+)"', text):
        if key not in KEYS:
            yield f"there is no key of a Secret {key}"
    if match := re.fullmatch(r"--from-(?:file|literal)=([\w.-]+).*", text):
        yield from () if match[1] in KEYS else (f"there is no key of a Secret {match[1]}",)
    if re.fullmatch(r'"\w+": [^…]+', text):
        try:
            shown = json.loads(f"{{{text}}}")
        except ValueError as error:
            yield f"not JSON: {error}"
            return
        for name, value in shown.items():
            yield from _faults_of_field(name, value)


def _faults_of_field(name: str, value: object) -> Iterator[str]:
    if name in set(CompletionEvent.model_fields) - {"event", "phase"}:
        yield from faults_of_event(json.dumps({"namespace": "research", "team": "report", name: value}))
    known: dict[str, Collection[object]] = {
        "event": {"team.completed", TEST, *logged()},
        "problem": slugs(),
        "answer": {int(status) for status in statuses()},
        "reason": set(Reason),
        "cause": UNRECORDED,
    }
    if name in known and value not in known[name]:
        yield f"there is no {name} {value}"


def faults_of_preferences(document: str, text: str) -> Iterator[str]:
    """Report, line by line, unknown values of the header `prefer`."""
    for number, line in enumerate(text.splitlines(), 1):
        for match in PREFERENCE.finditer(line):
            for said in faults_of_preference(match[1] or match[2]):
                yield f"{document}:{number}: {said}"
