"""What ends a command: one sentence that says what to do next."""

import re

from app.domain.errors import DeliveryError
from app.domain.events import DNS_LABEL


class Trouble(DeliveryError):
    """The command cannot be carried out: wrong usage, or no answer. Exit code 2."""


class Away(Trouble):
    """The service gave no answer, or asks to come again: what is under way there may go on."""


class Busy(Away):
    """The service asks to come again, after `wait` seconds at the earliest."""

    def __init__(self, sentence: str, wait: float) -> None:
        super().__init__(sentence)
        self.wait = wait


class Declined(Trouble):
    """The service answers that it will not do what is asked."""


def checked(what: str, value: str, pattern: str) -> str:
    """Return a name that Kubernetes would take.

    Raises:
        Trouble: it would not.
    """
    if not re.fullmatch(pattern, value):
        of = "letters, digits and dashes" if pattern == DNS_LABEL else "letters, digits, dashes and dots"
        raise Trouble(f"{what} must be of lower-case {of}, as Kubernetes has it")
    return value
