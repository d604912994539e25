"""Webhooks: POSTs the six-key envelope, signed per Standard Webhooks if the Secret has a signing key."""

import base64
import time
from datetime import UTC, datetime
from typing import ClassVar

from standardwebhooks import Webhook

from app.domain.errors import TargetError
from app.domain.reasons import Reason
from app.domain.targets import WebhookTarget
from app.domain.urls import redacted
from app.egress.client import HttpClient, Outgoing
from app.senders.credentials import Credentials
from app.senders.envelopes import HIDDEN, Envelope, Preview, Verdict, Way, judge, way_to
from app.telemetry.tracing import Tracing

URL, SIGNING_SECRET, AUTHORIZATION = "url", "signing-secret", "authorization"
SIGNATURE = "webhook-signature"
SIGNING_PREFIX = "whsec_"


class WebhookSender:
    """Sends to the Secret's `url`, or else the target's.

    https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
    """

    keys: ClassVar = frozenset({URL, SIGNING_SECRET, AUTHORIZATION})
    copies: ClassVar = 4  # the text, its bytes, those in flight, those encrypted

    def __init__(self, http: HttpClient, tracing: Tracing) -> None:
        self._http = http
        self._tracing = tracing

    def way(self, target: WebhookTarget, credentials: Credentials) -> Way:
        """Return the route to the URL."""
        url = credentials.get(URL) or target.url or credentials.require(URL)
        try:
            return way_to(self._http.guard.check(url))
        except ValueError as error:
            raise _blamed(error, credentials) from None

    async def send(
        self,
        envelope: Envelope,
        target: WebhookTarget,  # noqa: ARG002  # the route contains everything
        credentials: Credentials,
        way: Way,
    ) -> Verdict:
        """Post the envelope once; any answer except 2xx is a failure."""
        try:
            outgoing = self._outgoing(envelope, credentials, way)
            response = await self._http.post(outgoing.url, outgoing.body, outgoing.headers)
        except ValueError as error:
            raise _blamed(error, credentials) from None
        return judge(response.status, response.retry_after)

    async def preview(self, envelope: Envelope, target: WebhookTarget, credentials: Credentials) -> Preview:
        """Show the POST; show a URL from the target without its query, one from the Secret not at all."""
        outgoing = self._outgoing(envelope, credentials, self.way(target, credentials))
        await self._http.judge(outgoing.url)
        hidden = {name: HIDDEN for name in (AUTHORIZATION, SIGNATURE) if name in outgoing.headers}
        address = target.secret_address if URL in credentials else redacted(str(outgoing.url))
        return Preview("POST", address, outgoing.all_headers | hidden, outgoing.body.decode())

    def _outgoing(self, envelope: Envelope, credentials: Credentials, way: Way) -> Outgoing:
        body = envelope.body()
        headers = {
            "content-type": "application/json",
            **self._tracing.headers(),
            **_signed(envelope.id, body, credentials, at=int(time.time())),
        }
        if authorization := credentials.get(AUTHORIZATION):
            if not authorization.isascii():
                raise credentials.invalid(AUTHORIZATION, "must be ASCII, as HTTP headers are")
            headers[AUTHORIZATION] = authorization
        return Outgoing(way.checked, headers, body)


def _blamed(error: ValueError, credentials: Credentials) -> TargetError:
    """Say where the unusable URL comes from."""
    if URL in credentials:
        return credentials.invalid(URL, str(error))
    return TargetError(Reason.INVALID_TARGET, f"url: {error}")


def _signed(message_id: str, body: bytes, credentials: Credentials, *, at: int) -> dict[str, str]:
    headers = {"webhook-id": message_id, "webhook-timestamp": str(at)}
    if secret := credentials.get(SIGNING_SECRET):
        # The library silently accepts a key that is not base64, and signs with something else.
        try:
            key = base64.b64decode(secret.removeprefix(SIGNING_PREFIX), validate=True)
        except ValueError:  # binascii.Error is a ValueError
            key = b""
        if not secret.startswith(SIGNING_PREFIX) or not key:
            raise credentials.invalid(SIGNING_SECRET, f"must be {SIGNING_PREFIX} followed by base64")
        headers[SIGNATURE] = Webhook(secret).sign(message_id, datetime.fromtimestamp(at, UTC), body.decode())
    return headers
