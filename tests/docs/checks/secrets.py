"""The keys of a Secret that at least one sender reads."""

from app.senders.email import EmailSender
from app.senders.google_drive import GoogleDriveSender
from app.senders.slack import SlackSender
from app.senders.webhook import WebhookSender

SENDERS = (WebhookSender, SlackSender, EmailSender, GoogleDriveSender)
KEYS = frozenset[str]().union(*(sender.keys for sender in SENDERS))
