"""Webhooks: the six-key envelope by POST, signed as Standard Webhooks where the Secret has a key for it."""

import base64
from datetime import UTC, datetime

from standardwebhooks import Webhook

from app.credentials import Credentials
from app.egress import HttpClient
from app.envelopes import Envelope, Verdict, judge
from app.errors import TargetError
from app.reasons import Reason
from app.targets import Target, WebhookTarget
from app.tracing import Tracing

URL, SIGNING_SECRET, AUTHORIZATION = "url", "signing-secret", "authorization"
SIGNING_PREFIX = "whsec_"


class WebhookSender:
    """Sends to the Secret's `url`, or else the target's.

    https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
    """

    def __init__(self, http: HttpClient, tracing: Tracing) -> None:
        self._http = http
        self._tracing = tracing

    async def send(self, envelope: Envelope, target: Target, credentials: Credentials) -> Verdict:
        """Post the envelope once; any answer but 2xx is a failure."""
        assert isinstance(target, WebhookTarget)  # noqa: S101  # the registry's promise, for the type checker
        body = envelope.body()
        secret_url = credentials.get(URL)
        url = secret_url or target.url or credentials.require(URL)
        headers = {
            "content-type": "application/json",
            **self._tracing.headers(),
            **_signed(envelope.id, body, credentials, at=datetime.now(UTC)),
        }
        if authorization := credentials.get(AUTHORIZATION):
            if not authorization.isascii():
                raise credentials.invalid(AUTHORIZATION, "must be ASCII, as HTTP headers are")
            headers["authorization"] = authorization
        try:
            response = await self._http.post(url, body, headers)
        except ValueError as error:
            if secret_url:
                raise credentials.invalid(URL, str(error)) from None
            raise TargetError(Reason.INVALID_TARGET, f"url: {error}") from None
        return judge(response.status, response.retry_after)


def _signed(message_id: str, body: bytes, credentials: Credentials, *, at: datetime) -> dict[str, str]:
    headers = {"webhook-id": message_id, "webhook-timestamp": str(int(at.timestamp()))}
    if secret := credentials.get(SIGNING_SECRET):
        # The library takes a key that is not base64 without a word, and signs with something else.
        try:
            key = base64.b64decode(secret.removeprefix(SIGNING_PREFIX), validate=True)
        except ValueError:  # of which binascii.Error is one
            key = b""
        if not secret.startswith(SIGNING_PREFIX) or not key:
            raise credentials.invalid(SIGNING_SECRET, f"must be {SIGNING_PREFIX} followed by base64")
        headers["webhook-signature"] = Webhook(secret).sign(message_id, at, body.decode())
    return headers
