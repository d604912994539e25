"""Checks YAML in documents: manifests, chart values, and parts of both, completed and validated."""

import json
import re
import tempfile
from collections.abc import Iterator
from functools import cache
from importlib.resources import files as resources
from pathlib import Path
from typing import Any

import yaml

from app.console.manifests import KINDS, findings_of
from app.domain.teams import KIND
from tests.chart.test_rendering import CURRENT
from tests.docs.blocks import Block, documents
from tests.docs.checks import Check, Faults, Tools
from tests.docs.checks.installation import faults_of_manifest
from tests.harness.cluster import CRD
from tests.harness.helm import CHART, Helm, Refused
from tests.harness.kube import REQUIRED
from tests.harness.prometheus import promtool
from tests.harness.schemas import Schema, conform
from tests.harness.schemas import faults as faults_by_schema

GROUP = "kagents.dev/v1alpha1"
ABBREVIATED = {
    "crd",
    "crds",
    "deploy",
    "ns",
    "po",
    "svc",
    "cm",
    "sa",
    "customresourcedefinition",
    "events",
    "all",
}
"""Kinds by the short names that kubectl has for them."""

FOREIGN: dict[tuple[str, str], tuple[set[str], set[str]]] = {
    # Kinds of other projects: the fields that their spec must have, and those that it may have.
    ("cert-manager.io/v1", "Certificate"): (
        {"secretName", "issuerRef"},
        {"dnsNames", "duration", "renewBefore", "privateKey", "usages", "commonName", "ipAddresses"},
    ),
    ("monitoring.coreos.com/v1", "PodMonitor"): (
        {"selector", "podMetricsEndpoints"},
        {"namespaceSelector", "jobLabel"},
    ),
    ("monitoring.coreos.com/v1", "PrometheusRule"): ({"groups"}, set()),
}


class Loader(yaml.SafeLoader):
    """Reads YAML, and refuses duplicate keys."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value]
        for position, (key, _) in enumerate(node.value):
            if key.value in keys[:position]:
                raise yaml.constructor.ConstructorError(
                    None, None, f"{key.value} is a duplicate key", key.start_mark
                )
        return super().construct_mapping(node, deep)


@cache
def crd() -> dict[str, Any]:
    """Return the chart's CRD."""
    return dict(yaml.safe_load(CRD.read_text()))


@cache
def kinds() -> frozenset[str]:
    """Return kubectl's names for kinds of resources."""
    folder = resources("kubernetes_validate") / f"kubernetes-json-schema/v{CURRENT}.0-local-strict"
    names = {name.partition("-")[0] for one in folder.iterdir() if (name := one.name.removesuffix(".json"))}
    plural = (
        {f"{name}s" for name in names}
        | {f"{name}es" for name in names}
        | {f"{name[:-1]}ies" for name in names}
    )
    own = crd()["spec"]["names"]
    foreign = {kind.lower() for _, kind in FOREIGN}
    foreign |= {f"{kind}s" for kind in foreign}
    return frozenset(names | plural | foreign | ABBREVIATED | {own["plural"], own["singular"]})


@cache
def values() -> dict[str, Any]:
    """Return the chart's values."""
    return dict(yaml.safe_load((CHART / "values.yaml").read_text()))


def faults_of_documents(
    shown: list[Any], tools: Tools, text: str = "", *, named: bool = True
) -> Iterator[str]:
    """Report what is wrong with documents in YAML, complete or partial; `named`: check names too."""
    for document in shown:
        if document is not None:
            yield from faults_of_document(document, tools, text)
            yield from faults_of_manifest(document, tools, text) if named else ()


def faults_of_document(document: Any, tools: Tools, text: str = "") -> Iterator[str]:
    """Report what is wrong with one document, complete or partial."""
    whole = made_whole(document)
    if whole is None:
        if isinstance(document, dict) and set(document) <= set(values()):
            yield from _faults_of_values(document, tools)
        elif isinstance(document, dict) and set(document) == {"groups"}:
            tools.find("promtool")
            yield from _faults_of_rules(document)
        else:
            held = ", ".join(map(str, document)) if isinstance(document, dict) else type(document).__name__
            yield (
                f"this is no manifest, no values of the chart, and no part of either that is known to"
                f" tests/docs/checks/kubernetes.py ({held[:200]})"
            )
    elif whole.get("kind") == KIND:
        yield from _faults_of_team(whole, text)
    else:
        yield from _faults_of_object(whole, tools)


def made_whole(part: Any) -> dict[str, Any] | None:
    """Return the manifest to which a part belongs, or None if it is not a part of one."""
    if isinstance(part, list):
        return _list_made_whole(part)
    if not isinstance(part, dict) or not part:
        return None
    if "apiVersion" in part and "kind" in part:
        return part
    return _team_made_whole(part) or _pod_made_whole(part)


def _list_made_whole(part: list[Any]) -> dict[str, Any] | None:
    if not part or not all(isinstance(one, dict) for one in part):
        return None
    if all(one.get("type") in KINDS for one in part):
        return _team({"spec": {"lifecycle": {"onComplete": "deliver", "delivery": part}}})
    if all({"name"} < set(one) <= {"name", "value", "valueFrom"} for one in part):
        return _pod({"containers": [{"name": "main", "image": "example", "env": part}]})
    return None


def _team_made_whole(part: dict[str, Any]) -> dict[str, Any] | None:
    if set(part) <= {"metadata", "spec", "status"}:
        spec = part.get("spec", {})
        if "lifecycle" in spec or "spec" not in part:
            lifecycle = spec.get("lifecycle")
            return _team({**part, "spec": {**spec, "lifecycle": _lifecycle(lifecycle)} if lifecycle else {}})
    if set(part) == {"lifecycle"}:
        return _team({"spec": {"lifecycle": _lifecycle(part["lifecycle"])}})
    if set(part) <= {"onComplete", "delivery"}:
        return _team({"spec": {"lifecycle": _lifecycle(part)}})
    return None


def _lifecycle(part: Any) -> Any:
    """Complete a part of a lifecycle."""
    if not isinstance(part, dict):
        return part
    targets = {"delivery": [{"type": "webhook", "url": "https://example.com"}]}
    return {"onComplete": "deliver", **(targets if part.get("onComplete") == "deliver" else {}), **part}


def _team(part: dict[str, Any]) -> dict[str, Any]:
    """Complete a part of a team with the other fields that its API requires."""
    whole = {"apiVersion": GROUP, "kind": KIND, "metadata": {"name": "report"}, **part}
    return {**whole, "spec": {**REQUIRED, **part.get("spec", {})}}


def _pod_made_whole(part: dict[str, Any]) -> dict[str, Any] | None:
    spec = part.get("spec", part)
    spec = spec.get("template", {}).get("spec", spec) if isinstance(spec, dict) else {}
    if set(part) <= set(values()):
        return None  # of the chart
    if set(spec) & {"containers", "volumes", "serviceAccountName"}:
        return _pod(spec)
    if set(part) & {"env", "volumeMounts", "image"}:
        return _pod({"containers": [{"name": "main", "image": "example", **part}]})
    return None


def _pod(spec: dict[str, Any]) -> dict[str, Any]:
    some = {"containers": [{"name": "main", "image": "example"}]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "example"}, "spec": {**some, **spec}}


def _faults_of_team(team: dict[str, Any], text: str) -> Iterator[str]:
    """Check a team with `validate` and the CRD."""
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        yaml.safe_dump(team, file, sort_keys=False)
        file.flush()
        if team.get("spec", {}).get("lifecycle") or "status" not in team:
            opened = re.search(r"egress(Allow|Http)|EGRESS_(ALLOW|HTTP)", text)
            for finding in findings_of(Path(file.name)):
                if not (finding.warning and finding.text.startswith("url: ") and opened):
                    yield finding.text
    schema: Schema = crd()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    kept = conform(team, schema)
    for fault in faults_by_schema(kept, schema):
        yield f"{fault['field']}: {fault['message']}"
    for path in _dropped({**team, "metadata": {}}, {**kept, "metadata": {}}):  # not defined by the CRD
        yield f"{path}: the CRD knows no such field, and drops it"


def _dropped(given: Any, kept: Any, path: str = "") -> Iterator[str]:
    if isinstance(given, dict) and isinstance(kept, dict):
        for key, value in given.items():
            where = f"{path}.{key}" if path else str(key)
            if key not in kept:
                yield where
            else:
                yield from _dropped(value, kept[key], where)
    if isinstance(given, list) and isinstance(kept, list):
        for position, (one, other) in enumerate(zip(given, kept, strict=True)):
            yield from _dropped(one, other, f"{path}[{position}]")


def _faults_of_object(document: dict[str, Any], tools: Tools) -> Iterator[str]:
    kind = (str(document["apiVersion"]), str(document["kind"]))
    name = document.get("metadata", {}).get("name", "")
    if not re.fullmatch(r"[a-z0-9]([-a-z0-9.:]*[a-z0-9])?", str(name)):
        yield f"metadata.name: {name!r} is no name"
    if kind in FOREIGN:
        required, optional = FOREIGN[kind]
        spec = document.get("spec", {})
        yield from (f"spec.{field}: is missing" for field in sorted(required - set(spec)))
        yield from (f"spec.{field}: is not known" for field in sorted(set(spec) - required - optional))
        if kind[1] == "PrometheusRule":
            tools.find("promtool")
            yield from _faults_of_rules(spec)
        return
    import kubernetes_validate  # noqa: PLC0415  # its import takes seconds, which collecting tests should not cost

    try:
        kubernetes_validate.validate(document, CURRENT, strict=True)
    except kubernetes_validate.ValidationError as error:
        yield f"{'.'.join(map(str, error.path))}: {error.message}"
    except kubernetes_validate.SchemaNotFoundError:
        yield (
            f"there is no check for {kind[1]} of {kind[0]}; add one to FOREIGN in"
            " tests/docs/checks/kubernetes.py"
        )


def _faults_of_values(given: dict[str, Any], tools: Tools) -> Iterator[str]:
    try:
        Helm(tools.helm).template(given)
    except Refused as refused:
        yield f"the chart refuses these values: {' '.join(str(refused).split())}"


def _faults_of_rules(rules: dict[str, Any]) -> Iterator[str]:
    try:
        promtool("check", "rules", "/dev/stdin", stdin=json.dumps(rules))
    except AssertionError as error:
        yield f"promtool: {' '.join(str(error).split())}"


def faults(block: Block, tools: Tools) -> Faults:
    """Report what is wrong with a block of YAML."""
    try:
        shown = list(yaml.load_all(block.text, Loader=Loader))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        yield f"{block.at(mark.line if mark else 0)}: not YAML: {getattr(error, 'problem', None) or error}"
        return
    if not [document for document in shown if document is not None]:
        yield f"{block.at()}: there is nothing in it"
    text = documents().get(block.document, "") + block.text
    yield from (f"{block.at()}: {said}" for said in faults_of_documents(shown, tools, text))


CHECK = Check("YAML", lambda block: block.language in {"yaml", "yml"}, faults)
