"""Checks requests in documents, curl commands and raw HTTP, against the API's description."""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import yaml
from pydantic import ValidationError

from app.domain.events import CompletionEvent
from tests.docs.blocks import ROOT, Block
from tests.docs.checks import Check, Faults, Tools

TAKES = {
    # Options of curl that take a value, by their long names.
    "-X": "--request", "-H": "--header", "-d": "--data", "-o": "--output", "-w": "--write-out",
    "-u": "--user", "-m": "--max-time", "-A": "--user-agent", "-F": "--form", "-T": "--upload-file",
    "-D": "--dump-header", "-E": "--cert",
}  # fmt: skip
LONG = {*TAKES.values(), "--data-raw", "--data-binary", "--json", "--cacert", "--resolve", "--retry", "--key"}
FLAGS = {
    "--silent", "--show-error", "--fail", "--fail-with-body", "--include", "--verbose", "--location",
    "--insecure", "--get", "--head", "--no-buffer", "--compressed", "--http1.1",
}  # fmt: skip
SHORT_FLAGS = set("sSfivLkGIN")
UNDESCRIBED = {"/docs", "/openapi.json"}
"""Pages for people, which the description leaves out."""
OURS = re.compile(r"127\.0\.0\.1|localhost|\[?::1\]?|.*agentteam-delivery.*|\$.*")
EXAMPLES = re.compile(
    r"(.*\.)?(example|example\.(com|org|net)|test|invalid|svc|local)|hooks\.slack(-gov)?\.com"
)
"""Reserved hosts: documents use them for other services than ours."""


@dataclass
class Request:
    """One request, as a document shows it."""

    method: str = ""
    url: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    body: str | None = None


@cache
def description() -> dict[str, Any]:
    """Return the API's description."""
    return dict(yaml.safe_load((ROOT / "openapi/openapi.yaml").read_text()))


def faults_of_curl(arguments: list[str], file: Callable[[str], Iterator[str]]) -> Iterator[str]:
    """Report what is wrong with a curl command."""
    request = Request()
    urls = []
    given = iter(arguments)
    for argument in given:
        name, sign, value = argument.partition("=")
        if argument.startswith("--"):
            if name in LONG:
                yield from _option(request, name, value if sign else next(given, ""), file)
            elif name not in FLAGS:
                yield f"curl: unknown option {name}"
        elif argument.startswith("-") and len(argument) > 1:
            letters = argument[1:]
            while letters and letters[0] in SHORT_FLAGS:
                letters = letters[1:]
            if not letters:
                continue
            name = TAKES.get(f"-{letters[0]}", "")
            if not name:
                yield f"curl: unknown option -{letters[0]}"
                continue
            yield from _option(request, name, letters[1:] or next(given, ""), file)
        else:
            urls.append(argument)
    if len(urls) != 1:
        yield f"curl takes one address, not {len(urls)}: {' '.join(urls)[:100]}"
        return
    request.url = urls[0]
    yield from faults_of_request(request)


def _option(request: Request, name: str, value: str, file: Callable[[str], Iterator[str]]) -> Iterator[str]:
    if name == "--request":
        request.method = value
    elif name == "--header":
        header, sign, content = value.partition(":")
        if not sign:
            yield f"curl: a header is NAME: VALUE, which {value[:60]} is not"
        request.headers[header.strip().lower()] = content.strip()
    elif name in {"--data", "--data-raw", "--data-binary", "--json"}:
        if name == "--json":
            request.headers["content-type"] = "application/json"
        if value.startswith("@") and name != "--data-raw":
            yield from file(value[1:])
            held = ROOT / value[1:]
            request.body = held.read_text() if held.is_file() else "$FILE"
        else:
            request.body = value
    elif name == "--cacert":
        yield from file(value)


def faults_of_request(request: Request) -> Iterator[str]:
    """Report what is wrong with a request."""
    url = re.sub(r"^(\$\w+|\$\{\w+\})(?=/|$)", "http://127.0.0.1:8080", request.url)
    parts = urlsplit(url if "://" in url else f"http://{url}")
    host = parts.hostname or ""
    if not OURS.fullmatch(host):
        if not EXAMPLES.fullmatch(host):
            yield f"{host} may be a real host; use a host below example.com"
        return
    if parts.path.startswith("/metrics") and parts.port not in {None, 8080, 8081}:
        yield f"{url}: the service listens on 8080, the watcher on 8081"
    method = (request.method or ("GET" if request.body is None else "POST")).upper()
    operation = operation_of(method, parts.path or "/")
    if isinstance(operation, str):
        yield operation
        return
    what = f"{method} {parts.path}"
    yield from (f"{what} {said}" for said in faults_of_query(parts.query, operation))
    yield from (f"{what} {said}" for said in _faults_of_body(request, operation.get("requestBody")))


def operations() -> list[dict[str, Any]]:
    """Return every operation of the API."""
    return [one for path in description()["paths"].values() for one in path.values()]


def faults_of_query(query: str, *asked: dict[str, Any]) -> Iterator[str]:
    """Report what is wrong with a query, of one operation or of any."""
    parameters = [one for operation in asked or operations() for one in operation.get("parameters", [])]
    known = {one["name"] for one in parameters if one["in"] == "query"}
    for name, _ in parse_qsl(query, keep_blank_values=True):
        if name not in known:
            yield f"knows no parameter {name}"


def faults_of_preference(value: str) -> Iterator[str]:
    """Return whether the description has an example of this value of the header `prefer`."""
    parameters = [one for operation in operations() for one in operation.get("parameters", [])]
    examples = {
        example
        for one in parameters
        if (one["in"], one["name"]) == ("header", "prefer")
        for example in one["schema"]["examples"]
    }
    if re.sub(r"\d+|N$", "1", value) not in {re.sub(r"\d+", "1", example) for example in examples}:
        yield f"prefer is {' or '.join(sorted(examples))}, not {value}"


def _faults_of_body(request: Request, described: dict[str, Any] | None) -> Iterator[str]:
    if described is None:
        if request.body is not None:
            yield "takes no body"
        return
    media = request.headers.get("content-type", "application/x-www-form-urlencoded").partition(";")[0]
    if media not in described["content"]:
        yield f"takes {', '.join(described['content'])}, not {media}"
    if request.body is None:
        yield "requires a body"
    elif "$" not in request.body:
        yield from faults_of_event(request.body)


def operation_of(method: str, path: str) -> dict[str, Any] | str:
    """Return the description of an operation, or what is wrong with its name."""
    if path in UNDESCRIBED and method == "GET":
        return {}
    for template, operations in description()["paths"].items():
        if re.fullmatch(re.sub(r"\\?\{\w+\\?\}", "[^/]+", re.escape(template)), path):
            found = operations.get(method.lower())
            return found or f"{path} does not support {method}, but {', '.join(operations).upper()}"
    return f"the API has no path {path}"


def faults_of_event(text: str) -> Iterator[str]:
    """Report what is wrong with the body of `POST /deliveries`."""
    try:
        CompletionEvent.model_validate(json.loads(text))
    except ValueError as error:
        if not isinstance(error, ValidationError):
            yield f"not JSON: {error}"
            return
        for one in error.errors():
            yield f"{'.'.join(map(str, one['loc']))}: {one['msg']}"


def faults(block: Block, tools: Tools) -> Faults:
    """Report what is wrong with a raw request or a raw answer."""
    head, _, body = block.text.partition("\n\n")
    start, *lines = head.splitlines()
    headers = {}
    for offset, line in enumerate(lines, 1):
        match = re.fullmatch(r"([A-Za-z0-9-]+): *(.*)", line)
        if match is None:
            yield f"{block.at(offset)}: this is no header: {line[:80]}"
        else:
            headers[match[1].lower()] = match[2]
    asked = re.fullmatch(r"([A-Z]+) (\S+)( HTTP/1\.1)?", start)
    if asked:
        host = headers.get("host", "127.0.0.1:8080")
        request = Request(asked[1], f"http://{host}{asked[2]}", headers, body or None)
        yield from (f"{block.at()}: {said}" for said in faults_of_request(request))
    elif not re.fullmatch(r"HTTP/1\.1 [1-5]\d\d( .*)?", start):
        yield f"{block.at()}: this is no request and no answer: {start[:80]}"
    if body and "json" in headers.get("content-type", ""):
        try:
            json.loads(body)
        except ValueError as error:
            yield f"{block.at(2 + len(lines))}: not JSON: {error}"


CHECK = Check("HTTP", lambda block: block.language == "http", faults)
