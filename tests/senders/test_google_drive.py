"""Google Drive with a strict fake: one document per delivery, whatever fails in between."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from app.domain.errors import TargetError
from app.domain.reasons import Reason
from app.domain.receipts import Phase
from app.domain.targets import GoogleDriveTarget
from app.egress.client import HttpClient
from app.senders.credentials import Credentials
from app.senders.envelopes import Verdict
from app.senders.google_drive import GoogleDriveSender
from app.senders.google_tokens import AccessTokens
from app.settings import ServiceSettings
from tests.canaries import STEM
from tests.examples import Clock, artifact, envelope, loopback_settings
from tests.harness.drive import Drive, Failure, service_account
from tests.senders.sending import attempt, deliver

FOLDER = "1AbC-d_E"
SPEC = {"type": "google-drive", "folder": FOLDER, "credentialsSecret": "keys"}
KEY = "service-account.json"


@pytest.fixture(name="drive")
async def running_drive() -> AsyncIterator[Drive]:
    async with Drive() as drive:
        yield drive


def settings_for(drive: Drive, **changes: Any) -> ServiceSettings:
    return loopback_settings(google_drive="api", google_api_url=drive.url, **changes)


async def once(drive: Drive, spec: dict[str, Any] = SPEC, **made: Any) -> Verdict | TargetError:
    return await attempt(spec, {KEY: drive.key_file()}, envelope(**made), settings_for(drive))


@pytest.fixture(name="sender")
async def long_lived_sender(drive: Drive) -> AsyncIterator[GoogleDriveSender]:
    """Open a sender that makes several attempts."""
    async with HttpClient(settings_for(drive)) as http:
        yield GoogleDriveSender(http, drive.url)


TARGET = GoogleDriveTarget(
    name="drive", type="google-drive", folder=FOLDER, credentials_secret="keys"  # the Secret's name
)  # fmt: skip


def keys(drive: Drive, named: str = "keys", **changes: Any) -> Credentials:
    return Credentials(named, {KEY: drive.key_file(**changes).encode()})


async def test_a_document_contains_the_notification_the_artifacts_and_the_json(drive: Drive) -> None:
    made: dict[str, Any] = {
        "message": "Fertig: „Bericht“ <script>x</script> --agentteam-msg_0123456789abcdef--",
        "artifacts": (artifact(path="/workspace/übersicht.md", name="übersicht.md"),),
    }
    verdict = await once(drive, **made)
    (file,) = drive.files
    assert verdict == Verdict(Reason.DELIVERED, f"made file {file.id}", 200)
    assert file.metadata == {
        "name": "Team report in research finished: Completed",
        "mimeType": "application/vnd.google-apps.document",
        "parents": [FOLDER],
        "appProperties": {"agentteamDelivery": "msg_0123456789abcdef"},
    }
    assert file.kind == "text/html; charset=UTF-8"
    assert "Fertig: „Bericht“ &lt;script&gt;x&lt;/script&gt;" in file.content
    assert "<script>" not in file.content
    assert "<li>übersicht.md <code>/workspace/übersicht.md</code></li>" in file.content
    assert "&quot;event&quot;: &quot;team.completed&quot;" in file.content
    assert file.query == {"uploadType": "multipart", "supportsAllDrives": "true", "fields": "id"}
    assert drive.asked == ["token", "search", "upload"]


async def test_a_retry_finds_the_document_and_creates_no_second(drive: Drive) -> None:
    await once(drive)
    (file,) = drive.files
    verdict = await once(drive)
    assert verdict == Verdict(Reason.DELIVERED, f"file {file.id} already existed", 200)
    await once(drive, id="msg_other")
    assert len(drive.files) == 2


@pytest.mark.parametrize("lost", [Failure(stored=True), Failure(502, "backendError", stored=True)])
async def test_the_next_attempt_finds_an_upload_whose_answer_was_lost(drive: Drive, lost: Failure) -> None:
    drive.failing["upload"] = [lost]
    done = await deliver(SPEC, {KEY: drive.key_file()}, settings_for(drive), attempts=2)
    (file,) = drive.files
    assert done.receipt.phase is Phase.DELIVERED
    assert done.receipt.message == f"file {file.id} already existed"
    assert done.receipt.attempts == 2
    assert done.receipt.target == FOLDER


@pytest.mark.parametrize(
    "body", ["", "[]", "null", '{"id": 7}', f'{{"id": "{STEM} <b>"}}', '{"id": "' + "a" * 129 + '"}']
)
async def test_an_upload_with_an_invalid_answer_is_looked_up(drive: Drive, body: str) -> None:
    drive.failing["upload"] = [Failure(200, stored=True, body=body)]
    done = await deliver(SPEC, {KEY: drive.key_file()}, settings_for(drive), attempts=2)
    assert len(drive.files) == 1
    assert done.receipt.phase is Phase.DELIVERED
    assert STEM not in done.receipt.message


@pytest.mark.parametrize("status", [201, 202, 204, 206])
@pytest.mark.parametrize("where", ["token", "search", "upload"])
async def test_a_successful_status_without_a_file_is_not_a_delivery(
    drive: Drive, where: str, status: int
) -> None:
    drive.failing[where] = [Failure(status, body="" if status == 204 else "{}")]
    done = await deliver(SPEC, {KEY: drive.key_file()}, settings_for(drive))
    assert (done.receipt.phase, done.receipt.reason) == (Phase.FAILED, Reason.INVALID_RESPONSE)
    assert not drive.files


async def test_all_pages_of_a_search_are_read(drive: Drive) -> None:
    drive.empty_pages = 2
    assert await once(drive) == Verdict(Reason.DELIVERED, f"made file {drive.files[0].id}", 200)
    verdict = await once(drive)
    assert verdict == Verdict(Reason.DELIVERED, f"file {drive.files[0].id} already existed", 200)
    assert drive.asked.count("search") == 6


async def test_an_endless_search_creates_no_second_document(drive: Drive) -> None:
    await once(drive)
    drive.empty_pages = 1000
    verdict = await once(drive)
    assert isinstance(verdict, Verdict)
    assert (verdict.reason, verdict.retryable) == (Reason.INVALID_RESPONSE, True)
    assert len(drive.files) == 1


async def test_a_message_cannot_lengthen_the_boundary(drive: Drive, sender: GoogleDriveSender) -> None:
    guessed = "--agentteam-msg_0123456789abcdef" + "-" * 60_000
    shown = await sender.preview(envelope(message=guessed), TARGET, keys(drive))
    assert len(shown.headers["content-type"].partition("boundary=")[2].strip('"')) <= 70  # RFC 2046
    assert (await once(drive, message=guessed)) == Verdict(
        Reason.DELIVERED, f"made file {drive.files[0].id}", 200
    )


# ---------------------------------------------------------------------------------------------------------
# Tokens


async def test_a_token_is_reused_until_it_expires_and_then_replaced(drive: Drive) -> None:
    clock = Clock()
    async with HttpClient(settings_for(drive)) as http:
        tokens = AccessTokens(http, clock=clock)
        first = await tokens.token(keys(drive))
        clock.now += drive.life - 61
        assert await tokens.token(keys(drive)) == first
        clock.now += 2
        assert await tokens.token(keys(drive)) != first
    assert drive.asked == ["token", "token"]


async def test_concurrent_deliveries_share_one_token_request(drive: Drive, sender: GoogleDriveSender) -> None:
    sends = (sender.send(envelope(id=f"msg_{number}"), TARGET, keys(drive)) for number in range(50))
    verdicts = await asyncio.gather(*sends)
    assert all(verdict.delivered for verdict in verdicts)
    assert drive.asked.count("token") == 1
    assert len(drive.files) == 50


async def test_each_target_of_a_refused_token_request_gets_an_error_about_its_own_secret(
    drive: Drive, sender: GoogleDriveSender
) -> None:
    owners = ["mine", "yours"]
    told = await asyncio.gather(
        *(sender.send(envelope(), TARGET, keys(drive, owner, key=1)) for owner in owners),
        return_exceptions=True,
    )
    assert drive.asked == ["token"]
    for owner, error in zip(owners, told, strict=True):
        assert isinstance(error, TargetError)
        assert error.message.startswith(f'key "service-account.json" of Secret "{owner}" was rejected')
        assert error.attempted


LIVES = ["null", "true", "0", "-5", '"3600"', "1.5", "1" + "0" * 400 + "x"]


@pytest.mark.parametrize("life", LIVES)
async def test_a_token_without_a_valid_lifetime_is_refused(drive: Drive, life: str) -> None:
    drive.failing["token"] = [Failure(200, body=f'{{"access_token": "x", "expires_in": {life}}}')]
    error = await once(drive)
    assert isinstance(error, TargetError)
    assert (error.reason, error.attempted) == (Reason.INVALID_RESPONSE, True)
    assert drive.asked == ["token"]


async def test_no_token_is_cached_longer_than_google_s_maximum(drive: Drive) -> None:
    clock, endless = Clock(), "1" + "0" * 400
    async with HttpClient(settings_for(drive)) as http:
        tokens = AccessTokens(http, clock=clock)
        drive.failing["token"] = [Failure(200, body=f'{{"access_token": "x", "expires_in": {endless}}}')]
        assert await tokens.token(keys(drive)) == "x"
        clock.now += 3541
        assert await tokens.token(keys(drive)) != "x"


@pytest.mark.parametrize(("status", "reason"), [(400, Reason.SECRET_INVALID), (503, Reason.HTTP_STATUS)])
async def test_a_token_error_blames_the_key_only_if_the_status_does(
    drive: Drive, status: int, reason: Reason
) -> None:
    drive.failing["token"] = [Failure(status, body='{"error": "invalid_client"}')]
    error = await once(drive)
    assert isinstance(error, TargetError)
    assert (error.reason, error.retryable) == (reason, status == 503)


async def test_a_revoked_token_is_replaced_within_the_attempt(
    drive: Drive, sender: GoogleDriveSender
) -> None:
    await sender.send(envelope(), TARGET, keys(drive))
    drive.tokens.clear()  # revoked
    verdict = await sender.send(envelope(id="msg_other"), TARGET, keys(drive))
    assert verdict.delivered
    assert drive.asked.count("token") == 2
    drive.failing["search"] = [Failure(401, "authError"), Failure(401, "authError")]
    verdict = await sender.send(envelope(id="msg_third"), TARGET, keys(drive))
    assert (verdict.reason, verdict.http_status, verdict.retryable) == (Reason.HTTP_STATUS, 401, False)


async def test_another_account_s_cached_token_is_not_used_without_its_key(
    drive: Drive, sender: GoogleDriveSender
) -> None:
    await sender.send(envelope(), TARGET, keys(drive))
    with pytest.raises(TargetError) as caught:
        await sender.send(envelope(id="msg_other"), TARGET, keys(drive, key=1))
    assert caught.value.reason is Reason.SECRET_INVALID
    assert caught.value.message == (
        'key "service-account.json" of Secret "keys" was rejected by Google: invalid_grant: the key or the'
        " account is gone or disabled, or the clock here is wrong; make a new key"
    )
    assert len(drive.files) == 1


async def test_a_failed_token_request_is_not_cached(drive: Drive, sender: GoogleDriveSender) -> None:
    drive.failing["token"] = [Failure(503, headers={"Retry-After": "1"}), Failure(), Failure(200, body="{}")]
    said = []
    for _ in range(3):
        with pytest.raises(TargetError) as caught:
            await sender.send(envelope(), TARGET, keys(drive))
        said.append((caught.value.reason, caught.value.retryable, caught.value.retry_after))
    assert said == [
        (Reason.HTTP_STATUS, True, 1.0),
        (Reason.CONNECTION_FAILED, True, None),
        (Reason.INVALID_RESPONSE, False, None),
    ]
    assert (await sender.send(envelope(), TARGET, keys(drive))).delivered


async def test_the_timeout_of_one_target_does_not_cancel_a_shared_token_request(
    drive: Drive, sender: GoogleDriveSender
) -> None:
    hasty = asyncio.create_task(sender.send(envelope(id="msg_hasty"), TARGET, keys(drive)))
    patient = asyncio.create_task(sender.send(envelope(id="msg_patient"), TARGET, keys(drive)))
    await asyncio.sleep(0)
    hasty.cancel()
    assert (await patient).delivered
    with pytest.raises(asyncio.CancelledError):
        await hasty


# ---------------------------------------------------------------------------------------------------------
# Refusals

REFUSED: list[tuple[int, str, Reason, bool, str]] = [
    (403, "userRateLimitExceeded", Reason.RATE_LIMITED, True, "too many requests at once"),
    (403, "rateLimitExceeded", Reason.RATE_LIMITED, True, "too many requests at once"),
    (429, "rateLimitExceeded", Reason.RATE_LIMITED, True, "too many requests at once"),
    (429, STEM, Reason.RATE_LIMITED, True, "answered 429 Too Many Requests"),
    (403, "dailyLimitExceeded", Reason.HTTP_STATUS, False, "the project's quota of the day is used up"),
    (403, "insufficientFilePermissions", Reason.HTTP_STATUS, False, "make it a contributor"),
    (403, "storageQuotaExceeded", Reason.HTTP_STATUS, False, "use a folder of a shared drive"),
    (403, "teamDriveFileLimitExceeded", Reason.HTTP_STATUS, False, "the shared drive is full"),
    (403, "accessNotConfigured", Reason.HTTP_STATUS, False, "enable it"),
    (403, "domainPolicy", Reason.HTTP_STATUS, False, "ask them"),
    (403, "forbidden", Reason.HTTP_STATUS, False, "make it a contributor"),
    (403, "backendError", Reason.HTTP_STATUS, True, "Google has a temporary problem"),
    (403, STEM, Reason.HTTP_STATUS, False, "answered 403 Forbidden"),
    (404, "notFound", Reason.HTTP_STATUS, False, "it is not shared with the account; share it"),
    (400, "invalid", Reason.HTTP_STATUS, False, "answered 400 Bad Request"),
    (500, "backendError", Reason.HTTP_STATUS, True, "Google has a temporary problem"),
    (503, STEM, Reason.HTTP_STATUS, True, "answered 503 Service Unavailable"),
    (302, STEM, Reason.REDIRECTED, False, "redirects are refused"),
]


@pytest.mark.parametrize("where", ["search", "upload"])
@pytest.mark.parametrize("refused", REFUSED, ids=[f"{row[0]} {row[1]}" for row in REFUSED])
async def test_every_refusal_has_its_verdict(
    drive: Drive, where: str, refused: tuple[int, str, Reason, bool, str]
) -> None:
    status, word, reason, retryable, words = refused
    drive.failing[where] = [Failure(status, word, {"Retry-After": "7", "Location": f"http://{STEM}/"})]
    verdict = await once(drive)
    if (where, status) == (
        "search",
        404,
    ):  # not an id, so it may be a name, which does not exist either
        assert isinstance(verdict, TargetError)
        assert verdict.message.startswith(f'folder: there is no "{FOLDER}"')
        return
    assert isinstance(verdict, Verdict)
    assert (verdict.reason, verdict.retryable, verdict.http_status) == (reason, retryable, status)
    assert words in verdict.message
    assert verdict.retry_after == (7.0 if retryable else None)
    assert STEM not in verdict.message
    assert not drive.files


@pytest.mark.parametrize(
    "body",
    [
        "",
        "x",
        "[]",
        '{"error": "x"}',
        '{"error": {"errors": {}}}',
        '{"error": {"errors": [1]}}',
        '{"error": {"errors": [{"reason": []}]}}',
        "[" * 9000,
    ],
)
async def test_an_error_in_another_format_is_judged_by_its_status(drive: Drive, body: str) -> None:
    drive.failing["search"] = [Failure(403, body=body)]
    verdict = await once(drive)
    assert verdict == Verdict(Reason.HTTP_STATUS, "answered 403 Forbidden", 403)


@pytest.mark.parametrize("body", ["", "[]", '{"files": {}}', '{"files": [{}]}', '{"files": [{"id": "a b"}]}'])
async def test_after_an_invalid_search_answer_nothing_is_uploaded(drive: Drive, body: str) -> None:
    drive.failing["search"] = [Failure(200, body=body)]
    verdict = await once(drive)
    assert isinstance(verdict, Verdict)
    assert (verdict.reason, verdict.retryable) == (Reason.INVALID_RESPONSE, True)
    assert not drive.files


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"folder": None}, "folder: name the folder"),
        ({"folder": "https://drive.google.com/drive/folders/1AbC"}, "folder: give an id, or up to 10 names"),
        ({"folder": "/"}, "folder: give an id, or up to 10 names"),
        ({"folder": "a/ /b"}, "folder: give an id, or up to 10 names"),
        ({"folder": "/".join("abcdefghijk")}, "folder: give an id, or up to 10 names"),
        ({"folder": "x" * 301}, "folder: give an id, or up to 10 names"),
        ({"credentialsSecret": None}, "credentialsSecret: name the Secret"),
    ],
)
async def test_an_unusable_target_is_reported(drive: Drive, changes: dict[str, Any], problem: str) -> None:
    error = await once(drive, {**SPEC, **changes})
    assert isinstance(error, TargetError)
    assert error.reason is Reason.INVALID_TARGET
    assert error.message.startswith(problem)
    assert not drive.asked


EC = (
    ec.generate_private_key(ec.SECP256R1())
    .private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    .decode()
)
PEM = f"-----BEGIN PRIVATE KEY-----\n{STEM}\n-----END PRIVATE KEY-----\n"
BROKEN: list[tuple[str, str]] = [
    ("", "is not the JSON key file"),
    (STEM, "is not the JSON key file"),
    ("[" * 10_000, "is not the JSON key file"),
    ("[" * 100_000, "is longer than 16,384 bytes; use the file as Google created it"),
    ("[]", "is not the JSON key file"),
    (service_account(type=STEM), "is not the JSON key file"),
    (service_account(client_email=None), "has no client_email"),
    (service_account(client_email=f"a b{STEM}"), "has no client_email"),
    (service_account(private_key=None), "has no usable private_key"),
    (service_account(private_key=STEM), "has no usable private_key"),
    (service_account(private_key=7), "has no usable private_key"),
    (service_account(private_key=PEM), "has no usable private_key"),
    (service_account(private_key=EC), "has no usable private_key"),
    (service_account(private_key=service_account() * 3), "has no usable private_key"),
    (service_account(token_uri=7), "has no token_uri"),
    (service_account(token_uri=f"ftp://{STEM}/"), "has a token_uri that must start with https://"),
    (service_account(token_uri=f"https://a:{STEM}@b.c/"), "has a token_uri that must not contain user info"),
]  # fmt: skip


@pytest.mark.parametrize("number", range(len(BROKEN)))
async def test_an_invalid_key_file_is_reported_without_its_content(drive: Drive, number: int) -> None:
    written, problem = BROKEN[number]
    error = await attempt(SPEC, {KEY: written}, settings=settings_for(drive))
    assert isinstance(error, TargetError)
    assert error.reason is Reason.SECRET_INVALID
    assert error.message.startswith(f'key "service-account.json" of Secret "keys" {problem}')
    assert STEM not in error.message
    assert not error.attempted
    assert not drive.asked


async def test_a_missing_key_file_is_named(drive: Drive) -> None:
    error = await attempt(SPEC, {}, settings=settings_for(drive))
    assert isinstance(error, TargetError)
    assert error.message == 'Secret "keys" has no key "service-account.json"; add it'


async def test_a_denied_token_endpoint_is_not_called(drive: Drive) -> None:
    error = await attempt(
        SPEC, {KEY: drive.key_file(token_uri="http://127.0.0.66/token")}, settings=settings_for(drive)
    )  # fmt: skip
    assert isinstance(error, TargetError)
    assert (error.reason, error.attempted) == (Reason.EGRESS_DENIED, False)


async def test_a_preview_shows_the_upload_and_sends_no_request(
    drive: Drive, sender: GoogleDriveSender
) -> None:
    shown = await sender.preview(envelope(), TARGET, keys(drive))
    assert (shown.method, shown.url) == (
        "POST",
        f"{drive.url}/upload/drive/v3/files?uploadType=multipart&fields=id&supportsAllDrives=true",
    )
    assert shown.headers["authorization"] == "…"
    assert json.loads(shown.body.split("\r\n\r\n")[1].split("\r\n")[0])["parents"] == [FOLDER]
    assert not drive.asked


# ---------------------------------------------------------------------------------------------------------
# Folders by name


@pytest.fixture(name="shelves")
def folders_that_the_account_sees(drive: Drive) -> dict[str, str]:
    """Folders as people write them, and their ids."""
    drive.drives = {"0AShared": "Shared Reports", "0AOther": "Other"}
    drive.folders = {
        "1Q3": ("Q3", "0AShared"),
        "1Q3other": ("Q3", "0AOther"),
        "1Deep": ("It's \\ deep", "1Q3"),
        "1Mine": ("Reports", "root"),
        "1Given": ("Given", "shared"),
        "1TwinA": ("Twin", "0AShared"),
        "1TwinB": ("Twin", "0AShared"),
        "1Lower": ("shared reports", "root"),
        "1Hidden": ("Hidden", "somewhere"),
    }
    return {
        "Shared Reports": "0AShared",
        "Shared Reports/Q3": "1Q3",
        "/Other/Q3/": "1Q3other",
        "Shared Reports/Q3/It's \\ deep": "1Deep",
        "Reports": "1Mine",
        "Given": "1Given",
        "1Q3": "1Q3",
        "1Hidden": "1Hidden",
    }


async def test_a_folder_is_found_by_its_path_or_its_id(drive: Drive, shelves: dict[str, str]) -> None:
    drive.strict = True
    for number, (written, identity) in enumerate(shelves.items()):
        verdict = await once(drive, {**SPEC, "folder": written}, id=f"msg_{number}")
        assert isinstance(verdict, Verdict), verdict
        assert verdict.delivered, (written, verdict)
        assert drive.files[-1].metadata["parents"] == [identity]
        repeat = await once(drive, {**SPEC, "folder": written}, id=f"msg_{number}")
        assert isinstance(repeat, Verdict)
        assert repeat.message.endswith("already existed")
    assert len(drive.files) == len(shelves)


NO_FOLDER = [
    ("Nowhere", 'folder: there is no "Nowhere" in what the account sees'),
    ("Hidden", 'folder: there is no "Hidden" in what the account sees'),
    ("Shared Reports/Q4", 'folder: there is no "Q4" in "Shared Reports"'),
    ("Shared Reports/Twin", 'folder: 2 are called "Twin" in "Shared Reports"; give the id'),
    ("x' or '' = '", "folder: there is no \"x' or '' = '\" in what the account sees"),
]


@pytest.mark.parametrize(("written", "problem"), NO_FOLDER)
async def test_a_missing_or_ambiguous_folder_is_reported(
    drive: Drive, shelves: dict[str, str], written: str, problem: str
) -> None:
    assert shelves
    drive.strict = True
    error = await once(drive, {**SPEC, "folder": written})
    assert isinstance(error, TargetError)
    assert (error.reason, error.retryable) == (Reason.INVALID_TARGET, False)
    assert error.message.startswith(problem)
    assert not drive.files


@pytest.mark.parametrize(
    ("failure", "reason", "retryable"),
    [
        (Failure(500, "backendError"), Reason.HTTP_STATUS, True),
        (Failure(403, "insufficientPermissions"), Reason.HTTP_STATUS, False),
        (
            Failure(200, body='{"files": [], "drives": [], "incompleteSearch": true}'),
            Reason.INVALID_RESPONSE,
            True,
        ),
        (Failure(200, body="[]"), Reason.INVALID_RESPONSE, True),
    ],
)
@pytest.mark.parametrize("where", ["drives", "folders"])
async def test_a_failed_folder_search_creates_no_file(  # a fixture and the table's columns
    drive: Drive, shelves: dict[str, str], where: str, failure: Failure, reason: Reason, *, retryable: bool
) -> None:
    assert shelves
    drive.failing[where] = [failure]
    verdict = await once(drive, {**SPEC, "folder": "Shared Reports/Q3"})
    assert isinstance(verdict, Verdict)
    assert (verdict.reason, verdict.retryable) == (reason, retryable)
    assert not drive.files
