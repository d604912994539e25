"""Mail addresses: which are accepted, and that nothing else reaches a header or a command."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.mailboxes import Mailbox, read_address, read_mailbox
from tests.examples import unhurried


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("jane@example.com", "jane@example.com"),
        (" jane@example.com ", "jane@example.com"),
        ("o'neill+x=y_z.w@sub.example.com", "o'neill+x=y_z.w@sub.example.com"),
        ("jane@bücher.example", "jane@xn--bcher-kva.example"),
        ("root@localhost", "root@localhost"),
    ],
)
def test_an_address_is_read_as_in_smtp(text: str, address: str) -> None:
    assert read_address(text) == address


@pytest.mark.parametrize(
    "text",
    [
        "", "@", "jane", "@example.com", "jane@", "a@b@c", "a b@example.com", ".a@example.com",
        "a..b@example.com", "jürgen@example.com", "a@exa mple.com", "a@-x.com", "a@x-.com", "a@x..com",
        "a@[127.0.0.1]", '"a"@b.c', "a@b.c\r\nX: y", "a\x00@b.c", "<a@b.c>", "a@b.c,d@e.f", f"{'a' * 65}@b.c",
        f"a@{'b' * 64}.c", f"a@{'.'.join(['b' * 60] * 5)}", "a@\ud800.com",
    ],
)  # fmt: skip
def test_an_invalid_address_is_refused_without_being_shown(text: str) -> None:
    with pytest.raises(
        ValueError, match=r"^is not a mail address; write a plain one in ASCII, such as jane@example\.com$"
    ):
        read_address(text)


@unhurried
@given(st.text() | st.from_regex(r"[ -~]{1,20}@[ -~]{1,20}", fullmatch=True))
def test_no_address_contains_anything_that_ends_a_command(text: str) -> None:
    try:
        address = read_address(text)
    except ValueError:
        return
    assert address.isascii()
    assert address.isprintable()
    assert not set(address) & set(' <>"\\,;:()[]')
    assert address.count("@") == 1


@pytest.mark.parametrize(
    ("text", "mailbox"),
    [
        ("jane@example.com", Mailbox("jane@example.com")),
        ("Jane Doe <jane@example.com>", Mailbox("jane@example.com", "Jane Doe")),
        ('"Doe, Jane" <jane@example.com>', Mailbox("jane@example.com", "Doe, Jane")),
        ("Jürgen <jane@example.com>", Mailbox("jane@example.com", "Jürgen")),
        ("<jane@example.com>", Mailbox("jane@example.com")),
    ],
)
def test_a_mailbox_can_have_a_name(text: str, mailbox: Mailbox) -> None:
    assert read_mailbox(text) == mailbox
    assert mailbox.domain == "example.com"


@pytest.mark.parametrize("text", ["Jane", "Jane <>", "a@b <c@d.e>", "Jane\n<jane@example.com>", "<<a@b.c>>"])
def test_an_invalid_mailbox_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"mail address|control characters"):
        read_mailbox(text)
