"""The image, built by a container engine and run as the chart runs it; `tests/pods` has its pods."""

import ast
import os
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.harness.cluster import Cluster
from tests.harness.engine import SCRIPT, Container, Engine, confined, held, mebibytes
from tests.harness.fake_cluster import FakeCluster
from tests.harness.helm import Helm
from tests.harness.waiting import until_ready

pytestmark = pytest.mark.timeout(
    1500
)  # the first build on a machine builds the replacement of the base image, and all layers

ROOT = Path(__file__).parents[2]
NOBODY = 65532
ADDED = 155  # MB that the image may add to its base
WHOLE = 315  # MB, the maximum for the whole image on disk
VENV = "/opt/venv"

Record = Callable[[str, object], None]


def unavailable(why: str) -> None:
    """Skip the test, or fail in CI."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"CI tries the image: {why}")
    pytest.skip(f"the image is not tried: {why}")


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    """Build the image, once for all tests."""
    lacking = subprocess.run([SCRIPT, "lacks"], check=False, stdout=subprocess.PIPE, text=True)
    if lacking.returncode:
        unavailable(lacking.stdout.strip())
    with held() as engine:
        yield engine


@pytest.fixture
def service(helm: Helm) -> list[str]:
    """The options with which the chart confines the service."""
    pod = helm.render().pods[0]
    return confined(pod, pod["containers"][0])


def test_the_image_s_labels_describe_it(engine: Engine, record_property: Record) -> None:
    stands_on = subprocess.run([SCRIPT, "base"], check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
    record_property("image", f"built on {stands_on}")
    config = engine.inspect(engine.image)["Config"]
    labels = {name.rpartition(".")[2]: value for name, value in config["Labels"].items()}
    assert labels["version"] == engine.run([], "version").stdout.strip()
    assert {"title", "description", "licenses"} <= set(labels)
    assert set(config["ExposedPorts"]) == {"8080/tcp", "8081/tcp"}
    assert config["User"] == f"{NOBODY}:{NOBODY}"


def test_the_user_cannot_change_the_image_s_files_even_on_a_writable_root(
    engine: Engine,
) -> None:
    # The user owns or can write to nothing in the root file system except the usual temporary folders.
    owned = "find / -xdev '(' -user 65532 -o -group 65532 -o -writable ')' ! -type l ! -path '/proc*'"
    said = engine.script(
        [],
        f"""
import os, pathlib, subprocess
print(subprocess.run({owned!r}, shell=True, stdout=subprocess.PIPE, text=True).stdout.split())
def changed(how, path, *arguments):
    try:
        how(path, *arguments)
    except PermissionError:
        return False
    return True
tried = 0
for path in [pathlib.Path("{VENV}"), *pathlib.Path("{VENV}").rglob("*")]:
    if path.is_symlink():
        continue
    tried += 1
    if changed(os.chmod, path, 0o777) or changed(os.rename, path, str(path) + ".x"):
        print("changed:", path)
    if path.is_dir():
        if changed(pathlib.Path.touch, path / "planted.py"):
            print("written into:", path)
    elif changed(open, path, "r+b"):
        print("written to:", path)
print(tried > 1000)
""",
    )
    found, *rest = said.splitlines()
    assert set(ast.literal_eval(found)) <= {"/tmp", "/var/tmp", "/run/lock"}  # noqa: S108  # only named
    assert rest == ["True"]


def test_all_bytecode_is_hash_based_complete_and_current(engine: Engine) -> None:
    said = engine.script(
        [],
        f"""
import importlib.util, marshal, pathlib
seen = 0
library = pathlib.Path(importlib.util.__file__).parents[1]
for folder in pathlib.Path("{VENV}/lib"), library:
    for path in folder.rglob("*.pyc"):
        source = pathlib.Path(importlib.util.source_from_cache(str(path))).read_bytes()
        unchecked = importlib.util.MAGIC_NUMBER + bytes([1, 0, 0, 0])
        content = path.read_bytes()
        if content[:16] != unchecked + importlib.util.source_hash(source):
            print("not by hash:", path)
        marshal.loads(content[16:])
        seen += 1
for path in pathlib.Path("{VENV}/lib").rglob("*.py"):
    if not pathlib.Path(importlib.util.cache_from_source(str(path))).exists():
        print("without:", path)
print(seen > 1000)
""",
    )
    assert said == "True\n"


@pytest.mark.parametrize("command", ["serve", "watch"])
def test_a_start_compiles_nothing_and_without_a_cluster_says_what_to_set(
    engine: Engine, service: list[str], command: str
) -> None:
    variables = ["--env", "PYTHONVERBOSE=1", "--env", "DELIVERY_ALLOW_PLAIN_HTTP=true"]
    done = engine.run([*service, *variables], command)
    loaded = re.findall(r"^# code object from '?(/\S+?)'?$", done.stderr, re.MULTILINE)
    assert len(loaded) > 300
    assert [path for path in loaded if not path.endswith(".pyc")] == []
    assert (done.returncode, done.stdout) == (2, "")
    [said] = re.findall(r"^agentteam-delivery: .*", done.stderr, re.MULTILINE)
    assert "no Kubernetes API is configured" in said


def test_no_build_tool_is_in_the_image(engine: Engine) -> None:
    script = f"""
import importlib.util, pathlib
names = "pip", "setuptools", "wheel", "hatchling", "uv", "pytest", "ensurepip"
print([name for name in names if importlib.util.find_spec(name)])
print([path.name for home in ("{VENV}/bin", "/usr/local/bin") for path in pathlib.Path(home).glob("*pip*")])
print(pathlib.Path("/build").exists())
"""
    assert engine.script([], script) == "[]\n[]\nFalse\n"


def test_the_image_is_small(engine: Engine, record_property: Record) -> None:
    [base] = re.findall(r"^ARG BASE=(.+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    whole = engine.inspect(engine.image)["Size"] / 1e6
    added = whole - engine.inspect(base)["Size"] / 1e6
    record_property("image", f"{whole:.0f} MB, of which {added:.0f} are not the base's")
    assert added < ADDED
    assert whole < WHOLE


async def test_each_idle_process_uses_less_memory_than_the_chart_requests(
    engine: Engine, helm: Helm, fake_cluster: Cluster[FakeCluster], tmp_path: Path, record_property: Record
) -> None:
    pod = helm.render().pods[0]
    kubeconfig = tmp_path / "for-anybody.yaml"
    kubeconfig.write_bytes(fake_cluster.kubeconfig.read_bytes())
    settings = {"AUTH": "none", "HOST": "127.0.0.1", "PORT": "0", "WATCH_PORT": "0"}
    variables = {f"DELIVERY_{name}": value for name, value in settings.items()}
    for one, started in zip(pod["containers"], ["serving", "watching"], strict=True):
        container = Container(
            command=one["args"][0],
            started=started,
            engine=engine,
            options=confined(pod, one),
            run=one["args"],
            named=f"idle-{one['name']}",
            variables={**variables, "KUBECONFIG": "/kubeconfig.yaml"},
            mounts={kubeconfig: "/kubeconfig.yaml"},
        )
        async with container:
            await until_ready(f"{container.url}/readyz")
            idle = container.held()
        record_property("image", f"{one['name']} holds {idle:.0f} MiB when idle")
        assert idle < mebibytes(one["resources"]["requests"]["memory"])
