"""A default installation with the names that documents use, rendered once."""

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import yaml

from tests.docs.checks import Tools
from tests.docs.checks.secrets import KEYS
from tests.docs.checks.shell import options
from tests.harness.helm import CHART, Rendering, run

OURS = "agentteam-delivery"
"""The release and its namespace, as documents have them."""
KINDS = {
    **dict.fromkeys(("deployment", "deployments", "deploy"), "Deployment"),
    **dict.fromkeys(("service", "services", "svc"), "Service"),
    **dict.fromkeys(("configmap", "configmaps", "cm"), "ConfigMap"),
    **dict.fromkeys(("serviceaccount", "serviceaccounts", "sa"), "ServiceAccount"),
    **dict.fromkeys(("networkpolicy", "networkpolicies", "netpol"), "NetworkPolicy"),
}
"""Kinds that an installation has, by the names that kubectl takes."""
NAME, INSTANCE = "app.kubernetes.io/name", "app.kubernetes.io/instance"
NEIGHBOURS = {"prometheus", "grafana"}
"""What others call their pods."""
EVERYWHERE = {"admin", "cluster-admin", "edit", "view"}
"""ClusterRoles that every cluster has."""


@dataclass(frozen=True)
class Installation:
    """The objects that the chart creates."""

    rendering: Rendering

    def names(self, kind: str) -> set[str]:
        return {one["metadata"]["name"] for one in self.rendering.of(kind)}

    @cached_property
    def pod(self) -> dict[str, Any]:
        return dict(self.rendering.one("Deployment")["spec"]["template"])

    @cached_property
    def containers(self) -> set[str]:
        return {one["name"] for one in self.pod["spec"]["containers"]}

    def ports(self, kind: str) -> set[str]:
        """Return numbers and names of the ports of the Service, or of a pod."""
        if kind == "Service":
            listed = self.rendering.one("Service")["spec"]["ports"]
        else:
            listed = [port for one in self.pod["spec"]["containers"] for port in one["ports"]]
        return {str(port[key]) for port in listed for key in ("name", "port", "containerPort") if key in port}

    @property
    def audience(self) -> str:
        return self.rendering.settings["DELIVERY_AUDIENCE"]

    @cached_property
    def permissions(self) -> dict[tuple[str, str], set[str]]:
        """The verbs that its roles grant, by group and resource."""
        found: dict[tuple[str, str], set[str]] = {}
        for role in self.rendering.of("ClusterRole"):
            for rule in role["rules"]:
                for group in rule["apiGroups"]:
                    for resource in rule["resources"]:
                        found.setdefault((group, resource), set()).update(rule["verbs"])
        return found


def installed(tools: Tools) -> Installation:
    """Render the chart, once."""
    return _rendered(tools.helm)


@cache
def _rendered(helm: Path) -> Installation:
    documents = yaml.safe_load_all(run(helm, "template", OURS, CHART, "--namespace", OURS))
    return Installation(Rendering(tuple(document for document in documents if document)))


def none_of(what: str, name: str, known: Collection[str]) -> Iterator[str]:
    """Report that a name is unknown."""
    if name not in known and "$" not in name:
        yield f"there is no {what} {name}; it is one of {', '.join(sorted(known))}"


def faults_of_kubectl(arguments: list[str], tools: Tools, document: str) -> Iterator[str]:
    """Report names in a command that are not the installation's."""
    given = arguments[: arguments.index("--")] if "--" in arguments else arguments
    plain = [one for one in given if not one.startswith("-")]
    for audience in options(given, "--audience"):
        yield from none_of("audience", audience, {installed(tools).audience})
    for role in options(given, "--clusterrole"):
        yield from _faults_of_role(role, tools, document)
    for labels in options(given, "-l", "--selector"):
        for label in labels.split(","):
            key, sign, value = label.partition("=")
            if sign and key in {NAME, INSTANCE}:
                yield from _faults_of_label(key, value, tools)
    if plain[:2] == ["auth", "can-i"]:
        yield from _faults_of_question(plain[2:], options(given, "--subresource"), tools)
    yield from _faults_of_object(given, plain, tools)


def _faults_of_object(given: list[str], plain: list[str], tools: Tools) -> Iterator[str]:
    namespaces = options(given, "-n", "--namespace")
    if not plain or plain[0] in {"create", "expose"} or (namespaces and namespaces != [OURS]):
        return
    kind, named = "", False
    for one, after in zip(plain, [*plain[1:], ""], strict=True):
        prefix, slash, name = one.partition("/")
        if prefix in KINDS and (slash or after not in {"", *namespaces}):
            kind, named = KINDS[prefix], True
            yield from none_of(kind, name if slash else after, installed(tools).names(kind))
    if not (named or namespaces or any(OURS in one for one in options(given, "-l", "--selector"))):
        return  # another program's pod
    if plain[0] in {"logs", "exec", "attach", "cp", "debug"}:
        for container in options(given, "-c", "--container"):
            yield from none_of("container", container, installed(tools).containers)
    if plain[0] == "port-forward":
        for one in plain:
            if match := re.fullmatch(r"(?:\d*:)?(\d+)", one):
                yield from none_of("port", match[1], installed(tools).ports(kind))


def _faults_of_question(asked: list[str], subresources: list[str], tools: Tools) -> Iterator[str]:
    """Check the question of a `kubectl auth can-i` about a team."""
    if len(asked) < 2 or not asked[1].startswith("agentteam"):
        return
    plural, _, group = asked[1].partition("/")[0].partition(".")
    below = asked[1].partition("/")[2] or next(iter(subresources), "")
    resource = f"{plural}/{below}" if below else plural
    groups = [group] if group else sorted({one for one, _ in installed(tools).permissions})
    yield from _faults_of_rule({"apiGroups": groups, "resources": [resource], "verbs": [asked[0]]}, tools)


def _faults_of_role(name: str, tools: Tools, document: str) -> Iterator[str]:
    """Check the name of a ClusterRole: the chart's, or one that the document creates."""
    made = re.findall(r"kind: ClusterRole\nmetadata:\s*\{?\s*name: ([\w:.-]+)", document)
    yield from none_of("ClusterRole", name, installed(tools).names("ClusterRole") | EVERYWHERE | set(made))


def _faults_of_label(key: str, value: str, tools: Tools) -> Iterator[str]:
    known = {installed(tools).pod["metadata"]["labels"][key]}
    yield from none_of(f"pod labelled {key}:", value, known | (NEIGHBOURS if key == NAME else set()))


def _faults_of_rule(rule: dict[str, Any], tools: Tools) -> Iterator[str]:
    """Check a rule: no caller requires a permission that the chart's roles do not have."""
    permissions = installed(tools).permissions
    groups, resources = rule.get("apiGroups", []), rule.get("resources", [])
    for resource in resources:
        pairs = [(group, resource) for group in groups if (group, resource) in permissions]
        if not pairs:
            known = ", ".join(sorted(f"{name} of {group or 'the core'}" for group, name in permissions))
            yield (
                f"there is no {resource} of {' or '.join(groups) or 'the core'} with a permission,"
                f" but {known}"
            )
        elif "/" in resource:
            verbs = set[str]().union(*(permissions[pair] for pair in pairs))
            for verb in rule.get("verbs", []):
                yield from none_of(f"verb of {resource}", verb, verbs)


def faults_of_manifest(manifest: Any, tools: Tools, document: str) -> Iterator[str]:
    """Report names in a manifest, or in a part of one, that are not the installation's."""
    if isinstance(manifest, list):
        for one in manifest:
            yield from faults_of_manifest(one, tools, document)
    if not isinstance(manifest, dict):
        return
    yield from _faults_of_names(manifest, tools, document)
    for key, value in manifest.items():
        if key == "serviceAccountToken" and isinstance(value, dict) and "audience" in value:
            yield from none_of("audience", str(value["audience"]), {installed(tools).audience})
        if key == "matchLabels" and isinstance(value, dict):
            for label in {NAME, INSTANCE} & set(value):
                yield from _faults_of_label(label, str(value[label]), tools)
        yield from faults_of_manifest(value, tools, document)


def _faults_of_names(manifest: dict[str, Any], tools: Tools, document: str) -> Iterator[str]:
    """Check the rules of a role, the role of a binding, the keys of a Secret."""
    kind = manifest.get("kind")
    if kind in {"Role", "ClusterRole"}:
        for rule in manifest.get("rules") or []:
            yield from _faults_of_rule(rule, tools) if isinstance(rule, dict) else ()
    role = manifest.get("roleRef")
    if isinstance(role, dict) and role.get("kind") == "ClusterRole":
        yield from _faults_of_role(str(role.get("name")), tools, document)
    if kind == "Secret" and manifest.get("metadata", {}).get("namespace") != OURS:
        for key in {**manifest.get("data", {}), **manifest.get("stringData", {})}:
            yield from none_of("key of a Secret", key, KEYS)


def unknown_keys(arguments: list[str]) -> Iterator[str]:
    """Report keys of a team's Secret that no sender reads."""
    if options(arguments, "-n", "--namespace") == [OURS]:
        return  # these Secrets are mounted by the installation
    for value in options(arguments, "--from-file"):
        key, sign, path = value.partition("=")
        yield from none_of("key of a Secret", key if sign else Path(key or path).name, KEYS)
