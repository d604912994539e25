"""A test runs every block of code in the documents, and the documents name only what exists."""

import pytest

from tests.docs.blocks import Block, blocks, documents, rows, words
from tests.docs.checks import drawings, names, runs


def test_a_test_runs_every_block() -> None:
    assert list(runs.faults(blocks())) == []


@pytest.mark.parametrize("block", [one for one in blocks() if drawings.drawn(one)], ids=Block.at)
def test_the_lines_of_a_drawing_lead_somewhere(block: Block) -> None:
    assert list(drawings.faults(block)) == []


def test_the_documents_name_only_what_exists() -> None:
    found = [said for name, text in documents().items() for said in names.faults_of_text(name, text)]
    found += [said for word in words() for said in names.faults_of_span(word)]
    assert found == []


def test_tables_of_closed_sets_contain_no_other_words() -> None:
    assert [said for row in rows() for said in names.faults_of_row(row)] == []
