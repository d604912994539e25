"""Limits of what teams and Secrets contain: each limit, and what to do beyond it.

Each is checked when the text is read, before any other processing, so parsers get only short input. Settings
limit the answers of receivers and the requests of callers.
"""

from dataclasses import dataclass
from typing import Literal, TypeVar

Unit = Literal["characters", "bytes", "bits", "recipients", "phases", "artifacts", "entries", "steps"]
MaybeText = TypeVar("MaybeText", str, str | None)


@dataclass(frozen=True, slots=True)
class Limit:
    """A maximum, and what to do if it is exceeded."""

    what: str  # in the words of the author, who can change it
    most: int
    unit: Unit
    remedy: str

    @property
    def words(self) -> str:
        """Say what is wrong with a value beyond the limit and what to do, without the value itself."""
        beyond = "is longer" if self.unit in {"characters", "bytes", "bits"} else "has more"
        return f"{beyond} than {self.most:,} {self.unit}; {self.remedy}"

    def check(self, text: MaybeText) -> MaybeText:
        """Return a text that is within the limit, or None as it is.

        Raises:
            ValueError: it is longer; the text says what to do, and contains none of the value.
        """
        if text is not None and len(text) > self.most:
            raise ValueError(self.words)
        return text


NAME = Limit("name", 253, "characters", "give a shorter name")
URL = Limit("url", 8_000, "characters", "give a shorter address")
HOST = Limit("host of a URL", 253, "characters", "host names are shorter; correct it")
CHANNEL = Limit("channel", 255, "characters", "give only the channel's name or id")
FOLDER = Limit("folder", 4_096, "characters", "give the folder's id")
MESSAGE = Limit("message", 100_000, "characters", "shorten it, or deliver the text as an artifact")
PATTERN = Limit("artifactPath, attachmentPath", 1_024, "characters", "name a folder that holds the files")
SUBJECT = Limit("subject", 1_000, "characters", "shorten it")
RECIPIENT = Limit("each of to", 320, "characters", "mail addresses are shorter; correct it")
RECIPIENTS = Limit("to", 100, "recipients", "use a mailing list")
PHASES = Limit("on", 16, "phases", "name each once")
SECRET_NAME = Limit("credentialsSecret", 253, "characters", "names of Secrets are shorter; correct it")

TARGET = (
    NAME, URL, HOST, CHANNEL, FOLDER, MESSAGE, PATTERN, SUBJECT, RECIPIENTS, RECIPIENT, PHASES, SECRET_NAME
)  # fmt: skip
"""Limits of an entry of `spec.lifecycle.delivery[]`; beyond them, only that target is `InvalidTarget`."""

ARTIFACTS = Limit("status.artifacts", 10_000, "artifacts", "write fewer files, or an archive")
ENTRIES = Limit("status.delivery", 4_000, "entries", "further ones are neither read nor kept")
ARTIFACT_TEXT = Limit("each text of an artifact", 4_096, "characters", "it is truncated")
PICKING = Limit("picking a team's artifacts", 5_000_000, "steps", "use fewer patterns, or name folders")

ENVELOPE = Limit("JSON in a mail or a document", 262_144, "bytes", "it is omitted, and the text says so")

TEAM = (ARTIFACTS, ARTIFACT_TEXT, PICKING, ENVELOPE, ENTRIES)
"""Limits of a team as a whole; beyond them, targets that list artifacts are `InvalidTarget`."""

_SECRET = (
    Limit("url", 8_000, "bytes", "give a shorter address"),
    Limit("signing-secret", 1_024, "bytes", "make a key of 24 to 64 bytes"),
    Limit("authorization", 8_000, "bytes", "few receivers accept a longer header; use a shorter token"),
    Limit("slack-webhook-url", 8_000, "bytes", "copy only the URL that Slack shows"),
    Limit("smtp-host", 253, "bytes", "host names are shorter; correct it"),
    Limit("smtp-port", 16, "bytes", "give a number from 1 to 65535"),
    Limit("smtp-tls", 16, "bytes", "give starttls, tls or none"),
    Limit("smtp-username", 1_024, "bytes", "give only the user name"),
    Limit("smtp-password", 8_000, "bytes", "give only the password"),
    Limit("from", 1_000, "bytes", "give an address, or a short name and an address"),
    Limit("service-account.json", 16_384, "bytes", "use the file as Google created it"),
)
SECRET = {bound.what: bound for bound in _SECRET}
"""Limits of a Secret's keys; beyond them, the target is `SecretInvalid`. Other keys are not read."""

RSA_KEY = Limit("RSA key of a service account", 4_096, "bits", "use the file as Google created it")
