"""Connections for protocols other than HTTP, with the same name resolution and egress guard.

None of its texts contains an address.
"""

import socket
from ipaddress import ip_address

from aiohappyeyeballs import start_connection

from app.domain.errors import TargetError
from app.domain.reasons import Reason
from app.egress.client import HttpClient
from app.egress.guard import NOT_PERMITTED, Address, Checked
from app.egress.names import unresolved

HAPPY_EYEBALLS = 0.25  # seconds before the next address is tried in parallel: RFC 8305, section 8


class Dialler:
    """Opens sockets to checked addresses; the caller limits the connections per host."""

    def __init__(self, http: HttpClient) -> None:
        self._http = http

    def check(self, host: str, port: int) -> Checked:
        """Check a host as it was written.

        Raises:
            ValueError: it is not a host; the text says what to change.
            TargetError: `EgressDenied`.
        """
        if any(character in host for character in "/?#@[]"):
            raise ValueError("is not a host name")
        return self._http.guard.check(f"https://{f'[{host}]' if ':' in host else host}:{port}/")

    async def judge(self, host: str, port: int) -> None:
        """Check that a host has a permitted address, without dialling it.

        Raises:
            ValueError: it is not a host; the text says what to change.
            TargetError: it has no permitted address.
        """
        await self._addresses(self.check(host, port).sought, port, trusted=False)

    async def connect(self, host: str, port: int, *, trusted: bool) -> socket.socket:
        """Return a connected socket, which the caller closes.

        `trusted`: the installation's owner named this host, so its addresses are not checked.

        Raises:
            ValueError: the host cannot be used; the text says what to change.
            TargetError: the guard denied it, or there was no connection.
        """
        name = host if trusted else self.check(host, port).sought
        return await self._connect(name, port, trusted=trusted)

    async def _connect(self, name: str, port: int, *, trusted: bool) -> socket.socket:
        # The checked addresses are dialled, and nothing looks them up again.
        addresses = await self._addresses(name, port, trusted=trusted)
        try:
            return await start_connection(
                [
                    (
                        socket.AF_INET6 if address.version == 6 else socket.AF_INET,  # noqa: PLR2004
                        socket.SOCK_STREAM,
                        socket.IPPROTO_TCP,
                        "",
                        (str(address), port),
                    )
                    for address in addresses
                ],
                happy_eyeballs_delay=HAPPY_EYEBALLS,
            )
        except OSError:
            message = "no connection to the receiver"
            raise TargetError(Reason.CONNECTION_FAILED, message, retryable=True, attempted=True) from None

    async def _addresses(self, name: str, port: int, *, trusted: bool) -> list[Address]:
        found = await self._look_up(name, port)
        addresses = [one for one in found if trusted or self._http.guard.permits(one)]
        if not addresses:
            raise TargetError(Reason.EGRESS_DENIED, NOT_PERMITTED)
        return addresses

    async def _look_up(self, name: str, port: int) -> list[Address]:
        try:
            found = await self._http.resolver.resolve(name, port, socket.AF_UNSPEC)
        except OSError as error:
            message = unresolved(error)
            raise TargetError(Reason.CONNECTION_FAILED, message, retryable=True, attempted=True) from None
        return [ip_address(one["host"].partition("%")[0]) for one in found]
