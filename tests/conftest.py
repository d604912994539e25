"""Fixtures for all tests: a fake Kubernetes API, a real one, and each of them in turn."""

import gc
import os
import shutil
import socket
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler import LoadFileScheduling

from tests.harness.cluster import Cluster, prepared
from tests.harness.fake_cluster import FakeCluster
from tests.harness.forked import count_here_alone
from tests.harness.real_cluster import SCRIPT, RealCluster

KUBECTL = Path(__file__).parent / "harness/kubectl"
PROGRAMS = KUBECTL.with_name("programs")
CONTRACT = "tests/contract/"

gc.disable()  # until all tests are collected, and then not in what they hold: all of it stays until the end

# Programs in Go, such as kube-apiserver, take a third less CPU if only a limit makes them look for garbage.
os.environ.setdefault("GOGC", "off")
os.environ.setdefault("GOMEMLIMIT", "500MiB")


def pytest_collection_finish(session: pytest.Session) -> None:
    """If CI needs a real API, start it before the first test and its timeout begin."""
    if os.environ.get("CI") != "true" or session.config.option.collectonly:
        return
    asked = set().union(*(getattr(item, "fixturenames", []) for item in session.items))
    needed = {
        "newest": bool(asked & {"apiserver", "cluster", "own"}),  # the other tests start the first later
        "oldest": any(item.path.parent.name == "contract" for item in session.items),
    }
    for release, wanted in needed.items():
        if not wanted or (release == "oldest" and "KUBEBUILDER_ASSETS" in os.environ):
            continue
        if at_hand(release, "build"):
            continue
        raise pytest.UsageError("CI requires a kube-apiserver; the output above says why it is missing")
    if asked & {"any_helm", "newest_helm3"}:
        built = subprocess.run([PROGRAMS, "build", "newest", "helm"], check=False, stdout=subprocess.DEVNULL)
        if built.returncode:
            raise pytest.UsageError("CI requires the newest Helm 3; the output above says why it is missing")


class _ByFile(LoadFileScheduling):  # type: ignore[misc]  # xdist has no types
    def _split_scope(self, nodeid: str) -> str:
        """Give all contract tests to one worker: only they start the oldest API server."""
        file = str(super()._split_scope(nodeid))
        return CONTRACT if file.startswith(CONTRACT) else file


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> _ByFile:
    """Let a worker run whole files."""
    return _ByFile(config, log)


def pytest_runtestloop() -> None:
    """Measure the coverage of the program only, not of other processes that tests start."""
    count_here_alone()
    gc.freeze()
    gc.enable()


def at_hand(release: str, verb: str = "find") -> bool:
    """Return whether an API server of a release exists, and build it if the verb is `build`."""
    environment = os.environ | {"KUBERNETES_RELEASE": release}
    stderr = None if verb == "build" else subprocess.DEVNULL
    done = subprocess.run(
        [SCRIPT, verb], check=False, env=environment, stdout=subprocess.DEVNULL, stderr=stderr
    )
    return done.returncode == 0


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the base of the image, and its figures, which tests record as properties."""
    reports = terminalreporter.stats.get("passed", []) + terminalreporter.stats.get("failed", [])
    for name, value in [one for report in reports for one in report.user_properties if report.when == "call"]:
        if name == "image":
            terminalreporter.write_line(f"image: {value}")


@pytest.fixture
async def fake_cluster(tmp_path: Path) -> AsyncIterator[Cluster[FakeCluster]]:
    """Start a fake API for one test; `fake_cluster.server` is its server, where a test injects faults."""
    async with FakeCluster() as server, prepared(server, tmp_path) as cluster:
        yield cluster


@pytest.fixture(scope="session")
async def one_fake_cluster(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Cluster[FakeCluster]]:
    """Start a fake API for all tests that use separate namespaces and inject no faults."""
    async with FakeCluster() as server, prepared(server, tmp_path_factory.mktemp("fake")) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def apiserver() -> None:
    """Skip if no API server is found; each fixture that starts a real one depends on this."""
    if not at_hand("newest"):
        pytest.skip("no kube-apiserver: set KUBEBUILDER_ASSETS or run tests/harness/apiserver build")


@pytest.fixture(scope="session")
async def real_cluster(
    apiserver: None, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Cluster[RealCluster]]:
    """Start one real API for all tests, which use fresh namespaces."""
    async with RealCluster() as server, prepared(server, tmp_path_factory.mktemp("real")) as cluster:
        yield cluster


@pytest.fixture(scope="session")
async def oldest_cluster(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Cluster[RealCluster]]:
    """Start the oldest release that the chart is tested with."""
    if "KUBEBUILDER_ASSETS" in os.environ:
        pytest.skip("KUBEBUILDER_ASSETS names the one release that there is")
    if not at_hand("oldest"):
        pytest.skip("no older kube-apiserver: KUBERNETES_RELEASE=oldest tests/harness/apiserver build")
    async with (
        RealCluster("oldest") as server,
        prepared(server, tmp_path_factory.mktemp("oldest")) as cluster,
    ):
        yield cluster


@pytest.fixture(scope="session")
def kubectl() -> Path:
    """Return a kubectl; CI downloads it."""
    verb = "fetch" if os.environ.get("CI") == "true" else "find"
    tools = subprocess.run([KUBECTL, verb], check=False, stdout=subprocess.PIPE, text=True)
    if tools.returncode and verb == "find":
        pytest.skip("no kubectl and helm: install them, or run tests/harness/kubectl fetch")
    assert tools.returncode == 0, "CI requires a kubectl; the output above says why it is missing"
    return Path(tools.stdout.strip(), "kubectl")


@pytest.fixture
def silent_port() -> Iterator[int]:
    """Hold a port on which nothing listens until the test does: no other process gets it meanwhile."""
    with socket.socket() as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a server may listen beside it
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


@pytest.fixture(scope="session")
def prometheus() -> None:
    """Skip if Prometheus is missing; CI has it."""
    if shutil.which("promtool") and shutil.which("prometheus"):
        return
    assert os.environ.get("CI") != "true", "CI requires promtool and prometheus"
    pytest.skip("no promtool and prometheus: install Debian's package prometheus, or its like")


@pytest.fixture(params=["fake", "real"])
def cluster(request: pytest.FixtureRequest) -> Cluster[FakeCluster | RealCluster]:
    """Run a test twice: against the fake API and against a real one."""
    found: Cluster[FakeCluster | RealCluster] = request.getfixturevalue(f"{request.param}_cluster")
    return found
