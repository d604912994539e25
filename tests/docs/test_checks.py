"""The checks of documents report each fault with its place, and pass valid documents."""

import pytest

from tests.docs.blocks import Block, Row, blocks, blocks_of, rows_of, words_of
from tests.docs.checks import drawings, names, runs

HERE = "docs/how-to/invented.md"


def span(text: str, document: str = HERE) -> list[str]:
    return list(names.faults_of_span(Block(document, 7, "", "Invented", text)))


def test_blocks_are_found_in_every_context() -> None:
    text = "# One\n\n- a list\n\n  ```console\n  make test\n  ```\n\n> ```json\n> {}\n> ```\n"
    text += "\n## Two\n\n~~~\nnothing\n~~~\n"
    assert list(blocks_of("a.md", text)) == [
        Block("a.md", 6, "console", "One", "make test\n"),
        Block("a.md", 10, "json", "One", "{}\n"),
        Block("a.md", 16, "", "Two", "nothing\n"),
    ]


def test_code_spans_are_found_in_paragraphs_lists_and_tables() -> None:
    text = "# A\n\nThe `one`\n\n- ``two ` ticks``\n\n| a |\n|---|\n| `three` |\n"
    assert [(word.line, word.text) for word in words_of("a.md", text)] == [
        (3, "one"),
        (5, "two ` ticks"),
        (9, "three"),
    ]


@pytest.mark.parametrize(
    ("language", "text", "says"),
    [
        ("", "make test\n", "write the block's language"),
        ("console", "kubectl get pods\n", "no test runs this block"),
        ("yaml", "a: 1\n", "no test runs this block"),
        ("text", "Done in 4 s\n", "no test runs this block"),
        ("console", "make setup\nmake tests   # all\n", "there is no target tests of make"),
        ("console", "make setup\nkubectl get pods\n", "no test runs this block"),
    ],
)
def test_a_block_that_nothing_runs_is_reported(language: str, text: str, says: str) -> None:
    found = list(runs.faults([*blocks(), Block(HERE, 7, language, "Invented", text)]))
    assert [one for one in found if one.startswith(f"{HERE}:7: ") and says in one] == found
    assert found


@pytest.mark.parametrize("text", ["make setup   # first\nmake check\n", "pip install agentteam-delivery\n"])
def test_targets_of_make_and_stated_exceptions_pass(text: str) -> None:
    assert list(runs.faults([*blocks(), Block(HERE, 7, "console", "Invented", text)])) == []


def test_a_further_block_under_a_heading_and_a_missing_one_are_reported() -> None:
    more = Block("docs/how-to/slack.md", 7, "console", "Invented", "kubectl get pods\n")
    assert list(runs.faults([*blocks(), more])) == [
        "docs/how-to/slack.md: 7 blocks, but tests run 6; extend a test, then RUNS"
    ]
    fewer = [block for block in blocks() if block.document != "docs/reference/targets.md"]
    assert list(runs.faults(fewer)) == [
        "docs/reference/targets.md: 0 blocks, but tests run 1; extend a test, then RUNS"
    ]


@pytest.mark.parametrize(
    ("test", "says"),
    [
        ("tests/absent.py::test_it", "there is no test"),
        ("tests/test_repo.py::test_absent", "there is no test"),
        (
            "tests/test_repo.py::test_every_place_has_the_same_version",
            "does not name docs/how-to/invented.md",
        ),
    ],
)
def test_a_run_by_a_wrong_test_is_reported(test: str, says: str) -> None:
    [said] = runs.faults_of_test(test, HERE, ())
    assert says in said


@pytest.mark.parametrize(
    ("text", "faults"),
    [
        (" a ──▶ b\n       │\n       ▼\n       c ▶ d\n", []),
        (" a ──▶ b\n\n       ▼\n", [f"{HERE}:9: ▼ in column 8 leads to nothing"]),
        (" ┌──▶ b\n\n a\n", [f"{HERE}:7: ┌ in column 2 leads to nothing"]),
    ],
)
def test_a_line_that_leads_to_nothing_is_reported(text: str, faults: list[str]) -> None:
    block = Block(HERE, 7, "text", "Invented", text)
    assert drawings.drawn(block)
    assert list(drawings.faults(block)) == faults


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("`agentteam_delivery_deliveries`", "there is no metric agentteam_delivery_deliveries"),
        ("rate(agentteam_delivery_atempts_total[5m])", "there is no metric agentteam_delivery_atempts_total"),
        ("set `DELIVERY_EGRES_ALLOW`", "there is no setting DELIVERY_EGRES_ALLOW"),
        ("the watcher on 8082 says it", "the watcher is not on 8082"),
        ("the service on 8081 says it", "the service is not on 8081"),
        ("`urn:agentteam-delivery:not-there`", "there is no problem not-there"),
        ("-H 'prefer: respond-asynch'", "there is no preference respond-asynch"),
        ("`Prefer: wait=soon` waits", "there is no preference wait=soon"),
    ],
)
def test_an_unknown_name_of_ours_is_reported_everywhere(line: str, says: str) -> None:
    assert list(names.faults_of_text(HERE, f"# A\n\n{line}\n")) == [f"{HERE}:3: {says}"]


def test_known_names_pass_everywhere() -> None:
    text = (
        "agentteam_delivery_target_seconds_bucket agentteam_delivery_watch_posts_total DELIVERY_TOKEN"
        " DELIVERY_SMTP_HOST DELIVERY_CRASH_AT `DELIVERY_` the watcher on 8081 `prefer: respond-async`"
        " urn:agentteam-delivery:too-busy 'Prefer: wait=7' `wait=N`; we prefer: tea"
    )
    assert list(names.faults_of_text(HERE, text)) == []


@pytest.mark.parametrize(
    ("text", "says"),
    [
        *(
            (word, f"there is no name in our code {word}")
            for word in ("SecretKeyAbsent", "claim-gone", "X-Nobody", "target_setled", "agentteamKey")
        ),
        ("settings.emial", "there is no value of the chart settings.emial"),
        ("tls.name=a", "there is no value of the chart tls.name"),
        ("app/absent.py", "there is no file app/absent.py"),
        (".venv/bin/pytest tests/absent", "there is no file tests/absent"),
        ("POST /delivery", "the API has no POST /delivery"),
        ("PUT /deliveries", "the API has no PUT /deliveries"),
        ("POST /deliveries?dry=All", "there is no parameter dry"),
        ("make tests", "there is no target of make tests"),
        ("agentteam-delivery sent", "there is no command of ours sent"),
        ("agentteam-delivery status report --follow", "there is no option of status --follow"),
        ('"redeliver": "failing"', "redeliver: Input should be 'none', 'failed' or 'all'"),
        ('"event": "team.done"', "there is no event team.done"),
        ('"answer": 418', "there is no answer 418"),
        ('"problem": "ledger-lost"', "there is no problem ledger-lost"),
        ('"reason": "Lost"', "there is no reason Lost"),
        ('"answer": nothing', "not JSON: Expecting value: line 1 column 12 (char 11)"),
        ('Secret "a" has no key "slack-webhook"; add it', "there is no key of a Secret slack-webhook"),
        ("--from-file=slack-webhook", "there is no key of a Secret slack-webhook"),
    ],
)
def test_an_unknown_name_between_back_ticks_is_reported(text: str, says: str) -> None:
    assert span(text) == [f"{HERE}:7: {says}"]


@pytest.mark.parametrize(
    "text",
    [
        *("SecretNotFound", "BudgetExceeded", "PodMonitor", "TEST", "ledger-not-kept", "team_submitted"),
        *("settings.email=smtp", "networkPolicy.callers", "spec.lifecycle", "settings.py", "workload-low"),
        *("app/domain/events.py", "tests/docs/", "GET /deliveries/…", "GET /deliveries/research/report"),
        *("agentteam-delivery deliver", "agentteam-delivery status report --watch", "make lock A=1"),
        *('"redeliver": "failed"', '"event": "team.test"', '"event": "target_settled"', '"answer": 503'),
        *('"problem": "too-busy"', '"phase": "Pending"', "--from-file=signing-secret", "made; make one"),
    ],
)
def test_known_names_between_back_ticks_pass(text: str) -> None:
    assert span(text) == []


@pytest.mark.parametrize("text", ["tls_reload_failed", "http_status", "agentteam_delivery_watch_due"])
def test_the_operators_page_names_only_events_and_fields_of_the_log(text: str) -> None:
    assert span(text, "docs/how-to/operate.md") == []
    [said] = span("grafana_dashboard", "docs/how-to/operate.md")  # of the chart, not of the log
    assert "there is no line and no field of the log" in said


@pytest.mark.parametrize(
    ("heading", "codes", "says"),
    [
        ("reason", ("SecretKeyAbsent",), "there is no reason SecretKeyAbsent"),
        ("cause", ("claim-gone",), "there is no cause claim-gone"),
        ("key", ("smtp-host", "smtp-crypt"), "there is no key smtp-crypt"),
        ("header", ("authorization", "signing-secret"), "there is no header signing-secret"),
        ("answer", ("409", "uid-mismatch"), "there is no answer uid-mismatch"),
        ("answer", ("418",), "there is no answer 418"),
        ("answer", ("404", "uid-changed"), "uid-changed is 409"),
    ],
)
def test_a_table_row_with_an_unknown_name_is_reported(
    heading: str, codes: tuple[str, ...], says: str
) -> None:
    assert list(names.faults_of_row(Row(HERE, 7, heading, codes))) == [f"{HERE}:7: {says}"]


def test_a_table_row_is_read_by_its_first_column() -> None:
    text = "# A\n\n| `Cause` | b |\n|---|---|\n| `drain` or `timeout` | `c` |\n"
    [row] = rows_of("a.md", text)
    assert row == Row("a.md", 5, "cause", ("drain", "timeout"))
    assert list(names.faults_of_row(row)) == []
