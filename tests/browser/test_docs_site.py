"""The site in a browser that reaches only loopback: its pages load completely, from the site alone.

The browser opens the pages whose layout may break. tests/docs/test_site.py reads every page.

In the network namespace: python -m tests.browser.test_docs_site FOLDER
"""

import asyncio
import json
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.async_api import Page, ViewportSize

from tests.docs.site import build_once
from tests.harness.browser import ARTIFACTS, browsing, contacted, inside, started
from tests.test_no_way_out import default_routes, put_up_loopback

pytestmark = pytest.mark.timeout(300)  # the first test waits until all pages were opened

INDEX = "docs/index.html"
FILES = "files/"
PHONE: ViewportSize = {"width": 390, "height": 844}

LOOK = """() => ({
  overflow: document.documentElement.scrollWidth - window.innerWidth,
  wrapped: [...document.querySelectorAll("pre")]
    .filter((e) => getComputedStyle(e).whiteSpace !== "pre").length,
  cut: [...document.querySelectorAll(".highlight-text pre")]
    .filter((e) => e.scrollWidth > e.clientWidth).map((e) => e.innerText.slice(0, 200)),
  blank: [...document.images].filter((e) => e.loading !== "lazy" && !e.naturalWidth).map((e) => e.src),
})"""


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Build the site, and open its pages in a browser in the namespace, once."""
    folder = tmp_path_factory.mktemp("walk")
    site, _ = build_once(tmp_path_factory)
    (folder / "site").symlink_to(site)
    return inside(__spec__.name, folder, seconds=250)


def test_the_namespace_has_no_route_out(seen: Any) -> None:
    assert seen["routes"] == []


def test_every_request_goes_to_the_site_itself(seen: Any) -> None:
    assert {urlsplit(url).netloc for url in seen["requests"] if not url.startswith("data:")} == {seen["at"]}


def test_the_browser_contacts_nothing_beyond_loopback(seen: Any) -> None:
    assert seen["at"] in seen["contacted"]
    assert not [address for address in seen["contacted"] if not address.startswith("127.0.0.1:")]


def test_no_page_has_an_error(seen: Any) -> None:
    assert (seen["console"], seen["errors"], seen["refused"]) == ([], [], [])


def test_the_root_redirects_to_the_index(seen: Any) -> None:
    assert urlsplit(seen["root"]).path == f"/{INDEX}"


def test_the_index_names_the_four_kinds_of_page(seen: Any) -> None:
    assert seen["kinds"][:4] == ["Tutorial", "How-to guides", "Reference", "Explanation"]


def test_every_picture_is_drawn(seen: Any) -> None:
    assert not [source for page in seen["pages"].values() for source in page["blank"]]


def test_no_diagram_is_wrapped_or_cut(seen: Any) -> None:
    assert not {name: page["cut"] for name, page in seen["pages"].items() if page["wrapped"] or page["cut"]}


@pytest.mark.parametrize("window", ["pages", "on_a_phone"])
def test_the_widest_pages_fit_their_window(window: str, seen: Any) -> None:
    assert len(seen[window]) > 8
    assert not {name: page["overflow"] for name, page in seen[window].items() if page["overflow"] > 0}


def test_the_search_finds_pages(seen: Any) -> None:
    assert "docs/explanation/guarantees.html" in seen["found"]


# ---------------------------------------------------------------------------------------------------------
# In the network namespace


class Quiet(SimpleHTTPRequestHandler):
    """A server of files that logs nothing."""

    def log_message(self, *_: object) -> None:
        """Log nothing."""


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """Serve a folder on loopback, and yield its address."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def opened(site: Path) -> list[str]:
    """Return the pages with a drawing or a picture, and the one of each folder with the longest word."""
    chosen, longest = set[str](), dict[Path, tuple[int, str]]()
    for path in site.rglob("*.html"):
        if "_static" in path.parts or path == site / "index.html":
            continue
        html, name = path.read_text(), path.relative_to(site).as_posix()
        if "─" in html or "<img" in html:
            chosen.add(name)
        folder = site / FILES if path.is_relative_to(site / FILES) else path.parent
        longest[folder] = max(longest.get(folder, (0, "")), (longest_word(html), name))
    return sorted(chosen | {name for _, name in longest.values()})


def longest_word(html: str) -> int:
    """Return the length of the longest word outside of what scrolls: such a word makes a page wide."""
    text = re.sub(r"<(pre|script|style|svg|table)\b.*?</\1>|<[^>]*>", " ", html, flags=re.DOTALL)
    return max(map(len, text.split()))


async def walk(page: Page, url: str, names: list[str]) -> dict[str, Any]:
    """Open each page in a wide window, make it as narrow as a phone's, and collect what it shows."""
    wide = page.viewport_size
    assert wide
    seen: dict[str, Any] = {"pages": {}, "on_a_phone": {}}
    for name in names:
        await page.goto(f"{url}/{name}", wait_until="load")
        seen["pages"][name] = await page.evaluate(LOOK)
        if name == INDEX:
            ARTIFACTS.mkdir(exist_ok=True)
            await page.screenshot(path=ARTIFACTS / "site-index.png")
        if not name.startswith(FILES):
            await page.set_viewport_size(PHONE)
            seen["on_a_phone"][name] = await page.evaluate(LOOK)
            await page.set_viewport_size(wide)
    return seen


async def search(page: Page, url: str) -> list[str]:
    """Search from the index as a person does, and return the pages found."""
    await page.goto(f"{url}/{INDEX}")
    await page.locator(".sidebar-search").fill("takeover")
    await page.locator(".sidebar-search").press("Enter")
    links = page.locator("#search-results li > a")
    await links.first.wait_for()
    found = await links.evaluate_all("(links) => links.map((link) => new URL(link.href).pathname.slice(1))")
    return [str(path) for path in found]


async def main(folder: Path) -> None:
    """Open the pages, and print what they show."""
    site, log = folder / "site", folder / "net-log.json"
    with served(site) as url:
        async with started(log) as browser, browsing(browser) as (page, seen):
            await page.goto(url)
            await page.wait_for_url(f"**/{INDEX}")
            root = page.url
            kinds = await page.locator(".kind .caption").all_inner_texts()
            found = await search(page, url)
            walked = await walk(page, url, opened(site))
    print(  # noqa: T201  # for the test that started this process
        json.dumps(
            {
                "routes": default_routes(),
                "at": urlsplit(url).netloc,
                "root": root,
                "kinds": kinds,
                "found": found,
                "contacted": contacted(log),
                **walked,
                **asdict(seen),
            }
        )
    )


if __name__ == "__main__":
    put_up_loopback()
    asyncio.run(main(Path(sys.argv[1])))
