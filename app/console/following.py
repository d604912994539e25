"""Follows a delivery until it is settled."""

import time
from collections.abc import Callable
from typing import Any

from app.console.client import Client
from app.console.trouble import Away

STEP = 0.5  # seconds between two reads of the record


def next_try(report: dict[str, Any]) -> str | None:
    """Return when a delivery continues whose pending targets are all postponed; None: one is in progress."""
    pending = [target for target in report["targets"] if target["phase"] == "Pending"]
    times = [one.get("retryAt") for one in pending if not one.get("claimedBy")]
    if not pending or len(times) < len(pending) or not all(isinstance(time, str) for time in times):
        return None
    return min(map(str, times))


def followed(
    client: Client, report: dict[str, Any], *, seconds: float, show: Callable[[dict[str, Any]], None]
) -> dict[str, Any]:
    """Read the record until nothing is in progress, or for at most `seconds`; return the last record.

    If the service is unavailable meanwhile, wait for it.

    Raises:
        Away: it was still unavailable at the end.
        Trouble: it refuses the request.
    """
    ends = time.monotonic() + seconds
    show(report)
    while report["phase"] == "Pending" and next_try(report) is None and (left := ends - time.monotonic()) > 0:
        time.sleep(min(STEP, left))
        try:
            report = client.read(report["namespace"], report["team"])
        except Away:
            if time.monotonic() >= ends:
                raise
            continue
        show(report)
    return report
