"""Parses shell commands as far as documents use them: words, quotes, pipes, here-documents, `$(…)`."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

OPERATOR = re.compile(r"\|\||&&|;;|\|&|[;|&()]")
REDIRECT = re.compile(r"\d*(?:<<<|<<-?|>>|>&|&>|<&|>|<)")
ASSIGNMENT = re.compile(r"([A-Za-z_]\w*)=(.*)", re.DOTALL)
NO_COMMANDS = {"done", "fi", "esac", "}", "for", "case", "select", "function"}
BEFORE_COMMANDS = {"if", "then", "else", "elif", "while", "until", "do", "!", "{", "time", "exec"}


class Unreadable(Exception):
    """The text does not consist of commands."""


@dataclass
class Word:
    """One word as a program gets it; `$NAME` and `$(…)` are not expanded."""

    text: str
    inner: list[str] = field(default_factory=list)  # the commands in its $(…)


@dataclass
class Command:
    """One program, with its arguments."""

    line: int  # in the block, from 0
    words: list[str] = field(default_factory=list)
    env: dict[str, str] = field(default_factory=dict)
    redirects: list[tuple[str, str]] = field(default_factory=list)
    here: str | None = None  # the here-document's text
    here_line: int = 0


class _Reader:
    """Reads a text from left to right."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.awaited: list[tuple[Command, str, bool]] = []  # each with the word that ends its here-document

    @property
    def line(self) -> int:
        return self.text.count("\n", 0, self.at)

    def commands(self) -> Iterator[Command]:
        current = Command(self.line)
        while self.at < len(self.text):
            rest = self.text[self.at :]
            if rest.startswith("\\\n"):
                self.at += 2
            elif rest[0] == "\n":
                self.at += 1
                self._here_documents()
                yield current
                current = Command(self.line)
            elif rest[0].isspace():
                self.at += 1
            elif rest[0] == "#":
                self.at += len(rest.partition("\n")[0])
            elif match := REDIRECT.match(rest):
                self.at += match.end()
                self._redirect(current, match[0])
            elif match := OPERATOR.match(rest):
                self.at += match.end()
                yield current
                current = Command(self.line)
            else:
                if not (current.words or current.env):
                    current.line = self.line
                yield from self._word_of(current)
        self._here_documents()
        yield current

    def _word_of(self, current: Command) -> Iterator[Command]:
        line = self.line
        word = self._word()
        for inner in word.inner:
            for command in _Reader(inner).commands():
                command.line += line
                yield command
        assigned = ASSIGNMENT.fullmatch(word.text)
        if assigned and not current.words:
            current.env[assigned[1]] = assigned[2]
        elif current.words or word.text not in BEFORE_COMMANDS:
            current.words.append(word.text)

    def _redirect(self, current: Command, sign: str) -> None:
        while self.text[self.at : self.at + 1] in {" ", "\t"}:
            self.at += 1
        literal = self.text[self.at : self.at + 1] in {"'", '"'}
        target = self._word().text
        if sign.endswith(("<<", "<<-")):
            self.awaited.append((current, target, literal))
        else:
            current.redirects.append((sign, target))

    def _here_documents(self) -> None:
        for command, end, _ in self.awaited:
            lines = []
            command.here_line = self.line
            while True:
                if self.at >= len(self.text):
                    raise Unreadable(f"the here-document does not end with {end}")
                line, _, _ = self.text[self.at :].partition("\n")
                self.at += len(line) + 1
                if line.strip() == end:
                    break
                lines.append(line + "\n")
            command.here = "".join(lines)
        self.awaited = []

    def _word(self) -> Word:
        word = Word("")
        while self.at < len(self.text):
            char = self.text[self.at]
            if self.text.startswith("$(", self.at):
                word.text += self._substitution(word)
            elif char == "'":
                word.text += self._until("'")
            elif char == '"':
                self._double_quoted(word)
            elif char == "\\":
                word.text += self.text[self.at + 1 : self.at + 2].replace("\n", "")
                self.at += 2
            elif char.isspace() or OPERATOR.match(char) or char in "<>":
                break
            else:
                word.text += char
                self.at += 1
        return word

    def _until(self, quote: str) -> str:
        end = self.text.find(quote, self.at + 1)
        if end < 0:
            raise Unreadable(f"a {quote} is not closed")
        text = self.text[self.at + 1 : end]
        self.at = end + 1
        return text

    def _double_quoted(self, word: Word) -> None:
        self.at += 1
        while True:
            char = self.text[self.at : self.at + 1]
            if not char:
                raise Unreadable('a " is not closed')
            if char == '"':
                self.at += 1
                return
            if self.text.startswith("$(", self.at):
                word.text += self._substitution(word)
            elif char == "\\" and self.text[self.at + 1 : self.at + 2] in {'"', "\\", "$", "`", "\n"}:
                word.text += self.text[self.at + 1].replace("\n", "")
                self.at += 2
            else:
                word.text += char
                self.at += 1

    def _substitution(self, word: Word) -> str:
        depth, begin, quote = 0, self.at + 2, ""
        for end in range(self.at + 1, len(self.text)):
            char = self.text[end]
            if quote:
                quote = "" if char == quote else quote
            elif char in {"'", '"'}:
                quote = char
            elif char in "()":
                depth += 1 if char == "(" else -1
                if not depth:
                    word.inner.append(self.text[begin:end])
                    self.at = end + 1
                    return self.text[begin - 2 : end + 1]
        raise Unreadable("a $( is not closed")


def commands(text: str) -> list[Command]:
    """Parse commands.

    Raises:
        Unreadable: the text does not consist of commands.
    """
    found = list(_Reader(text).commands())
    return [
        one
        for one in found
        if (one.words or one.env or one.redirects) and not (one.words and one.words[0] in NO_COMMANDS)
    ]


def options(arguments: Iterable[str], *names: str) -> list[str]:
    """Return the values of options, written as `--name value` or `--name=value`."""
    found = []
    given = iter(arguments)
    for argument in given:
        name, sign, value = argument.partition("=")
        if name in names:
            found.append(value if sign else next(given, ""))
        elif len(argument) > 2 and argument[:2] in names and argument[1] != "-":
            found.append(argument[2:])
    return found


@dataclass(frozen=True)
class Typed:
    """What a user types in a session, and its output."""

    line: int  # in the block, from 0
    text: str
    prints: str


def session(text: str) -> list[Typed]:
    """Split a block: with lines that start with `$ `, into commands and outputs; otherwise all are commands.

    Raises:
        Unreadable: it does not begin with a command.
    """
    lines = text.splitlines(keepends=True)
    if not any(line.startswith("$ ") for line in lines):
        return [Typed(0, text, "")]
    found: list[Typed] = []
    at = 0
    if not lines[0].startswith("$ "):
        raise Unreadable("in a session the first line is a command, after `$ `")
    while at < len(lines):
        begin, typed = at, lines[at][2:]
        at += 1
        while at < len(lines) and not _whole(typed):
            typed += lines[at].removeprefix("> ")
            at += 1
        printed = ""
        while at < len(lines) and not lines[at].startswith("$ "):
            printed += lines[at]
            at += 1
        found.append(Typed(begin, typed, printed))
    return found


def _whole(typed: str) -> bool:
    if typed.endswith("\\\n"):
        return False
    try:
        commands(typed)
    except Unreadable:
        return False
    return True
