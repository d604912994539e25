"""Matches the entries of `status.delivery[]` to their targets. Pure.

An entry with a `name` belongs to the target of that name. If the name is only a position (`webhook-0`), type
and label must agree too, because another target may have moved there. If a typed write removed the field, the
name is read from the mark.

An entry without a name, as the operator's CRD keeps them, belongs to the target at its position if type and
label agree; otherwise to the first target of that type and label without an entry; otherwise to none. Among
targets that look alike, those that are notified of the team's phase come first, because the others have no
entry. A name that is no longer in the spec counts as absent if a target without a name is left, because a
typed write may have removed the name from the spec. A target that cannot be read has no label; an entry of
the operator, which may have sent to it, belongs to it if no other target fits.
"""

from collections import Counter, defaultdict, deque
from collections.abc import Collection, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from propcache.api import cached_property

from app.domain.marks import id_hinted_at, name_in
from app.domain.receipts import Entry, Receipt, read_entry
from app.domain.targets import (
    InvalidTarget,
    Target,
    UniqueName,
    given_names,
    is_notified,
    is_place,
    labels_of,
    read_targets,
    type_of,
    unique_names,
)
from app.domain.text import readable

Entries = list[Mapping[str, Any]]
LANDED = ("type", "target")
"""All that an entry says of its target after a delivery and a typed write."""

Kinds = Mapping[str, Sequence[tuple[str, str]]]
"""Targets by name: the types and labels that their entries may have."""


@dataclass(frozen=True)
class Line:
    """One entry of the list."""

    entry: Mapping[str, Any]
    name: str = ""
    """The name of its target; empty if it belongs to none."""

    @cached_property
    def receipt(self) -> Receipt:
        """The receipt in the entry, under the name of its target."""
        receipt = read_entry(self.entry)
        return receipt if receipt.name == self.name else receipt.changed(name=self.name)

    @property
    def key(self) -> str:
        """The target's name, or the id of our message to a target that has left the spec."""
        return self.name or self.receipt.id or ""

    @property
    def done(self) -> bool:
        """Whether the entry is obviously delivered; most are, and need no further parsing."""
        said = self.entry.get("phase", None if self.entry.get("id") else "Delivered")
        return self.entry.get("success") is True and said == "Delivered" and not self.entry.get("error")


class Listed(list[Any]):
    """`spec.lifecycle.delivery[]` as it is, and what follows from it, each computed once."""

    @cached_property
    def targets(self) -> list[Target | InvalidTarget]:
        """What it says, entry by entry."""
        targets = read_targets(self, self._named)
        for target, labels in zip(targets, self.labels, strict=True):
            if not isinstance(target, InvalidTarget):
                target.__dict__["address"] = labels[0]  # the same, and known
        return targets

    @cached_property
    def labels(self) -> list[tuple[str, ...]]:
        """The labels under which each entry may be recorded; the first is the one that we write."""
        return list(map(labels_of, self))

    @cached_property
    def names(self) -> list[str]:
        """The names under which the targets are recorded, in order; no entry is validated for them."""
        return [name for name, _ in self._named]

    @cached_property
    def _named(self) -> list[UniqueName]:
        return list(unique_names(self))

    @cached_property
    def given(self) -> set[str]:
        """The names that its author gave."""
        return given_names(self)

    @cached_property
    def kinds(self) -> dict[str, list[tuple[str, str]]]:
        """What an entry may say of a target that can be sent to: its type and a label; theirs is last."""
        return {
            name: [(type_of(entry), label) for label in labels]
            for name, entry, labels in zip(self.names, self, self.labels, strict=True)
        }


class Record:
    """A team's record: its lines, and the target of each.

    `phase`: the terminal phase of the team. If it is empty, the team has not finished, and all targets count
    alike.
    """

    def __init__(self, spec: Sequence[Any], entries: Sequence[Mapping[str, Any]], *, phase: str = "") -> None:
        self._spec = spec if isinstance(spec, Listed) else Listed(spec)
        self._phase = phase
        self.lines = self._lines(_without_copies(entries))

    @cached_property
    def by_key(self) -> dict[str, Line]:
        """The lines by key; the first of several with one key counts."""
        found: dict[str, Line] = {}
        for line in self.lines:
            if key := line.key:
                found.setdefault(key, line)
        return found

    @property
    def targets(self) -> list[Target | InvalidTarget]:
        """What the spec says, entry by entry."""
        return self._spec.targets

    @property
    def names(self) -> list[str]:
        """The targets' names, in the order of the spec."""
        return self._spec.names

    @property
    def receipts(self) -> list[Receipt]:
        """The receipts of the lines, in order; the first of several with one key."""
        return [line.receipt for line in self.lines if self._counts(line)]

    @property
    def all_settled(self) -> bool:
        """Whether every recorded target is settled."""
        return all(line.done or line.receipt.settled for line in self.lines if self._counts(line))

    def _counts(self, line: Line) -> bool:
        return self.by_key.get(line.key, line) is line

    def is_new(self, name: str, *, adopt: bool) -> bool:
        """Whether nobody has sent to a target yet; with `adopt`, also if only another program failed to."""
        line = self.by_key.get(name)
        return line is None or (adopt and not line.done and line.receipt.adoptable)

    def written(self, changes: Mapping[str, Receipt]) -> Entries:
        """Return the list with these receipts in the positions of their keys.

        One entry per target in the order of the spec; entries without a target follow, unchanged.
        """
        first = self.by_key
        mine = [first[name] for name in self.names if name in first]
        entries = [
            _written(changes[name], name) if name in changes else first[name].entry
            for name in self.names
            if name in changes or name in first
        ]
        known = set(map(id, mine))
        for line in self.lines:
            if id(line) in known:
                continue
            key = line.key
            changed = changes.get(key) if first.get(key) is line else None
            entries.append(line.entry if changed is None else _written(changed, line.name))
        return entries

    def like(self, kind: str, label: str) -> int:
        """Return how many lines have a type and label, whatever their target."""
        return self._alike[kind, label] if self.lines else 0

    @cached_property
    def _alike(self) -> Counter[tuple[str, str]]:
        said = ((line.entry.get("type"), line.entry.get("target", "")) for line in self.lines)
        return Counter(
            (kind, label) for kind, label in said if isinstance(kind, str) and isinstance(label, str)
        )

    def reads_back(self, changes: Mapping[str, Receipt], entries: Entries) -> bool:
        """Whether every entry would still match its target if all names were removed from the changed list.

        `entries` is that list, as `written` returns it. Only targets that share type and label with another
        can be ambiguous.
        """
        written = [(str(entry.get("type")), str(entry.get("target", ""))) for entry in entries]
        if self._in_place(changes, written):
            return True
        known = [kind for some in self._spec.kinds.values() for kind in set(some)]
        if all(len(set(some)) == len(some) for some in (known, written)) and all(
            label for _, label in written
        ):
            return True
        stripped = [{key: one.get(key) for key in LANDED if key in one} for one in entries]
        names = [name for name in self.names if name in changes or name in self.by_key]
        return [one.name for one in self._lines(stripped)] == names + [""] * (len(entries) - len(names))

    def _in_place(self, changes: Mapping[str, Receipt], written: Sequence[tuple[str, str]]) -> bool:
        """Whether every target is valid and has an entry, in its place."""
        targets = zip(self.targets, self._spec.labels, written, strict=False)
        return len(written) >= len(self._spec) and all(
            (target.name in changes or target.name in self.by_key)
            and kind == target.type
            and label in labels
            and not isinstance(target, InvalidTarget)
            for target, labels, (kind, label) in targets
        )

    def _lines(self, entries: Sequence[Mapping[str, Any]]) -> list[Line]:
        if not entries:
            return []
        given = self._spec.given
        names = [_name(entry, given) for entry in entries]
        if not given.issuperset(names):
            names = self._matched(entries, names, given)
        return [Line(entry, name or "") for entry, name in zip(entries, names, strict=True)]

    def _matched(
        self, entries: Sequence[Mapping[str, Any]], names: list[str | None], given: Container[str]
    ) -> list[str | None]:
        """Match the entries that go by their places."""
        targets, known = self.names, self._spec.kinds
        matching = _Matching(entries, names)
        matching.place_by_place([entry.get("name", "") for entry in entries], known)
        told = {
            name
            for name, entry in zip(targets, self._spec, strict=True)
            if not self._phase or is_notified(entry, self._phase)
        }
        if "" in matching.found:  # seldom where names are kept, so that no target has to be read
            invalid = [target for target in self.targets if isinstance(target, InvalidTarget)]
            ours = {**known, **{target.name: [(target.type, "")] for target in invalid}}
            operators = {target.name: known[target.name][-1:] for target in invalid}
            for labels in (ours, operators):
                matching.match(targets, labels, first=told)
        if gone := matching.without(targets):
            unnamed = {name: its for name, its in known.items() if name not in given}
            matching.match(targets, unnamed, first=told)
            matching.fill(gone)
        return matching.found


def _written(receipt: Receipt, name: str) -> Entry:
    return (receipt if receipt.name == name else receipt.changed(name=name)).to_wire()


def _without_copies(entries: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
    """Remove entries of ours whose id an earlier entry has: somebody copied them by hand.

    A copy could match the target's twin, which would then get a message with the same id. A copy under
    another name stays: it is the entry of the target of that name.
    """
    hints = [entry.get("id") or id_hinted_at(entry.get("error")) for entry in entries]
    said = [hint for hint in hints if hint and isinstance(hint, str)]
    if len(set(said)) == len(said):
        return entries
    names: dict[str, str] = {}
    kept = []
    for entry in entries:
        receipt = read_entry(entry)
        first = names.get(receipt.id or "")
        if first is None or receipt.name not in {"", first}:
            kept.append(entry)
        if receipt.id:
            names.setdefault(receipt.id, receipt.name)
    return kept


def _name(entry: Mapping[str, Any], given: Container[str]) -> str | None:
    """Return the name in an entry; empty if it goes by position, None if its name is not text.

    An entry without a label can be matched by its name only.
    """
    name = entry.get("name")
    if name is None:
        name = name_in(entry.get("error"))
        if not name:
            return ""
    if not (isinstance(name, str) and readable(name) and name):
        return None
    by_place = name not in given and is_place(name, entry.get("type")) and entry.get("target")
    return "" if by_place else name


class _Matching:
    """The names of the targets of all entries: found, open (empty), or none (None)."""

    def __init__(self, entries: Sequence[Mapping[str, Any]], names: list[str | None]) -> None:
        self.found = list(names)
        self._kinds = [(entry.get("type"), entry.get("target", "")) for entry in entries]
        self._taken = {name for name in names if name}

    def match(self, targets: Sequence[str], kinds: Kinds, *, first: Container[str]) -> None:
        """Match each open entry with the target at its position, or with the first free target."""
        before = {name: its for name, its in kinds.items() if name in first}
        for some in (kinds,) if len(before) == len(kinds) else (before, kinds):
            self.place_by_place(targets, some)
            self.first_free(some)

    def without(self, targets: Collection[str]) -> dict[int, str]:
        """Open the entries whose name no target has; return these names by position."""
        known = {*targets}
        gone = {place: name for place, name in enumerate(self.found) if name and name not in known}
        for place in gone:
            self.found[place] = ""
        return gone

    def fill(self, names: Mapping[int, str]) -> None:
        """Assign these names to the entries that are still open."""
        for place, name in names.items():
            self.found[place] = self.found[place] or name

    def place_by_place(self, names: Iterable[Any], kinds: Kinds) -> None:
        """Match the entry at each position with the target of that name, if type and label agree."""
        for place, name in enumerate(names):
            is_open = place < len(self.found) and self.found[place] == "" and name not in self._taken
            if is_open and self._kinds[place] in kinds.get(name, ()):
                self._match(place, name)

    def first_free(self, kinds: Kinds) -> None:
        """Match each entry with the first free target of its type and label."""
        free: defaultdict[tuple[str, str], deque[str]] = defaultdict(deque)
        for name, its in kinds.items():
            for said in dict.fromkeys(its):
                free[said].append(name)
        for place, (kind, label) in enumerate(self._kinds):
            if self.found[place] != "" or not (isinstance(kind, str) and isinstance(label, str)):
                continue
            candidates = free.get((kind, label), deque())
            while candidates and candidates[0] in self._taken:
                candidates.popleft()
            if candidates:
                self._match(place, candidates.popleft())

    def _match(self, place: int, name: str) -> None:
        self.found[place] = name
        self._taken.add(name)
