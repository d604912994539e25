"""A switch for tests only: ends the process at a named step of a delivery, like `kill -9`.

`DELIVERY_CRASH_AT=claimed` ends it when it reaches that step. Without the variable, nothing happens.
"""

import os
from functools import cache

STEPS = (
    "read",  # the team is read, nothing is claimed
    "claim-written",  # the claim is on record, its answer not yet read
    "claimed",  # the claim is known to be on record, nothing is sent
    "sending",  # about to send to a target
    "answered",  # a receiver has answered, the outcome is not on record
    "waiting",  # a target waits for its retry
    "recording",  # about to write outcomes
    "record-written",  # outcomes are on record, the answer not yet read
    "settled",  # everything is on record, the caller has no answer
)


def reach(step: str) -> None:
    """Continue, or end the process here without cleanup."""
    if step == _last():
        os._exit(70)


@cache
def _last() -> str | None:
    return os.environ.get("DELIVERY_CRASH_AT")
