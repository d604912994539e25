"""The connection to the Kubernetes API that the environment names: its address, trust, token and pool."""

import os
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import aiohttp
from kubernetes_asyncio import config
from kubernetes_asyncio.client import ApiClient, Configuration
from kubernetes_asyncio.client.rest import RESTClientObject

from app.errors import SettingsError


class Rest(RESTClientObject):
    """The library's pool of connections, without a look at the environment at every request.

    As the library has it, aiohttp reads a `.netrc` and the proxy variables each time, each in a thread of its
    own. A proxy is looked up once instead, by whoever connects.
    """

    def __init__(self, configuration: Configuration) -> None:
        super().__init__(configuration)
        looking = self.pool_manager
        self.pool_manager = aiohttp.ClientSession(connector=looking.connector, read_bufsize=2**21)
        looking.detach()


@asynccontextmanager
async def connect() -> AsyncIterator[ApiClient]:
    """Yield an API client: in-cluster, else what `KUBECONFIG` names.

    Raises:
        SettingsError: neither is there.
    """
    configuration = Configuration()
    try:
        if "KUBERNETES_SERVICE_HOST" in os.environ:
            config.load_incluster_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
        else:
            # Named here, since the library reads the variable once, when it is imported.
            path = os.environ.get("KUBECONFIG")
            await config.load_kube_config(config_file=path, client_configuration=configuration)
    except Exception as error:  # noqa: BLE001  # a file that is no kubeconfig raises whatever its content leads to
        raise SettingsError(
            "no Kubernetes API is configured: run inside a cluster, or set KUBECONFIG to a readable file"
            f" ({type(error).__name__})"
        ) from None
    configuration.proxy = configuration.proxy or _proxy(str(configuration.host))
    async with ApiClient(configuration) as api:
        await renew(api)
        yield api


async def renew(api: ApiClient) -> None:
    """Make the pool anew; the authority's certificate is read with it, which may be another by now.

    Raises:
        OSError: it cannot be read; the pool stays.
    """
    stale = api.rest_client
    api.rest_client = Rest(api.configuration)
    await stale.close()


def _proxy(url: str) -> str | None:
    """Return the proxy that the environment names for a URL."""
    address = urlsplit(url)
    if urllib.request.proxy_bypass(address.netloc):
        return None
    return urllib.request.getproxies().get(address.scheme)
