"""Untrusted URLs: the only place where they are checked and parsed. Pure."""

from urllib.parse import SplitResult, urlsplit

from app.domain.bounds import HOST, URL
from app.domain.text import shortened

_PORT = 6  # characters: a colon and five digits
USER_INFO = "must not contain user info; use the Secret's key authorization instead"


def split(url: str) -> SplitResult:
    """Split a URL into its parts.

    Python takes time quadratic in the length of a non-ASCII host to normalise it, so the length is checked
    first.

    Raises:
        ValueError: it is not a URL, or too long; the text says what to change, and contains none of it.
    """
    URL.check(url)
    authority = _authority(url)
    if len(authority) > HOST.most + _PORT:
        raise ValueError(USER_INFO if "@" in authority else f"names a host that {HOST.words}")
    try:
        return urlsplit(url)
    except ValueError:
        raise ValueError("is not a valid URL") from None  # the library's text quotes the URL


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
    """Return the part that may contain host, port and user info: from the first `//` to its end."""
    text = url.partition("//")[2]
    for mark in "/?#":
        text = text.partition(mark)[0]
    return text
