"""Patterns for paths: which files an `artifactPath` selects. Pure, and linear in the path.

    *.md                  in any folder: a pattern without a leading slash matches at any depth
    data/part-?.csv       `*` matches any characters, `?` matches one; neither matches a slash
    /workspace/[a-c]*/x   `[...]` matches one character of a set, `[!...]` one that is not in it
    reports/**/final.md   `**` matches any number of folders, or none
    reports/              everything in the folder; a path without wildcards needs no slash for that

Some patterns take a backtracking matcher exponential time. This matcher follows all alternatives at once, as
the bits of one number, which each character of the path shifts (Baeza-Yates and Gonnet, "A New Approach to
Text Searching", 1992).
"""

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import accumulate, takewhile
from operator import xor

from app.domain.bounds import PATTERN

WILDCARD = re.compile(r"[*?\[]")

_SLASH, _LAST = ord("/"), 0x10FFFF  # the latter is the largest code point

Ranges = list[tuple[int, int]]
"""Sets of characters: the first and the last code point of each range."""


@dataclass(frozen=True, slots=True)
class _Stage:
    """One character of these ranges; repeated: any number of them."""

    ranges: Ranges
    repeated: bool = False
    literal: str = ""  # the character, if there is only one


_ONE = _Stage([(0, _SLASH - 1), (_SLASH + 1, _LAST)])
_MANY = _Stage(_ONE.ranges, repeated=True)
_FOLDERS = _Stage([(0, _LAST)], repeated=True)  # whole folders: it ends only after a slash


class Pattern:
    """A parsed pattern, to compare with many paths."""

    def __init__(self, text: str) -> None:
        """Parse a pattern.

        Raises:
            ValueError: it is too long.
        """
        parts = _parts(PATTERN.check(text))
        is_folder = text.endswith("/") or not WILDCARD.search(text)
        self._absolute = text.startswith("/")
        anywhere = [] if self._absolute else ["**"]
        steps = list(_steps([*anywhere, *parts, *(["**"] if is_folder else [])]))
        # Most paths already differ from most patterns at their beginning or end, so compare these first.
        self._begins, self._ends = _literal(steps), _literal(reversed(steps))[::-1]
        self._points, self._masks = _table(steps)
        self._repeated = _bits(step.repeated for step in steps)
        self._many = _bits(step is _MANY for step in steps)
        self._folders = _bits(step is _FOLDERS for step in steps)
        self._whole = 1 << len(steps)

    def picks(self, path: str) -> tuple[bool, int]:
        """Return whether it selects a path, and the number of steps to find out (at least one)."""
        if self._absolute and not path.startswith("/"):
            return False, 1
        text = "".join(f"{part}/" for part in _parts(path))
        if not (text.startswith(self._begins) and text.endswith(self._ends)):
            return False, 1
        # One bit per step up to which the path can match the pattern.
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
        """Skip what is optional: folders that have not begun, and characters."""
        ways = stayed | come | (come & self._folders) << 1
        return ways | (ways & self._many) << 1


def _parts(path: str) -> list[str]:
    return [part for part in path.split("/") if part not in {"", "."}]


def _steps(parts: list[str]) -> Iterator[_Stage]:
    """Yield the steps of each part and a slash after it; merge two steps that mean the same."""
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
            # A bracket at the beginning belongs to the set.
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
    """Return all characters outside ordered ranges."""
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
    """Return the characters with which the steps certainly begin."""
    return "".join(step.literal for step in takewhile(lambda step: step.literal, steps))


def _bits(which: Iterable[bool]) -> int:
    return sum(1 << position for position, is_so in enumerate(which) if is_so)


def _table(steps: list[_Stage]) -> tuple[list[int], list[int]]:
    """Return the code points at which the matching steps change, and the bits of the matching steps."""
    changes = {0: 0}
    for position, step in enumerate(steps):
        for first, last in step.ranges:
            for point in (first, last + 1):
                changes[point] = changes.get(point, 0) ^ 1 << position
    points = sorted(changes)
    return points, list(accumulate((changes[point] for point in points), xor))
