"""Certificates, and the loops that the classes here ask for."""

import asyncio
import datetime as dt
import ipaddress
import os
from pathlib import Path

import pytest
import uvloop
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from micro.testing.target import Target

pytest.register_assert_rewrite("micro.testing.rpc")

ATTACKED = os.environ.get("MICRO_ATTACKED", "nghttp2")  # the transport that the attacks are tried on
LOOPS = {"asyncio": asyncio.SelectorEventLoop, "uvloop": uvloop.new_event_loop}


def pytest_asyncio_loop_factories(config, item):
    wanted = getattr(getattr(item, "cls", None), "loops", ("asyncio",))
    return {name: LOOPS[name] for name in wanted}


class Authority:
    """A certificate authority that lives as long as the tests."""

    def __init__(self, name: str) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.certificate = self._sign(self.name, self.key, ca=True)

    def _sign(self, name, key, *, ca=False):
        now = dt.datetime.now(dt.UTC)
        names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
        return (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(self.name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(hours=1))
            .not_valid_after(now + dt.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .sign(self.key, hashes.SHA256())
        )

    def issue(self, folder: Path, name: str) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = self._sign(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]), key)
        (folder / f"{name}.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        (folder / f"{name}.key").write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )


@pytest.fixture(scope="session")
def certificates(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("certificates")
    for name in ("ca", "other-ca"):
        authority = Authority(name)
        (folder / f"{name}.pem").write_bytes(authority.certificate.public_bytes(serialization.Encoding.PEM))
        if name == "ca":
            authority.issue(folder, "server")
            authority.issue(folder, "client")
    return folder


@pytest.fixture(scope="module")
def public():
    """A door for strangers."""
    target = Target(ATTACKED, "edge")
    yield target
    target.close()


@pytest.fixture(scope="module")
def inside():
    """A door for the platform's own."""
    target = Target(ATTACKED, "inside")
    yield target
    target.close()
