"""The site contains every page, and each link has a target; a dead link fails the build."""

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
    """Build it once."""
    return build_once(tmp_path_factory)


@pytest.fixture(scope="module")
def site(once: tuple[Path, subprocess.CompletedProcess[str]]) -> Path:
    """Return where it is."""
    return once[0]


@pytest.fixture(scope="module")
def building(once: tuple[Path, subprocess.CompletedProcess[str]]) -> subprocess.CompletedProcess[str]:
    """Return how that went."""
    return once[1]


@pytest.fixture(scope="module")
def built(site: Path) -> list[Page]:
    """Read it once."""
    return pages(site)


def led_to(page: Page, link: str) -> tuple[Path, str]:
    """Return the file and the anchor in it that a link within the site leads to."""
    parts = urlsplit(link)
    path = (page.path.parent / unquote(parts.path)).resolve() if parts.path else page.path.resolve()
    return path, unquote(parts.fragment)


def test_it_is_built_without_a_complaint(building: subprocess.CompletedProcess[str]) -> None:
    assert (building.returncode, building.stdout + building.stderr) == (0, "")


def test_every_page_of_the_repository_is_on_it(site: Path) -> None:
    sources = [*ROOT.glob("*.md"), *ROOT.glob("[!.]*/README.md"), *(ROOT / "docs").rglob("*.md")]
    absent = [path for path in sources if not (site / path.relative_to(ROOT)).with_suffix(".html").is_file()]
    assert not absent


def test_every_page_is_reached_from_its_front_door(site: Path, built: list[Page]) -> None:
    by_path = {page.path.resolve(): page for page in built}
    door = by_path[(site / "docs/index.html").resolve()]
    reached, ahead = {door.path.resolve()}, [door]
    while ahead:
        page = ahead.pop()
        near = {led_to(page, link)[0] for link in page.links if not urlsplit(link).scheme}
        ahead += [by_path[path] for path in near - reached if path in by_path]
        reached |= near
    by_other_ways = {(site / name).resolve() for name in ("index.html", "search.html")}
    assert set(by_path) - reached == by_other_ways


def test_the_root_leads_to_its_front_door(site: Path) -> None:
    page = Page(site / "index.html")
    assert page.links == {"docs/index.html"}
    assert 'content="0; url=docs/index.html"' in page.path.read_text()


def test_every_link_leads_somewhere(built: list[Page]) -> None:
    ids = {page.path.resolve(): page.ids for page in built}
    dead = []
    for page in built:
        for link in page.links:
            if urlsplit(link).scheme:
                continue
            path, anchor = led_to(page, link)
            if not path.is_file() or (anchor and anchor not in ids[path]):
                dead.append(f"{page.path}: {link}")
    assert not dead


def test_links_lead_away_only_by_https(built: list[Page]) -> None:
    schemes = {urlsplit(link).scheme for page in built for link in page.links}
    assert schemes <= {"", "https"}


def test_nothing_on_it_comes_from_elsewhere(site: Path, built: list[Page]) -> None:
    loads = {load for page in built for load in page.loads}
    assert loads
    assert not [load for load in loads if urlsplit(load).scheme not in {"", "data"} or urlsplit(load).netloc]
    styles = [*site.rglob("*.css"), *site.rglob("*.svg"), *(page.path for page in built)]
    assert not {match for path in styles for match in ELSEWHERE.findall(path.read_text(errors="replace"))}


def test_what_is_loaded_is_there(built: list[Page]) -> None:
    absent = [
        f"{page.path}: {load}"
        for page in built
        for load in page.loads
        if not load.startswith("data:") and not led_to(page, load)[0].is_file()
    ]
    assert not absent


def test_a_file_that_a_page_links_to_is_there_to_read_and_as_it_is(site: Path) -> None:
    links = Page(site / "samples/README.html").links
    assert "../files/samples/delivery-team.yaml.html" in links
    shown = site / "files/samples/delivery-team.yaml.html"
    assert "AgentTeam" in shown.read_text()
    assert "delivery-team.yaml" in Page(shown).links
    kept = (site / "files/samples/delivery-team.yaml").read_bytes()
    assert kept == (ROOT / "samples/delivery-team.yaml").read_bytes()


PLANTED = {
    # What is written into a page, and what the build says of it.
    "[x](docs/absent.md)": "'docs/absent.md'",
    "[x](samples/absent.yaml)": "'samples/absent.yaml'",
    "[x](docs/explanation/security.md#absent)": "no heading of docs/explanation/security is #absent",
    "[x](#absent)": "no heading of SECURITY is #absent",
    "## It's here\n\n[x](#it-s-here)": "no heading of SECURITY is #it-s-here",
    "![x](docs/pictures/absent.svg)": "docs/pictures/absent.svg",
}


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> subprocess.CompletedProcess[str]:
    """Build a part of it in which a page leads astray, and another is listed nowhere."""
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


def test_a_page_that_is_listed_nowhere_fails_the_build(said: subprocess.CompletedProcess[str]) -> None:
    complaints = [line for line in said.stderr.splitlines() if "forgotten.md" in line]
    assert any("isn't included in any toctree" in line for line in complaints), said.stderr
