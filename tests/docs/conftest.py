"""The programs that check the documents' code."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.docs.blocks import ROOT
from tests.docs.checks import Tools

INSTALL = {
    "promtool": "install Debian's package prometheus, or its like",
    "gofmt": "install Go",
    "node": "install Node.js",
    "hadolint": "run make setup",
    "tsc": "run make clients",
}


@pytest.fixture
def tools(request: pytest.FixtureRequest) -> Tools:
    """Returns the path of a program; without the program, a test is skipped on a laptop and fails in CI."""
    return Tools(finder(request))


def finder(request: pytest.FixtureRequest) -> Callable[[str], Path]:
    """Return the finder of programs."""

    def find(name: str) -> Path:
        if name in {"kubectl", "helm"}:
            path: Path = request.getfixturevalue("kubectl")
            return path.with_name(name)
        folders = (ROOT / ".venv/bin", ROOT / "clients/typescript/node_modules/.bin", os.environ["PATH"])
        found = shutil.which(name, path=":".join(map(str, folders)))
        if found:
            return Path(found)
        assert os.environ.get("CI") != "true", f"CI requires {name} to check the documents"
        return pytest.skip(f"no {name}: {INSTALL[name]}")

    return find
