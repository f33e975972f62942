"""RedisStore over TLS, as a user of the access list."""

from collections.abc import Iterator
from typing import Any

import pytest

from micro.errors import PermissionDenied, Unavailable
from micro.store.api import Store
from micro.testing.servers import Server, free_port, redis
from micro.testing.servers.certificates import Certificates, certificates
from micro.testing.servers.redis_many import ask
from micro.testing.store import unique
from micro_store_redis import RedisSettings, RedisStore


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def secure(made: Certificates, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, int]]:
    """Give a Redis that speaks TLS on a port, and plainly on another."""
    port = free_port()
    files = [
        "--tls-cert-file",
        str(made.certificate),
        "--tls-key-file",
        str(made.key),
        "--tls-ca-cert-file",
        str(made.ca),
    ]
    server = redis(
        tmp_path_factory.mktemp("secure"),
        "--bind",
        "127.0.0.1",
        "127.0.0.2",
        "--tls-port",
        str(port),
        "--tls-auth-clients",
        "no",
        *files,
    )
    server.start()
    ask(server.port, "ACL", "SETUSER", "ann", "on", ">s:e/c@r%t", "~micro:*", "+@all", "-@admin", "+config|get")
    ask(server.port, "ACL", "SETUSER", "bob", "on", ">b", "~other:*", "+@all")
    yield server, port
    server.stop()


def store(port: int, **settings: Any) -> Store:
    url = settings.pop("url", f"rediss://ann@127.0.0.1:{port}/0")
    return Store(RedisStore(RedisSettings(url=url, **settings)), plugin="redis", table=unique())


async def test_who_trusts_the_authority_is_served(made: Certificates, secure: tuple[Server, int]) -> None:
    async with store(secure[1], ca=str(made.ca), password="s:e/c@r%t") as opened:
        await opened.write("a", b"1")
        assert (await opened.read("a")).value == b"1"
        assert await opened.list() == ["a"]


async def test_who_does_not_trust_it_is_not(secure: tuple[Server, int]) -> None:
    with pytest.raises(Unavailable, match="certificate"):
        await store(secure[1], password="s:e/c@r%t").open()


async def test_a_name_that_the_certificate_is_not_for_is_refused(
    made: Certificates, secure: tuple[Server, int]
) -> None:
    with pytest.raises(Unavailable, match="certificate"):
        await store(secure[1], url=f"rediss://127.0.0.2:{secure[1]}/0", ca=str(made.ca)).open()


async def test_a_user_of_other_keys_is_denied(made: Certificates, secure: tuple[Server, int]) -> None:
    url = f"rediss://bob:b@127.0.0.1:{secure[1]}/0"
    async with store(secure[1], url=url, ca=str(made.ca)) as opened:
        with pytest.raises(PermissionDenied):
            await opened.get("a", bytes, None)
        with pytest.raises(PermissionDenied):
            await opened.write("a", b"")
