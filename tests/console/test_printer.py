"""Output: tables with whole words at any width, mails as readers see them, and no character lost."""

import io
import re
import sys
from collections.abc import Callable
from email.message import EmailMessage
from email.policy import SMTP
from typing import Any

import pytest

from app.console.form import Form
from app.console.printer import Printer

Document = dict[str, Any]
Show = Callable[..., str]

URL = "https://hooks.example.com/reports/of/the/research/department"
SENTENCE = "no backend for google-drive is enabled in this installation; ask its operator to enable one"
ID = f"msg_{7:032x}"
TARGETS: list[Document] = [
    {
        "name": "archive",
        "type": "webhook",
        "phase": "Delivered",
        "reason": "Delivered",
        "httpStatus": 200,
        "attempts": 1,
        "target": URL,
        "message": "answered 200",
        "timestamp": "2026-11-05T14:03:11Z",
        "id": ID,
    },
    {
        "name": "google-drive-3",
        "type": "google-drive",
        "phase": "Failed",
        "reason": "NotImplemented",
        "attempts": 0,
        "target": "Shared Reports/Q3",
        "message": SENTENCE,
    },
]


def report(*targets: Document, **more: Any) -> Document:
    return {"namespace": "research", "team": "report", "phase": "Failed", "targets": list(targets), **more}


def previewed(kind: str, headers: dict[str, str], body: str) -> Document:
    request = {"method": "POST", "url": "https://example.com/", "headers": headers, "body": body}
    target = {"name": "one", "type": kind, "would": "Send", "request": request}
    return {"namespace": "research", "team": "report", "phase": "Completed", "targets": [target]}


class Terminal(io.StringIO):
    """A file that claims to be a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture(params=["file", "terminal"])
def show(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Show:
    """Print to a file or a terminal of this width."""
    monkeypatch.setenv("TERM", "xterm")

    def print_it(document: Document, form: Form = Form.TABLE, columns: int = 80) -> str:
        out = Terminal() if request.param == "terminal" else io.StringIO()
        monkeypatch.setattr(sys, "stdout", out)
        monkeypatch.setenv("COLUMNS", str(columns))
        printer = Printer(form)
        (printer.report if "would" not in str(document) else printer.preview)(document)
        return re.sub(r"\x1b\[[0-9;]*m", "", out.getvalue())

    return print_it


@pytest.mark.parametrize("columns", [73, 80, 100, 120, 200])
def test_a_table_fits_its_width_and_breaks_no_word(show: Show, columns: int) -> None:
    said = "this installation does not deliver teams with the phase Failed, so that none is sent"
    lines = show(report(*TARGETS, reason=said), columns=columns).splitlines()
    assert max(map(len, lines)) <= columns
    words = {word for line in lines for word in line.split()}
    for text in (URL, SENTENCE, said, "google-drive-3 NotImplemented Shared Reports/Q3 research/report"):
        assert words >= set(text.split())
    assert all(line == line.rstrip() for line in lines)


@pytest.mark.parametrize("length", [30, 60, 200])
def test_a_name_of_any_length_breaks_no_other_word(show: Show, length: int) -> None:
    name = "n" * length
    lines = show(report(TARGETS[0] | {"name": name}, TARGETS[1])).splitlines()
    assert [line for line in lines if len(line) > 80] == [
        line for line in lines if length > 80 and name in line
    ]
    assert {word for line in lines for word in line.split()} >= {name, URL, "NotImplemented", "webhook"}


def test_wide_has_times_and_ids_as_columns(show: Show) -> None:
    head, archive, drive = show(report(*TARGETS), Form.WIDE, 300).splitlines()[2:]
    columns = re.split(r"  +", head)
    found = dict(zip(columns, re.split(r"  +", archive), strict=True))
    assert (found["SINCE"], found["ID"], found["WHERE"]) == ("2026-11-05T14:03:11Z", ID, URL)
    assert dict(zip(columns, re.split(r"  +", drive), strict=True))["MESSAGE"] == SENTENCE


def test_wide_has_one_line_per_field_if_the_terminal_is_too_narrow(
    show: Show, request: pytest.FixtureRequest
) -> None:
    lines = show(report(*TARGETS), Form.WIDE, 80).splitlines()
    if "file" in request.node.callspec.id:
        assert any(URL in line and ID in line for line in lines)
        return
    assert max(map(len, lines)) <= 80
    assert [line.split() for line in lines if ID in line] == [["ID", ID]]


def test_a_mail_is_shown_as_text(show: Show) -> None:
    mail = EmailMessage(SMTP.clone(cte_type="7bit"))
    mail["Subject"] = "Größe: 5 € — fertig"
    mail["To"] = "ann@example.com"
    text = "Der Bericht ist fertig: 5 €, " + "lang genug, dass quoted-printable ihn umbricht " * 3 + "👩‍🔬"
    mail.set_content(f"{text}\n\nZweiter Absatz\n")
    mail.add_alternative("<p>markup</p>", subtype="html")
    mail.add_attachment(b'{"event": 1}', maintype="application", subtype="json", filename="envelope.json")
    body = mail.as_bytes().partition(b"\r\n\r\n")[2].decode("ascii")
    shown = show(previewed("email", {name: str(value) for name, value in mail.items()}, body), columns=400)
    assert f"  {text}\n\n  Zweiter Absatz\n" in shown
    assert "Subject: Größe: 5 € — fertig" in shown
    assert "attached: envelope.json (application/json)" in shown
    for packing in ("markup", "Content-", "MIME-Version", "boundary", "=C3", "\ufffd"):
        assert packing not in shown


def test_a_multipart_upload_is_shown_part_by_part(show: Show) -> None:
    parts = '--b\r\nContent-Type: application/json; charset=UTF-8\r\n\r\n{"name":"Größe"}\r\n'
    parts += "--b\r\nContent-Type: text/html; charset=UTF-8\r\n\r\n<h2>Größe</h2>\n<p>5 €</p>\r\n--b--\r\n"
    shown = show(previewed("google-drive", {"content-type": 'multipart/related; boundary="b"'}, parts))
    assert '    "name": "Größe"\n' in shown
    assert "  <h2>Größe</h2>\n  <p>5 €</p>\n" in shown
    assert "--b" not in shown


@pytest.mark.parametrize(
    "cut", ["", "--b", "nothing of it", "--b\r\nContent-Type: text/plain; charset=x-no\r\n\r\nü"]
)
def test_a_truncated_or_odd_mail_is_shown_as_far_as_possible(show: Show, cut: str) -> None:
    assert "  POST " in show(previewed("email", {"Content-Type": 'multipart/mixed; boundary="b"'}, cut))


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("5\u00a0€", "5 €"),
        ("👩\u200d🔬", "👩\u200d🔬"),
        ("\u0645\u06cc\u200c\u062e\u0645", "\u0645\u06cc\u200c\u062e\u0645"),
        ("Zu\u00adcker\ufeff", "Zucker"),
        ("a\tb\nc", "a b c"),
        ("\x1b[2J\u202e", "\\u001b[2J\\u202e"),
    ],
)
def test_every_character_is_shown_and_control_characters_are_escaped(
    show: Show, written: str, shown: str
) -> None:
    printed = show(report(TARGETS[0] | {"message": written, "target": f"{URL}{written}"}, reason=written))
    assert printed.count(shown) == 3
    assert "\ufffd" not in printed


def test_a_text_of_several_lines_is_shown_in_lines(show: Show) -> None:
    assert "  one\n  two\n\n  three\n" in show(previewed("webhook", {}, "one\r\ntwo\n\nthree"))
