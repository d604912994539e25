"""Subjects and names of mails: decoded as written, in lines of legal length."""

import gc
import re
from email import message_from_bytes
from email.header import decode_header, make_header
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import default

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.mailboxes import Mailbox
from app.domain.targets import EmailTarget
from app.senders.headers import Mail
from app.senders.mail import compose_mail, written
from tests.examples import NOW, envelope, unhurried

POLICY = Mail(linesep="\r\n", cte_type="7bit")
WORD = re.compile(rb"=\?[^ ]*\?=")
SUBJECTS = [
    "Team report in research finished: Completed",
    "é" * 30 + " word " + "x" * 20 + " é " * 10,
    "Team report über alle Märkte in Zürich und anderswo finished: Completed mit größeren Änderungen",
    "word " * 20 + "🎉🎉",
    "x" * 78,
    "x" * 300,
    "short " + "x" * 76,
    "two  spaces, " * 10,
    "a" * 69 + " b",
    "a" * 70 + " b",
    "日本語の件名は空白がなくて、とても長いことがあります。" * 4,
    "👨\u200d👩\u200d👧 family, \u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",
    "a =? b ?= c",
]


def lines_of(message: EmailMessage, name: str) -> list[bytes]:
    head = message.as_bytes().partition(b"\r\n\r\n")[0]
    [found] = re.findall(rb"(?m)^%s: .*(?:\r\n[ \t].*)*" % name.encode(), head)
    return [line.rstrip(b"\r") for line in found.split(b"\r\n")]


def judged(lines: list[bytes]) -> None:
    for line in lines:
        words = WORD.findall(line)
        assert len(line) <= (76 if words else 78), line
        assert all(len(word) <= 75 for word in words), line
        assert line.strip(), "a line of only white space"


def subject_of(text: str) -> str:
    message = EmailMessage(POLICY)
    message["Subject"] = text
    judged(lines_of(message, "Subject"))
    return str(message_from_bytes(message.as_bytes(), policy=default)["Subject"])


@pytest.mark.parametrize("text", SUBJECTS)
def test_a_decoded_subject_equals_the_original(text: str) -> None:
    assert subject_of(text) == text


@unhurried
@given(st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]) | st.just(" "), max_size=300))
def test_any_text_survives_as_a_subject(text: str) -> None:
    text = text.strip().replace("=?", "= ?")  # as mail.py gives it
    assert subject_of(text) == text


@pytest.mark.parametrize(
    "name",
    ["Agent Teams", "Ann, of the Agents", "Günther", "日本語" * 20, "Long name " * 12, "x" * 90, ""],
)
@pytest.mark.parametrize("address", ["teams@example.com", f"{'t' * 60}@{'d' * 60}.example.com"])
def test_a_decoded_display_name_equals_the_original(name: str, address: str) -> None:
    message = EmailMessage(POLICY)
    message["From"] = Address(display_name=name.strip(), addr_spec=address)
    lines = lines_of(message, "From")
    judged([line for line in lines if address.encode() not in line])
    # The library's newer parser is not used: it puts a space between two encoded words of a name.
    written, _, read = str(message_from_bytes(message.as_bytes())["From"]).rpartition("<")
    shown = str(make_header(decode_header(written.strip()))).strip('"')
    assert (shown, read) == (name.strip(), f"{address}>" if name else read)


def test_a_mail_leaves_nothing_to_the_garbage_collector() -> None:
    def compose() -> bytes:
        target = EmailTarget(type="email", name="editors", to=("ann@example.com",))
        mail = compose_mail(envelope(), target, ("ann@example.com",), Mailbox("teams@example.com"), at=NOW)
        return written(mail)

    compose()
    gc.collect()
    gc.disable()
    try:
        for _ in range(20):
            compose()
        assert gc.collect() == 0
    finally:
        gc.enable()
