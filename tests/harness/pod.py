"""A pod, run as a kubelet would: each container in the image's root, with its variables and volumes."""

import base64
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import yaml

from tests.harness.image import Stage
from tests.harness.kube import API, Document, Kube
from tests.harness.service import Program

ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"
LOGGED = {"serve": "serving", "watch": "watching"}


@dataclass
class Container(Program):
    """A container's process."""

    image: Stage | None = None
    variables: dict[str, str] = field(default_factory=dict)
    mounts: dict[Path, str] = field(default_factory=dict)
    run: list[str] = field(default_factory=list)

    def arguments(self) -> list[str]:
        assert self.image
        return self.image.entering(*self.run, mounts=self.mounts, read_only=True)

    def environment(self) -> dict[str, str]:
        return self.variables


@dataclass
class Kubelet:
    """Starts what a Deployment describes, with tokens and Secrets of a real API server."""

    kube: Kube
    image: Stage
    folder: Path

    @asynccontextmanager
    async def running(self, deployment: Document) -> AsyncIterator[dict[str, Container]]:
        """Run one pod of a Deployment; yield its containers by name when they listen."""
        namespace, pod = deployment["metadata"]["namespace"], deployment["spec"]["template"]["spec"]
        async with AsyncExitStack() as stack:
            containers: dict[str, Container] = {}
            for one in pod["containers"]:
                container = await self.container(namespace, pod, one)
                containers[one["name"]] = await stack.enter_async_context(container)
            yield containers

    async def container(self, namespace: str, pod: Document, one: Document) -> Container:
        """Prepare one container of a pod."""
        home = self.folder / one["name"]
        volumes = {volume["name"]: volume for volume in pod.get("volumes", [])}
        mounts = {self._hosts(pod, home): "/etc/hosts"}
        for mount in one.get("volumeMounts", []):
            files = await self._files(namespace, pod, volumes[mount["name"]])
            mounts[_written(home / mount["name"], files)] = mount["mountPath"]
        if pod["automountServiceAccountToken"]:
            mounts[_written(home / "account", await self._account(namespace, pod))] = ACCOUNT
        arguments = one.get("args") or self.image.command
        return Container(
            command=arguments[0],
            started=LOGGED.get(arguments[0], ""),
            image=self.image,
            variables=await self._variables(namespace, one),
            mounts=mounts,
            run=[*(one.get("command") or self.image.entrypoint), *arguments],
        )

    async def _variables(self, namespace: str, one: Document) -> dict[str, str]:
        address = urlsplit(self.kube.url)
        variables = self.image.env | {
            "KUBERNETES_SERVICE_HOST": address.hostname or "",
            "KUBERNETES_SERVICE_PORT": str(address.port),
        }
        for source in one.get("envFrom", []):
            found = await self.kube.get("configmaps", namespace, source["configMapRef"]["name"])
            assert found.status == 200, found.body
            variables |= found.body["data"]
        return variables | {variable["name"]: variable["value"] for variable in one.get("env", [])}

    async def _files(self, namespace: str, pod: Document, volume: Document) -> dict[str, bytes]:
        """Return what a volume holds."""
        files: dict[str, bytes] = {}
        if "secret" in volume:
            found = await self.kube.get("secrets", namespace, volume["secret"]["secretName"])
            assert found.status == 200, found.body
            for item in volume["secret"]["items"]:
                files[item["path"]] = base64.b64decode(found.body["data"][item["key"]])
        for source in volume.get("projected", {}).get("sources", []):
            asked = source["serviceAccountToken"]
            token = await self.kube.account_token(namespace, pod["serviceAccountName"], asked["audience"])
            files[asked["path"]] = token.encode()
        return files

    async def _account(self, namespace: str, pod: Document) -> dict[str, bytes]:
        """Return what a pod finds of its account.

        https://kubernetes.io/docs/tasks/run-application/access-api-from-pod/
        """
        config = yaml.safe_load(self.kube.kubeconfig.read_text())
        authority = config["clusters"][0]["cluster"]["certificate-authority"]
        token = await self.kube.account_token(namespace, pod["serviceAccountName"], API)
        return {"ca.crt": _read(authority), "namespace": namespace.encode(), "token": token.encode()}

    def _hosts(self, pod: Document, home: Path) -> Path:
        aliases = "".join(f"{one['ip']} {' '.join(one['hostnames'])}\n" for one in pod.get("hostAliases", []))
        return _written(home, {"hosts": f"127.0.0.1 localhost\n{aliases}".encode()}) / "hosts"


def _written(folder: Path, files: dict[str, bytes]) -> Path:
    """Write files that any user may read; a mount of them is read-only."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


def _read(path: str) -> bytes:
    return Path(path).read_bytes()
