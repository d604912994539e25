"""Whose an entry of `status.delivery[]` is: the record of a team, line by line, each under its key. Pure.

An entry with a `name` is that target's. One without, as the operator's CRD keeps them, belongs to the target
in its place when type and label agree, else to the first target of that type and label that has none, else to
nobody. A target that cannot be read has no label.
"""

from collections import defaultdict, deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from app.domain.receipts import Receipt
from app.domain.targets import InvalidTarget, Target, labels_of, read_targets, target_names, type_of
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

    def reads_back(self, entries: Entries) -> bool:
        """Whether a list tells its targets apart also where all names are stripped from it.

        Only of two targets of one type and label that can be in doubt.
        """
        known = [(type_of(entry), labels_of(entry)[0]) for entry in self._spec]
        if len(set(known)) == len(known):
            return True
        stripped = [{key: value for key, value in one.items() if key != "name"} for one in entries]
        named, nameless = (_lines(self._spec, some) for some in (entries, stripped))
        names = set(self.names)
        return [one.name for one in named if one.name in names] == [one.name for one in nameless if one.name]


def _written(receipt: Receipt, name: str) -> dict[str, Any]:
    return (receipt if receipt.name == name else receipt.model_copy(update={"name": name})).to_wire()


def _lines(spec: Sequence[Any], entries: Sequence[Mapping[str, Any]]) -> list[Line]:
    names = [_name(entry) for entry in entries]
    if all(names):
        return [Line(entry, name) for entry, name in zip(entries, names, strict=True) if name]
    return list(_matched(spec, entries, names))


def _name(entry: Mapping[str, Any]) -> str | None:
    """Return what an entry is called; nothing where it has no name, None where that is no text."""
    name = entry.get("name")
    if name is None:
        return ""
    return name if isinstance(name, str) and readable(name) and name else None


def _matched(
    spec: Sequence[Any], entries: Sequence[Mapping[str, Any]], names: list[str | None]
) -> Iterator[Line]:
    """Match the entries without a name."""
    targets = target_names(spec)
    taken = {name for name in names if name}
    kinds = [
        (target.type, _labels(target, entry)) for target, entry in zip(read_targets(spec), spec, strict=True)
    ]

    def agree(place: int, entry: Mapping[str, Any]) -> bool:
        kind, labels = kinds[place]
        return entry.get("type") == kind and entry.get("target", "") in labels

    found: dict[int, str] = {}
    for place, entry in enumerate(entries[: len(targets)]):
        if names[place] == "" and targets[place] not in taken and agree(place, entry):
            found[place] = targets[place]
    taken.update(found.values())
    free: defaultdict[tuple[Any, Any], deque[str]] = defaultdict(deque)
    for name, (kind, labels) in zip(targets, kinds, strict=True):
        for label in () if name in taken else set(labels):
            free[kind, label].append(name)
    for place, entry in enumerate(entries):
        if names[place] == "" and place not in found:
            found[place] = _first_free(free, entry, taken)
        yield Line(entry, found.get(place) or names[place] or "")


def _labels(target: Target | InvalidTarget, entry: Any) -> tuple[str, ...]:
    labels = labels_of(entry)
    return ("", labels[-1]) if isinstance(target, InvalidTarget) else labels


def _first_free(free: Mapping[tuple[Any, Any], deque[str]], entry: Mapping[str, Any], taken: set[str]) -> str:
    """Take the first target of an entry's type and label that has no entry; nothing where there is none."""
    kind, label = entry.get("type"), entry.get("target", "")
    candidates = free.get((kind, label)) if isinstance(kind, str) and isinstance(label, str) else None
    while candidates:
        if (name := candidates.popleft()) not in taken:
            taken.add(name)
            return name
    return ""
