"""Runs steps with the generated Python client, and prints the result of each like the other drivers.

As a process, with steps as JSON on its input: python driver.py URL
"""

import json
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
from agentteam_delivery_client import AuthenticatedClient
from agentteam_delivery_client.api.deliveries import deliver, preview, read_delivery
from agentteam_delivery_client.errors import UnexpectedStatus
from agentteam_delivery_client.models import (
    CompletionEvent,
    CompletionEventRedeliver,
    Previewed,
    ProblemDetails,
    Report,
)
from agentteam_delivery_client.types import UNSET, Response


def main() -> None:
    """Run the steps in order with one client, whose token may change at each step."""
    steps: list[dict[str, str]] = json.load(sys.stdin)
    token = ""

    def with_token(request: httpx.Request) -> httpx.Request:
        request.headers["Authorization"] = f"Bearer {token}"
        return request

    results = []
    with AuthenticatedClient(
        sys.argv[1],
        token="",
        timeout=httpx.Timeout(60),
        raise_on_unexpected_status=True,
        httpx_args={"auth": with_token},
    ) as client:
        for step in steps:
            token = step["token"]
            try:
                answer = answered(client, step)
            except (UnexpectedStatus, ValueError, KeyError, TypeError) as error:
                results.append({"raised": type(error).__name__})
            else:
                results.append(told(answer))
    json.dump(results, sys.stdout)


def answered(
    client: AuthenticatedClient, step: dict[str, str]
) -> Response[Previewed | ProblemDetails] | Response[Report | ProblemDetails]:
    namespace, team = step["namespace"], step["team"]
    if step["call"] == "read":
        return read_delivery.sync_detailed(namespace, team, client=client)
    redeliver = CompletionEventRedeliver(step.get("redeliver", "none"))
    event = CompletionEvent(namespace, team, redeliver=redeliver)
    if step["call"] == "preview":
        return preview.sync_detailed(client=client, body=event)
    return deliver.sync_detailed(client=client, body=event, prefer=step.get("prefer", UNSET))


def told(answer: Response[Any]) -> dict[str, Any]:
    """Describe an answer in the same form as the other drivers."""
    match answer.parsed:
        case Report() as report:
            where = answer.headers.get("location")
            return {
                **({"location": where} if where else {}),
                "phase": report.phase.value,
                "targets": [
                    {
                        "name": one.name,
                        "phase": one.phase.value,
                        "reason": one.reason,
                        "httpStatus": one.http_status,
                        "changedLately": lately(one.timestamp),
                    }
                    for one in report.targets
                ],
            }
        case Previewed() as previewed:
            return {"would": {one.name: one.would.value for one in previewed.targets}}
        case ProblemDetails() as problem:
            return {"problem": problem.type_, "status": problem.status, **dict(particulars(answer, problem))}
    raise TypeError(f"answered {answer.status_code}, and nothing that the client can read")


def lately(time: datetime | None) -> bool:
    """Return whether a time is within the current hour, as that of a recent change must be."""
    return time is not None and abs(datetime.now(UTC) - time) < timedelta(hours=1)


def particulars(answer: Response[Any], problem: ProblemDetails) -> Iterator[tuple[str, Any]]:
    assert answer.status_code == problem.status
    assert problem.detail
    if problem.errors:
        yield "errors", problem.errors
    if "retry-after" in answer.headers:
        yield "retryAfter", int(answer.headers["retry-after"])


if __name__ == "__main__":
    main()
