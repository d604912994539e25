"""Google Drive with a whole service: one document, whenever the process dies."""

from typing import Any

import pytest

from tests.harness.cluster import Cluster
from tests.harness.drive import Drive
from tests.harness.fake_cluster import FakeCluster
from tests.harness.service import Service, finished
from tests.harness.waiting import until

TARGET = {"type": "google-drive", "name": "archive", "folder": "1AbC-d_E", "credentialsSecret": "drive"}
SHORT = {"target_timeout": 2, "record_timeout": 0.5, "attempt_timeout": 1.5, "api_timeout": 0.5}


@pytest.mark.parametrize("step", ["sending", "answered", "recording", "record-written"])
async def test_a_killed_process_leaves_one_document_with_its_id_on_record(
    fake_cluster: Cluster[FakeCluster], step: str
) -> None:
    async with Drive() as drive:
        secrets: dict[str, Any] = {"drive": {"service-account.json": drive.key_file()}}
        settings: dict[str, Any] = {"google_drive": "api", "google_api_url": drive.url, **SHORT}
        namespace = await finished(fake_cluster.kube, TARGET, **secrets)
        dying = Service(fake_cluster.kubeconfig, crash_at=step, **settings)
        await dying.start()
        await dying.deliver(namespace, "report", prefer="respond-async")
        await until(lambda: dying.ended, 20)
        await dying.stop()
        assert len(drive.files) == (step != "sending")
        async with Service(fake_cluster.kubeconfig, **settings) as second:

            async def landed() -> bool:
                answer = await second.deliver(namespace, "report")
                return bool(answer.body.get("phase") == "Delivered")

            await until(landed, 30)
        (file,) = drive.files
        (entry,) = await fake_cluster.kube.delivery(namespace, "report")
        assert entry["message"] in {f"made file {file.id}", f"file {file.id} already existed"}
        assert (entry["target"], entry["httpStatus"]) == ("1AbC-d_E", 200)
        assert file.metadata["appProperties"] == {"agentteamDelivery": entry["id"]}


async def test_a_test_creates_a_marked_document_and_a_preview_creates_none(
    fake_cluster: Cluster[FakeCluster],
) -> None:
    async with (
        Drive() as drive,
        Service(fake_cluster.kubeconfig, google_drive="api", google_api_url=drive.url) as service,
    ):
        secrets: dict[str, Any] = {"drive": {"service-account.json": drive.key_file()}}
        namespace = await finished(fake_cluster.kube, TARGET, **secrets)
        shown = await service.deliver(namespace, "report", path="/previews")
        (target,) = shown.body["targets"]
        assert (target["would"], target["target"]) == ("Send", "1AbC-d_E")
        assert not drive.asked
        answer = await service.deliver(namespace, "report", test=True)
        assert answer.body["phase"] == "Delivered"
        (file,) = drive.files
        assert file.metadata["name"] == "Test: Team report in research finished: Completed".replace(
            "research", namespace
        )
