"""Hostile callers: the API's description holds for any input, with and without permissions."""

import asyncio
import sys
from pathlib import Path
from time import monotonic

import pytest

from tests.harness.cluster import Cluster
from tests.harness.fake_cluster import FakeCluster
from tests.harness.receiver import Receiver
from tests.harness.reviews import Permission
from tests.harness.service import Service, lifecycle
from tests.service.conftest import Bench

Fake = Cluster[FakeCluster]

SCHEMATHESIS = Path(sys.executable).with_name("schemathesis")
EXAMPLES = 10
"""Requests per operation and phase."""
PHASES = {
    "all": "examples,coverage,fuzzing,stateful",
    # A caller without permission gets 403, whatever else is in the request.
    "none": "examples,coverage",
    # So does one without a token, with 401; the other two runs try this as well (the check `ignored_auth`).
    "no token": "examples",
}


async def judged(service: Service, token: str | None, phases: str, folder: Path) -> tuple[int, str]:
    """Run schemathesis on every operation; return its exit code and its output."""
    header = [] if token is None else [f"--header=Authorization:Bearer {token}"]
    process = await asyncio.create_subprocess_exec(
        SCHEMATHESIS,
        "run",
        f"{service.url}/openapi.json",
        *header,
        f"--max-examples={EXAMPLES}",
        "--checks=all",
        # A caller without permissions is refused whatever it sends, so valid data is not accepted.
        "--exclude-checks=positive_data_acceptance",
        f"--phases={phases}",
        "--generation-database=none",
        "--continue-on-failure",
        "--no-color",
        cwd=folder,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, said.decode()


@pytest.mark.timeout(300)
@pytest.mark.parametrize("permissions", PHASES)
async def test_every_answer_to_any_input_is_as_documented(
    fake_cluster: Fake, tmp_path: Path, permissions: str
) -> None:
    async with Receiver() as hook, Service(fake_cluster.kubeconfig, auth="kubernetes") as service:
        await fake_cluster.kube.namespace("research")
        await fake_cluster.kube.team(
            "research", "report", lifecycle({"type": "webhook", "name": "slack-1", "url": hook.url})
        )
        await fake_cluster.kube.finish("research", "report")
        granted = [Permission("create"), Permission("get")] if permissions == "all" else []
        token = fake_cluster.server.reviews.token("someone", *granted)
        used = None if permissions == "no token" else token
        code, said = await judged(service, used, PHASES[permissions], tmp_path)
        assert code == 0, said
        assert bool(hook.requests) == (permissions == "all")
        assert not [line for line in service.raw if "Traceback" in line or '"exception"' in line]


JSON = {"Content-Type": "application/json"}
EVENT = b'"namespace": "research", "team": "report"'

TRICKS = [
    ("a key twice", b'{%s, "team": "other"}' % EVENT, "an object has a duplicate key"),
    ("a key twice, one escaped", b'{%s, "te\\u0061m": "other"}' % EVENT, "an object has a duplicate key"),
    ("NaN", b'{%s, "uid": NaN}' % EVENT, "NaN and Infinity are not JSON numbers"),
    ("Infinity", b'{%s, "uid": -Infinity}' % EVENT, "NaN and Infinity are not JSON numbers"),
    ("a huge number", b'{%s, "uid": %s}' % (EVENT, b"9" * 100_000), "not valid JSON"),
    ("a huge exponent", b'{%s, "uid": 1e999999}' % EVENT, "uid: "),
    ("lists in lists", b'{%s, "targets": %s}' % (EVENT, b"[" * 50_000), "more than 10000 lists"),
    (
        "closed lists in lists",
        b'{%s, "targets": %s}' % (EVENT, b"[" * 17 + b"]" * 17),
        "more than 16 deep",
    ),
    ("objects in objects", b'{%s, "uid": %s}' % (EVENT, b'{"a":' * 50_000), "more than 10000 lists"),
    ("many flat lists", b'{%s, "targets": [%s[]]}' % (EVENT, b"[]," * 300_000), "more than 10000 lists"),
    ("many flat names", b'{%s, "targets": [%s""]}' % (EVENT, b'"",' * 300_000), "targets"),
    ("many numbers", b'{%s, "targets": [%s0]}' % (EVENT, b"0," * 500_000), "targets"),
    (
        "many unknown fields",
        b"{%s, %s}" % (EVENT, b",".join(b'"x%d": 0' % number for number in range(80_000))),
        "an event has no more than 8 fields",
    ),
    ("brackets in text", b'{%s, "uid": "%s"}' % (EVENT, b"[" * 1000), "uid: "),
    ("an open quotation", b'{%s, "uid": "%s' % (EVENT, b"[" * 1000), "not valid JSON"),
    ("UTF-16", '{"namespace": "research", "team": "report"}'.encode("utf-16"), "not valid JSON"),
    ("a byte order mark", b"\xef\xbb\xbf{%s}" % EVENT, "not valid JSON: Unexpected UTF-8 BOM"),
    ("an overlong encoding", b'{%s, "uid": "\xc0\xaf"}' % EVENT, "not valid JSON"),
    ("a lone surrogate", b'{%s, "uid": "\\ud800"}' % EVENT, ""),
    ("a comment", b"{%s /* */}" % EVENT, "not valid JSON"),
    ("two documents", b"{%s}{%s}" % (EVENT, EVENT), "not valid JSON"),
    ("NUL", b"{%s}\x00" % EVENT, "not valid JSON"),
    ("a prototype", b'{%s, "__proto__": {"x": 1}}' % EVENT, "__proto__: is not a field"),
]


@pytest.mark.parametrize(("body", "says"), [row[1:] for row in TRICKS], ids=[row[0] for row in TRICKS])
async def test_ambiguous_or_oversized_json_is_refused(bench: Bench, body: bytes, says: str) -> None:
    asked = monotonic()
    answer = await bench.service.request("POST", "/deliveries", data=body, headers=JSON)
    assert (answer.status, answer.problem) == (422, "malformed")
    assert says in answer.body["detail"]
    assert len(answer.content) < 10_000
    assert monotonic() - asked < 2


PATHS = [
    "/deliveries/../healthz",
    "/deliveries/research/..",
    "/deliveries/research/%2e%2e%2fsecrets",
    "/deliveries/research/..%2f..%2fsecrets%2fkeys",
    "/deliveries/research%2freport/report",
    "/deliveries/research/report/status",
    "/deliveries/research/report%00",
    "/deliveries/research/report%0d%0aX:1",
    "/deliveries/research/report%3Fx=1",
    "/deliveries//report",
    "/deliveries/research/",
    "//deliveries/research/report",
    "/deliveries/research/%ff",
    "/deliveries/research/r\u00e9port",
    "/deliveries/RESEARCH/report",
    "/deliveries/research/report;x=1",
    "/DELIVERIES/research/report",
    f"/deliveries/research/{'a' * 8000}",
]


@pytest.mark.parametrize("path", PATHS)
async def test_no_path_reaches_anything_except_a_team(bench: Bench, path: str) -> None:
    requested = len(bench.server.requests)
    reader, writer = await asyncio.open_connection("127.0.0.1", bench.service.port)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    async with asyncio.timeout(5):
        head, _, _ = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    assert head[9:12] in {b"400", b"404", b"422"}
    assert b"content-type: application/problem+json" in head
    asked = [path for _, path in bench.server.requests[requested:]]
    assert not [path for path in asked if "secrets" in path or "deliveries" in path or ".." in path]


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE", "TRACE", "PROPFIND"])
async def test_other_methods_are_refused_as_problems(bench: Bench, method: str) -> None:
    answer = await bench.service.request(method, "/deliveries")
    assert answer.status == 405
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["allow"] == "GET, POST"
