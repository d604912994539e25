"""What a command prints: tables for people, JSON and YAML for programs."""

import io
import itertools
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from typing import Any

import yaml
from rich import box
from rich.console import Console, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from app.console.client import Document
from app.console.form import Form

WIDEST = 1_000_000  # columns of a table in a file
COLOURS = {"Delivered": "green", "Failed": "red", "PartiallyDelivered": "red", "Send": "green", "Fail": "red"}


class Printer:
    """Standard output: colours and progress on a terminal alone, and nothing cut off in a file."""

    def __init__(self, form: Form) -> None:
        if isinstance(sys.stdout, io.TextIOWrapper):
            # A sign that the terminal lacks must not end the command.
            sys.stdout.reconfigure(errors="replace")
        self._form = form
        self._console = Console(markup=False, emoji=False, highlight=False)

    def report(self, report: Document) -> None:
        """Print what is on record of a team, or what a test came to."""
        self._print(report, _report)

    def preview(self, preview: Document) -> None:
        """Print what would be sent where."""
        self._print(preview, _preview)

    def teams(self, found: Document, *, aside: bool = False) -> None:
        """Print many teams, a line a target; `aside`, where the answer is to come yet: to standard error."""
        if aside:
            with redirect_stdout(sys.stderr):
                Printer(Form.TABLE).teams(found)
            return
        self._print(found, lambda safe: [_teams(safe)] if safe["items"] else [])

    def tell(self, sentence: str) -> None:
        """Say something beside the answer."""
        sys.stderr.write(f"{_safe(sentence)}\n")
        sys.stderr.flush()

    @contextmanager
    def counting(self) -> Iterator[Callable[[str], None]]:
        """Yield what says how far it is, drawn over what it said last on a terminal, else each tenth time."""
        if sys.stderr.isatty():
            with Console(stderr=True).status("") as status:
                yield status.update
            return
        said = itertools.count(1)

        def tell(sentence: str) -> None:
            if next(said) % 10 == 0:
                self.tell(sentence)

        yield tell

    @contextmanager
    def progress(self) -> Iterator[Callable[[Document], None]]:
        """Yield what shows a report as it stands; on a terminal it is drawn over the last."""
        if self._form is not Form.TABLE or not self._console.is_terminal:
            yield lambda _: None
            return
        with Live(console=self._console, transient=True) as live:
            yield lambda report: live.update(_table(_safe(report)))

    def _print(self, document: Document, render: Callable[[Document], Sequence[RenderableType]]) -> None:
        match self._form:
            case Form.JSON:
                sys.stdout.write(_escaped(json.dumps(document, indent=2, ensure_ascii=False)) + "\n")
            case Form.YAML:
                sys.stdout.write(yaml.safe_dump(document, sort_keys=False))
            case Form.TABLE:
                for part in render(_safe(document)):
                    self._write(part)

    def _write(self, part: RenderableType) -> None:
        if self._console.is_terminal:
            self._console.print(part)
            return
        # A file has no margin: nothing is wrapped or cut, and no line ends in blanks.
        if isinstance(part, str | Text):
            sys.stdout.write(f"{str(part).rstrip()}\n")
            return
        self._console.width = WIDEST
        with self._console.capture() as plain:
            self._console.print(part)
        sys.stdout.write("\n".join(line.rstrip() for line in plain.get().splitlines()) + "\n")


def _escaped(text: str) -> str:
    """Escape, as JSON has it, what no reader would see in JSON, and what may command a terminal."""
    return "".join(sign if sign.isprintable() or sign == "\n" else json.dumps(sign)[1:-1] for sign in text)


def _safe(value: Any) -> Any:
    """Return a document whose texts cannot command a terminal: others than we may write into a status."""
    if isinstance(value, str):
        return "".join(sign if sign.isprintable() else "�" for sign in value)
    if isinstance(value, dict):
        return {_safe(key): _safe(item) for key, item in value.items()}
    return [_safe(item) for item in value] if isinstance(value, list) else value


def _report(report: Document) -> list[RenderableType]:
    parts: list[RenderableType] = [_head(report)]
    if report["targets"]:
        parts += ["", _table(report)]
    return parts


def _head(report: Document) -> Text:
    phase = report["phase"]
    head = Text.assemble(
        (f"{report['namespace']}/{report['team']}", "bold"), "  ", (phase, COLOURS.get(phase, ""))
    )
    if report.get("reason"):
        head.append(f"  {report['reason']}", "dim")
    return head


def _teams(found: Document) -> Table:
    table = _columns("TEAM", "TARGET", "TYPE", "PHASE", "REASON", "WHERE", "MESSAGE")
    for team in found["items"]:
        for target in team["targets"]:
            phase = target["phase"]
            table.add_row(
                f"{team['namespace']}/{team['team']}",
                target["name"],
                target["type"],
                Text(phase, COLOURS.get(phase, "")),
                target.get("reason") or "-",
                target.get("target") or "-",
                team.get("note") or _message(target),
            )
    return table


def _table(report: Document) -> Table:
    table = _columns("TARGET", "TYPE", "PHASE", "REASON", "HTTP", "ATTEMPTS", "WHERE", "MESSAGE")
    for target in report["targets"]:
        phase = target["phase"]
        table.add_row(
            target["name"],
            target["type"],
            Text(phase, COLOURS.get(phase, "")),
            target.get("reason") or "-",
            str(target.get("httpStatus") or "-"),
            str(target.get("attempts") or 0),
            target.get("target") or "-",
            _message(target),
        )
    return table


def _message(target: Document) -> str:
    message = target.get("message") or "-"
    if target["phase"] == "Pending" and target.get("retryAt") and not target.get("claimedBy"):
        return f"next try at {target['retryAt']}; last attempt: {message}"
    return str(message)


def _preview(preview: Document) -> list[RenderableType]:
    head = Text.assemble((f"{preview['namespace']}/{preview['team']}", "bold"), f"  as {preview['phase']}")
    if preview.get("reason"):
        head.append(f"  {preview['reason']}", "dim")
    parts: list[RenderableType] = [head]
    for target in preview["targets"]:
        would = target["would"]
        line = Text.assemble(
            (target["name"], "bold"), f"  {target['type']}  ", (would, COLOURS.get(would, ""))
        )
        if target.get("reason"):
            line.append(f"  {target['reason']}")
        if target.get("message"):
            line.append(f"  {target['message']}")
        parts += ["", line]
        if request := target.get("request"):
            parts.append(f"  {request['method']} {request['url']}")
            parts += [f"  {name}: {value}" for name, value in request["headers"].items()]
            parts += [f"  {line}" for line in ["", *_pretty(request["body"])]]
    return parts


def _pretty(body: str) -> list[str]:
    try:
        return json.dumps(_safe(json.loads(body)), indent=2, ensure_ascii=False).splitlines()
    except ValueError:
        return body.splitlines()


def _columns(*names: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 2, 0, 0))
    for name in names:
        table.add_column(name, overflow="fold")
    return table
