"""Access tokens of Google service accounts: requested with a signed assertion, cached until they expire.

https://developers.google.com/identity/protocols/oauth2/service-account, RFC 7523
"""

import asyncio
import hashlib
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, TypeGuard
from urllib.parse import urlencode

from cachetools import LRUCache
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from google.auth import crypt, jwt

from app.domain.bounds import RSA_KEY
from app.domain.errors import TargetError
from app.domain.reasons import Reason
from app.domain.text import json_object
from app.domain.times import steady
from app.egress.client import HttpClient
from app.senders.credentials import Credentials
from app.senders.envelopes import judge
from app.timers import within

KEY = "service-account.json"
TOKEN_URL = "https://oauth2.googleapis.com/token"  # noqa: S105  # a default URL, not a password
GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
SCOPE = "https://www.googleapis.com/auth/drive"
"""The smallest scope that can add to another account's folder: `drive.file` sees only the app's own files."""

LIFE = 3600  # seconds that an assertion is valid; Google accepts no more
MARGIN = 60.0  # seconds before its expiry from which a token is no longer used
KEPT = 1000  # tokens
_OPENINGS = re.compile(r"\s{0,8}-----BEGIN (RSA )?PRIVATE KEY-----")
NO_KEY = f"has no usable private_key (RSA, at most {RSA_KEY.most:,} bits); use the file as Google created it"

ANSWER_LIMIT = 16_384  # bytes of an answer that are read
PATIENCE = 5.0  # seconds to read them
PEM_LIMIT = 4096  # characters of a private key: 4096-bit RSA has 3,300
EXPONENT_LIMIT = 33  # bits of the public exponent, normally 65537: a longer one makes every signature slow
FETCH_TIMEOUT = 10.0  # seconds for a token request, which several targets share

REFUSALS = {
    # Google's own words, each with what to do. Nothing else of its answer is ever shown.
    "access_denied": "an administrator forbids it; ask them",
    "admin_policy_enforced": "an administrator forbids it; ask them",
    "deleted_client": "the account is gone; make another",
    "disabled_client": "the account is disabled; enable it",
    "invalid_client": "the account is unknown; create a new key",
    "invalid_grant": "the key or the account is gone or disabled, or the clock here is wrong; make a new key",
    "invalid_scope": "the account may not use Drive; enable its API in the account's project",
    "unauthorized_client": "the account may not use Drive; enable its API in the account's project",
}


@dataclass(frozen=True, slots=True)
class ServiceAccount:
    """A service account, read from its key file."""

    email: str = field(repr=False)
    token_url: str = field(repr=False)
    signer: crypt.RSASigner = field(repr=False)

    def assertion(self, now: int) -> bytes:
        """Return a signed request for a token, valid from `now` (seconds since the epoch) for an hour."""
        claims = {
            "iss": self.email,
            "scope": SCOPE,
            "aud": self.token_url,
            "iat": now,
            "exp": now + LIFE,
        }
        return bytes(jwt.encode(self.signer, claims))  # type: ignore[no-untyped-call]  # ships no types


@dataclass(frozen=True, slots=True)
class Token:
    """An access token, and until when it is used (seconds on the monotonic clock)."""

    value: str = field(repr=False)
    until: float


@dataclass(frozen=True, slots=True)
class Blame:
    """What is wrong with a key file; each caller gets the error for its own Secret."""

    why: str
    attempted: bool = False


def read_service_account(credentials: Credentials) -> ServiceAccount:
    """Read the key file of a service account from a Secret.

    Raises:
        TargetError: it is missing or invalid; the text contains no part of the file.
    """
    try:
        return _read(credentials.document(KEY))
    except ValueError as error:
        raise credentials.invalid(KEY, str(error)) from None


def _read(written: bytes) -> ServiceAccount:
    info = json_object(written) or {}
    if info.get("type") != "service_account":
        raise ValueError("is not the JSON key file of a service account")
    email, url = info.get("client_email"), info.get("token_uri", TOKEN_URL)
    if not _printable(email):
        raise ValueError("has no client_email; use the file as Google created it")
    if not isinstance(url, str):  # the guard decides which URLs are allowed
        message = "has no token_uri that can be used; use the file as Google created it"
        raise ValueError(message)  # noqa: TRY004  # the file is wrong, not a type
    try:
        key = _key(info["private_key"])
        signer = crypt.RSASigner(key, info.get("private_key_id"))  # type: ignore[no-untyped-call]
    except Exception:  # noqa: BLE001  # several libraries read the key, and their errors quote it
        raise ValueError(NO_KEY) from None
    return ServiceAccount(email, url, signer)


def _key(written: str) -> RSAPrivateKey:
    """Read a private key that signs within a few milliseconds, because signing blocks the event loop.

    This does not test whether its numbers are prime, which would take long: Google rejects wrong signatures.
    It does test the size of each, because each takes part in a signature.

    Raises:
        ValueError: it is not a private key, or a slow one.
    """
    if len(written) > PEM_LIMIT or not _OPENINGS.match(written):
        raise ValueError
    key = load_pem_private_key(written.encode(), None, unsafe_skip_rsa_key_validation=True)
    if not isinstance(key, RSAPrivateKey) or key.key_size > RSA_KEY.most:
        raise ValueError
    numbers, half = key.private_numbers(), key.key_size // 2 + 1
    public = numbers.public_numbers
    if (
        max(numbers.p.bit_length(), numbers.q.bit_length()) > half
        or numbers.p * numbers.q != public.n
        or not public.n % 2
        or numbers.dmp1 >= numbers.p
        or numbers.dmq1 >= numbers.q
        or numbers.iqmp >= numbers.p
        or numbers.d >= public.n
        or public.e.bit_length() > EXPONENT_LIMIT
    ):
        raise ValueError
    return key


class AccessTokens:
    """Tokens by the digest of their key file, so that nobody gets one without the whole key.

    An account's address and its key's id are not secret. A team that knows those of another team's account
    must not get a token that was requested with its key.
    """

    def __init__(
        self,
        http: HttpClient,
        *,
        clock: Callable[[], float] = steady,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._http = http
        self._clock = clock
        self._now = now
        self._tokens: LRUCache[bytes, Token] = LRUCache(KEPT)
        self._fetches: dict[bytes, asyncio.Task[Token | Blame]] = {}

    async def token(self, credentials: Credentials) -> str:
        """Return a valid token; concurrent callers share one request for it.

        Raises:
            TargetError: no token is available.
        """
        written = credentials.document(KEY)
        digest = _digest(written)
        held = self._tokens.get(digest)
        if held is not None and self._clock() < held.until:
            return held.value
        fetch = self._fetches.get(digest)
        if fetch is None:
            fetch = self._fetches[digest] = asyncio.create_task(self._fetch(written))
            fetch.add_done_callback(lambda done: self._keep(digest, done))
        # Shielded: one target's time limit must not cancel the request that other targets wait for.
        got = await asyncio.shield(fetch)
        if isinstance(got, Token):
            return got.value
        error = credentials.invalid(KEY, got.why)
        raise TargetError(error.reason, error.message, attempted=got.attempted)

    def forget(self, credentials: Credentials, token: str) -> None:
        """Stop using a token; keep a newer one that has replaced it."""
        digest = _digest(credentials.document(KEY))
        held = self._tokens.get(digest)
        if held is not None and held.value == token:
            del self._tokens[digest]

    def _keep(self, digest: bytes, fetch: asyncio.Task[Token | Blame]) -> None:
        del self._fetches[digest]
        if not fetch.cancelled() and fetch.exception() is None and isinstance(got := fetch.result(), Token):
            self._tokens[digest] = got

    async def _fetch(self, written: bytes) -> Token | Blame:
        try:
            account = _read(written)
        except ValueError as error:
            return Blame(str(error))
        asked = self._clock()
        try:
            assertion = account.assertion(int(self._now())).decode()
        except Exception:  # noqa: BLE001  # as above
            return Blame(NO_KEY)
        form = {"grant_type": GRANT, "assertion": assertion}
        try:
            with within(FETCH_TIMEOUT):
                answer = await self._http.request(
                    "POST",
                    account.token_url,
                    urlencode(form).encode(),
                    {"content-type": "application/x-www-form-urlencoded"},
                    most=ANSWER_LIMIT,
                    patience=PATIENCE,
                )
        except TimeoutError:
            message = "Google's token endpoint did not answer in time"
            raise TargetError(Reason.TIMEOUT, message, retryable=True, attempted=True) from None
        except ValueError as error:
            return Blame(f"has a token_uri that {error}")
        said = json_object(answer.body) or {}
        verdict = judge(answer.status, answer.retry_after)
        if verdict.delivered:  # a 2xx status without a token delivers nothing
            value, life = said.get("access_token"), said.get("expires_in")
            if not _printable(value) or type(life) is not int or life <= 0:
                message = "Google's token endpoint answered without a token"
                raise TargetError(Reason.INVALID_RESPONSE, message, attempted=True)
            return Token(value, asked + min(life, LIFE) - MARGIN)
        word = said.get("error")
        refused = answer.status in {HTTPStatus.BAD_REQUEST, HTTPStatus.UNAUTHORIZED}
        if refused and isinstance(word, str) and word in REFUSALS:
            return Blame(f"was rejected by Google: {word}: {REFUSALS[word]}", attempted=True)
        message = f"Google's token endpoint {verdict.message}"
        raise TargetError(
            verdict.reason,
            message,
            retryable=verdict.retryable,
            attempted=True,
            retry_after=verdict.retry_after,
        )


def _digest(written: bytes) -> bytes:
    return hashlib.sha256(written).digest()


def _printable(value: Any) -> TypeGuard[str]:
    return (
        isinstance(value, str)
        and bool(value)
        and value.isascii()
        and value.isprintable()
        and " " not in value
    )
