"""Checks text drawings: each line that leaves a box arrives at one."""

import re
from collections.abc import Iterator

from tests.docs.blocks import Block

UP, DOWN, LEFT, RIGHT = (-1, 0), (1, 0), (0, -1), (0, 1)
ARMS = {
    "│": (UP, DOWN), "┌": (DOWN, RIGHT), "┐": (DOWN, LEFT), "└": (UP, RIGHT), "┘": (UP, LEFT),
    "├": (UP, DOWN, RIGHT), "┤": (UP, DOWN, LEFT), "┬": (DOWN, LEFT, RIGHT), "┴": (UP, LEFT, RIGHT),
    "┼": (UP, DOWN, LEFT, RIGHT), "▲": (DOWN,), "▼": (UP,), "▶": (LEFT,), "◀": (RIGHT,),
}  # fmt: skip
"""The directions in which a character's lines lead."""
WIDEST = 120  # columns


def drawn(block: Block) -> bool:
    """Whether a block is a drawing: it has corners or arrows."""
    return block.language == "text" and bool(set(ARMS) - {"│"} & set(block.text))


def faults(block: Block) -> Iterator[str]:
    """Report where a line of a drawing ends in nothing."""
    rows = block.text.splitlines()
    for row, line in enumerate(rows):
        if "\t" in line or len(line) > WIDEST:
            yield f"{block.at(row)}: a drawing has no tabs, and {WIDEST} columns at most"
        for column, sign in enumerate(line):
            for down, right in ARMS.get(sign, ()):
                there = _something(rows, row + down, column + right) or _between(sign, line, column)
                beyond = sign == "│" and not 0 <= row + down < len(rows)
                if not there and not beyond:
                    yield f"{block.at(row)}: {sign} in column {column + 1} leads to nothing"


def _something(rows: list[str], row: int, column: int) -> bool:
    return 0 <= row < len(rows) and 0 <= column < len(rows[row]) and rows[row][column] != " "


def _between(sign: str, line: str, column: int) -> bool:
    """Whether an arrow stands between two words, as in `this ▶ that`."""
    return sign in "▶◀" and bool(re.search(r"\S $", line[:column]) and re.match(r" \S", line[column + 1 :]))
