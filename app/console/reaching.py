"""Why there was no answer, and what to change."""

import socket
import ssl
from collections.abc import Iterator

import httpx

from app.console.trouble import Away, Trouble

PROBE = 3.0  # seconds for a handshake that tests whether a port uses TLS
_OF_ANOTHER_NAME = (62, 64)  # X509_V_ERR_HOSTNAME_MISMATCH, X509_V_ERR_IP_ADDRESS_MISMATCH
_CLOSED = (ssl.SSLEOFError, ConnectionResetError)  # as a port-forward does whose pod is gone
_NOT_YET, _ENDED = 9, 10  # X509_V_ERR_CERT_NOT_YET_VALID, X509_V_ERR_CERT_HAS_EXPIRED


def unreached(address: httpx.URL, error: httpx.HTTPError) -> Trouble:
    """Return the error for a request without an answer."""
    causes = list(_causes(error))
    for cause in causes:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return Trouble(_refused(address, cause))
        if isinstance(cause, socket.gaierror):
            return Away(f"the host name {address.host} does not resolve; check --url or DELIVERY_URL")
    closed = any(isinstance(cause, _CLOSED) for cause in causes)
    if not closed and any(isinstance(cause, ssl.SSLError) for cause in causes):
        return Trouble(
            f"{address}: no TLS connection to this port; if it does not use TLS, use http:// in --url"
            " or DELIVERY_URL"
        )
    if not closed and isinstance(error, httpx.ConnectError):
        return Away(
            f"no service answers at {address}; set its address with --url or DELIVERY_URL; for a service in a"
            " cluster, use kubectl port-forward"
        )
    if address.scheme == "http" and speaks_tls(address):
        return Trouble(f"{address}: this port uses TLS; use https:// in --url or DELIVERY_URL")
    return Away(
        f"the connection to {address} was closed without an answer; check that the service runs at that"
        " address, or at the other end of the port-forward"
    )


def speaks_tls(address: httpx.URL) -> bool:
    """Whether a TLS handshake with the port succeeds; nothing else is sent."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        with (
            socket.create_connection((address.host, address.port or 80), PROBE) as plain,
            context.wrap_socket(plain, server_hostname=address.host),
        ):
            return True
    except (OSError, ValueError):
        return False


def _refused(address: httpx.URL, error: ssl.SSLCertVerificationError) -> str:
    if error.verify_code in _OF_ANOTHER_NAME:
        return (
            f"the certificate of {address} is for another name than {address.host}; with a port-forward,"
            " set its name with --server-name, such as agentteam-delivery.agentteam-delivery.svc"
        )
    if error.verify_code in {_NOT_YET, _ENDED}:
        return f"the certificate of {address} is not valid today: {error.verify_message}; renew it"
    return (
        f"the certificate of {address} is not trusted ({error.verify_message}); set its certificate authority"
        " with --ca-file"
    )


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
