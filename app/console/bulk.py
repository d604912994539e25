"""Many teams at once: read their records, and redeliver failed targets."""

import re
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta

from app.console.client import Client, Document
from app.console.following import followed, next_try
from app.console.trouble import Away, Busy, Declined, Trouble

SPAN = re.compile(r"(\d{1,6})(s|m|h|d)")
UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
LEAST_WAIT = 0.5  # seconds before a request to a busy service is repeated
MOST_ASKED = 10  # requests per team to a busy service

Tell = Callable[[str], None]


def since(text: str | None) -> str | None:
    """Return the time `6h` or `30m` ago, in the API's format.

    Raises:
        Trouble: the text is not a time span.
    """
    if text is None:
        return None
    found = SPAN.fullmatch(text)
    if found is None:
        raise Trouble("--since: must be a number with s, m, h or d, such as 90m, 6h or 2d")
    span = timedelta(**{UNITS[found[2]]: int(found[1])})
    return (datetime.now(UTC) - span).isoformat(timespec="seconds").replace("+00:00", "Z")


def described(teams: Iterable[Document]) -> str:
    """Say how many targets of how many teams these are, and why they failed."""
    teams = list(teams)
    reasons = Counter(target.get("reason") or "-" for team in teams for target in team["targets"])
    said = ", ".join(f"{reason} {number}" for reason, number in reasons.most_common())
    targets = reasons.total()
    return (
        f"{targets} target{'s' if targets != 1 else ''} of {len(teams)} team{'s' if len(teams) != 1 else ''}"
        f"{f': {said}' if said else ''}"
    )


def redelivered(
    client: Client, teams: list[Document], *, rate: float, seconds: float, tell: Tell
) -> Iterator[Document]:
    """Redeliver to each team's targets, at `rate` teams per second, and yield each report once it is settled.

    A report has a `note` if the team was refused, or its delivery continues without this command.
    """
    asked: list[tuple[Document, list[str]]] = []
    began = time.monotonic()
    for number, team in enumerate(teams):
        time.sleep(max(0.0, began + number / rate - time.monotonic()))
        names = [target["name"] for target in team["targets"]]
        try:
            asked.append((_post(client, team, names), names))
        except (Declined, Busy) as refused:
            yield {**team, "phase": "Failed", "note": f"not sent: {refused}"}
        except Away as away:
            yield {**team, "phase": "Pending", "note": f"unknown whether it was sent: {away}"}
        tell(f"{number + 1} of {len(teams)} teams submitted")
    ends = time.monotonic() + seconds
    for number, (report, names) in enumerate(asked):
        left = max(0.0, ends - time.monotonic())
        try:
            latest = followed(client, _latest(client, report), seconds=left, show=lambda _: None)
            note = _note(latest)
        except (Declined, Away) as error:  # the team or the service is gone by now
            latest, note = report, f"outcome unknown: {error}"
        chosen = [target for target in latest["targets"] if target["name"] in names]
        tell(f"{number + 1} of {len(asked)} teams settled")
        yield {**latest, "targets": chosen, "note": note}


def _post(client: Client, team: Document, names: list[str]) -> Document:
    """Submit a team; if the service is busy, try again when it says."""
    event = {
        "namespace": team["namespace"],
        "team": team["team"],
        "uid": team["uid"],
        "redeliver": "failed",
        "targets": names,
    }
    for _ in range(MOST_ASKED):
        try:
            return client.post(event, prefer="respond-async")
        except Busy as busy:
            time.sleep(max(busy.wait, LEAST_WAIT))
    return client.post(event, prefer="respond-async")


def _latest(client: Client, report: Document) -> Document:
    """Read a pending record again: most targets settle while other teams are submitted."""
    if report["phase"] != "Pending" or next_try(report) is not None:
        return report
    try:
        return client.read(report["namespace"], report["team"])
    except Away:
        return report  # the command waits for it while there is time


def _note(report: Document) -> str:
    if report["phase"] != "Pending":
        return ""
    at = next_try(report)
    return f"postponed: next try at {at}" if at else "not settled yet; the delivery continues"
