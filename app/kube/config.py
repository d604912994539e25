"""Address, trust and identity for the Kubernetes API: a pod's own, or a kubeconfig's."""

import ssl
import tempfile
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from app.authorities import trust_as_named
from app.domain.times import steady
from app.domain.tokens import bearer_token

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""https://kubernetes.io/docs/tasks/run-application/access-api-from-pod/"""
TOKEN_LIFE = 60.0  # seconds until a token file is read again: Kubernetes rotates it in place


@dataclass(frozen=True, slots=True)
class Pem:
    """A certificate or key in PEM form: as text, or in a file that may be renewed."""

    source: bytes | Path = field(repr=False)

    def read(self) -> bytes:
        """Return the current content.

        Raises:
            OSError: the file cannot be read.
        """
        return self.source.read_bytes() if isinstance(self.source, Path) else self.source


async def _nobody() -> str | None:
    return None


def _nothing() -> bool:
    return False


def _no_certificate() -> None:
    return None


@dataclass(frozen=True, slots=True)
class Access:
    """How to reach an API server.

    `authorization` returns the header of that name, for each request. `certificate` is our own, with its key.
    `renew` is called when the API server has rejected us; it returns whether the credentials may have
    changed.
    """

    host: str
    authority: Pem | None = None  # None: trust the system's certificate authorities
    verify: bool = True
    server_name: str | None = None
    proxy: str | None = None
    authorization: Callable[[], Awaitable[str | None]] = field(default=_nobody, repr=False)
    certificate: Callable[[], tuple[Pem, Pem] | None] = field(default=_no_certificate, repr=False)
    renew: Callable[[], bool] = field(default=_nothing, repr=False)

    def trust(self) -> ssl.SSLContext:
        """Return a TLS context with the current content of the files.

        Raises:
            OSError: a file cannot be read, or has invalid content.
        """
        authority = self.authority.read().decode("ascii", "ignore") if self.authority else None
        context = ssl.create_default_context(cadata=authority)
        trust_as_named(context)
        if ours := self.certificate():
            certificate, key = (pem.read() for pem in ours)
            # OpenSSL reads them only from a file. No one else can read this one, and it is deleted
            # immediately.
            with tempfile.NamedTemporaryFile() as file:
                file.write(certificate + b"\n" + key)
                file.flush()
                context.load_cert_chain(file.name)
        if not self.verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context


class TokenFile:
    """A bearer token in a file, read again every minute, and after a rejection.

    If the file has no token because it is being written, the previous one is used.
    """

    def __init__(self, path: Path, token: str | None = None) -> None:
        """Start with `token` until the file has one."""
        self._path = path
        self._token = token
        self._until = 0.0

    async def __call__(self) -> str:
        """Return the value of `Authorization`.

        Raises:
            OSError: the file cannot be read, and never could be.
            ValueError: it contains no token, and never did.
        """
        if steady() >= self._until:
            self.read()
        return f"Bearer {self._token}"

    def read(self) -> None:
        """Read the file.

        Raises:
            OSError: it cannot be read.
            ValueError: it contains no token.
        """
        try:
            token = bearer_token(self._path.read_text(errors="replace"))
        except OSError:
            if self._token is None:
                raise
            return
        if token is not None:
            self._token, self._until = token, steady() + TOKEN_LIFE
        elif self._token is None:
            raise ValueError("the file contains no token")

    def renew(self) -> bool:
        """Return whether the file contains another token now."""
        before = self._token
        with suppress(OSError, ValueError):
            self.read()
        return self._token != before


def in_cluster(host: str, port: str, account: Path = ACCOUNT) -> Access:
    """Return a pod's access by its service account.

    Raises:
        OSError: the account's files cannot be read.
        ValueError: they contain no token.
    """
    authority, token = Pem(account / "ca.crt"), TokenFile(account / "token")
    authority.read()
    token.read()
    return Access(
        f"https://{f'[{host}]' if ':' in host else host}:{port}",
        authority=authority,
        authorization=token,
        renew=token.renew,
    )
