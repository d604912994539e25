"""Matches the entries of `status.delivery[]` to their targets. Pure.

An entry with a `name` is that target's; one that only says a place (`webhook-0`), as long as type and label
agree, for another target may have come to stand there. Where a typed write took the field away, the name is
read from the mark.

An entry without, as the operator's CRD keeps them, belongs to the target in its place when type and label
agree, else to the first target of that type and label that has none, else to nobody. Of targets that are
alike, those that are notified of the team's ending come first: the others have no entry. A name that the spec
no longer has counts as none where a target without a name is left, for a typed write may have taken it out of
the spec. A target that cannot be read has no label; the operator's, which may have sent to it, is its own
where no other target is meant.
"""

from collections import Counter, defaultdict, deque
from collections.abc import Collection, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from app.domain.marks import id_hinted_at, name_in
from app.domain.receipts import Entry, Receipt, read_entry
from app.domain.targets import (
    InvalidTarget,
    Target,
    given_names,
    is_place,
    labels_of,
    read_targets,
    target_names,
    told_of,
    type_of,
)
from app.domain.text import readable

Entries = list[Mapping[str, Any]]
LANDED = ("type", "target")
"""All that an entry says of its target once it has landed and a typed write has been at it."""

Kinds = Mapping[str, Sequence[tuple[str, str]]]
"""Of targets by their names: the types and labels that their entries may have."""


@dataclass(frozen=True)
class Line:
    """One entry as it stands."""

    entry: Mapping[str, Any]
    name: str = ""
    """Of the target that it belongs to; empty: to nobody."""

    @cached_property
    def receipt(self) -> Receipt:
        """What it says, under the name of its target."""
        receipt = read_entry(self.entry)
        return receipt if receipt.name == self.name else receipt.model_copy(update={"name": self.name})

    @property
    def key(self) -> str:
        """The target's name, or else the id of our message to a target that has left the spec."""
        return self.name or self.receipt.id or ""

    @property
    def done(self) -> bool:
        """Whether it says at first sight that it landed; most lines do, and need no second."""
        said = self.entry.get("phase", None if self.entry.get("id") else "Delivered")
        return self.entry.get("success") is True and said == "Delivered" and not self.entry.get("error")


class Record:
    """A team's record: its lines, and which of them is a target's.

    `ending`: the phase in which the team ended; empty: it has not, and all targets are alike.
    """

    def __init__(
        self, spec: Sequence[Any], entries: Sequence[Mapping[str, Any]], *, ending: str = ""
    ) -> None:
        self._spec = spec
        self._ending = ending
        self.lines = self._lines(_without_copies(entries))

    @cached_property
    def by_key(self) -> dict[str, Line]:
        """The lines by their keys; of several of one key the first counts."""
        found: dict[str, Line] = {}
        for line in self.lines:
            if key := line.key:
                found.setdefault(key, line)
        return found

    @cached_property
    def targets(self) -> list[Target | InvalidTarget]:
        """What the spec says, entry by entry."""
        return read_targets(self._spec)

    @cached_property
    def names(self) -> list[str]:
        """The targets' names, in the order of the spec."""
        return target_names(self._spec)

    @cached_property
    def _kinds(self) -> dict[str, list[tuple[str, str]]]:
        """What an entry may say of a target that can be sent to: its type and a label; theirs is last."""
        return {
            name: [(type_of(entry), label) for label in labels_of(entry)]
            for name, entry in zip(self.names, self._spec, strict=True)
        }

    @property
    def receipts(self) -> list[Receipt]:
        """What the lines say, in their order; of several of one key the first."""
        return [line.receipt for line in self.lines if self._counts(line)]

    @property
    def all_settled(self) -> bool:
        """Whether nothing on record is still to be sent."""
        return all(line.done or line.receipt.settled for line in self.lines if self._counts(line))

    def _counts(self, line: Line) -> bool:
        return self.by_key.get(line.key, line) is line

    def is_new(self, name: str, *, adopt: bool) -> bool:
        """Whether nobody has been at a target yet; with `adopt`: or somebody else has, in vain."""
        line = self.by_key.get(name)
        return line is None or (adopt and not line.done and line.receipt.adoptable)

    def written(self, changes: Mapping[str, Receipt]) -> Entries:
        """Return the list with these receipts in the places of their keys.

        One entry per target in the order of the spec; entries of no target stay behind them, unchanged.
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
        """How many lines there are of a type and label, whosever they are."""
        return self._alike[kind, label]

    @cached_property
    def _alike(self) -> Counter[tuple[str, str]]:
        said = ((line.entry.get("type"), line.entry.get("target", "")) for line in self.lines)
        return Counter(
            (kind, label) for kind, label in said if isinstance(kind, str) and isinstance(label, str)
        )

    def reads_back(self, changes: Mapping[str, Receipt], entries: Entries) -> bool:
        """Whether the list with these changes tells its targets apart also where all names are stripped.

        `entries`: that list, as it is `written`. Only what shares its type and label with another can be in
        doubt.
        """
        known = [kind for kinds in self._kinds.values() for kind in set(kinds)]
        written = [(str(entry.get("type")), str(entry.get("target", ""))) for entry in entries]
        if all(len(set(some)) == len(some) for some in (known, written)) and all(
            label for _, label in written
        ):
            return True
        stripped = [{key: one.get(key) for key in LANDED if key in one} for one in entries]
        names = [name for name in self.names if name in changes or name in self.by_key]
        return [one.name for one in self._lines(stripped)] == names + [""] * (len(entries) - len(names))

    def _lines(self, entries: Sequence[Mapping[str, Any]]) -> list[Line]:
        if not entries:
            return []
        given = given_names(self._spec)
        names = [_name(entry, given) for entry in entries]
        if not given.issuperset(names):
            names = self._matched(entries, names, given)
        return [Line(entry, name or "") for entry, name in zip(entries, names, strict=True)]

    def _matched(
        self, entries: Sequence[Mapping[str, Any]], names: list[str | None], given: Container[str]
    ) -> list[str | None]:
        """Match the entries that go by their places."""
        targets, known = self.names, self._kinds
        matching = _Matching(entries, names)
        matching.place_by_place([entry.get("name", "") for entry in entries], known)
        told = {
            name
            for name, entry in zip(targets, self._spec, strict=True)
            if not self._ending or told_of(entry, self._ending)
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
    return (receipt if receipt.name == name else receipt.model_copy(update={"name": name})).to_wire()


def _without_copies(entries: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
    """Leave out the entries of ours whose id an earlier one has: a hand copied them.

    A copy would be taken for the entry of the target's twin, and that be sent to under the same id. One under
    another name is left: it is the entry of the target of that name.
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
    """Return what an entry is called; nothing where it goes by its place, None where its name is no text.

    One that says no label has nothing but its name to go by.
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
    """Entries, and the names of the targets they belong to: found, open (empty), or none (None)."""

    def __init__(self, entries: Sequence[Mapping[str, Any]], names: list[str | None]) -> None:
        self.found = list(names)
        self._kinds = [(entry.get("type"), entry.get("target", "")) for entry in entries]
        self._taken = {name for name in names if name}

    def match(self, targets: Sequence[str], kinds: Kinds, *, first: Container[str]) -> None:
        """Match each open entry with the target in its place, else with the first that is free."""
        before = {name: its for name, its in kinds.items() if name in first}
        for some in (kinds,) if len(before) == len(kinds) else (before, kinds):
            self.place_by_place(targets, some)
            self.first_free(some)

    def without(self, targets: Collection[str]) -> dict[int, str]:
        """Open the entries whose name no target has; return these names by their places."""
        known = {*targets}
        gone = {place: name for place, name in enumerate(self.found) if name and name not in known}
        for place in gone:
            self.found[place] = ""
        return gone

    def fill(self, names: Mapping[int, str]) -> None:
        """Give the entries that are still open these names."""
        for place, name in names.items():
            self.found[place] = self.found[place] or name

    def place_by_place(self, names: Iterable[Any], kinds: Kinds) -> None:
        """Match the entry in each place with the target of that name, when type and label agree."""
        for place, name in enumerate(names):
            is_open = place < len(self.found) and self.found[place] == "" and name not in self._taken
            if is_open and self._kinds[place] in kinds.get(name, ()):
                self._match(place, name)

    def first_free(self, kinds: Kinds) -> None:
        """Match each entry with the first target of its type and label that has none."""
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
