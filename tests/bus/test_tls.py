"""A broker of one's own behind TLS, signed by an authority of one's own."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from bus.client import Bus
from schemas.errors import BusUnavailable
from tests.broker import Broker


def certificate(folder: Path) -> tuple[Path, Path]:
    """One for 127.0.0.1 that vouches for itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a broker of one's own")])
    began = datetime.now(UTC) - timedelta(minutes=1)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(began)
        .not_valid_after(began + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    paths = folder / "cert.pem", folder / "key.pem"
    paths[0].write_bytes(signed.public_bytes(Encoding.PEM))
    paths[1].write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return paths


class SecretBroker(Broker):
    """It speaks TLS."""

    def write_config(self, port: int) -> Path:
        path = super().write_config(port)
        self.certificate, key = certificate(self.home)
        path.write_text(f'{path.read_text()}\ntls {{ cert_file: "{self.certificate}", key_file: "{key}" }}\n')
        return path


@pytest.fixture
def secret(tmp_path: Path) -> Iterator[SecretBroker]:
    broker = SecretBroker(tmp_path / "home")
    try:
        broker.start()
        yield broker
    finally:
        broker.kill()


async def test_a_broker_whose_authority_is_known_is_spoken_to_in_secret(
    secret: SecretBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given the authority where OpenSSL looks for it
    monkeypatch.setenv("SSL_CERT_FILE", str(secret.certificate))
    # When somebody connects
    bus = await Bus(secret.url.replace("nats://", "tls://"), "test").connect(patience_s=10)
    try:
        # Then answers come
        await bus.settle()
        assert bus.healthy
    finally:
        await bus.close(grace_s=0)


async def test_a_broker_that_nobody_vouches_for_is_not_spoken_to(secret: SecretBroker) -> None:
    with pytest.raises(BusUnavailable, match="CERTIFICATE_VERIFY_FAILED"):
        await Bus(secret.url.replace("nats://", "tls://"), "test").connect(patience_s=0.5)
