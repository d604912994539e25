"""The service in a network namespace where internal addresses answer: it calls none, by any name.

The machine is a network namespace with loopback and no route out. On its loopback are the addresses at which
clouds and clusters keep their secrets. A server answers at each, and the name server has names for all.

In the network namespace: python -m tests.test_no_way_out FOLDER
"""

import asyncio
import fcntl
import json
import os
import socket
import struct
import subprocess
import sys
import time
from contextlib import closing
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

from tests.harness.cluster import prepared
from tests.harness.dns import name_server
from tests.harness.fake_cluster import FakeCluster
from tests.harness.service import Service, finished
from tests.sockets import OK, answering, listening

ROOT = Path(__file__).parents[1]
PERMITTED = "127.0.0.7"
INNER = (
    "10.0.0.1",
    "100.100.100.200",
    "127.0.0.1",
    "169.254.169.254",
    "172.16.0.1",
    "192.168.0.1",
    "::1",
    "fd00:ec2::254",
)
NAMES = {
    "neighbour.test": [PERMITTED],
    "mixed.test": ["10.0.0.1", PERMITTED, "169.254.169.254"],
    "all.test": [*INNER],
    **{f"inner-{number}.test": [address] for number, address in enumerate(INNER)},
}
DENIED_HOSTS = (
    *(f"[{address}]" if ":" in address else address for address in INNER),
    "localhost",
    "a.localhost.",
    "127.1",
    "2130706433",
    "0177.0.0.1",
    "0x7f000001",
    "127\u30020\u30020\u30021",
    "%31%32%37.0.0.1",
    "0xa9fea9fe",
    "169.16689662",
    "10.1",
    "192.168.1",
    "[::ffff:10.0.0.1]",
    "[::ffff:a9fe:a9fe]",
    "[::127.0.0.1]",
    "[64:ff9b::10.0.0.1]",
    "[2002:a00:1::1]",
    "[::1%25lo]",
    *(name for name in NAMES if name.startswith(("inner-", "all."))),
)
SERVED_HOSTS = (PERMITTED, f"[::ffff:{PERMITTED}]", "neighbour.test", "mixed.test")
SIOCGIFFLAGS, SIOCSIFFLAGS, SIOCSIFADDR, IFF_UP = 0x8913, 0x8914, 0x8916, 0x1


def unshared(*command: str) -> list[str]:
    """Run a command in a new network namespace, with its own /etc/resolv.conf."""
    become_root = () if os.geteuid() == 0 else ("--map-root-user",)
    return ["unshare", *become_root, "--net", "--mount", *command]


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Let the service deliver one team in the namespace, once, and return what was observed."""
    try:
        able = subprocess.run(unshared("true"), capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        able = False
    if not able:
        needed = "needs unshare (util-linux), as root or where users may make namespaces"
        if os.environ.get("CI") == "true":
            pytest.fail(needed)
        pytest.skip(needed)
    folder = tmp_path_factory.mktemp("inside")
    done = subprocess.run(
        unshared(sys.executable, "-m", "tests.test_no_way_out", str(folder)),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_every_internal_address_would_have_answered(seen: Any) -> None:
    assert seen["answering"] == [*INNER]


def test_the_namespace_has_no_route_out(seen: Any) -> None:
    assert seen["routes"] == []


@pytest.mark.parametrize("host", DENIED_HOSTS)
@pytest.mark.parametrize("where", ["spec", "secret"])
def test_no_internal_address_is_called_in_any_spelling_or_by_name(where: str, host: str, seen: Any) -> None:
    entry = seen["entries"][f"{where}-{host}"]
    assert (entry["phase"], entry["reason"]) == ("Failed", "EgressDenied")
    assert entry.get("attempts", 0) == 0
    assert entry["message"] == "the address is not public, and not among those allowed"


@pytest.mark.parametrize("host", SERVED_HOSTS)
@pytest.mark.parametrize("where", ["spec", "secret"])
def test_a_permitted_target_is_delivered_in_the_same_event(where: str, host: str, seen: Any) -> None:
    entry = seen["entries"][f"{where}-{host}"]
    assert (entry["phase"], entry["attempts"]) == ("Delivered", 1)


def test_only_the_permitted_receiver_got_a_connection(seen: Any) -> None:
    assert set(seen["reached"]) == {PERMITTED}


# ---------------------------------------------------------------------------------------------------------
# In the network namespace


def put_up_loopback() -> None:
    """Do the same as `ip link set lo up` and `ip address add`, on machines without them."""
    with closing(socket.socket()) as v4, closing(socket.socket(socket.AF_INET6)) as v6:
        flags = struct.unpack("16sh", fcntl.ioctl(v4, SIOCGIFFLAGS, struct.pack("16sh", b"lo", 0)))[1]
        fcntl.ioctl(v4, SIOCSIFFLAGS, struct.pack("16sh", b"lo", flags | IFF_UP))
        for number, text in enumerate(INNER):
            address = ip_address(text)
            if address.is_loopback:
                continue
            if address.version == 4:
                alias = f"lo:{number}".encode()
                request = struct.pack("16sH2x4s8x", alias, socket.AF_INET, address.packed)
                fcntl.ioctl(v4, SIOCSIFADDR, request)
            else:
                request = struct.pack("16sIi", address.packed, 128, socket.if_nametoindex("lo"))
                fcntl.ioctl(v6, SIOCSIFADDR, request)
                assert soon_bound(text), f"{text} cannot be bound"


def soon_bound(address: str) -> bool:
    """Whether an IPv6 address can be bound; the kernel takes a moment to activate one."""
    ends = time.monotonic() + 10
    while time.monotonic() < ends:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as probe:
            try:
                probe.bind((address, 0))
            except OSError:
                time.sleep(0.01)
            else:
                return True
    return False


def default_routes() -> list[str]:
    """Return all routes that lead out."""
    lines = Path("/proc/net/route").read_text().splitlines()[1:]
    return [line for line in lines if not line.startswith("lo")]


async def whoever_answers(port: int) -> list[str]:
    """Return the internal addresses at which a server answers."""
    found = []
    for address in INNER:
        try:
            _, writer = await asyncio.open_connection(address, port)
        except OSError:
            continue
        writer.close()
        found.append(address)
    return found


def targets(port: int) -> tuple[list[dict[str, Any]], dict[str, dict[str, str | bytes]]]:
    """Return a target for each host, with its URL in the spec and in a Secret."""
    hosts = (*DENIED_HOSTS, *SERVED_HOSTS)
    urls = {host: f"http://{host}:{port}/latest/meta-data/" for host in hosts}
    in_spec = [{"type": "webhook", "name": f"spec-{host}", "url": url} for host, url in urls.items()]
    secrets: dict[str, dict[str, str | bytes]] = {}
    in_secret = []
    for number, (host, url) in enumerate(urls.items()):
        secrets[f"s{number}"] = {"url": url}
        in_secret.append({"type": "webhook", "name": f"secret-{host}", "credentialsSecret": f"s{number}"})
    return in_spec + in_secret, secrets


async def main(folder: Path) -> None:
    """Deliver one team to all targets, and print what was observed."""
    everywhere = (*INNER, PERMITTED)
    async with (
        listening(answering(OK), addresses=everywhere) as bare,
        name_server(NAMES),
        FakeCluster() as server,
        prepared(server, folder) as cluster,
        Service(cluster.kubeconfig, egress_allow=f"{PERMITTED}/32") as service,
    ):
        answer_at = await whoever_answers(bare.port)
        bare.reached.clear()
        wanted, secrets = targets(bare.port)
        namespace = await finished(cluster.kube, *wanted, **secrets)
        await service.deliver(namespace, "report")
        entries = {entry["name"]: entry for entry in await cluster.kube.delivery(namespace, "report")}
    seen = {
        "answering": answer_at,
        "routes": default_routes(),
        "entries": entries,
        "reached": [address.removeprefix("::ffff:") for address in bare.reached],
    }
    print(json.dumps(seen))  # noqa: T201  # for the test that started this process


def ask_loopback_for_names(folder: Path) -> None:
    """Make the name server on loopback the machine's name server."""
    resolver = folder / "resolv.conf"
    resolver.write_text("nameserver 127.0.0.1\n")
    subprocess.run(["mount", "--bind", resolver, "/etc/resolv.conf"], check=True)


if __name__ == "__main__":
    put_up_loopback()
    ask_loopback_for_names(Path(sys.argv[1]))
    asyncio.run(main(Path(sys.argv[1])))
