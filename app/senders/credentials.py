"""The values of one Secret, kept for one dispatch and never printed."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Self

from app.domain.bounds import SECRET
from app.domain.errors import TargetError
from app.domain.reasons import Reason


@dataclass(frozen=True, slots=True)
class Credentials:
    """The keys and values of a Secret; reading a value validates it, and no error text contains one."""

    secret: str = ""
    values: Mapping[str, bytes] = field(default_factory=dict, repr=False)

    @classmethod
    def kept(cls, secret: str, values: Mapping[str, bytes], keys: Collection[str]) -> Self:
        """Keep only these keys of a Secret; of a value that is too long, keep just enough to show that."""
        return cls(
            secret,
            {
                key: value if key not in SECRET else value[: SECRET[key].most + 1]
                for key, value in values.items()
                if key in keys
            },
        )

    def __contains__(self, key: str) -> bool:
        return key in self.values

    def require(self, key: str) -> str:
        """Return the value of `key` as text without surrounding white space.

        Raises:
            TargetError: the key is missing, or its value is empty, too long, not text, or more than one line.
        """
        try:
            value = self.document(key).decode().strip()
        except UnicodeDecodeError:
            raise self.invalid(key, "is not UTF-8 text") from None
        if not value:
            raise self.invalid(key, "is empty")
        if not value.isprintable():
            raise self.invalid(key, "must be one line without control characters")
        return value

    def document(self, key: str) -> bytes:
        """Return the value of `key` unchanged, with any number of lines.

        Raises:
            TargetError: the key is missing, or its value is too long for this key.
        """
        if key not in self.values:
            message = f'Secret "{self.secret}" has no key "{key}"; add it'
            raise TargetError(Reason.SECRET_KEY_MISSING, message)
        value = self.values[key]
        if key in SECRET and len(value) > SECRET[key].most:
            raise self.invalid(key, SECRET[key].words)
        return value

    def get(self, key: str) -> str | None:
        """Return the value of an optional key; None without the key."""
        return self.require(key) if key in self.values else None

    def invalid(self, key: str, why: str) -> TargetError:
        """Return the error that says what is wrong with a key's value, without the value."""
        return TargetError(Reason.SECRET_INVALID, f'key "{key}" of Secret "{self.secret}" {why}')
