"""A notification as text and HTML: its content, and that no team's text becomes markup."""

from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.senders.documents import as_html, as_text, title
from tests.examples import artifact, envelope, on_one_line, unhurried

TAGS = {
    "html", "head", "meta", "title", "body", "h2", "p", "table", "tr", "th", "td", "h3", "ul", "li", "code",
    "pre", "small",
}  # fmt: skip


class Tags(HTMLParser):
    """Collects the tags of a document, and its text."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        assert {name for name, _ in attrs} <= {"charset", "style"}

    def handle_data(self, data: str) -> None:
        self.text += data


def read(html: str) -> Tags:
    parser = Tags()
    parser.feed(html)
    return parser


@pytest.mark.parametrize("with_envelope", [False, True])
@unhurried
@given(
    text=st.text()
    | st.sampled_from(["<script>x</script>", "</pre><b>", '" onload="x', "a&lt;b", "\ud800", "\u200c"])
)
def test_a_team_s_text_never_becomes_markup(with_envelope: bool, text: str) -> None:
    made = envelope(
        message=text,
        team=text,
        phase=text,
        artifacts=(artifact(path=text, name=text),),
        facts=((text, text),),
    )
    html = as_html(made, with_envelope=with_envelope)
    html.encode()
    as_text(made).encode()
    assert set(read(html).tags) <= TAGS
    line = title(made, text)
    assert on_one_line(line)
    assert line
    line.encode()


def test_the_document_ends_with_the_webhook_s_json() -> None:
    made = envelope(message="ü <b>", artifacts=(artifact(path="/a", name="a"),))
    assert '"message": "ü <b>"' in read(as_html(made, with_envelope=True)).text
    assert "Envelope" not in as_html(made)


def test_only_the_first_of_many_artifacts_are_listed() -> None:
    made = envelope(artifacts=tuple(artifact(path=f"/{number}", name=str(number)) for number in range(1000)))
    assert as_text(made).count("\n- ") == 201
    assert "- and 800 more\n" in as_text(made)


@pytest.mark.parametrize(
    ("template", "line"),
    [
        (None, "Team report in research finished: Completed"),
        ("{team} {phase} {duration} {unknown} {artifacts}", "report Completed 8 s {unknown} a.md"),
        ("two\nlines\r\n\tand  more", "two lines and more"),
        ("x" * 1000, "x" * 199 + "…"),
        ("\u202e\x00", "Team report in research finished: Completed"),
    ],
)
def test_a_title_is_one_line(template: str | None, line: str) -> None:
    made = envelope(facts=(("Duration", "8 s"),), artifacts=(artifact(path="/a.md", name="a.md"),))
    assert title(made, template) == line
