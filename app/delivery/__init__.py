"""One event, from accepted to recorded: claim, send, retry, record."""

from app.delivery.dispatcher import Dispatcher

__all__ = ["Dispatcher"]
