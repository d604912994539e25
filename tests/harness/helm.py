"""The chart, rendered by a real Helm; and a real kubectl."""

import json
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

CHART = Path(__file__).parents[2] / "charts/agentteam-delivery"
RELEASE = "delivery"
NAMESPACE = "ops"

Document = dict[str, Any]


class Refused(Exception):
    """The error message of Helm or kubectl."""


@dataclass(frozen=True)
class Helm:
    """One Helm."""

    path: Path

    def template(self, values: Document | None = None, *arguments: str) -> str:
        """Render the chart as text.

        Raises:
            Refused: the values are wrong.
        """
        return _templated(self.path, json.dumps(values or {}), arguments)

    def render(self, values: Document | None = None, *arguments: str) -> "Rendering":
        """Render the chart.

        Raises:
            Refused: the values are wrong.
        """
        documents = yaml.load_all(self.template(values, *arguments), yaml.CSafeLoader)
        return Rendering(tuple(document for document in documents if document))


@dataclass(frozen=True)
class Rendering:
    """The objects of one rendering."""

    documents: tuple[Document, ...]

    def of(self, kind: str) -> list[Document]:
        return [document for document in self.documents if document["kind"] == kind]

    def one(self, kind: str) -> Document:
        """Return the only object of a kind."""
        [found] = self.of(kind)
        return found

    @property
    def settings(self) -> dict[str, str]:
        """The ConfigMap from which both containers read their settings."""
        [found] = [one for one in self.of("ConfigMap") if "DELIVERY_AUTH" in one["data"]]
        return dict(found["data"])

    @property
    def installed(self) -> list[Document]:
        """Everything except what only `helm test` creates."""
        return [one for one in self.documents if "helm.sh/hook" not in one["metadata"].get("annotations", {})]

    @property
    def pods(self) -> list[Document]:
        """The specs of all pods."""
        return [self.one("Deployment")["spec"]["template"]["spec"], self.one("Pod")["spec"]]

    @property
    def rules(self) -> list[Document]:
        """The RBAC rules of the account, cluster-wide or in a namespace."""
        caller = "agentteam-delivery-caller"
        roles = [*self.of("ClusterRole"), *self.of("Role")]
        return [rule for role in roles if role["metadata"]["name"] != caller for rule in role["rules"]]


@cache
def _templated(helm: Path, values: str, arguments: tuple[str, ...]) -> str:
    """Render the chart, once for each text of values."""
    where = ("--namespace", NAMESPACE, *arguments)
    return run(helm, "template", RELEASE, CHART, *where, "--values", "-", stdin=values)


def apply(kubectl: Path, kubeconfig: Path, documents: Sequence[Document], *options: str) -> str:
    """Apply objects with kubectl.

    Raises:
        Refused: it failed, or printed a warning.
    """
    objects = yaml.safe_dump_all(documents)
    return run(kubectl, "--kubeconfig", kubeconfig, "apply", *options, "-f", "-", stdin=objects)


def run(*command: str | Path, stdin: str = "") -> str:
    """Run a command that must print no warning, and return its output.

    Raises:
        Refused: it failed, or printed a warning.
    """
    done = subprocess.run(command, check=False, input=stdin, capture_output=True, text=True)
    if done.returncode or done.stderr:
        raise Refused(done.stderr or done.stdout)
    return done.stdout
