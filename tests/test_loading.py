"""What quicker imports must not change."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import certifi
import pytest

SCRIPT = """
import gc, json, os, ssl, sys
from app.loading import quickly, replaced
with quickly():
    import app.serving
import fastapi.openapi.models, pydantic
with replaced(sys.modules, {"json": None}):
    try:
        import json as absent
    except ImportError:
        absent = None
print(json.dumps({
    "file": os.environ.get("SSL_CERT_FILE"),
    "authorities": ssl.create_default_context().cert_store_stats()["x509_ca"],
    "collects": gc.isenabled(),
    "deferred": pydantic.BaseModel.model_config,
    "unused": sorted({"greenlet", "pydantic.v1", "rich"} & sys.modules.keys()),
    "first version": __import__("pydantic.v1").v1.BaseModel.__name__,
    "schema": fastapi.openapi.models.Tag(name="built when used").name,
    "absent": absent is None,
    "present": sys.modules["json"] is json,
}))
"""


@pytest.mark.parametrize("file", [None, certifi.where()])
def test_an_import_leaves_the_environment_and_the_libraries_as_they_were(file: str | None) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SSL_CERT")}
    if file:
        environment["SSL_CERT_FILE"] = file
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        env=environment,
        cwd=Path(__file__).parents[1],
        check=True,
        stdout=subprocess.PIPE,
    )
    found: dict[str, Any] = json.loads(done.stdout)
    assert found.pop("authorities") > 0
    assert found == {
        "file": file,
        "collects": True,
        "deferred": {},
        "unused": [],
        "first version": "BaseModel",
        "schema": "built when used",
        "absent": True,
        "present": True,
    }
