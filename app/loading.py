"""Quicker imports of large libraries: without what they prepare for programs unlike this one.

Imports are nine tenths of a start, and this is a quarter of them. The package imports this module first.
"""

import gc
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from pydantic import BaseModel


@contextmanager
def without(*names: str) -> Iterator[None]:
    """Import something as if these optional libraries were not installed."""
    before = {name: sys.modules.get(name) for name in names}
    sys.modules.update(dict.fromkeys(names))  # type: ignore[arg-type]  # None: no such module
    try:
        yield
    finally:
        for name, module in before.items():
            del sys.modules[name]
            if module is not None:
                sys.modules[name] = module


# structlog would load the one to print exceptions, which logs.py does, and the other for threads of its own.
with without("rich", "greenlet"):
    import structlog  # noqa: F401

NO_CERTIFICATES = {"SSL_CERT_FILE": os.devnull, "SSL_CERT_DIR": os.devnull}
"""Makes OpenSSL's default paths empty."""


@contextmanager
def quickly() -> Iterator[None]:
    """Import large libraries inside this context."""
    # What is imported stays, so a search for garbage finds none.
    gc.disable()
    # FastAPI's models of OpenAPI documents are built when somebody asks for the description.
    BaseModel.model_config["defer_build"] = True
    # aiohttp reads the system's certificate authorities into a default context. Every connection here has a
    # context of its own; one that had none would trust nobody.
    before = {name: os.environ.get(name) for name in NO_CERTIFICATES}
    os.environ.update(NO_CERTIFICATES)
    try:
        yield
    finally:
        for name, value in before.items():
            del os.environ[name]
            if value is not None:
                os.environ[name] = value
        del BaseModel.model_config["defer_build"]
        gc.enable()
