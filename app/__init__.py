"""Delivers the outcome of finished AgentTeams."""

from importlib.metadata import version

from app import loading  # noqa: F401  # the first of all

USER_AGENT = f"agentteam-delivery/{version('agentteam-delivery')}"
