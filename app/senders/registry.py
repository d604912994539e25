"""The registry: which sender handles which type of target."""

from typing import Any, TypeVar

from app.domain.targets import EmailTarget, GoogleDriveTarget, SlackTarget, TargetSpec, WebhookTarget
from app.egress.client import HttpClient
from app.senders.envelopes import Sender, Senders
from app.senders.slack import SlackSender
from app.senders.webhook import WebhookSender
from app.settings import ServiceSettings
from app.telemetry.tracing import Tracing

Spec = TypeVar("Spec", bound=TargetSpec)


def build_senders(settings: ServiceSettings, http: HttpClient, tracing: Tracing) -> Senders:
    """Return the senders of this installation; any other type fails as `NotImplemented`."""
    senders = {
        **_pair(WebhookTarget, WebhookSender(http, tracing)),
        **_pair(SlackTarget, SlackSender(http, settings.slack_hosts)),
    }
    # Imported only if a setting enables them: their libraries are optional extras.
    if settings.email == "smtp":
        from app.senders.email import EmailSender  # noqa: PLC0415

        senders |= _pair(EmailTarget, EmailSender(http, settings))
    if settings.google_drive == "api":
        from app.senders.google_drive import GoogleDriveSender  # noqa: PLC0415

        senders |= _pair(GoogleDriveTarget, GoogleDriveSender(http, settings.google_api_url))
    return senders


def _pair(target: type[Spec], sender: Sender[Spec]) -> dict[str, Sender[Any]]:
    """Pair a type of target with its sender; the type checker verifies that they match."""
    return {target.kind(): sender}
