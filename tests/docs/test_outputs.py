"""The outputs in README.md and docs/reference/commands.md match the programs' output."""

import re
from pathlib import Path

import pytest

from tests.console.running import run
from tests.docs.blocks import Block, blocks
from tests.test_demo import demo, output

MANIFEST = """\
apiVersion: kagents.dev/v1alpha1
kind: AgentTeam
metadata:
  name: report
  namespace: research
spec:
  lead: {}
  lifecycle:
    onComplete: delivr
    delivery:
      - name: slack
        type: slack
        credentialsSecret: slack-credentials
        message: "{tema} has finished"
"""
ONCE = (
    # What differs in each run, and its replacement.
    (r"127\.0\.0\.1:\d+", "127.0.0.1:PORT"),
    (r"msg_[0-9a-f]{32}", "msg_ID"),
    (r"42 min \d+ s", "42 min N s"),
    (r"Done in [\d.]+ s", "Done in N s"),
)


def shown(document: str, title: str, language: str) -> Block:
    [found] = [block for block in blocks() if block.id == (document, title) and block.language == language]
    return found


def lasting(text: str) -> str:
    for pattern, word in ONCE:
        text = re.sub(pattern, word, text, flags=re.MULTILINE)
    return "\n".join(line.rstrip() for line in text.strip().splitlines())


def test_the_readme_shows_the_demo_s_output(tmp_path: Path) -> None:
    block = shown("README.md", "See it work", "text")
    with demo(tmp_path) as process:
        said = output(process)
    begin = block.text.splitlines()[0]
    assert begin in said
    assert lasting(begin + said.partition(begin)[2]) == lasting(block.text), (
        f"{block.at()} is not what it prints"
    )


async def test_the_findings_match_validate_s_output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    block = shown("docs/reference/commands.md", "Manifests", "console")
    typed, _, prints = block.text.removeprefix("$ ").partition("\n")
    (tmp_path / "team.yaml").write_text(MANIFEST)
    monkeypatch.chdir(tmp_path)
    assert (await run(*typed.split()[1:])).out == prints
