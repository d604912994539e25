"""The HTTP API: who may call, what is asked, what is answered."""

from app.api.routes import Service, install

__all__ = ["Service", "install"]
