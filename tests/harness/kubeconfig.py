"""The file that says where a Kubernetes API is, and with which credentials to use it."""

import json
import secrets
from pathlib import Path


def write_kubeconfig(path: Path, server: str, token: str, **cluster: str) -> Path:
    """Write a kubeconfig atomically, because others wait for the file; `cluster` adds fields to it."""
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "test", "cluster": {"server": server, **cluster}}],
        "users": [{"name": "test", "user": {"token": token}}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
        "current-context": "test",
    }
    draft = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    draft.write_text(json.dumps(config))
    return draft.replace(path)
