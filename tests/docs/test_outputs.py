"""The output in docs/reference/commands.md is what the command prints."""

from pathlib import Path

import pytest

from tests.console.running import run
from tests.docs.blocks import blocks

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


async def test_the_findings_match_validate_s_output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    [block] = [one for one in blocks() if one.id == ("docs/reference/commands.md", "Manifests")]
    typed, _, prints = block.text.removeprefix("$ ").partition("\n")
    (tmp_path / "team.yaml").write_text(MANIFEST)
    monkeypatch.chdir(tmp_path)
    assert (await run(*typed.split()[1:])).out == prints
