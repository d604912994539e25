"""The hosts file is read as glibc reads it, before any name server is queried."""

import os
import socket
from pathlib import Path

import pytest

from app.egress.hosts import HOSTS, listed, read_hosts
from app.egress.names import Names

POD = """# Kubernetes-managed hosts file.
127.0.0.1\tlocalhost
::1\tlocalhost ip6-localhost ip6-loopback
fe00::0\tip6-localnet
10.244.1.5\treport-7f9c
# Entries added by HostAliases.
10.0.0.1\tfoo.test\tbar.test
10.0.0.2\tbar.test\tBAZ.test  # the second
  10.0.0.3 indented.test
10.0.0.300 wrong.test
2001:db8::7 bar.test
lonely.test
10.0.0.4
10.0.0.5 foo.test.
10.0.0.1 foo.test
"""


@pytest.mark.parametrize(
    ("host", "addresses"),
    [
        ("foo.test", ["10.0.0.1"]),
        ("bar.test", ["10.0.0.1", "10.0.0.2", "2001:db8::7"]),
        ("baz.test", ["10.0.0.2"]),
        ("BAZ.Test.", ["10.0.0.2"]),
        ("indented.test", ["10.0.0.3"]),
        ("localhost", ["127.0.0.1", "::1"]),
        ("a.localhost", ["127.0.0.1", "::1"]),
        ("10.0.0.9", ["10.0.0.9"]),
        ("2001:db8::9", ["2001:db8::9"]),
        ("localhost.test", []),
        ("wrong.test", []),
        ("lonely.test", []),
        ("#", []),
        ("second", []),
    ],
)
def test_a_line_defines_only_its_own_names(host: str, addresses: list[str], tmp_path: Path) -> None:
    path = tmp_path / "hosts"
    path.write_text(POD)
    assert [address for _, address in listed(read_hosts(path), host, socket.AF_UNSPEC)] == addresses


def test_an_address_family_can_be_requested(tmp_path: Path) -> None:
    path = tmp_path / "hosts"
    path.write_text(POD)
    hosts = read_hosts(path)
    assert listed(hosts, "bar.test", socket.AF_INET6) == [(socket.AF_INET6, "2001:db8::7")]
    assert listed(hosts, "localhost", socket.AF_INET) == [(socket.AF_INET, "127.0.0.1")]


def test_this_machine_s_file_gives_the_same_result_as_glibc() -> None:
    hosts = read_hosts(HOSTS)
    for name in (name for name in hosts if "localhost" not in name):
        ours = {address for _, address in listed(hosts, name, socket.AF_INET)}
        if ours:
            assert ours == {one[4][0] for one in socket.getaddrinfo(name, 80, socket.AF_INET)}


async def test_a_changed_file_is_read_again_even_with_an_older_timestamp(tmp_path: Path) -> None:
    path, new = tmp_path / "hosts", tmp_path / "new"
    path.write_text("192.0.2.1 a.test\n")
    new.write_text("192.0.2.2 a.test\n")
    os.utime(new, (1, 1))
    names = Names(resolv_conf=tmp_path / "absent", hosts=path)
    assert [one["host"] for one in await names.resolve("a.test", 443)] == ["192.0.2.1"]
    new.rename(path)
    assert [one["host"] for one in await names.resolve("a.test", 443)] == ["192.0.2.2"]
    await names.close()
