"""One event, from accepted to recorded: claim, send, retry, record."""

from app.delivery.desk import Desk

__all__ = ["Desk"]
