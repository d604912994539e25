"""Errors that end a command: one sentence that says what to do."""

import re

from app.domain.errors import DeliveryError
from app.domain.events import DNS_LABEL


class Trouble(DeliveryError):
    """The command cannot be carried out: wrong usage, or no answer. Exit code 2."""


class Away(Trouble):
    """The service gave no answer, or asks to retry; deliveries that it has started continue."""


class Busy(Away):
    """The service asks to retry after at least `wait` seconds."""

    def __init__(self, sentence: str, wait: float) -> None:
        super().__init__(sentence)
        self.wait = wait


class Declined(Trouble):
    """The service refuses the request."""


def checked(what: str, value: str, pattern: str) -> str:
    """Return a name that is valid in Kubernetes.

    Raises:
        Trouble: the value is not valid.
    """
    if not re.fullmatch(pattern, value):
        of = "letters, digits and dashes" if pattern == DNS_LABEL else "letters, digits, dashes and dots"
        raise Trouble(f"{what} must consist of lower-case {of}, as Kubernetes requires")
    return value
