# ruff: noqa: INP001 - Sphinx reads it as a file, not as a module of a package
"""The site: the repository's pages of Markdown, checked link by link, with nothing on it from elsewhere.

The source folder is the repository itself, so that a link leads to the same place on a forge and here.
"""

import html
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from docutils import nodes
from pygments.lexers import BashLexer, get_lexer_for_filename
from pygments.util import ClassNotFound
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.transforms import SphinxTransform
from sphinx.util import logging

LOGGER = logging.getLogger(__name__)
PROJECT = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text())["project"]

project = PROJECT["name"]
version = release = PROJECT["version"]
extensions = ["myst_parser"]
source_suffix = {".md": "markdown"}
root_doc = "docs/index"
include_patterns = ["*.md", "[!.]*/README.md", "charts/*/README.md", "docs/**"]
# Sphinx need not look for pages in what is built or installed: that takes longer than to read all pages.
exclude_patterns = [".*", "build", "dist", "app", "tests", "clients/*/*"]

myst_enable_extensions = ["colon_fence"]  # for the index
myst_heading_anchors = 6  # named as a forge names them
myst_links_external_new_tab = False

html_theme = "furo"
html_title = project
html_favicon = "_static/icon.svg"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_extra_path = ["site"]  # what leads from / to the index
html_use_index = False
html_copy_source = False
html_show_sourcelink = False
html_show_copyright = False
html_last_updated_fmt = None  # two builds of one commit are alike
pygments_style = "friendly"
pygments_dark_style = "github-dark"
highlight_language = "none"

FILES = "files"
"""Below this lie the files that pages link to and that are no pages: each as it is, and as a page to read."""

LINKED, ANCHORS = "linked files", "anchors"
"""Keys in a page's metadata, which Sphinx keeps and forgets with the page."""

LISTED_UNDER = {"docs/adr/README": "[0-9]*"}
"""Pages whose tables list others: those stand below them in the navigation."""


class Links(SphinxTransform):
    """Leads links to files to their pages, and links to folders to their README or a list of their files."""

    default_priority = 500  # after Markdown is read, before what is in the page is looked up

    def apply(self, **_: Any) -> None:
        """Rewrite what MyST made of such links, and note what the others want of their pages."""
        page = self.env.metadata[self.env.docname]
        linked, anchors = page.setdefault(LINKED, set()), page.setdefault(ANCHORS, [])
        for link in list(self.document.findall(_leads_within)):
            if "refuri" in link:
                anchors.append((self.env.docname, link["refuri"][1:], link.line))
                continue
            if link.get("refdomain") == "doc":
                path = Path(self.env.srcdir, link["reftarget"] + ".md")
            else:
                path = Path(self.env.relfn2path(link["reftarget"].partition("#")[0], self.env.docname)[1])
            readme = path / "README.md"
            name = path.relative_to(self.env.srcdir).as_posix()
            if self._page(path):
                if link["reftargetid"]:
                    anchors.append((link["reftarget"], link["reftargetid"], link.line))
            elif self._page(readme):
                link["refdomain"], link["reftarget"], link["reftargetid"] = "doc", f"{name}/README", None
            elif path.exists():
                linked.add(name)
                uri = self.app.builder.get_relative_uri(self.env.docname, f"{FILES}/{name}")
                link.replace_self(nodes.reference("", "", *link.children, internal=True, refuri=uri))

    def _page(self, path: Path) -> bool:
        return self.env.path2doc(path) in self.env.found_docs


def _leads_within(node: nodes.Node) -> bool:
    if isinstance(node, addnodes.pending_xref | addnodes.download_reference):
        return node.get("reftype") == "myst" and bool(node["reftarget"])
    return isinstance(node, nodes.reference) and str(node.get("refuri", "")).startswith("#")


def _judge_anchors(_: Sphinx, env: BuildEnvironment) -> None:
    """Complain of anchors that a forge does not know; MyST knows others besides."""
    for docname, page in env.metadata.items():
        for target, anchor, line in page.get(ANCHORS, ()):
            if anchor not in env.metadata[target].get("myst_slugs", {}):
                LOGGER.warning("no heading of %s is #%s", target, anchor, location=(docname, line))


def _list_below(_: Sphinx, docname: str, source: list[str]) -> None:
    if pattern := LISTED_UNDER.get(docname):
        source[0] += f"\n\n```{{toctree}}\n:hidden:\n:glob:\n\n{pattern}\n```\n"


def _wanted(app: Sphinx) -> list[Path]:
    """Return the files and folders that are linked to, and the files in those folders."""
    root = Path(app.srcdir)
    linked = {root / name for page in app.env.metadata.values() for name in page.get(LINKED, ())}
    within = {path for folder in linked if folder.is_dir() for path in folder.iterdir() if path.is_file()}
    return sorted(linked | within)


def _pages(app: Sphinx) -> Iterator[tuple[str, dict[str, Any], str]]:
    """Yield a page for each of them."""
    for path in _wanted(app):
        name = path.relative_to(app.srcdir).as_posix()
        title = f"<h1><code>{html.escape(name)}</code></h1>"
        if path.is_dir():
            names = [html.escape(one.name) for one in sorted(path.iterdir()) if one.is_file()]
            links = (f'<li><a href="{path.name}/{one}.html"><code>{one}</code></a></li>' for one in names)
            content = f"<ul>{''.join(links)}</ul>"
        else:
            text = path.read_text(encoding="utf-8")
            as_it_is = Path(app.outdir, FILES, name)
            as_it_is.parent.mkdir(parents=True, exist_ok=True)
            as_it_is.write_text(text, encoding="utf-8")
            shown = app.builder.highlighter.highlight_block(text, _language(path.name), force=True)
            content = f'<p><a href="{html.escape(path.name)}">The file as it is</a></p>{shown}'
        yield f"{FILES}/{name}", {"title": name, "body": title + content}, "page.html"


def _language(name: str) -> str:
    try:
        return get_lexer_for_filename(name).aliases[0]
    except ClassNotFound:
        return "none"


def setup(app: Sphinx) -> dict[str, Any]:
    """Take part in the build."""
    app.add_lexer("console", BashLexer)  # most of it has no prompt, and would be grey as output is
    app.add_transform(Links)
    app.connect("source-read", _list_below)
    app.connect("env-check-consistency", _judge_anchors)
    app.connect("html-collect-pages", _pages)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
