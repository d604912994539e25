"""The trusted certificate authorities: the public ones and the installation's own, reloaded when renewed.

It also says in our own words why a certificate is not trusted: no text contains anything that a receiver
wrote.
"""

import os
import ssl
from contextlib import suppress

import certifi

from app.authorities import trust_as_named


class TrustAnchors:
    """A TLS context that trusts the current content of the owner's file."""

    def __init__(self, file: str | None = None) -> None:
        """Read the file.

        Raises:
            OSError: the file cannot be read, or contains no certificates.
        """
        self._file = file
        self._state = self._seen()
        # The public ones alone can be read at any time, so an idle process does not hold them.
        self._context = None if file is None else self._made()

    @property
    def context(self) -> ssl.SSLContext:
        """The context; a new one when the file has changed, the previous one while the file is invalid."""
        if self._context is None:
            self._context = self._made()
        if self._file is None:
            return self._context
        with suppress(OSError):  # or ssl.SSLError; half a file is read again when complete
            if (state := self._seen()) != self._state:
                # A new one, because a certificate authority cannot be removed from a context in use.
                self._context = self._made()
                self._state = state
        return self._context

    def _seen(self) -> tuple[int, int, int]:
        if self._file is None:
            return (0, 0, 0)
        found = os.stat(self._file)  # noqa: PTH116  # at each request
        return found.st_mtime_ns, found.st_ino, found.st_size

    def _made(self) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=certifi.where())
        if self._file is not None:
            trust_as_named(context)
            context.load_verify_locations(cafile=self._file)
        return context


def refused(error: ssl.SSLCertVerificationError) -> str:
    """Say what is wrong with a certificate, by OpenSSL's code, or else in OpenSSL's words."""
    said = _CERTIFICATES.get(error.verify_code)
    return f"the receiver's certificate {said or f'is not valid: {error.verify_message}'}"


def broken(error: ssl.SSLError) -> str:
    """Say why the handshake failed, by OpenSSL's reason."""
    word = error.reason or ""
    said = _HANDSHAKES.get(word) or word.lower().replace("_", " ")
    return f"the TLS handshake failed: {said}" if said else "the TLS handshake failed"


# https://docs.openssl.org/3.0/man3/X509_STORE_CTX_get_error/
# If the receiver omits an intermediate certificate, OpenSSL reports 20 too: it does not find the issuer.
_UNTRUSTED = (
    "is signed by an untrusted certificate authority, or lacks intermediate certificates; "
    "DELIVERY_EGRESS_CA_FILE adds a certificate authority"
)
_WEAK = "has a key or a signature that is too weak; request a new one"
_NO_AUTHORITY = "is signed by a certificate that does not belong to a certificate authority"
_CERTIFICATES = {
    7: "has an invalid signature",
    9: "is not valid yet",
    10: "has expired",
    18: "is self-signed; DELIVERY_EGRESS_CA_FILE adds trusted certificates",
    19: _UNTRUSTED,
    20: _UNTRUSTED,
    21: _UNTRUSTED,
    22: "has too long a certificate chain",
    23: "was revoked",
    24: _NO_AUTHORITY,
    25: "has a longer certificate chain than one of its issuers allows",
    26: "was not made for a server",
    34: "has an unknown critical extension",
    47: "is for a name that its certificate authority may not certify",
    48: "is for a name that its certificate authority may not certify",
    62: "is for another host name",
    64: "is for another address",
    66: _WEAK,
    67: _WEAK,
    68: _WEAK,
    79: _NO_AUTHORITY,
}

_NO_TLS = "the receiver does not use TLS on this port"
_NO_VERSION = "the receiver supports neither TLS 1.2 nor 1.3"
_NO_CIPHER = "the receiver accepts none of the offered ciphers, or requires a client certificate"
_OUR_CERTIFICATE = "the receiver requires a client certificate, and this service has none"
_HANDSHAKES = {
    "WRONG_VERSION_NUMBER": _NO_TLS,
    "HTTP_REQUEST": _NO_TLS,
    "PACKET_LENGTH_TOO_LONG": _NO_TLS,
    "RECORD_LAYER_FAILURE": _NO_TLS,
    "UNEXPECTED_MESSAGE": _NO_TLS,
    "UNSUPPORTED_PROTOCOL": _NO_VERSION,
    "TLSV1_ALERT_PROTOCOL_VERSION": _NO_VERSION,
    "NO_PROTOCOLS_AVAILABLE": _NO_VERSION,
    "SSLV3_ALERT_HANDSHAKE_FAILURE": _NO_CIPHER,
    "NO_SHARED_CIPHER": _NO_CIPHER,
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": _OUR_CERTIFICATE,
    "SSLV3_ALERT_BAD_CERTIFICATE": _OUR_CERTIFICATE,
    "TLSV1_UNRECOGNIZED_NAME": "the receiver knows no host of this name",
    "UNSAFE_LEGACY_RENEGOTIATION_DISABLED": "the receiver lacks secure renegotiation (RFC 5746)",
    "DH_KEY_TOO_SMALL": "the receiver's key exchange is too weak",
    "UNEXPECTED_EOF_WHILE_READING": "the receiver closed the connection",
}
