"""Delivers the outcome of finished AgentTeams."""
