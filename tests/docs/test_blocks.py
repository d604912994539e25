"""Every block of code in the documents is valid in its language, and consistent with the code."""

from collections import Counter

import pytest

from tests.docs.blocks import Block, blocks, documents, rows, words
from tests.docs.checks import Tools, console
from tests.docs.checks.api import faults_of_api_words, faults_of_preferences, faults_of_row
from tests.docs.checks.data import problems
from tests.docs.checks.every import judged
from tests.docs.checks.kubernetes import values
from tests.docs.checks.outputs import OUTPUTS
from tests.docs.checks.words import faults_of_words, prose


@pytest.mark.parametrize("block", blocks(), ids=Block.at)
def test_a_block_is_valid(block: Block, tools: Tools) -> None:
    assert judged(block, tools) == []


@pytest.mark.parametrize("document", documents())
def test_a_document_names_nothing_of_ours_that_does_not_exist(document: str) -> None:
    found = [*prose(document, documents()[document], frozenset(problems()))]
    for block in words():
        if block.document == document:
            found += faults_of_words(block, values(), problems())
            found += faults_of_api_words(block)
    found += faults_of_preferences(document, documents()[document])
    assert found == []


@pytest.mark.parametrize("document", documents())
def test_tables_of_reasons_answers_and_causes_contain_only_existing_ones(document: str) -> None:
    assert [said for row in rows() if row.document == document for said in faults_of_row(row)] == []


@pytest.mark.parametrize("document", documents())
def test_commands_in_a_sentence_are_valid(document: str, tools: Tools) -> None:
    mine = [block for block in words() if block.document == document]
    assert [said for block in mine for said in console.faults_of_words(block, tools)] == []


def test_each_promised_output_has_a_test_that_makes_it() -> None:
    shown = Counter(
        block.id
        for block in blocks()
        if block.language == "text" or (block.language == "console" and block.text.startswith("$ "))
    )
    promised = {place: made.blocks for place, made in OUTPUTS.items()}
    assert {place: shown[place] for place in OUTPUTS} == promised, "enter in OUTPUTS how many a test makes"
