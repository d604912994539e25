"""Every block of code in the documents is what it says: read by its own language, and held against ours."""

import pytest

from tests.docs.blocks import Block, blocks, documents, words
from tests.docs.checks import Tools
from tests.docs.checks.data import problems
from tests.docs.checks.every import judged
from tests.docs.checks.kubernetes import values
from tests.docs.checks.outputs import OUTPUTS
from tests.docs.checks.words import faults_of_words, prose, unknown_values


@pytest.mark.parametrize("block", blocks(), ids=Block.at)
def test_a_block_is_what_it_says(block: Block, tools: Tools) -> None:
    assert judged(block, tools) == []


@pytest.mark.parametrize("document", documents())
def test_a_document_names_nothing_of_ours_that_is_not(document: str) -> None:
    text = documents()[document]
    found = [*prose(document, text, frozenset(problems()))]
    for block in words():
        if block.document == document:
            found += faults_of_words(block)
            found += [f"{block.at()}: {said}" for said in unknown_values(block.text, values())]
    assert found == []


def test_every_output_that_is_promised_is_shown() -> None:
    shown = {block.id for block in blocks()}
    assert set(OUTPUTS) <= shown, "take from OUTPUTS what no document shows any more"
