"""Slack: a Block Kit message to an incoming webhook, whose whole URL is a secret.

https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks
"""

from typing import ClassVar

from app.domain.errors import TargetError
from app.domain.reasons import Reason
from app.domain.targets import SlackTarget
from app.domain.text import as_json
from app.egress.client import HttpClient, Outgoing
from app.senders.credentials import Credentials
from app.senders.envelopes import Envelope, Preview, Verdict, Way, judge, way_to
from app.senders.messages import slack_message

WEBHOOK_URL = "slack-webhook-url"

ERRORS = {
    # Slack's own words, each with what to do. Nothing else of its answer is ever shown.
    "action_prohibited": "an administrator of the workspace forbids this; ask them",
    "channel_is_archived": "unarchive the channel, or make a webhook for another",
    "channel_not_found": "the channel is gone; make a webhook for another",
    "invalid_payload": "Slack did not understand the message",
    "invalid_token": "the webhook is no longer valid; make a new one",
    "no_active_hooks": "the webhook is disabled; make a new one",
    "no_service": "the webhook is disabled, removed or not valid; make a new one",
    "no_service_id": "the URL is not complete; copy it again",
    "no_team": "the URL is not complete, or the workspace is gone; copy it again",
    "no_text": "Slack found no text in the message",
    "posting_to_general_channel_denied": "posting to the general channel is restricted; choose another",
    "rate_limited": "too many messages at once",
    "team_disabled": "the workspace is disabled",
    "too_many_attachments": "Slack found too much in the message",
    "user_not_found": "the user is gone; make a webhook for another",
}


class SlackSender:
    """Sends to the Secret's `slack-webhook-url`, which must be on one of Slack's hosts."""

    keys: ClassVar = frozenset({WEBHOOK_URL})
    copies: ClassVar = 4  # the text, its bytes, those in flight, those encrypted

    def __init__(self, http: HttpClient, hosts: tuple[str, ...]) -> None:
        self._http = http
        self._hosts = frozenset(host.lower().removesuffix(".") for host in hosts)

    def way(self, target: SlackTarget, credentials: Credentials) -> Way:  # noqa: ARG002  # the Secret has it
        """Return the route to the Secret's URL."""
        try:
            checked = self._http.guard.check(credentials.require(WEBHOOK_URL))
        except ValueError as error:
            raise credentials.invalid(WEBHOOK_URL, str(error)) from None
        if checked.host not in self._hosts:
            raise TargetError(
                Reason.EGRESS_DENIED,
                f'key "{WEBHOOK_URL}" of Secret "{credentials.secret}" is not on a host of Slack',
            )
        return way_to(checked)

    async def send(
        self, envelope: Envelope, target: SlackTarget, credentials: Credentials, way: Way
    ) -> Verdict:
        """Post the message once."""
        try:
            outgoing = self._outgoing(envelope, target, way)
            response = await self._http.post(outgoing.url, outgoing.body, outgoing.headers)
        except ValueError as error:
            raise credentials.invalid(WEBHOOK_URL, str(error)) from None
        word = response.body[:64].decode("ascii", "replace").strip()
        note = f"{word}: {ERRORS[word]}" if word in ERRORS else ""
        return judge(response.status, response.retry_after, note)

    async def preview(self, envelope: Envelope, target: SlackTarget, credentials: Credentials) -> Preview:
        """Show the POST; its URL as a whole is a secret."""
        outgoing = self._outgoing(envelope, target, self.way(target, credentials))
        await self._http.judge(outgoing.url)
        return Preview("POST", target.address, outgoing.all_headers, outgoing.body.decode())

    def _outgoing(self, envelope: Envelope, target: SlackTarget, way: Way) -> Outgoing:
        # A webhook that is bound to a channel ignores this; others obey it.
        channel = {"channel": target.channel} if target.channel else {}
        # Escaped, as webhooks are: whatever lies on the way reads ASCII alike.
        body = as_json({**channel, **slack_message(envelope)}, ascii_only=True)
        return Outgoing(way.checked, {"content-type": "application/json"}, body)
