"""What ends a command: one sentence that says what to do next."""

from app.errors import DeliveryError


class Trouble(DeliveryError):
    """The command cannot be carried out: wrong usage, or no answer. Exit code 2."""
