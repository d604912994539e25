"""The main job at work, with real processes on loopback: a team completes, and its targets get word of it.

The Kubernetes API is a fake, or a real one where KUBEBUILDER_ASSETS names a folder with kube-apiserver and
etcd. The webhook and Slack are local receivers. `serve` and `watch` are what runs in a cluster.
"""

import argparse
import asyncio
import json
import os
import signal
import socket
import sys
from collections.abc import Coroutine, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import yaml

from samples.display import Display
from samples.processes import ROOT, Processes, Trouble
from tests.harness.kube import TEAMS, Answer, Document, Kube

SAMPLE = Path("samples/delivery-team.yaml")
CRD = ROOT / "charts/agentteam-delivery/crds/agentteams.yaml"
SERVICE = Path(sys.executable).with_name("agentteam-delivery")

LOCAL = {
    "DELIVERY_AUTH": "none",  # nobody but the watcher knows the port
    "DELIVERY_EGRESS_ALLOW": "127.0.0.0/8",  # the receivers are local,
    "DELIVERY_EGRESS_HTTP": "true",  # without TLS,
    "DELIVERY_SLACK_HOSTS": "127.0.0.1",  # and one of them stands in for Slack
}

REAL_API = """
trap '"$0" down "$1"' EXIT
trap exit TERM
"$0" up "$1" || exit
sleep infinity & wait
"""
"""Makes one process of `apiserver up` and `apiserver down`: it ends when both its servers have ended."""

EXPECTED = {
    "webhook": ("Delivered", "Delivered"),
    "slack": ("Delivered", "Delivered"),
    "email": ("Failed", "NotImplemented"),
    "google-drive": ("Failed", "NotImplemented"),
}
"""Phase and reason by type of target."""


class Interrupted(Exception):
    """A signal asked the demo to end."""

    def __init__(self, number: int) -> None:
        super().__init__(f"Stopped by {signal.Signals(number).name}.")
        self.exit_code = 128 + number  # as shells count


class Receiver:
    """A local receiver, and what it was sent."""

    def __init__(self, processes: Processes, kind: str) -> None:
        self._processes = processes
        self._port, self._received = processes.folder / f"{kind}.port", processes.folder / f"{kind}.received"
        options = ["--slack"] if kind == "slack" else []
        module = "tests.harness.receiver"
        processes.python(kind, module, "--port-file", self._port, "--log", self._received, *options)

    async def url(self) -> str:
        """Return its address, as soon as it has one."""
        return f"http://127.0.0.1:{await self._processes.text(self._port)}"

    @property
    def receipts(self) -> list[Document]:
        """The requests it got."""
        if not self._received.exists():
            return []
        return [json.loads(line) for line in self._received.read_text().splitlines()]
