"""Examples for the API's description: requests, answers, and each problem.

A mock server answers with them, and people read them at `/docs`.
"""

from typing import Any

from app.delivery.judge import UNASKED
from app.domain.errors import (
    BadRequest,
    BodyTooLarge,
    ClaimInFlight,
    ClusterUnavailable,
    Draining,
    Forbidden,
    HeadTooLarge,
    Internal,
    LedgerNotKept,
    LedgerRefused,
    Malformed,
    PhaseNotTerminal,
    Problem,
    RateLimited,
    ReadTimeout,
    TeamNotFinished,
    TeamNotFound,
    TooBusy,
    TooManyTargets,
    UidChanged,
    Unauthenticated,
    UnknownTarget,
)
from app.domain.problems import ProblemDetails

Examples = dict[str, Any]
"""Examples by name, each with its `summary` and its `value`."""

TEAM: dict[str, Any] = {
    "namespace": "research",
    "team": "report",
    "uid": "0b7c0f9e-0b0e-4f0e-8a53-3c3f5a0b3c11",
}

EVENTS: Examples = {
    "deliver": {
        "summary": "A team has finished: send its notifications",
        "value": {"namespace": "research", "team": "report"},
    },
    "only-this-team": {"summary": "The same, unless the team was recreated", "value": TEAM},
    "redeliver-failed": {
        "summary": "Send failed targets again",
        "value": {"namespace": "research", "team": "report", "redeliver": "failed"},
    },
    "test": {
        "summary": "Test one target: the notification says that it is a test, and nothing is recorded",
        "value": {"namespace": "research", "team": "report", "targets": ["slack"], "test": True},
    },
}

_ARCHIVED: dict[str, Any] = {
    "name": "archive",
    "type": "webhook",
    "target": "https://hooks.example.com/reports",
    "success": True,
    "deliveredAt": "2026-11-05T14:03:11Z",
    "error": "",
    "phase": "Delivered",
    "reason": "Delivered",
    "message": "answered 200",
    "httpStatus": 200,
    "attempts": 1,
    "timestamp": "2026-11-05T14:03:11Z",
    "id": "msg_51741cb3965c58f3b0964f7977df8786",
    "claimedBy": "agentteam-delivery-6c5d8f7b9-x2x7k",
    "claimedUntil": None,
    "retryAt": None,
    "takeovers": 0,
    "redeliveries": 0,
    "retries": 0,
    "accepted": [],
}
_REFUSED = {
    **_ARCHIVED,
    "name": "slack",
    "type": "slack",
    "target": "secret/slack",
    "success": False,
    "error": (
        "SecretNotFound: there is no Secret slack in namespace research"
        " [agentteam-delivery/1 id=msg_0d2f9c7a4b1e53d8a6c0b7e95f3d2a18 name=slack"
        " holder=agentteam-delivery-6c5d8f7b9-x2x7k]"
    ),
    "phase": "Failed",
    "reason": "SecretNotFound",
    "message": "there is no Secret slack in namespace research",
    "httpStatus": None,
    "attempts": 0,
    "id": "msg_0d2f9c7a4b1e53d8a6c0b7e95f3d2a18",
}
_CLAIMED = {
    **_ARCHIVED,
    "success": False,
    "deliveredAt": "2026-11-05T14:03:10Z",
    "error": (
        "Pending: it is being sent, until 2026-11-05T14:05:10Z at the latest"
        " [agentteam-delivery/1 id=msg_51741cb3965c58f3b0964f7977df8786 name=archive"
        " holder=agentteam-delivery-6c5d8f7b9-x2x7k until=2026-11-05T14:05:10Z]"
    ),
    "phase": "Pending",
    "reason": None,
    "message": "",
    "httpStatus": None,
    "attempts": 0,
    "timestamp": "2026-11-05T14:03:10Z",
    "claimedUntil": "2026-11-05T14:05:10Z",
}
_POSTPONED = {
    **_CLAIMED,
    "error": (
        "Pending: next try at 2026-11-05T14:04:20Z; last attempt: answered 503 Service Unavailable, after 4"
        " attempts [agentteam-delivery/1 id=msg_51741cb3965c58f3b0964f7977df8786 name=archive"
        " retry=2026-11-05T14:04:20Z reason=HTTPStatus status=503 attempts=4 retries=1]"
    ),
    "reason": "HTTPStatus",
    "message": "answered 503 Service Unavailable, after 4 attempts",
    "httpStatus": 503,
    "attempts": 4,
    "claimedBy": None,
    "claimedUntil": None,
    "retryAt": "2026-11-05T14:04:20Z",
    "retries": 1,
}


def _report(phase: str, *targets: dict[str, Any], **fields: object) -> dict[str, Any]:
    return {**TEAM, "phase": phase, "recorded": True, "reason": None, "targets": list(targets), **fields}


_DELIVERED = {"summary": "Every target was delivered", "value": _report("Delivered", _ARCHIVED)}
_IN_PART = {
    "summary": "One target was delivered, the other failed",
    "value": _report("PartiallyDelivered", _ARCHIVED, _REFUSED),
}
_UNDER_WAY = {"summary": "Claimed, in progress", "value": _report("Pending", _CLAIMED)}
_LATER = {"summary": "The receiver is down; the service retries", "value": _report("Pending", _POSTPONED)}
_PREVIEWED: dict[str, Any] = {
    **TEAM,
    "phase": "Completed",
    "reason": None,
    "dryRun": "All",
    "targets": [
        {
            "name": "archive",
            "type": "webhook",
            "target": "https://hooks.example.com/reports",
            "would": "Send",
            "reason": None,
            "message": "",
            "request": {
                "method": "POST",
                "url": "https://hooks.example.com/reports",
                "headers": {"content-type": "application/json", "webhook-signature": "…"},
                "body": (
                    '{"event":"team.completed","team":"report","namespace":"research","phase":"Completed",'
                    '"message":"Team report: Completed.","artifacts":[]}'
                ),
            },
        },
        {
            "name": "slack",
            "type": "slack",
            "target": "secret/slack",
            "would": "Fail",
            "reason": "SecretNotFound",
            "message": "there is no Secret slack in namespace research",
            "request": None,
        },
    ],
}

ANSWERS: dict[tuple[str, str], Examples] = {
    ("deliver", "200"): {
        "delivered": _DELIVERED,
        "failed-in-part": _IN_PART,
        "skipped": {
            "summary": "The team requests no delivery",
            "value": _report("Skipped", reason=UNASKED),
        },
    },
    ("deliver", "202"): {"under-way": _UNDER_WAY, "put-off": _LATER},
    ("preview", "200"): {"previewed": {"summary": "One would be sent, one would fail", "value": _PREVIEWED}},
    ("listDeliveries", "200"): {
        "found": {
            "summary": "One team has a target that failed, and there is another page",
            "value": {
                "items": [_report("PartiallyDelivered", _REFUSED)],
                "next": "WzAsICJleUoySWpvaWJXVjBZUyJd",
            },
        },
        "last": {"summary": "The last page, without a matching team", "value": {"items": [], "next": None}},
    },
    ("readDelivery", "200"): {
        "delivered": _DELIVERED,
        "failed-in-part": _IN_PART,
        "under-way": _UNDER_WAY,
        "put-off": _LATER,
        "not-begun": {
            "summary": "Nothing is on record yet",
            "value": _report(
                "Pending", reason='the team is in phase "Running"; it is delivered when it has finished'
            ),
        },
        "not-asked": {
            "summary": "Nothing will be on record",
            "value": _report(
                "Skipped", reason="this installation does not deliver teams with the phase Failed"
            ),
        },
    },
    ("healthz", "200"): {
        "alive": {"summary": "The process is alive", "value": {"status": "ok", "checks": {}}}
    },
    ("readyz", "200"): {
        "ready": {
            "summary": "The service accepts events",
            "value": {"status": "ok", "checks": {"kubernetes": "ok", "accepting": "ok"}},
        }
    },
    ("readyz", "503"): {
        "draining": {
            "summary": "The service is shutting down",
            "value": {"status": "failing", "checks": {"kubernetes": "not asked", "accepting": "draining"}},
        }
    },
    ("metrics", "200"): {
        "metrics": {
            "summary": "One of the metrics",
            "value": (
                "# HELP agentteam_delivery_build_info Which version this is.\n"
                "# TYPE agentteam_delivery_build_info gauge\n"
                'agentteam_delivery_build_info{version="0.2.0"} 1.0\n'
            ),
        }
    },
}
"""By operation and status; errors are in `PROBLEMS`."""

HEADERS: dict[str, Any] = {
    "Location": "/deliveries/research/report",
    "Retry-After": 5,
    "WWW-Authenticate": "Bearer",
    "X-Request-Id": "5f2b7d0c9e3a4c1f8b6d2e7a90c4f153",
}

_HOW = "for audience agentteam-delivery, as `kubectl create token NAME --audience=agentteam-delivery` makes"
_WRONG = "namespace: must be a lower-case DNS name, as Kubernetes names are"

_PROBLEMS: tuple[Problem, ...] = (
    BadRequest("this port supports HTTP/1.1 and HTTP/1.0; use one of these"),
    ReadTimeout("the request was not complete within 10 s; send it at once"),
    HeadTooLarge("the headers are larger than 65536 bytes; send less of them"),
    Unauthenticated(f"the token is not valid or has expired; send one {_HOW}"),
    Forbidden(
        "system:serviceaccount:ops:my-controller may not create agentteams/delivery of agentteams.example.com"
        " in namespace research; to grant it, run: kubectl create rolebinding my-controller -n research"
        " --clusterrole=agentteam-delivery-caller --serviceaccount=ops:my-controller"
    ),
    TeamNotFound('there is no AgentTeam "report" in namespace "research"'),
    UidChanged("the team of this name has another uid: it was deleted and recreated"),
    TeamNotFinished('the team is in phase "Running"; submit it when it has finished'),
    ClaimInFlight('"archive" is in progress, until 2026-11-05T14:05:10Z at the latest; retry then'),
    BodyTooLarge("the body is too large; send less"),
    Malformed(f"nothing was done: {_WRONG}"),
    PhaseNotTerminal("phase must be one of Completed, Failed, TimedOut, BudgetExceeded, or left out"),
    UnknownTarget('the team has no target "slakc"; it has: archive, slack'),
    TooManyTargets("the team lists 51 targets, and at most 50 are served; nothing was sent"),
    Internal("an unexpected KeyError; the service's log says where"),
    LedgerNotKept(
        "the cluster's AgentTeam CRD drops status.delivery or fields of it, so nothing was sent; bring"
        " the operator's CRD to release 0.8, or apply this project's patch of it",
        recorded=False,
    ),
    LedgerRefused(
        "nothing was sent: with the record of its targets the team would be larger than the API server"
        " accepts; give it fewer targets, or shorter ones",
        recorded=False,
    ),
    TooBusy(
        '100 events are in progress (at most 200), 100 of them of namespace "research", and capacity is kept'
        " for others; retry"
    ),
    RateLimited("more than 20 requests per second; retry later"),
    Draining("this replica is shutting down; retry"),
    ClusterUnavailable("nothing was sent: the Kubernetes API answered 503"),
)


def _shown(problem: Problem) -> dict[str, Any]:
    errors = [_WRONG] if isinstance(problem, Malformed) else None
    return ProblemDetails.of(problem, errors).model_dump(exclude_none=True)


PROBLEMS: dict[type[Problem], dict[str, Any]] = {
    type(problem): {"summary": problem.title, "value": _shown(problem)} for problem in _PROBLEMS
}
"""One example for each problem that an operation can answer with."""
