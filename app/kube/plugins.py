"""Credential plugins of a kubeconfig: programs that print a token or a certificate, and its expiry.

This module runs them itself, because the library ignores a certificate's expiry, passes no cluster to
plugins, and takes some 40 MB to import.

https://kubernetes.io/docs/reference/access-authn-authz/authentication/#client-go-credential-plugins
"""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import IO, Any, cast

PIECE = 65_536  # bytes read at a time


@dataclass(frozen=True, slots=True)
class Issued:
    """What a plugin printed; `ends`: its expiry, None if it names none."""

    token: str | None = field(repr=False)
    certificate: tuple[bytes, bytes] | None = field(repr=False)  # with its key
    ends: datetime | None


async def run_plugin(exec_: Mapping[str, Any], folder: Path, cluster: Mapping[str, Any]) -> Issued:
    """Run the program in a user's `exec`, and pass the cluster's data to it if it requests that.

    A command with a slash is relative to the folder of its kubeconfig.

    Raises:
        Exception: it cannot be run, fails, or prints something else.
    """
    command, version = str(exec_["command"]), exec_["apiVersion"]
    # It may ask a person if there is a terminal. Its other output may contain secrets, so it is not logged.
    person = exec_.get("interactiveMode") != "Never" and sys.stdin is not None and sys.stdin.isatty()
    spec: dict[str, Any] = {"interactive": person}
    if exec_.get("provideClusterInfo"):
        spec["cluster"] = cluster
    asked = {"apiVersion": version, "kind": "ExecCredential", "spec": spec}
    added = {one["name"]: str(one["value"]) for one in exec_.get("env") or []}
    code, printed = await _run(
        str(folder / command) if "/" in command else command,
        *(str(one) for one in exec_.get("args") or []),
        env={**os.environ, **added, "KUBERNETES_EXEC_INFO": json.dumps(asked)},
        stdin=None if person else subprocess.DEVNULL,
        stderr=None if person else subprocess.DEVNULL,
    )
    if code:
        raise ValueError(f"the plugin ended with {code}")
    said = json.loads(printed)
    if said["apiVersion"] != version:
        raise ValueError("the plugin uses another version than its kubeconfig")
    return _read(said["status"])


async def _run(*command: str, **options: Any) -> tuple[int, bytes]:
    """Run a program; return its exit code, and what it printed.

    It is not the loop's subprocess. The output of uvloop's is a socket, which cannot be opened as
    `/dev/stdout`; and a program that it leaves running keeps a copy, whatever its own output is.
    """
    with subprocess.Popen(command, stdout=subprocess.PIPE, **options) as process:  # noqa: ASYNC220, S603  # as the user says
        try:
            printed = await _all(cast("IO[bytes]", process.stdout).fileno())
            return await asyncio.to_thread(process.wait), printed
        finally:
            if process.poll() is None:
                process.kill()
                await asyncio.to_thread(process.wait)


async def _all(pipe: int) -> bytes:
    """Read a pipe to its end.

    No transport does it, for uvloop's would close the pipe a second time, or what has its number by then:
    https://github.com/MagicStack/uvloop/issues/763
    """
    loop = asyncio.get_running_loop()
    ended = loop.create_future()
    printed = bytearray()

    def read() -> None:
        with suppress(BlockingIOError):
            if piece := os.read(pipe, PIECE):
                printed.extend(piece)
            elif not ended.done():
                ended.set_result(None)

    os.set_blocking(pipe, False)
    loop.add_reader(pipe, read)
    try:
        await ended
    finally:
        loop.remove_reader(pipe)
    return bytes(printed)


def _read(status: Mapping[str, Any]) -> Issued:
    token = str(status.get("token") or "").strip() or None
    certificate, key = status.get("clientCertificateData"), status.get("clientKeyData")
    if not token and not certificate:
        raise ValueError("the plugin gave neither a token nor a certificate")
    if bool(certificate) != bool(key):
        raise ValueError("the plugin gave a certificate without its key, or a key alone")
    ends = status.get("expirationTimestamp")
    return Issued(
        token,
        (certificate.encode(), key.encode()) if certificate and key else None,
        datetime.fromisoformat(ends) if ends else None,
    )
