"""The email sender with a real SMTP server: which mail arrives, for whom, and how refusals are handled."""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import trustme

from app.domain.bounds import SUBJECT
from app.domain.errors import TargetError
from app.domain.events import CompletionEvent
from app.domain.reasons import Reason
from app.domain.receipts import Phase
from app.domain.times import steady
from app.senders.credentials import Credentials
from app.senders.envelopes import Progress, Verdict
from app.senders.relays import where
from app.settings import ServiceSettings
from tests.canaries import STEM
from tests.examples import artifact, envelope, loopback_settings
from tests.harness.relay import Relay
from tests.harness.waiting import until
from tests.posting import named
from tests.senders.sending import attempt, deliver
from tests.sockets import Bare, Speak, listening, silent

TO = {"type": "email", "to": ["ann@example.com"]}
THREE = {"type": "email", "to": ["ann@example.com", "bob@example.com", "cid@example.com"]}
OWN = {**TO, "credentialsSecret": "keys"}


def settings_for(relay: Relay, **changes: Any) -> ServiceSettings:
    return ServiceSettings.load(**{**relay.settings, **changes})


@pytest.fixture(name="relay")
async def running_relay() -> AsyncIterator[Relay]:
    async with Relay() as relay:
        yield relay


@pytest.mark.parametrize("host", ["smtp.example.com", "SMTP.Example.COM", "smtp.example.com."])
@pytest.mark.parametrize("brought", [False, True], ids=["installation's", "team's own"])
def test_two_spellings_of_a_host_are_one_relay(host: str, *, brought: bool) -> None:
    settings = ServiceSettings.load(email="smtp", smtp_host=host, smtp_from="teams@example.com")
    own = Credentials("own", {"smtp-host": host.encode(), "from": b"a@example.com"})
    assert where(settings, "own" if brought else None, own) == ("smtp.example.com", 587)


def verdict_of(outcome: Verdict | TargetError) -> Verdict:
    assert isinstance(outcome, Verdict), outcome
    return outcome


def error_of(outcome: Verdict | TargetError) -> TargetError:
    assert isinstance(outcome, TargetError), outcome
    return outcome


# ---------------------------------------------------------------------------------------------------------
# The message


async def test_the_message_contains_text_and_html_for_people_and_json_for_programs(
    relay: Relay,
) -> None:
    made = envelope(
        message='Fertig: „Bericht“ <b>bold</b> & 🎉\n.\nFrom here\r\nthe "end"',
        artifacts=(artifact(path="/workspace/output/übersicht <1>.md", name="übersicht <1>.md"),),
        facts=(("Duration", "8 s"), ("Cost", "$4.50")),
    )
    verdict = await attempt(TO, made=made, settings=settings_for(relay))
    assert verdict_of(verdict).message == "accepted for 1 recipient"
    (mail,) = relay.mails
    assert (mail.sender, mail.recipients) == ("teams@example.com", ("ann@example.com",))
    assert mail.greeting == "[127.0.0.1]"
    assert mail.text() == (
        'Fertig: „Bericht“ <b>bold</b> & 🎉\n.\nFrom here\nthe "end"\n\n'
        "Team       report\nNamespace  research\nOutcome    Completed\nDuration   8 s\nCost       $4.50\n\n"
        "Artifacts\n- übersicht <1>.md  /workspace/output/übersicht <1>.md\n\n"
        "team.completed · msg_0123456789abcdef\n"
    )
    html = mail.text("text/html")
    assert "&lt;b&gt;bold&lt;/b&gt; &amp; 🎉" in html
    assert "<b>" not in html
    assert "<li>übersicht &lt;1&gt;.md <code>/workspace/output/übersicht &lt;1&gt;.md</code></li>" in html
    attached = mail.part("application/json")
    assert attached.get_filename() == "envelope.json"
    assert json.loads(attached.get_content()) == json.loads(made.body())
    assert [part.get_content_type() for part in mail.parsed.walk()] == [
        "multipart/mixed", "multipart/alternative", "text/plain", "text/html", "application/json",
    ]  # fmt: skip
    assert mail.content.isascii()


async def test_the_headers_name_sender_and_recipients_and_mark_the_mail_as_automatic(relay: Relay) -> None:
    await attempt({**THREE, "subject": "{team}: {phase}, fertig 🎉"}, settings=settings_for(relay))
    (mail,) = relay.mails
    head = mail.parsed
    assert head["From"] == "Agent Teams <teams@example.com>"
    assert head["To"] == "ann@example.com, bob@example.com, cid@example.com"
    assert head["Subject"] == "report: Completed, fertig 🎉"
    assert head["Message-ID"] == "<msg_0123456789abcdef@example.com>"
    assert head["Auto-Submitted"] == "auto-generated"
    assert head["Date"].datetime
    assert not head.defects


async def test_a_retry_has_the_same_message_id_and_another_delivery_has_another(relay: Relay) -> None:
    for made in (envelope(), envelope(), envelope(id="msg_other")):
        await attempt(TO, made=made, settings=settings_for(relay))
    ids = [mail.parsed["Message-ID"] for mail in relay.mails]
    assert ids == ["<msg_0123456789abcdef@example.com>"] * 2 + ["<msg_other@example.com>"]


async def test_the_subject_of_a_test_notification_says_that_it_is_a_test(relay: Relay) -> None:
    await attempt(TO, made=envelope(event="team.test"), settings=settings_for(relay))
    (mail,) = relay.mails
    assert mail.parsed["Subject"] == "Test: Team report in research finished: Completed"
    assert "Test: a notification of team report" in mail.text("text/html")


INJECTIONS = [
    "a\r\nBcc: eve@example.com",
    "a\nBcc: eve@example.com\n\nbody",
    "a\rBcc: eve@example.com",
    "a\u2028Bcc: eve@example.com",
    "a\x85Bcc: eve@example.com",
    "a\x0bBcc: eve@example.com\x00",
    "=?utf-8?q?a=0D=0ABcc:_eve@example.com?=",
    "\ud800 half a pair",
    "x" * 5000,
    "é" * 5000,
    "{artifacts}" * 50,
    " \t ",
]


@pytest.mark.parametrize("text", INJECTIONS, ids=[ascii(text)[:30] for text in INJECTIONS])
async def test_a_team_s_text_adds_no_header_and_no_recipient(relay: Relay, text: str) -> None:
    made = envelope(
        message=text,
        team=text[:60],
        artifacts=(artifact(path=text, name=text),),
        facts=(("Cost", text[:40]),),
    )
    verdict = await attempt({**TO, "subject": text[: SUBJECT.most]}, made=made, settings=settings_for(relay))
    assert verdict_of(verdict).delivered
    (mail,) = relay.mails
    head, _, _ = mail.content.partition(b"\r\n\r\n")
    names = [line.partition(b":")[0] for line in head.split(b"\r\n") if not line[:1].isspace()]
    assert names == [
        b"From", b"To", b"Subject", b"Date", b"Message-ID", b"Auto-Submitted", b"MIME-Version",
        b"Content-Type",
    ]  # fmt: skip
    assert mail.recipients == ("ann@example.com",)
    assert all(len(line) < 999 for line in mail.content.split(b"\r\n"))
    assert mail.parsed["Subject"].strip()


BAD_RECIPIENTS: list[tuple[Any, str]] = [
    ([], "to: name at least one recipient"),
    (["ann"], "to.0: is not a mail address"),
    (["ann@example.com", "b b@example.com"], "to.1: is not a mail address"),
    (["ann@example.com>\r\nRCPT TO:<eve@example.com"], "to.0: is not a mail address"),
    (["Ann <ann@example.com>"], "to.0: is not a mail address"),
    (["ann@example.com,bob@example.com"], "to.0: is not a mail address"),
    (["jürgen@example.com"], "to.0: is not a mail address"),
    (['"ann\\" x"@example.com'], "to.0: is not a mail address"),
    ([f"{'a' * 65}@example.com"], "to.0: is not a mail address"),
    (["ann@-example.com"], "to.0: is not a mail address"),
    (["ann@[127.0.0.1]"], "to.0: is not a mail address"),
    ([f"a{number}@example.com" for number in range(101)], "to: has 101 recipients, and at most 100"),
]


@pytest.mark.parametrize(("to", "problem"), BAD_RECIPIENTS)
async def test_an_invalid_recipient_is_reported_and_no_mail_is_sent(
    relay: Relay, to: list[str], problem: str
) -> None:
    error = error_of(await attempt({"type": "email", "to": to}, settings=settings_for(relay)))
    assert error.reason is Reason.INVALID_TARGET
    assert error.message.startswith(problem)
    assert relay.connections == 0


async def test_an_internationalized_domain_and_a_duplicate_recipient(relay: Relay) -> None:
    to = ["ann@bücher.example", "ann@bücher.example", "+o'x.y@example.com"]
    await attempt({"type": "email", "to": to}, settings=settings_for(relay))
    assert relay.asked == ["ann@xn--bcher-kva.example", "+o'x.y@example.com"]


# ---------------------------------------------------------------------------------------------------------
# Recipients that the relay accepts, and those that it refuses

EVENT = CompletionEvent(namespace="research", team="report")
SIXTY = tuple(f"r{number}@example.com" for number in range(60))


@dataclass
class Narrow(Relay):
    """A relay that accepts `most` recipients per transaction and a maximum of transactions per session."""

    most: int = 100
    refusal: str = ""
    sessions: int = 100
    begun: int = 0

    async def handle_MAIL(self, *said: Any) -> str:  # noqa: N802  # aiosmtpd's names
        self.begun += 1
        return "421 too many messages" if self.begun > self.sessions else await super().handle_MAIL(*said)

    async def handle_RCPT(self, server: Any, session: Any, envelope: Any, *said: Any) -> str:  # noqa: N802
        if len(envelope.rcpt_tos) >= self.most:
            return self.refusal
        return await super().handle_RCPT(server, session, envelope, *said)


TOO_MANY = [
    (25, "552 Too many recipients"),
    (25, "552 5.5.3 Too many recipients"),
    (10, "452 4.5.3 Too many recipients"),
    (10, "452 Too many recipients"),
    (1, "451 4.5.3 one at a time"),
]


@pytest.mark.parametrize(("most", "refusal"), TOO_MANY)
async def test_recipients_above_the_relay_s_limit_get_the_mail_in_further_transactions(
    most: int, refusal: str
) -> None:
    async with Narrow(most=most, refusal=refusal) as relay:
        sent = await attempt({"type": "email", "to": list(SIXTY)}, settings=settings_for(relay))
    assert verdict_of(sent).message == "accepted for 60 recipients"
    assert relay.connections == 1
    assert [len(mail.recipients) for mail in relay.mails] == [
        *([most] * (60 // most)),
        *([60 % most] if 60 % most else []),
    ]
    assert tuple(one for mail in relay.mails for one in mail.recipients) == SIXTY
    assert len({mail.parsed["Message-ID"] for mail in relay.mails}) == 1


async def test_after_a_failed_further_transaction_a_retry_sends_to_the_rest_without_duplicates() -> None:
    async with Narrow(most=25, refusal="452 4.5.3 Too many", sessions=1) as relay:
        done = asyncio.create_task(
            deliver({"type": "email", "to": list(SIXTY)}, {}, settings_for(relay), attempts=4)
        )
        await until(lambda: relay.connections > 1)
        relay.sessions = 100
        receipt = (await done).receipt
    assert receipt.phase is Phase.DELIVERED
    assert tuple(one for mail in relay.mails for one in mail.recipients) == SIXTY


async def test_after_an_interrupted_attempt_a_retry_sends_no_duplicates() -> None:
    """The relay does not answer the second transaction."""
    heard: list[Progress] = []
    async with Narrow(most=25, refusal="452 4.5.3 Too many") as relay:
        taken = relay.handle_DATA

        async def once(*said: Any) -> str:
            if relay.mails:
                await asyncio.sleep(60)
            return await taken(*said)

        relay.handle_DATA = once  # type: ignore[method-assign, assignment]
        made = replace(envelope(), note=heard.append)
        sending = asyncio.create_task(
            attempt({"type": "email", "to": list(SIXTY)}, made=made, settings=settings_for(relay))
        )
        await until(lambda: relay.begun > 1)
        sending.cancel()
        await asyncio.wait([sending])
    assert heard[-1].accepted == SIXTY[:25]


async def test_too_many_recipients_when_none_was_accepted_is_an_error_of_that_recipient(relay: Relay) -> None:
    relay.answers = {"ann@example.com": ["552 no"], "bob@example.com": ["452 later"]}
    sent = verdict_of(await attempt(THREE, settings=settings_for(relay)))
    assert sent.retryable
    assert sent.progress == Progress(
        ("cid@example.com",), {"ann@example.com": "552 too large, or the mailbox is full"}
    )


async def test_a_full_mailbox_does_not_count_as_too_many_recipients(relay: Relay) -> None:
    relay.answers = {"bob@example.com": ["552 5.2.2 full"]}
    sent = verdict_of(await attempt(THREE, settings=settings_for(relay)))
    assert sent.progress is not None
    assert sent.progress.accepted == ("ann@example.com", "cid@example.com")
    assert len(relay.mails) == 1


def reciting(*replies: bytes) -> Callable[[Bare], Speak]:
    """Play an SMTP session: a greeting, then one reply per line, and the last one for the message."""

    def speak(_: Bare) -> Speak:
        async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"220 relay\r\n")
            for reply in replies[:-1]:
                await reader.readline()
                writer.write(reply + b"\r\n")
            await reader.readuntil(b"\r\n.\r\n")
            writer.write(replies[-1] + b"\r\n")
            await reader.read()

        return talk

    return speak


async def test_the_first_digit_of_a_reply_decides() -> None:
    async with listening(reciting(b"250 hi", b"251 ok", b"252 maybe", b"354 go", b"200 taken")) as bare:
        settings = ServiceSettings.load(
            email="smtp",
            smtp_host="127.0.0.1",
            smtp_port=bare.port,
            smtp_tls="none",
            smtp_from="t@example.com",
        )
        sent = await attempt(TO, settings=settings)
    assert verdict_of(sent).message == "accepted for 1 recipient"


async def test_a_wrong_password_is_tried_once_per_attempt(relay: Relay, tmp_path: Path) -> None:
    relay.logins = {"teams": "right"}
    (tmp_path / "password").write_text("wrong")
    login = {"smtp_username": "teams", "smtp_password_file": str(tmp_path / "password")}
    error = error_of(await attempt(TO, settings=settings_for(relay, **login)))
    assert "was rejected" in error.message
    assert relay.tried == ["PLAIN"]
    (tmp_path / "password").write_text("right")
    assert verdict_of(await attempt(TO, settings=settings_for(relay, **login))).delivered


async def test_the_name_in_the_greeting_is_a_setting(relay: Relay) -> None:
    await attempt(TO, settings=settings_for(relay, smtp_ehlo="mail.example.com"))
    assert relay.mails[0].greeting == "mail.example.com"


async def test_greylisting_is_retried(relay: Relay) -> None:
    relay.answers["ann@example.com"] = ["451 4.7.1 Greylisted, come back later", "450 busy"]
    done = await deliver(TO, {}, settings_for(relay), attempts=4)
    assert (done.receipt.phase, done.receipt.attempts) == (Phase.DELIVERED, 3)
    assert len(relay.mails) == 1


async def test_a_retry_skips_recipients_that_have_the_mail(relay: Relay) -> None:
    relay.answers["bob@example.com"] = ["451 4.7.1 Greylisted"]
    relay.answers["cid@example.com"] = ["550 5.1.1 unknown", "250 never asked again"]
    done = await deliver(THREE, {}, settings_for(relay), attempts=4)
    assert [mail.recipients for mail in relay.mails] == [("ann@example.com",), ("bob@example.com",)]
    assert relay.asked == ["ann@example.com", "bob@example.com", "cid@example.com", "bob@example.com"]
    assert (done.receipt.phase, done.receipt.reason) == (Phase.FAILED, Reason.REFUSED)
    assert done.receipt.message == "accepted for 2 of 3; refused: cid@example.com (550 5.1.1 no such mailbox)"
    assert done.receipt.accepted == ("ann@example.com", "bob@example.com")
    assert done.receipt.attempts == 2


async def test_a_redelivery_skips_recipients_that_have_the_mail_on_record(relay: Relay) -> None:
    relay.answers["bob@example.com"] = ["550 5.1.1 unknown"]
    first = await deliver(THREE, {}, settings_for(relay))
    entries = [first.receipt.to_wire()]
    assert entries[0]["accepted"] == ["ann@example.com", "cid@example.com"]
    again = EVENT.model_copy(update={"redeliver": "failed"})
    second = await deliver(THREE, {}, settings_for(relay), entries=entries, event=again)
    assert [mail.recipients for mail in relay.mails] == [
        ("ann@example.com", "cid@example.com"), ("bob@example.com",),
    ]  # fmt: skip
    assert second.receipt.phase is Phase.DELIVERED
    assert "accepted" not in second.receipt.to_wire()
    everybody = EVENT.model_copy(update={"redeliver": "all"})
    await deliver(THREE, {}, settings_for(relay), entries=entries, event=everybody)
    assert relay.mails[-1].recipients == ("ann@example.com", "bob@example.com", "cid@example.com")


@pytest.mark.parametrize("others", [(), ("gone@example.com",)])
async def test_no_mail_is_sent_when_all_recipients_have_it(relay: Relay, others: tuple[str, ...]) -> None:
    made = envelope(progress=Progress(accepted=("ann@example.com", *others)))
    verdict = verdict_of(await attempt(TO, made=made, settings=settings_for(relay)))
    assert (verdict.delivered, verdict.attempted) == (True, False)
    assert verdict.message == "accepted for 1 recipient"
    assert relay.connections == 0


REFUSALS: list[tuple[str, str, bool, str]] = [
    (
        "MAIL",
        "550 5.7.1 not you",
        False,
        "the relay refused the sender: 550 5.7.1 the relay does not allow it",
    ),
    ("MAIL", "451 later", True, "the relay refused the sender: 451 the relay cannot accept it now"),
    ("DATA", "552 5.3.4 big", False, "the relay refused the message: 552 5.3.4 the message is too large"),
    ("DATA", "452 no room", True, "the relay refused the message: 452 the relay has no storage now"),
    ("DATA", "599 what", False, "the relay refused the message: 599"),
    (
        "ann@example.com",
        "421 bye",
        True,
        "the relay refused the recipients: 421 the relay is not available now",
    ),
    ("ann@example.com", "550 no", False, "refused: ann@example.com (550 no such mailbox, or not for us)"),
    ("ann@example.com", "459 hm", True, "not yet accepted: ann@example.com (459)"),
]


@pytest.mark.parametrize(("where", "reply", "retryable", "message"), REFUSALS)
async def test_every_refusal_has_its_verdict(
    relay: Relay, where: str, reply: str, retryable: bool, message: str
) -> None:
    relay.answers[where] = [f"{reply} {STEM}"]
    verdict = verdict_of(await attempt(TO, settings=settings_for(relay)))
    assert (verdict.reason, verdict.retryable, verdict.message) == (Reason.REFUSED, retryable, message)
    assert verdict.http_status is None
    assert not relay.mails


async def test_a_refusal_of_the_message_does_not_hide_accepted_and_refused_recipients(relay: Relay) -> None:
    relay.answers["bob@example.com"] = ["451 later"]
    relay.answers["cid@example.com"] = ["550 5.1.1 unknown"]
    first = await deliver(THREE, {}, settings_for(relay))
    relay.answers["MAIL"] = ["554 no more"]
    again = EVENT.model_copy(update={"redeliver": "failed"})
    done = await deliver(THREE, {}, settings_for(relay), entries=[first.receipt.to_wire()], event=again)
    assert (
        done.receipt.message
        == "accepted for 1 of 3; the relay refused the sender: 554 the relay does not accept it"
    )
    assert done.receipt.accepted == ("ann@example.com",)
    relay.answers["bob@example.com"] = ["550 5.1.1 unknown"]
    relay.answers["DATA"] = ["554 5.7.1 spam"]
    done = await deliver(THREE, {}, settings_for(relay), entries=[done.receipt.to_wire()], event=again)
    assert done.receipt.message == (
        "accepted for 1 of 3; refused: bob@example.com (550 5.1.1 no such mailbox);"
        " the relay refused the message: 554 5.7.1 the relay does not allow it"
    )


async def test_a_postponed_message_is_sent_again_to_recipients_that_were_not_refused(relay: Relay) -> None:
    relay.answers["DATA"] = ["451 4.3.0 try again"]
    relay.answers["bob@example.com"] = ["550 5.1.1 unknown"]
    done = await deliver(THREE, {}, settings_for(relay), attempts=2)
    assert [mail.recipients for mail in relay.mails] == [("ann@example.com", "cid@example.com")]
    assert relay.asked == [
        "ann@example.com",
        "bob@example.com",
        "cid@example.com",
        "ann@example.com",
        "cid@example.com",
    ]
    assert done.receipt.message == "accepted for 2 of 3; refused: bob@example.com (550 5.1.1 no such mailbox)"


# ---------------------------------------------------------------------------------------------------------
# Which relay is used, and how the service connects to it


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def trusting(authority: trustme.CA, tmp_path: Path) -> dict[str, Any]:
    """Settings that trust the certificate authority."""
    authority.cert_pem.write_to_path(str(tmp_path / "authority.pem"))
    return {"egress_ca_file": str(tmp_path / "authority.pem")}


def certified(authority: trustme.CA, name: str = "127.0.0.1") -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(name).configure_cert(context)
    return context


@pytest.mark.parametrize("way", ["starttls", "tls"])
async def test_the_installation_s_relay_gets_the_password_only_under_tls(
    authority: trustme.CA, trusting: dict[str, Any], tmp_path: Path, way: str
) -> None:
    (tmp_path / "password").write_text("s3cret é\n")
    relay = Relay(
        logins={"teams": "s3cret é"},
        certificate=certified(authority),
        at_once=way == "tls",
        demands_tls=way == "starttls",
    )
    login = {"smtp_username": "teams", "smtp_password_file": str(tmp_path / "password")}
    async with relay:
        verdict = await attempt(TO, settings=settings_for(relay, smtp_tls=way, **login, **trusting))
        assert verdict_of(verdict).delivered
        (mail,) = relay.mails
        assert (mail.encrypted, mail.login) == (True, "teams")
        (tmp_path / "password").write_text("wrong")
        error = error_of(await attempt(TO, settings=settings_for(relay, smtp_tls=way, **login, **trusting)))
        assert (error.reason, error.retryable) == (Reason.CONNECTION_FAILED, False)
        assert "DELIVERY_SMTP_USERNAME was rejected: the relay refuses: 535" in error.message
        (tmp_path / "password").unlink()
        error = error_of(await attempt(TO, settings=settings_for(relay, smtp_tls=way, **login, **trusting)))
        assert (error.retryable, error.attempted) == (True, False)
        assert len(relay.mails) == 1


def own_secret(relay: Relay, **changes: str) -> dict[str, str | bytes]:
    return {
        "smtp-host": "127.0.0.1",
        "smtp-port": str(relay.port),
        "smtp-username": "team",
        "smtp-password": "pa55",
        "from": "Report Team <report@team.example>",
        **{name.replace("_", "-"): value for name, value in changes.items()},
    }


async def test_a_target_s_secret_can_name_its_own_relay(
    authority: trustme.CA, trusting: dict[str, Any], relay: Relay
) -> None:
    own = Relay(logins={"team": "pa55"}, certificate=certified(authority))
    async with own:
        settings = settings_for(relay, egress_allow="127.0.0.1/32", **trusting)
        verdict = verdict_of(await attempt(OWN, own_secret(own), settings=settings))
        assert verdict.delivered
        (mail,) = own.mails
        assert mail.parsed["From"] == "Report Team <report@team.example>"
        assert mail.parsed["Message-ID"] == "<msg_0123456789abcdef@team.example>"
        assert (mail.encrypted, mail.login, mail.sender) == (True, "team", "report@team.example")
        error = error_of(await attempt(OWN, own_secret(own, smtp_password="wrong"), settings=settings))
        assert error.reason is Reason.SECRET_INVALID
        assert error.message.startswith(
            'key "smtp-password" of Secret "keys" was rejected: the relay refuses: 535 5.7.8'
        )
        assert error.attempted
    assert relay.connections == 0


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "0x7f.1", "[::1]", "::ffff:127.0.0.1", "169.254.169.254"]
)
async def test_the_egress_guard_applies_to_a_team_s_own_relay(relay: Relay, host: str) -> None:
    settings = settings_for(relay)  # the installation's own relay is on loopback all the while
    secret = own_secret(relay, smtp_host=host)
    error = error_of(await attempt(OWN, secret, settings=settings))
    assert error.reason in {Reason.EGRESS_DENIED, Reason.SECRET_INVALID}
    assert (error.attempted, relay.connections) == (False, 0)
    assert verdict_of(await attempt(TO, settings=settings)).delivered


async def test_a_name_that_resolves_to_an_internal_address_is_not_dialled(
    relay: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    named(monkeypatch)["mail.example.com"] = ["127.0.0.1"]
    secret = own_secret(relay, smtp_host="mail.example.com")
    error = error_of(await attempt(OWN, secret, settings=settings_for(relay)))
    assert (error.reason, error.attempted, relay.connections) == (Reason.EGRESS_DENIED, False, 0)
    done = await deliver(OWN, secret, settings_for(relay, egress_proxy="http://127.0.0.1:1"))
    assert '"reason":"EgressDenied"' in done.shown["previews"][0], "a preview judges it, proxy or not"
    error = error_of(
        await attempt(OWN, own_secret(relay, smtp_host="nowhere.example.com"), settings=settings_for(relay))
    )
    assert (error.reason, error.retryable) == (Reason.CONNECTION_FAILED, True)


BAD_SECRETS: list[tuple[dict[str, str], Reason, str]] = [
    ({"smtp_host": ""}, Reason.SECRET_INVALID, 'key "smtp-host" of Secret "keys" is empty'),
    (
        {"smtp_host": f"a/{STEM}"},
        Reason.SECRET_INVALID,
        'key "smtp-host" of Secret "keys" is not a host name',
    ),
    (
        {"smtp_host": f"a b{STEM}"},
        Reason.SECRET_INVALID,
        'key "smtp-host" of Secret "keys" must not contain white',
    ),
    ({"smtp_port": "0"}, Reason.SECRET_INVALID, 'key "smtp-port" of Secret "keys" must be a number'),
    ({"smtp_port": f"25{STEM}"}, Reason.SECRET_INVALID, 'key "smtp-port" of Secret "keys" must be a number'),
    (
        {"smtp_tls": STEM},
        Reason.SECRET_INVALID,
        'key "smtp-tls" of Secret "keys" must be starttls, tls or none',
    ),
    ({"smtp_tls": "none"}, Reason.EGRESS_DENIED, 'key "smtp-tls" of Secret "keys" is none, and only TLS'),
    ({"from": STEM}, Reason.SECRET_INVALID, 'key "from" of Secret "keys" is not a mail address'),
    ({"from": f"a\nBcc: {STEM}@x.y"}, Reason.SECRET_INVALID, 'key "from" of Secret "keys" must be one line'),
    (
        {"smtp_username": "a\rb"},
        Reason.SECRET_INVALID,
        'key "smtp-username" of Secret "keys" must be one line',
    ),
]


@pytest.mark.parametrize(("changes", "reason", "message"), BAD_SECRETS)
async def test_an_invalid_value_in_the_secret_is_reported_and_nothing_is_dialled(
    relay: Relay, changes: dict[str, str], reason: Reason, message: str
) -> None:
    settings = settings_for(relay, egress_allow="127.0.0.1/32")
    error = error_of(await attempt(OWN, own_secret(relay, **changes), settings=settings))
    assert error.reason is reason
    assert error.message.startswith(message)
    assert STEM not in error.message
    assert (error.attempted, relay.connections) == (False, 0)


@pytest.mark.parametrize("key", ["smtp-host", "from", "smtp-username", "smtp-password"])
async def test_a_missing_key_is_named(relay: Relay, key: str) -> None:
    secret = {name: value for name, value in own_secret(relay).items() if name != key}
    error = error_of(await attempt(OWN, secret, settings=settings_for(relay)))
    assert (error.reason, error.message) == (
        Reason.SECRET_KEY_MISSING, f'Secret "keys" has no key "{key}"; add it',
    )  # fmt: skip


async def test_without_a_relay_the_error_says_how_to_configure_one() -> None:
    error = error_of(await attempt(TO, settings=ServiceSettings.load(email="smtp")))
    assert error.reason is Reason.INVALID_TARGET
    assert "name a Secret with one, under smtp-host" in error.message


async def test_a_relay_with_an_untrusted_certificate_gets_no_data(
    authority: trustme.CA, trusting: dict[str, Any]
) -> None:
    for context, settings in (
        (certified(authority, "mail.example.com"), trusting),
        (certified(trustme.CA()), trusting),
    ):
        for at_once in (False, True):
            async with Relay(certificate=context, at_once=at_once) as relay:
                way = "tls" if at_once else "starttls"
                error = error_of(await attempt(TO, settings=settings_for(relay, smtp_tls=way, **settings)))
                assert (error.reason, error.retryable, error.attempted) == (Reason.TLS_FAILED, False, True)
                assert error.message.startswith("the receiver's certificate is ")
                assert not relay.mails


async def test_a_relay_without_tls_gets_no_data(relay: Relay) -> None:
    error = error_of(await attempt(TO, settings=settings_for(relay, smtp_tls="starttls")))
    assert error.reason is Reason.TLS_FAILED
    assert error.message == "the relay offers no STARTTLS, and without TLS nothing is sent"
    assert not relay.asked


# ---------------------------------------------------------------------------------------------------------
# Faulty relays


def trickling(_: Bare) -> Speak:
    """Send a greeting without end, one byte at a time."""

    async def talk(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220-")
        while True:
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.02)

    return talk


def flooding(_: Bare) -> Speak:
    """Send a greeting without end, as fast as possible."""

    async def talk(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            writer.write(b"220-" + b"x" * 1000 + b"\r\n")
            await writer.drain()

    return talk


def injecting(far: Bare) -> Speak:
    """Append to the answer to STARTTLS a text that poses as the answer to the next command."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 hello\r\n")
        await reader.readline()
        writer.write(b"250-relay\r\n250 STARTTLS\r\n")
        far.heads.append(await reader.readline())
        writer.write(b"220 go\r\n250 injected\r\n")
        far.heads.append(await reader.read(1))
        writer.write(b"no TLS at all")

    return talk


def talking_http(_: Bare) -> Speak:
    async def talk(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(f"HTTP/1.1 400 {STEM}\r\n\r\n".encode())
        await writer.drain()

    return talk


UNWELL: list[tuple[str, Callable[[Bare], Speak], str, Reason]] = [
    ("slow loris", trickling, "none", Reason.TIMEOUT),
    ("silent", silent, "none", Reason.TIMEOUT),
    ("silent under TLS", silent, "tls", Reason.TIMEOUT),
    ("endless", flooding, "none", Reason.INVALID_RESPONSE),
    ("HTTP", talking_http, "none", Reason.INVALID_RESPONSE),
    ("injects", injecting, "starttls", Reason.TLS_FAILED),
]


@pytest.mark.parametrize(
    ("speak", "way", "reason"), [row[1:] for row in UNWELL], ids=[row[0] for row in UNWELL]
)
async def test_an_attempt_at_a_faulty_relay_ends_in_time_with_a_reason(
    speak: Callable[[Bare], Speak], way: str, reason: Reason
) -> None:
    async with listening(speak) as far:
        settings = settings_for(Relay(port=far.port), smtp_tls=way)
        began = steady()
        done = await deliver(TO, {}, settings, attempt_timeout=0.5)
        assert (done.receipt.phase, done.receipt.reason) == (Phase.FAILED, reason)
        assert steady() - began < 3
        assert STEM not in done.receipt.message


async def test_loopback_settings_allow_a_team_s_own_relay_without_tls(relay: Relay) -> None:
    settings = loopback_settings(email="smtp")
    secret = own_secret(relay, smtp_tls="none")
    del secret["smtp-username"], secret["smtp-password"]
    assert verdict_of(await attempt(OWN, secret, settings=settings)).delivered
