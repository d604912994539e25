"""The reference is generated from the code: code without a description fails the check."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
NEEDED = (
    "app",
    ".ci/reference",
    "docs/reference",
    "charts/agentteam-delivery/crd",
    "openapi",
    "pyproject.toml",
)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """Copy the sources of the pages."""
    for name in NEEDED:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


def check(copy: Path) -> tuple[int, str]:
    """Run the check of a copy, on that copy's code."""
    ran = subprocess.run(
        [sys.executable, ".ci/reference", "--check"],
        cwd=copy,
        env={**os.environ, "PYTHONPATH": str(copy)},
        check=False,
        capture_output=True,
        text=True,
    )
    return ran.returncode, ran.stdout + ran.stderr


def change(copy: Path, file: str, old: str, new: str) -> None:
    text = (copy / file).read_text()
    assert text.count(old) == 1
    (copy / file).write_text(text.replace(old, new))


RESYNC = '    resync: Seconds = 300.0\n    """Interval between full lists."""\n'

CHANGES = {
    "a new setting": (
        "app/settings.py",
        RESYNC,
        f'{RESYNC}    patience: Seconds = 5.0\n    """How long it waits."""\n',
        "+| `PATIENCE` | `5` | How long it waits. |",
    ),
    "a setting of another default": (
        "app/settings.py",
        RESYNC,
        RESYNC.replace("300", "200"),
        "+| `RESYNC` | `200` | Interval between full lists. |",
    ),
    "a new reason": (
        "app/domain/reasons.py",
        "    REFUSED = (\n",
        '    MOVED = ("Moved", "It is elsewhere.", "Look there.")\n    REFUSED = (\n',
        "+| `Moved` | It is elsewhere. | Look there. |",
    ),
    "a new metric": (
        "app/watcher/metrics.py",
        '        self.relists = self.counter("watch_relists", "Full lists after the first.")\n',
        '        self.relists = self.counter("watch_relists", "Full lists, all of them.")\n',
        "+| `agentteam_delivery_watch_relists_total` | counter |  | Full lists, all of them. |",
    ),
    "a new problem": (
        "app/domain/errors.py",
        "class Draining(Problem):\n",
        (
            'class Asleep(Problem):\n    """It sleeps."""\n\n'
            '    slug, status, title = "asleep", 503, "Asleep"\n\n\nclass Draining(Problem):\n'
        ),
        "+| `urn:agentteam-delivery:asleep` | 503 | Asleep | It sleeps. |",
    ),
    "a new field of the resource": (
        "charts/agentteam-delivery/crd/agentteams.yaml",
        "                  properties:\n                    timeout:\n",
        (
            "                  properties:\n                    color:\n"
            "                      description: Its color.\n"
            "                      type: string\n                    timeout:\n"
        ),
        "+| `spec.lifecycle.color` | string | Its color. |",
    ),
    "a package with another description": (
        "app/egress/__init__.py",
        '"""Outgoing connections:',
        '"""All outgoing connections:',
        (
            "+| 4 | `egress/` | All outgoing connections: which addresses are allowed, and the clients that"
            " connect to them. |"
        ),
    ),
    "a new module": (
        "app/domain/times.py",
        '"""Times as Kubernetes and HTTP write them."""',
        '"""Times as all write them."""',
        "+| `times` | Times as all write them. |",
    ),
    "a new field of an answer": (
        "openapi/openapi.yaml",
        "        httpStatus:\n",
        "        color:\n          type: string\n          description: Its color.\n        httpStatus:\n",
        "+| `color` | string, optional | Its color. |",
    ),
}


def test_a_change_without_its_page_fails_the_check(copy: Path) -> None:
    for file, old, new, _ in CHANGES.values():
        change(copy, file, old, new)
    code, said = check(copy)
    assert code == 1
    lines = said.splitlines()
    assert [what for what, (*_, line) in CHANGES.items() if line not in lines] == []
    assert "make reference" in said


UNTOLD = {
    "a module": (
        "app/domain/times.py",
        '"""Times as Kubernetes and HTTP write them."""',
        "",
        "app/domain/times.py",
    ),
    "a setting": (
        "app/settings.py",
        RESYNC,
        f"{RESYNC}    patience: Seconds = 5.0\n\n",
        "the setting PATIENCE",
    ),
    "a reason": (
        "app/domain/reasons.py",
        '"The message says what the relay refused, and for which recipients."',
        '" "',
        "the remedy for Refused",
    ),
    "a metric": (
        "app/watcher/metrics.py",
        '"Full lists after the first."',
        '""',
        "the metric agentteam_delivery_watch_relists_total",
    ),
    "a field": (
        "charts/agentteam-delivery/crd/agentteams.yaml",
        "                        description: Email only. The subject line.\n".replace("  " * 12, "  " * 14),
        "",
        "the field spec.lifecycle.delivery[].subject",
    ),
}


def test_code_without_a_description_or_a_layer_fails_the_check(copy: Path) -> None:
    for file, old, new, _ in UNTOLD.values():
        change(copy, file, old, new)
    change(copy, "pyproject.toml", '  "telemetry",\n', "")
    code, said = check(copy)
    assert code == 1
    assert sorted(said.splitlines()) == sorted(
        [
            *(
                f"{subject} has no description; give it one where it is declared"
                for *_, subject in UNTOLD.values()
            ),
            "telemetry has no place among the layers in pyproject.toml",
        ]
    )
