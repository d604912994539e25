#!/usr/bin/env python3
"""A receiver of signed notices; it needs the standard library alone.

It keeps each notice as a file, named by its id, and answers at once: the work is done by whoever reads that
folder. Put it behind something that ends TLS. It is told by its environment:

    SIGNING_SECRETS  the keys that are good, whsec_…, with spaces between them
    AUTHORIZATION    what that header has to say; empty: it is not looked at
    NOTICES          the folder; default: notices
    HOST, PORT       where it listens; default: 127.0.0.1 and 9000
"""

import base64
import hashlib
import hmac
import os
import re
import sys
import time
from collections.abc import Iterable
from contextlib import suppress
from email.message import Message
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import NamedTemporaryFile

TOLERANCE = 300  # seconds that a timestamp may be off
MOST = 2**21  # bytes of a notice


class Refused(Exception):
    """A request is no notice of ours; the text says why."""


def verify(headers: Message, body: bytes, keys: Iterable[bytes], now: float) -> str:
    """Return the notice's id; `body` is what came, byte by byte, before anybody parsed it."""
    names = ("webhook-id", "webhook-timestamp", "webhook-signature")
    identifier, timestamp, signatures = (headers.get(name) or "" for name in names)
    if not (identifier and timestamp and signatures):
        raise Refused("a header is missing")
    if not re.fullmatch("[A-Za-z0-9_-]{1,128}", identifier):  # it becomes a file's name
        raise Refused("the id is none")
    if not re.fullmatch("[0-9]{1,12}", timestamp) or abs(now - int(timestamp)) > TOLERANCE:
        raise Refused("the timestamp is not of now")
    signed = f"{identifier}.{timestamp}.".encode() + body
    for key in keys:
        ours = b"v1," + base64.b64encode(hmac.digest(key, signed, hashlib.sha256))
        for theirs in signatures.split(" "):
            if hmac.compare_digest(ours, theirs.encode()):
                return identifier
    raise Refused("no signature fits")


def keep(folder: Path, identifier: str, body: bytes) -> bool:
    """Write a notice down, whole or not at all; say whether it is new."""
    with NamedTemporaryFile(dir=folder, prefix=".") as draft:
        draft.write(body)
        draft.flush()
        os.fsync(draft.fileno())
        try:
            os.link(draft.name, folder / f"{identifier}.json")
        except FileExistsError:
            return False
    return True


def key_of(secret: str) -> bytes:
    """Read a key as it stands in the Secret."""
    prefix, _, text = secret.partition("_")
    key = base64.b64decode(text, validate=True) if prefix == "whsec" else b""
    if not key:
        raise ValueError
    return key


class Handler(BaseHTTPRequestHandler):
    """Answers one request: 204 when the notice is kept, or was before."""

    keys: tuple[bytes, ...]
    authorization: bytes
    folder: Path
    timeout = 10  # seconds that a caller may be silent

    def do_POST(self) -> None:
        """Take a notice."""
        try:
            length = int(self.headers.get("content-length") or 0)
            if not 0 <= length <= MOST:
                return self.answer(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "refused: too large")
            body = self.rfile.read(length)
            given = (self.headers.get("authorization") or "").encode()
            if self.authorization and not hmac.compare_digest(given, self.authorization):
                return self.answer(HTTPStatus.UNAUTHORIZED, "refused: the authorization is wrong")
            identifier = verify(self.headers, body, self.keys, time.time())
            new = keep(self.folder, identifier, body)
        except (Refused, ValueError) as error:
            return self.answer(HTTPStatus.UNAUTHORIZED, f"refused: {error}")
        except OSError as error:
            return self.answer(
                HTTPStatus.INTERNAL_SERVER_ERROR, f"not kept: {error.strerror}"
            )  # it comes again
        return self.answer(HTTPStatus.NO_CONTENT, f"{'took' if new else 'had already'} {identifier}")

    def answer(self, status: HTTPStatus, what: str) -> None:
        """Answer without a body, and say on the standard output what was done."""
        self.send_response_only(status)
        self.send_header("content-length", "0")
        self.end_headers()
        print(what, flush=True)


def main() -> None:
    """Receive until stopped."""
    try:
        Handler.keys = tuple(key_of(one) for one in os.environ.get("SIGNING_SECRETS", "").split())
    except ValueError:
        sys.exit("SIGNING_SECRETS: each must be whsec_ followed by base64")
    if not Handler.keys:
        sys.exit("SIGNING_SECRETS: name at least one key")
    Handler.authorization = os.environ.get("AUTHORIZATION", "").encode()
    Handler.folder = Path(os.environ.get("NOTICES", "notices"))
    Handler.folder.mkdir(parents=True, exist_ok=True)
    place = (os.environ.get("HOST", "127.0.0.1"), int(os.environ.get("PORT", "9000")))
    with ThreadingHTTPServer(place, Handler) as server, suppress(KeyboardInterrupt):
        print(f"listening on port {server.server_port}", flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main()
