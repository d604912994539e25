"""One real Kubernetes node, in the namespaces that `tests/harness/machine` created.

It runs etcd, the API server, its controllers and its scheduler; a kubelet on containerd and runc; kube-proxy
for Services, kube-router for NetworkPolicies, and a small name server for the names of Services.
"""

import asyncio
import hashlib
import io
import json
import os
import secrets
import subprocess
import tarfile
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp
import yaml

from tests.harness import dns
from tests.harness.kube import Kube
from tests.harness.waiting import until

ADDRESS = "203.0.113.200"
PODS = "203.0.113.0/25"
SERVICES = "198.51.100.0/24"
API_PORT = 6443
DOMAIN = "svc.cluster.local"
NAME = "node"

PAUSE = """
package main

import (
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, syscall.SIGTERM, syscall.SIGINT)
	<-ended
}
"""
"""The program that holds a pod's network while its containers restart."""

CONTAINERD = """
version = 3
root = "{folder}/containerd"
state = "/run/containerd"
[grpc]
  address = "/run/containerd/containerd.sock"
[plugins."io.containerd.cri.v1.images"]
  snapshotter = "overlayfs"
  [plugins."io.containerd.cri.v1.images".pinned_images]
    sandbox = "localhost/pause:1"
[plugins."io.containerd.cri.v1.runtime"]
  disable_apparmor = true
  restrict_oom_score_adj = true # root of a sandbox may not lower it
  [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
  [plugins."io.containerd.cri.v1.runtime".cni]
    bin_dirs = ["{programs}"]
    conf_dir = "{folder}/cni"
"""

NETWORK = {
    "cniVersion": "1.0.0",
    "name": "pods",
    "plugins": [
        {
            "type": "bridge",
            "bridge": "cni0",
            "isGateway": True,
            "hairpinMode": True,
            "ipam": {
                "type": "host-local",
                "ranges": [[{"subnet": PODS}]],
                "routes": [{"dst": "0.0.0.0/0"}],
                "dataDir": "/run/cni",
            },
        }
    ],
}

KUBELET = {
    "apiVersion": "kubelet.config.k8s.io/v1beta1",
    "kind": "KubeletConfiguration",
    "containerRuntimeEndpoint": "unix:///run/containerd/containerd.sock",
    "cgroupDriver": "cgroupfs",
    "failCgroupV1": False,
    "failSwapOn": False,
    "oomScoreAdj": 0,
    "authentication": {"anonymous": {"enabled": True}, "webhook": {"enabled": False}},
    "authorization": {"mode": "AlwaysAllow"},
    "clusterDNS": [ADDRESS],
    "clusterDomain": "cluster.local",
    "maxPods": 20,
    "syncFrequency": "2s",  # the maximum delay until a changed Secret or token is in its volume
    "nodeStatusUpdateFrequency": "2s",
    "imageGCHighThresholdPercent": 100,
    "imageGCLowThresholdPercent": 99,
    "evictionHard": {"nodefs.available": "0%", "imagefs.available": "0%"},
}

AUDIT = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [{"level": "Metadata", "userGroups": ["system:serviceaccounts"]}, {"level": "None"}],
}


@dataclass
class Node:
    """The node and its control plane.

    Attributes:
        folder: for all files, the processes' logs among them.
        programs: the folder of the programs.
        cgroup: in which pods get theirs.
        kube: a client under the name of the cluster's admin.
    """

    folder: Path
    programs: Path
    cgroup: str
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    _names: dict[str, list[str]] = field(default_factory=dict)

    async def __aenter__(self) -> Self:
        self._token = secrets.token_hex(16)
        self.kubeconfig = self.folder / "kubeconfig"
        self._write_settings()
        async with AsyncExitStack() as stack:
            stack.callback(self._end)
            self.start("containerd", "--config", f"{self.folder}/containerd.toml")
            self.start("etcd", "--data-dir", f"{self.folder}/etcd", "--unsafe-no-fsync")
            self._start_api_server()
            await until(lambda: self._lives("kube-apiserver", "etcd") and self._api_is_ready(), 120)
            self._start_controllers()
            await until(lambda: self._lives("containerd") and self._containerd_answers(), 60)
            await asyncio.to_thread(self._load_pause)
            self.start_kubelet()
            self.kube = await stack.enter_async_context(Kube(self.kubeconfig))
            await stack.enter_async_context(dns.name_server(self._names, ADDRESS))
            await until(self._is_ready, 60)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    def start(self, name: str, *arguments: str) -> None:
        """Start one of the programs; its output goes to a file with its name."""
        command = [str(self.programs / name), *arguments]
        with (self.folder / f"{name}.log").open("ab") as log:
            self.running[name] = subprocess.Popen(
                command,
                # so that containerd finds the shim of its own release, whatever else is installed
                env=os.environ | {"PATH": f"{self.programs}:{os.environ['PATH']}"},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def stop(self, name: str) -> None:
        """Stop one of the programs."""
        process = self.running.pop(name)
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def start_kubelet(self) -> None:
        """Start the kubelet; after `stop`, the new one knows its pods only from the runtime."""
        self.start(
            "kubelet",
            *("--config", f"{self.folder}/kubelet.yaml", "--kubeconfig", str(self.kubeconfig)),
            *("--root-dir", f"{self.folder}/kubelet", "--cert-dir", f"{self.folder}/kubelet-certs"),
            *("--hostname-override", NAME, "--node-ip", ADDRESS),
        )

    async def load(self, archive: Path) -> None:
        """Load an image archive in the format of `docker save` into the container runtime."""
        await asyncio.to_thread(self.ctr, "images", "import", str(archive))

    async def name_services(self) -> None:
        """Pass the current Services to the name server."""
        found = await self.kube.list("services")
        for one in found.body["items"]:
            name = f"{one['metadata']['name']}.{one['metadata']['namespace']}.{DOMAIN}"
            self._names[name] = [one["spec"]["clusterIP"]]

    def ctr(self, *arguments: str) -> str:
        """Run a command of containerd's client, as a person on the node would."""
        command = [str(self.programs / "ctr"), "--namespace", "k8s.io", *arguments]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def _write_settings(self) -> None:
        config = CONTAINERD.format(folder=self.folder, programs=self.programs)
        (self.folder / "containerd.toml").write_text(config)
        (self.folder / "cni").mkdir()
        (self.folder / "cni/10-pods.conflist").write_text(json.dumps(NETWORK))
        own = {
            "cgroupRoot": f"/{self.cgroup}",
            "podLogsDir": f"{self.folder}/pod-logs",
            "volumePluginDir": f"{self.folder}/volume-plugins",
        }
        (self.folder / "kubelet.yaml").write_text(yaml.safe_dump(KUBELET | own))
        key = ["openssl", "genrsa", "-out", f"{self.folder}/sa.key", "2048"]
        subprocess.run(key, check=True, capture_output=True)
        (self.folder / "tokens.csv").write_text(f"{self._token},admin,admin,system:masters\n")
        (self.folder / "audit.yaml").write_text(yaml.safe_dump(AUDIT))
        cluster = {"server": f"https://{ADDRESS}:{API_PORT}", "certificate-authority": self.authority}
        context = {"cluster": NAME, "user": "admin"}
        kubeconfig = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": NAME, "cluster": cluster}],
            "users": [{"name": "admin", "user": {"token": self._token}}],
            "contexts": [{"name": NAME, "context": context}],
            "current-context": NAME,
        }
        self.kubeconfig.write_text(yaml.safe_dump(kubeconfig))

    @property
    def authority(self) -> str:
        """File with the certificate that the API server signed for itself."""
        return f"{self.folder}/certs/apiserver.crt"

    @property
    def audit(self) -> list[dict[str, Any]]:
        """The requests of service accounts, from the API server's audit log."""
        *lines, _ = (self.folder / "audit.log").read_text().split("\n")  # without an incomplete last line
        return [json.loads(line) for line in lines]

    def _start_api_server(self) -> None:
        issuer = "https://kubernetes.default.svc"
        self.start(
            "kube-apiserver",
            *("--etcd-servers", "http://127.0.0.1:2379", "--cert-dir", f"{self.folder}/certs"),
            *("--secure-port", str(API_PORT), "--advertise-address", ADDRESS),
            *("--authorization-mode", "RBAC", "--token-auth-file", f"{self.folder}/tokens.csv"),
            *("--service-account-key-file", f"{self.folder}/sa.key"),
            *("--service-account-signing-key-file", f"{self.folder}/sa.key"),
            *("--service-account-issuer", issuer, "--api-audiences", issuer),
            *("--service-cluster-ip-range", SERVICES, "--kubelet-preferred-address-types", "InternalIP"),
            *("--audit-policy-file", f"{self.folder}/audit.yaml"),
            *("--audit-log-path", f"{self.folder}/audit.log"),
        )

    def _start_controllers(self) -> None:
        config = ("--kubeconfig", str(self.kubeconfig))
        alone = (*config, "--leader-elect=false", "--bind-address", "127.0.0.1")
        self.start(
            "kube-controller-manager",
            *(*alone, "--cert-dir", f"{self.folder}/controller-certs"),
            *("--service-account-private-key-file", f"{self.folder}/sa.key"),
            *("--root-ca-file", self.authority),
        )
        self.start("kube-scheduler", *alone, "--cert-dir", f"{self.folder}/scheduler-certs")
        self.start(
            "kube-proxy",
            *(*config, "--hostname-override", NAME, "--proxy-mode", "iptables", "--cluster-cidr", PODS),
            # a limit of the whole machine, which cannot be set from here
            *("--conntrack-max-per-core", "0", "--conntrack-tcp-timeout-established", "0s"),
            *("--conntrack-tcp-timeout-close-wait", "0s"),
        )

    def start_router(self) -> None:
        """Start the program that enforces NetworkPolicies."""
        self.start(
            "kube-router",
            *("--kubeconfig", str(self.kubeconfig), "--hostname-override", NAME),
            *("--run-router=false", "--run-service-proxy=false", "--run-firewall=true"),
            *("--service-cluster-ip-range", SERVICES, "--health-port", "0", "--iptables-sync-period", "5s"),
        )

    def _load_pause(self) -> None:
        """Make an image of one program in the format of `docker save`, and load it."""
        source, program = self.folder / "pause.go", self.folder / "pause"
        source.write_text(PAUSE)
        build = ["go", "build", "-trimpath", "-ldflags=-s -w", "-o", str(program), str(source)]
        subprocess.run(build, check=True, cwd=self.folder, env=os.environ | {"CGO_ENABLED": "0"})
        layer = io.BytesIO()
        with tarfile.open(fileobj=layer, mode="w") as files:
            files.add(program, "pause")
        digest = hashlib.sha256(layer.getvalue()).hexdigest()
        config = {
            "architecture": "amd64",
            "os": "linux",
            "config": {"Entrypoint": ["/pause"]},
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
        }
        manifest = [{"Config": "config.json", "RepoTags": ["localhost/pause:1"], "Layers": ["layer.tar"]}]
        archive = self.folder / "pause.tar"
        with tarfile.open(archive, "w") as files:
            for name, content in {
                "config.json": json.dumps(config).encode(),
                "layer.tar": layer.getvalue(),
                "manifest.json": json.dumps(manifest).encode(),
            }.items():
                entry = tarfile.TarInfo(name)
                entry.size = len(content)
                files.addfile(entry, io.BytesIO(content))
        self.ctr("images", "import", str(archive))

    def _lives(self, *names: str) -> bool:
        """Check that programs have not ended.

        Raises:
            AssertionError: one has; the text contains the end of its output.
        """
        for name in names:
            process = self.running[name]
            log = (self.folder / f"{name}.log").read_text(errors="replace")
            assert process.poll() is None, f"{name} ended with {process.returncode}:\n{log[-3000:]}"
        return True

    async def _api_is_ready(self) -> bool:
        try:
            async with Kube(self.kubeconfig) as kube:
                return (await kube.request("GET", "/readyz")).status == HTTPStatus.OK
        except (OSError, aiohttp.ClientError):  # it has no certificate at first
            return False

    def _containerd_answers(self) -> bool:
        command = [str(self.programs / "ctr"), "version"]
        return subprocess.run(command, check=False, capture_output=True).returncode == 0

    async def _is_ready(self) -> bool:
        self._lives(*self.running)
        found = await self.kube.request("GET", f"/api/v1/nodes/{NAME}")
        if found.status != HTTPStatus.OK:
            return False
        conditions = {one["type"]: one["status"] for one in found.body["status"].get("conditions", [])}
        return conditions.get("Ready") == "True"

    def _end(self) -> None:
        """Stop all programs; the end of the namespaces stops the remaining containers."""
        for name in reversed(list(self.running)):
            self.stop(name)
