"""What the demo shows: its steps, what the receivers got, and what the team's status says in the end."""

import html
import io
import json
import re
import sys
from collections.abc import Iterable
from time import monotonic
from typing import Any

from rich import box
from rich.console import Console, RenderableType
from rich.emoji import Emoji
from rich.json import JSON
from rich.padding import Padding
from rich.rule import Rule
from rich.status import Status
from rich.table import Table
from rich.text import Text

from samples.processes import Program

Document = dict[str, Any]

WIDTH = 100  # columns of a file, and the most that is used of a terminal
TAIL = 10  # lines of a log
TELLING = ("content-type", "user-agent", "webhook-id", "webhook-timestamp", "webhook-signature")
MARKS = {"Delivered": ("✔ ", "green"), "Failed": ("✘ ", "red")}
MRKDWN = re.compile(r"\*(?P<bold>[^*\n]+)\*|`(?P<cyan>[^`\n]+)`")


class Display:
    """Standard output, for a person to read."""

    def __init__(self) -> None:
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(errors="replace")  # the demo does not end for a sign that a terminal lacks
        self._started = monotonic()
        self._console = Console(markup=False, emoji=False, highlight=False)
        self._console.width = min(WIDTH, self._console.width if self._console.is_terminal else WIDTH)

    @property
    def elapsed(self) -> str:
        """The time since the start."""
        return f"{monotonic() - self._started:.1f} s"

    def busy(self) -> Status:
        """Show, while the context lasts and where there is a terminal, that something is going on."""
        return self._console.status("")

    def title(self, text: str) -> None:
        """Say what this is."""
        self._console.print(Text(text, "bold"), end="\n\n")

    def step(self, what: str, detail: str = "") -> None:
        """Say what has just happened, and when."""
        line = Table.grid(padding=(0, 1))
        line.add_column(width=6, justify="right")
        line.add_column()
        line.add_column(overflow="fold")
        line.add_row(
            Text(self.elapsed, "dim"), Text("✔", "green"), Text.assemble(f"{what}  ", (detail, "dim"))
        )
        self._console.print(line)

    def webhook(self, receipts: Iterable[Document]) -> None:
        """Show what the webhook received, as it came."""
        self._heading("What the webhook received")
        for receipt in receipts:
            self._body(Text(f"{receipt['method']} {receipt['path']}", "bold"), gap=0)
            headers = [(name, receipt["headers"].get(name)) for name in TELLING]
            self._body(Text("\n").join(Text.assemble((f"{name}: ", "cyan"), value) for name, value in headers if value))
            self._body(JSON(receipt["body"]))

    def slack(self, receipts: Iterable[Document]) -> None:
        """Show what Slack received, as its readers see it."""
        self._heading("What Slack received")
        for receipt in receipts:
            for block in json.loads(receipt["body"])["blocks"]:
                self._body(_block(block))

    def ledger(self, team: Document) -> None:
        """Show what the team's status says of its delivery."""
        self._heading("What status.delivery[] of the team says")
        table = Table(box=box.SIMPLE_HEAD, header_style="", pad_edge=False, padding=(0, 2, 1, 0))
        table.add_column(_pair("Target", "type"), no_wrap=True)
        table.add_column(_pair("  Phase", "  reason"), no_wrap=True)
        table.add_column(_pair("HTTP"), justify="right")
        table.add_column(_pair("Attempts"), justify="right")
        table.add_column(_pair("Where", "message"), overflow="fold")
        for entry in team["status"]["delivery"]:
            mark, colour = MARKS.get(entry["phase"], ("  ", "default"))
            table.add_row(
                _pair(entry["name"], entry["type"]),
                _pair(mark + entry["phase"], f"  {entry['reason']}", colour),
                str(entry.get("httpStatus", "–")),
                str(entry["attempts"]),
                _pair(entry["target"], entry["message"], "default"),
            )
        self._body(table, gap=0)

    def closing(self, sentence: str) -> None:
        """Say that all is well."""
        self._console.print(Text(f"{sentence}  ({self.elapsed})", "bold green"))

    def trouble(self, sentences: Iterable[str], programs: Iterable[Program]) -> None:
        """Say what went wrong, and show the ends of the logs."""
        for program in programs:
            self._heading(f"The end of what “{program.name}” logged")
            # Nothing is folded: a line of JSON stays one.
            self._console.print("\n".join(program.lines[-TAIL:]) or "nothing", style="dim", soft_wrap=True)
        self._console.print()
        for sentence in sentences:
            self._console.print(Text.assemble(("✘ ", "red"), (sentence, "bold red")))
        self._console.print(Text(f"The demo has failed after {self.elapsed}.", "red"))

    def _heading(self, text: str) -> None:
        self._console.print()
        self._console.print(Rule(Text(text, "bold"), align="left", style="dim"), end="\n\n")

    def _body(self, what: RenderableType, gap: int = 1) -> None:
        self._console.print(Padding(what, (0, 2, gap, 2)))


def _pair(first: str, second: str = "", style: str = "bold") -> Text:
    """Put two things into one cell, the second below the first."""
    return Text.assemble((first, style), f"\n{second}" if not second else (f"\n{second}", "dim"))


def _block(block: Document) -> RenderableType:
    """Render a block of Slack's Block Kit."""
    match block:
        case {"type": "header", "text": {"text": str(text)}}:
            return Text(Emoji.replace(text), "bold")
        case {"fields": list(fields)}:
            grid = Table.grid(padding=(0, 6, 1, 0))
            for left, right in zip_longest(fields[::2], fields[1::2]):
                grid.add_row(_mrkdwn(left), _mrkdwn(right) if right else "")
            return grid
        case {"type": "context", "elements": list(elements)}:
            return Text(" ").join(_mrkdwn(element) for element in elements)
        case {"text": dict(text)}:
            return _mrkdwn(text)
    return JSON.from_data(block)


def _mrkdwn(element: Document) -> Text:
    """Render Slack's mark-up: *bold*, `code`, and three escapes."""
    text, end = Text(), 0
    for match in MRKDWN.finditer(element["text"]):
        text.append(html.unescape(element["text"][end : match.start()]))
        text.append(html.unescape(match[match.lastgroup or 0]), style=match.lastgroup)
        end = match.end()
    return text.append(html.unescape(element["text"][end:]))
