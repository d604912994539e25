"""The fake API's memory: objects, one revision counter for all, and the history that watches read."""

import asyncio
import bisect
import contextlib
from collections.abc import Callable
from typing import Any, NamedTuple

Document = dict[str, Any]
Kind = tuple[str, str]
"""Group and plural of a resource."""


class Change(NamedTuple):
    """The change of one object at one revision."""

    revision: int
    type: str
    kind: Kind
    document: Document


class Store:
    """Documents by kind, namespace and name. A stored document is never changed in place, only replaced."""

    def __init__(self) -> None:
        self.revision = self.compacted = 1000  # changes before `compacted` are dropped
        self.history: list[Change] = []
        self._documents: dict[Kind, dict[tuple[str, str], Document]] = {}
        self._news = asyncio.Event()

    def get(self, kind: Kind, namespace: str, name: str) -> Document | None:
        return self._documents.get(kind, {}).get((namespace, name))

    def before(self, changes: int) -> Callable[[Kind, str, str], Document | None]:
        """Return `get` as it was before the last changes."""
        known = {(one.kind, *place(one.document)): one for one in self.history[:-changes]}

        def get(kind: Kind, namespace: str, name: str) -> Document | None:
            last = known.get((kind, namespace, name))
            return None if last is None or last.type == "DELETED" else last.document

        return get

    def select(self, kind: Kind, namespace: str) -> list[Document]:
        """Return the documents of one namespace, or of all, in the order of their keys."""
        places = sorted(self._documents.get(kind, {}).items())
        return [document for (home, _), document in places if namespace in {"", home}]

    def put(self, kind: Kind, document: Document) -> Document:
        """Add a document, or replace the one with its key."""
        documents = self._documents.setdefault(kind, {})
        stored = self._record("MODIFIED" if place(document) in documents else "ADDED", kind, document)
        documents[place(stored)] = stored
        return stored

    def remove(self, kind: Kind, document: Document) -> None:
        del self._documents[kind][place(document)]
        self._record("DELETED", kind, document)

    def remove_all(self, *, kind: Kind | None = None, namespace: str = "") -> None:
        """Remove everything of a kind, or in a namespace."""
        for other in [kind] if kind else list(self._documents):
            for document in self.select(other, namespace):
                if place(document)[0]:
                    self.remove(other, document)

    def compact(self) -> None:
        """Drop the history."""
        self.revision += 1
        self.compacted = self.revision

    def position(self, revision: int) -> int:
        """Return the position in the history at which the changes after a revision begin."""
        return bisect.bisect_right(self.history, revision, key=lambda change: change.revision)

    def wake(self) -> None:
        """Wake everyone who waits for changes."""
        self._news.set()
        self._news = asyncio.Event()

    async def news(self, seconds: float) -> bool:
        """Wait for a change; return whether one came in time."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                return await self._news.wait()
        return False

    def _record(self, change: str, kind: Kind, document: Document) -> Document:
        self.revision += 1
        metadata = document["metadata"] | {"resourceVersion": str(self.revision)}
        stored = document | {"metadata": metadata}
        self.history.append(Change(self.revision, change, kind, stored))
        self.wake()
        return stored


def place(document: Document) -> tuple[str, str]:
    """Namespace and name of a document; a cluster-wide one has the namespace ``""``."""
    return document["metadata"].get("namespace", ""), document["metadata"]["name"]
