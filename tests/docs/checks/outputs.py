"""Checks outputs: each belongs to a test that produces it or compares it word for word."""

import ast
from dataclasses import dataclass
from functools import cache

from tests.docs.blocks import ROOT, Block
from tests.docs.checks import Faults


@dataclass(frozen=True)
class Made:
    """Outputs that a test produces, or compares word for word."""

    test: str
    blocks: int = 1  # number of blocks


OUTPUTS: dict[tuple[str, str], Made] = {
    # By document and heading.
    ("README.md", "See it work"): Made("tests/docs/test_outputs.py::test_the_readme_shows_the_demo_s_output"),
    ("docs/how-to/email-and-google-drive.md", "Several recipients, one outcome"): Made(
        "tests/service/test_email.py::test_a_redelivery_reaches_only_recipients_without_the_mail"
    ),
    ("docs/how-to/from-notify.md", "Check the outcome"): Made(
        "tests/docs/test_guides.py::test_a_team_can_be_moved_from_notify_and_back_with_the_guide"
    ),
    ("docs/how-to/multi-tenant.md", "Check the permissions"): Made(
        "tests/docs/test_guides.py::test_tenants_have_exactly_the_access_that_the_guide_says"
    ),
    ("docs/how-to/slack.md", "Send a test"): Made(
        "tests/docs/test_guides.py::test_slack_can_be_set_up_with_the_guide"
    ),
    ("docs/how-to/slack.md", "What arrives"): Made(
        "tests/docs/test_guides.py::test_slack_can_be_set_up_with_the_guide"
    ),
    ("docs/reference/commands.md", "Example session"): Made(
        "tests/console/test_session.py::test_the_session_matches_the_commands_output"
    ),
    ("docs/reference/commands.md", "Manifests"): Made(
        "tests/docs/test_outputs.py::test_the_findings_match_validate_s_output"
    ),
    ("docs/tutorial.md", "5. Repair a failed delivery"): Made(
        "tests/docs/test_walks.py::test_the_tutorial_s_commands_print_what_it_shows", blocks=2
    ),
}


def faults_of_output(block: Block, text: str, line: int = 0) -> Faults:
    """Report an output that no test compares."""
    if block.id not in OUTPUTS:
        yield (
            f"{block.at(line)}: no test makes this output; write one, and enter it in OUTPUTS of"
            f" tests/docs/checks/outputs.py under {block.id!r}"
        )
        return
    yield from (
        f"{block.at(line)}: {fault}" for fault in faults_of_test(OUTPUTS[block.id].test, block.document, text)
    )


def faults_of_test(test: str, document: str, text: str) -> list[str]:
    """Report why a test does not compare a text: it is absent, or names neither the document nor the text."""
    file, _, name = test.partition("::")
    if not (ROOT / file).is_file() or name not in tests_of(file):
        return [f"the test {test} that should make it does not exist"]
    source = (ROOT / file).read_text()
    file_name = document.rpartition("/")[2]
    names = any(name in source for name in (document, file_name, f'"{file_name.removesuffix(".md")}"'))
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not names and not all(line in source for line in lines):
        return [f"the test {test} names neither {document} nor these words"]
    return []


@cache
def tests_of(file: str) -> frozenset[str]:
    """Return the tests of a file."""
    tree = ast.parse((ROOT / file).read_text())
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, kinds))
