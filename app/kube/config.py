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
TOKEN_LIFE = 60.0  # seconds that a token is used before its file is read again: it is rotated in place


@dataclass(frozen=True, slots=True)
class Pem:
    """A certificate or a key in PEM form: as it is, or in a file that may be renewed."""

    source: bytes | Path = field(repr=False)

    def read(self) -> bytes:
        """Return it as it is now.

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
    """How an API server is reached.

    `authorization` gives the header of that name, and is asked at every request; `certificate` is ours, with
    its key, as both are by then; `renew` hears that the API server refused us, and says whether either may be
    another next time.
    """

    host: str
    authority: Pem | None = None  # None: whom the system trusts
    verify: bool = True
    server_name: str | None = None
    proxy: str | None = None
    authorization: Callable[[], Awaitable[str | None]] = field(default=_nobody, repr=False)
    certificate: Callable[[], tuple[Pem, Pem] | None] = field(default=_no_certificate, repr=False)
    renew: Callable[[], bool] = field(default=_nothing, repr=False)

    def trust(self) -> ssl.SSLContext:
        """Return a context of what the files hold by now.

        Raises:
            OSError: a file cannot be read, or holds something else.
        """
        authority = self.authority.read().decode("ascii", "ignore") if self.authority else None
        context = ssl.create_default_context(cadata=authority)
        trust_as_named(context)
        if ours := self.certificate():
            certificate, key = (pem.read() for pem in ours)
            # OpenSSL takes them from a file alone; this one is nobody else's, and gone a moment later.
            with tempfile.NamedTemporaryFile() as file:
                file.write(certificate + b"\n" + key)
                file.flush()
                context.load_cert_chain(file.name)
        if not self.verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context


class TokenFile:
    """A bearer token in a file, read again every minute, and where it was refused.

    While there is none in the file, since it is being written, the one that was there before is used.
    """

    def __init__(self, path: Path, token: str | None = None) -> None:
        """`token` is used until one is in the file."""
        self._path = path
        self._token = token
        self._until = 0.0

    async def __call__(self) -> str:
        """Return what `Authorization` says.

        Raises:
            OSError: the file cannot be read, and never could be.
            ValueError: it holds no token, and never did.
        """
        if steady() >= self._until:
            self.read()
        return f"Bearer {self._token}"

    def read(self) -> None:
        """Read the file.

        Raises:
            OSError, ValueError: as above.
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
            raise ValueError("the file holds no token")

    def renew(self) -> bool:
        """Look whether there is another token in the file by now."""
        before = self._token
        with suppress(OSError, ValueError):
            self.read()
        return self._token != before


def in_cluster(host: str, port: str, account: Path = ACCOUNT) -> Access:
    """Return the access of a pod by its service account.

    Raises:
        OSError: the account's files cannot be read.
        ValueError: there is no token in them.
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
