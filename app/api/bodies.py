"""Reading a request's body: limited in bytes and structure, and unambiguous JSON."""

import json
import re
from typing import Any

from fastapi import Request
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.service import Service
from app.domain.errors import BodyTooLarge, Malformed

STRUCTURES = 10_000  # lists and objects of a body that are checked
_BRACKET = re.compile(r"[][{}]")
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"?', re.DOTALL)


class BodyLimit:
    """Reads at most `limit` bytes of a request's body; FastAPI's own limit would answer in plain text."""

    def __init__(self, app: ASGIApp, limit: int) -> None:
        self._app = app
        self._limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on; reading its body beyond the limit fails."""
        declared = dict(scope.get("headers", ())).get(b"content-length", b"")
        left = self._limit
        too_large = declared.isdigit() and int(declared) > left

        async def receive_within_limit() -> Message:
            nonlocal left
            if too_large:
                raise HTTPException(BodyTooLarge.status)
            message = await receive()
            left -= len(message.get("body", b""))
            if left < 0:
                raise HTTPException(BodyTooLarge.status)
            return message

        await self._app(scope, receive_within_limit, send)


class StrictRequest(Request):
    """A request whose JSON must be unambiguous and of limited structure."""

    async def body(self) -> bytes:
        """Read the body, without Starlette's generators: they cost more than a small body is worth.

        Raises:
            Malformed: the caller left in the middle of it.
        """
        if not hasattr(self, "_body"):
            pieces, more = [], True
            while more:
                message = await self.receive()
                if message["type"] == "http.disconnect":
                    raise Malformed("nothing was done: the body is incomplete")
                pieces.append(message.get("body", b""))
                more = message.get("more_body", False)
            self._body = b"".join(pieces)
        return self._body

    async def json(self) -> Any:
        """Parse the body.

        Raises:
            JSONDecodeError: it is not JSON, is nested too deeply, or contains a duplicate key, NaN or
            Infinity.
        """
        service: Service = self.app.state.service
        body = (await self.body()).decode()
        _check_depth(body, service.settings.max_depth)
        try:
            return json.loads(body, object_pairs_hook=_unique, parse_constant=_refused)
        except json.JSONDecodeError:
            raise
        except ValueError as error:  # our own errors, and a number with thousands of digits
            raise json.JSONDecodeError(str(error).partition(":")[0], "", 0) from None


def _check_depth(body: str, most: int) -> None:
    """Before parsing, reject what would take long: an event is one object with at most one list."""
    if _opened(body) <= most:  # it cannot be deeper, whatever its strings contain
        return
    bare = _STRING.sub("", body)
    if _opened(bare) > STRUCTURES:
        raise json.JSONDecodeError(f"it contains more than {STRUCTURES} lists and objects", "", 0)
    depth = 0
    for bracket in _BRACKET.findall(bare):
        depth += 1 if bracket in "[{" else -1
        if depth > most:
            raise json.JSONDecodeError(f"it is nested more than {most} deep", "", 0)


def _opened(text: str) -> int:
    return text.count("[") + text.count("{")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) < len(pairs):
        raise ValueError("an object has a duplicate key")
    return document


def _refused(_: str) -> None:
    raise ValueError("NaN and Infinity are not JSON numbers")
