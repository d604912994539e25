"""What the operator's own CRD keeps of a target and an entry, and what it rejects."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from app.domain.receipts import OPERATORS_FIELDS, Receipt
from tests.examples import NOW
from tests.harness.cluster import Cluster, operated
from tests.harness.kube import TEAMS, Kube
from tests.harness.operator import operate

CLAIM = Receipt(
    name="hook",
    type="webhook",
    target="https://hooks.example.com/x",
    delivered_at=NOW,
    timestamp=NOW,
    id="msg_1",
    claimed_by="agentteam-delivery-1",
    claimed_until=NOW,
    attempts=2,
).to_wire()
KEPT = {key: value for key, value in CLAIM.items() if key in OPERATORS_FIELDS}


@pytest.fixture
async def kube(cluster: Cluster[Any], tmp_path: Path) -> AsyncIterator[Kube]:
    """Use the teams of the operator's CRD."""
    (tmp_path / "operated").mkdir()
    async with operated(cluster, tmp_path / "operated") as found:
        yield found.kube


async def test_a_target_keeps_the_operator_s_fields_and_an_entry_its_five(kube: Kube) -> None:
    namespace = await kube.fresh_namespace()
    target = {"type": "webhook", "url": "https://hooks.example.com/x", "message": "Done."}
    own = {"name": "hook", "on": ["Failed"]}
    made = await kube.team(namespace, "report", {"lifecycle": {"delivery": [target | own]}})
    assert made["spec"]["lifecycle"]["delivery"] == [target]
    patch = {"status": {"delivery": [CLAIM, KEPT], "deliverySummary": "Pending 0/1"}}
    answer = await kube.patch(TEAMS, namespace, "report", patch, subresource="status")
    assert answer.status == 200
    assert answer.body["status"] == {"delivery": [KEPT, KEPT]}
    assert await operate(kube, namespace, "report") == 200
    assert await kube.delivery(namespace, "report") == [KEPT, KEPT]


@pytest.mark.parametrize("lacks", ["type", "success", "deliveredAt"])
async def test_an_entry_that_lacks_a_required_field_is_422_for_the_whole_write(
    kube: Kube, lacks: str
) -> None:
    namespace = await kube.fresh_namespace()
    await kube.team(namespace, "report", {})
    patch = {"status": {"delivery": [KEPT, {key: KEPT[key] for key in KEPT if key != lacks}]}}
    answer = await kube.patch(TEAMS, namespace, "report", patch, subresource="status")
    assert answer.status == 422
    assert await kube.delivery(namespace, "report") == []
