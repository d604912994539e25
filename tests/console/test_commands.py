"""The commands for people, run as processes against a running service."""

import asyncio
import json
import os
import pty
import re
import ssl
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import trustme
import yaml
from aiohttp import web

from app.settings import CommonSettings, ServiceSettings, WatcherSettings
from tests.console.running import run
from tests.harness.callers import Callers
from tests.harness.cluster import Cluster
from tests.harness.fake_cluster import FakeCluster
from tests.harness.real_cluster import RealCluster
from tests.harness.receiver import Gate, Receiver
from tests.harness.reviews import Permission
from tests.harness.service import SCRIPT, Service, finished, lifecycle
from tests.harness.tls import Mounted
from tests.harness.waiting import until
from tests.service.conftest import Bench

LONG = "a-rather-long-name-that-no-terminal-of-eighty-columns-has-room-for-beside-all-the-others"


async def test_a_delivery_is_followed_until_it_is_settled(bench: Bench) -> None:
    namespace = await bench.finished({"type": "webhook", "name": LONG, "url": bench.hook.url})
    ran = await run("deliver", "report", "-n", namespace, "--url", bench.service.url, "-o", "wide")
    assert (ran.code, ran.err) == (0, "")
    assert f"{namespace}/report  Delivered" in ran.out
    [row] = [line for line in ran.out.splitlines() if line.startswith(LONG)]
    assert re.split(r"  +", row)[1:4] == ["webhook", "Delivered", "Delivered"]
    assert bench.hook.url in row
    assert "\x1b" not in ran.out
    assert all(line == line.rstrip() for line in ran.out.splitlines())


async def test_a_failed_target_exits_with_1_and_can_be_redelivered(bench: Bench) -> None:
    slack = {"type": "slack", "name": "chat", "credentialsSecret": "late"}
    namespace = await bench.finished({"type": "webhook", "name": "hook", "url": bench.hook.url}, slack)
    asked = ("report", "-n", namespace, "--url", bench.service.url)
    first = await run("deliver", *asked)
    assert first.code == 1
    assert 'there is no Secret "late"' in " ".join(first.out.split())
    assert (await run("status", *asked)).code == 1
    await bench.kube.secret(namespace, "late", {"slack-webhook-url": f"{bench.hook.url}/late"})
    sent = len(bench.hook.requests)
    again = await run("redeliver", *asked)
    assert (again.code, again.err) == (0, "")
    assert "nothing was sent" not in again.out
    assert [request.path for request in bench.hook.requests[sent:]] == ["/late"]
    assert (await run("redeliver", *asked, "--all", "--target", "hook")).code == 0
    assert len(bench.hook.requests) == sent + 2
    assert (await run("status", *asked)).code == 0
    for command, said in (("redeliver", "no requested target has failed"), ("deliver", "is settled")):
        ran = await run(command, *asked)
        assert (ran.code, said in " ".join(ran.out.split())) == (0, True)
        assert "nothing was sent" in ran.out
    assert len(bench.hook.requests) == sent + 2


@pytest.mark.parametrize(("form", "load"), [("json", json.loads), ("yaml", yaml.safe_load)])
async def test_json_and_yaml_output_is_the_report(bench: Bench, form: str, load: Any) -> None:
    namespace = await bench.finished({"type": "webhook", "name": "hook", "url": bench.hook.url})
    asked = ("report", "-n", namespace, "--url", bench.service.url, "-o", form)
    report = load((await run("deliver", *asked)).out)
    assert report == (await bench.service.read(namespace, "report")).body
    shown = load((await run("preview", *asked, "--all")).out)
    assert shown["targets"][0]["request"]["method"] == "POST"


async def test_a_preview_shows_requests_and_sends_none(bench: Bench) -> None:
    namespace = await bench.kube.fresh_namespace()
    hook = {"type": "webhook", "name": "hook", "url": f"{bench.hook.url}/x?token=secret"}
    await bench.kube.team(namespace, "report", lifecycle(hook))
    sent = len(bench.hook.requests)
    ran = await run("preview", "report", "-n", namespace, "--url", bench.service.url)
    assert ran.code == 0
    assert f"  POST {bench.hook.url}/x\n" in ran.out
    assert '    "event": "team.completed",' in ran.out
    assert "secret" not in ran.out
    assert len(bench.hook.requests) == sent


async def test_long_lines_are_not_cut_in_a_pipe(bench: Bench) -> None:
    namespace = await bench.kube.fresh_namespace()
    message = "word  " * 3_000 + "end"
    hook = {"type": "webhook", "name": "hook", "url": bench.hook.url, "message": message}
    await bench.kube.team(namespace, "report", lifecycle(hook))
    ran = await run("preview", "report", "-n", namespace, "--url", bench.service.url)
    assert f'"message": "{message}",' in ran.out


async def test_one_target_can_be_tested_by_name(bench: Bench) -> None:
    targets = [{"type": "webhook", "name": name, "url": f"{bench.hook.url}/{name}"} for name in ("a", "b")]
    namespace = await bench.finished(*targets)
    sent = len(bench.hook.requests)
    ran = await run("test-target", "report", "b", "-n", namespace, "--url", bench.service.url)
    assert ran.code == 0
    assert "it was a test" in ran.out
    assert [request.path for request in bench.hook.requests[sent:]] == ["/b"]


async def test_status_watches_until_everything_is_settled_and_reports_a_timeout(
    fake_cluster: Cluster[FakeCluster],
) -> None:
    gate = Gate()
    async with Receiver(respond=gate) as hook, Service(fake_cluster.kubeconfig) as service:
        namespace = await finished(fake_cluster.kube, {"type": "webhook", "name": "hook", "url": hook.url})
        asked = ("report", "-n", namespace, "--url", service.url)
        late = await run("deliver", *asked, "--timeout", "0.5")
        assert late.code == 2
        assert "not settled within 0.5 s; the delivery continues" in late.err
        assert "Pending" in (await run("status", *asked)).out
        watching = asyncio.create_task(run("status", *asked, "--watch"))
        gate.open()
        ran = await watching
        assert (ran.code, "Delivered" in ran.out) == (0, True)


async def test_watch_ends_if_nothing_more_happens_and_reports_what_a_team_waits_for() -> None:
    told = {"phase": "Skipped", "reason": "failed teams are not delivered"}

    async def answer(_: web.Request) -> web.StreamResponse:
        return web.json_response({"namespace": "default", "team": "report", "targets": [], **told})

    async with Receiver(respond=answer) as service:
        ran = await run("status", "report", "--url", service.url, "--watch")
        assert (ran.code, ran.out) == (
            0,
            "default/report  Skipped  failed teams are not delivered\n",
        )
        told |= {"phase": "Pending", "reason": "the team is at work"}
        ran = await run("status", "report", "--url", service.url, "--watch", "--timeout", "0.1")
    assert (ran.code, "not settled within 0.1 s; the team is at work" in ran.err) == (2, True)


async def test_watch_continues_while_the_service_is_unavailable() -> None:
    answers = iter(["Pending", 503, None, "Delivered"])

    async def answer(request: web.Request) -> web.StreamResponse:
        match next(answers):
            case None:
                assert request.transport
                request.transport.abort()
                return web.Response()
            case int(status):
                return web.json_response({"detail": "busy"}, status=status, headers={"Retry-After": "1"})
            case phase:
                named = {"namespace": "default", "team": "report"}
                return web.json_response({**named, "phase": phase, "targets": []})

    async with Receiver(respond=answer) as service:
        ran = await run("status", "report", "--url", service.url, "--watch")
    assert (ran.code, ran.out, ran.err) == (0, "default/report  Delivered\n", "")


async def test_texts_of_others_cannot_control_a_terminal(bench: Bench) -> None:
    namespace = await bench.kube.fresh_namespace()
    hook = {"type": "webhook", "name": "hook", "url": bench.hook.url, "message": "\x9b2J\u202eevil"}
    await bench.kube.team(namespace, "report", lifecycle(hook))
    entry = {
        "name": "\x1b[2Jtheirs",
        "type": "\x1b[2J",
        "success": False,
        "deliveredAt": "2026-03-01T10:00:00Z",
        "phase": "Failed",
        "message": "\x1b]0;title\x07\r",
        "id": "msg_0",  # without it, the entry is not ours, and its texts are not shown
    }
    await bench.kube.finish(namespace, "report", delivery=[entry])
    asked = ("report", "-n", namespace, "--url", bench.service.url)
    for ran in [await run("status", *asked), await run("preview", *asked)]:
        assert "hook" in ran.out or "theirs" in ran.out
        assert not [sign for sign in ran.out if not (sign.isprintable() or sign == "\n")]
    for form, load in (("json", json.loads), ("yaml", yaml.safe_load)):
        ran = await run("status", *asked, "-o", form)
        assert not [sign for sign in ran.out if not (sign.isprintable() or sign == "\n")]
        assert load(ran.out)["targets"][0]["message"] == entry["message"]


async def test_a_terminal_gets_colours(bench: Bench) -> None:
    namespace = await bench.finished({"type": "webhook", "name": "hook", "url": bench.hook.url})
    ours, theirs = pty.openpty()
    env = {name: value for name, value in os.environ.items() if not name.startswith("DELIVERY_")}
    process = await asyncio.create_subprocess_exec(
        *(SCRIPT, "deliver", "report", "-n", namespace, "--url", bench.service.url),
        env={**env, "TERM": "xterm-256color"},
        stdin=theirs,
        stdout=theirs,
    )
    os.close(theirs)
    assert await asyncio.wait_for(process.wait(), 60) == 0
    shown = os.read(ours, 65_536).decode()
    os.close(ours)
    assert "\x1b[32mDelivered" in shown


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("status", "nobody"), 'there is no AgentTeam "nobody"'),
        (("status", "report", "--url", "http://127.0.0.1:1"), "no service answers at http://127.0.0.1:1"),
        (("status", "report", "--url", "nonsense"), "is not the address of a service"),
        (("status", "report", "--url", "ftp://127.0.0.1"), "is not the address of a service"),
        (("status", "Report"), "the team's name must consist of lower-case letters"),
        (("status", "report", "-n", ".."), "--namespace must consist of lower-case letters"),
        (("status", "report", "--url", "http://u:canary@127.0.0.1:1"), "is not the address of a service"),
        (("status", "report", "--url", "http://127.0.0.1:1/?x=1"), "is not the address of a service"),
        (("status", "report", "--service-account", "a/b/c"), "NAME, or NAMESPACE/NAME"),
        (
            ("status", "report", "--service-account=--help"),
            "--service-account must consist of lower-case letters",
        ),
        (("status", "report", "--token-file", "/absent"), "/absent cannot be read"),
        (("status", "report", "--ca-file", "/absent"), "/absent cannot be read"),
        (("status", "report", "--token-file", "x", "--service-account", "y"), "exclude each other; use one"),
        (("status",), "give either a team's name or --all-teams"),
        (("status", "report", "-o", "xml"), "xml"),
        (("deliver", "report", "--timeout", "-1"), "timeout"),
        (("deliver", "report", "--target"), "requires an argument"),
        (("nonsense",), "No such command"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
async def test_wrong_usage_is_one_sentence_and_exit_code_2(
    bench: Bench, arguments: tuple[str, ...], says: str
) -> None:
    ran = await run(*arguments, DELIVERY_URL=bench.service.url)
    assert ran.code == 2
    assert says in ran.err
    assert ran.out == ""
    assert "Traceback" not in ran.err
    assert "canary" not in ran.err


@pytest.mark.parametrize(
    "text", ["<html>", "{}", "[]", '{"phase": "Delivered"}', '{"phase": 1, "targets": 2}']
)
async def test_an_answer_of_another_server_is_reported(text: str) -> None:
    async def page(_: web.Request) -> web.StreamResponse:
        return web.Response(text=text)

    async with Receiver(respond=page) as other:
        ran = await run("status", "report", "--url", other.url)
    assert (ran.code, "check --url" in ran.err) == (2, True)


async def test_a_problem_s_text_cannot_control_a_terminal() -> None:
    async def refuse(_: web.Request) -> web.StreamResponse:
        return web.json_response({"detail": "\x1b[31mno\x9b\nTraceback"}, status=403)

    async with Receiver(respond=refuse) as other:
        ran = await run("status", "report", "--url", other.url)
    assert (ran.code, ran.err.count("\n")) == (2, 1)
    assert ran.err.rstrip("\n").isprintable()


@pytest.mark.parametrize(
    "env",
    [
        {"ALL_PROXY": "socks5://127.0.0.1:1"},
        {"HTTP_PROXY": "http://127.0.0.1:1", "NO_PROXY": ""},
        {"DELIVERY_TOKEN": "canary-ü"},
        {"SSL_CERT_FILE": "/absent"},
    ],
    ids=lambda env: next(iter(env)),
)
async def test_no_environment_variable_makes_a_command_show_the_token(
    bench: Bench, env: dict[str, str]
) -> None:
    namespace = await bench.finished({"type": "webhook", "name": "hook", "url": bench.hook.url})
    asked = ("status", "report", "-n", namespace, "--url", bench.service.url)
    ran = await run(*asked, **{"DELIVERY_TOKEN": "canary", **env})
    assert "canary" not in ran.out + ran.err
    assert "Traceback" not in ran.out + ran.err
    assert ran.code == (2 if env.get("DELIVERY_TOKEN") else 0)


async def test_a_full_disk_is_reported(bench: Bench) -> None:
    namespace = await bench.finished({"type": "webhook", "name": "hook", "url": bench.hook.url})
    command = f"{SCRIPT} status report -n {namespace} --url {bench.service.url} > /dev/full"
    process = await asyncio.create_subprocess_shell(command, stderr=asyncio.subprocess.PIPE)
    _, err = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 2
    assert err.decode() == "agentteam-delivery: the answer cannot be written: No space left on device\n"


async def test_the_token_comes_from_a_file_or_the_environment_or_is_absent(
    fake_cluster: Cluster[FakeCluster], tmp_path: Path
) -> None:
    token = fake_cluster.server.reviews.token("someone", Permission("create"), Permission("get"))
    (tmp_path / "token").write_text(f"{token}\n")
    async with Receiver() as other:
        # The kubeconfig's own credential must not be sent.
        await run("status", "report", "--url", other.url, KUBECONFIG=str(fake_cluster.kubeconfig))
        [asked_of_another] = other.requests
        seen = asked_of_another.headers
    async with Receiver() as hook, Service(fake_cluster.kubeconfig, auth="kubernetes") as service:
        namespace = await finished(fake_cluster.kube, {"type": "webhook", "url": hook.url})
        asked = ("deliver", "report", "-n", namespace, "--url", service.url)
        nobody = await run(*asked)
        assert (nobody.code, "token" in nobody.err) == (2, True)
        assert "authorization" not in seen
        assert (await run(*asked, "--token-file", tmp_path / "token")).code == 0
        assert (await run("status", *asked[1:], DELIVERY_TOKEN=token)).code == 0


@pytest.mark.parametrize(
    "url", ["http://192.0.2.1:8080", "HTTP://192.0.2.1", "http://127.evil.example", "http://[2001:db8::1]:1"]
)
async def test_a_token_is_not_sent_unencrypted_to_another_machine(url: str) -> None:
    ran = await run("status", "report", "--url", url, DELIVERY_TOKEN="t")
    assert (ran.code, "unencrypted" in ran.err) == (2, True)


async def test_a_short_lived_token_of_a_service_account_comes_from_kubernetes(
    real_cluster: Cluster[RealCluster], kubectl: Path
) -> None:
    callers, kube = Callers(real_cluster), real_cluster.kube
    settings = {"auth": "kubernetes", "auth_cache": 1}
    async with Receiver() as hook, Service(real_cluster.kubeconfig, **settings) as service:
        namespace = await finished(kube, {"type": "webhook", "url": hook.url})
        account = await callers.account(namespace)
        asked = ("report", "-n", namespace, "--url", service.url, "--service-account", account.name)
        config = {
            "KUBECONFIG": str(real_cluster.kubeconfig),
            "PATH": f"{kubectl.parent}:{os.environ['PATH']}",
        }
        refused = await run("deliver", *asked, **config)
        assert (refused.code, "kubectl create role" in refused.err) == (2, True)
        for verb in ("create", "get"):
            await callers.grant(account, verb, namespace)

        async def delivered() -> bool:
            return (await run("deliver", *asked, **config)).code == 0

        await until(delivered, 30)
        absent = await run("deliver", *asked[:-1], "nobody", **config)
        assert (absent.code, 'serviceaccounts "nobody" not found' in absent.err) == (2, True)


@pytest.mark.parametrize(
    ("kubectl", "says"),
    [
        ("", "not found or does not run; install it, or pass a token with --token-file"),
        (
            "echo 'error: the server is down' >&2; exit 1",
            "service account default/editor: the server is down",
        ),
        ("exit 0", "kubectl's answer contains no token"),
        ("echo two; echo lines", "kubectl's answer contains no token"),
    ],
)
async def test_a_failure_of_kubectl_is_one_sentence(tmp_path: Path, kubectl: str, says: str) -> None:
    if kubectl:
        (tmp_path / "kubectl").write_text(f"#!/bin/sh\n{kubectl}\n")
        (tmp_path / "kubectl").chmod(0o755)
    ran = await run("status", "report", "--service-account", "editor", PATH=str(tmp_path))
    assert (ran.code, ran.out, ran.err.count("\n")) == (2, "", 1)
    assert says in ran.err


async def test_a_certificate_is_verified_with_its_certificate_authority(
    fake_cluster: Cluster[FakeCluster], tmp_path: Path
) -> None:
    mounted = Mounted(tmp_path)
    mounted.authority.cert_pem.write_to_path(tmp_path / "ca.crt")
    service = Service(fake_cluster.kubeconfig, **mounted.settings)
    service.tls = mounted.trusting
    async with Receiver() as hook, service:
        namespace = await finished(fake_cluster.kube, {"type": "webhook", "url": hook.url})
        asked = ("deliver", "report", "-n", namespace, "--url", service.url)
        stranger = await run(*asked)
        assert (stranger.code, "set its certificate authority with --ca-file" in stranger.err) == (2, True)
        assert (await run(*asked, "--ca-file", tmp_path / "ca.crt")).code == 0
        plain = await run(*asked[:-1], service.url.replace("https", "http"))
        assert (plain.code, "this port uses TLS; use https://" in plain.err) == (2, True)


IN_CLUSTER = "agentteam-delivery.agentteam-delivery.svc"


async def test_through_a_port_forward_the_certificate_must_name_the_service(tmp_path: Path) -> None:
    async def answer(_: web.Request) -> web.StreamResponse:
        document = {"namespace": "default", "team": "report", "phase": "Delivered", "targets": []}
        return web.json_response(document)

    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.crt")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(IN_CLUSTER).configure_cert(context)
    async with Receiver(tls=context, respond=answer) as service:
        asked = ("status", "report", "--url", service.url, "--ca-file", tmp_path / "ca.crt")
        other = await run(*asked)
        assert (other.code, other.err.count("\n")) == (2, 1)
        assert "is for another name than 127.0.0.1; with a port-forward, set its name" in other.err
        assert f"--server-name, such as {IN_CLUSTER}" in other.err
        assert (await run(*asked, "--server-name", IN_CLUSTER)).code == 0
        assert (await run(*asked, DELIVERY_SERVER_NAME=f"{IN_CLUSTER}.")).code == 0
        assert (await run(*asked, "--server-name", "other.example.com")).code == 2
        url = await run(*asked, "--server-name", f"https://{IN_CLUSTER}")
        assert (url.code, "must be a host name without scheme and port" in url.err) == (2, True)


async def test_environment_variables_replace_options(tmp_path: Path) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        namespace = request.path.split("/")[2]
        document = {"namespace": namespace, "team": "report", "phase": "Delivered", "targets": []}
        return web.json_response(document)

    (tmp_path / "kubectl").write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/asked\necho token\n')
    (tmp_path / "kubectl").chmod(0o755)
    (tmp_path / "token").write_text("from-a-file")
    async with Receiver(respond=answer) as service:
        env = {"DELIVERY_URL": service.url, "DELIVERY_NAMESPACE": "research"}
        env |= {"DELIVERY_SERVICE_ACCOUNT": "editor", "DELIVERY_CONTEXT": "blue", "PATH": str(tmp_path)}
        assert (await run("status", "report", **env)).out == "research/report  Delivered\n"
        typed = ("-n", "other", "--service-account", "ops/me", "--context", "green")
        assert (await run("status", "report", *typed, **env)).out == "other/report  Delivered\n"
        asked = (tmp_path / "asked").read_text().splitlines()
        assert ["--context=blue" in asked[0], "--namespace=research" in asked[0]] == [True, True]
        assert ["--context=green" in asked[1], "--namespace=ops" in asked[1]] == [True, True]
        assert (await run("status", "report", "--token-file", tmp_path / "token", **env)).code == 0
        assert len(asked) == len((tmp_path / "asked").read_text().splitlines()), "options take precedence"
        assert [request.headers["authorization"] for request in service.requests][-1] == "Bearer from-a-file"


async def test_manifests_are_validated_without_a_service(tmp_path: Path) -> None:
    good = Path(__file__).parents[2] / "samples/delivery-team.yaml"
    assert (await run("validate", good)).code == 0
    bad = tmp_path / "bad.yaml"
    bad.write_text(good.read_text().replace("onComplete: deliver", "onComplete: delivr"))
    ran = await run("validate", good, bad)
    line = bad.read_text().splitlines().index("    onComplete: delivr") + 1
    said = f'{bad}:{line}: onComplete: "delivr" is not known; did you mean deliver?\n'
    assert (ran.code, ran.out) == (1, said)


async def test_help_has_examples_and_shell_completion_works() -> None:
    for command in ("deliver", "preview", "status", "redeliver", "test-target", "validate"):
        ran = await run(command, "-h")
        assert (ran.code, f"Example: agentteam-delivery {command}" in ran.out) == (0, True)
    shown = await run("--show-completion", "bash")
    assert (shown.code, "agentteam" in shown.out) == (0, True)
    assert (await run("--version")).out == (await run("version")).out == f"{version('agentteam-delivery')}\n"


@pytest.mark.parametrize(("process", "settings"), [("serve", ServiceSettings), ("watch", WatcherSettings)])
async def test_the_help_of_a_process_lists_its_settings(process: str, settings: type[CommonSettings]) -> None:
    ran = await run(process, "--help")
    listed = re.findall(r"^ (DELIVERY_[A-Z_]+)(?:=.*)?$", ran.out, re.MULTILINE)
    assert listed == [f"DELIVERY_{name.upper()}" for name in settings.model_fields]
    assert " DELIVERY_LOG_LEVEL=INFO\n     DEBUG or INFO or WARNING" in ran.out
    assert max(map(len, ran.out.splitlines())) <= 80
    assert not re.search(r"[`\]]\(|`", ran.out)
