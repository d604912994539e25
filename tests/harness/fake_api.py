"""The rules of the fake API: what may be created, replaced, patched and deleted, and the effects."""

import base64
import binascii
import json
import re
import secrets
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from tests.harness.schemas import Cause, Schema, conform, faults
from tests.harness.store import Document, Kind, Store, place

NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
SERVER_OWNED = {"uid", "name", "namespace", "creationTimestamp", "generation", "resourceVersion"}


@dataclass(frozen=True)
class Resource:
    """A kind of object that the API serves."""

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool = True
    schema: Schema | None = None  # of a custom resource
    has_status: bool = False

    @property
    def key(self) -> Kind:
        return self.group, self.plural

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    def __str__(self) -> str:
        return f"{self.plural}.{self.group}" if self.group else self.plural


NAMESPACES = Resource("", "v1", "namespaces", "Namespace", namespaced=False)
SECRETS = Resource("", "v1", "secrets", "Secret")
EVENTS = Resource("", "v1", "events", "Event")
CRDS = Resource(
    "apiextensions.k8s.io", "v1", "customresourcedefinitions", "CustomResourceDefinition", namespaced=False
)
BUILT_IN = (NAMESPACES, SECRETS, EVENTS, CRDS)


class Refused(Exception):
    """The API's answer to a request that it rejects."""

    def __init__(self, code: int, reason: str, message: str, **details: Any) -> None:
        super().__init__(message)
        self.code = code
        self.status: Document = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": message,
            "reason": reason,
            "code": code,
        } | ({"details": details} if details else {})


class FakeApi:
    """The verbs, on a store."""

    def __init__(self) -> None:
        self.store = Store()
        self.create(NAMESPACES, "", {"metadata": {"name": "default"}})

    def resource(self, group: str, version: str, plural: str) -> Resource | None:
        """Find what is served at an address: a built-in resource, or one that a CRD defines."""
        for resource in BUILT_IN:
            if (resource.group, resource.version, resource.plural) == (group, version, plural):
                return resource
        crd = self.store.get(CRDS.key, "", f"{plural}.{group}")
        for served in crd["spec"]["versions"] if crd else []:
            if crd and served["name"] == version and served["served"]:
                return Resource(
                    group,
                    version,
                    plural,
                    crd["spec"]["names"]["kind"],
                    namespaced=crd["spec"]["scope"] == "Namespaced",
                    schema=served["schema"]["openAPIV3Schema"],
                    has_status="status" in served.get("subresources", {}),
                )
        return None

    def served(self, group: str, version: str) -> list[Resource]:
        """List the resources that CRDs define in a version of a group."""
        names = [crd["spec"]["names"]["plural"] for crd in self.store.select(CRDS.key, "")]
        return [one for name in names if (one := self.resource(group, version, name))]

    def get(self, resource: Resource, namespace: str, name: str, behind: int = 0) -> Document:
        """Read an object, as it is or as it was so many changes ago."""
        find = self.store.before(behind) if behind else self.store.get
        document = find(resource.key, namespace, name)
        if document is None:
            raise _refused(404, "NotFound", f'{resource} "{name}" not found', resource, name)
        return document

    def list(self, resource: Resource, namespace: str, limit: int = 0, token: str = "") -> Document:
        """List objects, page by page if there is a limit."""
        revision = self.store.revision
        documents = self.store.select(resource.key, namespace)
        if token:
            revision, *start = json.loads(base64.urlsafe_b64decode(token))
            documents = [document for document in documents if [*place(document)] > start]
        if revision < self.store.compacted:
            raise Refused(410, "Expired", "The provided continue parameter is too old")
        metadata: Document = {"resourceVersion": str(revision)}
        if 0 < limit < len(documents):
            metadata["remainingItemCount"] = len(documents) - limit
            documents = documents[:limit]
            last = json.dumps([revision, *place(documents[-1])])
            metadata["continue"] = base64.urlsafe_b64encode(last.encode()).decode()
        return {
            "apiVersion": resource.api_version,
            "kind": f"{resource.kind}List",
            "metadata": metadata,
            "items": documents,
        }

    def create(self, resource: Resource, namespace: str, body: Document) -> Document:
        asked = dict(body.get("metadata") or {})
        if "name" not in asked and "generateName" in asked:
            asked["name"] = asked["generateName"] + secrets.token_hex(3)
        name = asked.get("name", "")
        document = body | {"metadata": asked}
        _check_names(resource, namespace, name, document)
        if not NAME.fullmatch(name):
            cause = {"reason": "FieldValueInvalid", "message": "Invalid value", "field": "metadata.name"}
            raise _invalid(resource, name, [cause])
        if resource.namespaced:
            self.get(NAMESPACES, "", namespace)
            asked["namespace"] = namespace
        if self.store.get(resource.key, namespace, name):
            message = f'{resource} "{name}" already exists'
            raise _refused(409, "AlreadyExists", message, resource, name)
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        asked |= {"uid": str(uuid.uuid4()), "creationTimestamp": now}
        if resource.group:
            asked["generation"] = 1
        if resource.has_status:
            document.pop("status", None)
        return self.store.put(resource.key, _admit(resource, document))

    def replace(
        self, resource: Resource, namespace: str, name: str, part: str | None, body: Document
    ) -> Document:
        current = self.get(resource, namespace, name)
        asked = body.get("metadata") or {}
        if resource.group and "resourceVersion" not in asked:
            message = "Invalid value: 0x0: must be specified for an update"
            cause = {"reason": "FieldValueInvalid", "message": message, "field": "metadata.resourceVersion"}
            raise _invalid(resource, name, [cause])
        if asked.get("uid", current["metadata"]["uid"]) != current["metadata"]["uid"]:
            raise _conflict(resource, name, "Precondition failed: UID in precondition")
        return self._update(resource, current, part, body)

    def patch(
        self, resource: Resource, namespace: str, name: str, part: str | None, patch: Document
    ) -> Document:
        """Apply a JSON merge patch; unlike a PUT it may contain any uid, which is ignored."""
        current = self.get(resource, namespace, name)
        return self._update(resource, current, part, merge(current, patch))

    def delete(self, resource: Resource, namespace: str, name: str, options: Document) -> Document:
        """Delete an object; with a namespace or a CRD, also delete everything that depends on it."""
        document = self.get(resource, namespace, name)
        uid = document["metadata"]["uid"]
        if options.get("preconditions", {}).get("uid", uid) != uid:
            raise _conflict(resource, name, "the UID in the precondition does not match the UID in record")
        self.store.remove(resource.key, document)
        if resource is NAMESPACES:
            self.store.remove_all(namespace=name)
        if resource is CRDS:
            self.store.remove_all(kind=(document["spec"]["group"], document["spec"]["names"]["plural"]))
        details = {"name": name, "group": resource.group, "kind": resource.plural, "uid": uid}
        return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}

    def _update(self, resource: Resource, current: Document, part: str | None, wanted: Document) -> Document:
        """Replace an object or its status; neither changes the other, nor fields that the server owns."""
        namespace, name = place(current)
        kept, asked = current["metadata"], wanted.get("metadata") or {}
        _check_names(resource, namespace, name, wanted)
        if asked.get("resourceVersion", kept["resourceVersion"]) != kept["resourceVersion"]:
            raise _conflict(resource, name, "the object has been modified")
        if part == "status":
            document = _with_status(current, wanted)
        else:
            owned = {key: kept[key] for key in SERVER_OWNED if key in kept}
            free = {key: value for key, value in asked.items() if key not in SERVER_OWNED}
            document = wanted | {"metadata": free | owned}
            if resource.has_status:
                document = _with_status(document, current)
        document = _admit(resource, document)
        if document == current:
            return current
        if "generation" in kept and _intent(document) != _intent(current):
            document["metadata"]["generation"] += 1
        return self.store.put(resource.key, document)


def merge(target: Any, patch: Any) -> Any:
    """Apply a merge patch (RFC 7396)."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = merge(merged.get(key), value)
    return merged


def _admit(resource: Resource, document: Document) -> Document:
    """Convert a document to its stored form, or reject it."""
    name = document["metadata"]["name"]
    head = {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": dict(document["metadata"])}
    if resource.schema is not None:
        document = conform(document, resource.schema)
        if causes := faults({**document, **head}, resource.schema):
            raise _invalid(resource, name, causes)
    elif resource is SECRETS:
        document = _secret(document)
    elif resource is NAMESPACES:
        document = document | {"status": {"phase": "Active"}}
    elif resource is CRDS:
        spec = document["spec"]
        if name != f"{spec['names']['plural']}.{spec['group']}":
            message = "Invalid value: must be spec.names.plural+'.'+spec.group"
            cause = {"reason": "FieldValueInvalid", "message": message, "field": "metadata.name"}
            raise _invalid(resource, name, [cause])
        conditions = [{"type": kind, "status": "True"} for kind in ("NamesAccepted", "Established")]
        document = document | {"status": {"conditions": conditions, "acceptedNames": spec["names"]}}
    return {**document, **head}


def _secret(document: Document) -> Document:
    """Merge `stringData` into `data`."""
    data = dict(document.get("data") or {})
    for key, text in (document.get("stringData") or {}).items():
        data[key] = base64.b64encode(text.encode()).decode()
    try:
        for value in data.values():
            base64.b64decode(value, validate=True)
    except (binascii.Error, TypeError) as error:
        raise Refused(400, "BadRequest", f"Secret cannot be decoded: {error}") from None
    bare = {key: value for key, value in document.items() if key != "stringData"}
    return {"type": "Opaque", **bare, "data": data}


def _check_names(resource: Resource, namespace: str, name: str, document: Document) -> None:
    """Check that a document matches its address."""
    metadata = document.get("metadata") or {}
    if resource.schema is not None and not (document.get("apiVersion") and document.get("kind")):
        raise Refused(400, "BadRequest", "Object 'apiVersion' or 'kind' is missing")
    if document.get("apiVersion", resource.api_version) != resource.api_version:
        raise Refused(400, "BadRequest", "the API version in the data is not the expected one")
    if document.get("kind", resource.kind) != resource.kind:
        raise Refused(400, "BadRequest", f"the kind in the data is not {resource.kind}")
    if metadata.get("name") != name:
        raise Refused(400, "BadRequest", "the object's name does not match the URL")
    if metadata.get("namespace", namespace) != namespace:
        raise Refused(400, "BadRequest", "the object's namespace does not match the URL")


def _with_status(document: Document, other: Document) -> Document:
    """Return a document with the status of another."""
    bare = {key: value for key, value in document.items() if key != "status"}
    return bare | {"status": other["status"]} if "status" in other else bare


def _intent(document: Document) -> Document:
    return {key: value for key, value in document.items() if key not in {"metadata", "status"}}


def _refused(code: int, reason: str, message: str, resource: Resource, name: str, **details: Any) -> Refused:
    named = {"name": name, "group": resource.group, "kind": resource.plural}
    return Refused(code, reason, message, **named, **details)


def _conflict(resource: Resource, name: str, why: str) -> Refused:
    message = f'Operation cannot be fulfilled on {resource} "{name}": {why}'
    return _refused(409, "Conflict", message, resource, name)


def _invalid(resource: Resource, name: str, causes: list[Cause]) -> Refused:
    why = ", ".join(f"{cause['field']}: {cause['message']}" for cause in causes)
    message = f'{resource.kind}.{resource.group} "{name}" is invalid: {why}'
    return _refused(422, "Invalid", message, resource, name, causes=causes)
