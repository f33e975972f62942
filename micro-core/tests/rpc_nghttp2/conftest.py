"""The loops that the tests here run on, and certificates."""

import asyncio
import datetime as dt
import ipaddress

import pytest
import uvloop
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from micro.rpc.nghttp2 import Nghttp2Transport
from micro.testing.echo import Echo

LOOPS = {"asyncio": asyncio.SelectorEventLoop, "uvloop": uvloop.new_event_loop}


def pytest_asyncio_loop_factories(config, item):
    return LOOPS if getattr(item.module, "both_loops", False) else {"asyncio": LOOPS["asyncio"]}


class Bench:
    """A transport, a test service, and all that a test opened, closed when it ends."""

    def __init__(self):
        self.transport = Nghttp2Transport()
        self.service = Echo()
        self.address = ""
        self._open = []

    async def listen(self, dispatcher=None, *, address="127.0.0.1:0", tls=None, http1=None, limits=None):
        listener = self.transport.listener(dispatcher or self.service, limits=limits, http1=http1)
        self.address = await listener.start(address, tls=tls)
        self._open.append(listener)
        return listener

    def dial(self, address="", *, limits=None, tls=None):
        channel = self.transport.channel(address or self.address, limits=limits, tls=tls)
        self._open.insert(0, channel)
        return channel

    def forwarder(self):
        forwarder = self.transport.forwarder()
        self._open.append(forwarder)
        return forwarder

    def link(self, channel):
        """The one connection of a channel."""
        (link,) = channel._pool._links
        return link

    async def close(self):
        for part in self._open:
            await part.close()


@pytest.fixture
async def bench():
    bench = Bench()
    yield bench
    await bench.close()


@pytest.fixture(scope="session")
def certificate(tmp_path_factory):
    """A self-signed certificate for 127.0.0.1: the files of the certificate and of its key."""
    folder = tmp_path_factory.mktemp("certificate")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "here")])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem, kind = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    (folder / "cert.pem").write_bytes(made.public_bytes(pem))
    (folder / "key.pem").write_bytes(key.private_bytes(pem, kind, serialization.NoEncryption()))
    return folder / "cert.pem", folder / "key.pem"
