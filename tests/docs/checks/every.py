"""All checks."""

from tests.docs.blocks import Block
from tests.docs.checks import Check, Tools, console, data, http, kubernetes, languages, pictures

CHECKS: tuple[Check, ...] = (
    console.CHECK,
    kubernetes.CHECK,
    data.CHECK,
    http.CHECK,
    *languages.CHECKS,
    *pictures.CHECKS,
)


def judged(block: Block, tools: Tools) -> list[str]:
    """Yield everything that is wrong with a block, each with its place."""
    if not block.language:
        return [f"{block.at()}: a block says in which language it is; write it after the three back ticks"]
    claims = [check for check in CHECKS if check.claims(block)]
    if not claims:
        said = "write a check in tests/docs/checks, or say it in a language that has one"
        return [f"{block.at()}: nothing judges a block of {block.language}; {said}"]
    if len(claims) > 1:
        names = ", ".join(check.name for check in claims)
        return [f"{block.at()}: more than one check claims this block: {names}"]
    return list(claims[0].faults(block, tools))
