"""Certificates for receivers: valid ones, and each kind of invalid one."""

import ssl
from datetime import UTC, datetime, timedelta

import trustme

A_DAY = timedelta(days=1)


def server_context(certificate: trustme.LeafCert) -> ssl.SSLContext:
    """Serve with this certificate."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    certificate.configure_cert(context)
    return context


def asked_names(context: ssl.SSLContext) -> list[str | None]:
    """Return a list to which each caller's server name (SNI) is added."""
    asked: list[str | None] = []
    context.sni_callback = lambda _, name, __: asked.append(name)
    return asked


def good(authority: trustme.CA, host: str) -> ssl.SSLContext:
    return server_context(authority.issue_cert(host))


def expired(authority: trustme.CA, host: str) -> ssl.SSLContext:
    return server_context(authority.issue_cert(host, not_after=datetime.now(UTC) - A_DAY))


def not_valid_yet(authority: trustme.CA, host: str) -> ssl.SSLContext:
    return server_context(authority.issue_cert(host, not_before=datetime.now(UTC) + A_DAY))


def of_another_name(authority: trustme.CA, _: str) -> ssl.SSLContext:
    return server_context(authority.issue_cert("other.test"))


def of_another_address(authority: trustme.CA, _: str) -> ssl.SSLContext:
    return server_context(authority.issue_cert("127.0.0.9"))


def of_an_unknown_authority(_: trustme.CA, host: str) -> ssl.SSLContext:
    return server_context(trustme.CA().issue_cert(host))


def with_the_unknown_authority(_: trustme.CA, host: str) -> ssl.SSLContext:
    """Send the root certificate as well, as some servers do."""
    authority = trustme.CA()
    return server_context(_chained(authority.issue_cert(host), authority.cert_pem))


def self_signed(_: trustme.CA, __: str) -> ssl.SSLContext:
    own = trustme.CA()
    return server_context(trustme.LeafCert(own.private_key_pem.bytes(), own.cert_pem.bytes(), []))


def without_a_link(authority: trustme.CA, host: str) -> ssl.SSLContext:
    """Leave out the intermediate certificate."""
    return server_context(_chained(authority.create_child_ca().issue_cert(host)))


def _chained(leaf: trustme.LeafCert, *chain: trustme.Blob) -> trustme.LeafCert:
    return trustme.LeafCert(
        leaf.private_key_pem.bytes(), leaf.cert_chain_pems[0].bytes(), [link.bytes() for link in chain]
    )
