"""The registry of senders: one protocol, one file each, chosen by a target's `type`."""

from collections.abc import Mapping

from app.egress import HttpClient
from app.envelopes import Sender
from app.senders.slack import SlackSender
from app.senders.webhook import WebhookSender
from app.settings import ServiceSettings
from app.tracing import Tracing


def build_senders(settings: ServiceSettings, http: HttpClient, tracing: Tracing) -> Mapping[str, Sender]:
    """Return the senders of this installation; a type that is not among them fails as `NotImplemented`."""
    return {
        "webhook": WebhookSender(http, tracing),
        "slack": SlackSender(http, settings.slack_hosts),
    }
