"""An enum combined with any text, as the description once had, breaks the Go client."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.clients.generators import DESCRIPTION, ROOT, copied, done, made, need, ran
from tests.harness.documents import read_yaml

pytestmark = pytest.mark.timeout(1200)  # the first run downloads and compiles


def known_or_other(schemas: dict[str, Any]) -> None:
    words = schemas["Reason"]["examples"]
    schemas["KnownReason"] = {"type": "string", "enum": words}
    schemas["Reason"] = {"anyOf": [{"$ref": "#/components/schemas/KnownReason"}, {"type": "string"}]}


def with_a_named_phase(schemas: dict[str, Any]) -> None:
    known_or_other(schemas)
    schemas["Phase"] = {"type": "string", "enum": schemas["Receipt"]["properties"]["phase"]["enum"]}
    schemas["Receipt"]["properties"]["phase"] = {"$ref": "#/components/schemas/Phase"}


def unchanged(_: dict[str, Any]) -> None: ...


@pytest.mark.parametrize(
    ("change", "within", "said"),
    [
        (unchanged, ".", ""),
        (
            known_or_other,
            ".",
            "cannot use new(string)",
        ),  # the client compiles, and no caller that passes text
        (with_a_named_phase, "delivery", "DELIVERED redeclared in this block"),
    ],
)
def test_go_does_not_compile_if_a_reason_is_an_enum_or_any_text(
    change: Callable[[dict[str, Any]], None], within: str, said: str
) -> None:
    need("go", "java", "mvn")
    document = read_yaml(DESCRIPTION)
    change(document["components"]["schemas"])
    description = yaml.safe_dump(document)

    def make(folder: Path) -> None:
        clients = copied(folder)
        (folder / "openapi/openapi.yaml").write_text(description)
        done(clients / "generate", "go", cwd=clients)
        code, told = ran("go", "build", "-o", folder / "built", f"./{within}", cwd=clients / "go")
        assert bool(code) == bool(told)
        (folder / "said").write_text(told)

    told = (made("as-it-was", make, description, within, ROOT / "clients/go") / "said").read_text()
    assert said in told
    assert bool(said) == bool(told), told
