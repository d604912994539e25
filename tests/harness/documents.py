"""YAML files of the repository, as many tests read them."""

import pickle
from functools import cache
from pathlib import Path
from typing import Any

import yaml


def read_yaml(file: Path) -> Any:
    """Return the document in a file that does not change meanwhile; each caller gets a copy of its own."""
    return pickle.loads(_parsed(file))  # noqa: S301  # written below


@cache
def _parsed(file: Path) -> bytes:
    # By libyaml: for a CRD, the loader that is written in Python takes half a second.
    return pickle.dumps(yaml.load(file.read_text(), yaml.CSafeLoader))  # a safe loader
