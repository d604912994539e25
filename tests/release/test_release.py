"""`make release`: what it builds, what it refuses, and that it publishes only on request."""

import json
import os
import re
import runpy
import subprocess
import tarfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from email.parser import Parser
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement

from tests.harness.helm import run
from tests.release.conftest import DIGEST, REPOSITORY, Released, copied, program, typed
from tests.test_repo import PROJECT, ROOT, pins

pytestmark = pytest.mark.timeout(900)  # the first test builds the release

VERSION: str = PROJECT["project"]["version"]
IMAGE = f"agentteam-delivery-{VERSION}-image.tar"
CHART = f"agentteam-delivery-{VERSION}.tgz"
TOLD = {"TOLD": os.devnull}


def test_all_files_exist_and_match_their_checksums(released: Released) -> None:
    expected = {
        "NOTES.md",
        IMAGE,
        CHART,
        f"agentteam-delivery-{VERSION}.cdx.json",
        f"agentteam-delivery-client-{VERSION}.tgz",
        f"agentteam_delivery-{VERSION}-py3-none-any.whl",
        f"agentteam_delivery-{VERSION}.tar.gz",
        f"agentteam_delivery_client-{VERSION}-py3-none-any.whl",
        f"agentteam_delivery_client-{VERSION}.tar.gz",
    }
    assert {path.name for path in released.folder.iterdir()} == {*expected, "SHA256SUMS"}
    command = ["sha256sum", "--check", "--strict", "SHA256SUMS"]
    checked = subprocess.run(command, cwd=released.folder, check=True, capture_output=True, text=True).stdout
    assert {line.removesuffix(": OK") for line in checked.splitlines()} == expected
    assert released.said.endswith("Nothing was published.\n")


def test_the_engine_builds_for_both_platforms(released: Released) -> None:
    build, push, _ = released.told
    assert build[0] == "build"
    assert "--platform=linux/amd64,linux/arm64" in build
    assert build[-1] == "."
    assert push[:3] == ["manifest", "push", "--all"]
    assert not [word for command in released.told for word in command if word.startswith("docker://")]


def test_the_chart_names_the_image_by_its_digest(released: Released, kubectl: Path) -> None:
    helm, chart = kubectl.with_name("helm"), released.folder / CHART
    run(helm, "lint", "--strict", "--quiet", chart)
    about = yaml.safe_load(run(helm, "show", "chart", chart))
    assert (about["version"], about["appVersion"]) == (VERSION, VERSION)
    rendered = list(yaml.safe_load_all(run(helm, "template", "x", chart)))
    [deployment] = [one for one in rendered if one and one["kind"] == "Deployment"]
    images = {one["image"] for one in deployment["spec"]["template"]["spec"]["containers"]}
    assert images == {f"{REPOSITORY}/agentteam-delivery@{DIGEST}"}
    with tarfile.open(chart) as tar:
        inside = {name.partition("/")[2] for name in tar.getnames()}
        values = tar.extractfile("agentteam-delivery/values.yaml")
        assert values
        changed = set(values.read().decode().splitlines())
    ours = ROOT / "charts/agentteam-delivery"
    assert inside == {str(path.relative_to(ours)) for path in ours.rglob("*") if path.is_file()}
    assert len(changed - set((ours / "values.yaml").read_text().splitlines())) == 2


def test_the_bill_of_materials_names_each_pinned_package(released: Released) -> None:
    bill = json.loads((released.folder / f"agentteam-delivery-{VERSION}.cdx.json").read_text())
    assert bill["bomFormat"] == "CycloneDX"
    assert bill["metadata"]["component"]["version"] == VERSION
    assert {one["name"]: one["version"] for one in bill["components"]} == pins("requirements.txt")
    for one in bill["components"]:
        assert one["externalReferences"][0]["hashes"], one["name"]


def test_the_notes_are_the_changelog_s_section(released: Released) -> None:
    notes = (released.folder / "NOTES.md").read_text()
    assert notes.startswith(f"## [{VERSION}]")
    assert notes.count("\n## ") == 0
    before, found, after = (ROOT / "CHANGELOG.md").read_text().partition(notes.rstrip())
    assert found
    assert before.endswith("\n\n")
    assert not after.strip() or after.startswith(("\n\n## ", "\n\n["))


def test_the_wheel_requires_the_service_s_packages_only_as_an_extra(released: Released) -> None:
    with zipfile.ZipFile(released.folder / f"agentteam_delivery-{VERSION}-py3-none-any.whl") as wheel:
        [name] = [name for name in wheel.namelist() if name.endswith(".dist-info/METADATA")]
        metadata = Parser().parsestr(wheel.read(name).decode())
    wanted = [Requirement(text) for text in metadata.get_all("Requires-Dist", [])]
    plain = {one.name for one in wanted if not one.marker}
    service = {one.name for one in wanted if one.marker and one.marker.evaluate({"extra": "service"})}
    assert {"httpx", "pydantic", "typer"} <= plain
    assert {"aiohttp", "fastapi", "kubernetes-asyncio", "uvicorn", "uvloop"} <= service
    assert not plain & service
    assert {"service", "email", "google-drive", "tracing"} <= set(metadata.get_all("Provides-Extra", []))


def test_the_published_files_are_those_that_were_built(
    released: Released, kubectl: Path, tmp_path: Path
) -> None:
    told = tmp_path / "told"
    for name, prints in (("skopeo", DIGEST), ("helm", "")):
        program(tmp_path / name, f'#!/bin/sh\necho {name} "$@" >> {told}\necho {prints}\n')
    publish(released.folder, DIGEST, tmp_path)
    image = f"docker://{REPOSITORY}/agentteam-delivery:{VERSION}"
    assert told.read_text().splitlines() == [
        f"skopeo copy --all --preserve-digests oci-archive:{released.folder / IMAGE} {image}",
        f"skopeo inspect --no-tags --format {{{{.Digest}}}} {image}",
        f"helm push {released.folder / CHART} oci://{REPOSITORY}/charts",
    ]
    told.unlink()
    with pytest.raises(Exception, match=f"has the digest {DIGEST}, and the chart names sha256:other"):
        publish(released.folder, "sha256:other", tmp_path)
    assert "helm" not in told.read_text(), "no chart may be published for another image"


def publish(folder: Path, digest: str, tools: Path) -> None:
    """Publish the files in a folder, with these tools first on the path."""
    script = runpy.run_path(str(ROOT / ".ci/release"))
    release: Any = script["Release"](VERSION, folder, ("linux/amd64",), REPOSITORY, "buildah")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
        release.publish(digest)


@dataclass
class Scratch:
    """A copy of the repository in which one test replaces texts."""

    root: Path
    kept: dict[Path, str] = field(default_factory=dict)

    def change(self, file: str, pattern: str, text: str) -> None:
        """Replace the first text that matches a pattern."""
        path = self.root / file
        before = path.read_text()
        self.kept.setdefault(path, before)
        after, count = re.subn(pattern, text, before, count=1, flags=re.MULTILINE)
        assert count, path
        path.write_text(after)


@pytest.fixture
def scratch(repository: Path) -> Iterator[Scratch]:
    scratch = Scratch(repository)
    yield scratch
    for path, text in scratch.kept.items():
        path.write_text(text)


PLACES = (
    # A file, and what stands around the version in it.
    ("Dockerfile", rf'(?<=image\.version="){VERSION}'),
    ("charts/agentteam-delivery/Chart.yaml", rf"(?<=^version: ){VERSION}"),
    ("charts/agentteam-delivery/Chart.yaml", rf"(?<=^appVersion: ){VERSION}"),
    ("openapi/openapi.yaml", rf"(?<=  version: ){VERSION}"),
    ("clients/typescript/package.json", rf'(?<="version": "){VERSION}'),
    ("clients/typescript/package-lock.json", rf'(?<="version": "){VERSION}'),
    ("README.md", rf"(?<=\$IMAGE:){VERSION}"),
    ("docs/reference/commands.md", rf"(?<=agentteam-delivery/){VERSION}"),
)


def test_a_version_mismatch_is_refused_with_the_name_of_each_file(scratch: Scratch) -> None:
    for number, (file, pattern) in enumerate(PLACES):
        scratch.change(file, pattern, f"7.8.{number}")
    done = typed(scratch.root, "--engine", "false", **TOLD)
    assert (done.returncode, done.stdout) == (1, "")
    for number, (file, _) in enumerate(PLACES):
        said = f"{file} says 7.8.{number}, and pyproject.toml {VERSION}; to write it everywhere: .ci/version"
        assert said in done.stderr


def test_a_version_is_written_to_every_place_except_the_changelog(tmp_path: Path) -> None:
    root = copied(tmp_path)
    done = version(root, "7.8.9")
    undone = "CHANGELOG.md has no section of 7.8.9; write one under ## [7.8.9]\n"
    assert (done.returncode, done.stdout, done.stderr) == (1, "", undone)
    Scratch(root).change("CHANGELOG.md", rf"^## \[{VERSION}\]", "## [7.8.9]")
    done = version(root)
    assert (done.returncode, done.stdout, done.stderr) == (0, "7.8.9\n", "")
    assert f'version = "{VERSION}"' not in (root / "pyproject.toml").read_text()
    for wrong in ("7.8", "v7.8.9"):
        assert version(root, wrong).returncode == 2


def version(root: Path, *number: str) -> subprocess.CompletedProcess[str]:
    command: list[str | Path] = [root / ".ci/version", *number]
    return subprocess.run(command, check=False, capture_output=True, text=True)


UNDATED = r"^## \[[\d.]+\].*$"


@pytest.mark.parametrize(
    ("heading", "options", "says"),
    [
        ("2027-01-31", ["--tag", "v9.9.9"], f"the tag is v9.9.9, and pyproject.toml says {VERSION}"),
        ("not yet released", ["--tag", f"v{VERSION}"], f"does not say when {VERSION} is released"),
        ("2027-01-31", ["--push"], "give TAG=v… and REPOSITORY="),
        ("2027-01-31", ["--push", "--tag", f"v{VERSION}"], "give TAG=v… and REPOSITORY="),
        ("2027-01-31", ["--platforms", "linux/amd64,plan9"], "PLATFORMS names plan9"),
    ],
)
def test_an_unprepared_release_is_refused(
    scratch: Scratch, heading: str, options: list[str], says: str
) -> None:
    scratch.change("CHANGELOG.md", UNDATED, f"## [{VERSION}] - {heading}")
    done = typed(scratch.root, *options, "--engine", "false", **TOLD)
    assert (done.returncode, done.stdout) == (1, "")
    assert says in done.stderr


def test_nothing_is_pushed_without_an_engine(scratch: Scratch, tmp_path: Path) -> None:
    scratch.change("CHANGELOG.md", UNDATED, f"## [{VERSION}] - 2027-01-31")
    asked = ("--push", "--tag", f"v{VERSION}", "--repository", REPOSITORY)
    program(tmp_path / "docker", "#!/bin/sh\nexit 1\n")  # a client whose engine does not answer
    done = typed(scratch.root, *asked, PATH=str(tmp_path))
    assert done.returncode == 1
    assert "install buildah, or start docker" in done.stderr


def test_a_package_without_a_wheel_for_a_platform_is_refused(scratch: Scratch) -> None:
    zeros = "0" * 64
    scratch.change("requirements-build.txt", r"\A(.|\n)*\Z", f"uvloop==0.14.0 --hash=sha256:{zeros}\n")
    done = typed(scratch.root, "--platforms", "linux/arm64", "--engine", "false", **TOLD)
    assert done.returncode == 1
    assert "requirements-build.txt cannot be installed on linux/arm64" in done.stderr
    assert "uvloop==0.14.0" in done.stderr


def test_make_publishes_only_on_request() -> None:
    for given, pushes in (([], False), (["PUSH=yes", "TAG=v1.2.3", "REPOSITORY=r.example"], True)):
        command = ["make", "--dry-run", "release", *given]
        said = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
        assert ("--push" in said) is pushes
    assert "--tag 'v1.2.3' --repository 'r.example'" in said


def test_the_workflow_publishes_with_make_on_a_tag() -> None:
    workflow = yaml.safe_load((ROOT / ".github/workflows/release.yaml").read_text())
    assert workflow[True] == {"push": {"tags": ["v*"]}}  # YAML reads `on` as true
    [job] = workflow["jobs"].values()
    scripts = [step["run"] for step in job["steps"]]
    [made] = [one for one in scripts if one.startswith("make release")]
    assert 'TAG="$GITHUB_REF_NAME"' in made
    assert "PUSH=yes" in made
    assert not [step for step in job["steps"] if "uses" in step], "authors of actions could publish"
    for script in scripts:
        subprocess.run(["bash", "-n"], input=script, text=True, check=True)
