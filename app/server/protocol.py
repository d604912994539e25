"""HTTP/1.1 for untrusted callers: uvicorn's protocol, strict, and limited in bytes and time.

It closes what uvicorn and its parser llhttp leave open; the rules are those of RFC 9112.
"""

import asyncio
import re
from dataclasses import dataclass
from typing import Any

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn.server import ServerState

from app.domain.errors import BadRequest, HeadTooLarge, Problem, ReadTimeout
from app.domain.problems import PROBLEM_JSON, ProblemDetails
from app.server.countdown import Countdown, TimedFlow
from app.server.waiting import WaitingRoom

LINGERING = 2.0  # seconds in which a caller must read the last answer and close
CHUNK_FRAMING = 16  # bytes per chunk that do not count: its size and line ends, as in Go's net/http

_HOST = re.compile(rb"[A-Za-z0-9._~%!$&'()*+,;=:\[\]-]*")  # RFC 3986, section 3.2, without user info


class _Pipelined(Exception):
    """A second request before the answer to the first."""


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of one caller."""

    max_head: int  # bytes
    read_timeout: float  # seconds


class Protocol(HttpToolsProtocol):
    """One connection.

    An unreadable request gets a problem document, unless an answer has begun. Then the connection is closed
    in stages (RFC 9112, section 9.6), so that a reset does not destroy the answer.

    Data that follows a request before its answer is not read, and the connection is closed after the answer.
    A client that pipelines must expect this (RFC 9112, section 9.3.2), and data smuggled in behind a request
    is never taken for a request.
    """

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        *,
        limits: Limits,
        room: WaitingRoom,
    ) -> None:
        super().__init__(config, server_state, app_state)
        self.parser = httptools.HttpRequestParser(self)  # without the leniency that uvicorn enables
        self._limits = limits
        self._room = room
        self._reading = Countdown(limits.read_timeout, self._read_timed_out)
        self._writing = Countdown(limits.read_timeout, self._write_timed_out)
        self._unsent = 0  # bytes, at the start of the write countdown
        self._begun = False  # between a request's first and last byte
        self._in_head = True
        self._ignored_upgrade = False
        self._framing = 0  # bytes besides a body's content, since the head began or ended
        self._content = 0  # bytes of a body's content in the current piece
        self._stepped = False  # the current piece completed a head or a request
        self._deaf = False  # input is discarded
        self._thrown_away = 0  # bytes

    # Reading

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for a request."""
        super().connection_made(transport)
        self.flow = TimedFlow(transport, self._reading)
        self._await_request()

    def data_received(self, data: bytes) -> None:
        """Parse in pieces that are no larger than what the caller may still send."""
        if self._answering:
            self._stop_listening()
        if self._deaf:
            self._throw_away(data)
            return
        self._unset_keepalive_if_required()
        if not self._begun:
            self._begun = True
            self._await_request()
        rest = memoryview(data)
        try:
            while rest and not self._answering:
                rest = rest[self._parse(rest) :]
        except httptools.HttpParserError as error:
            self._refuse(_problem(error))
        except Problem as problem:
            self._refuse(problem)
        if self._answering and rest:
            self._stop_listening()

    def _parse(self, data: memoryview) -> int:
        """Parse as much as is allowed; return how many bytes that was."""
        allowed = self._limits.max_head - self._framing
        if allowed <= 0:
            what = "request line and headers" if self._in_head else "trailers and chunk extensions"
            raise HeadTooLarge(f"the {what} are larger than {self._limits.max_head} bytes; send less of them")
        piece = data[:allowed]
        self._content = 0
        self._stepped = False
        parsed = len(piece)
        try:
            self.parser.feed_data(piece)
        except httptools.HttpParserUpgrade as upgrade:
            parsed = int(upgrade.args[0])
        if self._ignored_upgrade:
            self._parse_without_upgrade()
        framing = self._framing + parsed - self._content
        self._framing = 0 if self._stepped else max(0, framing)
        return parsed

    def on_message_begin(self) -> None:
        """Begin a request, unless an earlier one has no answer yet."""
        if self._answering:
            raise _Pipelined
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header; drop a trailer, which must not count as one (RFC 9110, section 6.5.1)."""
        if self._in_head:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Check the head, and start the application."""
        self._check_head()
        if self.parser.should_upgrade():
            self._ignored_upgrade = True  # llhttp stops after the head, with an exception
            return
        super().on_headers_complete()
        self._in_head = False
        self._stepped = True

    def _check_head(self) -> None:
        version = self.parser.get_http_version()
        if version not in {"1.0", "1.1"}:
            raise BadRequest("this port supports HTTP/1.1 and HTTP/1.0; use one of these")
        if self.parser.get_method() == b"CONNECT":
            raise BadRequest("this is not a proxy; send the request without CONNECT")
        hosts = [value for name, value in self.headers if name == b"host"]
        if len(hosts) > 1 or (version == "1.1" and not hosts) or not all(map(_HOST.fullmatch, hosts)):
            raise BadRequest("send one Host header with a host name")  # RFC 9112, section 3.2
        codings = [value.lower() for name, value in self.headers if name == b"transfer-encoding"]
        if codings and (version == "1.0" or codings != [b"chunked"]):  # RFC 9112, sections 6.1 and 7
            raise BadRequest("send a body chunked with HTTP/1.1, or without a transfer coding")
        if version == "1.0":
            self.expect_100_continue = False  # RFC 9110, section 10.1.1

    def _parse_without_upgrade(self) -> None:
        """Parse the head again without its request to upgrade, which a server may ignore (RFC 9110, 7.8).

        llhttp would take what follows as another protocol, and a body in a second packet as a request.
        """
        self._ignored_upgrade = False
        version = self.parser.get_http_version().encode()
        lines = [self.parser.get_method() + b" " + self.url + b" HTTP/" + version]
        for name, value in self.headers:
            if name == b"connection":
                options = [option.strip() for option in value.split(b",")]
                kept = b", ".join(option for option in options if option.lower() != b"upgrade")
                lines += [b"connection: " + kept] if kept else []
            elif name != b"upgrade":
                lines.append(name + b": " + value)
        self.parser = httptools.HttpRequestParser(self)
        self.parser.feed_data(b"\r\n".join([*lines, b"", b""]))

    def on_chunk_header(self) -> None:
        """Allow for the unavoidable framing of a chunk."""
        self._framing -= CHUNK_FRAMING

    def on_body(self, body: bytes) -> None:
        """Take part of the body."""
        self._content += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Stop the caller's countdown: from here on, the service takes the time."""
        if self._ignored_upgrade:
            return
        self._in_head = True
        self._begun = False
        self._stepped = True
        self._reading.stop()
        self._room.leave(self)
        super().on_message_complete()

    @property
    def _answering(self) -> bool:
        """Whether a complete request has no answer yet."""
        return self.cycle is not None and not self.cycle.more_body and not self.cycle.response_complete

    def _await_request(self) -> None:
        self._reading.start()
        self._room.enter(self, self._abort)

    # Closing

    def _read_timed_out(self) -> None:
        if self._begun:
            seconds = self._limits.read_timeout
            self._refuse(ReadTimeout(f"the request was not complete within {seconds:g} s; send it at once"))
        else:
            self.transport.close()

    def _refuse(self, problem: Problem) -> None:
        """Answer with a problem, unless an answer has begun, and close."""
        if self._answering:
            self._stop_listening()
            return
        answered = self._begun_to_answer
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        if not answered:
            self.transport.write(self._answer(problem))
        self._close_in_stages()

    @property
    def _begun_to_answer(self) -> bool:
        return not self._in_head and self.cycle is not None and self.cycle.response_started

    def _answer(self, problem: Problem) -> bytes:
        body = ProblemDetails.of(problem).model_dump_json(exclude_none=True).encode()
        headers = [
            *self.server_state.default_headers,
            (b"content-type", PROBLEM_JSON.encode()),
            (b"content-length", b"%d" % len(body)),
            (b"connection", b"close"),
        ]
        lines = [name + b": " + value + b"\r\n" for name, value in headers]
        return b"".join([STATUS_LINE[problem.status], *lines, b"\r\n", body])

    def _close_in_stages(self) -> None:
        """Send no more, discard further input, and close when the caller does, or soon."""
        self._deaf = True
        self._reading.stop()
        self._room.enter(self, self._abort)  # it holds a connection, and makes room like the others
        self._unset_keepalive_if_required()
        self.flow.read_paused = False
        self.transport.resume_reading()
        if self.transport.can_write_eof():
            self.transport.write_eof()
            self.loop.call_later(LINGERING, self._abort)
        else:
            self.transport.close()  # TLS closes in stages itself

    def _stop_listening(self) -> None:
        """Stop reading from this connection; `on_response_complete` closes it."""
        self._deaf = True

    def _throw_away(self, data: bytes) -> None:
        """Discard input; stop reading from a caller that keeps sending during its answer."""
        self._thrown_away += len(data)
        if self._answering and self._thrown_away > self._limits.max_head:
            self.transport.pause_reading()

    def _abort(self) -> None:
        self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the caller."""
        self._reading.stop()
        self._writing.stop()
        self._room.leave(self)
        super().connection_lost(exc)

    # Writing

    def pause_writing(self) -> None:
        """Start the caller's countdown to read."""
        super().pause_writing()
        self._await_reader()

    def resume_writing(self) -> None:
        """Stop that countdown."""
        self._writing.stop()
        super().resume_writing()

    def on_response_complete(self) -> None:
        """Close the connection if required, and limit the time to read the rest of the answer."""
        super().on_response_complete()
        if self._deaf and not self.transport.is_closing():
            self._close_in_stages()
        elif not self.transport.is_closing():
            self._room.enter(self, self._abort)  # kept alive, it waits for its next request
        self._await_reader()

    def _await_reader(self) -> None:
        self._unsent = self.transport.get_write_buffer_size()
        if self._unsent:
            self._writing.start()

    def _write_timed_out(self) -> None:
        """Close the connection of a caller that has read nothing since."""
        if self.transport.get_write_buffer_size() < self._unsent:
            self._await_reader()
        else:
            self._abort()


def _problem(error: httptools.HttpParserError) -> Problem:
    """Say what is wrong with a request; llhttp's reasons are fixed texts without input."""
    cause = error.__context__
    if isinstance(cause, Problem):
        return cause
    reason = "" if isinstance(error, httptools.HttpParserCallbackError) else f" ({error})"
    return BadRequest(f"the request cannot be read as HTTP/1.1{reason}; correct the client")
