"""Client of the service's HTTP API for the commands."""

import asyncio
import re
import ssl
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import quote

import certifi
import httpx

from app import USER_AGENT
from app.authorities import trust_as_named
from app.console.reaching import speaks_tls, unreached
from app.console.trouble import Away, Busy, Declined, Trouble
from app.domain.text import json_object, shortened
from app.settings import is_loopback

Document = dict[str, Any]

NO_ADDRESS = "--url or DELIVERY_URL is not the address of a service; use http://host:port"
PATIENCE = 30.0  # seconds until an answer begins, and between its parts
WHOLE = 60.0  # seconds for the whole answer
MOST = 16 * 1024 * 1024  # bytes of an answer: a preview of many targets has 2 million characters
LONGEST_NUMBER = 10  # digits of a wait
SHOWN = 1_000  # characters of its text

IN_OPTIONS = {
    "unauthenticated": (
        "the service requires a token: use --service-account, --token-file or DELIVERY_TOKEN"
    ),
    "head-too-large": "the token is too long; see --token-file, or DELIVERY_TOKEN",
    "body-too-large": "the request is too large; select fewer with --target",
    "no-such-path": "the service has another version, or it is not this service; check --url",
    "method-not-allowed": "the service has another version, or it is not this service; check --url",
}
"""Texts for users of commands, who have no headers and fields, by the kind of problem."""
OPTIONS = {"targets": "--target", "namespace": "--namespace", "team": "the team's name"}
"""The option for each field of an event."""
_FIELD = re.compile(r"\b(targets|namespace|team)((?:\.\d+)?: )")


@dataclass(frozen=True)
class Client:
    """Calls one service; every unsuccessful answer ends the command."""

    url: str
    token: str | None = field(default=None, repr=False)
    ca_file: Path | None = None
    server_name: str | None = None  # the name in the certificate; None: the address's host

    def post(self, event: Document, *, preview: bool = False, prefer: str | None = None) -> Document:
        """Submit an event; return the report or the preview.

        Raises:
            Trouble: no answer, or a problem.
        """
        headers = {"Prefer": prefer} if prefer else {}
        return self._ask("POST", "/previews" if preview else "/deliveries", json=event, headers=headers)

    def find(self, **asked: str | None) -> Iterator[Document]:
        """Yield the teams that have such targets, as pages arrive.

        Raises:
            Trouble: no answer, or a problem.
        """
        after: str | None = None
        while True:
            given = {name: value for name, value in {**asked, "after": after}.items() if value is not None}
            page = self._ask("GET", "/deliveries", page=True, params=given)
            yield from page["items"]
            after = page.get("next")
            if after is None:
                return

    def read(self, namespace: str, team: str) -> Document:
        """Read the record of a team.

        Raises:
            Trouble: no answer, or a problem.
        """
        return self._ask("GET", f"/deliveries/{quote(namespace, safe='')}/{quote(team, safe='')}")

    def _ask(self, method: str, path: str, *, page: bool = False, **options: Any) -> Document:
        address = _address(self.url)
        headers = {"user-agent": USER_AGENT, "accept-encoding": "identity", **options.pop("headers", {})}
        if self.token:
            if address.scheme == "http" and not is_loopback(address.host):
                raise Trouble(
                    f"the token would be sent unencrypted to {address}; use https://, or a"
                    " port-forward on this machine"
                )
            headers["authorization"] = f"Bearer {self.token}"
        if self.server_name:
            options["extensions"] = {"sni_hostname": self.server_name}  # httpx verifies this name too
        try:
            answer, body = asyncio.run(
                self._answered(method, str(address).rstrip("/") + path, headers=headers, **options)
            )
        except (httpx.TimeoutException, TimeoutError):
            raise Away(f"the service at {self.url} does not answer in time; try again") from None
        except httpx.HTTPError as error:
            raise unreached(address, error) from None
        return self._judged(answer, body, page=page)

    async def _answered(self, method: str, url: str, **options: Any) -> tuple[httpx.Response, bytes]:
        """Make a request, and read the answer of an untrusted server in limited time and memory."""
        body = bytearray()
        # Without the environment's proxy, which would receive the token.
        async with (
            asyncio.timeout(WHOLE),
            httpx.AsyncClient(verify=self._trust, timeout=PATIENCE, trust_env=False) as http,
            http.stream(method, url, **options) as answer,
        ):
            async for chunk in answer.aiter_raw():
                body += chunk
                if len(body) > MOST:
                    raise Trouble(f"{self.url} sends an endless answer; check --url")
        return answer, bytes(body)

    def _judged(self, answer: httpx.Response, body: bytes, *, page: bool) -> Document:
        url = self.url
        document = json_object(body)
        if document is None:
            if answer.url.scheme == "http" and speaks_tls(answer.url):
                raise Trouble(f"{url}: this port uses TLS; use https:// in --url or DELIVERY_URL")
            raise Trouble(
                f"{url} answered {answer.status_code} with something that is not a report; check --url"
            )
        if answer.status_code in {HTTPStatus.OK, HTTPStatus.ACCEPTED}:
            if page:
                whole = isinstance(document.get("items"), list)
            else:
                whole = isinstance(document.get("phase"), str) and isinstance(document.get("targets"), list)
            if not whole:
                raise Trouble(f"{url} answered with something that is not a report; check --url")
            return document
        said = shortened(self._said(document, answer.status_code), SHOWN)
        if answer.status_code != HTTPStatus.SERVICE_UNAVAILABLE:
            raise Declined(said)
        wait = answer.headers.get("retry-after", "")
        raise Busy(said + (f" (in {shortened(wait, 40)} s)" if wait else ""), _seconds(wait))

    def _said(self, problem: Document, status: int) -> str:
        """Say what is wrong in terms of the command line: its users have options, not headers."""
        said = str(problem.get("detail") or problem.get("title") or f"answered {status}")
        slug = str(problem.get("type")).rpartition(":")[2]
        if slug == "unauthenticated" and self.token:
            return f"{said}; --service-account NAME has kubectl make one"
        if slug == "malformed":
            return _FIELD.sub(lambda match: OPTIONS[match[1]] + match[2], said)
        return IN_OPTIONS.get(slug, said)

    @cached_property
    def _trust(self) -> ssl.SSLContext:
        """The TLS context of a command, created once: that is most of the work of many requests."""
        try:
            context = ssl.create_default_context(cafile=str(self.ca_file or certifi.where()))
        except ssl.SSLError:
            raise Trouble(f"--ca-file: {self.ca_file} contains no certificates in PEM form") from None
        except OSError as error:
            raise Trouble(f"--ca-file: {self.ca_file} cannot be read: {error.strerror}") from None
        if self.ca_file:
            trust_as_named(context)
        return context


def _address(url: str) -> httpx.URL:
    """Read the service's URL; reject any other part of a URL, without repeating it."""
    try:
        address = httpx.URL(url)
    except (httpx.InvalidURL, ValueError):
        raise Trouble(NO_ADDRESS) from None
    plain = not (address.userinfo or address.query or address.fragment)
    if address.scheme not in {"http", "https"} or not address.host or not plain:
        raise Trouble(NO_ADDRESS)
    return address


def _seconds(wait: str) -> float:
    return float(wait) if wait.isascii() and wait.isdigit() and len(wait) < LONGEST_NUMBER else 0.0
