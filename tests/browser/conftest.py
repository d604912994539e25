"""Fixtures of the service's own tests, for pages that need no browser."""

from tests.service.conftest import bench

__all__ = ["bench"]
