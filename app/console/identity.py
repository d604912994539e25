"""As whom the service is called: never with the kubeconfig's own credential."""

import asyncio
import os
from dataclasses import dataclass
from pathlib import Path

from app.console.trouble import Trouble
from app.domain.errors import ApiUnavailable, SettingsError
from app.domain.tokens import bearer_token
from app.kube.connection import connect, path_of

LIFETIME = 600  # seconds, the shortest that the API server gives out
API_TIMEOUT = 10.0  # seconds


@dataclass(frozen=True, slots=True)
class Identity:
    """Where the token comes from: a file, the environment, or a service account; or there is none."""

    token_file: Path | None = None
    service_account: str | None = None  # NAME, in the team's namespace, or NAMESPACE/NAME
    audience: str = "agentteam-delivery"

    def token(self, namespace: str) -> str | None:
        """Return the token; None where none was named.

        Raises:
            Trouble: the one that was named cannot be had.
        """
        if self.token_file is not None and self.service_account is not None:
            raise Trouble("--token-file and --service-account both say who calls; leave one out")
        if self.token_file is not None:
            return _clean(_read(self.token_file), f"the file {self.token_file}")
        if self.service_account is not None:
            return asyncio.run(self._asked(namespace))
        token = os.environ.get("DELIVERY_TOKEN", "")
        return _clean(token, "DELIVERY_TOKEN") if token else None

    async def _asked(self, namespace: str) -> str:
        """Ask the API server for a short token of the account, for the service's audience alone."""
        named = (self.service_account or "").split("/")
        if not all(named) or len(named) > 2:  # noqa: PLR2004
            raise Trouble("--service-account must be NAME, or NAMESPACE/NAME")
        place, name = named if len(named) > 1 else (namespace, named[0])
        path = path_of("api", "v1", "namespaces", place, "serviceaccounts", name, "token")
        spec = {"audiences": [self.audience], "expirationSeconds": LIFETIME}
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec}
        try:
            async with connect(lambda *_: None) as connection:
                answer = await connection.ask("POST", path, body, seconds=API_TIMEOUT)
        except (ApiUnavailable, SettingsError) as error:
            raise Trouble(f"no token for service account {place}/{name}: {error}") from None
        document = answer.document or {}
        if answer.status >= 300:  # noqa: PLR2004  # HTTP's first status that is no success
            said = document.get("message", f"the Kubernetes API answered {answer.status}")
            raise Trouble(f"no token for service account {place}/{name}: {said}")
        return _clean(str((document.get("status") or {}).get("token", "")), "the Kubernetes API's answer")


def _read(path: Path) -> str:
    try:
        return path.read_text("ascii")
    except OSError as error:
        raise Trouble(f"the token file {path} cannot be read: {error.strerror}") from None
    except ValueError:
        return ""


def _clean(token: str, where: str) -> str:
    cleaned = bearer_token(token)
    if cleaned is None:
        raise Trouble(f"{where} holds no token")
    return cleaned
