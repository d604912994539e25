"""Follows a delivery until it is settled."""

import time
from collections.abc import Callable
from typing import Any

from app.console.client import Client
from app.console.trouble import Away

STEP = 0.5  # seconds between two looks at the record


def followed(
    client: Client, report: dict[str, Any], *, seconds: float, show: Callable[[dict[str, Any]], None]
) -> dict[str, Any]:
    """Read the record again until nothing is pending, and return it as it stands then, or after so long.

    A service that is away meanwhile is waited for.

    Raises:
        Away: it still was at the end.
        Trouble: it refuses.
    """
    ends = time.monotonic() + seconds
    show(report)
    while report["phase"] == "Pending" and (left := ends - time.monotonic()) > 0:
        time.sleep(min(STEP, left))
        try:
            report = client.read(report["namespace"], report["team"])
        except Away:
            if time.monotonic() >= ends:
                raise
            continue
        show(report)
    return report
