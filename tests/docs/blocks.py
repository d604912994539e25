"""The code in the documents: every block and every code span, with their places."""

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Block:
    """A block of code, or the content of a code span."""

    document: str  # from the root of the repository
    line: int  # of the first line of its text
    language: str
    title: str  # the heading above it
    text: str

    def at(self, offset: int = 0) -> str:
        """Return the place of one of its lines."""
        return f"{self.document}:{self.line + offset}"

    @property
    def id(self) -> tuple[str, str]:
        """The key by which an output finds its tests."""
        return self.document, self.title


@dataclass(frozen=True)
class Row:
    """A code span in the first column of a table's row."""

    document: str
    line: int
    heading: str  # the column's heading
    codes: tuple[str, ...]

    def at(self) -> str:
        """Return its place."""
        return f"{self.document}:{self.line}"


def tracked() -> list[str]:
    """Return every file that git tracks, or would track after `git add`; without git, every file."""
    if not (ROOT / ".git").exists():
        names = [str(path.relative_to(ROOT)) for path in ROOT.rglob("*")]
        return sorted(name for name in names if not name.startswith("."))
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listing = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return sorted(name for name in set(listing.split("\0")) if name)


@cache
def files() -> frozenset[str]:
    """Return every file of the repository, and every folder with files."""
    names = [Path(name) for name in tracked() if (ROOT / name).is_file()]
    return frozenset(str(path) for name in names for path in (name, *name.parents))


@cache
def documents() -> dict[str, str]:
    """Return every Markdown document by its name."""
    return {name: (ROOT / name).read_text() for name in sorted(files()) if name.endswith(".md")}


@cache
def blocks() -> tuple[Block, ...]:
    """Return every block of code of every document."""
    return tuple(block for name, text in documents().items() for block in blocks_of(name, text))


@cache
def words() -> tuple[Block, ...]:
    """Return every code span of every document."""
    return tuple(block for name, text in documents().items() for block in words_of(name, text))


def blocks_of(document: str, markdown: str) -> Iterator[Block]:
    """Yield the blocks of code of one document, also those in lists and quotations."""
    for title, token in _titled(markdown):
        if token.type in {"fence", "code_block"} and token.map is not None:
            line = token.map[0] + (2 if token.type == "fence" else 1)
            language = token.info.strip().partition(" ")[0]
            yield Block(document, line, language, title, token.content)


def words_of(document: str, markdown: str) -> Iterator[Block]:
    """Yield the code spans of one document, each with the line on which its paragraph begins."""
    for title, token in _titled(markdown):
        if token.type == "inline" and token.map is not None:
            for child in token.children or ():
                if child.type == "code_inline":
                    yield Block(document, token.map[0] + 1, "", title, child.content)


@cache
def rows() -> tuple[Row, ...]:
    """Return every row of every table."""
    return tuple(row for name, text in documents().items() for row in rows_of(name, text))


def rows_of(document: str, markdown: str) -> Iterator[Row]:
    """Yield the first column of the tables of one document, row by row."""
    heading, first, head = "", False, False
    for _, token in _titled(markdown):
        if token.type in {"thead_open", "thead_close"}:
            head = token.type == "thead_open"
        elif token.type == "tr_open":
            first = True
        elif token.type == "inline" and first and token.map is not None:
            first = False
            if head:
                heading = token.content.strip("` ").lower()
            else:
                codes = [one.content for one in token.children or () if one.type == "code_inline"]
                yield Row(document, token.map[0] + 1, heading, tuple(codes))


def _titled(markdown: str) -> Iterator[tuple[str, Token]]:
    title = ""
    before = ""
    for token in MarkdownIt("commonmark").enable("table").parse(markdown):
        if before == "heading_open":
            title = token.content
        before = token.type
        yield title, token
