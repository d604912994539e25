"""The HTTP API: authentication, requests and answers."""

from app.api.installing import install
from app.api.service import Service

__all__ = ["Service", "install"]
