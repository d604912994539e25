"""Metrics in the format that the scraper requests; by default the oldest one.

https://prometheus.io/docs/instrumenting/content_negotiation/
"""

from collections.abc import Callable, Iterator
from functools import partial

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics

Render = Callable[[CollectorRegistry], bytes]

ESCAPINGS = ("allow-utf-8", "underscores", "dots", "values")
OPENMETRICS = ("1.0.0", "0.0.1")  # the newest first; the output is the same


def exposed(registry: CollectorRegistry, accept: str) -> tuple[bytes, str]:
    """Return the metrics and their content type; ignore unknown parts of `Accept`."""
    for kind, parameters in _accepted(accept):
        if chosen := _format(kind, parameters):
            render, content_type = chosen
            return render(registry), content_type
    return generate_latest(registry), CONTENT_TYPE_PLAIN_0_0_4


def _format(kind: str, parameters: dict[str, str]) -> tuple[Render, str] | None:
    version, escaping = parameters.get("version"), parameters.get("escaping", "underscores")
    known = escaping if escaping in ESCAPINGS else "underscores"
    if kind == "application/openmetrics-text" and (version or OPENMETRICS[0]) in OPENMETRICS:
        said = version or OPENMETRICS[0]
        shown = f"; escaping={known}" if said == OPENMETRICS[0] and "escaping" in parameters else ""
        written = partial(generate_openmetrics, escaping=known, version=said)
        return written, f"{kind}; version={said}; charset=utf-8{shown}"
    if kind == "text/plain" and version == "1.0.0":
        shown = f"; escaping={known}"
        return partial(generate_latest, escaping=known), f"{kind}; version=1.0.0; charset=utf-8{shown}"
    if kind in {"text/plain", "text/*", "*/*"} and version in {None, "0.0.4"}:
        return generate_latest, CONTENT_TYPE_PLAIN_0_0_4
    return None


def _accepted(accept: str) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield the accepted formats, the preferred first (RFC 9110, section 12.5.1)."""
    found = []
    for item in accept.split(","):
        kind, *rest = (part.strip().lower() for part in item.split(";"))
        pairs = (part.partition("=") for part in rest)
        parameters = {name.strip(): value.strip().strip('"') for name, _, value in pairs}
        try:
            weight = float(parameters.pop("q", "1"))
        except ValueError:
            weight = 0.0
        if weight > 0:
            found.append((weight, kind, parameters))
    for _, kind, parameters in sorted(found, key=lambda one: -one[0]):
        yield kind, parameters
