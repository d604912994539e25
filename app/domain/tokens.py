"""Bearer tokens, as files and variables hold them (RFC 6750)."""


def bearer_token(text: str) -> str | None:
    """Return the token that a file or a variable holds; None where it is none that a header can bear."""
    token = text.strip()
    return token if token and token.isascii() and token.isprintable() and " " not in token else None
