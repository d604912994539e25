"""The service's HTTP API as a command sees it."""

import ssl
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import quote

import certifi
import httpx

from app import USER_AGENT
from app.console.trouble import Trouble

Document = dict[str, Any]

PATIENCE = 30.0  # seconds for an answer; what takes longer is asked for once more


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
        query = {"dryRun": "All"} if preview else None
        return self._ask("POST", "/deliveries", json=event, headers=headers, params=query)

    def read(self, namespace: str, team: str) -> Document:
        """Read the record of a team.

        Raises:
            Trouble: no answer, or a problem.
        """
        return self._ask("GET", f"/deliveries/{quote(namespace, safe='')}/{quote(team, safe='')}")

    def _ask(self, method: str, path: str, **options: Any) -> Document:
        headers = {"user-agent": USER_AGENT, **options.pop("headers", {})}
        if self.token:
            if self.url.startswith("http://") and not _stays_here(self.url):
                raise Trouble(
                    f"the token would cross the network in the clear to {self.url}; use https://, or a"
                    " port-forward on this machine"
                )
            headers["authorization"] = f"Bearer {self.token}"
        try:
            with httpx.Client(verify=self._trust(), timeout=PATIENCE, follow_redirects=False) as http:
                answer = http.request(method, self.url.rstrip("/") + path, headers=headers, **options)
        except httpx.InvalidURL:
            raise Trouble(
                f"{self.url} is no address; give --url or DELIVERY_URL as http://host:port"
            ) from None
        except httpx.TimeoutException:
            raise Trouble(f"the service at {self.url} does not answer in time; try again") from None
        except httpx.HTTPError as error:
            raise Trouble(_unreached(self.url, error)) from None
        return _judged(answer, self.url)

    def _trust(self) -> ssl.SSLContext:
        try:
            return ssl.create_default_context(cafile=str(self.ca_file or certifi.where()))
        except (OSError, ssl.SSLError):
            raise Trouble(f"--ca-file: {self.ca_file} holds no certificates in PEM form") from None


def _stays_here(url: str) -> bool:
    host = httpx.URL(url).host
    return host in {"localhost", "::1"} or host.startswith("127.")


def _no_address(url: str) -> str:
    return f"{url} is no address; give --url or DELIVERY_URL as http://host:port"


def _unreached(url: str, error: httpx.HTTPError) -> str:
    if "CERTIFICATE_VERIFY_FAILED" in str(error):
        return f"the certificate of {url} is not trusted; name its authority with --ca-file"
    if isinstance(error, httpx.UnsupportedProtocol):
        return _no_address(url)
    return (
        f"no service answers at {url}; give its address with --url or DELIVERY_URL, or reach one in a cluster"
        " with kubectl port-forward"
    )


def _judged(answer: httpx.Response, url: str) -> Document:
    try:
        document = answer.json()
    except ValueError:
        document = None
    if not isinstance(document, dict):
        raise Trouble(f"{url} answered {answer.status_code} with something that is no report; check --url")
    if answer.status_code in {HTTPStatus.OK, HTTPStatus.ACCEPTED}:
        return document
    said = str(document.get("detail") or document.get("title") or f"answered {answer.status_code}")
    wait = answer.headers.get("retry-after")
    raise Trouble(said + (f" (in {wait} s)" if wait else ""))
