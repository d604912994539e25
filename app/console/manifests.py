"""Offline validation of manifests of teams, templates and schedules: what is wrong, and where."""

import math
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml

from app.domain.errors import TargetError
from app.domain.events import DNS_LABEL, DNS_SUBDOMAIN
from app.domain.targets import (
    PLACEHOLDERS,
    EmailTarget,
    GoogleDriveTarget,
    InvalidTarget,
    SlackTarget,
    Target,
    TargetSpec,
    WebhookTarget,
    read_targets,
)
from app.domain.teams import KIND, VERSION
from app.domain.text import shortened
from app.egress.guard import Guard

GROUPS = ("kagents.dev", "claude.amcheste.io")
MAKERS = ("AgentTeamTemplate", "AgentTeamRun", "AgentTeamSchedule", "AgentTeamTrigger")
"""The operator's other kinds, from which it creates teams; `spec.lifecycle` is the same in all."""
NOT_KEPT = {
    "name": "called TYPE-POSITION, as in slack-1",
    "on": "notified in every phase that is delivered",
}
"""Fields of a target that those kinds drop, and the effect."""
JUDGED = (KIND, *MAKERS)
ON_COMPLETE = ("create-pr", "push-branch", "notify", "deliver", "none")
KINDS: dict[str, type[TargetSpec]] = {
    "webhook": WebhookTarget,
    "slack": SlackTarget,
    "email": EmailTarget,
    "google-drive": GoogleDriveTarget,
}

MERGE = "tag:yaml.org,2002:merge"
STDIN = Path("-")
DEEPEST, MOST = 32, 100_000  # levels and parts of a manifest that are checked

_BRACES = re.compile(r"\{(\w*)\}|[{}]")
_FIELD = re.compile(r"([A-Za-z][\w.]*): ")

Path_ = tuple[str | int, ...]


@dataclass(frozen=True, order=True)
class Finding:
    """A problem at a line of a file, or a warning about what is probably a mistake."""

    file: str
    line: int
    text: str
    warning: bool = False

    def __str__(self) -> str:
        text = f"{'warning: ' if self.warning else ''}{self.text}"
        return f"{shortened(self.file, 1000)}:{self.line}: {shortened(text, 1000)}"


def findings_of(file: Path) -> list[Finding]:
    """Check every team of a file, and every kind that creates teams; skip other documents."""
    try:
        text = sys.stdin.buffer.read().decode() if file == STDIN else file.read_text(encoding="utf-8")
    except OSError as error:
        return [Finding(str(file), 0, f"cannot be read: {error.strerror}")]
    except UnicodeDecodeError:
        return [Finding(str(file), 0, "is not UTF-8 text")]
    try:
        nodes = [node for node in yaml.compose_all(text, Loader=_Loader) if node is not None]
    except RecursionError:
        return [Finding(str(file), 1, "is nested too deeply to be checked")]
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        problem = getattr(error, "problem", None) or "it cannot be read"
        return [Finding(str(file), mark.line + 1 if mark else 1, f"not YAML: {problem}")]
    nodes = [one for node in nodes for one in _listed(node)]
    documents = [Manifest(str(file), node) for node in nodes]
    found = [finding for document in documents for finding in document.findings()]
    if not found and not any(document.kind in JUDGED for document in documents):
        others = any(document.kind for document in documents)
        text = f"nothing in it is checked; the checked kinds are: {', '.join(JUDGED)}"
        found.append(Finding(str(file), 1, text, warning=others))
    return sorted(found)


class _Loader(yaml.SafeLoader):
    """Reads YAML 1.1 as Go and therefore kubectl do: a date is text, and so is `12:30`, and `y` is true."""

    def construct_yaml_int(self, node: yaml.ScalarNode) -> int:
        """Read a whole number; a leading zero makes it octal."""
        text = str(self.construct_scalar(node)).replace("_", "")
        digits = text.lstrip("+-")
        old = len(digits) > 1 and digits.isdecimal() and digits.startswith("0")
        return int(text, 8) if old else int(text, 0)

    def construct_yaml_bool(self, node: yaml.ScalarNode) -> bool:
        """Read a boolean."""
        return str(self.construct_scalar(node)).lower() in {"y", "yes", "true", "on"}

    def construct_number(self, node: yaml.ScalarNode) -> float | str:
        """Read a number; one that is too large stays text."""
        number = self.construct_yaml_float(node)
        text = str(self.construct_scalar(node))
        return text if math.isinf(number) and "inf" not in text.lower() else number

    def construct_decoded(self, node: yaml.ScalarNode) -> str:
        """Read a base64 value as text, as the API server does."""
        return self.construct_yaml_binary(node).decode(errors="replace")


_SPELT = "|".join(
    spelling
    for word in ("y", "yes", "true", "on", "n", "no", "false", "off")
    for spelling in {word, word.title(), word.upper()}
)
_Loader.yaml_implicit_resolvers = {}
for _tag, _pattern, _first in (
    ("bool", rf"(?:{_SPELT})", "yYnNtTfFoO"),
    ("null", r"(?:~|null|Null|NULL|)", ["~", "n", "N", ""]),
    ("merge", r"<<", "<"),
    ("int", r"[-+]?(?:0[bB][01_]+|0[oO]?[0-7_]*|0[xX][0-9a-fA-F_]+|[1-9][0-9_]*)", "-+0123456789"),
    (
        "float",
        r"[-+]?(?:\.[0-9]+|[0-9][0-9_]*(?:\.[0-9_]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
        "-+.0123456789",
    ),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(rf"^(?:{_pattern})$"), list(_first))
for _tag, _constructor in (
    ("int", "construct_yaml_int"),
    ("bool", "construct_yaml_bool"),
    ("float", "construct_number"),
    ("binary", "construct_decoded"),
    ("timestamp", "construct_yaml_str"),
):
    _Loader.add_constructor(f"tag:yaml.org,2002:{_tag}", getattr(_Loader, _constructor))


class Manifest:
    """One document of a file, with the line numbers of its parts."""

    def __init__(self, file: str, node: yaml.Node) -> None:
        self._file = file
        self._node = node
        self._lines: dict[Path_, int] = {}
        self._twice: list[tuple[int, str]] = []
        self._bare: list[int] = []
        self._scalars = _Loader("")
        self._cut = False
        self._value = self._read(node, ())
        kind = self._value.get("kind") if isinstance(self._value, dict) else None
        self.kind = kind if isinstance(kind, str) else ""

    def findings(self) -> Iterator[Finding]:
        """Yield the problems of a document of a checked kind, or of one whose kind is probably misspelt."""
        team = self._value
        if not isinstance(team, dict):
            return
        if self.kind not in JUDGED:
            yield from self._misspelt(team)
            return
        if self._cut:
            yield self._at((), "is too large, or too deep, to be checked")
            return
        for line, key in self._twice:
            yield Finding(self._file, line, f"{key}: is a duplicate; remove one")
        for line in self._bare:
            text = 'on: without quotes YAML reads it as a boolean; write "on":'
            yield Finding(self._file, line, text)
        yield from self._head(team)
        spec = team.get("spec")
        if not isinstance(spec, dict):
            yield self._at(("spec",), "spec: is missing; it says what the team does")
            return
        lifecycle = spec.get("lifecycle")
        if lifecycle is None:
            if self.kind != KIND:
                return  # other parts of the team may have it
            yield self._at(("spec",), "spec.lifecycle: is missing, so nothing is delivered", warning=True)
        elif not isinstance(lifecycle, dict):
            yield self._at(("spec", "lifecycle"), "spec.lifecycle: must be an object")
        else:
            yield from self._lifecycle(lifecycle)

    def _misspelt(self, document: dict[str, Any]) -> Iterator[Finding]:
        group, _, _ = str(document.get("apiVersion")).partition("/")
        if group in GROUPS:
            meant = get_close_matches(self.kind, JUDGED, 1)
            hint = f"did you mean {meant[0]}?" if meant else f"known are {', '.join(JUDGED)}"
            text = f'kind: "{self.kind}" is not a kind of {group}; {hint}'
            yield self._at(("kind",), text)

    def _head(self, team: dict[str, Any]) -> Iterator[Finding]:
        api_version = team.get("apiVersion")
        known = [f"{group}/{VERSION}" for group in GROUPS]
        if not isinstance(api_version, str) or api_version.count("/") != 1:
            yield self._at(("apiVersion",), f"apiVersion: must be {known[0]}")
        elif not api_version.endswith(f"/{VERSION}"):
            yield self._at(
                ("apiVersion",), f'apiVersion: "{api_version}" is not known here; write {known[0]}'
            )
        elif api_version not in known:
            text = f'apiVersion: "{api_version}" is of an unknown group; mostly it is {known[0]}'
            yield self._at(("apiVersion",), text, warning=True)
        metadata = team.get("metadata")
        metadata = metadata if isinstance(metadata, dict) else {}
        for field, pattern in (("name", DNS_SUBDOMAIN), ("namespace", DNS_LABEL)):
            value = metadata.get(field)
            if value is None and (field == "namespace" or metadata.get("generateName")):
                continue
            if not isinstance(value, str) or not re.fullmatch(pattern, value):
                text = f"metadata.{field}: must be of lower-case letters, digits and dashes"
                yield self._at(("metadata", field), text)

    def _lifecycle(self, lifecycle: dict[str, Any]) -> Iterator[Finding]:
        at = ("spec", "lifecycle")
        chosen, delivery = lifecycle.get("onComplete"), lifecycle.get("delivery")
        if chosen is not None and not isinstance(chosen, str):
            yield self._at((*at, "onComplete"), f"onComplete: must be one of {', '.join(ON_COMPLETE)}")
            return
        if chosen is not None and chosen not in ON_COMPLETE:
            meant = get_close_matches(str(chosen), ON_COMPLETE, 1)
            hint = f"; did you mean {meant[0]}?" if meant else f"; it is one of {', '.join(ON_COMPLETE)}"
            yield self._at((*at, "onComplete"), f'onComplete: "{chosen}" is not known{hint}')
        if delivery is None:
            if chosen == "deliver":
                text = "delivery: is missing, so nothing is delivered; list the targets"
                yield self._at((*at, "onComplete"), text)
            return
        if not isinstance(delivery, list):
            yield self._at(
                (*at, "delivery"), "delivery: must be a list of targets, each with a dash in front"
            )
            return
        if chosen == "deliver" and not delivery:
            text = "delivery: is empty, so nothing is delivered; list the targets"
            yield self._at((*at, "delivery"), text)
        if chosen is None or chosen in set(ON_COMPLETE) - {"deliver"}:
            text = f"onComplete: is {chosen or 'missing'}, so these targets get nothing; write deliver"
            yield self._at((*at, "delivery"), text, warning=True)
        for position, target in enumerate(read_targets(delivery)):
            yield from self._target((*at, "delivery", position), delivery[position], target)

    def _target(self, at: Path_, entry: Any, target: Target | InvalidTarget) -> Iterator[Finding]:
        if isinstance(target, InvalidTarget):
            field = match[1] if (match := _FIELD.match(target.problem)) else ""
            yield self._at((*at, *field.split(".")) if field else at, target.problem)
        if not isinstance(entry, dict):
            return
        kind = KINDS.get(str(entry.get("type")))
        if kind is not None:
            known = {field.alias or name for name, field in kind.model_fields.items()}
            for field in entry:
                if field not in known:
                    meant = get_close_matches(str(field), known, 1)
                    hint = f"; did you mean {meant[0]}?" if meant else "; it has no effect"
                    yield self._at(
                        (*at, field), f"{field}: no field of a {entry['type']} target{hint}", warning=True
                    )
        for field, instead in NOT_KEPT.items() if self.kind in MAKERS else ():
            if field in entry:
                text = f"{field}: {self.kind} does not keep it; the target is {instead}"
                yield self._at((*at, field), text, warning=True)
        if isinstance(target, WebhookTarget) and target.url:
            yield from self._url((*at, "url"), target.url)
        if isinstance(message := entry.get("message"), str):
            yield from self._message((*at, "message"), message)

    def _url(self, at: Path_, url: str) -> Iterator[Finding]:
        try:
            Guard().check(url)
        except (ValueError, TargetError) as error:
            said = error.message if isinstance(error, TargetError) else str(error)
            may = isinstance(error, TargetError)  # an installation may allow it
            yield self._at(at, f"url: {said}", warning=may)

    def _message(self, at: Path_, message: str) -> Iterator[Finding]:
        for match in _BRACES.finditer(message):
            word = match[1]
            if word in PLACEHOLDERS:
                continue
            if word:
                meant = get_close_matches(word, PLACEHOLDERS, 1)
                known = f"did you mean {{{meant[0]}}}?" if meant else f"known are {', '.join(PLACEHOLDERS)}"
                yield self._at(
                    at, f"message: {{{word}}} is not a placeholder and stays as it is; {known}", warning=True
                )
            else:
                yield self._at(at, f'message: a stray "{match[0]}" stays as it is', warning=True)

    def _at(self, path: Sequence[str | int], text: str, *, warning: bool = False) -> Finding:
        """Return a finding at the line of a part, or of the nearest existing parent."""
        known = tuple(path)
        while known not in self._lines:
            known = known[:-1]
        return Finding(self._file, self._lines[known], text, warning)

    def _read(self, node: yaml.Node, path: Path_) -> Any:
        """Return the content of a node, and note the lines of all its parts."""
        self._lines.setdefault(path, node.start_mark.line + 1)
        if len(path) > DEEPEST or len(self._lines) > MOST:
            self._cut = True  # an alias of itself, or of very many
            return None
        if isinstance(node, yaml.MappingNode):
            mapping: dict[Any, Any] = {}
            for key, value in node.value:
                if key.tag == MERGE:
                    self._merge(mapping, value, path, {one.value for one, _ in node.value})
                    continue
                name = self._key(key)
                if key.value == "on" and key.tag.endswith(":bool") and "delivery" in path:
                    self._bare.append(key.start_mark.line + 1)
                if name in mapping:
                    self._twice.append((key.start_mark.line + 1, name))
                self._lines[(*path, name)] = key.start_mark.line + 1
                mapping[name] = self._read(value, (*path, name))
            return mapping
        if isinstance(node, yaml.SequenceNode):
            return [self._read(item, (*path, position)) for position, item in enumerate(node.value)]
        try:
            return self._scalars.construct_object(node, deep=True)
        except Exception:  # noqa: BLE001  # a type unknown to Kubernetes, or an invalid value
            return node.value

    def _key(self, key: yaml.Node) -> str:
        """Return the name of a field as JSON has it: `no` becomes `false`."""
        if not isinstance(key, yaml.ScalarNode):
            return "?"
        if key.tag == "tag:yaml.org,2002:bool":
            return str(self._scalars.construct_object(key)).lower()
        return str(key.value)

    def _merge(self, mapping: dict[Any, Any], node: yaml.Node, path: Path_, said: set[str]) -> None:
        """Add the fields of other mappings (`<<`) that this one does not have; earlier mappings win."""
        parts = node.value if isinstance(node, yaml.SequenceNode) else [node]
        for part in parts:
            found = self._read(part, path)
            for name, value in found.items() if isinstance(found, dict) else ():
                if name not in said:
                    mapping.setdefault(name, value)


def _listed(node: yaml.Node) -> list[yaml.Node]:
    """Return the items of a `List`, as kubectl prints them; otherwise the node itself."""
    if not isinstance(node, yaml.MappingNode):
        return [node]
    fields = {key.value: value for key, value in node.value if isinstance(key, yaml.ScalarNode)}
    items = fields.get("items")
    is_list = str(getattr(fields.get("kind"), "value", "")).endswith("List")
    return list(items.value) if is_list and isinstance(items, yaml.SequenceNode) else [node]
