"""The port: uvicorn behind our own listener, from the first connection to the last answer."""

from app.server.port import run

__all__ = ["run"]
