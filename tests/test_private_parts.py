"""Undocumented names of libraries that the code uses: each one, and the effect of its absence.

If a release drops one of them, these tests name it before anything else fails. Upper bounds in
`pyproject.toml` exclude such a release until a developer has checked it.
"""

import dis
import sys
from collections.abc import Iterable
from functools import partial
from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec
from types import FunctionType, ModuleType
from typing import Any

import pytest
from aiohttp import ClientRequest
from aiohttp.client_proto import ResponseHandler
from aiohttp.connector import BaseConnector, Connection, TCPConnector
from packaging.requirements import Requirement
from uvicorn.protocols.http import httptools_impl
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import Server, ServerState

from app.domain.reasons import Reason
from app.loading import replaced
from tests.posting import refused
from tests.sockets import endless, listening
from tests.test_repo import PROJECT


def _configuration() -> Any:
    """Return Kubernetes' class without its package, which imports hundreds of models for seconds."""
    kubernetes = find_spec("kubernetes_asyncio")
    assert kubernetes
    package = ModuleType("kubernetes_asyncio.client")
    package.__path__ = [f"{folder}/client" for folder in kubernetes.submodule_search_locations or ()]
    with replaced(sys.modules, {package.__name__: package}):
        return import_module("kubernetes_asyncio.client.configuration").Configuration


RELIED_ON: tuple[tuple[str, Any, str, str], ...] = (
    *(
        ("aiohttp", owner, name, "app/egress/client.py: bounds on what a receiver may send")
        for owner, names in (
            (BaseConnector, ("_factory",)),
            (TCPConnector, ("connect",)),
            (
                ResponseHandler,
                (
                    *("set_response_params", "should_close", "set_exception", "data_received", "read"),
                    *("abort", "connection_lost", "_parser"),
                ),
            ),
        )
        for name in names
    ),
    *(
        ("aiohttp", ResponseHandler, name, "app/whole.py: answers without a parser")
        for name in ("feed_data", "_tail")
    ),
    *(
        ("aiohttp", owner, name, "app/exchange.py: requests without a session")
        for owner, names in (
            (ClientRequest, ("connection_key",)),
            (Connection, ("close", "protocol", "release", "transport")),
        )
        for name in names
    ),
    *(
        ("uvicorn", owner, name, "app/server: bounds on what a caller may send, and answers to it")
        for owner, names in (
            (httptools_impl, ("STATUS_LINE",)),
            (
                HttpToolsProtocol,
                (
                    *("parser", "flow", "cycle", "transport", "loop", "headers", "url", "server_state"),
                    *("expect_100_continue", "_unset_keepalive_if_required"),
                    *("on_message_begin", "on_header", "on_headers_complete", "on_body"),
                    *("on_message_complete", "on_response_complete", "pause_writing", "resume_writing"),
                ),
            ),
            (
                RequestResponseCycle,
                ("more_body", "response_complete", "response_started", "disconnected", "message_event"),
            ),
            (FlowControl, ("pause_reading", "resume_reading", "read_paused")),
            (ServerState, ("default_headers",)),
            (Server, ("capture_signals", "startup", "shutdown", "started", "should_exit", "server_state")),
        )
        for name in names
    ),
    *(
        ("kubernetes-asyncio", _configuration(), name, "app/kube/kubeconfig.py: credentials that are fetched")
        for name in (
            *("host", "ssl_ca_cert", "cert_file", "key_file", "verify_ssl", "tls_server_name", "proxy"),
            "get_api_key_with_prefix",
        )
    ),
)


def missing(relied_on: Iterable[tuple[str, Any, str, str]]) -> list[str]:
    """Describe each missing name: its owner, the library's release, and what depends on it."""
    return [
        f"{library} {version(library)} has no {owner.__name__}.{name}, required for: {what}"
        for library, owner, name, what in relied_on
        if not hasattr(owner, name) and name not in attributes(owner)
    ]


def attributes(owner: type) -> set[str]:
    """Return the attributes that any method of a class assigns to its instances."""
    methods = [one for kind in owner.__mro__ for one in vars(kind).values() if isinstance(one, FunctionType)]
    return {
        str(step.argval)
        for method in methods
        for step in dis.get_instructions(method)
        if step.opname == "STORE_ATTR"
    }


def _named(one: tuple[str, Any, str, str]) -> str:
    return f"{one[1].__name__}.{one[2]}"


@pytest.mark.parametrize("one", RELIED_ON, ids=_named)
def test_every_undocumented_name_in_use_exists(one: tuple[str, Any, str, str]) -> None:
    assert not missing([one])


def test_a_missing_name_is_reported_with_the_release() -> None:
    [said] = missing([("aiohttp", BaseConnector, "_gone", "a bound")])
    assert said == f"aiohttp {version('aiohttp')} has no BaseConnector._gone, required for: a bound"


def test_a_library_with_undocumented_names_in_use_has_an_upper_bound() -> None:
    project = PROJECT["project"]
    listed = [*project["dependencies"], *project["optional-dependencies"]["service"]]
    needs = {need.name: need.specifier for need in map(Requirement, listed)}
    for library in {library for library, *_ in RELIED_ON}:
        assert any(bound.operator == "<" for bound in needs[library]), library


async def test_if_aiohttp_changes_how_it_connects_nothing_is_sent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """After a renaming in the library, nothing would read the old name."""
    renamed = property(lambda self: partial(ResponseHandler, self._loop), lambda *_: None)
    monkeypatch.setattr(BaseConnector, "_factory", renamed, raising=False)
    flood = endless(b"", b"\r\n" * 32_768)  # aiohttp skips any number of empty lines
    async with listening(flood) as far:
        error = await refused(f"http://{far.authority}/")
    assert (error.reason, error.retryable) == (Reason.CONNECTION_FAILED, False)
    assert "without a limit" in error.message
    assert far.heads == []
    assert far.sent == 0
