"""Bearer tokens from files and variables (RFC 6750)."""


def bearer_token(text: str) -> str | None:
    """Return the token in a file or a variable; None if it is not valid in a header."""
    token = text.strip()
    return token if token and token.isascii() and token.isprintable() and " " not in token else None
