"""The isolated machine for the pods' tests leaves nothing behind, however it ends."""

import asyncio
import os
import shutil
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.harness.waiting import until

MACHINE = Path(__file__).parent / "harness/machine"

LIVES = """
mount -t tmpfs tmpfs /mnt
for hierarchy in /sys/fs/cgroup/*/$NODE_CGROUP; do
  mkdir "$hierarchy/inner" && echo $$ > "$hierarchy/inner/cgroup.procs"
done
"$0" -c 'import sys, time; time.sleep(600)' "$1" &
echo ready
"""
"""What a node does, in small: a mount, groups of processes within its own, and a process that stays."""


@pytest.fixture
def mark() -> str:
    """A word that identifies the processes of one machine."""
    return uuid.uuid4().hex


@pytest.fixture
def machine(mark: str) -> Iterator[list[str]]:
    """The command of a machine on which a process runs without end."""
    needed = ("unshare", "setpriv", "ip", "iptables", "ipset", "runc")
    if os.geteuid() != 0 or not all(map(shutil.which, needed)):
        said = f"needs root, and {', '.join(needed)} (Debian: util-linux iproute2 iptables ipset runc)"
        assert os.environ.get("CI") != "true", said
        pytest.skip(said)
    before = _left()
    yield [str(MACHINE), "--bare", "bash", "-c"]
    assert not _marked(mark)
    assert _left() <= before


def _marked(mark: str) -> list[psutil.Process]:
    return [one for one in psutil.process_iter(["cmdline"]) if mark in " ".join(one.info["cmdline"] or [])]


def _left() -> set[str]:
    """Return what machines have left here: process groups, folders, mounts, networks."""
    places = [
        *Path("/sys/fs/cgroup").glob("*/agentteam-node-*"),
        *Path(tempfile.gettempdir()).glob("agentteam-node-*"),
    ]
    mounts = [line for line in Path("/proc/self/mounts").read_text().splitlines() if "agentteam-node" in line]
    links = subprocess.run(["ip", "-brief", "link"], check=True, capture_output=True, text=True).stdout
    return (
        {str(place) for place in places}
        | set(mounts)
        | {f"link {line.split()[0]}" for line in links.splitlines()}
    )


def test_nothing_is_left_after_its_command_ends(machine: list[str], mark: str) -> None:
    done = subprocess.run(
        [*machine, LIVES + "exit 3", sys.executable, mark],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stdout) == (3, "ready\n"), done.stderr


async def test_nothing_is_left_at_the_next_start_after_a_kill(machine: list[str], mark: str) -> None:
    command = [*machine, LIVES + "wait", sys.executable, mark]
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    assert process.stdout
    assert await process.stdout.readline() == b"ready\n"
    process.kill()
    await process.wait()
    await until(lambda: not _marked(mark), 30)
    after = await asyncio.create_subprocess_exec(*machine, "true")
    assert await after.wait() == 0


def test_the_machine_has_no_route_out(machine: list[str]) -> None:
    shown = subprocess.run(
        [*machine, "ip route show default"], check=True, capture_output=True, text=True, timeout=60
    )
    assert shown.stdout == ""
