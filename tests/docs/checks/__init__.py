"""Assigns each block of code to a check, and reports blocks without one."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.docs.blocks import Block

Faults = Iterator[str]
"""Each is a sentence that begins with the place."""


@dataclass(frozen=True)
class Tools:
    """Finds the programs that check; a missing one skips the test, or fails it in CI."""

    find: Callable[[str], Path]

    @property
    def kubectl(self) -> Path:
        return self.find("kubectl")

    @property
    def helm(self) -> Path:
        return self.find("helm")


@dataclass(frozen=True)
class Check:
    """One kind of block: which blocks it covers, and what is wrong with one."""

    name: str
    claims: Callable[[Block], bool]
    faults: Callable[[Block, Tools], Faults]
