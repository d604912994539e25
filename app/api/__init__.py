"""The HTTP API: who may call, what is asked, what is answered."""

from app.api.installing import install
from app.api.service import Service

__all__ = ["Service", "install"]
