"""Callers of the service and their permissions: from the fake API, or with RBAC from a real one."""

import base64
import json
import secrets
import time
from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from tests.harness.cluster import Cluster
from tests.harness.fake_cluster import FakeCluster
from tests.harness.kube import Kube
from tests.harness.real_cluster import RealCluster
from tests.harness.reviews import AUDIENCE, Permission

RBAC = "/apis/rbac.authorization.k8s.io/v1"


@dataclass(frozen=True)
class Account:
    """A service account."""

    namespace: str
    name: str
    uid: str

    @property
    def user(self) -> str:
        return f"system:serviceaccount:{self.namespace}:{self.name}"


class Callers:
    """Creates accounts, tokens and permissions, on either cluster."""

    def __init__(self, cluster: Cluster[Any]) -> None:
        self._kube: Kube = cluster.kube
        self._server: FakeCluster | RealCluster = cluster.server

    async def account(self, namespace: str) -> Account:
        """Create an account."""
        name = f"caller-{secrets.token_hex(4)}"
        if isinstance(self._server, FakeCluster):
            return Account(namespace, name, "")
        body = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}}
        answer = await self._kube.request("POST", f"/api/v1/namespaces/{namespace}/serviceaccounts", body)
        assert answer.status == 201, answer.body
        return Account(namespace, name, answer.body["metadata"]["uid"])

    async def token(self, account: Account, audience: str = AUDIENCE) -> str:
        """Create a token of an account for an audience."""
        if isinstance(self._server, FakeCluster):
            return self._server.reviews.token(account.user, audiences=(audience,))
        return await self._kube.account_token(account.namespace, account.name, audience)

    def expired_token(self, account: Account) -> str:
        """Sign a token as the API server does; it expired a minute ago."""
        if isinstance(self._server, FakeCluster):
            return secrets.token_hex(16)  # an unknown token
        now = int(time.time())
        claims = {
            "iss": "https://kubernetes.default.svc",
            "aud": [AUDIENCE],
            "sub": account.user,
            "iat": now - 3600,
            "nbf": now - 3600,
            "exp": now - 60,
            "kubernetes.io": {
                "namespace": account.namespace,
                "serviceaccount": {"name": account.name, "uid": account.uid},
            },
        }
        return _signed(claims, self._server.signing_key.read_bytes())

    async def grant(self, account: Account, verb: str, namespace: str, team: str = "") -> None:
        """Permit an account to use this verb on the delivery of a namespace's teams, or of one team."""
        if isinstance(self._server, FakeCluster):
            permission = Permission(verb, namespace, team)
            self._server.reviews.permissions.setdefault(account.user, set()).add(permission)
            return
        name = f"{account.name}-{verb}"
        rule = {"apiGroups": [self._kube.group], "resources": ["agentteams/delivery"], "verbs": [verb]}
        if team:
            rule["resourceNames"] = [team]
        await self._create("roles", namespace, {"kind": "Role", "metadata": {"name": name}, "rules": [rule]})
        await self._create(
            "rolebindings",
            namespace,
            {
                "kind": "RoleBinding",
                "metadata": {"name": name},
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name},
                "subjects": [
                    {"kind": "ServiceAccount", "name": account.name, "namespace": account.namespace}
                ],
            },
        )

    async def revoke(self, account: Account, verb: str, namespace: str) -> None:
        """Revoke the permission."""
        if isinstance(self._server, FakeCluster):
            self._server.reviews.permissions[account.user].clear()
            return
        path = f"{RBAC}/namespaces/{namespace}/rolebindings/{account.name}-{verb}"
        assert (await self._kube.request("DELETE", path)).status == 200

    async def _create(self, plural: str, namespace: str, body: dict[str, Any]) -> None:
        document = {"apiVersion": "rbac.authorization.k8s.io/v1", **body}
        answer = await self._kube.request("POST", f"{RBAC}/namespaces/{namespace}/{plural}", document)
        assert answer.status == 201, answer.body


def _signed(claims: dict[str, Any], key: bytes) -> str:
    """Return a JSON Web Token with RS256 (RFC 7515)."""
    private = serialization.load_pem_private_key(key, None)
    assert isinstance(private, rsa.RSAPrivateKey)
    signed = b".".join(_encoded(json.dumps(part).encode()) for part in ({"alg": "RS256"}, claims))
    signature = private.sign(signed, padding.PKCS1v15(), hashes.SHA256())
    return (signed + b"." + _encoded(signature)).decode()


def _encoded(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")
