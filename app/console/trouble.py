"""What ends a command: one sentence that says what to do next."""

import re

from app.domain.errors import DeliveryError


class Trouble(DeliveryError):
    """The command cannot be carried out: wrong usage, or no answer. Exit code 2."""


class Away(Trouble):
    """The service gave no answer, or asks to come again: what is under way there may go on."""


def checked(what: str, value: str, pattern: str) -> str:
    """Return a name that Kubernetes would take.

    Raises:
        Trouble: it would not.
    """
    if not re.fullmatch(pattern, value):
        raise Trouble(f"{what} must be of lower-case letters, digits and dashes, as Kubernetes has it")
    return value
