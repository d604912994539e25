"""What an API server does with a structural schema: prune unknown fields, set defaults, validate."""

import re
from typing import Any

Schema = dict[str, Any]
Cause = dict[str, str]

TYPES: dict[str, type | tuple[type, ...]] = {
    "object": dict,
    "array": list,
    "string": str,
    "boolean": bool,
    "integer": int,
    "number": (int, float),
}
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)")


def conform(value: Any, schema: Schema) -> Any:
    """Prune unknown fields, and nulls where none is allowed, then set defaults, recursively."""
    if isinstance(value, list):
        return [conform(item, schema.get("items", {})) for item in value]
    if isinstance(value, dict):
        return _pruned(value, schema) if schema else value
    if isinstance(value, float) and value.is_integer() and schema.get("type") == "integer":
        return int(value)  # JSON does not distinguish 1.0 from 1
    return value


def _pruned(value: dict[str, Any], schema: Schema) -> dict[str, Any]:
    known: dict[str, Schema] = schema.get("properties", {})
    others: Schema | None = schema.get("additionalProperties")
    pruned = {key: child["default"] for key, child in known.items() if "default" in child}
    for key, child in value.items():
        if key in known:
            if child is not None or known[key].get("nullable"):
                pruned[key] = conform(child, known[key])
        elif others is not None:
            pruned[key] = conform(child, others)
        elif schema.get("x-kubernetes-preserve-unknown-fields"):
            pruned[key] = child
    return pruned


def faults(value: Any, schema: Schema, where: str = "") -> list[Cause]:
    """Name violations of the schema: wrong types, values outside an enum, missing fields, duplicate keys."""
    kind = schema.get("type")
    if value is None or not kind:
        return []  # conform has kept only allowed nulls
    if not isinstance(value, TYPES[kind]) or (isinstance(value, bool) and kind != "boolean"):
        return [_cause("Invalid", f"Invalid value: {where} in body must be of type {kind}", where)]
    if isinstance(value, str):
        return _faults_of_text(value, schema, where)
    if isinstance(value, dict):
        return _faults_of_object(value, schema, f"{where}." if where else "")
    if isinstance(value, list):
        items = schema.get("items", {})
        found = [fault for at, item in enumerate(value) for fault in faults(item, items, f"{where}[{at}]")]
        return found or _repeated(value, schema.get("x-kubernetes-list-map-keys", []), where)
    return []


def _faults_of_text(value: str, schema: Schema, where: str) -> list[Cause]:
    if "enum" in schema and value not in schema["enum"]:
        choices = ", ".join(f'"{choice}"' for choice in schema["enum"])
        return [_cause("NotSupported", f'Unsupported value: "{value}": supported values: {choices}', where)]
    if schema.get("format") == "date-time" and not TIME.fullmatch(value):
        return [_cause("Invalid", f"Invalid value: {where} in body must be of type date-time", where)]
    return []


def _faults_of_object(value: dict[str, Any], schema: Schema, prefix: str) -> list[Cause]:
    missing = [key for key in schema.get("required", []) if key not in value]
    found = [_cause("Required", "Required value", prefix + key) for key in missing]
    for key, child in schema.get("properties", {}).items():
        found += faults(value.get(key), child, prefix + key)
    return found


def _repeated(items: list[dict[str, Any]], names: list[str], where: str) -> list[Cause]:
    if not names:
        return []  # not a list map
    keys = [{name: item.get(name) for name in names} for item in items]
    return [
        _cause("Duplicate", f"Duplicate value: {key}", f"{where}[{at}]")
        for at, key in enumerate(keys)
        if key in keys[:at]
    ]


def _cause(reason: str, message: str, where: str) -> Cause:
    return {"reason": f"FieldValue{reason}", "message": message, "field": where}
