"""Metrics come in the requested format, and by default in the oldest."""

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families as read_text

from app.telemetry.metrics import Metrics

TEXT = "text/plain; version=0.0.4; charset=utf-8"
OLD, NEW = (
    f"application/openmetrics-text; version={version}; charset=utf-8" for version in ("0.0.1", "1.0.0")
)
PROMETHEUS_2 = (
    "application/openmetrics-text;version=1.0.0;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,"
    "text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)
PROMETHEUS_3 = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,"
    "application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,"
    "text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)


@pytest.mark.parametrize(
    ("accept", "answered"),
    [
        ("", TEXT),
        ("*/*", TEXT),
        ("text/*", TEXT),
        ("text/plain", TEXT),
        ("text/plain;version=0.0.4", TEXT),
        ("text/plain; version=1.0.0", "text/plain; version=1.0.0; charset=utf-8; escaping=underscores"),
        ("application/openmetrics-text", NEW),
        ("application/openmetrics-text; version=1.0.0", NEW),
        ("application/openmetrics-text; version=0.0.1", OLD),
        ('application/openmetrics-text; version="0.0.1"', OLD),
        ("application/openmetrics-text; version=2.0.0", TEXT),
        (
            "application/openmetrics-text; version=2.0.0, application/openmetrics-text; version=0.0.1;q=0.1",
            OLD,
        ),
        ("text/plain;version=0.0.4;q=0.9, application/openmetrics-text;version=1.0.0;q=0.5", TEXT),
        ("application/openmetrics-text; version=1.0.0; q=0, */*", TEXT),
        ("application/openmetrics-text; version=1.0.0; q=nonsense", TEXT),
        ("application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited", TEXT),
        (";;,,;=,q", TEXT),
        (PROMETHEUS_2, NEW),
        (PROMETHEUS_3, f"{NEW}; escaping=allow-utf-8"),
    ],
)
def test_the_requested_version_is_returned(accept: str, answered: str) -> None:
    metrics = Metrics()
    metrics.count_request("/deliveries", 200, 0.01)
    body, content_type = metrics.render(accept)
    assert content_type == answered
    text = body.decode()
    assert text.endswith("# EOF\n") == content_type.startswith("application/openmetrics-text")
    read = read_openmetrics if "openmetrics" in content_type else read_text
    samples = [one for family in read(text) for one in family.samples]
    [counted] = [one.value for one in samples if one.labels == {"route": "/deliveries", "status": "200"}]
    assert counted == 1
