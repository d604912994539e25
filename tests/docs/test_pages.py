"""The blocks of pages that no other walk covers, each run as it is."""

import base64
import json
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.chart.conftest import helm
from tests.docs.blocks import ROOT, blocks
from tests.docs.checks.names import KEYS
from tests.docs.checks.runs import commands
from tests.docs.guides import run
from tests.docs.test_walks import CHANGING, Newcomer, equip
from tests.harness.cluster import Cluster
from tests.harness.fake_cluster import FakeCluster
from tests.harness.helm import Helm
from tests.harness.kube import Kube
from tests.harness.real_cluster import RealCluster
from tests.harness.receiver import Receiver
from tests.harness.service import Service, lifecycle

__all__ = ["helm"]

CHART_README = "charts/agentteam-delivery/README.md"
RELEASE = "agentteam-delivery"


@pytest.fixture
async def user(real_cluster: Cluster[RealCluster], kubectl: Path, tmp_path: Path) -> AsyncIterator[Newcomer]:
    """Give somebody the tools of the trade, and a copy of the checkout to write files to."""
    equip(tmp_path, kubectl)
    (tmp_path / "ready").touch()  # Helm waits for nobody
    place = tmp_path / "checkout"
    shutil.copytree(ROOT / "charts", place / "charts")
    shutil.copytree(ROOT / "samples", place / "samples")
    for name in ("Dockerfile", "requirements-extras.txt"):
        shutil.copy(ROOT / name, place)
    async with Receiver() as hook:
        yield Newcomer(real_cluster.kube, real_cluster.kubeconfig, tmp_path, hook, {}, place)


def shown(document: str, language: str, title: str = "", **names: str) -> list[str]:
    """Return the blocks of a document in one language, with its names replaced by those of a test."""
    found = []
    for block in blocks():
        if (block.document, block.language) == (document, language) and title in {"", block.title}:
            text = block.text
            for name, other in names.items():
                text = text.replace(name, other)
            found.append(text)
    return found


async def installed(kube: Kube, plural: str) -> dict[str, Any]:
    """Read the installation's object of a kind."""
    group = {"deployments": "apps", "networkpolicies": "networking.k8s.io"}[plural]
    path = f"/apis/{group}/v1/namespaces/{RELEASE}/{plural}/{RELEASE}"
    return dict((await kube.request("GET", path)).body)


async def settings(kube: Kube) -> dict[str, str]:
    """Read the settings of the installation."""
    found = (await kube.list("configmaps", RELEASE)).body["items"]
    [data] = [one["data"] for one in found if "DELIVERY_AUTH" in one.get("data", {})]
    return dict(data)


async def test_the_chart_is_installed_and_upgraded_as_its_readme_says(user: Newcomer) -> None:
    kube = user.kube
    research, sales = await kube.fresh_namespace(), await kube.fresh_namespace()
    names = {"research": research, "sales": sales}
    released, source, rendered, upgrade, uninstall, let_in, grant = shown(CHART_README, "console", **names)
    callers, certificate = shown(CHART_README, "yaml")
    started = shown("README.md", "console", "From an empty cluster to delivered")[0]
    assert commands(released)[0] in commands(started), "which test_walks runs; helm test needs a pod"

    # Without `helm install`, and then away with it; the CRD is there already.
    create, crd, apply = commands(rendered)
    assert crd in commands(started)
    await user.run("kubectl delete clusterrole agentteam-delivery-caller --ignore-not-found")
    await user.run(f"{create}\n{apply}")
    assert (await installed(kube, "deployments"))["spec"]
    await user.run(apply.replace("kubectl apply", "kubectl delete"))

    await user.run(source)
    [image, *_] = [
        one["image"]
        for one in (await installed(kube, "deployments"))["spec"]["template"]["spec"]["containers"]
    ]
    assert image in (user.folder / "pushed").read_text()
    await user.run(upgrade)
    (user.place / "callers.yaml").write_text(callers)
    await user.run(let_in + grant)
    asked, signed = yaml.safe_load(callers), yaml.safe_load(certificate)
    ingress = (await installed(kube, "networkpolicies"))["spec"]["ingress"]
    assert asked["networkPolicy"]["callers"] in [rule.get("from") for rule in ingress]
    assert signed["spec"]["secretName"] == asked["tls"]["secretName"]
    assert signed["spec"]["dnsNames"] == [f"{RELEASE}.{RELEASE}.svc"]

    # The guides that change values.
    (user.place / "ca.crt").write_text("x")
    guides = ("docs/how-to/in-cluster-receivers.md", "docs/how-to/multi-tenant.md")
    for guide, expected in zip(guides, ("10.96.44.7/32", f"{research},{sales}"), strict=True):
        (user.place / "values.yaml").write_text(shown(guide, "yaml", **names)[0])
        [change] = [one for one in shown(guide, "console", **names) if "helm upgrade" in one]
        await user.run(change)
        assert expected in (await settings(kube)).values()
    await user.run(uninstall)
    assert (await installed(kube, "deployments"))["reason"] == "NotFound"


async def test_targets_are_listed_and_values_taken_as_the_operator_s_guide_says(
    user: Newcomer, helm: Helm
) -> None:
    document, namespace = "docs/how-to/beside-the-operator.md", await user.kube.fresh_namespace()
    [columns, _, _, create, validate] = shown(document, "console", research=namespace)
    assert commands(create)[0] in commands(
        shown("README.md", "console", "From an empty cluster to delivered")[0]
    )
    for values, setting in zip(shown(document, "yaml"), ("ADOPT", "API_GROUP"), strict=True):
        [given] = yaml.safe_load(values)["settings"].values()
        assert helm.render(yaml.safe_load(values)).settings[f"DELIVERY_{setting}"] == given
    entry = {"type": "slack", "target": "#reports", "success": True, "deliveredAt": "2026-01-01T00:00:00Z"}
    await user.kube.team(namespace, "report", lifecycle({"type": "webhook", "url": "https://example.com"}))
    await user.kube.finish(namespace, "report", delivery=[entry])
    said = (await user.run(columns)).splitlines()
    assert [line.split() for line in said] == [
        ["TEAM", "PHASE", "TARGETS", "DELIVERED"],
        ["report", "Completed", "#reports", "true"],
    ]
    assert await user.run(validate) == "2 files checked, nothing to change\n"


async def test_the_record_in_the_readme_is_what_kubectl_prints(user: Newcomer) -> None:
    kube, namespace = user.kube, await user.kube.fresh_namespace()
    names = {"research": namespace, "https://hooks.example.com": user.hook.url}
    [session] = shown("README.md", "console", "agentteam-delivery", **names)
    [asked] = shown("README.md", "yaml", "Ask for delivery", **names)
    await kube.team(namespace, "report", yaml.safe_load(asked)["spec"])
    await kube.finish(namespace, "report")
    async with Service(user.kubeconfig) as service:
        await service.deliver(namespace, "report")
    typed, _, prints = session.removeprefix("$ ").partition("\n")
    found, expected = yaml.safe_load(await user.run(typed))["status"], yaml.safe_load(prints)["status"]
    assert found["phase"] == expected["phase"]
    for ours, theirs in zip(found["delivery"], expected["delivery"], strict=True):
        assert theirs.keys() <= ours.keys()
        assert all(ours[key] == value for key, value in theirs.items() if key not in CHANGING)


async def test_a_call_is_answered_and_a_webhook_gets_what_its_reference_shows(
    fake_cluster: Cluster[FakeCluster], tmp_path: Path
) -> None:
    kube = fake_cluster.kube
    artifact = {
        "name": "report.md",
        "path": "/r.md",
        "producedBy": "writer",
        "producedAt": "2026-11-28T02:59:00Z",
    }
    await kube.namespace("research")
    async with Receiver() as hook, Service(fake_cluster.kubeconfig) as service:
        await kube.team("research", "report", lifecycle({"type": "webhook", "url": hook.url}))
        await kube.finish("research", "report", artifacts=[artifact])
        [call] = shown("README.md", "console", "Call it", **{"http://127.0.0.1:8080": service.url})
        [samples] = shown("samples/README.md", "console", **{"http://127.0.0.1:8080": service.url})
        ran = await run(call, tmp_path)
        assert json.loads(ran.out)["phase"] == "Delivered"
        ran = await run(samples.replace(".venv/bin/", ""), ROOT)
        assert json.loads(ran.out.splitlines()[-1])["phase"] == "Delivered", ran
        [sent] = hook.requests
    [documented] = map(json.loads, shown("docs/reference/targets.md", "json"))
    received = json.loads(sent.body)
    assert list(documented) == list(received)
    assert [list(one) for one in documented["artifacts"]] == [list(one) for one in received["artifacts"]]


async def test_a_caller_gets_the_permission_that_the_security_page_grants(user: Newcomer) -> None:
    research, ops = await user.kube.fresh_namespace(), await user.kube.fresh_namespace()
    names = {"-n research": f"-n {research}", "-n ops": f"-n {ops}", "ops:": f"{ops}:"}
    grant, ask = shown("docs/explanation/security.md", "console", **names)
    [may] = shown("docs/how-to/troubleshoot.md", "console", "The service refuses a call", **names)
    await user.run(f"kubectl create serviceaccount my-controller -n {ops}")
    assert await user.run(f"{may.strip()} || true") == "no\n"
    await user.run(grant)
    assert await user.run(may) == "yes\n"
    payload = (await user.run(ask)).split(".")[1]
    assert json.loads(base64.urlsafe_b64decode(payload + "=="))["aud"] == [RELEASE]


async def test_targets_for_email_and_google_drive_are_set_up_as_their_guide_says(
    user: Newcomer, helm: Helm
) -> None:
    document, namespace = "docs/how-to/email-and-google-drive.md", await user.kube.fresh_namespace()
    build, mail, drive = shown(document, "console", research=namespace)
    values, editors, archive = map(yaml.safe_load, shown(document, "yaml"))
    assert shown("docs/how-to/operate.md", "console", "Traces") == [build]
    (user.place / "service-account.json").write_text("{}")
    await user.run(build + mail + drive)
    for name in ("mail", "drive"):
        assert set((await user.kube.get("secrets", namespace, name)).body["data"]) <= KEYS
    assert helm.render(values).settings["DELIVERY_EMAIL"] == values["settings"]["email"]
    team = user.kube.team_document("report", lifecycle(*editors, *archive))
    (user.place / "team.yaml").write_text(yaml.safe_dump(team))
    await user.run(f"agentteam-delivery validate team.yaml && kubectl create -n {namespace} -f team.yaml")
