"""Google Drive: a document in a folder of a shared drive, created by a service account.

One file contains the notification, the artifacts and the JSON that webhooks receive, so it is delivered
completely or not at all. It has the delivery's id. The sender first searches for that id, so a retry finds
the file and creates no second one.

https://developers.google.com/workspace/drive/api/guides/manage-uploads
"""

import hashlib
import json
import re
from collections.abc import Mapping
from functools import cached_property
from http import HTTPStatus
from typing import Any, ClassVar
from urllib.parse import urlencode

from app.domain.errors import TargetError
from app.domain.reasons import Reason
from app.domain.targets import GoogleDriveTarget
from app.domain.text import json_object
from app.egress.client import HEADERS, HttpClient, Response
from app.senders.credentials import Credentials
from app.senders.documents import as_html, title
from app.senders.envelopes import HIDDEN, Envelope, Preview, Verdict, Way, judge, way_to
from app.senders.google_folders import PAGES, SHARED, Refused, is_id, look_up, names_of
from app.senders.google_tokens import (
    ANSWER_LIMIT,
    KEY,
    PATIENCE,
    AccessTokens,
    read_service_account,
)

PROPERTY = "agentteamDelivery"
"""The property that contains the delivery's id; private to the account's project."""

API = "/drive/v3"
FILES, UPLOAD = f"{API}/files", f"/upload{API}/files"
DOCUMENT = "application/vnd.google-apps.document"  # Google converts HTML that is uploaded with this type

RATE_REASONS = frozenset({"userRateLimitExceeded", "rateLimitExceeded", "sharingRateLimitExceeded"})
"""Reasons for which Google answers 403 or 429 and a retry helps."""

REASONS = {
    # Google's own words, each with what to do. Nothing else of its answer is ever shown.
    # https://developers.google.com/workspace/drive/api/guides/handle-errors
    "userRateLimitExceeded": "too many requests at once",
    "rateLimitExceeded": "too many requests at once",
    "sharingRateLimitExceeded": "too many requests at once",
    "dailyLimitExceeded": "the project's quota of the day is used up",
    "storageQuotaExceeded": "a service account has no storage of its own; use a folder of a shared drive",
    "teamDriveFileLimitExceeded": "the shared drive is full; use another",
    "numChildrenInNonRootLimitExceeded": "the folder is full; use another",
    "insufficientFilePermissions": "the account may not add to this folder; make it a contributor",
    "insufficientParentPermissions": "the account may not add to this folder; make it a contributor",
    "insufficientPermissions": "the account may not add to this folder; make it a contributor",
    "teamDriveMembershipRequired": "the account is not a member of the shared drive; add it",
    "cannotAddParent": "folder names something that is not a folder",
    "parentNotAFolder": "folder names something that is not a folder",
    "accessNotConfigured": "the Drive API is off in the account's project; enable it",
    "domainPolicy": "the domain's administrators forbid this; ask them",
    "forbidden": "the account may not add to this folder; make it a contributor",
    "notFound": "there is no such folder, or it is not shared with the account; share it",
    "authError": "the access token was rejected",
    "backendError": "Google has a temporary problem",
}
_ID = re.compile(r"[A-Za-z0-9_-]{1,128}", re.ASCII)


NO_SUCH_FOLDER = Verdict(
    Reason.HTTP_STATUS, "there is no such folder, or it is not shared with the account", 404
)


class GoogleDriveSender:
    """Creates a document in the target's `folder`, as the account in the Secret's `service-account.json`."""

    keys: ClassVar = frozenset({KEY})
    copies: ClassVar = 12  # HTML for people is about three times as long as the JSON

    def __init__(self, http: HttpClient, api_url: str) -> None:
        self._http = http
        self._url = api_url
        self._tokens = AccessTokens(http)

    def way(self, target: GoogleDriveTarget, credentials: Credentials) -> Way:  # noqa: ARG002
        """Return the route to the API; tokens come from another host, but share its place."""
        _folder(target)
        return self._way

    async def send(
        self,
        envelope: Envelope,
        target: GoogleDriveTarget,
        credentials: Credentials,
        way: Way | None = None,  # noqa: ARG002  # several URLs of one host
    ) -> Verdict:
        """Search for the document, and create it if it does not exist."""
        folder = _folder(target)
        found = await self._found(envelope, folder, credentials) if is_id(folder) else NO_SUCH_FOLDER
        if found is NO_SUCH_FOLDER:  # so it is a name, or several
            try:
                folder = await look_up(
                    lambda path: self._ask(credentials, "GET", f"{self._url}{API}{path}"), names_of(folder)
                )
            except Refused as refused:
                return _judged(refused.answer)
            found = await self._found(envelope, folder, credentials)
        if found:
            return found
        kind, body = _upload(envelope, folder)
        made = await self._ask(credentials, "POST", self._upload_url, body, {"content-type": kind})
        if made.status not in {HTTPStatus.OK, HTTPStatus.CREATED}:
            return _judged(made)
        return _named(json_object(made.body), made.status, "made file {}")

    async def preview(
        self, envelope: Envelope, target: GoogleDriveTarget, credentials: Credentials
    ) -> Preview:
        """Show the upload; request no token, and do not search for the file."""
        folder = _folder(target)
        read_service_account(credentials)
        await self._http.judge(self._way.checked)
        kind, body = _upload(envelope, folder)
        headers = {**HEADERS, "content-type": kind, "authorization": HIDDEN}
        return Preview("POST", self._upload_url, headers, body.decode())

    @cached_property
    def _way(self) -> Way:
        try:
            return way_to(self._http.guard.check(self._url))
        except ValueError as error:  # from a setting
            raise _not_usable(error) from None

    @property
    def _upload_url(self) -> str:
        return f"{self._url}{UPLOAD}?{urlencode({'uploadType': 'multipart', 'fields': 'id', **SHARED})}"

    async def _found(self, envelope: Envelope, folder: str, credentials: Credentials) -> Verdict | None:
        """Return the result of a search; None if Google says that the file does not exist.

        A page may be empty without being the last, as Google documents for `pageSize`:
        https://developers.google.com/workspace/drive/api/reference/rest/v3/files/list
        """
        page = ""
        for _ in range(PAGES):
            url = f"{self._url}{FILES}?{_search(folder, envelope.id, page)}"
            answer = await self._ask(credentials, "GET", url)
            if answer.status == HTTPStatus.NOT_FOUND and not page:
                return NO_SUCH_FOLDER
            if answer.status != HTTPStatus.OK:
                return _judged(answer)
            said = json_object(answer.body) or {}
            files, page = said.get("files"), said.get("nextPageToken", "")
            if not isinstance(files, list) or not isinstance(page, str):
                return _unreadable()
            if files:
                return _named(files[0], answer.status, "file {} already existed")
            if not page:
                return None
        return _unreadable()  # better than a second file

    async def _ask(
        self,
        credentials: Credentials,
        method: str,
        url: str,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
    ) -> Response:
        """Make one request; replace a rejected token once, because it may have been revoked."""
        token = await self._tokens.token(credentials)
        answer = await self._authorized(token, method, url, body, headers or {})
        if answer.status != HTTPStatus.UNAUTHORIZED:
            return answer
        self._tokens.forget(credentials, token)
        token = await self._tokens.token(credentials)
        return await self._authorized(token, method, url, body, headers or {})

    async def _authorized(
        self, token: str, method: str, url: str, body: bytes, headers: Mapping[str, str]
    ) -> Response:
        try:
            return await self._http.request(
                method,
                url,
                body,
                {**headers, "authorization": f"Bearer {token}"},
                most=ANSWER_LIMIT,
                patience=PATIENCE,
            )
        except ValueError as error:  # from a setting
            raise _not_usable(error) from None


def _not_usable(error: ValueError) -> TargetError:
    return TargetError(Reason.CONNECTION_FAILED, f"the installation's DELIVERY_GOOGLE_API_URL {error}")


def _folder(target: GoogleDriveTarget) -> str:
    if not target.folder:
        message = "folder: name the folder to deliver to, by its id or by names such as Shared Reports/Q3"
        raise TargetError(Reason.INVALID_TARGET, message)
    if target.credentials_secret is None:
        message = "credentialsSecret: name the Secret that holds the key service-account.json"
        raise TargetError(Reason.INVALID_TARGET, message)
    names_of(target.folder)
    return target.folder


def _search(folder: str, delivery: str, page: str) -> str:
    """Return the query for the file that a delivery created, from a page on.

    https://developers.google.com/workspace/drive/api/guides/search-files
    """
    having = f"appProperties has {{ key='{PROPERTY}' and value='{delivery}' }}"
    query = f"'{folder}' in parents and trashed = false and {having}"
    wanted = {"fields": "nextPageToken,files(id)", "pageSize": "1", "includeItemsFromAllDrives": "true"}
    return urlencode({"q": query, **wanted, **SHARED, **({"pageToken": page} if page else {})})


def _upload(envelope: Envelope, folder: str) -> tuple[str, bytes]:
    """Return an upload's content type and content: a part with metadata, one with the file (RFC 2387)."""
    metadata = {
        "name": title(envelope),
        "mimeType": DOCUMENT,
        "parents": [folder],
        "appProperties": {PROPERTY: envelope.id},
    }
    parts = {
        "application/json; charset=UTF-8": json.dumps(metadata),
        "text/html; charset=UTF-8": as_html(envelope, with_envelope=True),
    }
    # A text cannot contain its own digest, so no author can forge this boundary; they could guess an id.
    boundary = f"agentteam-{hashlib.sha256(''.join(parts.values()).encode()).hexdigest()[:40]}"
    pieces = [f"--{boundary}\r\nContent-Type: {kind}\r\n\r\n{text}\r\n" for kind, text in parts.items()]
    return f'multipart/related; boundary="{boundary}"', ("".join(pieces) + f"--{boundary}--\r\n").encode()


def _named(file: Any, status: int, words: str) -> Verdict:
    identity = file.get("id") if isinstance(file, dict) else None
    if not isinstance(identity, str) or not _ID.fullmatch(identity):
        return _unreadable()
    return Verdict(Reason.DELIVERED, words.format(identity), status)


def _unreadable() -> Verdict:
    """Judge an unusable answer as temporary: the next attempt searches for the file first."""
    return Verdict(Reason.INVALID_RESPONSE, "the answer was not Google Drive's", retryable=True)


def _judged(answer: Response) -> Verdict:
    """Judge a refusal by Google's reason, if it is known."""
    if HTTPStatus.OK <= answer.status < HTTPStatus.MULTIPLE_CHOICES:
        return _unreadable()  # a status alone does not prove a delivery: there must be a file with an id
    error = (json_object(answer.body) or {}).get("error")
    errors = error.get("errors") if isinstance(error, dict) else None
    first = errors[0] if isinstance(errors, list) and errors else None
    reason = first.get("reason") if isinstance(first, dict) else None
    reason = reason if isinstance(reason, str) and reason in REASONS else None
    verdict = judge(answer.status, answer.retry_after, f"{reason}: {REASONS[reason]}" if reason else "")
    if reason in RATE_REASONS:
        return verdict._replace(reason=Reason.RATE_LIMITED, retryable=True, retry_after=answer.retry_after)
    if reason == "backendError":
        return verdict._replace(retryable=True, retry_after=answer.retry_after)
    if reason == "dailyLimitExceeded":  # also a 429, but it lasts longer than a minute
        return verdict._replace(retryable=False, retry_after=None)
    return verdict
