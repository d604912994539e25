"""The registry: which sender takes which type of target, one file each."""

from typing import Any, TypeVar

from app.domain.targets import EmailTarget, GoogleDriveTarget, SlackTarget, TargetSpec, WebhookTarget
from app.egress.client import HttpClient
from app.senders.envelopes import Sender, Senders
from app.senders.slack import SlackSender
from app.senders.webhook import WebhookSender
from app.settings import ServiceSettings
from app.telemetry.tracing import Tracing

Kind = TypeVar("Kind", bound=TargetSpec)


def build_senders(settings: ServiceSettings, http: HttpClient, tracing: Tracing) -> Senders:
    """Return the senders of this installation; a type that is not among them fails as `NotImplemented`."""
    senders = {
        **_pair(WebhookTarget, WebhookSender(http, tracing)),
        **_pair(SlackTarget, SlackSender(http, settings.slack_hosts)),
    }
    # Imported only where they are switched on: their libraries are extras, which the settings ask for.
    if settings.email == "smtp":
        from app.senders.email import EmailSender  # noqa: PLC0415

        senders |= _pair(EmailTarget, EmailSender(http, settings))
    if settings.google_drive == "api":
        from app.senders.google_drive import GoogleDriveSender  # noqa: PLC0415

        senders |= _pair(GoogleDriveTarget, GoogleDriveSender(http, settings.google_api_url))
    return senders


def _pair(target: type[Kind], sender: Sender[Kind]) -> dict[str, Sender[Any]]:
    """Pair a type of target with its sender; the type checker sees that it takes no other."""
    return {target.kind(): sender}
