"""The site contains every page, and each link has a target; a dead link fails the build."""

import os
import re
import shutil
import subprocess
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from tests.docs.site import ROOT, Page, build, build_once, pages

ELSEWHERE = re.compile(r"(?:url\(\s*|@import\s+)['\"]?(?!data:)(?:\w+:)?//[^)\s]*")


@pytest.fixture(scope="module")
def once(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """Build the site once."""
    return build_once(tmp_path_factory)


@pytest.fixture(scope="module")
def site(once: tuple[Path, subprocess.CompletedProcess[str]]) -> Path:
    """Return its folder."""
    return once[0]


@pytest.fixture(scope="module")
def building(once: tuple[Path, subprocess.CompletedProcess[str]]) -> subprocess.CompletedProcess[str]:
    """Return the result of the build."""
    return once[1]


@pytest.fixture(scope="module")
def built(site: Path) -> list[Page]:
    """Read its pages once."""
    return pages(site)


def led_to(page: Page, link: str) -> tuple[Path, str]:
    """Return the file and the anchor to which a link within the site leads."""
    parts = urlsplit(link)
    path = Path(os.path.normpath(page.path.parent / unquote(parts.path))) if parts.path else page.path
    return path, unquote(parts.fragment)


def test_the_build_reports_no_warning(building: subprocess.CompletedProcess[str]) -> None:
    assert (building.returncode, building.stdout + building.stderr) == (0, "")


def test_the_site_contains_every_page(site: Path) -> None:
    sources = [*ROOT.glob("*.md"), *ROOT.glob("[!.]*/README.md"), *(ROOT / "docs").rglob("*.md")]
    absent = [path for path in sources if not (site / path.relative_to(ROOT)).with_suffix(".html").is_file()]
    assert not absent


def test_every_page_is_reachable_from_the_index(site: Path, built: list[Page]) -> None:
    by_path = {page.path: page for page in built}
    door = by_path[site / "docs/index.html"]
    reached, ahead = {door.path}, [door]
    while ahead:
        page = ahead.pop()
        near = {led_to(page, link)[0] for link in page.links if not urlsplit(link).scheme}
        ahead += [by_path[path] for path in near - reached if path in by_path]
        reached |= near
    by_other_ways = {site / name for name in ("index.html", "search.html")}
    assert set(by_path) - reached == by_other_ways


def test_every_page_has_one_heading_and_a_title(site: Path, built: list[Page]) -> None:
    others = {site / name for name in ("index.html", "search.html")}
    assert not [page.path for page in built if not page.title]
    assert not [page.path for page in built if page.tags["h1"] != 1 and page.path not in others]


def test_the_root_redirects_to_the_index(site: Path) -> None:
    page = Page(site / "index.html")
    assert page.links == {"docs/index.html"}
    assert 'content="0; url=docs/index.html"' in page.path.read_text()


def test_every_link_has_a_target(built: list[Page]) -> None:
    ids = {page.path: page.ids for page in built}
    dead = []
    for page in built:
        for link in page.links:
            if urlsplit(link).scheme:
                continue
            path, anchor = led_to(page, link)
            if not path.is_file() or (anchor and anchor not in ids[path]):
                dead.append(f"{page.path}: {link}")
    assert not dead


def test_external_links_use_https(built: list[Page]) -> None:
    schemes = {urlsplit(link).scheme for page in built for link in page.links}
    assert schemes <= {"", "https"}


def test_the_site_loads_nothing_from_elsewhere(site: Path, built: list[Page]) -> None:
    loads = {load for page in built for load in page.loads}
    assert loads
    assert not [load for load in loads if urlsplit(load).scheme not in {"", "data"} or urlsplit(load).netloc]
    styles = [*site.rglob("*.css"), *site.rglob("*.svg"), *(page.path for page in built)]
    assert not {match for path in styles for match in ELSEWHERE.findall(path.read_text(errors="replace"))}


def test_everything_that_a_page_loads_exists(built: list[Page]) -> None:
    absent = [
        f"{page.path}: {load}"
        for page in built
        for load in page.loads
        if not load.startswith("data:") and not led_to(page, load)[0].is_file()
    ]
    assert not absent


def test_a_linked_file_is_on_the_site_unchanged(site: Path) -> None:
    links = Page(site / "samples/README.html").links
    assert "../files/samples/delivery-team.yaml.html" in links
    shown = site / "files/samples/delivery-team.yaml.html"
    assert "AgentTeam" in shown.read_text()
    assert "delivery-team.yaml" in Page(shown).links
    kept = (site / "files/samples/delivery-team.yaml").read_bytes()
    assert kept == (ROOT / "samples/delivery-team.yaml").read_bytes()


PLANTED = {
    # What is added to a page, and the build's message.
    "[x](docs/absent.md)": "'docs/absent.md'",
    "[x](samples/absent.yaml)": "'samples/absent.yaml'",
    "[x](docs/explanation/security.md#absent)": "no heading of docs/explanation/security is #absent",
    "[x](#absent)": "no heading of SECURITY is #absent",
    "## It's here\n\n[x](#it-s-here)": "no heading of SECURITY is #it-s-here",
    "![x](docs/pictures/absent.svg)": "docs/pictures/absent.svg",
}


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> subprocess.CompletedProcess[str]:
    """Build a part of the site with dead links in a page, and with a page that no index lists."""
    copy = tmp_path_factory.mktemp("copy")
    kept_out = shutil.ignore_patterns(
        ".*", "build", "node_modules", "__pycache__", "tests", "decisions", "how-to", "reference", "clients"
    )
    shutil.copytree(ROOT, copy, ignore=kept_out, dirs_exist_ok=True)
    with (copy / "SECURITY.md").open("a") as page:
        page.write("".join(f"\n{text}\n" for text in PLANTED))
    (copy / "docs/forgotten.md").write_text("# Forgotten\n")
    return build(copy / "build/docs", copy, builder="dummy")


@pytest.mark.parametrize("text", PLANTED)
def test_a_dead_link_fails_the_build(text: str, said: subprocess.CompletedProcess[str]) -> None:
    complaints = [line for line in said.stderr.splitlines() if "SECURITY.md" in line]
    assert said.returncode != 0
    assert any(PLANTED[text] in line for line in complaints), said.stderr


def test_a_page_that_no_index_lists_fails_the_build(said: subprocess.CompletedProcess[str]) -> None:
    complaints = [line for line in said.stderr.splitlines() if "forgotten.md" in line]
    assert any("isn't included in any toctree" in line for line in complaints), said.stderr
