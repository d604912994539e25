"""Certificates in files, rotated as the kubelet does it."""

import ssl
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import trustme

A_YEAR = timedelta(days=365)


@dataclass
class Mounted:
    """A Secret of the type kubernetes.io/tls, mounted as files.

    The names in the folder are links to `..data/NAME`, and `..data` is a link to the current folder, which
    one rename replaces: kubernetes/pkg/volume/util/atomic_writer.go.
    """

    folder: Path
    authority: trustme.CA = field(default_factory=trustme.CA)
    version: int = 0

    def __post_init__(self) -> None:
        for name in ("tls.crt", "tls.key"):
            (self.folder / name).symlink_to(Path("..data", name))
        self.rotate()

    @property
    def settings(self) -> dict[str, Path]:
        """The service's settings that name the files."""
        return {"tls_cert_file": self.folder / "tls.crt", "tls_key_file": self.folder / "tls.key"}

    @property
    def trusting(self) -> ssl.SSLContext:
        """The context of a client that trusts only this certificate authority."""
        context = ssl.create_default_context()
        self.authority.configure_trust(context)
        return context

    def rotate(
        self, *, key_type: trustme.KeyType = trustme.KeyType.ECDSA, lasting: timedelta = A_YEAR
    ) -> bytes:
        """Install a new certificate, and return it in DER form."""
        ends = datetime.now(UTC) + lasting
        leaf = self.authority.issue_cert("127.0.0.1", "localhost", key_type=key_type, not_after=ends)
        chain = b"".join(pem.bytes() for pem in leaf.cert_chain_pems)
        self.swap(chain, leaf.private_key_pem.bytes())
        return ssl.PEM_cert_to_DER_cert(leaf.cert_chain_pems[0].bytes().decode())

    def swap(self, cert: bytes, key: bytes) -> None:
        """Replace both files in one step."""
        self.version += 1
        data = self.folder / f"..version-{self.version}"
        data.mkdir()
        (data / "tls.crt").write_bytes(cert)
        (data / "tls.key").write_bytes(key)
        link = self.folder / "..data_tmp"
        link.symlink_to(data.name)
        link.replace(self.folder / "..data")
