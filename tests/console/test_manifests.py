"""Offline validation of manifests: each mistake with its line, and what to change."""

from io import BytesIO, TextIOWrapper
from pathlib import Path

import pytest

from app.console import manifests
from app.console.manifests import findings_of

GOOD = """\
apiVersion: kagents.dev/v1alpha1
kind: AgentTeam
metadata:
  name: report
  namespace: research
spec:
  lead: {prompt: write}
  lifecycle:
    onComplete: deliver
    delivery:
      - name: archive
        type: webhook
        url: https://hooks.example.com/reports
        message: "{team} is ready"
      - name: chat
        type: slack
        credentialsSecret: slack
"""

BROKEN: dict[str, tuple[str, str, int, str]] = {
    # The replaced text, its replacement, the reported line, and a part of the message.
    "not YAML": ("kind: AgentTeam", "kind: [AgentTeam", 3, "not YAML"),
    "a tab": ("  name: report", "\tname: report", 4, "not YAML"),
    "a kind misspelt": ("kind: AgentTeam", "kind: AgentTeams", 2, "did you mean AgentTeam?"),
    "a kind unknown": ("kind: AgentTeam", "kind: Zebra", 2, "known are AgentTeam, AgentTeamTemplate"),
    "a kind that is no text": ("kind: AgentTeam", "kind: [AgentTeam]", 2, "is not a kind of kagents.dev"),
    "a bare on": ("        type: slack", "        type: slack\n        on: [Failed]", 17, 'write "on":'),
    "an unknown outcome": (
        "        type: slack",
        '        type: slack\n        "on": [Lost]',
        17,
        "on.0: ",
    ),
    "no version": ("apiVersion: kagents.dev/v1alpha1", "apiVersion: v1", 1, "must be kagents.dev/v1alpha1"),
    "a later version": ("v1alpha1", "v2", 1, "write kagents.dev/v1alpha1"),
    "a name in capitals": ("  name: report\n", "  name: Report\n", 4, "lower-case letters"),
    "no name": ("  name: report\n", "", 3, "metadata.name"),
    "a namespace with dots": ("research", "re.search", 5, "metadata.namespace"),
    "no spec": ("spec:", "specs:", 1, "spec: is missing"),
    "a misspelt onComplete": ("onComplete: deliver", "onComplete: delivr", 9, "did you mean deliver?"),
    "an unknown onComplete": ("onComplete: deliver", "onComplete: archive", 9, "it is one of create-pr"),
    "an invalid list": (
        "    delivery:\n      - name: archive\n        type",
        "    delivery:\n        name: archive\n        type",
        15,
        "not YAML",
    ),
    "a target that is text": ("      - name: chat", "      - x\n      - name: chat", 15, "must be an object"),
    "a type misspelt": ("type: slack", "type: slak", 16, "not one of webhook, slack"),
    "a type in capitals": ("type: slack", "type: Slack", 16, "did you mean slack?"),
    "a type with an underscore": ("type: slack", "type: google_drive", 16, "did you mean google-drive?"),
    "a name that YAML takes for no": ("  name: report\n", "  name: no\n", 4, "lower-case letters"),
    "a message that YAML takes for off": ('message: "{team} is ready"', "message: off", 14, "message"),
    "a message that YAML takes for y": ('message: "{team} is ready"', "message: y", 14, "message"),
    "a message that is a power": ('message: "{team} is ready"', "message: 1e3", 14, "message"),
    "no type": ("        type: slack\n", "", 15, "type: "),
    "no Secret": ("        credentialsSecret: slack\n", "", 15, "name the Secret"),
    "no address": ("        url: https://hooks.example.com/reports\n", "", 11, "give an https:// address"),
    "an address without a scheme": ("https://hooks", "hooks", 13, "start with https://"),
    "an address with a password": ("https://hooks", "https://me:word@hooks", 13, "not contain user info"),
    "a Secret's name in capitals": ("Secret: slack", "Secret: Slack", 17, "name of a Secret"),
    "a message that is a number": ('message: "{team} is ready"', "message: 5", 14, "message"),
    "a name twice": ("name: chat", "name: archive", 15, "taken by an earlier target"),
    "an onComplete that is a list": (
        "onComplete: deliver",
        "onComplete: [deliver]",
        9,
        "must be one of create-pr",
    ),
    "an empty list": (GOOD[GOOD.index("    delivery:") :], "    delivery: []\n", 10, "is empty"),
    "a key twice": ("        type: slack", "        type: slack\n        type: slack", 17, "is a duplicate"),
}

DOUBTFUL: dict[str, tuple[str, str, int, str]] = {
    "a field misspelt": ("        type: slack", "        type: slack\n        mesage: x", 17, "message?"),
    "a field of another type": (
        "        type: slack",
        "        type: slack\n        url: https://x",
        17,
        "url",
    ),
    "a placeholder misspelt": ("{team}", "{tema}", 14, "did you mean {team}?"),
    "a placeholder unknown": ("{team}", "{weather}", 14, "known are team, namespace"),
    "a stray brace": ("{team}", "{team", 14, 'a stray "{"'),
    "an address inside": ("https://hooks.example.com", "https://10.0.0.1", 13, "not public"),
    "plain http": ("https://", "http://", 13, "only https"),
    "another group": ("kagents.dev/", "teams.example.com/", 1, "of an unknown group"),
    "targets of no use": ("onComplete: deliver", "onComplete: notify", 10, "write deliver"),
}


BOMB = "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" if n else "a0: &a0 x\n" for n in range(12))
"""Some lines that expand to billions."""


def written(folder: Path, old: str, new: str) -> Path:
    assert old in GOOD
    file = folder / "team.yaml"
    file.write_text(GOOD.replace(old, new, 1))
    return file


def test_a_valid_manifest_has_no_findings(tmp_path: Path) -> None:
    assert findings_of(written(tmp_path, "x", "x")) == []


@pytest.mark.parametrize(("old", "new", "line", "says"), BROKEN.values(), ids=BROKEN)
def test_each_mistake_is_reported_with_its_line(
    tmp_path: Path, old: str, new: str, line: int, says: str
) -> None:
    file = written(tmp_path, old, new)
    wrong = [finding for finding in findings_of(file) if not finding.warning]
    assert [finding.line for finding in wrong] == [line], wrong
    assert says in wrong[0].text
    assert str(wrong[0]).startswith(f"{file}:{line}: ")


@pytest.mark.parametrize(("old", "new", "line", "says"), DOUBTFUL.values(), ids=DOUBTFUL)
def test_a_probable_mistake_is_a_warning(tmp_path: Path, old: str, new: str, line: int, says: str) -> None:
    [finding] = findings_of(written(tmp_path, old, new))
    assert (finding.warning, finding.line) == (True, line)
    assert says in finding.text
    assert ": warning: " in str(finding)


MAKERS = ("AgentTeamTemplate", "AgentTeamRun", "AgentTeamSchedule", "AgentTeamTrigger")
UNNAMED = GOOD.replace("      - name: archive\n        type", "      - type").replace(
    "      - name: chat\n        type", "      - type"
)


@pytest.mark.parametrize("kind", MAKERS)
def test_templates_and_runs_are_validated_like_teams(tmp_path: Path, kind: str) -> None:
    valid = UNNAMED.replace("kind: AgentTeam", f"kind: {kind}")
    file = tmp_path / "manifests.yaml"
    file.write_text(valid)
    assert findings_of(file) == []
    file.write_text(valid.replace("type: slack", "type: slak"))
    [finding] = findings_of(file)
    assert (finding.line, finding.warning) == (14, False)
    file.write_text(valid[: valid.index("  lifecycle")])
    assert findings_of(file) == []  # the template may have them, or the run


@pytest.mark.parametrize("kind", MAKERS)
def test_a_name_that_kubernetes_would_drop_is_a_warning(tmp_path: Path, kind: str) -> None:
    file = tmp_path / "manifests.yaml"
    file.write_text(GOOD.replace("kind: AgentTeam", f"kind: {kind}"))
    found = findings_of(file)
    assert [(finding.line, finding.warning) for finding in found] == [(11, True), (15, True)]
    assert "name: " in found[0].text


def test_every_document_of_a_file_is_validated(tmp_path: Path) -> None:
    documents = [UNNAMED.replace("kind: AgentTeam", f"kind: {kind}") for kind in MAKERS]
    broken = [document.replace("type: slack", "type: slak") for document in documents]
    file = tmp_path / "manifests.yaml"
    file.write_text("---\n".join([*documents, "apiVersion: v1\nkind: Secret\n"]))
    assert findings_of(file) == []
    file.write_text("---\n".join([*broken, "apiVersion: v1\nkind: Secret\n"]))
    length = UNNAMED.count("\n") + 1
    assert [finding.line for finding in findings_of(file)] == [14 + length * at for at in range(4)]


def test_a_file_with_only_other_kinds_is_valid(tmp_path: Path) -> None:
    file = tmp_path / "secret.yaml"
    file.write_text("apiVersion: v1\nkind: Secret\n---\napiVersion: v1\nkind: ConfigMap\n")
    [finding] = findings_of(file)
    assert finding.warning
    assert "nothing in it is checked" in finding.text


def test_documents_of_other_kinds_are_ignored(tmp_path: Path) -> None:
    file = tmp_path / "team.yaml"
    file.write_text(f"apiVersion: v1\nkind: Secret\n---\n{GOOD}---\n{GOOD.replace('webhook', 'webhok', 1)}")
    [finding] = findings_of(file)
    assert finding.line == 3 + 18 + 12


@pytest.mark.parametrize(
    "text",
    [
        "",
        "---\n",
        "- a\n",
        "5\n",
        "a: &a [*a]\n",
        "kind: AgentTeam\n",
        "? [x]\n: kind\n",
        "a: !!python/x y\n",
        BOMB,
    ],
)
def test_no_input_crashes_the_validation(tmp_path: Path, text: str) -> None:
    file = tmp_path / "team.yaml"
    file.write_text(text)
    assert findings_of(file)


def test_whatever_kubernetes_accepts_is_valid(tmp_path: Path) -> None:
    for old, new in (
        ('message: "{team} is ready"', "message: 2026-01-01"),
        ("  name: report\n  namespace", "  generateName: report-\n  namespace"),
        ("  lead: {prompt: write}", "  lead: {since: !!timestamp foo, really: !!bool foo}"),
    ):
        assert findings_of(written(tmp_path, old, new)) == []


MERGED = """\
apiVersion: kagents.dev/v1alpha1
kind: AgentTeam
metadata: {name: report}
x-chat: &chat {type: slack, credentialsSecret: slack, message: "{team}"}
x-more: &more {type: webhook, channel: "#a"}
spec:
  lifecycle:
    onComplete: deliver
    delivery:
      - <<: *chat
      - {<<: *chat, message: other, name: second}
      - <<: [*chat, *more]
        name: third
"""


def test_keys_are_merged_as_in_kubectl(tmp_path: Path) -> None:
    file = tmp_path / "team.yaml"
    file.write_text(MERGED)
    assert findings_of(file) == []
    file.write_text(MERGED.replace("type: slack", "type: slak"))
    assert [finding.text.partition(";")[2] for finding in findings_of(file)] == [" did you mean slack?"] * 3


@pytest.mark.parametrize(
    "text",
    [
        *("12:30", "2026-01-02", "1.2.3", "0b", "~x", "none", "1_a"),
        *("<<", "=", "1e400", "!!binary aGk=", "!!timestamp 2026-01-02", "!!str 12", "!own x"),
    ],
)
def test_text_in_go_s_yaml_is_text_here(tmp_path: Path, text: str) -> None:
    assert findings_of(written(tmp_path, '"{team} is ready"', text)) == []


def test_a_dash_reads_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    for text, found in ((GOOD, []), (GOOD.replace("type: slack", "type: slak"), ["-:16"])):
        monkeypatch.setattr("sys.stdin", TextIOWrapper(BytesIO(text.encode())))
        assert [str(one).partition(": ")[0] for one in findings_of(Path("-"))] == found


def test_the_items_of_a_list_are_validated(tmp_path: Path) -> None:
    file = tmp_path / "teams.yaml"
    indented = GOOD.replace("\n", "\n    ").rstrip()
    file.write_text(f"apiVersion: v1\nkind: List\nitems:\n  - {indented}\n")
    assert findings_of(file) == []
    file.write_text(file.read_text().replace("onComplete: deliver", "onComplete: delivr"))
    assert [finding.line for finding in findings_of(file)] == [3 + 9]


def test_a_finding_is_one_line_and_cannot_control_a_terminal(tmp_path: Path) -> None:
    file = written(tmp_path, "onComplete: deliver", 'onComplete: "\\e]0;x\\a\\nok.yaml:1: fake"')
    [finding] = [one for one in findings_of(file) if not one.warning]
    assert str(finding).isprintable()


def test_a_manifest_that_is_too_large_is_refused_as_a_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(manifests, "MOST", 1_000)  # the real limit takes long to parse
    target = "      - {type: webhook, url: https://hooks.example.com}\n"
    first = "      - name: archive"
    assert findings_of(written(tmp_path, first, target * 100 + first)) == []
    [finding] = findings_of(written(tmp_path, first, target * 600 + first))
    assert "too large" in finding.text


def test_an_unreadable_file_is_reported(tmp_path: Path) -> None:
    assert "No such file" in findings_of(tmp_path / "absent.yaml")[0].text
    (tmp_path / "odd.yaml").write_bytes(b"\xff\xfe")
    assert "UTF-8" in findings_of(tmp_path / "odd.yaml")[0].text
