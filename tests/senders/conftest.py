"""The surroundings of a sender: one trusted certificate authority, which loads fast."""

from pathlib import Path

import certifi
import pytest
import trustme


@pytest.fixture(scope="session")
def authorities(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write down whom the machine trusts."""
    path = tmp_path_factory.mktemp("trust") / "authorities.pem"
    trustme.CA().cert_pem.write_to_path(str(path))
    return path


@pytest.fixture(autouse=True)
def trusted(authorities: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let it trust them."""
    monkeypatch.setattr(certifi, "where", lambda: str(authorities))
