"""PostgresStore over TLS."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from micro.errors import Unavailable
from micro.store.api import Store
from micro.testing.servers.certificates import certificates
from micro.testing.servers.postgres import Postgres, own_file, postgres
from micro.testing.store import unique
from micro_store_postgres import PostgresSettings, PostgresStore


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Postgres, Path]]:
    """Give a PostgreSQL that speaks TLS, and its authority's certificate."""
    made = certificates(tmp_path_factory.mktemp("certificates"))
    options = ["--ssl=on", "--ssl_cert_file=server.pem", "--ssl_key_file=server.key"]
    with postgres(*options, "--listen_addresses=127.0.0.1,127.0.0.2") as server:
        for file in (made.certificate, made.key):
            own_file(Path(shutil.copy(file, server.folder / "data")))
        server.start()
        yield server, made.ca


def store(server: Postgres, **settings: Any) -> Store:
    return Store(PostgresStore(PostgresSettings(**{"url": server.url} | settings)), plugin="postgres", table=unique())


async def test_who_trusts_the_authority_is_served_and_encrypted(secure: tuple[Postgres, Path]) -> None:
    server, ca = secure
    async with store(server, ca=str(ca)) as opened:
        await opened.write("a", b"1")
        assert (await opened.read("a")).value == b"1"
        driver = opened.driver
        assert isinstance(driver, PostgresStore)
        ways = await driver.fetch(
            "SELECT ssl FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE application_name = 'micro'"
        )
        assert {row[0] for row in ways} == {True}


async def test_who_does_not_trust_it_is_not(secure: tuple[Postgres, Path], tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="certificate"):
        await store(secure[0], ca=str(certificates(tmp_path).ca)).open()


async def test_a_name_that_the_certificate_is_not_for_is_refused(secure: tuple[Postgres, Path]) -> None:
    url = secure[0].url.replace("127.0.0.1", "127.0.0.2")
    with pytest.raises(Unavailable, match="certificate"):
        await store(secure[0], url=url, ca=str(secure[1])).open()
