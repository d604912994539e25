"""Reads the Secrets of one dispatch, each once, and forgets them at its end."""

import asyncio
from collections.abc import Collection, Mapping

from app.delivery.places import Places
from app.domain.errors import AccessDenied, ClusterError, ObjectNotFound, Rejected, TargetError
from app.domain.reasons import Reason
from app.kube.cluster import Cluster
from app.senders.credentials import Credentials
from app.timers import within

NONE = Credentials()


class SecretResolver:
    """The Secrets of one team's namespace, for one dispatch; it reads each Secret only once."""

    def __init__(
        self,
        cluster: Cluster,
        namespace: str,
        places: Places,
        *,
        keys: Collection[str],
        label: str | None = None,
    ) -> None:
        self._cluster = cluster
        self._places = places
        self._namespace = namespace
        self._keys = keys  # nothing else of a Secret is kept
        # `key` or `key=value`, a label that a Secret must have; None: any Secret may be used
        self._label = label
        self._reads: dict[str, asyncio.Task[Credentials]] = {}

    async def resolve(self, name: str | None, seconds: float | None = None) -> Credentials:
        """Return the credentials in a Secret; empty ones if the target names none.

        Raises:
            TargetError: the Secret does not exist, or cannot be read; the latter may be retried.
            TimeoutError: it was not read within `seconds`.
        """
        if name is None:
            return NONE
        read = self._reads.get(name)
        if read is None:
            read = self._reads[name] = asyncio.create_task(self._read(name))
            read.add_done_callback(self._forget_what_may_change)
        if read.done():
            return read.result()
        with within(seconds):
            # Shielded: one target's time limit must not cancel the read that other targets wait for.
            return await asyncio.shield(read)

    def _forget_what_may_change(self, read: asyncio.Task[Credentials]) -> None:
        error = None if read.cancelled() else read.exception()
        if error is not None and not (isinstance(error, TargetError) and not error.retryable):
            self._reads = {name: other for name, other in self._reads.items() if other is not read}

    async def _read(self, name: str) -> Credentials:
        where = f'Secret "{name}" in namespace "{self._namespace}"'
        turn = self._places.for_secret(self._namespace)
        try:
            if not turn.take():
                await turn.wait()
            secret = await self._cluster.read_secret(self._namespace, name)
        except ObjectNotFound:
            raise TargetError(Reason.SECRET_NOT_FOUND, f"there is no {where}; create it") from None
        except AccessDenied:
            message = f"the service may not read {where}; grant its account get on secrets there"
            raise TargetError(Reason.SECRET_FORBIDDEN, message) from None
        except Rejected:
            message = f"{where} holds no data that can be read; recreate it"
            raise TargetError(Reason.SECRET_INVALID, message) from None
        except ClusterError:
            message = f"{where} could not be read: the Kubernetes API is unavailable"
            raise TargetError(Reason.SECRET_UNAVAILABLE, message, retryable=True) from None
        finally:
            turn.leave()
        if self._label is not None and not _bears(secret.labels, self._label):
            message = f"{where} has no label {self._label}, which this installation requires; label it"
            raise TargetError(Reason.SECRET_FORBIDDEN, message)
        return Credentials.kept(name, secret.values, self._keys)


def _bears(labels: Mapping[str, str], label: str) -> bool:
    key, wants_value, value = label.partition("=")
    return key in labels and (not wants_value or labels[key] == value)
