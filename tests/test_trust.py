"""The owner's certificate authorities are trusted: older ones, intermediate ones, renewed ones.

Errors say in words what is wrong with a certificate.
"""

import asyncio
import datetime as dt
import ssl
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from app.domain.errors import TargetError
from app.domain.reasons import Reason
from app.egress import trust
from app.egress.client import HttpClient
from app.kube.config import Access, Pem
from app.settings import ServiceSettings
from app.watcher.service import Trust
from tests.certificates import good
from tests.examples import loopback_settings
from tests.posting import refused
from tests.sockets import OK, answering, listening

A_DAY = dt.timedelta(days=1)


def _signed(
    subject: str, key: ec.EllipticCurvePrivateKey, issuer: str, by: ec.EllipticCurvePrivateKey, *, ca: bool
) -> x509.Certificate:
    """Sign a certificate without key identifiers, neither its own nor its issuer's."""
    now = dt.datetime.now(dt.UTC)
    names = [x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)]) for name in (subject, issuer)]
    builder = x509.CertificateBuilder(names[1], names[0], key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now - A_DAY).not_valid_after(now + A_DAY)
    builder = builder.add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
    if not ca:
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(subject)]), critical=False)
    return builder.sign(by, hashes.SHA256())


@pytest.fixture
async def old(tmp_path: Path) -> AsyncIterator[tuple[Path, int]]:
    """Serve TLS like an older cluster; yield the file of its certificate authority, and the port."""
    authority, leaf = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    files = {
        "ca.crt": _signed("authority", authority, "authority", authority, ca=True),
        "tls.crt": _signed("api.test", leaf, "authority", authority, ca=False),
    }
    for name, certificate in files.items():
        (tmp_path / name).write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    pkcs8 = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (tmp_path / "tls.key").write_bytes(leaf.private_bytes(*pkcs8))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "tls.crt", tmp_path / "tls.key")
    async with await asyncio.start_server(
        lambda _, writer: writer.close(), "127.0.0.1", 0, ssl=context
    ) as server:
        yield tmp_path / "ca.crt", server.sockets[0].getsockname()[1]


@pytest.fixture(autouse=True)
def strict(monkeypatch: pytest.MonkeyPatch) -> Callable[..., ssl.SSLContext]:
    """Make default contexts as in Python 3.13 and later, on any version."""
    plain = ssl.create_default_context

    def create(*arguments: ssl.Purpose, **options: str | bytes | None) -> ssl.SSLContext:
        context = plain(*arguments, **options)  # type: ignore[arg-type]  # passed on unchanged
        context.verify_flags |= ssl.VERIFY_X509_STRICT
        return context

    monkeypatch.setattr(ssl, "create_default_context", create)
    return create


async def shake_hands(context: ssl.SSLContext, port: int) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname="api.test")
    writer.close()


async def test_python_s_strict_mode_refuses_an_older_cluster_s_certificate(
    old: tuple[Path, int], strict: Callable[..., ssl.SSLContext]
) -> None:
    authority, port = old
    with pytest.raises(ssl.SSLCertVerificationError):
        await shake_hands(strict(cafile=str(authority)), port)


async def test_the_cluster_s_certificate_authority_is_trusted(old: tuple[Path, int]) -> None:
    authority, port = old
    await shake_hands(Access("https://api.test", authority=Pem(authority)).trust(), port)


async def test_the_watcher_trusts_its_file(old: tuple[Path, int]) -> None:
    authority, port = old
    await shake_hands(Trust(authority).context(), port)


async def test_the_owner_s_additional_certificate_authorities_for_receivers_are_trusted(
    old: tuple[Path, int],
) -> None:
    authority, port = old
    settings = ServiceSettings(auth="none", egress_ca_file=str(authority))
    await shake_hands(HttpClient(settings).tls, port)


async def test_without_such_a_file_receivers_must_meet_the_strict_standard() -> None:
    assert HttpClient(ServiceSettings(auth="none")).tls.verify_flags & ssl.VERIFY_X509_STRICT


# ---------------------------------------------------------------------------------------------------------
# An intermediate certificate authority, without its root


@pytest.fixture
async def between(tmp_path: Path) -> AsyncIterator[tuple[Path, int]]:
    """Serve TLS by an intermediate authority; yield the file of its certificate, and the port."""
    middle = trustme.CA().create_child_ca()
    file = tmp_path / "middle.crt"
    middle.cert_pem.write_to_path(str(file))
    context = good(middle, "api.test")
    async with await asyncio.start_server(
        lambda _, writer: writer.close(), "127.0.0.1", 0, ssl=context
    ) as server:
        yield file, server.sockets[0].getsockname()[1]


async def test_an_intermediate_certificate_authority_is_trusted_by_itself(between: tuple[Path, int]) -> None:
    file, port = between
    settings = ServiceSettings(auth="none", egress_ca_file=str(file))
    for context in (
        HttpClient(settings).tls,
        Trust(file).context(),
        Access("https://api.test", authority=Pem(file)).trust(),
    ):
        await shake_hands(context, port)


# ---------------------------------------------------------------------------------------------------------
# Renewal while the service runs


async def test_a_renewed_file_of_certificate_authorities_is_read_again(tmp_path: Path) -> None:
    old, new = trustme.CA(), trustme.CA()
    file = tmp_path / "ca.pem"
    old.cert_pem.write_to_path(str(file))
    async with (
        listening(answering(OK), good(old, "127.0.0.1")) as first,
        listening(answering(OK), good(new, "127.0.0.1")) as second,
        HttpClient(loopback_settings(egress_ca_file=str(file))) as http,
    ):
        mail = http.tls

        async def taken() -> list[bool]:
            answers = []
            for bare in (first, second):
                try:
                    answers.append((await http.post(f"https://{bare.authority}/", b"", {})).status == 200)
                except TargetError as error:
                    answers.append(error.reason is not Reason.TLS_FAILED)
            return answers

        assert await taken() == [True, False]
        file.write_text("half of a fi")
        assert await taken() == [True, False]
        new.cert_pem.write_to_path(str(file))
        assert await taken() == [False, True]
        assert http.tls is not mail
        file.unlink()
        assert await taken() == [False, True]


# ---------------------------------------------------------------------------------------------------------
# Errors in words


@pytest.mark.parametrize("code", range(1, 95))
def test_every_openssl_error_has_words(code: int) -> None:
    error = ssl.SSLCertVerificationError()
    error.verify_code, error.verify_message = code, "a certificate's key is odd"
    assert len(trust.refused(error).split()) > 4
    assert trust.refused(error) != "the receiver's certificate is not valid"


async def test_a_port_without_tls_is_reported() -> None:
    async def plain(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    async with listening(lambda _: plain) as bare:
        error = await refused(f"https://{bare.authority}/")
    assert error.reason is Reason.TLS_FAILED
    assert error.message == "the TLS handshake failed: the receiver does not use TLS on this port"


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("WRONG_VERSION_NUMBER", "the TLS handshake failed: the receiver does not use TLS on this port"),
        ("TLSV1_ALERT_INTERNAL_ERROR", "the TLS handshake failed: tlsv1 alert internal error"),
        (None, "the TLS handshake failed"),
    ],
)
def test_a_failed_handshake_is_reported_in_words(word: str | None, said: str) -> None:
    error = ssl.SSLError()
    error.reason = word  # type: ignore[assignment]  # as in an error that is made elsewhere
    assert trust.broken(error) == said
