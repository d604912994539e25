"""Untrusted URLs: the only place where they are checked and parsed. Pure."""

from urllib.parse import SplitResult, urlsplit

from app.domain.bounds import HOST, URL
from app.domain.text import shortened

_PORT = 6  # characters: a colon, and five digits
USER_INFO = "must hold no user info; use the Secret's key authorization instead"


def split(url: str) -> SplitResult:
    """Take a URL apart.

    Python normalises a host beyond ASCII in a time that grows with the square of its length; so how long it
    is must be known before.

    Raises:
        ValueError: it is none, or too long; the text says what to change, and holds nothing of it.
    """
    URL.check(url)
    authority = _authority(url)
    if len(authority) > HOST.most + _PORT:
        raise ValueError(USER_INFO if "@" in authority else f"names a host that {HOST.words}")
    try:
        return urlsplit(url)
    except ValueError:
        raise ValueError("is no valid URL") from None  # its own text quotes the URL


def redacted(url: str) -> str:
    """Return `scheme://host:port/path` of a URL: no user info, no query, no fragment, of bounded length."""
    try:
        parts = split(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        return "(not a URL)"
    if not parts.scheme or not host:
        return "(not a URL)"
    host = f"[{host}]" if ":" in host else host
    return shortened(f"{parts.scheme}://{host}{f':{port}' if port else ''}{parts.path}")


def _authority(url: str) -> str:
    """Return what can stand for host, port and user info: from the first `//` to the end of that part."""
    text = url.partition("//")[2]
    for mark in "/?#":
        text = text.partition(mark)[0]
    return text
