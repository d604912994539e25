"""Examples that several tests use and vary."""

import asyncio
from datetime import UTC, datetime
from typing import Any

from hypothesis import HealthCheck, settings

from app.domain.targets import Target
from app.domain.teams import AgentTeam
from app.senders.artifacts import Artifacts
from app.senders.envelopes import Artifact, Envelope, Listing
from app.settings import ServiceSettings

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
CANARY = "canary-d41d8cd98f"
"""A secret: if an output contains it, something leaks."""

unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""For properties: how fast an example runs says more of the machine's other work than of ours."""


class Clock:
    """A clock that stands still until a test moves it."""

    def __init__(self) -> None:
        self.now = 1000.0  # seconds

    def __call__(self) -> float:
        return self.now


def team(
    delivery: Any = (), *, entries: Any = (), name: str = "report", lifecycle: Any = None, **status: Any
) -> AgentTeam:
    """Read a finished team that requests delivery to the given targets."""
    return AgentTeam.from_resource(
        {
            "metadata": {"namespace": "research", "name": name, "uid": "uid-1", "resourceVersion": "7"},
            "spec": {"lifecycle": {"onComplete": "deliver", "delivery": list(delivery), **(lifecycle or {})}},
            "status": {"phase": "Completed", "delivery": list(entries), **status},
        }
    )


def envelope(**changes: Any) -> Envelope:
    """Make the envelope for that team."""
    given: dict[str, Any] = {
        "id": "msg_0123456789abcdef",
        "event": "team.completed",
        "team": "report",
        "namespace": "research",
        "phase": "Completed",
        "message": "Team report in research finished: Completed.",
    }
    return Envelope(**{**given, **changes, "artifacts": Listing(changes.get("artifacts", ()))})


def picked(finished: AgentTeam, target: Target) -> Listing:
    """Select the artifacts that the notification to a target lists."""
    return asyncio.run(Artifacts(finished).listed_for(target))


def artifact(path: str, name: str, by: str | None = None, at: str | None = None) -> Artifact:
    """Make an artifact of the team."""
    return Artifact(name=name, path=path, producedBy=by, producedAt=at)


def on_one_line(text: str) -> bool:
    """Whether a text has no control character; the joiners U+200C and U+200D are allowed, as in all texts."""
    return text.translate({0x200C: None, 0x200D: None}).isprintable()


def loopback_settings(**changes: Any) -> ServiceSettings:
    """Make settings that permit receivers on 127.0.0.1, also without TLS."""
    return ServiceSettings.load(**{"egress_allow": "127.0.0.1/32", "egress_http": True, **changes})
