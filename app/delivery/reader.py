"""Reads a team for a caller, and translates the API server's errors into problems.

The bytes that are read at once are limited, and namespaces share the limit. The size of a team is known only
after the read. Until then, the reader assumes the size of its namespace's recent teams.
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

LEAST = 131_072  # bytes that every read counts for at least
UNKNOWN = 1_048_576  # bytes assumed for a namespace from which nothing was read yet
FADING = 0.9  # factor on the largest size, per read
REMEMBERED = 4096  # namespaces
LONGEST_LINE = 1000  # reads of one namespace that wait
PAUSE = 2e-6  # seconds per byte: a share that reads all the time takes a fifth of a core

FEW, PER_ENTRY = 100, 1e-3  # entries; seconds per entry, because processing one takes about 50 µs


class Reader:
    """Reads teams of the served namespaces."""

    def __init__(self, settings: ServiceSettings, cluster: Cluster, places: Places) -> None:
        self._settings = settings
        self._cluster = cluster
        self._places = places
        self._sizes: dict[str, int] = {}  # bytes per namespace, the most recently read one last

    async def read(self, namespace: str, name: str, *, cached: bool = False) -> Snapshot:
        """Read a team as it is; `cached`: as it is or was shortly before, which costs the API server less.

        Raises:
            TeamNotFound: it does not exist, or its namespace is not served.
            ClusterUnavailable: the API server gives no usable answer.
            TooBusy: its namespace already reads as much as it may.
        """
        if not self._settings.serves(namespace):
            raise TeamNotFound(
                f'there is no AgentTeam "{name}" in namespace "{namespace}" that is served here'
            )
        turn = self._places.for_read(namespace, max(LEAST, self._expected(namespace)))
        if not turn.take() and (turn.behind >= LONGEST_LINE or await turn.wait(self._settings.api_timeout)):
            turn.leave()
            raise TooBusy(
                f'namespace "{namespace}" already reads as many teams as its share allows; retry',
                retry_after=RETRY_SOON,
            )
        pause = 0.0
        try:
            read = await self._cluster.read_team(namespace, name, cached=cached)
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

    def expects_little(self, namespace: str) -> bool:
        """Whether the teams of a namespace are known to be small."""
        return self._expected(namespace) <= LEAST

    def _expected(self, namespace: str) -> int:
        return self._sizes.get(namespace, UNKNOWN)

    def _learn(self, namespace: str, size: int) -> None:
        """Expect teams of this size; let the memory of a larger one fade."""
        self._sizes[namespace] = max(size, int(self._sizes.pop(namespace, 0) * FADING))
        if len(self._sizes) > REMEMBERED:
            del self._sizes[next(iter(self._sizes))]


def _leave(turn: Turn, pause: float) -> None:
    """Give the place back. After a large team, wait until it is processed and others have had their turn."""
    if pause:
        asyncio.get_running_loop().call_later(pause, turn.leave)
    else:
        turn.leave()


def unavailable(error: ClusterError) -> ClusterUnavailable:
    """Return the problem for an error that prevented a send."""
    return ClusterUnavailable(f"nothing was sent: {error}", retry_after=patience(error))
