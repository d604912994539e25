"""The sidecar: watches AgentTeams and submits those that need delivery to the service."""

from app.watcher.pace import Pace
from app.watcher.process import watch, watch_until

__all__ = ["Pace", "watch", "watch_until"]
