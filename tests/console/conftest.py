"""The commands call the service of the service's own tests."""

from tests.service.conftest import bench

__all__ = ["bench"]
