"""The delivery of one event: claim, send, retry, record."""

from app.delivery.desk import Desk

__all__ = ["Desk"]
