"""The demo's output: its steps, what the receivers got, and the team's final status."""

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

WIDTH = 100  # columns of a file, and the maximum on a terminal
TAIL = 15  # lines of a log
TELLING = ("content-type", "user-agent", "webhook-id", "webhook-timestamp", "webhook-signature")
MARKS = {"Delivered": ("✔", "green"), "Failed": ("✘", "red")}
MRKDWN = re.compile(r"\*(?P<bold>[^*\n]+)\*|`(?P<cyan>[^`\n]+)`")


class Display:
    """Standard output, for a person to read."""

    def __init__(self) -> None:
        if isinstance(sys.stdout, io.TextIOWrapper):
            # a character that the terminal lacks must not end the demo
            sys.stdout.reconfigure(errors="replace")
        self._started = monotonic()
        self._console = Console(markup=False, emoji=False, highlight=False)
        self._console.width = min(WIDTH, self._console.width if self._console.is_terminal else WIDTH)

    @property
    def elapsed(self) -> str:
        """The time since the start."""
        return f"{monotonic() - self._started:.1f} s"

    def busy(self) -> Status:
        """Show on a terminal, while the context lasts, that work is in progress."""
        return self._console.status("")

    def title(self, text: str) -> None:
        """Print the title."""
        self._print(Text(text, "bold"))
        self._print()

    def step(self, what: str, detail: str = "") -> None:
        """Say what has just happened, and when."""
        line = Table.grid(padding=(0, 1))
        line.add_column(width=6, justify="right")
        line.add_column()
        line.add_column(overflow="fold")
        words = Text.assemble(what, "  ", (detail, "dim"))
        line.add_row(Text(self.elapsed, "dim"), Text("✔", "green"), words)
        self._print(line)

    def webhook(self, receipts: Iterable[Document]) -> None:
        """Show what the webhook received, unchanged."""
        parts = [part for receipt in receipts for part in _request(receipt)]
        self._section("What the webhook received", *parts)

    def slack(self, receipts: Iterable[Document]) -> None:
        """Show what Slack received, as its readers see it."""
        messages = [json.loads(receipt["body"]) for receipt in receipts]
        parts = [_block(block) for message in messages for block in message["blocks"]]
        self._section("What Slack received", *parts)

    def ledger(self, team: Document) -> None:
        """Show the team's `status.delivery`."""
        table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0), leading=1)
        table.add_column(_pair("Target", "type"))
        table.add_column()
        table.add_column(_pair("Phase", "reason"))
        table.add_column(_pair("HTTP"), justify="right")
        table.add_column(_pair("Try"), justify="right")
        table.add_column(_pair("Where", "message"), overflow="fold")
        for entry in team["status"]["delivery"]:
            mark, colour = MARKS.get(entry["phase"], ("", ""))
            table.add_row(
                _pair(entry["name"], entry["type"]),
                Text(mark, colour),
                _pair(entry["phase"], entry["reason"], colour),
                str(entry.get("httpStatus", "-")),
                str(entry.get("attempts", "-")),
                _pair(entry.get("target", "-"), entry["message"], ""),
            )
        name, phase = team["metadata"]["name"], team["status"]["phase"]
        self._section(f"What status.delivery[] of {name} says; the team's phase is {phase}", table)

    def closing(self, sentence: str) -> None:
        """Print how it ended."""
        self._print()
        self._print(Text(sentence, "bold"))

    def trouble(self, sentences: Iterable[str], programs: Iterable[Program]) -> None:
        """Show the ends of the logs, and below them, where people look first, what went wrong."""
        for program in programs:
            if program.lines:
                self._heading(f"The end of what “{program.name}” logged")
                # A line of JSON stays one line.
                self._console.print("\n".join(program.lines[-TAIL:]), style="dim", soft_wrap=True)
        self._print()
        for sentence in sentences:
            self._console.print(Text(f"✘ {sentence}", "bold red"), soft_wrap=True)

    def _section(self, title: str, *parts: RenderableType) -> None:
        self._heading(title)
        for part in parts or ("(nothing)",):
            self._print()
            self._print(Padding(part, (0, 2)))

    def _heading(self, title: str) -> None:
        self._print()
        self._print(Rule(Text(title, "bold"), align="left", style="dim"))

    def _print(self, what: RenderableType = "") -> None:
        if self._console.is_terminal:
            self._console.print(what)
            return
        with self._console.capture() as plain:
            self._console.print(what)
        # A file needs no spaces up to its margin.
        self._console.print("\n".join(line.rstrip() for line in plain.get().splitlines()), soft_wrap=True)


def _request(receipt: Document) -> tuple[RenderableType, RenderableType]:
    """Render a request: its head and its body."""
    head = Text.assemble((f"{receipt['method']} {receipt['path']}", "bold"))
    for name in TELLING:
        if value := receipt["headers"].get(name):
            head.append(f"\n{name}: ", "dim").append(value)
    return head, JSON(receipt["body"])


def _pair(first: str, second: str = "", style: str = "bold") -> Text:
    """Put two things into one cell, one below the other."""
    return Text.assemble((first, style), (f"\n{second}", "dim"))


def _block(block: Document) -> RenderableType:
    """Render a block of Slack's Block Kit."""
    match block:
        case {"type": "header", "text": {"text": text}}:
            return Text(Emoji.replace(text), "bold")
        case {"fields": fields}:
            grid = Table.grid(padding=(0, 4, 0, 0))
            for left in range(0, len(fields), 2):
                pair = (_mrkdwn(field) for field in fields[left : left + 2])
                grid.add_row(*(line for field in pair for line in field.split("\n")))
            return grid
        case {"elements": elements}:
            return Text(" ").join(_mrkdwn(element, "dim") for element in elements)
    return _mrkdwn(block["text"])


def _mrkdwn(element: Document, style: str = "") -> Text:
    """Render Slack's markup: *bold*, `code`, and three escapes."""
    source, text, end = element["text"], Text(style=style), 0
    for match in MRKDWN.finditer(source):
        text.append(html.unescape(source[end : match.start()]))
        text.append(html.unescape(match[match.lastgroup or 0]), match.lastgroup)
        end = match.end()
    return text.append(html.unescape(source[end:]))
