"""Follows a delivery until it is settled."""

import time
from collections.abc import Callable
from typing import Any

from app.console.client import Client

STEP = 0.5  # seconds between two looks at the record


def followed(
    client: Client, report: dict[str, Any], *, seconds: float, show: Callable[[dict[str, Any]], None]
) -> dict[str, Any]:
    """Read the record again until nothing is pending, and return it as it stands then, or after so long."""
    ends = time.monotonic() + seconds
    show(report)
    while report["phase"] == "Pending" and time.monotonic() < ends:
        time.sleep(STEP)
        report = client.read(report["namespace"], report["team"])
        show(report)
    return report
