"""The operator of release 0.8, in what matters here: it writes a team's status whole, from its own types."""

import itertools
from typing import Any

from tests.harness.kube import TEAMS, Kube

FIELDS = ("type", "target", "deliveredAt", "success", "error")
"""What its type of an entry knows; all else is gone after its next write."""

_numbers = itertools.count(1)


async def operate(kube: Kube, namespace: str, team: str, **status: Any) -> int:
    """Write the status as the operator does, under the version that it read, and again where that is stale.

    Returns what the API server answered in the end.
    """
    while True:
        read = (await kube.get(TEAMS, namespace, team)).body
        entries = read["status"].get("delivery", [])
        typed = [{key: value for key, value in one.items() if key in FIELDS} for one in entries]
        known = {
            "delivery": typed,
            **status,
            "ready": f"1/{next(_numbers)}",
        }  # so that each write changes something
        body = {**read, "status": {**read["status"], **known}}
        answer = await kube.put(TEAMS, namespace, team, body, subresource="status")
        if answer.status != 409:
            return answer.status
