"""The service that the commands call is the one of the service's own tests."""

from tests.service.conftest import bench

__all__ = ["bench"]
