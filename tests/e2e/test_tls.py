"""A proxy that speaks TLS: who is on the server's machine finds it as before, once the authority is known."""

import datetime as dt
import ipaddress
import subprocess
import sys

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

pytestmark = pytest.mark.e2e


@pytest.fixture
def certificate(tmp_path):
    """A certificate that vouches for itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "micro")])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (tmp_path / "cert.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (tmp_path / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return tmp_path / "cert.pem", tmp_path / "key.pem"


def test_the_command_line_and_the_library_of_this_machine_reach_it(own_platform, certificate):
    cert, key = certificate
    tls = f"{{cert='{cert}', key='{key}'}}"
    platform = own_platform.start("--set", f"proxy.tls={tls}", "--set", f"api.tls={tls}")
    assert platform.state["services"]["proxy"]["tls"] is True
    assert f"https://{platform.address('api')}" in platform.log.read_text()
    known = {"SSL_CERT_FILE": str(cert)}
    assert "store" in platform.micro("services", **known)
    platform.micro("store", "write", "greeting", "hello", **known)
    program = "import asyncio; from micro import store; print(asyncio.run(store.get('greeting', str)))"
    ran = subprocess.run(
        [sys.executable, "-c", program],
        env=platform.env | known,
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert "hello" in ran.stdout, ran.stderr
    said = platform.micro("services", code=4)
    assert "certificate" in said.lower()
