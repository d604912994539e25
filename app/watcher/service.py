"""The watcher's connection to the service: one POST per submission; it translates foreign errors."""

import base64
import json
import math
import re
import ssl
from pathlib import Path
from types import TracebackType
from typing import Self

import aiohttp
import certifi
from aiohttp.http_exceptions import HttpProcessingError
from pydantic import AnyHttpUrl
from yarl import URL

from app import USER_AGENT
from app.authorities import trust_as_named
from app.domain.errors import DeliveryError
from app.domain.text import as_json, json_object
from app.domain.times import asked_to_wait
from app.domain.tokens import bearer_token
from app.exchange import FAILURES, Exchange, Origin
from app.timers import within
from app.watcher.agenda import Outcome, Submission
from app.watcher.pace import Pace
from app.whole import Pool

HEADERS = {
    "accept": "application/json",
    "content-type": "application/json",
    "prefer": "respond-async",
    "user-agent": USER_AGENT,
}
_SHOWN = 65_536  # bytes of an answer that are read
_SLUG = re.compile(r"[a-z0-9-]{1,64}")
_OF_ANOTHER_HOST = (62, 64)  # X509_V_ERR_HOSTNAME_MISMATCH, X509_V_ERR_IP_ADDRESS_MISMATCH


class ServiceAway(DeliveryError):
    """The service did not answer, so nothing can be submitted for now."""


class NoToken(ServiceAway):
    """The token file cannot be read, so nothing can be submitted."""


class ServiceClient:
    """Posts to `/deliveries` at one base URL; follows no redirects and uses no proxy of the environment."""

    def __init__(self, url: AnyHttpUrl, *, token_file: str | None, ca_file: str | None, pace: Pace) -> None:
        address = URL(f"{url.scheme}://{url.host}:{url.port}{(url.path or '').rstrip('/')}/deliveries")
        self._address, self._target = address.origin(), address.raw_path
        self._server = Origin(self._address, HEADERS)
        self._token_file = Path(token_file) if token_file else None
        self._trust = Trust(Path(ca_file or certifi.where())) if url.scheme == "https" else None
        self._pace = pace

    async def __aenter__(self) -> Self:
        self._pool = Pool(limit=self._pace.at_once)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._pool.close()

    async def post(self, submission: Submission) -> tuple[Outcome, str]:
        """Submit a team; return the answer and, for an error, the kind of problem.

        Raises:
            NoToken: the token file is missing, or contains no token.
            ServiceAway: no connection, an untrusted server, or no answer in time.
        """
        event = {"namespace": submission.team.namespace, "team": submission.team.name, "uid": submission.uid}
        server = self._trusted()
        asked = server.asked("POST", self._target, self._authorization(), as_json(event))
        try:
            with within(self._pace.post_timeout):
                async with Exchange(self._pool, server, asked, {"whole": True}) as response:
                    body = await response.content.read(_SHOWN)
        except TimeoutError:
            raise ServiceAway("no answer in time") from None
        except FAILURES as error:
            raise ServiceAway(_blame(error)) from None
        return Outcome(response.status, asked_to_wait(response.headers)), _problem(body)

    def token_expiry(self) -> float:
        """Return when the token in the file expires, in seconds since 1970; 0 without a token file.

        Kubernetes projects JSON Web Tokens (RFC 7519), whose `exp` says so; for other tokens it is NaN.
        """
        try:
            claims = self._authorization()["Authorization"].split(".")[1]
            return float(json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))["exp"])
        except NoToken:
            return 0.0
        except (LookupError, TypeError, ValueError, OverflowError, RecursionError):
            return math.nan

    def _trusted(self) -> Origin:
        """Return the service with the TLS context of today; connections are pooled per context."""
        if self._trust and (tls := self._trust.context()) is not self._server.tls:
            self._server = Origin(self._address, HEADERS, ssl=tls)
        return self._server

    def _authorization(self) -> dict[str, str]:
        """Read the token each time, because Kubernetes rotates it in place."""
        if self._token_file is None:
            return {}
        try:
            token = bearer_token(self._token_file.read_text("ascii"))
        except OSError as error:
            raise NoToken(f"the token file {self._token_file} cannot be read: {error.strerror}") from None
        except ValueError:
            token = None
        if token is None:
            raise NoToken(f"the token file {self._token_file} contains no token")
        return {"Authorization": f"Bearer {token}"}


class Trust:
    """The certificate authorities of the service's certificate: a file, reloaded when it changes."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._read: bytes | None = None

    def context(self) -> ssl.SSLContext:
        """Return a context that trusts the current content of the file, and checks the host's name.

        Raises:
            ServiceAway: the file cannot be read, or contains no certificates.
        """
        try:
            found = self._file.read_bytes()
            if found != self._read:
                # A new context, because a certificate authority cannot be removed from one in use.
                self._context = ssl.create_default_context(cafile=str(self._file))
                trust_as_named(self._context)
                self._read = found
        except ssl.SSLError:
            raise ServiceAway(
                f"DELIVERY_CA_FILE: {self._file} contains no certificates in PEM form"
            ) from None
        except OSError as error:
            raise ServiceAway(f"DELIVERY_CA_FILE: {self._file} cannot be read: {error.strerror}") from None
        return self._context


def _blame(error: Exception) -> str:
    """Say what is wrong between the watcher and the service, and which setting to check; quote no answer."""
    cause = error.__cause__ or error
    if isinstance(cause, ssl.SSLCertVerificationError):
        setting = "DELIVERY_URL" if cause.verify_code in _OF_ANOTHER_HOST else "DELIVERY_CA_FILE"
        return f"the service's certificate is refused: {cause.verify_message}; see {setting}"
    if isinstance(error, aiohttp.ClientSSLError):
        return f"the service uses no TLS there, or an incompatible version: {cause}; check DELIVERY_URL"
    if isinstance(error, HttpProcessingError):
        return "the answer cannot be read; check that DELIVERY_URL is a service"
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return "the connection was closed before the end of the answer; check DELIVERY_URL"
    return f"{str(error) or type(error).__name__}; check DELIVERY_URL"


def _problem(body: bytes) -> str:
    """Return the last segment of a problem's `type`; the log contains nothing else of an answer."""
    kind = (json_object(body) or {}).get("type")
    word = re.split("[/:#]", kind)[-1] if isinstance(kind, str) else ""
    return word if _SLUG.fullmatch(word) else ""
