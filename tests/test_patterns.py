"""Patterns for paths: what each selects, compared with a matcher that tries all alternatives."""

import re
from fnmatch import translate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.senders.patterns import Pattern
from tests.examples import unhurried

PICKS: list[tuple[str, str, bool]] = [
    ("**", "/workspace/report.md", True),
    ("**/final.md", "/final.md", True),
    ("**/final.md", "/a/b/final.md", True),
    ("/reports/**/final.md", "/reports/final.md", True),
    ("/reports/**/final.md", "/reports/2026/q3/final.md", True),
    ("/reports/**/final.md", "/reports/2026/q3/xfinal.md", False),
    ("/reports/**/final.md", "/old/reports/final.md", False),
    ("reports/**/final.md", "/old/reports/2026/final.md", True),
    ("/reports/**", "/reports/a/b", True),
    ("a**b", "/ab", True),
    ("a**b", "/axxb", True),
    ("a**b", "/ax/xb", False),
    ("output/", "/workspace/output/a/b.md", True),
    ("output/", "/workspace/output", True),
    ("output/", "/workspace/xoutput/a", False),
    ("out*/", "/workspace/output/a/b.md", True),
    ("/out*/", "/workspace/output/a", False),
    ("/workspace/*", "/workspace/a", True),
    ("/workspace/*", "/workspace/a/b", False),
    ("*", "/workspace/a/b", True),
    ("?", "/é", True),
    ("?", "/ab", False),
    ("[!a]", "/b", True),
    ("[!a]", "/a", False),
    ("[]a]", "/]", True),
    ("[a-c]", "/b", True),
    ("[c-a]", "/b", False),
    ("[a-]", "/-", True),
    ("[!-~]x", "/x", False),
    ("[!!]", "/!", False),
    ("[🎉é]", "/🎉", True),
    ("[.-0]a", "/x/a", False),
    ("a//b/./c", "/a/b/c", True),
    ("/a", "a", False),
    ("{a,b}", "/a", False),
    ("~", "/~", True),
]


@pytest.mark.parametrize(("pattern", "path", "picked"), PICKS)
def test_a_pattern_selects_what_the_documentation_says(pattern: str, path: str, picked: bool) -> None:
    assert Pattern(pattern).picks(path)[0] is picked


def picks_slowly(pattern: str, path: str) -> bool:
    """Return the same result by trying all alternatives in turn, with the standard library for each part."""
    if pattern.startswith("/") and not path.startswith("/"):
        return False
    parts, held = ([part for part in text.split("/") if part not in {"", "."}] for text in (pattern, path))
    parts = [*([] if pattern.startswith("/") else ["**"]), *parts]
    if pattern.endswith("/") or not re.search(r"[*?\[]", pattern):
        parts.append("**")

    def fits(part: int, place: int) -> bool:
        if part == len(parts):
            return place == len(held)
        if parts[part] == "**":
            return any(fits(part + 1, later) for later in range(place, len(held) + 1))
        here = place < len(held) and re.match(translate(parts[part]), held[place])
        return bool(here) and fits(part + 1, place + 1)

    return fits(0, 0)


@unhurried
@given(st.text("ab*?[]!-./", max_size=9), st.text("aab/.-[]", max_size=9))
def test_a_pattern_selects_the_same_as_trying_all_alternatives(pattern: str, path: str) -> None:
    found, steps = Pattern(pattern).picks(path)
    assert found is picks_slowly(pattern, path)
    assert 1 <= steps <= len(path) + 2
