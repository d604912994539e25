"""Email with a whole service: the record per recipient, whatever happens to the process."""

import asyncio
import signal
import ssl
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import trustme

from tests.harness.cluster import Cluster
from tests.harness.fake_cluster import FakeCluster
from tests.harness.kube import Kube
from tests.harness.receiver import Receiver
from tests.harness.relay import Relay
from tests.harness.service import Service, finished
from tests.harness.waiting import until

THREE = {
    "type": "email",
    "name": "mail",
    "to": ["ann@example.com", "bob@example.com", "cid@example.com"],
    "subject": "{team}: {phase}",
}


@pytest.fixture(name="relay")
async def running_relay() -> AsyncIterator[Relay]:
    async with Relay() as relay:
        yield relay


async def entry(kube: Kube, namespace: str) -> dict[str, Any]:
    (only,) = await kube.delivery(namespace, "report")
    return only


async def test_a_mail_is_delivered_and_recorded_next_to_a_webhook(
    fake_cluster: Cluster[FakeCluster], relay: Relay
) -> None:
    relay.answers["bob@example.com"] = ["451 4.7.1 Greylisted"]
    async with Receiver() as hook, Service(fake_cluster.kubeconfig, **relay.settings) as service:
        webhook = {"type": "webhook", "name": "hook", "url": f"{hook.url}/x"}
        namespace = await finished(fake_cluster.kube, THREE, webhook)
        answer = await service.deliver(namespace, "report")
        assert answer.status == 200
        assert answer.body["phase"] == "Delivered"
        entries = {one["name"]: one for one in await fake_cluster.kube.delivery(namespace, "report")}
        mail = entries["mail"]
        assert (mail["reason"], mail["attempts"]) == ("Delivered", 2)
        assert mail["target"] == "ann@example.com, bob@example.com, cid@example.com"
        assert mail["message"] == "accepted for 3 recipients"
        assert "accepted" not in mail
        assert [one.parsed["Message-ID"] for one in relay.mails] == [f"<{mail['id']}@example.com>"] * 2
        await until(lambda: relay.goodbyes == relay.connections == 2)
        metrics = (await service.request("GET", "/metrics")).content.decode()
        assert 'agentteam_delivery_deliveries_total{reason="Delivered",type="email"} 1.0' in metrics
        assert 'agentteam_delivery_attempt_failures_total{reason="Refused",type="email"} 1.0' in metrics


@pytest.mark.parametrize("way", ["starttls", "tls"])
async def test_a_mail_over_tls_is_delivered_and_the_connection_closes_immediately(
    fake_cluster: Cluster[FakeCluster], tmp_path: Path, way: str
) -> None:
    authority, tls = trustme.CA(), ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(tls)
    authority.cert_pem.write_to_path(str(tmp_path / "authority.pem"))
    (tmp_path / "password").write_text("s3cret")
    async with Relay(certificate=tls, at_once=way == "tls", logins={"teams": "s3cret"}) as relay:
        settings = {
            **relay.settings,
            "smtp_tls": way,
            "smtp_username": "teams",
            "smtp_password_file": tmp_path / "password",
            "egress_ca_file": tmp_path / "authority.pem",
        }
        async with Service(fake_cluster.kubeconfig, **settings) as service:
            namespace = await finished(fake_cluster.kube, THREE)
            answer = await service.deliver(namespace, "report")
            assert answer.body["phase"] == "Delivered"
            (mail,) = relay.mails
            assert (mail.encrypted, mail.login) == (True, "teams")
            await until(lambda: relay.goodbyes == 1)
            process = psutil.Process(service.pid)

            def ended() -> bool:
                connections = process.net_connections("tcp")
                return not any(one.raddr and one.raddr.port == relay.port for one in connections)

            await until(ended)


async def test_recipients_that_have_the_mail_do_not_get_it_again_after_a_drain(
    fake_cluster: Cluster[FakeCluster], relay: Relay
) -> None:
    relay.answers["bob@example.com"] = ["451 4.7.1 Greylisted"]
    patient = {**relay.settings, "backoff_initial": 20, "attempts": 2}
    async with Service(fake_cluster.kubeconfig, **patient) as first:
        namespace = await finished(fake_cluster.kube, THREE)
        await first.deliver(namespace, "report", prefer="respond-async")
        await until(lambda: relay.mails)
        await first.stop(signal.SIGTERM)
    released = await entry(fake_cluster.kube, namespace)
    assert (released["phase"], released.get("claimedBy")) == ("Pending", None)
    assert released["accepted"] == ["ann@example.com", "cid@example.com"]
    async with Service(fake_cluster.kubeconfig, **relay.settings) as second:
        answer = await second.deliver(namespace, "report")
    assert answer.body["phase"] == "Delivered"
    assert [mail.recipients for mail in relay.mails] == [
        ("ann@example.com", "cid@example.com"),
        ("bob@example.com",),
    ]


async def test_after_a_kill_the_message_is_sent_again_with_the_same_id(
    fake_cluster: Cluster[FakeCluster], relay: Relay
) -> None:
    short = {
        **relay.settings,
        "target_timeout": 2,
        "record_timeout": 0.5,
        "attempt_timeout": 1,
        "api_timeout": 0.5,
    }
    namespace = await finished(fake_cluster.kube, THREE)
    crashing = Service(fake_cluster.kubeconfig, crash_at="answered", **short)
    await crashing.start()
    with pytest.raises(Exception):  # noqa: B017, PT011  # the caller's connection breaks
        await crashing.deliver(namespace, "report")
    await crashing.stop()
    assert len(relay.mails) == 1
    async with Service(fake_cluster.kubeconfig, **short) as second:

        async def landed() -> bool:
            answer = await second.deliver(namespace, "report")
            return bool(answer.body.get("phase") == "Delivered")

        await until(landed, 30)
    first_id, second_id = (mail.parsed["Message-ID"] for mail in relay.mails)
    assert first_id == second_id
    assert (await entry(fake_cluster.kube, namespace))["takeovers"] == 1


async def test_a_redelivery_reaches_only_recipients_without_the_mail(
    fake_cluster: Cluster[FakeCluster], relay: Relay
) -> None:
    relay.answers["cid@example.com"] = ["550 5.1.1 unknown"]
    async with Service(fake_cluster.kubeconfig, **relay.settings) as service:
        namespace = await finished(fake_cluster.kube, THREE)
        answer = await service.deliver(namespace, "report")
        assert answer.body["phase"] == "Failed"
        failed = await entry(fake_cluster.kube, namespace)
        assert failed["reason"] == "Refused"
        assert (
            failed["message"] == "accepted for 2 of 3; refused: cid@example.com (550 5.1.1 no such mailbox)"
        )
        assert failed["accepted"] == ["ann@example.com", "bob@example.com"]
        answer = await service.deliver(namespace, "report", redeliver="failed")
        assert answer.body["phase"] == "Delivered"
        assert relay.mails[-1].recipients == ("cid@example.com",)


async def test_a_preview_shows_the_mail_and_a_test_is_marked_as_one(
    fake_cluster: Cluster[FakeCluster], relay: Relay
) -> None:
    async with Service(fake_cluster.kubeconfig, **relay.settings) as service:
        namespace = await finished(fake_cluster.kube, THREE)
        answer = await service.deliver(namespace, "report", path="/previews")
        (shown,) = answer.body["targets"]
        assert (shown["would"], shown["target"]) == ("Send", ", ".join(THREE["to"]))
        request = shown["request"]
        assert (request["method"], request["url"]) == ("SMTP", f"smtp://127.0.0.1:{relay.port}")
        assert request["headers"]["Subject"] == "report: Completed"
        assert request["headers"]["Auto-Submitted"] == "auto-generated"
        assert "multipart/alternative" in request["body"]
        assert (relay.connections, relay.mails) == (0, [])
        answer = await service.deliver(namespace, "report", test=True)
        assert answer.body["phase"] == "Delivered"
        assert relay.mails[0].parsed["Subject"] == "Test: report: Completed"
        assert await fake_cluster.kube.delivery(namespace, "report") == []


@pytest.mark.parametrize(
    ("setting", "module", "extra"),
    [("EMAIL=smtp", "aiosmtplib", "email"), ("GOOGLE_DRIVE=api", "google.auth", "google-drive")],
)
async def test_a_backend_without_its_extra_ends_the_process_with_the_reason(
    setting: str, module: str, extra: str
) -> None:
    hide = (
        "import sys, importlib.util as util\n"
        "found = util.find_spec\n"
        f"util.find_spec = lambda name, package=None: None if name == {module!r} else found(name, package)\n"
        "from app.cli import main\n"
        "sys.argv = ['agentteam-delivery', 'serve']\n"
        "main()\n"
    )
    name, _, value = setting.partition("=")
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", hide, env={"PATH": "/usr/bin:/bin", f"DELIVERY_{name}": value},
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    _, said = await process.communicate()
    assert process.returncode not in {0, None}
    assert f"DELIVERY_{setting} requires the extra `{extra}`, which is not installed".encode() in said
    assert b"Traceback" not in said
