"""The port: uvicorn behind a door of ours, from listening to the last answer."""

from app.server.port import run

__all__ = ["run"]
