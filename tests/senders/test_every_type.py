"""Every part of the project supports a type of target, or a test names the part that does not."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_type_hints

from pydantic import Field

from app.domain.targets import TYPES, Target, TargetSpec, Text
from app.senders.envelopes import Senders
from app.settings import ServiceSettings
from tests.harness.documents import read_yaml
from tests.senders.sending import outlets
from tests.senders.test_every_sender import SENDERS, SWITCHED_ON

ROOT = Path(__file__).parents[2]
CRD = "charts/agentteam-delivery/crd/agentteams.yaml"
PAGE = "docs/reference/targets.md"


def schema() -> Mapping[str, Any]:
    """Return the CRD's schema of one entry of `spec.lifecycle.delivery[]`."""
    [version] = read_yaml(ROOT / CRD)["spec"]["versions"]
    spec = version["schema"]["openAPIV3Schema"]["properties"]["spec"]
    entry: Mapping[str, Any] = spec["properties"]["lifecycle"]["properties"]["delivery"]["items"][
        "properties"
    ]
    return entry


def forgotten(model: type[TargetSpec], senders: Senders) -> list[str]:
    """Return each place that does not support a type of target, and what to add there."""
    kind, entry, found = model.kind(), schema(), []
    if kind not in entry["type"]["enum"]:
        found.append(f"{CRD}: add {kind} to the enum of type")
    fields = {field.alias or name for name, field in model.model_fields.items()}
    found += [f"{CRD}: add the field {field}" for field in sorted(fields - entry.keys())]
    if model not in get_args(Target):
        found.append(f"app/domain/targets.py: add {model.__name__} to Target")
    sender = senders.get(kind)
    if sender is None:
        found.append(f"app/senders/registry.py: pair {model.__name__} with its sender")
    else:
        for call in (sender.send, sender.preview):
            taken = get_type_hints(call)["target"]
            if taken is not model:
                found.append(f"{type(sender).__name__}.{call.__name__} takes {taken.__name__}")
    if kind not in {*SENDERS, *SWITCHED_ON}:
        found.append(f"tests/senders/test_every_sender.py: add {kind}, so that its secrets are searched for")
    if not re.search(rf"`{kind}`", (ROOT / PAGE).read_text()):
        found.append(f"{PAGE}: say what {kind} is")
    return found


async def test_every_part_supports_every_type() -> None:
    async with outlets(ServiceSettings.load(email="smtp", google_drive="api")) as senders:
        assert [one for model in get_args(Target) for one in forgotten(model, senders)] == []
        assert set(senders) == set(TYPES) == set(schema()["type"]["enum"])


class PagerTarget(TargetSpec):
    """A type that no other part supports."""

    type: Literal["pager"]
    pager_number: Annotated[Text, Field(alias="pagerNumber")] = None


async def test_parts_that_do_not_support_a_new_type_are_named() -> None:
    async with outlets(ServiceSettings.load(email="smtp", google_drive="api")) as senders:
        assert forgotten(PagerTarget, senders) == [
            f"{CRD}: add pager to the enum of type",
            f"{CRD}: add the field pagerNumber",
            "app/domain/targets.py: add PagerTarget to Target",
            "app/senders/registry.py: pair PagerTarget with its sender",
            "tests/senders/test_every_sender.py: add pager, so that its secrets are searched for",
            f"{PAGE}: say what pager is",
        ]
        wrong = {**senders, "pager": senders["webhook"]}
        assert "WebhookSender.send takes WebhookTarget" in forgotten(PagerTarget, wrong)
