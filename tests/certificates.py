"""Certificates of a test's own: an authority, and what it vouches for.

authority = Authority(tmp_path)
served = authority.issue("localhost", "127.0.0.1")      # a certificate and its key, as `bus.tls.Served`
"""

from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import NameOID

from bus.tls import Served

HOUR = timedelta(hours=1)


class Authority:
    """`ca` is the file by which others believe it."""

    def __init__(self, folder: Path, name: str = "an authority") -> None:
        self._folder, self._count = folder / name.replace(" ", "-"), 0
        self._folder.mkdir()
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        own = self._builder(self._name, self._key.public_key(), HOUR).add_extension(
            x509.BasicConstraints(ca=True, path_length=None), critical=True
        )
        self.ca = self._folder / "ca.pem"
        self.ca.write_bytes(own.sign(self._key, hashes.SHA256()).public_bytes(Encoding.PEM))

    def issue(
        self, *names: str, ends_in: timedelta = HOUR, password: bytes | None = None, into: Served | None = None
    ) -> Served:
        """A certificate for these addresses and host names, in new files or in those of another."""
        self._count += 1
        key = ec.generate_private_key(ec.SECP256R1())
        made = self._builder(
            x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a broker")]), key.public_key(), ends_in
        )
        if names:
            made = made.add_extension(x509.SubjectAlternativeName([_general(name) for name in names]), critical=False)
        served = into or Served(self._folder / f"cert-{self._count}.pem", self._folder / f"key-{self._count}.pem")
        lock = NoEncryption() if password is None else BestAvailableEncryption(password)
        served.key.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, lock))
        served.cert.write_bytes(made.sign(self._key, hashes.SHA256()).public_bytes(Encoding.PEM))
        return served

    def _builder(self, name: x509.Name, key: ec.EllipticCurvePublicKey, ends_in: timedelta) -> x509.CertificateBuilder:
        now = datetime.now(UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - 2 * HOUR)
            .not_valid_after(now + ends_in)
        )


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)
