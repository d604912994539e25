#!/usr/bin/env bash
# aiohttp: a proxy that opens a tunnel with 201 instead of 200 is taken to refuse it.
#
# Library:    aiohttp 3.14.5
# Behaviour:  after CONNECT, ClientSession compares the status with 200, and raises ClientHttpProxyError otherwise.
# Surprise:   RFC 9110, section 9.3.6: "Any 2xx (Successful) response indicates that the sender (and all inbound
#             proxies) will switch to tunnel mode".
# Seen:       200: TLS begins in the tunnel; 201: ClientHttpProxyError 201
# Exit code:  0 while the library behaves like this, 1 once it does not.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check aiohttp==3.14.5
"$folder/venv/bin/python" - <<'PYTHON'
import asyncio
import contextlib
import sys

import aiohttp


async def outcome(status):
    first = asyncio.get_running_loop().create_future()

    async def proxy(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 %d Opened\r\n\r\n" % status)
        with contextlib.suppress(asyncio.CancelledError):  # nobody speaks in the tunnel
            first.set_result(await reader.read(1))
        writer.close()

    server = await asyncio.start_server(proxy, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with aiohttp.ClientSession() as session:
        try:
            await session.get("https://receiver.test/", proxy=f"http://127.0.0.1:{port}")
        except aiohttp.ClientHttpProxyError as error:
            return f"ClientHttpProxyError {error.status}"
        except aiohttp.ClientError:
            pass  # the tunnel leads nowhere
    server.close()
    return "TLS begins in the tunnel" if await first == b"\x16" else "nothing"


async def main():
    seen = {status: await outcome(status) for status in (200, 201)}
    print("; ".join(f"{status}: {what}" for status, what in seen.items()))
    return seen == {200: "TLS begins in the tunnel", 201: "ClientHttpProxyError 201"}


sys.exit(not asyncio.run(main()))
PYTHON
