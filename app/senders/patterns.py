"""Patterns for paths: which files an `artifactPath` selects. Pure, and linear in the path.

    *.md                  in any folder: a pattern without a leading slash is looked for at any depth
    data/part-?.csv       `*` and `?` stand for as many characters, or for one, but for no slash
    /workspace/[a-c]*/x   `[...]` for one character of a set, `[!...]` for one that is not in it
    reports/**/final.md   `**` for any depth, none included
    reports/              the folder: all that is in it; a path without wildcards needs no slash for that

A backtracking matcher can be given a pattern that takes forever. Here all
ways are followed at once, as the bits of one number that each character of the path shifts (Baeza-Yates and
Gonnet, "A New Approach to Text Searching", 1992).
"""

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import accumulate, takewhile
from operator import xor

from app.domain.bounds import PATTERN

WILDCARD = re.compile(r"[*?\[]")

_SLASH, _LAST = ord("/"), 0x10FFFF  # the latter is the last character that there is

Ranges = list[tuple[int, int]]
"""Characters, by the first and the last code point of each range."""


@dataclass(frozen=True, slots=True)
class _Stage:
    """One character of these ranges, or, repeated, as many as there are."""

    ranges: Ranges
    repeated: bool = False
    literal: str = ""  # the one character, where there is but one


_ONE = _Stage([(0, _SLASH - 1), (_SLASH + 1, _LAST)])
_MANY = _Stage(_ONE.ranges, repeated=True)
_FOLDERS = _Stage([(0, _LAST)], repeated=True)  # whole ones: it is left after a slash alone


class Pattern:
    """A pattern, read once to be held against many paths."""

    def __init__(self, text: str) -> None:
        """Read a pattern.

        Raises:
            ValueError: it is longer than one may be.
        """
        parts = _parts(PATTERN.check(text))
        is_folder = text.endswith("/") or not WILDCARD.search(text)
        self._absolute = text.startswith("/")
        anywhere = [] if self._absolute else ["**"]
        steps = list(_steps([*anywhere, *parts, *(["**"] if is_folder else [])]))
        # Most paths differ from most patterns at an end of theirs, which is seen at once.
        self._begins, self._ends = _literal(steps), _literal(reversed(steps))[::-1]
        self._points, self._masks = _table(steps)
        self._repeated = _bits(step.repeated for step in steps)
        self._many = _bits(step is _MANY for step in steps)
        self._folders = _bits(step is _FOLDERS for step in steps)
        self._whole = 1 << len(steps)

    def picks(self, path: str) -> tuple[bool, int]:
        """Say whether it picks a path, and how many steps it took to find out, one at least."""
        if self._absolute and not path.startswith("/"):
            return False, 1
        text = "".join(f"{part}/" for part in _parts(path))
        if not (text.startswith(self._begins) and text.endswith(self._ends)):
            return False, 1
        # A bit for each step up to which the text can be what the pattern says.
        ways = self._with_skips(0, 1)
        for character in text:
            code = ord(character)
            fit = ways & self._masks[bisect_right(self._points, code) - 1]
            stay = fit & self._repeated
            onward = fit ^ stay
            if code == _SLASH:
                onward |= stay & self._folders
            ways = self._with_skips(stay, onward << 1)
            if not ways:
                break
        return bool(ways & self._whole), len(text) + 1

    def _with_skips(self, stayed: int, come: int) -> int:
        """Pass over what need not be there: folders, where none of them has begun, and characters."""
        ways = stayed | come | (come & self._folders) << 1
        return ways | (ways & self._many) << 1


def _parts(path: str) -> list[str]:
    return [part for part in path.split("/") if part not in {"", "."}]


def _steps(parts: list[str]) -> Iterator[_Stage]:
    """Yield the steps of each part, a slash after it, and none of two that mean the same as one."""
    last = None
    for part in parts:
        if part == "**":
            if last is not _FOLDERS:
                yield (last := _FOLDERS)
            continue
        for step in (*_within(part), _character("/")):
            if not (step is _MANY and last is _MANY):
                yield step
            last = step


def _within(part: str) -> Iterator[_Stage]:
    position, sets_end = 0, True
    while position < len(part):
        character = part[position]
        position += 1
        end = -1
        if character == "[" and sets_end:
            # A bracket that stands first is one of the set.
            end = part.find("]", position + (2 if part.startswith("!", position) else 1))
            sets_end = end >= 0
        if end >= 0:
            yield _set(part[position:end])
            position = end + 1
        elif character == "*":
            yield _MANY
        elif character == "?":
            yield _ONE
        else:
            yield _character(character)


def _character(character: str) -> _Stage:
    return _Stage([(ord(character), ord(character))], literal=character)


def _set(text: str) -> _Stage:
    wanted = text.removeprefix("!")
    ranges: Ranges = []
    position = 0
    while position < len(wanted):
        first = last = ord(wanted[position])
        if wanted.startswith("-", position + 1) and position + 2 < len(wanted):
            last = ord(wanted[position + 2])
            position += 2
        position += 1
        if first <= last:
            ranges.append((first, last))
    merged = _merged(ranges)
    return _Stage(_without_slash(merged if wanted == text else _others(merged)))


def _merged(ranges: Ranges) -> Ranges:
    merged: Ranges = []
    for first, last in sorted(ranges):
        if merged and first <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(last, merged[-1][1]))
        else:
            merged.append((first, last))
    return merged


def _others(ranges: Ranges) -> Ranges:
    """Return all characters but those of ranges that are in order."""
    starts = [0, *(last + 1 for _, last in ranges)]
    ends = [*(first - 1 for first, _ in ranges), _LAST]
    return [(first, last) for first, last in zip(starts, ends, strict=True) if first <= last]


def _without_slash(ranges: Ranges) -> Ranges:
    return [
        (first, last)
        for low, high in ranges
        for first, last in ((low, min(high, _SLASH - 1)), (max(low, _SLASH + 1), high))
        if first <= last
    ]


def _literal(steps: Iterable[_Stage]) -> str:
    """Return the characters that the steps begin with, for certain."""
    return "".join(step.literal for step in takewhile(lambda step: step.literal, steps))


def _bits(which: Iterable[bool]) -> int:
    return sum(1 << position for position, is_so in enumerate(which) if is_so)


def _table(steps: list[_Stage]) -> tuple[list[int], list[int]]:
    """Return the code points from which on other steps take a character, and the bits of those that do."""
    changes = {0: 0}
    for position, step in enumerate(steps):
        for first, last in step.ranges:
            for point in (first, last + 1):
                changes[point] = changes.get(point, 0) ^ 1 << position
    points = sorted(changes)
    return points, list(accumulate((changes[point] for point in points), xor))
