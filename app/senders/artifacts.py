"""The files that a team lists, and the selection that a target's notification lists."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any

from app.domain.bounds import ARTIFACT_TEXT, ARTIFACTS, PICKING
from app.domain.errors import TargetError
from app.domain.reasons import Reason
from app.domain.targets import Target
from app.domain.teams import AgentTeam
from app.domain.times import UNSET_DATE, parse_time
from app.senders.envelopes import Artifact, Listing
from app.senders.patterns import WILDCARD, Pattern

SLICE = 2_000  # steps before other tasks run: about 2 ms


class Artifacts:
    """What the notifications of one event may list.

    All targets of a team together have a limit, so that no team blocks the event loop for longer than its
    share. Files that several targets select are in memory once.
    """

    def __init__(self, team: AgentTeam) -> None:
        self._team = team
        self._all: list[Artifact] | None = None
        self._encoded: list[str] = []  # each as JSON
        self._steps = 0  # so far; a step is one character compared or one file listed
        self._resting = 0  # the step count at the last pause
        self._picked: dict[str | None, Listing] = {}
        self._listed: dict[tuple[str | None, str | None], Listing] = {}
        self._listings: dict[tuple[int, ...], Listing] = {}  # by the positions of the listed files

    async def listed_for(self, target: Target) -> Listing:
        """Return what a target's notification lists: what it selects, and the file to attach.

        Raises:
            TargetError: the team lists more, or its targets select more, than one team may.
        """
        wanted = target.artifact_path, target.attached
        if wanted not in self._listed:
            self._listed[wanted] = await self._together(*wanted)
        return self._listed[wanted]

    def known_for(self, target: Target) -> Listing | None:
        """Return what a target's notification lists, where that has been found out."""
        return self._listed.get((target.artifact_path, target.attached))

    def picks_nothing(self, target: Target) -> bool:
        """Whether a target's pattern selects none of the files that the team lists."""
        return bool(self._all) and not self._picked.get(target.artifact_path, True)

    async def _together(self, pattern: str | None, attached: str | None) -> Listing:
        picked = await self._pick(pattern)
        if attached is None:
            return picked
        beside = await self._pick(attached) or (listed_itself(attached),)
        there = {one["path"] for one in picked}
        more = [one for one in beside if one["path"] not in there]
        if not more:
            return picked
        await self._walk(len(picked.json))  # the selection is copied once
        return picked.with_more(more)

    async def _pick(self, pattern: str | None) -> Listing:
        if pattern not in self._picked:
            self._picked[pattern] = await self._found(pattern)
        return self._picked[pattern]

    async def _found(self, pattern: str | None) -> Listing:
        """Return what a pattern selects: everything, an exact path, a folder, or a glob.

        If the operator writes no list, a path without wildcards is itself the list.
        """
        if self._all is None:
            self._all, self._encoded = await self._read()
        if not self._team.artifacts:
            alone = pattern and not WILDCARD.search(pattern)
            return Listing((listed_itself(pattern),) if pattern and alone else ())
        places = []
        read = Pattern(pattern) if pattern else None
        await self._walk(4 * len(pattern or ""))
        for place, artifact in enumerate(self._all):
            if read is not None:
                found, steps = read.picks(artifact["path"] or artifact["name"])
                await self._walk(steps + (sum(map(len, _texts(artifact))) if found else 0))
                if not found:
                    continue
            places.append(place)
        key = tuple(places)
        if key not in self._listings:
            chosen = [self._all[place] for place in places]
            self._listings[key] = Listing.of(chosen, [self._encoded[place] for place in places])
        return self._listings[key]

    async def _read(self) -> tuple[list[Artifact], list[str]]:
        """Return what the team lists, and each item as JSON."""
        listed = self._team.artifacts
        if len(listed) > ARTIFACTS.most:
            raise TargetError(Reason.INVALID_TARGET, f"{ARTIFACTS.what}: {ARTIFACTS.words}")
        found: list[Artifact] = []
        encoded: list[str] = []
        for said in listed:
            await self._rest(50)
            path, name, by, at = (
                _text(said.get(key)) for key in ("path", "name", "producedBy", "producedAt")
            )
            if name := name or PurePosixPath(path).name:
                at = "" if at.startswith(UNSET_DATE) and parse_time(at) is None else at
                found.append(Artifact(name=name, path=path, producedBy=by or None, producedAt=at or None))
                encoded.append(json.dumps(found[-1]))
        return found, encoded

    async def _walk(self, steps: int) -> None:
        """Count steps; let other tasks run if the last pause is long ago.

        Raises:
            TargetError: the team is over its limit.
        """
        self._steps += steps
        if self._steps > PICKING.most:
            raise TargetError(Reason.INVALID_TARGET, f"artifactPath: {PICKING.what} {PICKING.words}")
        await self._rest(steps)

    async def _rest(self, steps: int) -> None:
        self._resting += steps
        if self._resting > SLICE:
            self._resting = 0
            await asyncio.sleep(0)


def listed_itself(path: str) -> Artifact:
    """Return an artifact of which only the path is known."""
    return Artifact(name=PurePosixPath(path).name or path, path=path, producedBy=None, producedAt=None)


def _text(value: Any) -> str:
    """Return a text as it is listed; empty for any other value."""
    text = value if isinstance(value, str) else ""
    return text if len(text) <= ARTIFACT_TEXT.most else text[: ARTIFACT_TEXT.most - 1] + "…"


def _texts(artifact: Artifact) -> Iterator[str]:
    return (value for value in artifact.values() if isinstance(value, str))
