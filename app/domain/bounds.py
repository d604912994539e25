"""How long what others write may be, and how much of it there may be: every bound, and what to do beyond it.

Each is judged when the text is read, before anything else is done with it, so that no parser meets more than
it can take in no time. What a receiver answers, and what a caller sends, is bounded by settings.
"""

from dataclasses import dataclass
from typing import Literal, TypeVar

Unit = Literal["characters", "bytes", "bits", "recipients", "endings", "artifacts", "entries", "steps"]
MaybeText = TypeVar("MaybeText", str, str | None)


@dataclass(frozen=True, slots=True)
class Limit:
    """So much of something at most, and what to do where it is more."""

    what: str  # as those write it who can change it
    most: int
    unit: Unit
    remedy: str

    @property
    def words(self) -> str:
        """What is wrong with something beyond it, and what to do; nothing of the thing itself."""
        beyond = "is longer" if self.unit in {"characters", "bytes", "bits"} else "has more"
        return f"{beyond} than {self.most:,} {self.unit}; {self.remedy}"

    def check(self, text: MaybeText) -> MaybeText:
        """Return a text that is within it; an absent one is.

        Raises:
            ValueError: it is longer; the words say what to do, and hold nothing of it.
        """
        if text is not None and len(text) > self.most:
            raise ValueError(self.words)
        return text


NAME = Limit("name", 253, "characters", "give a shorter name")
URL = Limit("url", 8_000, "characters", "give a shorter address")
HOST = Limit("host of a URL", 253, "characters", "no host's name is that long; correct it")
CHANNEL = Limit("channel", 255, "characters", "give the channel's name or id alone")
FOLDER = Limit("folder", 4_096, "characters", "give the folder's id")
MESSAGE = Limit("message", 100_000, "characters", "shorten it, or put the text into a file")
PATTERN = Limit("artifactPath, attachmentPath", 1_024, "characters", "name a folder that holds the files")
SUBJECT = Limit("subject", 1_000, "characters", "shorten it")
RECIPIENT = Limit("each of to", 320, "characters", "no mail address is that long; correct it")
RECIPIENTS = Limit("to", 100, "recipients", "use a mailing list")
ENDINGS = Limit("on", 16, "endings", "name each once")
SECRET_NAME = Limit("credentialsSecret", 253, "characters", "no Secret's name is that long; correct it")

TARGET = (
    NAME, URL, HOST, CHANNEL, FOLDER, MESSAGE, PATTERN, SUBJECT, RECIPIENTS, RECIPIENT, ENDINGS, SECRET_NAME
)  # fmt: skip
"""What an entry of `spec.lifecycle.delivery[]` may hold; beyond it, that target alone is `InvalidTarget`."""

ARTIFACTS = Limit("status.artifacts", 10_000, "artifacts", "have the team write fewer files, or an archive")
ENTRIES = Limit("status.delivery", 4_000, "entries", "those beyond are neither read nor kept")
ARTIFACT_TEXT = Limit("each text of an artifact", 4_096, "characters", "it is cut there")
PICKING = Limit("picking a team's artifacts", 5_000_000, "steps", "use fewer patterns, or name folders")

ENVELOPE = Limit("JSON in a mail or a document", 262_144, "bytes", "it is left out, and the text says so")

TEAM = (ARTIFACTS, ARTIFACT_TEXT, PICKING, ENVELOPE, ENTRIES)
"""What a team may hold as a whole; beyond it, targets that list artifacts are `InvalidTarget`."""

_SECRET = (
    Limit("url", 8_000, "bytes", "give a shorter address"),
    Limit("signing-secret", 1_024, "bytes", "make a key of 24 to 64 bytes"),
    Limit("authorization", 8_000, "bytes", "few receivers take a longer header; use a shorter token"),
    Limit("slack-webhook-url", 8_000, "bytes", "copy the address alone, as Slack shows it"),
    Limit("smtp-host", 253, "bytes", "no host's name is that long; correct it"),
    Limit("smtp-port", 16, "bytes", "give a number from 1 to 65535"),
    Limit("smtp-tls", 16, "bytes", "give starttls, tls or none"),
    Limit("smtp-username", 1_024, "bytes", "give the user's name alone"),
    Limit("smtp-password", 8_000, "bytes", "give the password alone"),
    Limit("from", 1_000, "bytes", "give an address, or a short name and an address"),
    Limit("service-account.json", 16_384, "bytes", "take the file as Google made it"),
)
SECRET = {bound.what: bound for bound in _SECRET}
"""What a Secret's keys may hold; beyond it, the target is `SecretInvalid`. Other keys are not read."""

RSA_KEY = Limit("RSA key of a service account", 4_096, "bits", "take the file as Google made it")
