"""The relevant part of the operator of release 0.8: it writes a team's whole status from its own types."""

import itertools
from typing import Any

from tests.harness.kube import TEAMS, Kube

FIELDS = ("type", "target", "deliveredAt", "success", "error")
"""The fields of its type for an entry; its next write removes all others."""

_numbers = itertools.count(1)


async def operate(kube: Kube, namespace: str, team: str, **status: Any) -> int:
    """Write the status as the operator does, under the version that it read; read again on a conflict.

    Returns:
        The API server's last answer.
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
