"""Fixtures of the service's own tests, for pages that do not need a browser."""

from tests.service.conftest import bench

__all__ = ["bench"]
