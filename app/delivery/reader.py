"""Reads a team for a caller, and translates the API server's errors into problems.

How much is read at once is bounded in bytes and shared by namespaces. How large a team is is known once it is
read; until then it is taken to be as large as those that its namespace had lately.
"""

import asyncio

from app.delivery.places import Places, Turn
from app.domain.errors import (
    RETRY_SOON,
    ClusterError,
    ClusterUnavailable,
    NoSuchKind,
    ObjectNotFound,
    TeamNotFound,
    TooBusy,
    patience,
)
from app.domain.teams import no_crd
from app.kube.cluster import Cluster, Snapshot
from app.settings import ServiceSettings

LEAST = 131_072  # bytes that a read counts for at least
UNKNOWN = 1_048_576  # bytes, of a namespace of which nothing was read yet
FADING = 0.9  # of the largest size, at each read
REMEMBERED = 4096  # namespaces
LONGEST_LINE = 1000  # reads of one namespace that wait
PAUSE = 2e-6  # seconds a byte: what is read in a share all the time takes a fifth of a core

FEW, PER_ENTRY = 100, 1e-3  # entries; seconds, since what is made of one takes some 50 µs


class Reader:
    """Teams of the namespaces that are served, fresh from the API server."""

    def __init__(self, settings: ServiceSettings, cluster: Cluster, places: Places) -> None:
        self._settings = settings
        self._cluster = cluster
        self._places = places
        self._sizes: dict[str, int] = {}  # bytes, by namespace, the one read last at the end

    async def read(self, namespace: str, name: str) -> Snapshot:
        """Read a team.

        Raises:
            TeamNotFound: there is none of this name, or not in a namespace that is served.
            ClusterUnavailable: the API server does not say.
            TooBusy: as much is being read for its namespace as may be.
        """
        if not self._settings.serves(namespace):
            raise TeamNotFound(
                f'there is no AgentTeam "{name}" in namespace "{namespace}" that is served here'
            )
        turn = self._places.for_read(namespace, max(LEAST, self._sizes.get(namespace, UNKNOWN)))
        if not turn.take() and (turn.behind >= LONGEST_LINE or await turn.wait(self._settings.api_timeout)):
            turn.leave()
            raise TooBusy(
                f'as many teams of namespace "{namespace}" are being read as its share is; ask again',
                retry_after=RETRY_SOON,
            )
        pause = 0.0
        try:
            read = await self._cluster.read_team(namespace, name)
            self._learn(namespace, read.size)
            entries = len(read.team.entries)
            pause = read.size * PAUSE + entries * PER_ENTRY if read.size > LEAST or entries > FEW else 0.0
        except NoSuchKind:
            raise TeamNotFound(no_crd(self._settings.api_group)) from None
        except ObjectNotFound:
            raise TeamNotFound(f'there is no AgentTeam "{name}" in namespace "{namespace}"') from None
        except ClusterError as error:
            raise unavailable(error) from None
        else:
            return read
        finally:
            _leave(turn, pause)

    def _learn(self, namespace: str, size: int) -> None:
        """Expect teams of this size, and fewer of those that were larger."""
        self._sizes[namespace] = max(size, int(self._sizes.pop(namespace, 0) * FADING))
        if len(self._sizes) > REMEMBERED:
            del self._sizes[next(iter(self._sizes))]


def _leave(turn: Turn, pause: float) -> None:
    """Give the place back, after a large team only when what is made of it is done, and others had theirs."""
    if pause:
        asyncio.get_running_loop().call_later(pause, turn.leave)
    else:
        turn.leave()


def unavailable(error: ClusterError) -> ClusterUnavailable:
    """Return the problem for an error because of which nothing was sent."""
    return ClusterUnavailable(f"nothing was sent: {error}", retry_after=patience(error))
