"""Tables of targets, laid out without broken words, in 80 columns or in a file."""

import re
from collections.abc import Callable, Iterator, Sequence

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from app.console.client import Document

GAP = 2  # spaces between two columns
INDENT = 4  # spaces before the lines below a row
COLOURS = {"Delivered": "green", "Failed": "red", "PartiallyDelivered": "red", "Send": "green", "Fail": "red"}

_WORD = re.compile(r"(\S+)\s*")

Column = tuple[str, Callable[[Document], str]]


def _field(name: str) -> Callable[[Document], str]:
    return lambda target: str(target.get(name) or "-")


def _message(target: Document) -> str:
    if target.get("note"):
        return str(target["note"])
    message = str(target.get("message") or "-")
    if target.get("phase") == "Pending" and target.get("retryAt") and not target.get("claimedBy"):
        return f"next try at {target['retryAt']}; last attempt: {message}"
    return message


TEAM: Column = ("TEAM", _field("team"))
ROW: tuple[Column, ...] = (
    ("TARGET", _field("name")),
    ("TYPE", _field("type")),
    ("PHASE", _field("phase")),
    ("REASON", _field("reason")),
    ("HTTP", _field("httpStatus")),
    ("TRIES", lambda target: str(target.get("attempts") or 0)),
)
BELOW: tuple[Column, ...] = (("WHERE", _field("target")), ("MESSAGE", _message))
WIDE: tuple[Column, ...] = (
    *ROW,
    ("SINCE", lambda target: str(target.get("timestamp") or target.get("deliveredAt") or "-")),
    ("ID", _field("id")),
    *BELOW,
)


def table(targets: Sequence[Document], console: Console, *, of_teams: bool = False) -> list[Text]:
    """Return one row per target, followed by its destination and its message.

    `of_teams` adds the column `team`, for the targets of many teams.

    If a row does not fit on the console, each target has its fields one below the other instead.
    """
    columns = (TEAM, *ROW) if of_teams else ROW
    rows = _rows(columns, targets)
    if _too_wide(rows, console):
        return _fields((*columns, *BELOW), targets, console)
    head, *lines = rows
    shown = [head]
    for target, line in zip(targets, lines, strict=True):
        below = [cell for _, read in BELOW if (cell := read(target)) != "-"]
        shown += [line, *(part for cell in below for part in indented(Text(cell), INDENT, console))]
    return shown


def wide(targets: Sequence[Document], console: Console, *, of_teams: bool = False) -> list[Text]:
    """Return one row per target with the whole record, as wide as necessary."""
    columns = (TEAM, *WIDE) if of_teams else WIDE
    rows = _rows(columns, targets)
    if console.is_terminal and _too_wide(rows, console):
        return _fields(columns, targets, console)
    return rows


def indented(text: Text, indent: int, console: Console) -> list[Text]:
    """Return a text in indented lines; a word that is too long stays whole."""
    lines = text.divide(_breaks(text.plain, console.width - indent))
    for line in lines:
        line.rstrip()
    return [Text(" " * indent).append_text(line) for line in lines]


def _rows(columns: Sequence[Column], targets: Sequence[Document]) -> list[Text]:
    cells = [[Text(name, "bold") for name, _ in columns]]
    cells += [[_coloured(read(target)) for _, read in columns] for target in targets]
    widths = [max(row[at].cell_len for row in cells) for at in range(len(columns))]
    return [_row(row, widths) for row in cells]


def _row(cells: Sequence[Text], widths: Sequence[int]) -> Text:
    line = Text()
    for cell, width in zip(cells, widths, strict=True):
        line.append_text(cell).append(" " * (width - cell.cell_len + GAP))
    line.rstrip()
    return line


def _fields(columns: Sequence[Column], targets: Sequence[Document], console: Console) -> list[Text]:
    """Return each target as a block: its name, then one field per line."""
    (_, named), *rest = columns
    indent = INDENT + max(cell_len(name) for name, _ in rest) + GAP
    return [line for target in targets for line in _block(target, named, rest, indent, console)]


def _block(
    target: Document,
    named: Callable[[Document], str],
    columns: Sequence[Column],
    indent: int,
    console: Console,
) -> Iterator[Text]:
    yield Text(named(target), "bold")
    for name, read in columns:
        label = Text(" " * INDENT + name).append(" " * (indent - INDENT - cell_len(name)))
        for line in indented(_coloured(read(target)), indent, console):
            yield label.append_text(line[indent:]) if label else line
            label = Text()


def _breaks(text: str, width: int) -> Iterator[int]:
    """Yield where new lines begin, so that only a line with one long word is wider."""
    column = len(text) - len(text.lstrip())
    for match in _WORD.finditer(text):
        if match.start() and column + cell_len(match[1]) > width:
            yield match.start()
            column = 0
        column += cell_len(match[0])


def _too_wide(rows: Sequence[Text], console: Console) -> bool:
    return any(row.cell_len > console.width for row in rows)


def _coloured(cell: str) -> Text:
    return Text(cell, COLOURS.get(cell, ""))
