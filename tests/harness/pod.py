"""A pod without a kubelet: a container engine runs what a Deployment describes, with a real API server."""

import base64
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import yaml

from tests.harness.engine import Container, Engine, confined
from tests.harness.kube import API, Document, Kube

ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"
LOGGED = {"serve": "serving", "watch": "watching"}


@dataclass
class Kubelet:
    """Starts the containers of a Deployment, with tokens and Secrets of a real API server."""

    kube: Kube
    engine: Engine
    folder: Path

    @asynccontextmanager
    async def running(self, deployment: Document) -> AsyncIterator[dict[str, Container]]:
        """Run one pod of a Deployment; yield its containers by name once they listen."""
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
        mounts: dict[Path, str] = {}
        for mount in one.get("volumeMounts", []):
            files = await self._files(namespace, pod, volumes[mount["name"]])
            mounts[_written(home / mount["name"], files)] = mount["mountPath"]
        if pod["automountServiceAccountToken"]:
            mounts[_written(home / "account", await self._account(namespace, pod))] = ACCOUNT
        hosts = [(name, alias["ip"]) for alias in pod.get("hostAliases", []) for name in alias["hostnames"]]
        command: list[str] = [*one.get("command", []), *one["args"]]
        program, *arguments = command
        entrypoint = [f"--entrypoint={program}"] if "command" in one else []
        return Container(
            command=program,
            started=LOGGED.get(program, ""),
            engine=self.engine,
            options=[
                *confined(pod, one),
                *entrypoint,
                *(f"--add-host={name}:{address}" for name, address in hosts),
            ],
            run=arguments if entrypoint else command,
            variables=await self._variables(namespace, one),
            mounts=mounts,
            named=f"{namespace}-{one['name']}",
        )

    async def _variables(self, namespace: str, one: Document) -> dict[str, str]:
        address = urlsplit(self.kube.url)
        variables = {
            "KUBERNETES_SERVICE_HOST": address.hostname or "",
            "KUBERNETES_SERVICE_PORT": str(address.port),
        }
        for source in one.get("envFrom", []):
            found = await self.kube.get("configmaps", namespace, source["configMapRef"]["name"])
            assert found.status == 200, found.body
            variables |= found.body["data"]
        return variables | {variable["name"]: variable["value"] for variable in one.get("env", [])}

    async def _files(self, namespace: str, pod: Document, volume: Document) -> dict[str, bytes]:
        """Return the content of a volume."""
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
        """Return the files of a pod's account.

        https://kubernetes.io/docs/tasks/run-application/access-api-from-pod/
        """
        config = yaml.safe_load(self.kube.kubeconfig.read_text())
        authority = config["clusters"][0]["cluster"]["certificate-authority"]
        token = await self.kube.account_token(namespace, pod["serviceAccountName"], API)
        return {"ca.crt": _read(authority), "namespace": namespace.encode(), "token": token.encode()}


def _written(folder: Path, files: dict[str, bytes]) -> Path:
    """Write files that every user may read; their mount is read-only."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


def _read(path: str) -> bytes:
    return Path(path).read_bytes()
