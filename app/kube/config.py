"""kubernetes-asyncio without the modules that nothing here uses: its configurations, and its way to connect.

The library's packages import all that was generated for every kind of resource, some 900 modules: 35 MB and
half of the time that a start takes. What is used here needs none of them, so the packages are put in place
unread, as `importlib` finds them, and its modules are imported one by one. A process that has imported the
library before keeps it whole.
"""

import importlib.util
import sys


def _put_in_place(package: str) -> None:
    spec = importlib.util.find_spec(package)
    if spec is None:
        raise ModuleNotFoundError(f"no module named {package}", name=package)
    sys.modules[package] = importlib.util.module_from_spec(spec)


if "kubernetes_asyncio" not in sys.modules:
    for _package in ("kubernetes_asyncio", "kubernetes_asyncio.client", "kubernetes_asyncio.client.models"):
        _put_in_place(_package)
    from kubernetes_asyncio import client
    from kubernetes_asyncio.client.api_client import ApiClient
    from kubernetes_asyncio.client.configuration import Configuration

    vars(client).update(
        ApiClient=ApiClient, Configuration=Configuration
    )  # what `config` asks the package for

# After the packages are in place:
from kubernetes_asyncio.client import Configuration  # noqa: E402
from kubernetes_asyncio.client.rest import RESTClientObject  # noqa: E402
from kubernetes_asyncio.config import (  # noqa: E402
    ConfigException,
    load_incluster_config,
    load_kube_config,
)

__all__ = [
    "ConfigException",
    "Configuration",
    "RESTClientObject",
    "load_incluster_config",
    "load_kube_config",
]
