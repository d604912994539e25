"""The service's HTTP API as a command sees it."""

import asyncio
import ssl
from collections.abc import Iterator
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import quote

import certifi
import httpx

from app import USER_AGENT
from app.console.trouble import Trouble
from app.domain.text import json_object, shortened
from app.settings import is_loopback

Document = dict[str, Any]

NO_ADDRESS = "--url or DELIVERY_URL is no address of a service; give it as http://host:port, and no more"
PATIENCE = 30.0  # seconds for an answer to begin, and to go on
WHOLE = 60.0  # seconds for all of it
MOST = 16 * 1024 * 1024  # bytes of an answer: a preview of many targets has 2 million characters
LONGEST_NUMBER = 10  # digits of a wait
SHOWN = 1_000  # characters of what is said in it


class ServiceRefusal(Trouble):
    """The service's answer is a problem; `retry_after` is in seconds."""

    def __init__(self, sentence: str, status: int, retry_after: float) -> None:
        super().__init__(sentence)
        self.status = status
        self.retry_after = retry_after


@dataclass(frozen=True)
class Client:
    """Calls one service; every answer that is no success ends the command."""

    url: str
    token: str | None = field(default=None, repr=False)
    ca_file: Path | None = None

    def post(self, event: Document, *, preview: bool = False, prefer: str | None = None) -> Document:
        """Hand an event in; return the report, or the preview.

        Raises:
            Trouble: no answer, or a problem.
        """
        headers = {"Prefer": prefer} if prefer else {}
        return self._ask("POST", "/previews" if preview else "/deliveries", json=event, headers=headers)

    def find(self, **asked: str | None) -> Iterator[Document]:
        """Yield the teams that have such targets, as pages come in.

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
                    f"the token would cross the network in the clear to {address}; use https://, or a"
                    " port-forward on this machine"
                )
            headers["authorization"] = f"Bearer {self.token}"
        try:
            answer, body = asyncio.run(
                self._answered(method, str(address).rstrip("/") + path, headers=headers, **options)
            )
        except (httpx.TimeoutException, TimeoutError):
            raise Trouble(f"the service at {self.url} does not answer in time; try again") from None
        except httpx.HTTPError as error:
            raise Trouble(_unreached(self.url, error)) from None
        return _judged(answer, body, self.url, page=page)

    async def _answered(self, method: str, url: str, **options: Any) -> tuple[httpx.Response, bytes]:
        """Make a request, and read the answer: whoever it is that answers, in bounded time and memory."""
        body = bytearray()
        # No proxy of the environment: it would be told the token.
        async with (
            asyncio.timeout(WHOLE),
            httpx.AsyncClient(verify=self._trust(), timeout=PATIENCE, trust_env=False) as http,
            http.stream(method, url, **options) as answer,
        ):
            async for chunk in answer.aiter_raw():
                body += chunk
                if len(body) > MOST:
                    raise Trouble(f"{self.url} answers without end; check --url")
        return answer, bytes(body)

    def _trust(self) -> ssl.SSLContext:
        try:
            context = ssl.create_default_context(cafile=str(self.ca_file or certifi.where()))
        except (OSError, ssl.SSLError):
            raise Trouble(f"--ca-file: {self.ca_file} holds no certificates in PEM form") from None
        if self.ca_file:
            # The owner's own authority: older ones lack key identifiers, which Python 3.13 asks for.
            context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        return context


def _address(url: str) -> httpx.URL:
    """Read the service's address; what else stands in it is refused, and not repeated."""
    try:
        address = httpx.URL(url)
    except (httpx.InvalidURL, ValueError):
        raise Trouble(NO_ADDRESS) from None
    plain = not (address.userinfo or address.query or address.fragment)
    if address.scheme not in {"http", "https"} or not address.host or not plain:
        raise Trouble(NO_ADDRESS)
    return address


def _unreached(url: str, error: httpx.HTTPError) -> str:
    if "CERTIFICATE_VERIFY_FAILED" in str(error):
        return f"the certificate of {url} is not trusted; name its authority with --ca-file"
    return (
        f"no service answers at {url}; give its address with --url or DELIVERY_URL, or reach one in a cluster"
        " with kubectl port-forward"
    )


def _judged(answer: httpx.Response, body: bytes, url: str, *, page: bool) -> Document:
    document = json_object(body)
    if document is None:
        raise Trouble(f"{url} answered {answer.status_code} with something that is no report; check --url")
    if answer.status_code in {HTTPStatus.OK, HTTPStatus.ACCEPTED}:
        if page:
            whole = isinstance(document.get("items"), list)
        else:
            whole = isinstance(document.get("phase"), str) and isinstance(document.get("targets"), list)
        if not whole:
            raise Trouble(f"{url} answered with something that is no report; check --url")
        return document
    said = str(document.get("detail") or document.get("title") or f"answered {answer.status_code}")
    wait = answer.headers.get("retry-after", "")
    sentence = shortened(said, SHOWN) + (f" (in {shortened(wait, 40)} s)" if wait else "")
    raise ServiceRefusal(sentence, answer.status_code, _seconds(wait))


def _seconds(wait: str) -> float:
    return float(wait) if wait.isascii() and wait.isdigit() and len(wait) < LONGEST_NUMBER else 0.0
