"""OpenTelemetry spans, if enabled; otherwise a span costs almost nothing.

Attributes contain what a log line may: no URL, no secret, no text of an exception.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from importlib.metadata import version
from threading import Thread
from typing import Any, Literal

import structlog
from opentelemetry.context import attach, detach
from opentelemetry.trace import SpanKind, StatusCode, TracerProvider, get_current_span
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from app.domain.errors import SettingsError

log = structlog.get_logger(__name__)

LAST_SPANS = 3.0  # seconds at the end to export the remaining spans

Kind = Literal["INTERNAL", "SERVER", "CLIENT"]
Say = Callable[..., None]
"""Sets attributes of a span once they are known; `failed=True` also marks it as failed."""


class Tracing:
    """The interface for spans; it does nothing until tracing is enabled."""

    def span(
        self,
        name: str,  # noqa: ARG002  # used if tracing is enabled
        kind: Kind = "INTERNAL",  # noqa: ARG002
        **attributes: Any,  # noqa: ARG002
    ) -> AbstractContextManager[Say]:
        """Enter a span below the current one, and yield a function that sets more attributes."""
        return _NONE

    def following(
        self,
        headers: Mapping[str, str],  # noqa: ARG002
    ) -> AbstractContextManager[None]:
        """Continue the trace that a request's headers name (W3C Trace Context), if any."""
        return nullcontext()

    def headers(self) -> dict[str, str]:
        """Return the headers with which a receiver continues the trace."""
        return {}

    def trace_id(self) -> str | None:
        """Return the id of the current trace, as 32 hexadecimal digits."""
        return None


_NONE: AbstractContextManager[Say] = nullcontext(lambda **_: None)


class OpenTelemetryTracing(Tracing):
    """Spans for a provider, which exports them."""

    def __init__(self, provider: TracerProvider) -> None:
        self._tracer = provider.get_tracer("agentteam-delivery", version("agentteam-delivery"))
        self._propagator = TraceContextTextMapPropagator()

    @contextmanager
    def span(self, name: str, kind: Kind = "INTERNAL", **attributes: Any) -> Iterator[Say]:
        """Enter a span; it contains no text of an exception that ends it."""
        with self._tracer.start_as_current_span(
            name,
            kind=SpanKind[kind],
            attributes=_named(attributes),
            record_exception=False,
            set_status_on_exception=False,
        ) as span:

            def say(*, failed: bool = False, **more: Any) -> None:
                span.set_attributes(_named(more))
                if failed:
                    span.set_status(StatusCode.ERROR)

            try:
                yield say
            except BaseException:
                span.set_status(StatusCode.ERROR)
                raise

    @contextmanager
    def following(self, headers: Mapping[str, str]) -> Iterator[None]:
        """Continue a trace inside the block, and in the tasks that start there."""
        token = attach(self._propagator.extract(headers))
        try:
            yield
        finally:
            detach(token)

    def headers(self) -> dict[str, str]:
        """Return `traceparent`; other vendors' data in `tracestate` is not for external receivers."""
        headers: dict[str, str] = {}
        self._propagator.inject(headers)
        headers.pop("tracestate", None)
        return headers

    def trace_id(self) -> str | None:
        """Return the id of the trace; None outside a trace."""
        context = get_current_span().get_span_context()
        return f"{context.trace_id:032x}" if context.is_valid else None


@contextmanager
def exported() -> Iterator[Tracing]:
    """Yield tracing whose spans go where OpenTelemetry's variables say (OTEL_EXPORTER_OTLP_ENDPOINT).

    Raises:
        SettingsError: the extra is not installed.
    """
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # noqa: PLC0415
            OTLPSpanExporter,
        )
        from opentelemetry.sdk import resources, trace  # noqa: PLC0415
        from opentelemetry.sdk.trace.export import (  # noqa: PLC0415
            BatchSpanProcessor,
            SpanExportResult,
        )
    except ImportError:
        raise SettingsError(
            "DELIVERY_TRACING=true requires the extra `tracing`, which is not installed; install"
            " agentteam-delivery[tracing], or the image that is built with it"
        ) from None

    class Told(OTLPSpanExporter):
        """Logs in our own words that spans are not exported: the library quotes addresses and headers."""

        well = True

        def export(self, spans: Sequence[Any]) -> SpanExportResult:
            result = super().export(spans)
            well = result is SpanExportResult.SUCCESS
            if self.well and not well:
                log.warning("spans_not_exported", advice="check the OTEL_EXPORTER_OTLP_… variables")
            self.well = well
            return result

    this = {"service.name": "agentteam-delivery", "service.version": version("agentteam-delivery")}
    try:
        said = resources.OTELResourceDetector().detect()  # OTEL_SERVICE_NAME, OTEL_RESOURCE_ATTRIBUTES
        provider = trace.TracerProvider(resource=resources.Resource.create(this).merge(said))
        provider.add_span_processor(BatchSpanProcessor(Told()))
    except ValueError:
        raise SettingsError("one of OpenTelemetry's variables (OTEL_…) has a value it cannot use") from None
    try:
        yield OpenTelemetryTracing(provider)
    finally:
        # Export the rest; a collector that hangs must not keep the process from ending.
        ending = Thread(target=provider.shutdown, daemon=True)
        ending.start()
        ending.join(LAST_SPANS)


def _named(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Return attributes under their exported names, without those that are None."""
    named = {_NAMES.get(key, f"agentteam.{key}"): value for key, value in attributes.items()}
    return {name: value for name, value in named.items() if value is not None}


_NAMES = {"http_status": "http.response.status_code", "namespace": "k8s.namespace.name"}
