"""Reads a team for somebody who asked about it: what the API server says becomes what the caller is told."""

from app.domain.errors import (
    ClusterError,
    ClusterUnavailable,
    NoSuchKind,
    ObjectNotFound,
    TeamNotFound,
    patience,
)
from app.domain.teams import no_crd
from app.kube.cluster import Cluster, Snapshot
from app.settings import ServiceSettings


class Reader:
    """Teams of the namespaces that are served, fresh from the API server."""

    def __init__(self, settings: ServiceSettings, cluster: Cluster) -> None:
        self._settings = settings
        self._cluster = cluster

    async def read(self, namespace: str, name: str) -> Snapshot:
        """Read a team.

        Raises:
            TeamNotFound: there is none of this name, or not in a namespace that is served.
            ClusterUnavailable: the API server does not say.
        """
        if not self._settings.serves(namespace):
            raise TeamNotFound(
                f'there is no AgentTeam "{name}" in namespace "{namespace}" that is served here'
            )
        try:
            return await self._cluster.read_team(namespace, name)
        except NoSuchKind:
            raise TeamNotFound(no_crd(self._settings.api_group)) from None
        except ObjectNotFound:
            raise TeamNotFound(f'there is no AgentTeam "{name}" in namespace "{namespace}"') from None
        except ClusterError as error:
            raise unavailable(error) from None


def unavailable(error: ClusterError) -> ClusterUnavailable:
    """Return what a caller is told of an error for which nothing was sent."""
    return ClusterUnavailable(f"nothing was sent: {error}", retry_after=patience(error))
