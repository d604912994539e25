"""Whose an entry of `status.delivery[]` is: the record of a team, line by line, each under its key. Pure.

An entry with a `name` is that target's; one that only says a place (`webhook-0`), as long as type and label
agree, for another target may have come to stand there. An entry without, as the operator's CRD keeps them,
belongs to the target in its place when type and label agree, else to the first target of that type and label
that has none, else to nobody. A target that cannot be read has no label; the operator's, which may have sent
to it, is its own where no other target is meant.
"""

from collections import defaultdict, deque
from collections.abc import Collection, Container, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from app.domain.receipts import Receipt
from app.domain.targets import (
    InvalidTarget,
    given_names,
    is_place,
    labels_of,
    read_targets,
    target_names,
    type_of,
)
from app.domain.text import readable

Entries = list[Mapping[str, Any]]


@dataclass(frozen=True)
class Line:
    """One entry as it stands."""

    entry: Mapping[str, Any]
    name: str = ""
    """Of the target that it belongs to; empty: to nobody."""

    @cached_property
    def receipt(self) -> Receipt:
        """What it says, under the name of its target."""
        receipt = Receipt.from_wire(self.entry)
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
    """A team's record: its lines, and which of them is a target's."""

    def __init__(self, spec: Sequence[Any], entries: Sequence[Mapping[str, Any]]) -> None:
        self._spec = spec
        self.lines = _lines(spec, entries)

    @cached_property
    def by_key(self) -> dict[str, Line]:
        """The lines by their keys; of several of one key the first counts."""
        found: dict[str, Line] = {}
        for line in self.lines:
            if key := line.key:
                found.setdefault(key, line)
        return found

    @cached_property
    def names(self) -> list[str]:
        """The targets' names, in the order of the spec."""
        return target_names(self._spec)

    @property
    def receipts(self) -> list[Receipt]:
        """What all lines say, in their order."""
        return [line.receipt for line in self.lines]

    @property
    def all_settled(self) -> bool:
        """Whether nothing on record is still to be sent."""
        return all(line.done or line.receipt.settled for line in self.lines)

    def is_new(self, name: str, *, adopt: bool) -> bool:
        """Whether nobody has been at a target yet; with `adopt`: or somebody else has, in vain."""
        line = self.by_key.get(name)
        return line is None or (adopt and not line.done and line.receipt.adoptable)

    def written(self, changes: Mapping[str, Receipt]) -> Entries:
        """Return the list with these receipts in the places of their keys.

        One entry a target in the order of the spec; what belongs to none stays behind them, as it was.
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
        return sum(line.entry.get("type") == kind and line.entry.get("target", "") == label for line in self.lines)

    def reads_back(self, changes: Mapping[str, Receipt]) -> bool:
        """Whether the list with these changes tells its targets apart also where all names are stripped.

        Only what shares its type and label with another can be in doubt.
        """
        entries = self.written(changes)
        known = [(type_of(entry), label) for entry in self._spec for label in set(labels_of(entry))]
        written = [(str(entry.get("type")), str(entry.get("target", ""))) for entry in entries]
        if all(len(set(some)) == len(some) for some in (known, written)) and all(label for _, label in written):
            return True
        stripped = [{key: value for key, value in one.items() if key != "name"} for one in entries]
        names = [name for name in self.names if name in changes or name in self.by_key]
        return [one.name for one in _lines(self._spec, stripped)] == names + [""] * (len(entries) - len(names))


def _written(receipt: Receipt, name: str) -> dict[str, Any]:
    return (receipt if receipt.name == name else receipt.model_copy(update={"name": name})).to_wire()


def _lines(spec: Sequence[Any], entries: Sequence[Mapping[str, Any]]) -> list[Line]:
    given = given_names(spec)
    names = [_name(entry, given) for entry in entries]
    if not all(names):
        names = _matched(spec, entries, names)
    return [Line(entry, name or "") for entry, name in zip(entries, names, strict=True)]


def _name(entry: Mapping[str, Any], given: Container[str]) -> str | None:
    """Return what an entry is called; nothing where it goes by its place, None where its name is no text."""
    name = entry.get("name")
    if name is None:
        return ""
    if not (isinstance(name, str) and readable(name) and name):
        return None
    return "" if name not in given and is_place(name, entry.get("type")) else name


def _matched(
    spec: Sequence[Any], entries: Sequence[Mapping[str, Any]], names: list[str | None]
) -> list[str | None]:
    """Match the entries that go by their places."""
    found = list(names)
    taken = {name for name in names if name}

    def match(place: int, name: Any, labels: Mapping[str, Collection[tuple[str, str]]]) -> None:
        entry = entries[place]
        if name not in taken and (entry.get("type"), entry.get("target", "")) in labels.get(name, ()):
            found[place] = name
            taken.add(name)

    targets = target_names(spec)
    said = {
        name: [(type_of(entry), label) for label in labels_of(entry)]
        for name, entry in zip(targets, spec, strict=True)
    }
    for place, entry in enumerate(entries):
        if found[place] == "" and entry.get("name"):
            match(place, entry["name"], said)
    if "" not in found:
        return found  # nearly always, so that no target has to be read
    invalid = {target.name: (target.type, "") for target in read_targets(spec) if isinstance(target, InvalidTarget)}
    ours = {name: [invalid[name]] if name in invalid else labels for name, labels in said.items()}
    operators = {name: said[name][-1:] for name in invalid}
    for labels in (ours, operators):
        for place, name in enumerate(targets[: len(entries)]):
            if found[place] == "":
                match(place, name, labels)
        free: defaultdict[tuple[str, str], deque[str]] = defaultdict(deque)
        for name, its in labels.items():
            for label in () if name in taken else dict.fromkeys(its):
                free[label].append(name)
        for place, entry in enumerate(entries):
            if found[place] == "":
                found[place] = _first_free(free, entry, taken)
    return found


def _first_free(free: Mapping[tuple[Any, Any], deque[str]], entry: Mapping[str, Any], taken: set[str]) -> str:
    """Take the first target of an entry's type and label that has no entry; nothing where there is none."""
    kind, label = entry.get("type"), entry.get("target", "")
    candidates = free.get((kind, label)) if isinstance(kind, str) and isinstance(label, str) else None
    while candidates:
        if (name := candidates.popleft()) not in taken:
            taken.add(name)
            return name
    return ""
