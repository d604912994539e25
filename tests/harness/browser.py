"""A headless browser in a network namespace that has only loopback, and a record of all that it did.

It runs a test's module there as `python -m`, with a folder for its files; the module prints what it saw as
JSON.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, ConsoleMessage, Page, Request, Response, async_playwright

from tests.test_no_way_out import unshared

ROOT = Path(__file__).parents[2]
ARTIFACTS = ROOT / ".artifacts"

NAMES = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    "--no-sandbox",  # root has no sandbox; the namespaces replace it
    "--disable-gpu",
    "--disable-quic",
    "--disable-sync",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    # Chromium looks for updates nevertheless; this proxy, which does not exist, stops it.
    "--proxy-server=http://127.0.0.1:9",
)
REACHES_OUT = {
    # What its net log records before it asks the kernel, and where the log names the destination.
    "HOST_RESOLVER_SYSTEM_TASK": "hostname",
    "TCP_CONNECT_ATTEMPT": "address",
    "UDP_CONNECT": "address",
}
LOOKS_FOR_IPV6 = "[2001:4860:4860::8888]:443"
"""Chromium asks the kernel for a route to this address, to detect IPv6; it sends nothing."""

NOTE_VIOLATIONS = """
document.addEventListener("securitypolicyviolation", (event) =>
  noteViolation({directive: event.effectiveDirective, blocked: event.blockedURI}));
"""


@dataclass
class Seen:
    """What a browser did and logged."""

    requests: list[str] = field(default_factory=list)  # those that the page's policy allowed
    refused: list[str] = field(default_factory=list)  # answers of 400 or higher
    console: list[str] = field(default_factory=list)  # warnings and errors
    errors: list[str] = field(default_factory=list)  # exceptions that a page's scripts did not catch
    violations: list[dict[str, str]] = field(default_factory=list)  # of a page's Content-Security-Policy

    def watch(self, page: Page) -> None:
        """Record what a page does."""

        def said(message: ConsoleMessage) -> None:
            if message.type in {"error", "warning"}:
                self.console.append(f"{message.type}: {message.text}")

        def asked(request: Request) -> None:
            self.requests.append(request.url)

        def failed(request: Request) -> None:
            if request.failure == "csp":
                self.requests.remove(request.url)

        def answered(response: Response) -> None:
            if response.status >= 400:
                self.refused.append(f"{response.status} {response.url}")

        page.on("console", said)
        page.on("request", asked)
        page.on("requestfailed", failed)
        page.on("response", answered)
        page.on("pageerror", lambda error: self.errors.append(str(error)))


@asynccontextmanager
async def started(log: Path) -> AsyncIterator[Browser]:
    """Start a browser, and write its net log to a file, which is complete when the browser has ended."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=found(), args=[*FLAGS, f"--log-net-log={log}"]
        )
        yield browser
        await browser.close()


@asynccontextmanager
async def browsing(browser: Browser) -> AsyncIterator[tuple[Page, Seen]]:
    """Yield a page with nothing stored, not even in a cache, and what it does and logs."""
    seen = Seen()

    def violated(_: object, violation: dict[str, str]) -> None:
        seen.violations.append(violation)

    context = await browser.new_context(viewport={"width": 1440, "height": 1000}, reduced_motion="reduce")
    await context.expose_binding("noteViolation", violated)
    await context.add_init_script(NOTE_VIOLATIONS)
    context.on("page", seen.watch)
    page = await context.new_page()
    page.set_default_timeout(20_000)
    yield page, seen
    await context.close()


def contacted(log: Path) -> list[str]:
    """Return the addresses and host names that a browser contacted or looked up, for pages or for itself."""
    noted = json.loads(log.read_text())
    kinds = {number: name for name, number in noted["constants"]["logEventTypes"].items()}
    wanted = ((event, REACHES_OUT.get(kinds[event["type"]], "")) for event in noted["events"])
    sought = {str(event.get("params", {}).get(key)) for event, key in wanted if key}
    return sorted(sought - {"None", LOOKS_FOR_IPV6})


def found() -> str | None:
    """Return the browser's path."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


def inside(module: str, folder: Path, *, seconds: float) -> Any:
    """Run a module in its own namespaces, and return what it saw; skip if they cannot be created."""
    if not found():
        _unavailable("needs Debian's package chromium, or its like")
    try:
        able = subprocess.run(unshared("true"), capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        able = False
    if not able:
        _unavailable("needs unshare (util-linux), as root or where users may make namespaces")
    command = unshared(sys.executable, "-m", module, str(folder))
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=seconds, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def _unavailable(needed: str) -> None:
    if os.environ.get("CI") == "true":
        pytest.fail(needed)
    pytest.skip(needed)
