"""Who may ask: the one question that the API puts before it does anything for a caller."""

from typing import Literal, Protocol

from app.errors import SettingsError
from app.settings import ServiceSettings

Verb = Literal["create", "get"]


class Authorizer(Protocol):
    """Judges callers by the token they bear."""

    async def authorize(self, token: str | None, verb: Verb, namespace: str, team: str) -> None:
        """Return when the caller may do this to the team's delivery.

        Raises:
            Unauthenticated: nobody knows the caller.
            Forbidden: the caller lacks the right.
        """
        ...


class AllowAll:
    """`AUTH=none`: everybody who reaches the port may."""

    async def authorize(self, token: str | None, verb: Verb, namespace: str, team: str) -> None:
        """Return."""


def build_authorizer(settings: ServiceSettings) -> Authorizer:
    """Return the authorizer that the settings ask for.

    Raises:
        SettingsError: it is not there; nobody is let in by accident.
    """
    if settings.auth == "none":
        return AllowAll()
    raise SettingsError(
        "DELIVERY_AUTH=kubernetes is not available in this version; set DELIVERY_AUTH=none, and let nobody"
        " but trusted callers reach the port"
    )
