"""The identity of the command line: never the kubeconfig's own credential."""

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from app.console.trouble import Trouble, checked
from app.domain.events import DNS_LABEL, DNS_SUBDOMAIN
from app.domain.tokens import bearer_token

LIFETIME = 600  # seconds, the shortest that the API server issues
API_TIMEOUT = 10  # seconds
PATIENCE = 60  # seconds in all: a kubeconfig may first run a program of its own


@dataclass(frozen=True, slots=True)
class Identity:
    """The source of the token: a file, the environment, a service account, or none."""

    token_file: Path | None = None
    service_account: str | None = None  # NAME in the team's namespace, or NAMESPACE/NAME
    audience: str = "agentteam-delivery"
    context: str | None = None  # of the kubeconfig

    def token(self, namespace: str) -> str | None:
        """Return the token; None if no source was named.

        Raises:
            Trouble: the named source has no token.
        """
        if self.token_file is not None and self.service_account is not None:
            raise Trouble("--token-file and --service-account exclude each other; use one")
        if self.token_file is not None:
            return _clean(_read(self.token_file), f"the file {self.token_file}")
        if self.service_account is not None:
            return self._asked(namespace)
        token = os.environ.get("DELIVERY_TOKEN", "")
        return _clean(token, "DELIVERY_TOKEN") if token else None

    def _asked(self, namespace: str) -> str:
        """Request a short-lived token for the account with kubectl, valid for the service only."""
        named = (self.service_account or "").split("/")
        if not all(named) or len(named) > 2:  # noqa: PLR2004
            raise Trouble("--service-account must be NAME, or NAMESPACE/NAME")
        place, name = named if len(named) > 1 else (namespace, named[0])
        checked("--service-account", place, DNS_LABEL)  # so that kubectl takes neither for an option
        checked("--service-account", name, DNS_SUBDOMAIN)
        wanted = {"namespace": place, "audience": self.audience, "duration": f"{LIFETIME}s"}
        options = [f"--{option}={value}" for option, value in wanted.items()]
        if self.context:
            options.append(f"--context={self.context}")
        command = ["kubectl", "create", "token", name, *options, f"--request-timeout={API_TIMEOUT}s"]
        try:
            done = subprocess.run(  # noqa: S603  # no shell reads it
                command, check=False, capture_output=True, text=True, timeout=PATIENCE
            )
        except subprocess.TimeoutExpired:
            raise Trouble(
                f"no token for service account {place}/{name}: kubectl did not answer in time"
            ) from None
        except OSError:
            raise Trouble(
                "--service-account requires kubectl, which was not found or does not run; install it, or"
                " pass a token with --token-file or DELIVERY_TOKEN"
            ) from None
        if done.returncode:
            said = done.stderr.strip().removeprefix("error: ")
            raise Trouble(f"no token for service account {place}/{name}: {said}")
        return _clean(done.stdout, "kubectl's answer")


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
        raise Trouble(f"{where} contains no token")
    return cleaned
