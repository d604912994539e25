"""The port: uvicorn behind our own listener, from listening to the last answer."""

from app.server.port import run

__all__ = ["run"]
