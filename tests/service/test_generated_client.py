"""A Python client generated from `openapi/openapi.yaml` delivers and reads."""

import asyncio
import importlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.service.conftest import Bench

DESCRIPTION = Path(__file__).parents[2] / "openapi/openapi.yaml"
TOOLS = Path(sys.executable).parent


@pytest.fixture(scope="session")
def client(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Generate the client, and import it."""
    folder = tmp_path_factory.mktemp("client")
    subprocess.run(
        [
            TOOLS / "openapi-python-client",
            "generate",
            "--path",
            DESCRIPTION,
            "--output-path",
            folder / "made",
        ],
        check=True,
        cwd=folder,
        env={"PATH": f"{TOOLS}:/usr/bin:/bin", "HOME": str(folder)},
    )
    sys.path.insert(0, str(folder / "made"))
    try:
        yield importlib.import_module("agentteam_delivery_client")
    finally:
        sys.path.remove(str(folder / "made"))


async def test_a_generated_client_delivers_and_reads(bench: Bench, client: Any) -> None:
    api = importlib.import_module("agentteam_delivery_client.api.deliveries.deliver")
    read = importlib.import_module("agentteam_delivery_client.api.deliveries.read_delivery")
    models = importlib.import_module("agentteam_delivery_client.models")
    namespace = await bench.finished(
        {"type": "webhook", "url": bench.hook.url}, {"type": "email", "to": ["a@example.com"]}
    )

    def drive() -> tuple[Any, Any, Any]:
        with client.AuthenticatedClient(base_url=bench.service.url, token="unused") as caller:
            event = models.CompletionEvent(namespace=namespace, team="report")
            delivered = api.sync(client=caller, body=event)
            on_record = read.sync(namespace, "report", client=caller)
            absent = read.sync_detailed(namespace, "absent", client=caller)
        return delivered, on_record, absent

    delivered, on_record, absent = await asyncio.to_thread(drive)
    assert isinstance(delivered, models.Report)
    assert delivered.phase == "PartiallyDelivered"
    assert [target.reason for target in on_record.targets] == ["Delivered", "NotImplemented"]
    assert on_record.targets[0].http_status == 200
    assert absent.status_code == 404
    assert isinstance(absent.parsed, models.ProblemDetails)
    assert absent.parsed.type_ == "urn:agentteam-delivery:team-not-found"
