"""Quicker imports of large libraries: without what they prepare for programs unlike this one.

Imports are nine tenths of a start, and this is a quarter of them. The package imports this module first.
"""

import gc
import os
import sys
from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

from pydantic import BaseModel


@contextmanager
def replaced(mapping: MutableMapping[str, Any], values: Mapping[str, Any]) -> Iterator[None]:
    """Set values of a mapping inside this context; afterwards it has what it had before."""
    before = {name: mapping[name] for name in values if name in mapping}
    mapping.update(values)
    try:
        yield
    finally:
        for name in values:
            del mapping[name]
        mapping.update(before)


# As if they were not installed: structlog would load one to print exceptions, which logs.py does, and the
# other for threads of its own.
with replaced(sys.modules, {"rich": None, "greenlet": None}):
    import structlog  # noqa: F401  # the first import decides

SUPERVISORS = SimpleNamespace(ChangeReload=None, Multiprocess=None)
"""In place of uvicorn's parents of several processes, which load `multiprocessing`: a replica has one."""

NO_CERTIFICATES = {"SSL_CERT_FILE": os.devnull, "SSL_CERT_DIR": os.devnull}
"""Makes OpenSSL's default paths empty."""


@contextmanager
def quickly() -> Iterator[None]:
    """Import large libraries inside this context."""
    # What is imported stays, so a search for garbage finds none.
    gc.disable()
    try:
        with (
            # FastAPI's models of OpenAPI documents are built when somebody asks for the description.
            replaced(BaseModel.model_config, {"defer_build": True}),  # type: ignore[arg-type]  # a TypedDict
            # aiohttp reads the system's certificate authorities into a default context. Every connection
            # here has a context of its own; one that had none would trust nobody.
            replaced(os.environ, NO_CERTIFICATES),
            # FastAPI asks of each model whether it is one of pydantic's first version.
            replaced(sys.modules, {"uvicorn.supervisors": SUPERVISORS, "pydantic.v1": None}),
        ):
            yield
    finally:
        gc.enable()
