"""Delivers the outcome of finished AgentTeams."""

from importlib.metadata import version

USER_AGENT = f"agentteam-delivery/{version('agentteam-delivery')}"
