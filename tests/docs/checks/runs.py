"""Which tests run the documents' blocks, and which commands none can run."""

import ast
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache

from tests.docs.blocks import ROOT, Block
from tests.docs.checks.drawings import drawn
from tests.docs.checks.names import targets

GUIDES, WALKS = (f"tests/docs/test_{name}.py::test_" for name in ("guides", "walks"))
OPERATE = "tests/operations/test_runbook.py::test_"
CLIENTS = "tests/clients/test_clients.py::test_the_guides_examples_print_outcomes_and_errors"


@dataclass(frozen=True)
class Run:
    """Tests that run blocks, apply them, or compare them with what the programs print."""

    blocks: int  # how many, so that a new block under the same heading is not taken for one that runs
    tests: tuple[str, ...]
    words: tuple[
        str, ...
    ] = ()  # one of them names the document in the file of each test, if not its own name


def by(blocks: int, *tests: str, words: tuple[str, ...] = ()) -> Run:
    return Run(blocks, tests, words)


RUNBOOK: dict[str, Run] = {
    # By heading.
    "AgentTeamDeliveryFailing": by(
        2,
        f"{OPERATE}the_reason_for_a_denied_slack_url_is_found",
        f"{OPERATE}a_caller_gets_the_missing_permission_and_redelivers",
    ),
    "AgentTeamDeliveryReceiverAway": by(
        1, f"{OPERATE}receivers_that_are_down_and_targets_given_up_are_found"
    ),
    "AgentTeamDeliveryGivenUp": by(1, f"{OPERATE}receivers_that_are_down_and_targets_given_up_are_found"),
    "AgentTeamDeliveryNotRecorded": by(1, f"{OPERATE}a_delivery_whose_record_failed_is_found"),
    "AgentTeamDeliveryWatcherBehind": by(1, f"{OPERATE}a_service_that_does_not_answer_is_found"),
    "AgentTeamDeliveryUndelivered": by(1, f"{OPERATE}a_service_that_does_not_answer_is_found"),
    "status.delivery stays empty": by(3, f"{OPERATE}a_team_without_on_complete_deliver_is_found"),
    "A target stays Pending": by(1, f"{OPERATE}the_holder_of_a_pending_target_is_found"),
    "Every Slack target says EgressDenied": by(1, f"{OPERATE}the_reason_for_a_denied_slack_url_is_found"),
    "A team was notified twice": by(
        1, f"{OPERATE}an_unanswered_attempt_is_distinguished_from_a_second_delivery"
    ),
    "A certificate of your own certificate authority is refused": by(
        1, f"{OPERATE}a_certificate_authority_s_key_identifiers_are_shown"
    ),
    "A caller is answered 401 or 403": by(1, f"{OPERATE}a_caller_gets_the_missing_permission_and_redelivers"),
    "Who redelivered this?": by(1, f"{OPERATE}the_commands_to_troubleshoot_find_a_failure_and_its_end"),
    "Wait for a delivery": by(3, f"{OPERATE}the_commands_to_troubleshoot_find_a_failure_and_its_end"),
    "Traces": by(1, f"{WALKS}targets_for_email_and_google_drive_are_set_up_as_their_guide_says"),
}

RUNS: dict[str, Run] = {
    # By document, or by document and heading.
    "README.md#agentteam-delivery": by(1, f"{WALKS}the_record_in_the_readme_is_what_kubectl_prints"),
    "README.md#See it work": by(1, "tests/test_demo.py::test_the_demo_shows_each_outcome_as_the_readme_does"),
    "README.md#From an empty cluster to delivered": by(
        1, f"{WALKS}the_readme_s_five_commands_end_with_a_delivery"
    ),
    "README.md#From source": by(1, f"{WALKS}the_readme_s_five_commands_end_with_a_delivery"),
    "README.md#Ask for delivery": by(1, f"{WALKS}the_record_in_the_readme_is_what_kubectl_prints"),
    "README.md#Call it": by(1, f"{WALKS}a_call_is_answered_and_a_webhook_gets_what_its_reference_shows"),
    "charts/agentteam-delivery/README.md": by(
        9, f"{WALKS}the_chart_is_installed_and_upgraded_as_its_readme_says"
    ),
    "docs/explanation/security.md#Permissions": by(
        3,
        "tests/chart/test_rendering.py::test_the_permissions_are_those_in_the_documentation",
        f"{WALKS}a_caller_gets_the_permission_that_the_security_page_grants",
    ),
    "docs/how-to/beside-the-operator.md": by(
        7,
        "tests/chart/test_crd_patch.py::test_a_patch_is_idempotent_and_its_counterpart_removes_it",
        f"{WALKS}targets_are_listed_and_values_taken_as_the_operator_s_guide_says",
    ),
    "docs/how-to/call-from-go.md": by(1, CLIENTS, words=("call-from-",)),
    "docs/how-to/call-from-java.md": by(1, CLIENTS, words=("call-from-",)),
    "docs/how-to/call-from-python.md": by(1, CLIENTS, words=("call-from-",)),
    "docs/how-to/call-from-rust.md": by(1, CLIENTS, words=("call-from-",)),
    "docs/how-to/call-from-typescript.md": by(2, CLIENTS, words=("call-from-",)),
    "docs/how-to/email-and-google-drive.md": by(
        7,
        "tests/service/test_email.py::test_a_redelivery_reaches_only_recipients_without_the_mail",
        f"{WALKS}targets_for_email_and_google_drive_are_set_up_as_their_guide_says",
        words=("accepted for 2 of 3; refused: cid@example.com (550 5.1.1 no such mailbox)",),
    ),
    "docs/how-to/from-a-controller.md": by(5, f"{GUIDES}a_controller_gets_access_with_the_guide_s_objects"),
    "docs/how-to/from-notify.md": by(7, f"{GUIDES}a_team_can_be_moved_from_notify_and_back_with_the_guide"),
    "docs/how-to/in-cluster-receivers.md": by(
        7,
        f"{GUIDES}the_guide_s_commands_give_what_it_says",
        f"{GUIDES}the_values_open_only_what_the_guide_says",
        f"{WALKS}the_chart_is_installed_and_upgraded_as_its_readme_says",
    ),
    "docs/how-to/multi-tenant.md": by(
        11,
        f"{GUIDES}tenants_have_exactly_the_access_that_the_guide_says",
        f"{WALKS}the_chart_is_installed_and_upgraded_as_its_readme_says",
    ),
    **{f"docs/how-to/operate.md#{heading}": run for heading, run in RUNBOOK.items()},
    "docs/how-to/run-from-a-checkout.md": by(3, f"{WALKS}a_checkout_runs_as_its_guide_says"),
    "docs/how-to/slack.md": by(6, f"{GUIDES}slack_can_be_set_up_with_the_guide"),
    "docs/how-to/troubleshoot.md": by(8, f"{OPERATE}the_commands_to_troubleshoot_find_a_failure_and_its_end"),
    "docs/how-to/webhook.md": by(
        9,
        f"{GUIDES}the_guide_describes_the_receiver_s_behaviour",
        f"{GUIDES}a_webhook_can_be_set_up_and_its_key_rotated_with_the_guide",
    ),
    "docs/reference/commands.md#Example session": by(
        1, "tests/console/test_session.py::test_the_session_matches_the_commands_output"
    ),
    "docs/reference/commands.md#Manifests": by(
        1, "tests/docs/test_outputs.py::test_the_findings_match_validate_s_output"
    ),
    "docs/reference/targets.md": by(
        1, f"{WALKS}a_call_is_answered_and_a_webhook_gets_what_its_reference_shows"
    ),
    "docs/tutorial.md": by(17, f"{WALKS}the_tutorial_s_commands_print_what_it_shows"),
    "samples/README.md": by(1, f"{WALKS}a_call_is_answered_and_a_webhook_gets_what_its_reference_shows"),
}

STATED: dict[str, str] = {
    # What begins a command that no test runs as it is, and why.
    "pip install ": "the first release is not out; tests/release installs its wheel",
    "du -sm alone": "needs that installation; tests/release measures its own",
    "kubectl port-forward ": "needs a pod; tests/pods redelivers through one",
    "helm test ": "needs pods; tests/pods runs it",
    'PATH="$PWD/.venv/bin:$PATH" clients/generate ': "as the next line says",
    "clients/generate ": "tests/clients generates each client once, in a copy of the folder",
    "DELIVERY_URL=https://agentteam-delivery.": (
        "calls a cluster; tests/clients runs the same program with the same variables"
    ),
}
"""A block that also has other commands needs a test, which runs those."""


def place(block: Block) -> str:
    """Return the place by which `RUNS` knows a block."""
    heading = f"{block.document}#{block.title}"
    return heading if heading in RUNS else block.document


def commands(text: str) -> list[str]:
    """Return the lines of a block, each with those that continue it."""
    return [line for line in text.replace("\\\n", "").splitlines() if line.strip()]


def excused(block: Block) -> bool:
    """Whether each command of a block is one that no test can run, or makes a target that there is."""
    return block.language == "console" and all(
        line.startswith(tuple(STATED)) or re.split(r"[\s#]+", line)[:1] == ["make"]
        for line in commands(block.text)
    )


def faults(shown: Iterable[Block]) -> Iterator[str]:
    """Report blocks that nothing runs, and tests that do not exist or do not name their document."""
    counted = Counter[str]()
    for block in shown:
        named = set(re.findall(r"^make ([\w-]+)", block.text, re.MULTILINE))
        yield from (f"{block.at()}: there is no target {name} of make" for name in sorted(named - targets()))
        if not block.language:
            yield f"{block.at()}: write the block's language after the three back ticks"
        elif block.language == "{toctree}" or excused(block):
            continue  # Sphinx fails on an entry without its page
        elif place(block) in RUNS:
            counted[place(block)] += 1
        elif not drawn(block):
            yield f"{block.at()}: no test runs this block; write one, and add it to RUNS in {__name__}"
    for name, run in RUNS.items():
        if counted[name] != run.blocks:
            yield f"{name}: {counted[name]} blocks, but tests run {run.blocks}; extend a test, then RUNS"
        yield from (
            f"{name}: {said}"
            for test in run.tests
            for said in faults_of_test(test, name.partition("#")[0], run.words)
        )


def faults_of_test(test: str, document: str, words: tuple[str, ...]) -> Iterator[str]:
    """Report a test that does not exist, or whose file does not name the document."""
    file, _, name = test.partition("::")
    base = document.rpartition("/")[2]
    if not (ROOT / file).is_file() or name not in _tests(file):
        yield f"there is no test {test}"
    elif not any(said in _source(file) for said in (base, f'"{base.removesuffix(".md")}"', *words)):
        yield f"the file of {test} does not name {document}"


@cache
def _source(file: str) -> str:
    """Return a test's file, with that of the fixtures beside it."""
    fixtures = (ROOT / file).with_name("conftest.py")
    return (ROOT / file).read_text() + (fixtures.read_text() if fixtures.is_file() else "")


@cache
def _tests(file: str) -> frozenset[str]:
    """Return the tests of a file."""
    nodes = ast.walk(ast.parse((ROOT / file).read_text()))
    return frozenset(node.name for node in nodes if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)))
