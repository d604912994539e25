"""The constants for callers cover every type of problem and every reason, in each language."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from app.domain.errors import Problem
from app.domain.problems import KINDS, PROBLEM_TYPE
from app.domain.reasons import Reason
from tests.clients.generators import ROOT

FILES = {
    "python": "constants.py",
    "typescript": "typescript/src/constants.ts",
    "go": "go/constants.go",
    "java": "java/src/main/java/controller/Constants.java",
    "rust": "rust/src/constants.rs",
}

UNNEEDED = shutil.ignore_patterns("node_modules", "*.pyc")


@pytest.mark.parametrize("language", FILES)
def test_each_language_has_a_constant_for_each_word_of_the_api_and_no_other(language: str) -> None:
    text = (ROOT / "clients" / FILES[language]).read_text()
    words = re.findall(r'^[^/"]*"([\w:-]+)"', text, re.MULTILINE)
    kinds = [kind.removeprefix(PROBLEM_TYPE) if language == "typescript" else kind for kind in KINDS]
    assert words == [*kinds, *Reason]
    assert all(reason.meaning in text for reason in Reason)
    assert all(kind.title in text for kind in Problem.__subclasses__())


def check(root: Path) -> tuple[int, str]:
    ran = subprocess.run(
        [sys.executable, ".ci/constants", "--check"],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
        check=False,
        capture_output=True,
        text=True,
    )
    return ran.returncode, ran.stdout


def test_a_missing_constant_fails_the_check(tmp_path: Path) -> None:
    for name in ("app", "clients"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=UNNEEDED)
    (tmp_path / ".ci").mkdir()
    shutil.copy(ROOT / ".ci/constants", tmp_path / ".ci")
    assert check(tmp_path) == (0, "")
    go = tmp_path / "clients/go/constants.go"
    go.write_text(go.read_text().replace("ReasonTimeout", "ReasonSlow"))
    assert check(tmp_path) == (
        1,
        "clients/go/constants.go is not what the code says; to write it again: make reference\n",
    )
