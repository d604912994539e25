"""The service's certificate, reloaded when it is rotated."""

import asyncio
import math
import ssl
from pathlib import Path
from typing import Self

import structlog

from app.domain.errors import SettingsError
from app.settings import ServiceSettings

log = structlog.get_logger(__name__)

RELOAD_EVERY = 1.0  # seconds between two checks of the files


class Certificate:
    """A certificate with its chain and key, and the context for new connections.

    Each pair gets a new context. One context keeps one certificate per type of key, so it would go on
    presenting an RSA certificate after an elliptic-curve certificate replaced it.
    """

    def __init__(self, cert_file: str, key_file: str) -> None:
        self._cert_file = Path(cert_file)
        self._key_file = Path(key_file)
        self._seen = self._content()
        self.context = self._load()

    @classmethod
    def of(cls, settings: ServiceSettings) -> Self | None:
        """Return the certificate in the settings, or None.

        Raises:
            SettingsError: the files cannot be read, or are not a pair.
        """
        if settings.tls_cert_file is None or settings.tls_key_file is None:
            return None
        return cls(settings.tls_cert_file, settings.tls_key_file)

    async def keep_fresh(self, every: float = RELOAD_EVERY) -> None:
        """Check the files every `every` seconds; open connections are not affected."""
        while True:
            await asyncio.sleep(every)
            await asyncio.to_thread(self._look)

    def _look(self) -> None:
        """Use the files if they changed and are a pair; log an invalid pair once.

        This compares the content, because Kubernetes replaces the folder under the files' names. If the files
        change during the read, the next check decides.
        """
        found = self._content()
        if found == self._seen:
            return
        try:
            context = self._load()
        except SettingsError as error:
            if self._content() == found:
                self._seen = found
                log.warning("tls_reload_failed", error=str(error))
        else:
            if self._content() == found:
                self._seen = found
                self.context = context
                log.info("tls_reloaded")

    def _content(self) -> tuple[bytes, bytes] | None:
        """Return the content of both files, or None if one cannot be read."""
        try:
            return self._cert_file.read_bytes(), self._key_file.read_bytes()
        except OSError:
            return None

    def _load(self) -> ssl.SSLContext:
        cert = _read(self._cert_file, "DELIVERY_TLS_CERT_FILE")
        key = _read(self._key_file, "DELIVERY_TLS_KEY_FILE")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.options |= ssl.OP_NO_RENEGOTIATION  # it costs the server more than the caller
        context.set_alpn_protocols(["http/1.1"])
        try:
            # Without a password, OpenSSL would prompt for one at the terminal, and wait.
            context.load_cert_chain(self._cert_file, self._key_file, password="")
        except ssl.SSLError as error:
            raise SettingsError(self._blame(error, cert, key)) from None
        except OSError:  # deleted since
            raise SettingsError(
                "the files of DELIVERY_TLS_CERT_FILE and DELIVERY_TLS_KEY_FILE change"
            ) from None
        self.not_after = _end(self._cert_file)
        return context

    def _blame(self, error: ssl.SSLError, cert: bytes, key: bytes) -> str:
        """Say which setting is wrong; OpenSSL says `PEM lib` for either file."""
        if error.reason == "KEY_VALUES_MISMATCH":
            return (
                f"DELIVERY_TLS_KEY_FILE: {self._key_file} is not the key of the certificate in"
                f" {self._cert_file}; DELIVERY_TLS_CERT_FILE begins with the service's own certificate"
            )
        if b"-----BEGIN CERTIFICATE-----" not in cert:
            return f"DELIVERY_TLS_CERT_FILE: {self._cert_file} contains no certificate in PEM form"
        if b"PRIVATE KEY-----" not in key:
            return f"DELIVERY_TLS_KEY_FILE: {self._key_file} contains no private key in PEM form"
        return (
            f"DELIVERY_TLS_CERT_FILE, DELIVERY_TLS_KEY_FILE: {self._cert_file} or {self._key_file} is"
            " damaged, or the key has a password; remove the password"
        )


def _end(path: Path) -> float:
    """Return when a file's first certificate expires, in seconds since 1970; NaN if unknown."""
    from cryptography import x509  # noqa: PLC0415  # a port without a certificate does not need it

    try:
        return x509.load_pem_x509_certificate(path.read_bytes()).not_valid_after_utc.timestamp()
    except (OSError, ValueError):
        return math.nan


def _read(path: Path, setting: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise SettingsError(f"{setting}: {path} cannot be read: {error.strerror}") from None
