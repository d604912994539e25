"""Spans: which exist, what they contain, and how they are exported."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from aiohttp import web
from google.protobuf.json_format import MessageToDict
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from app.main import create_app
from app.settings import ServiceSettings
from app.telemetry.tracing import OpenTelemetryTracing
from tests.canaries import assert_absent
from tests.examples import CANARY
from tests.harness.cluster import Cluster
from tests.harness.fake_cluster import FakeCluster
from tests.harness.receiver import Receiver, ok
from tests.harness.service import LOOPBACK, SCRIPT, Program, Service, finished
from tests.harness.waiting import until

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT, CALLER = f"00-{TRACE}-b7ad6b7169203331-01", 0xB7AD6B7169203331


@pytest.fixture
def spans() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
async def caller(
    fake_cluster: Cluster[FakeCluster], spans: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[httpx.AsyncClient]:
    """Call a service in this process whose spans stay in memory."""
    monkeypatch.setenv("KUBECONFIG", str(fake_cluster.kubeconfig))
    for name, value in LOOPBACK.items():
        monkeypatch.setenv(name, value)
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(spans))
    settings = ServiceSettings.load(auth="none", backoff_initial=0.01)
    app = create_app(settings, tracing=OpenTelemetryTracing(provider))
    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://service") as client,
    ):
        yield client


def named(spans: InMemorySpanExporter, name: str) -> list[ReadableSpan]:
    return [span for span in spans.get_finished_spans() if span.name == name]


def said(span: ReadableSpan) -> dict[str, Any]:
    return {name.rpartition(".")[2]: value for name, value in (span.attributes or {}).items()}


def parent(span: ReadableSpan) -> int | None:
    return span.parent.span_id if span.parent else None


async def test_an_event_s_spans_form_one_trace_that_receivers_continue(
    fake_cluster: Cluster[FakeCluster], spans: InMemorySpanExporter, caller: httpx.AsyncClient
) -> None:
    refusals = [web.Response(status=503)]

    async def twice(request: web.Request) -> web.StreamResponse:
        return refusals.pop() if refusals and request.path == "/hook" else await ok(request)

    async with Receiver(respond=twice) as receiver:
        namespace = await finished(
            fake_cluster.kube,
            {"type": "webhook", "name": "hook", "url": f"{receiver.url}/hook"},
            {"type": "slack", "name": "slack", "credentialsSecret": "keys"},
            keys={"slack-webhook-url": f"{receiver.url}/services/{CANARY}"},
        )
        event = {"namespace": namespace, "team": "report"}
        answer = await caller.post(
            "/deliveries", json=event, headers={"traceparent": PARENT, "tracestate": "a=b"}
        )
        assert answer.json()["phase"] == "Delivered"

        [whole], [claim] = named(spans, "event"), named(spans, "claim")
        assert parent(whole) == CALLER
        assert {f"{span.context.trace_id:032x}" for span in spans.get_finished_spans()} == {TRACE}
        assert said(whole) == {"name": namespace, "team": "report", "phase": "Completed", "claims": 2}
        targets = {said(span)["target"]: span for span in named(spans, "target")}
        assert {parent(span) for span in (claim, *targets.values(), *named(spans, "record"))} == {
            whole.context.span_id
        }
        assert {span.status.status_code.name for span in (whole, *targets.values())} == {"UNSET"}
        attempts = [
            span for span in named(spans, "attempt") if parent(span) == targets["hook"].context.span_id
        ]
        assert [(said(span)["attempt"], said(span)["reason"]) for span in attempts] == [
            (1, "HTTPStatus"),
            (2, "Delivered"),
        ]
        assert [span.status.status_code.name for span in attempts] == ["ERROR", "UNSET"]
        hooks = [request for request in receiver.requests if request.path == "/hook"]
        assert [request.headers["traceparent"].split("-")[1:3] for request in hooks] == [
            [TRACE, f"{span.context.span_id:016x}"] for span in attempts
        ]
        [slack] = [request for request in receiver.requests if request.path != "/hook"]
        assert "traceparent" not in slack.headers
        assert not any("tracestate" in request.headers for request in receiver.requests)
        assert_absent("the spans", "\n".join(span.to_json() for span in spans.get_finished_spans()))


async def test_a_span_ended_by_an_exception_does_not_contain_its_text(spans: InMemorySpanExporter) -> None:
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(spans))
    tracing = OpenTelemetryTracing(provider)
    with pytest.raises(ValueError, match=CANARY), tracing.span("event"):
        raise ValueError(CANARY)
    [span] = spans.get_finished_spans()
    assert span.status.status_code.name == "ERROR"
    assert_absent("the span", span.to_json())


async def test_the_span_of_a_refused_event_says_why(
    spans: InMemorySpanExporter, caller: httpx.AsyncClient
) -> None:
    answer = await caller.post("/deliveries", json={"namespace": "default", "team": "nobody"})
    assert answer.status_code == 404
    assert said(named(spans, "event")[0])["refused"] == "team-not-found"


async def test_spans_are_exported_by_otlp_and_log_lines_have_their_trace(
    fake_cluster: Cluster[FakeCluster], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Receiver() as collector, Receiver() as hook:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
        monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test")
        monkeypatch.setenv("FASTAPI_OTEL_AUTO_CONFIGURE", "true")  # asks FastAPI for spans of its own
        async with Service(fake_cluster.kubeconfig, tracing=True) as service:
            namespace = await finished(fake_cluster.kube, {"type": "webhook", "url": hook.url})
            assert (await service.deliver(namespace, "report")).body["phase"] == "Delivered"
        [line] = service.logged("target_settled")
        exported = [_decoded(request.body) for request in collector.requests]
        assert {request.path for request in collector.requests} == {"/v1/traces"}
    resources = [resource for document in exported for resource in document["resourceSpans"]]
    attributes = {one["key"]: one["value"]["stringValue"] for one in resources[0]["resource"]["attributes"]}
    assert attributes["service.name"] == "agentteam-delivery"
    assert attributes["deployment.environment.name"] == "test"
    found = [
        span["name"] for resource in resources for scope in resource["scopeSpans"] for span in scope["spans"]
    ]
    assert sorted(set(found)) == ["attempt", "claim", "event", "record", "target"]
    assert hook.requests[0].headers["traceparent"].split("-")[1] == line["trace_id"]


def _decoded(body: bytes) -> dict[str, Any]:
    request = ExportTraceServiceRequest()
    request.ParseFromString(body)
    document: dict[str, Any] = MessageToDict(request)
    return document


@pytest.mark.parametrize("status", [None, 503], ids=["away", "refusing"])
async def test_a_collector_that_does_not_answer_costs_a_log_line_and_shows_no_secret(
    fake_cluster: Cluster[FakeCluster], monkeypatch: pytest.MonkeyPatch, status: int | None
) -> None:
    async def refuse(_: web.Request) -> web.StreamResponse:
        return web.Response(status=503, reason=CANARY)

    async with Receiver(respond=refuse) as collector, Receiver() as hook:
        url = "http://127.0.0.1:1" if status is None else collector.url
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", f"{url}/v1/traces?key={CANARY}")
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", f"Authorization: Bearer {CANARY}")
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
        async with Service(fake_cluster.kubeconfig, tracing=True, log_level="DEBUG") as service:
            for _ in range(3):
                namespace = await finished(fake_cluster.kube, {"type": "webhook", "url": hook.url})
                assert (await service.deliver(namespace, "report")).body["phase"] == "Delivered"
            await until(lambda: service.logged("spans_not_exported"), 30)
            assert await asyncio.wait_for(service.stop(), 10) == 0
        assert len(service.logged("spans_not_exported")) == 1
        assert_absent("the log", "".join(service.raw))


async def test_an_invalid_opentelemetry_variable_ends_the_process_with_a_sentence(
    fake_cluster: Cluster[FakeCluster], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "9999")
    code, said = await ended(fake_cluster, {})
    assert code == 2
    assert "OTEL_" in said


async def test_without_the_extra_the_process_ends_with_a_sentence(
    fake_cluster: Cluster[FakeCluster], tmp_path: Path
) -> None:
    (tmp_path / "sitecustomize.py").write_text("import sys; sys.modules['opentelemetry.sdk'] = None")
    code, said = await ended(fake_cluster, {"PYTHONPATH": str(tmp_path)})
    assert code == 2
    assert "install agentteam-delivery[tracing]" in said
    assert "Traceback" not in said


async def ended(cluster: Cluster[FakeCluster], env: dict[str, str]) -> tuple[int | None, str]:
    """Start a service with tracing that must not start; return its exit code and its output."""
    program = Program("serve", cluster.kubeconfig, {"auth": "none", "port": 0, "tracing": True})
    process = await asyncio.create_subprocess_exec(
        SCRIPT, "serve", env=program.environment() | env, stderr=asyncio.subprocess.PIPE
    )
    _, said = await asyncio.wait_for(process.communicate(), 60)
    return process.returncode, said.decode()
