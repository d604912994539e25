"""The registry of senders: one protocol, one file each, chosen by a target's `type`."""

from collections.abc import Mapping

from app.egress.client import HttpClient
from app.senders.envelopes import Sender
from app.senders.slack import SlackSender
from app.senders.webhook import WebhookSender
from app.settings import ServiceSettings
from app.telemetry.tracing import Tracing


def build_senders(settings: ServiceSettings, http: HttpClient, tracing: Tracing) -> Mapping[str, Sender]:
    """Return the senders of this installation; a type that is not among them fails as `NotImplemented`."""
    senders: dict[str, Sender] = {
        "webhook": WebhookSender(http, tracing),
        "slack": SlackSender(http, settings.slack_hosts),
    }
    # Imported only where they are switched on: their libraries are extras, which the settings ask for.
    if settings.email == "smtp":
        from app.senders.email import EmailSender  # noqa: PLC0415

        senders["email"] = EmailSender(http, settings)
    if settings.google_drive == "api":
        from app.senders.google_drive import GoogleDriveSender  # noqa: PLC0415

        senders["google-drive"] = GoogleDriveSender(http, settings.google_api_url)
    return senders
