"""The output of commands: tables for people, JSON and YAML for programs."""

import io
import itertools
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from typing import Any

import yaml
from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from app.console import mails
from app.console.client import Document
from app.console.form import Form
from app.console.tables import COLOURS, indented, table, wide
from app.domain.text import JOINERS

UNSEEN = "\u00ad\u200b\u2060\ufeff"  # a terminal shows nothing, or a box, for them


class Printer:
    """Standard output: colours and progress only on a terminal, and no broken words."""

    def __init__(self, form: Form) -> None:
        if isinstance(sys.stdout, io.TextIOWrapper):
            # A character that the terminal lacks must not end the command.
            sys.stdout.reconfigure(errors="backslashreplace")
        self._form = form
        self._console = Console(markup=False, emoji=False, highlight=False)

    def report(self, report: Document) -> None:
        """Print the record of a team, or the result of a test."""
        self._print(report, self._report)

    def preview(self, preview: Document) -> None:
        """Print what would be sent where."""
        self._print(preview, self._preview)

    def teams(self, found: Document, *, aside: bool = False) -> None:
        """Print many teams, one line per target; `aside`: to standard error, because the result follows."""
        if aside:
            with redirect_stdout(sys.stderr):
                Printer(Form.TABLE).teams(found)
            return
        self._print(found, self._teams)

    def tell(self, sentence: str) -> None:
        """Print a sentence to standard error."""
        sys.stderr.write(f"{_line(sentence)}\n")
        sys.stderr.flush()

    @contextmanager
    def counting(self) -> Iterator[Callable[[str], None]]:
        """Yield a function that shows progress: in place on a terminal, otherwise every tenth time."""
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
        """Yield a function that shows a report; on a terminal it replaces the last one."""
        if self._form not in {Form.TABLE, Form.WIDE} or not self._console.is_terminal:
            yield lambda _: None
            return
        with Live(console=self._console, transient=True) as live:
            yield lambda report: live.update(Group(*self._lines(_report_head(report), report)))

    def _print(self, document: Document, render: Callable[[Document], Sequence[Text]]) -> None:
        match self._form:
            case Form.JSON:
                sys.stdout.write(_escaped(json.dumps(document, indent=2, ensure_ascii=False)) + "\n")
            case Form.YAML:
                sys.stdout.write(yaml.safe_dump(document, sort_keys=False))
            case Form.TABLE | Form.WIDE:
                for part in render(document):
                    self._write(part)

    def _write(self, part: Text) -> None:
        if not self._console.is_terminal:
            # A file has no margin, so nothing is cut, and no line ends in spaces.
            sys.stdout.write(f"{str(part).rstrip()}\n")
            return
        self._console.print(part, soft_wrap=True)  # the terminal wraps a word that is too long

    def _report(self, report: Document) -> list[Text]:
        return self._lines(_report_head(report), report)

    def _preview(self, preview: Document) -> list[Text]:
        lines = _preview(preview)
        # A redirect to a file must not change what would be sent.
        return (
            [part for line in lines for part in indented(line, 0, self._console)]
            if self._console.is_terminal
            else lines
        )

    def _teams(self, found: Document) -> list[Text]:
        rows = [
            {**target, "team": f"{team['namespace']}/{team['team']}", "note": team.get("note")}
            for team in found["items"]
            for target in team["targets"]
        ]
        return self._targets(rows, of_teams=True) if rows else []

    def _lines(self, head: Text, report: Document) -> list[Text]:
        lines = indented(head, 0, self._console)
        if report["targets"]:
            lines += [Text(), *self._targets(report["targets"])]
        return lines

    def _targets(self, targets: Sequence[Document], *, of_teams: bool = False) -> list[Text]:
        layout = wide if self._form is Form.WIDE else table
        safe = [{name: _line(value) for name, value in one.items()} for one in targets]
        return layout(safe, self._console, of_teams=of_teams)


def _escaped(text: str) -> str:
    """Escape in JSON what is invisible, and what could control a terminal."""
    return "".join(sign if sign.isprintable() or sign == "\n" else json.dumps(sign)[1:-1] for sign in text)


def _line(value: Any) -> Any:
    """Return a text on one line, safe for a terminal: other programs may write the status too."""
    return "".join(map(_shown, value)) if isinstance(value, str) else value


def _shown(sign: str) -> str:
    if sign.isprintable() or sign in JOINERS:
        return sign
    if sign.isspace():
        return " "
    return "" if sign in UNSEEN else json.dumps(sign)[1:-1]


def _report_head(report: Document) -> Text:
    return _head(report, report["phase"], COLOURS.get(report["phase"], ""))


def _head(document: Document, words: str, style: str = "") -> Text:
    head = Text.assemble(
        (_line(f"{document['namespace']}/{document['team']}"), "bold"), "  ", (_line(words), style)
    )
    if document.get("reason"):
        head.append(f"  {_line(document['reason'])}", "dim")
    return head


def _preview(preview: Document) -> list[Text]:
    parts = [_head(preview, f"as {preview['phase']}")]
    for target in preview["targets"]:
        would = target["would"]
        line = Text.assemble(
            (_line(target["name"]), "bold"),
            f"  {_line(target['type'])}  ",
            (_line(would), COLOURS.get(would, "")),
        )
        for said in ("reason", "message"):
            if target.get(said):
                line.append(f"  {_line(target[said])}")
        parts += [Text(), line]
        if request := target.get("request"):
            parts += [Text(f"  {_line(text)}".rstrip()) for text in _request(request)]
    return parts


def _request(request: Document) -> Iterator[str]:
    """Yield the lines of a request: its head, and the readable parts of its body."""
    headers, body = request["headers"], request["body"]
    yield f"{request['method']} {request['url']}"
    packed = mails.is_mime(headers)
    shown = mails.headers_shown(headers) if packed else headers
    yield from (f"{name}: {value}" for name, value in shown.items())
    for kind, text in mails.parts(headers, body) if packed else [("", body)]:
        yield ""
        yield from _pretty(text) if kind in {"", "application/json"} else text.splitlines()


def _pretty(body: str) -> list[str]:
    try:
        return json.dumps(json.loads(body), indent=2, ensure_ascii=False).splitlines()
    except ValueError:
        return body.splitlines()
