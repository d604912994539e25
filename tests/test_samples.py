"""Every sample is valid, is accepted by the API, and can be previewed without a request to a receiver."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from app.console.manifests import findings_of
from app.domain.events import CompletionEvent
from app.main import create_app
from app.settings import ServiceSettings
from tests.harness.cluster import Cluster
from tests.harness.fake_cluster import FakeCluster
from tests.posting import named
from tests.senders.sending import faked

SAMPLES = Path(__file__).parents[1] / "samples"
MANIFESTS = [SAMPLES / "delivery-team.yaml", *sorted((SAMPLES / "teams").glob("*.yaml"))]
SCHEDULE = SAMPLES / "schedule.yaml"
EVENTS = sorted((SAMPLES / "events").glob("*.json"))
PUBLIC = "192.0.2.1"
"""An address reserved for documentation, which these settings allow; no server is there."""

SECRETS = {
    "slack-credentials": {"slack-webhook-url": "https://hooks.slack.com/services/T/B/x"},
    "hook": {
        "url": "https://hooks.example.com/x",
        "signing-secret": "whsec_a2V5",
        "authorization": "Bearer x",
    },
}


def loaded(file: Path) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(file.read_text()))


@pytest.fixture
async def caller(
    fake_cluster: Cluster[FakeCluster], monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[httpx.AsyncClient]:
    """Call a service in this process, for which two hosts have an address."""
    table = named(monkeypatch)
    table |= {host: [PUBLIC] for host in ("hooks.example.com", "hooks.slack.com")}
    monkeypatch.setenv("KUBECONFIG", str(fake_cluster.kubeconfig))
    app = create_app(ServiceSettings.load(auth="none", egress_allow="192.0.2.0/24"))
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://service") as client,
    ):
        yield client


@pytest.mark.parametrize("file", MANIFESTS, ids=lambda file: file.stem)
async def test_a_manifest_is_valid_and_can_be_previewed(
    file: Path, fake_cluster: Cluster[FakeCluster], caller: httpx.AsyncClient
) -> None:
    assert findings_of(file) == []
    [team] = loaded(file)
    kube = fake_cluster.kube
    await kube.namespace("research")
    for name, values in SECRETS.items():
        await kube.secret("research", name, values)
    assert (await kube.create("agentteams", "research", team)).status == 201
    with faked() as router:
        answer = await caller.post("/previews", json={"namespace": "research", "team": "report"})
        assert not router.calls
    assert answer.status_code == 200, answer.text
    targets = answer.json()["targets"]
    assert [target["name"] for target in targets] == [
        target.get("name", f"{target['type']}-{at}")
        for at, target in enumerate(team["spec"]["lifecycle"]["delivery"])
    ]
    for target in targets:
        later = target["type"] in {"email", "google-drive"}
        assert (target["would"], target["reason"]) == (
            ("Fail", "NotImplemented") if later else ("Send", None)
        )


def test_templates_are_valid() -> None:
    assert {document["kind"] for document in loaded(SCHEDULE)} == {"AgentTeamTemplate", "AgentTeamSchedule"}
    assert findings_of(SCHEDULE) == []


@pytest.mark.parametrize("file", EVENTS, ids=lambda file: file.stem)
def test_a_sample_event_is_valid(file: Path) -> None:
    event = CompletionEvent.model_validate_json(file.read_text())
    assert (event.namespace, event.team) == ("research", "report")


def test_each_sample_is_in_the_list() -> None:
    told = (SAMPLES / "README.md").read_text()
    for file in (*MANIFESTS, SCHEDULE):
        assert f"({file.relative_to(SAMPLES)})" in told
    assert len(MANIFESTS) > 5
    assert len(EVENTS) > 5
