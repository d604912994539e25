"""Delivers one event: claims its targets, sends, retries, records."""

from app.delivery.desk import Desk

__all__ = ["Desk"]
