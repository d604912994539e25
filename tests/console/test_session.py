"""The session in docs/reference/commands.md matches the commands' output."""

import os
import re
import shlex
from pathlib import Path

import pytest

from tests.console.running import run
from tests.harness.cluster import Cluster
from tests.harness.fake_cluster import FakeCluster
from tests.harness.receiver import Receiver
from tests.harness.service import Service, lifecycle

DOCUMENT = Path(__file__).parents[2] / "docs/reference/commands.md"
BEGIN, END = "<!-- session: begin -->\n", "<!-- session: end -->\n"
HOOK = "https://report.example"
SECRET = (
    "kubectl create secret generic slack-credentials -n research"
    " --from-literal=slack-webhook-url=https://hooks.slack.com/services/…"
)
COMMANDS = (
    "agentteam-delivery preview report -n research --target archive",
    "agentteam-delivery deliver report -n research",
    SECRET,
    "agentteam-delivery test-target report slack -n research",
    "agentteam-delivery redeliver report -n research",
)


async def test_the_session_matches_the_commands_output(fake_cluster: Cluster[FakeCluster]) -> None:
    kube = fake_cluster.kube
    await kube.namespace("research")

    async with Receiver() as hook, Service(fake_cluster.kubeconfig) as service:
        archive = {"type": "webhook", "name": "archive", "url": f"{hook.url}/reports"}
        slack = {"type": "slack", "name": "slack", "credentialsSecret": "slack-credentials"}
        await kube.team("research", "report", lifecycle(archive, slack))
        await kube.finish("research", "report")
        lines = []
        for command in COMMANDS:
            lines.append(f"$ {command}")
            if command == SECRET:
                await kube.secret("research", "slack-credentials", {"slack-webhook-url": f"{hook.url}/s"})
                lines.append("secret/slack-credentials created")
            else:
                ran = await run(*shlex.split(command)[1:], DELIVERY_URL=service.url)
                assert ran.err == ""
                lines += ran.out.splitlines()
            lines.append("")
        session = told("\n".join(lines).rstrip() + "\n", hook.url)
    text = DOCUMENT.read_text()
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    whole = f"{before}{BEGIN}\n```console\n{session}```\n\n{END}{after}"
    if os.environ.get("WRITE_SESSION"):
        DOCUMENT.write_text(whole)
    assert text == whole, (
        "to write the session again: WRITE_SESSION=1 .venv/bin/pytest --no-cov tests/console/test_session.py"
    )


def told(session: str, hook: str) -> str:
    """Replace what differs in each run by fixed words."""
    assert len(hook) == len(HOOK), "the replacement must keep the columns' width"
    session = session.replace(hook, HOOK)
    session = re.sub(r"webhook-timestamp: \d+", "webhook-timestamp: 1772366400", session)
    for number, found in enumerate(dict.fromkeys(re.findall(r"msg_[0-9a-f]{32}", session)), 1):
        session = session.replace(found, f"msg_{number:032x}")
    return session


@pytest.fixture(autouse=True)
def _plain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DELIVERY_URL", raising=False)
