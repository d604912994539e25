"""TLS on the service's port: which versions, which files, and their rotation without a restart."""

import asyncio
import contextlib
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from http.client import HTTPSConnection
from pathlib import Path
from time import monotonic

import pytest
import trustme

from app.server.tls import Certificate
from app.settings import ServiceSettings
from tests.harness.cluster import prepared
from tests.harness.fake_cluster import FakeCluster
from tests.harness.service import Program, Service
from tests.harness.tls import Mounted
from tests.harness.waiting import until

HASTE = 1.0  # seconds, as DELIVERY_READ_TIMEOUT
CALLERS = 10  # as DELIVERY_MAX_CALLERS


@pytest.fixture(scope="module")
def mounted(tmp_path_factory: pytest.TempPathFactory) -> Mounted:
    """A certificate in files."""
    return Mounted(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
async def service(tmp_path_factory: pytest.TempPathFactory, mounted: Mounted) -> AsyncIterator[Service]:
    """Start a service with this certificate."""
    async with (
        FakeCluster() as fake,
        prepared(fake, tmp_path_factory.mktemp("cluster")) as cluster,
    ):
        service = Service(cluster.kubeconfig, read_timeout=HASTE, max_callers=CALLERS, **mounted.settings)
        service.tls = mounted.trusting
        async with service:
            yield service


@contextmanager
def shaken(service: Service, context: ssl.SSLContext) -> Iterator[ssl.SSLSocket]:
    """Make a connection and complete its handshake."""
    with (
        socket.create_connection(("127.0.0.1", service.port), 10) as bare,
        context.wrap_socket(bare, server_hostname="127.0.0.1") as wrapped,
    ):
        yield wrapped


def shown(service: Service, mounted: Mounted) -> bytes:
    """Return the certificate that a new caller gets, in DER form."""
    with shaken(service, mounted.trusting) as connection:
        return connection.getpeercert(binary_form=True) or b""


async def test_callers_get_answers_over_https(service: Service) -> None:
    assert service.url.startswith("https://")
    assert (await service.request("GET", "/readyz")).status == 200
    assert (await service.deliver("research", "absent")).problem == "team-not-found"
    assert service.logged("serving")[0]["tls"] is True


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_these_tls_versions_are_supported(
    version: ssl.TLSVersion, service: Service, mounted: Mounted
) -> None:
    context = mounted.trusting
    context.minimum_version = context.maximum_version = version
    with shaken(service, context) as connection:
        assert connection.version() == version.name.replace("_", ".")


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
async def test_older_tls_versions_are_refused(
    version: ssl.TLSVersion, service: Service, mounted: Mounted
) -> None:
    context = mounted.trusting
    context.set_ciphers("ALL:@SECLEVEL=0")  # otherwise OpenSSL's client would not offer them
    context.minimum_version = context.maximum_version = version
    with pytest.raises(ssl.SSLError, match=r"EOF occurred|alert protocol version"), shaken(service, context):
        pass


def test_tls_versions_and_renegotiation_do_not_depend_on_openssl_s_defaults(mounted: Mounted) -> None:
    files = {name: str(file) for name, file in mounted.settings.items()}
    certificate = Certificate.of(ServiceSettings.load(**files))
    assert certificate is not None
    assert certificate.context.minimum_version is ssl.TLSVersion.TLSv1_2
    assert certificate.context.options & ssl.OP_NO_RENEGOTIATION


@pytest.mark.quiet
async def test_a_handshake_and_its_request_count_as_one_caller(
    tmp_path_factory: pytest.TempPathFactory, mounted: Mounted
) -> None:
    async with FakeCluster() as fake, prepared(fake, tmp_path_factory.mktemp("one")) as cluster:
        service = Service(cluster.kubeconfig, max_callers=1, **mounted.settings)
        service.tls = mounted.trusting
        async with service:
            assert (await service.request("GET", "/readyz")).status == 200


async def test_plain_http_gets_no_answer_and_affects_no_other(service: Service) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
    writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
    with contextlib.suppress(ConnectionError):
        assert b"HTTP" not in await asyncio.wait_for(reader.read(), 10)
    writer.close()
    assert (await service.request("GET", "/healthz")).status == 200


async def test_a_request_that_is_too_large_gets_its_error_over_tls_too(
    service: Service, mounted: Mounted
) -> None:
    def ask() -> bytes:
        with shaken(service, mounted.trusting) as connection:
            connection.sendall(b"GET / HTTP/1.1\r\nX: " + b"x" * 100_000)
            return b"".join(iter(lambda: connection.recv(65_536), b""))

    answer = await asyncio.to_thread(ask)
    assert answer.startswith(b"HTTP/1.1 431 ")
    assert b"urn:agentteam-delivery:head-too-large" in answer


@pytest.mark.quiet
async def test_an_endless_handshake_is_cut_off_and_delays_no_other(service: Service) -> None:
    started = monotonic()
    reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
    writer.write(b"\x16\x03\x01")
    assert (await service.request("GET", "/healthz")).status == 200
    assert monotonic() - started < HASTE, "answered while the other client was silent"
    with contextlib.suppress(ConnectionError):
        assert await asyncio.wait_for(reader.read(), 10) == b""
    assert monotonic() - started >= HASTE
    writer.close()


@pytest.mark.quiet
async def test_handshakes_in_progress_count_as_waiting_callers(service: Service, mounted: Mounted) -> None:
    async with contextlib.AsyncExitStack() as stack:
        readers = []
        for _ in range(CALLERS * 2):
            reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
            stack.callback(writer.close)
            readers.append(reader)
        started = monotonic()
        await asyncio.wait_for(asyncio.wait([asyncio.ensure_future(r.read()) for r in readers[:CALLERS]]), 10)
        assert monotonic() - started < HASTE, "closed for another caller, not by its time limit"
        assert (await service.request("GET", "/healthz")).status == 200
    assert service.logged("callers_pushed_out")


async def test_a_rotated_certificate_is_used_without_a_restart_and_an_invalid_one_never(
    service: Service, mounted: Mounted
) -> None:
    first = shown(service, mounted)
    kept = HTTPSConnection("127.0.0.1", service.port, context=mounted.trusting, timeout=10)

    async def speak() -> int:
        """Send a request on the open connection; another connection would be another socket."""

        def ask() -> int:
            kept.request("GET", "/healthz")
            answer = kept.getresponse()
            answer.read()
            return answer.status

        return await asyncio.to_thread(ask)

    assert await speak() == 200
    open_socket = kept.sock
    second = mounted.rotate(key_type=trustme.KeyType.RSA)
    assert second != first
    await until(lambda: shown(service, mounted) == second)
    assert await speak() == 200
    third = mounted.rotate(key_type=trustme.KeyType.ECDSA)
    await until(lambda: shown(service, mounted) == third)
    await until(lambda: len(service.logged("tls_reloaded")) == 2)
    assert await speak() == 200

    async def told(times: int) -> None:
        await until(lambda: len(service.logged("tls_reload_failed")) == times)

    bad = [
        (b"garbage", b"garbage", "DELIVERY_TLS_CERT_FILE"),
        ((mounted.folder / "tls.crt").read_bytes(), other_key(mounted), "DELIVERY_TLS_KEY_FILE"),
    ]
    for number, (cert, key, setting) in enumerate(bad, 1):
        mounted.swap(cert, key)
        await told(number)
        assert setting in service.logged("tls_reload_failed")[-1]["error"]
        assert shown(service, mounted) == third
        assert await speak() == 200
    assert kept.sock is open_socket
    kept.close()

    # OpenSSL accepts this one, but its expiry cannot be read: it is used, and so is the next one.
    leaf = mounted.authority.issue_cert("127.0.0.1")
    mounted.swap(trusted(leaf.cert_chain_pems[0].bytes()), leaf.private_key_pem.bytes())
    await until(lambda: len(service.logged("tls_reloaded")) == 3)
    third = mounted.rotate()
    await until(lambda: shown(service, mounted) == third)

    (mounted.folder / "..data").unlink()
    await told(3)
    assert "cannot be read" in service.logged("tls_reload_failed")[-1]["error"]
    fourth = mounted.rotate()
    await until(lambda: shown(service, mounted) == fourth)
    await until(lambda: len(service.logged("tls_reloaded")) == 5)
    assert len(service.logged("tls_reload_failed")) == 3, "each invalid state is logged once"


def trusted(pem: bytes) -> bytes:
    """Write a certificate in OpenSSL's own form, which contains its trusted uses."""
    command = ["openssl", "x509", "-addtrust", "serverAuth", "-trustout"]
    return subprocess.run(command, input=pem, check=True, capture_output=True).stdout


def other_key(mounted: Mounted) -> bytes:
    return mounted.authority.issue_cert("127.0.0.1").private_key_pem.bytes()


async def test_an_unusable_pair_ends_the_process_with_a_sentence_that_names_the_setting(
    mounted: Mounted, tmp_path: Path
) -> None:
    leaf = mounted.authority.issue_cert("127.0.0.1")
    files = {
        "cert": b"".join(pem.bytes() for pem in leaf.cert_chain_pems),
        "key": leaf.private_key_pem.bytes(),
        "other": other_key(mounted),
        "garbage": b"\x00garbage",
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    async with FakeCluster() as fake, prepared(fake, tmp_path) as cluster:

        async def refused(cert: str, key: str) -> tuple[int, str]:
            settings = {"tls_cert_file": tmp_path / cert, "tls_key_file": tmp_path / key}
            program = Program("serve", cluster.kubeconfig, {"auth": "none", "port": 0, **settings})
            return await program.refused()

        cases = {
            ("absent", "key"): "DELIVERY_TLS_CERT_FILE",
            ("garbage", "key"): "DELIVERY_TLS_CERT_FILE",
            ("cert", "garbage"): "DELIVERY_TLS_KEY_FILE",
            ("cert", "other"): "DELIVERY_TLS_KEY_FILE",
        }
        answers = await asyncio.gather(*[refused(*case) for case in cases])
    for (case, setting), (code, said) in zip(cases.items(), answers, strict=True):
        assert code == 2, (case, said)
        assert f"agentteam-delivery: {setting}" in said, case
        assert "Traceback" not in said
        assert len(said.strip().splitlines()) == 1, said
