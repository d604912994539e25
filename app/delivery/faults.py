"""A switch for tests only: ends the process, like `kill -9`, at a named step of a delivery.

`DELIVERY_CRASH_AT=claimed` ends it when that step is reached; without the variable every step is passed.
"""

import os
from functools import cache

STEPS = (
    "read",  # the team is read, nothing is claimed
    "claim-written",  # the claim is on record, its answer not looked at
    "claimed",  # the claim is known to be on record, nothing is sent
    "sending",  # about to send to a target
    "answered",  # a receiver has answered, the outcome is not on record
    "waiting",  # a target waits to be tried again
    "recording",  # about to write outcomes
    "record-written",  # outcomes are on record, the answer not looked at
    "settled",  # everything is on record, the caller has no answer
)


def reach(step: str) -> None:
    """Pass the step, or end here and now, without a clean-up."""
    if step == _last():
        os._exit(70)


@cache
def _last() -> str | None:
    return os.environ.get("DELIVERY_CRASH_AT")
