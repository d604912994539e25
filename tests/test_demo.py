"""The demo shows a delivery, returns the correct exit code, and leaves nothing behind."""

import os
import pty
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from time import monotonic, sleep

import pytest
from rich.cells import cell_len

from tests.docs.blocks import blocks_of
from tests.harness.real_cluster import SCRIPT

ROOT = Path(__file__).parents[1]
SAMPLE = ROOT / "samples/delivery-team.yaml"
DEMO = (sys.executable, "-m", "samples.demo")
ASTRAY = {
    # Variables that a user may have set; each would point the demo to another place.
    "DELIVERY_AUTH": "kubernetes",
    "DELIVERY_PORT": "1",
    "DELIVERY_NAMESPACES": "elsewhere",
    "HTTP_PROXY": "http://127.0.0.1:9",
    "KUBERNETES_SERVICE_HOST": "127.0.0.1",
    "KUBECONFIG": "nowhere",
}

ONCE = (
    # What differs in each run, and its replacement.
    (r"127\.0\.0\.1:\d+", "127.0.0.1:PORT"),
    (r"msg_[0-9a-f]{32}", "msg_ID"),
    (r"42 min(?: \d+ s)?", "42 min N s"),  # how long the demo takes
    (r"Done in [\d.]+ s", "Done in N s"),
)


@pytest.fixture
def real_assets() -> str:
    """Return the folder of a real kube-apiserver."""
    found = subprocess.run([SCRIPT, "find"], check=False, capture_output=True, text=True)
    if found.returncode:
        pytest.skip("no kube-apiserver: set KUBEBUILDER_ASSETS or run tests/harness/apiserver build")
    return found.stdout.strip()


@contextmanager
def demo(folder: Path, *arguments: str | Path, assets: str = "") -> Iterator[subprocess.Popen[str]]:
    """Start the demo, with its temporary files in the test's folder."""
    with subprocess.Popen(
        (*DEMO, *arguments),
        cwd=ROOT,
        env=environment(folder, assets),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        start_new_session=True,
    ) as process:
        yield process


def environment(folder: Path, assets: str = "") -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if name != "FORCE_COLOR"}
    return inherited | ASTRAY | {"TMPDIR": str(folder), "KUBEBUILDER_ASSETS": assets}


def output(process: subprocess.Popen[str], until: str | None = None) -> str:
    """Read the demo's output, to its end or to the line that contains a text."""
    assert process.stdout
    said = ""
    for line in process.stdout:
        said += line
        if until and until in line:
            return said
    assert until is None, said
    return said


def running(folder: Path) -> dict[int, str]:
    """Return the demo's processes and their command lines; all inherit the name of its folder."""
    found = {}
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if f"TMPDIR={folder}\0".encode() in (process / "environ").read_bytes():
                found[int(process.name)] = (process / "cmdline").read_text().replace("\0", " ")
    return found


def find(folder: Path, words: str) -> int:
    """Wait for one of the demo's processes; return its id."""
    deadline = monotonic() + 20
    while monotonic() < deadline:
        for pid, command in running(folder).items():
            if words in command:
                return pid
        sleep(0.01)
    raise AssertionError(f"no process {words}: {running(folder)}")


def assert_nothing_is_left(folder: Path) -> None:
    assert not running(folder)
    assert not list(folder.iterdir())


def lasting(text: str) -> str:
    for pattern, word in ONCE:
        text = re.sub(pattern, word, text, flags=re.MULTILINE)
    return "\n".join(line.rstrip() for line in text.strip().splitlines())


def assert_outcomes(said: str, kind: str) -> None:
    for words in (
        kind,
        "with the webhook's address replaced",
        "POST /reports",
        "webhook-id: msg_",
        '"event": "team.completed"',
        '"path": "/workspace/output/report.md"',
        "✅ Team report finished",
        "The quarterly report is ready (Completed).",
        "the team's phase is Completed",
    ):
        assert words in said
    for row in (
        r"webhook-0 +✔ +Delivered +200 +1 +http://127\.0\.0\.1:\d+/reports *\n +webhook +Delivered ",
        r"slack-1 +✔ +Delivered +200 +1 +#reports *\n +slack +Delivered ",
        r"email-2 +✘ +Failed +- +0 +editors@example\.com *\n +email +NotImplemented ",
    ):
        assert re.search(row, said), said


def test_the_demo_shows_each_outcome_as_the_readme_does(tmp_path: Path) -> None:
    with demo(tmp_path) as process:
        said = output(process)
    assert process.returncode == 0, said
    assert_outcomes(said, "a fake")
    assert "\x1b" not in said, "colours are for terminals"
    assert_nothing_is_left(tmp_path)
    readme = blocks_of("README.md", (ROOT / "README.md").read_text())
    [block] = [one for one in readme if (one.title, one.language) == ("See it work", "text")]
    begin = block.text.splitlines()[0]
    assert begin in said
    assert lasting(begin + said.partition(begin)[2]) == lasting(block.text), (
        f"{block.at()} is not what it prints"
    )


def test_on_a_real_api_the_output_fits_a_terminal_of_80_columns(tmp_path: Path, real_assets: str) -> None:
    reader, terminal = pty.openpty()
    narrow = environment(tmp_path, real_assets) | {"COLUMNS": "80", "TERM": "xterm-256color"}
    with subprocess.Popen(DEMO, cwd=ROOT, env=narrow, stdout=terminal, start_new_session=True) as process:
        os.close(terminal)
        printed = b""
        with suppress(OSError):  # the terminal is closed
            while part := os.read(reader, 65_536):
                printed += part
        os.close(reader)
    assert process.returncode == 0
    assert b"\x1b[32m" in printed, "green"
    said = "\n".join(re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", printed.decode()).splitlines())
    assert_outcomes(said, "a real one")
    assert max(map(cell_len, said.splitlines())) <= 80
    assert re.search(r"http://127\.0\.0\.1:\d+/reports *$", said, re.MULTILINE), "addresses are not wrapped"
    assert_nothing_is_left(tmp_path)


@pytest.mark.parametrize(
    ("number", "to_all", "step"),
    [
        (signal.SIGINT, True, "agentteam-delivery serve"),
        (signal.SIGTERM, False, "Kubernetes API"),
        (signal.SIGHUP, True, "Kubernetes API"),
    ],
)
def test_a_signal_ends_the_demo_with_all_its_processes(
    tmp_path: Path, number: signal.Signals, to_all: bool, step: str
) -> None:
    with demo(tmp_path) as process:
        output(process, until=step)
        assert len(running(tmp_path)) >= 3
        (os.killpg if to_all else os.kill)(process.pid, number)
        said = output(process)
    assert process.returncode == 128 + number
    assert "Traceback" not in said
    assert_nothing_is_left(tmp_path)


def test_ctrl_c_while_a_real_api_starts_leaves_no_server(tmp_path: Path, real_assets: str) -> None:
    with demo(tmp_path, assets=real_assets) as process:
        find(tmp_path, "/kube-apiserver ")
        os.killpg(process.pid, signal.SIGINT)
        said = output(process)
    assert process.returncode == 130
    assert "Traceback" not in said
    assert_nothing_is_left(tmp_path)


def test_if_a_process_dies_the_demo_fails_with_a_sentence_and_the_logs(tmp_path: Path) -> None:
    with demo(tmp_path) as process:
        output(process, until="agentteam-delivery serve")
        os.kill(find(tmp_path, "agentteam-delivery serve"), signal.SIGKILL)
        said = output(process)
    assert process.returncode == 1
    assert said.endswith("✘ “serve” has ended (SIGKILL).\n")
    assert '"event":"serving"' in said
    assert_nothing_is_left(tmp_path)


@pytest.mark.parametrize(
    ("line", "instead", "sentence"),
    [
        ("type: webhook", "type: pigeon", 'Unsupported value: "pigeon"'),
        ("credentialsSecret: slack-credentials", "", "slack-1 should be Delivered, but is InvalidTarget"),
        ("namespace: research", "", "is no AgentTeam with a namespace"),
    ],
)
def test_if_a_target_ends_unexpectedly_the_demo_fails_with_a_sentence(
    tmp_path: Path, line: str, instead: str, sentence: str
) -> None:
    folder = tmp_path / "demo"
    folder.mkdir()
    sample = tmp_path / "team.yaml"
    sample.write_text(SAMPLE.read_text().replace(line, instead))
    with demo(folder, "--sample", sample) as process:
        said = output(process)
    assert process.returncode == 1
    assert sentence in said
    assert "Traceback" not in said
    assert_nothing_is_left(folder)
