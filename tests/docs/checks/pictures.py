"""Checks text drawings: each line that leaves a box arrives at one."""

import re

from tests.docs.blocks import Block
from tests.docs.checks import Check, Faults, Tools
from tests.docs.checks.outputs import OUTPUTS, faults_of_output

UP, DOWN, LEFT, RIGHT = (-1, 0), (1, 0), (0, -1), (0, 1)
ARMS = {
    "│": (UP, DOWN), "┌": (DOWN, RIGHT), "┐": (DOWN, LEFT), "└": (UP, RIGHT), "┘": (UP, LEFT),
    "├": (UP, DOWN, RIGHT), "┤": (UP, DOWN, LEFT), "┬": (DOWN, LEFT, RIGHT), "┴": (UP, LEFT, RIGHT),
    "┼": (UP, DOWN, LEFT, RIGHT), "▲": (DOWN,), "▼": (UP,), "▶": (LEFT,), "◀": (RIGHT,),
}  # fmt: skip
"""Where the lines of a sign lead to."""
TURNS = set("┌┐└┘├┤┬┴┼▲▼▶◀")
WIDEST = 120  # columns


def drawn(block: Block) -> bool:
    """Whether a block is a drawing: its lines have corners or arrows."""
    return block.language == "text" and block.id not in OUTPUTS and bool(TURNS & set(block.text))


def printed(block: Block) -> bool:
    """Whether a block is the output of a program."""
    return block.language == "text" and not drawn(block)


def faults(block: Block, tools: Tools) -> Faults:
    """Report where a line of a drawing ends without a box."""
    rows = block.text.splitlines()
    for row, line in enumerate(rows):
        if "\t" in line or len(line) > WIDEST:
            yield f"{block.at(row)}: a drawing has no tabs, and {WIDEST} columns at most"
        for column, sign in enumerate(line):
            for down, right in ARMS.get(sign, ()):
                there = _something(rows, row + down, column + right) or _between(sign, line, column)
                if not there and not _edge(sign, row + down, rows):
                    yield f"{block.at(row)}: {sign} in column {column + 1} leads to nothing"


def _something(rows: list[str], row: int, column: int) -> bool:
    return 0 <= row < len(rows) and 0 <= column < len(rows[row]) and rows[row][column] != " "


def _between(sign: str, line: str, column: int) -> bool:
    """Whether an arrow is between two words, as in `this ▶ that`."""
    return sign in "▶◀" and bool(re.search(r"\S $", line[:column]) and re.match(r" \S", line[column + 1 :]))


def _edge(sign: str, row: int, rows: list[str]) -> bool:
    """Whether a line continues beyond the drawing."""
    return sign == "│" and not 0 <= row < len(rows)


def outputs(block: Block, tools: Tools) -> Faults:
    """Report what is wrong with an output."""
    yield from faults_of_output(block, block.text)


CHECKS = (
    Check("drawing", drawn, faults),
    Check("output", printed, outputs),
)
