"""The bus over TLS and over a socket file."""

import ssl
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import quote

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from chatserver.embedded import Valkey
from tests.chatserver.hub.station import station
from tests.eventually import eventually
from tests.proxy import Proxy


class WithSocketFile(Valkey):
    @property
    def socket_file(self) -> Path:
        return self.folder / "redis socket"

    def _command(self) -> list[str]:
        return [*super()._command(), "--unixsocket", str(self.socket_file)]


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for 127.0.0.1 that vouches for itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    file = tmp_path_factory.mktemp("tls") / "certificate.pem"
    file.write_bytes(
        certificate.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return file


@pytest.fixture
def tls(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


@pytest.fixture(scope="module")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WithSocketFile]:
    with WithSocketFile(tmp_path_factory.mktemp("bus")) as service:
        yield service


async def test_over_tls(valkey: Valkey, tls: ssl.SSLContext, certificate: Path) -> None:
    async with Proxy(valkey.url, tls) as proxy, station(f"{proxy.url}?ssl_ca_certs={certificate}") as one:
        assert await one.bus.subscribe("p:0")
        one.bus.publish("p:0", b"x" * 100_000)
        await eventually(lambda: one.messages == [("p:0", b"x" * 100_000)])


async def test_a_server_nobody_vouches_for_is_not_trusted(valkey: Valkey, tls: ssl.SSLContext) -> None:
    async with Proxy(valkey.url, tls) as proxy, station(proxy.url) as one:
        assert one.bus.alive is False
        assert "certificate" in one.troubles[0]


async def test_over_a_socket_file(valkey: WithSocketFile) -> None:
    async with station(f"unix://{quote(str(valkey.socket_file))}?db=0") as one:
        assert await one.bus.subscribe("p:0")
        one.bus.publish("p:0", b"hello")
        await eventually(lambda: one.messages == [("p:0", b"hello")])
