#!/usr/bin/env python3
"""A receiver of signed notifications; it needs only the standard library.

It keeps each notification as a file, named by its id, and answers at once. Another program reads that folder
and does the work. Put it behind something that terminates TLS. Its environment variables:

    SIGNING_SECRETS  the accepted keys, whsec_…, separated by spaces
    AUTHORIZATION    the required value of that header; empty: not checked
    NOTIFICATIONS    where notifications are stored; default: notifications
    HOST, PORT       where it listens; default: 127.0.0.1 and 9000
"""

import base64
import hashlib
import hmac
import io
import os
import re
import socket
import sys
import time
from collections.abc import Iterable
from contextlib import suppress
from email.message import Message
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingTCPServer
from tempfile import NamedTemporaryFile
from typing import Any, NoReturn

TOLERANCE = 300  # seconds by which a timestamp may be off
MOST = 2**21  # bytes of a notification
PATIENCE = 10  # seconds for a request to arrive
PORTS = 65535


class Refused(Exception):
    """The request is not a valid notification; the text says why."""

    def __init__(self, why: str, status: HTTPStatus = HTTPStatus.UNAUTHORIZED) -> None:
        """Store the status of the answer."""
        super().__init__(why)
        self.status = status


def verify(headers: Message, body: bytes, keys: Iterable[bytes], now: float) -> str:
    """Return the notification's id; `body` is the raw request body, before any parsing."""
    names = ("webhook-id", "webhook-timestamp", "webhook-signature")
    given = [headers.get_all(name, []) for name in names]
    if any(len(values) != 1 for values in given):
        raise Refused("a header is missing or repeated")
    [identifier], [timestamp], [signatures] = given
    if not re.fullmatch("[A-Za-z0-9_-]{1,128}", identifier):  # it becomes a file name
        raise Refused("the id is invalid")
    if not re.fullmatch("[0-9]{1,12}", timestamp) or abs(now - int(timestamp)) > TOLERANCE:
        raise Refused("the timestamp is not current")
    signed = f"{identifier}.{timestamp}.".encode() + body
    for key in keys:
        ours = b"v1," + base64.b64encode(hmac.digest(key, signed, hashlib.sha256))
        for theirs in signatures.split(" "):
            if hmac.compare_digest(ours, theirs.encode()):
                return identifier
    raise Refused("no signature matches")


def keep(folder: Path, identifier: str, body: bytes) -> bool:
    """Write a notification to a file atomically; return whether it is new."""
    with NamedTemporaryFile(dir=folder, prefix=".draft-") as draft:
        draft.write(body)
        draft.flush()
        os.fsync(draft.fileno())
        try:
            os.link(draft.name, folder / f"{identifier}.json")
            new = True
        except FileExistsError:
            new = False
    place = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(place)  # or a power failure may lose the name
    finally:
        os.close(place)
    return new


class Impatient(io.RawIOBase):
    """A caller's input, with a limit on the total time, however slowly it arrives."""

    def __init__(self, connection: socket.socket) -> None:
        """Start the time."""
        self.connection = connection
        self.end = time.monotonic() + PATIENCE

    def readable(self) -> bool:
        """Say that it can be read."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Wait for some bytes."""
        left = self.end - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self.connection.settimeout(left)
        return self.connection.recv_into(buffer)


class Handler(BaseHTTPRequestHandler):
    """Answers one request: 204 if the notification is stored, now or before."""

    keys: tuple[bytes, ...]
    authorization: bytes
    folder: Path

    def setup(self) -> None:
        """Limit the time of the whole request, not of each read."""
        super().setup()
        self.rfile = io.BufferedReader(Impatient(self.connection))

    def do_POST(self) -> None:
        """Receive a notification."""
        try:
            body = self.read()
            identifier = verify(self.headers, body, self.keys, time.time())
        except Refused as error:
            return self.answer(error.status, f"refused: {error}")
        try:
            new = keep(self.folder, identifier, body)
        except OSError as error:  # the service retries
            return self.answer(HTTPStatus.SERVICE_UNAVAILABLE, f"not kept: {error.strerror}")
        return self.answer(HTTPStatus.NO_CONTENT, f"{'took' if new else 'had already'} {identifier}")

    def read(self) -> bytes:
        """Read the complete body, and check that the sender is authorised."""
        lengths = self.headers.get_all("content-length", [])
        if not lengths or "transfer-encoding" in self.headers:
            raise Refused("send a content-length", HTTPStatus.LENGTH_REQUIRED)
        if len(lengths) != 1 or not re.fullmatch("[0-9]{1,18}", lengths[0]):
            raise Refused("the content-length is none", HTTPStatus.BAD_REQUEST)
        length = int(lengths[0])
        if length > MOST:
            raise Refused("too large", HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
        status = HTTPStatus.BAD_REQUEST
        try:
            body = self.rfile.read(length)
        except TimeoutError:
            body, status = b"", HTTPStatus.REQUEST_TIMEOUT
        except OSError:
            body = b""
        if len(body) != length:
            raise Refused("the body did not come whole", status)
        given = (self.headers.get("authorization") or "").encode()
        if self.authorization and not hmac.compare_digest(given, self.authorization):
            raise Refused("the authorization is wrong")
        return body

    def send_error(self, code: int, *_: object, **__: object) -> None:
        """Reject what the library rejects: other methods, and invalid HTTP."""
        if code == HTTPStatus.NOT_IMPLEMENTED:
            self.answer(HTTPStatus.METHOD_NOT_ALLOWED, "refused: not a POST")
        else:
            self.answer(HTTPStatus(code), "refused: no HTTP")

    def answer(self, status: HTTPStatus, what: str) -> None:
        """Print what was done, and answer without a body."""
        print(what, flush=True)
        self.send_response_only(status)
        self.end_headers()


class Server(ThreadingTCPServer):
    """Runs one thread per caller."""

    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 128  # concurrent callers; more are rejected

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore callers that disconnect."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


def stop(why: str) -> NoReturn:
    """Print an error, and exit."""
    print(why, file=sys.stderr)
    sys.exit(2)


def key_of(secret: str) -> bytes:
    """Decode a key as it is in the Secret."""
    try:
        key = base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    except ValueError:
        key = b""
    if not key or secret != f"whsec_{base64.b64encode(key).decode()}":
        stop("SIGNING_SECRETS: each must be whsec_ followed by base64")
    return key


def main() -> None:
    """Receive until a signal."""
    Handler.keys = tuple(key_of(one) for one in os.environ.get("SIGNING_SECRETS", "").split())
    if not Handler.keys:
        stop("SIGNING_SECRETS: name at least one key")
    authorization = os.environ.get("AUTHORIZATION", "")
    if not re.fullmatch("[ -~]*", authorization):
        stop("AUTHORIZATION: must be ASCII")
    Handler.authorization = authorization.encode()
    host, port = os.environ.get("HOST") or "127.0.0.1", os.environ.get("PORT") or "9000"
    if not re.fullmatch("[0-9]{1,5}", port) or int(port) > PORTS:
        stop("PORT: must be a number up to 65535")
    Handler.folder = Path(os.environ.get("NOTIFICATIONS") or "notifications")
    Server.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
    os.umask(0o077)
    try:
        Handler.folder.mkdir(parents=True, exist_ok=True)
        for draft in Handler.folder.glob(".draft-*"):  # of a process that was killed
            draft.unlink(missing_ok=True)
        server = Server((host, int(port)), Handler)
    except OSError as error:
        stop(f"cannot start: {error}")
    with server, suppress(KeyboardInterrupt):
        print(f"listening on port {server.server_address[1]}", flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main()
