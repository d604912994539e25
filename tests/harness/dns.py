"""A small name server for processes that resolve names themselves: A and AAAA, over UDP."""

import asyncio
import struct
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from ipaddress import ip_address
from typing import cast

PORT = 53
A, AAAA, INTERNET = 1, 28, 1
ANSWER, NO_SUCH_NAME = 0x8580, 0x8583  # an authoritative response; recursion is available

Names = Mapping[str, Sequence[str]]


@asynccontextmanager
async def name_server(names: Names, address: str = "127.0.0.1") -> AsyncIterator[None]:
    """Answer queries for these names with their addresses in order; other names do not exist."""
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(lambda: _Server(names), local_addr=(address, PORT))
    try:
        yield
    finally:
        transport.close()


class _Server(asyncio.DatagramProtocol):
    def __init__(self, names: Names) -> None:
        self._names = names

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self._transport.sendto(answer(data, self._names), addr)


def answer(query: bytes, names: Names) -> bytes:
    """Answer a query with one question (RFC 1035, section 4)."""
    labels, position = [], 12
    while length := query[position]:
        labels.append(query[position + 1 : position + 1 + length].decode())
        position += 1 + length
    position += 1
    (kind,) = struct.unpack_from("!H", query, position)
    addresses = names.get(".".join(labels).lower())
    packed = [ip_address(address).packed for address in addresses or ()]
    records = [
        # The name is that of the question, at offset 12; the TTL is 0.
        struct.pack("!HHHIH", 0xC00C, kind, INTERNET, 0, len(address)) + address
        for address in packed
        if len(address) == {A: 4, AAAA: 16}.get(kind)
    ]
    flags = NO_SUCH_NAME if addresses is None else ANSWER
    head = query[:2] + struct.pack("!HHHHH", flags, 1, len(records), 0, 0)
    return head + query[12 : position + 4] + b"".join(records)
