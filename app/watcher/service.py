"""The watcher's door to the service: one POST a hand-in; foreign errors end here."""

import json
import re
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp
from pydantic import AnyHttpUrl

from app.errors import DeliveryError
from app.times import parse_http_date, parse_retry_after
from app.watcher.agenda import Answer, HandIn
from app.watcher.pace import Pace

_SHOWN = 65_536  # bytes of an answer that are read
_SLUG = re.compile(r"[a-z0-9-]{1,64}")


class ServiceAway(DeliveryError):
    """The service gave no answer: nothing can be handed in for now."""


class NoToken(ServiceAway):
    """The token file cannot be read, so nobody can be asked."""


class Service:
    """Posts to `/deliveries` under one base address; follows no redirect, and no proxy of the environment."""

    def __init__(self, url: AnyHttpUrl, *, token_file: str | None, pace: Pace) -> None:
        path = (url.path or "").rstrip("/")
        self._url = f"{url.scheme}://{url.host}:{url.port}{path}/deliveries"
        self._token_file = Path(token_file) if token_file else None
        self._pace = pace

    async def __aenter__(self) -> Self:
        self._http = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=self._pace.at_once),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=self._pace.post_timeout),
            trust_env=False,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._http.close()

    async def post(self, hand_in: HandIn) -> tuple[Answer, str]:
        """Hand a team in; return the answer and, where that is a problem, which one.

        Raises:
            NoToken: the token file is missing, or holds no token.
            ServiceAway: no connection, or no answer in time.
        """
        event = {"namespace": hand_in.team.namespace, "team": hand_in.team.name, "uid": hand_in.uid}
        headers = {"Prefer": "respond-async", **self._authorization()}
        try:
            async with self._http.post(
                self._url, json=event, headers=headers, allow_redirects=False
            ) as response:
                body = await response.content.read(_SHOWN)
        except TimeoutError:
            raise ServiceAway("no answer in time") from None
        except (aiohttp.ClientError, OSError) as error:
            raise ServiceAway(str(error) or type(error).__name__) from None
        now = parse_http_date(response.headers.get("Date", "")) or datetime.now(UTC)
        retry_after = parse_retry_after(response.headers.get("Retry-After"), now)
        return Answer(response.status, retry_after), _problem(body)

    def _authorization(self) -> dict[str, str]:
        """Read the token anew, since it is rotated in place."""
        if self._token_file is None:
            return {}
        try:
            token = self._token_file.read_text("ascii").strip()
        except OSError as error:
            raise NoToken(f"the token file {self._token_file} cannot be read: {error.strerror}") from None
        except ValueError:
            token = ""
        if not token.isprintable() or not token or " " in token:
            raise NoToken(f"the token file {self._token_file} holds no token")
        return {"Authorization": f"Bearer {token}"}


def _problem(body: bytes) -> str:
    """Return the last word of a problem's `type`; nothing else of an answer is worth a log line."""
    try:
        document: Any = json.loads(body)
    except ValueError:
        return ""
    kind = document.get("type") if isinstance(document, dict) else None
    word = re.split("[/:#]", kind)[-1] if isinstance(kind, str) else ""
    return word if _SLUG.fullmatch(word) else ""
