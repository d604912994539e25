"""What the tests of the service itself have, for those of its pages that need no browser."""

from tests.service.conftest import bench

__all__ = ["bench"]
