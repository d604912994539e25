"""The answers of the fake API's two review APIs.

https://kubernetes.io/docs/reference/access-authn-authz/authentication/#webhook-token-authentication
https://kubernetes.io/docs/reference/access-authn-authz/authorization/
"""

import secrets
from dataclasses import dataclass, field
from typing import Any

from tests.harness.store import Document

AUDIENCE = "agentteam-delivery"

TOKEN_REVIEWS = "/apis/authentication.k8s.io/v1/tokenreviews"
ACCESS_REVIEWS = "/apis/authorization.k8s.io/v1/subjectaccessreviews"


@dataclass(frozen=True)
class Permission:
    """A verb on a team's delivery; a namespace or name that is not given means all."""

    verb: str
    namespace: str = ""
    name: str = ""

    def covers(self, attributes: Document) -> bool:
        return (
            attributes.get("group") == "kagents.dev"
            and attributes.get("resource") == "agentteams"
            and attributes.get("subresource") == "delivery"
            and attributes.get("verb") == self.verb
            and self.namespace in {"", attributes.get("namespace")}
            and self.name in {"", attributes.get("name")}
        )


@dataclass
class Reviews:
    """The valid tokens, each with its user and audiences, and the permissions of the users."""

    tokens: dict[str, tuple[str, tuple[str, ...]]] = field(default_factory=dict)
    permissions: dict[str, set[Permission]] = field(default_factory=dict)

    def token(
        self, user: str, *permissions: Permission, audiences: tuple[str, ...] = (AUDIENCE,), token: str = ""
    ) -> str:
        """Issue a token for a user, or register a given one; add its permissions to the user's."""
        token = token or secrets.token_hex(16)
        self.tokens[token] = (user, audiences)
        self.permissions.setdefault(user, set()).update(permissions)
        return token

    def answer(self, path: str, review: Document) -> Document | None:
        """Answer a review; None if the path is not a review's."""
        spec: Any = review.get("spec") or {}
        if path == TOKEN_REVIEWS:
            return {**review, "status": self._authentication(spec)}
        if path == ACCESS_REVIEWS:
            attributes = spec.get("resourceAttributes") or {}
            held = self.permissions.get(spec.get("user", ""), ())
            return {**review, "status": {"allowed": any(one.covers(attributes) for one in held)}}
        return None

    def _authentication(self, spec: Document) -> Document:
        user, audiences = self.tokens.get(spec.get("token", ""), ("", ()))
        shared = [audience for audience in audiences if audience in spec.get("audiences", [])]
        if not shared:
            return {"user": {}, "error": "[invalid bearer token]"}
        namespace = user.split(":")[2] if user.startswith("system:serviceaccount:") else ""
        groups = [f"system:serviceaccounts:{namespace}"] if namespace else []
        known = {"username": user, "uid": f"uid-of-{user}", "groups": [*groups, "system:authenticated"]}
        return {"authenticated": True, "user": known, "audiences": shared}
