"""Names whose name server never answers affect only their own targets.

Runs in a new network and mount namespace, with a silent name server on loopback.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.quiet

ROOT = Path(__file__).parents[1]

NAMESPACE = """
set -e
ip link set lo up 2> /dev/null || python3 -c "$LOOPBACK_UP"
echo 'nameserver 127.0.0.1' > "$FOLDER/resolv.conf"
mount --bind "$FOLDER/resolv.conf" /etc/resolv.conf
exec "$PYTHON" "$SCRIPT"
"""

# Does the same as `ip link set lo up`, for machines without it: SIOCGIFFLAGS, then SIOCSIFFLAGS with IFF_UP.
LOOPBACK_UP = """
import fcntl, socket, struct
with socket.socket() as sock:
    flags = struct.unpack("16sh", fcntl.ioctl(sock, 0x8913, struct.pack("16sh", b"lo", 0)))[1]
    fcntl.ioctl(sock, 0x8914, struct.pack("16sh", b"lo", flags | 1))
"""

SCRIPT = """
import asyncio, socket, time
from app.egress.client import HttpClient
from app.domain.errors import TargetError
from app.settings import ServiceSettings

async def answer(reader, writer):
    await reader.readuntil(b"\\r\\n\\r\\n")
    writer.write(b"HTTP/1.1 200 OK\\r\\nContent-Length: 0\\r\\n\\r\\n")

async def main():
    silent = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    silent.bind(("127.0.0.1", 53))
    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    settings = ServiceSettings(egress_http=True, egress_allow="127.0.0.0/8")
    async with HttpClient(settings) as http:
        names = [f"http://silent-{number}.example.test/" for number in range(50)]
        slow = [asyncio.create_task(http.post(name, b"", {})) for name in names]
        await asyncio.sleep(0)
        started = time.monotonic()
        response = await http.post(f"http://localhost:{port}/", b"", {})
        print(response.status, "within a second:", time.monotonic() - started < 1)
        print({type(error) for error in await asyncio.gather(*slow, return_exceptions=True)} == {TargetError})

asyncio.run(main())
"""


@pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("unshare"), reason="needs root and unshare (util-linux)"
)
def test_a_silent_name_server_does_not_delay_a_healthy_target(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    done = subprocess.run(
        ["unshare", "--net", "--mount", "sh", "-c", NAMESPACE],
        env={
            "PATH": os.environ["PATH"],
            "PYTHON": sys.executable,
            "PYTHONPATH": str(ROOT),
            "SCRIPT": str(script),
            "FOLDER": str(tmp_path),
            "LOOPBACK_UP": LOOPBACK_UP,
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout.splitlines() == ["200 within a second: True", "True"], done.stderr
