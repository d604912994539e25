"""The site, built as `make docs` builds it, and the content of its pages."""

import subprocess
import sys
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tests.harness.once import once

ROOT = Path(__file__).parents[2]

LOADED = {
    # Elements whose targets a browser fetches by itself.
    ("audio", "src"),
    ("embed", "src"),
    ("iframe", "src"),
    ("img", "src"),
    ("img", "srcset"),
    ("link", "href"),
    ("object", "data"),
    ("script", "src"),
    ("source", "src"),
    ("source", "srcset"),
    ("video", "src"),
}


def build(out: Path, source: Path = ROOT, builder: str = "html") -> subprocess.CompletedProcess[str]:
    """Build the whole site, and return the result; the builder `dummy` only checks it."""
    sphinx = Path(sys.executable).parent / "sphinx-build"
    command = [str(sphinx), "-W", "--keep-going", "-q", "-E", "-b", builder, "-c", "docs", ".", str(out)]
    return subprocess.run(command, cwd=source, check=False, capture_output=True, text=True)


def build_once(factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """Build the site once for all workers of this run, and return its folder and the result."""
    return once(factory, "site", lambda folder: (folder, build(folder)))


@dataclass
class Page(HTMLParser):
    """The links of one page, what it loads, its anchors, its elements and its title."""

    path: Path
    links: set[str] = field(default_factory=set)
    loads: set[str] = field(default_factory=set)
    ids: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    tags: Counter[str] = field(default_factory=Counter)
    title: str = ""

    def __post_init__(self) -> None:
        super().__init__()
        self.feed(self.path.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        for name, value in attrs:
            if name == "id" and value:
                self.ids[value] += 1
            elif (tag, name) in LOADED:
                self.loads.add(value or "")
            elif (tag, name) == ("a", "href"):
                self.links.add(value or "")

    def handle_data(self, data: str) -> None:
        if self.lasttag == "title":
            self.title = self.title or data.strip()


def pages(out: Path) -> list[Page]:
    """Read all pages."""
    return [Page(path) for path in sorted(out.rglob("*.html")) if "_static" not in path.parts]
