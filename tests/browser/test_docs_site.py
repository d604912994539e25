"""The site in a browser that reaches only loopback: each page loads completely, from the site alone.

In the network namespace: python -m tests.browser.test_docs_site FOLDER
"""

import asyncio
import json
import sys
from collections.abc import Iterable, Iterator
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
from tests.harness.browser import ARTIFACTS, browsing, inside
from tests.test_no_way_out import default_routes, put_up_loopback

pytestmark = pytest.mark.timeout(300)  # the first test waits until all pages were opened

PICTURES = {"site-index": "docs/index.html", "site-operate": "docs/how-to/operate.html"}
PHONE: ViewportSize = {"width": 390, "height": 844}

LOOK = """() => ({
  title: document.title,
  headings: document.querySelectorAll("h1").length,
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
    assert seen["at"] in seen["sought"]
    assert not [address for address in seen["sought"] if not address.startswith("127.0.0.1:")]


def test_no_page_has_an_error(seen: Any) -> None:
    assert (seen["console"], seen["errors"], seen["refused"]) == ([], [], [])


def test_the_root_redirects_to_the_index(seen: Any) -> None:
    assert urlsplit(seen["root"]).path == "/docs/index.html"


def test_the_index_names_the_four_kinds_of_page(seen: Any) -> None:
    assert seen["kinds"][:4] == ["Tutorial", "How-to guides", "Reference", "Explanation"]


def test_every_page_has_one_heading_and_a_title(seen: Any) -> None:
    pages = {name: page for name, page in seen["pages"].items() if name != "search.html"}
    assert len(pages) > 30
    assert not {name for name, page in pages.items() if page["headings"] != 1 or not page["title"]}


def test_every_picture_is_drawn(seen: Any) -> None:
    assert not [source for page in seen["pages"].values() for source in page["blank"]]


def test_no_diagram_is_wrapped_or_cut(seen: Any) -> None:
    assert not {name: page["cut"] for name, page in seen["pages"].items() if page["wrapped"] or page["cut"]}


@pytest.mark.parametrize("window", ["pages", "on_a_phone"])
def test_no_page_is_wider_than_its_window(window: str, seen: Any) -> None:
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


def opened(pages: Iterable[Path]) -> list[str]:
    """Return the pages to open: one decision, one listing per kind of file, and all others."""
    chosen: dict[object, str] = {}
    for page in sorted(pages):
        kind: object = page
        if page.parts[0] == "files":
            kind = Path(page.stem).suffix
        elif page.parent.name == "decisions":
            kind = page.parent
        chosen.setdefault(kind, page.as_posix())
    return sorted(chosen.values())


async def walk(page: Page, url: str, names: list[str]) -> dict[str, Any]:
    """Open each page in a wide window and in a phone's window, and collect what it shows."""
    wide = page.viewport_size
    assert wide
    seen: dict[str, Any] = {"pages": {}, "on_a_phone": {}}
    for name in names:
        await page.goto(f"{url}/{name}", wait_until="load")
        seen["pages"][name] = await page.evaluate(LOOK)
        if not name.startswith("files/"):
            await page.set_viewport_size(PHONE)
            seen["on_a_phone"][name] = await page.evaluate(LOOK)
            await page.set_viewport_size(wide)
    return seen


async def search(page: Page, url: str) -> list[str]:
    """Search from the index as a person does, and return the pages found."""
    await page.goto(f"{url}/docs/index.html")
    await page.locator(".sidebar-search").fill("takeover")
    await page.locator(".sidebar-search").press("Enter")
    links = page.locator("#search-results li > a")
    await links.first.wait_for()
    found = await links.evaluate_all("(links) => links.map((link) => new URL(link.href).pathname.slice(1))")
    return [str(path) for path in found]


async def main(folder: Path) -> None:
    """Open all pages, and print what they show."""
    site = folder / "site"
    names = opened(
        path.relative_to(site)
        for path in site.rglob("*.html")
        if "_static" not in path.parts and path != site / "index.html"
    )
    with served(site) as url:
        async with browsing(folder) as (page, seen):
            await page.goto(url)
            await page.wait_for_url("**/docs/index.html")
            root = page.url
            kinds = await page.locator(".kind .caption").all_inner_texts()
            walked = await walk(page, url, names)
            found = await search(page, url)
            ARTIFACTS.mkdir(exist_ok=True)
            for picture, name in PICTURES.items():
                await page.goto(f"{url}/{name}")
                await page.screenshot(path=ARTIFACTS / f"{picture}.png")
    print(  # noqa: T201  # for the test that started this process
        json.dumps(
            {
                "routes": default_routes(),
                "at": urlsplit(url).netloc,
                "root": root,
                "kinds": kinds,
                "found": found,
                **walked,
                **asdict(seen),
            }
        )
    )


if __name__ == "__main__":
    put_up_loopback()
    asyncio.run(main(Path(sys.argv[1])))
