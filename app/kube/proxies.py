"""The proxy for the Kubernetes API of a kubeconfig, as kubectl selects it.

A pod never uses one for its own API server: a pod's proxy variables are for addresses outside the cluster.
"""

import re
import urllib.request
from urllib.parse import urlsplit

from app.domain.bypass import Bypass
from app.settings import is_loopback


def proxy_for(server: str, said: str | None) -> str | None:
    """Return the proxy for a server: the one in its kubeconfig (`proxy-url`), otherwise the environment's.

    `NO_PROXY` may contain names (which include their subdomains), addresses, networks and ports. This machine
    is never reached through a proxy.

    Raises:
        ValueError: it is not a proxy that can be used here.
    """
    if said:
        return _usable(said)
    address = urlsplit(server)
    host = address.hostname or ""
    proxies = urllib.request.getproxies_environment()
    found = proxies.get(address.scheme)
    if not found or is_loopback(host):
        return None
    port = address.port or (443 if address.scheme == "https" else 80)
    return None if _apart(proxies.get("no", "")).covers(host, port) else _usable(found)


def _apart(text: str) -> Bypass:
    """Read `NO_PROXY`; an invalid item does not affect the others."""
    items = []
    for item in filter(None, re.split(r"[,\s]+", text)):
        try:
            Bypass.read([item])
        except ValueError:
            continue
        items.append(item)
    return Bypass.read(items)


def _usable(proxy: str) -> str:
    url = proxy if "://" in proxy else f"http://{proxy}"
    if urlsplit(url).scheme not in {"http", "https"}:
        raise ValueError("a proxy to the Kubernetes API must be http:// or https://")
    return url
