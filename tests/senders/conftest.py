"""Fixtures of the senders' tests: one trusted certificate authority, which loads fast."""

from pathlib import Path

import certifi
import pytest
import trustme


@pytest.fixture(scope="session")
def authorities(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a file with the one certificate authority that the tests trust."""
    path = tmp_path_factory.mktemp("trust") / "authorities.pem"
    trustme.CA().cert_pem.write_to_path(str(path))
    return path


@pytest.fixture(autouse=True)
def trusted(authorities: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the service trust that certificate authority."""
    monkeypatch.setattr(certifi, "where", lambda: str(authorities))
