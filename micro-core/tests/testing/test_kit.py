"""The conformance kit's own rules: what a subclass may not do, what it costs, what it tells, and its door to a server."""

import asyncio
import json
import os
import subprocess
import sys
import textwrap
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import ClassVar

import pytest

from micro.errors import Unimplemented
from micro.testing import suite
from micro.testing.door import Door
from micro.testing.servers import free_port, program
from micro.testing.suite import Suite

SMALL = """
    import pytest
    from micro.store.memory import MemoryStore
    from micro.testing import LifecycleSuite, StoreSuite

    class Hollow(MemoryStore, interface=1):
        async def apply(self, table, ops):
            if getattr(ops[0], "value", None) == b"":
                raise OSError("it is empty")
            return await super().apply(table, ops)

    class TestSmall(StoreSuite):
        excused = {"test_a_value_may_be_empty": "to see that it is told"}

        @pytest.fixture
        async def driver(self):
            async with Hollow() as driver:
                yield driver

    class TestLife(LifecycleSuite):
        @pytest.fixture
        def make(self):
            return MemoryStore
"""


class Parrots(Suite):
    """What every parrot does."""

    def test_it_talks(self) -> None:
        assert self.words

    words: ClassVar[tuple[str, ...]] = ()


def test_a_suites_test_is_not_replaced() -> None:
    with pytest.raises(TypeError, match="Norwegian replaces tests of its suite: test_it_talks; excuse them"):
        type("Norwegian", (Parrots,), {"test_it_talks": lambda self: None})


def test_what_is_not_there_is_not_excused() -> None:
    with pytest.raises(TypeError, match="excuses tests that its suite has not: test_it_sings"):
        type("Norwegian", (Parrots,), {"excused": {"test_it_sings": "it is resting"}})


def test_an_excused_test_must_fail_and_only_there() -> None:
    resting = type("Resting", (Parrots,), {"excused": {"test_it_talks": "it is resting"}})
    other = type("Other", (Parrots,), {})
    (mark,) = resting.test_it_talks.pytestmark
    assert (mark.name, mark.kwargs) == ("xfail", {"reason": "it is resting", "strict": True})
    assert not getattr(other.test_it_talks, "pytestmark", [])
    assert not getattr(Parrots.test_it_talks, "pytestmark", [])


@pytest.mark.parametrize("claimed", [True, False])
async def test_what_is_not_claimed_must_be_refused(claimed: bool) -> None:
    class Bird:
        capabilities = frozenset({"flying"}) if claimed else frozenset()

    @suite.needs("flying", of="bird")
    async def refuses(self: object, bird: Bird) -> None:
        raise Unimplemented("it cannot fly")

    @suite.needs("flying", of="bird")
    async def flies(self: object, bird: Bird) -> None:
        pass

    wrong = refuses if claimed else flies
    with pytest.raises((Unimplemented, pytest.fail.Exception)):
        await wrong(None, bird=Bird())
    await (flies if claimed else refuses)(None, bird=Bird())


def ran(folder: Path, *options: str, **env: str) -> str:
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:xdist", "-q", *options]
    config = ["-o", "asyncio_mode=auto", "-o", "asyncio_default_fixture_loop_scope=function"]
    done = subprocess.run(
        command + config, cwd=folder, env=os.environ | env, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_run_of_pytest_that_asks_for_nothing_imports_nothing(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text(
        textwrap.dedent("""
        import json, sys

        def pytest_sessionfinish():
            with open("modules.json", "w") as file:
                json.dump(sorted(sys.modules), file)
        """)
    )
    (tmp_path / "test_nothing.py").write_text("def test_nothing(): pass\n")
    ran(tmp_path)
    with_it = set(json.loads((tmp_path / "modules.json").read_text()))
    ran(tmp_path, "-p", "no:micro")
    without = set(json.loads((tmp_path / "modules.json").read_text()))
    assert with_it - without == {"micro", "micro._lazy", "micro.testing", "micro.testing.plugin"}


def test_a_run_tells_what_drivers_claim_and_how_long_their_calls_take(tmp_path: Path) -> None:
    (tmp_path / "test_small.py").write_text(textwrap.dedent(SMALL))
    small = ("-k", "capabilities or timed or deleting_twice or may_be_empty", "--micro-report", "claims.md")
    said = ran(tmp_path, *small, "--micro-bench")
    assert "test_small.py::TestSmall: 1 excused, 2 passed" in said
    assert "Hollow.read: " in said
    assert (tmp_path / "claims.md").read_text().splitlines() == [
        "| store | batch | conditions | durable | expiry | metadata | watch |",
        "| --- | --- | --- | --- | --- | --- | --- |",
        "| `memory` | yes | yes | | yes | yes | yes |",
        "",
        "* `TestSmall.test_a_value_may_be_empty`: to see that it is told",
    ]
    assert "timed" not in ran(tmp_path, "--co", "-k", "timed or deleting_twice")


def test_a_program_that_is_missing_skips_a_developers_run_and_fails_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MICRO_REQUIRE_SERVERS", raising=False)
    with pytest.raises(pytest.skip.Exception, match="no-such-server is not installed: apt-get install it"):
        program("no-such-server", "apt-get install it")
    monkeypatch.setenv("MICRO_REQUIRE_SERVERS", "1")
    with pytest.raises(pytest.fail.Exception, match="no-such-server is not installed: apt-get install it"):
        program("no-such-server", "apt-get install it")


@pytest.fixture
async def door() -> AsyncIterator[Door]:
    """Give a door to a server that says what it hears."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while piece := await reader.read(1000):
                writer.write(piece)
        except ConnectionError:
            pass
        finally:
            writer.close()

    async with (
        await asyncio.start_server(serve, "127.0.0.1", 0) as server,
        Door(f"127.0.0.1:{server.sockets[0].getsockname()[1]}") as door,
    ):
        yield door


class TestDoor:
    """What it does to what goes through it."""

    async def through(self, door: Door) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        host, port = door.address.split(":")
        return await asyncio.open_connection(host, int(port))

    async def asked(self, way: tuple[asyncio.StreamReader, asyncio.StreamWriter], words: bytes) -> bytes:
        way[1].write(words)
        return await asyncio.wait_for(way[0].read(1000), 5)

    async def test_open_it_passes_bytes_and_their_end(self, door: Door) -> None:
        way = await self.through(door)
        assert await self.asked(way, b"hello") == b"hello"
        way[1].write_eof()
        assert await asyncio.wait_for(way[0].read(), 5) == b""
        assert door.passed == 1
        way[1].close()

    async def test_shut_it_refuses_and_cuts_and_keeps_its_port(self, door: Door) -> None:
        way = await self.through(door)
        assert await self.asked(way, b"hello") == b"hello"
        await door.shut()
        with pytest.raises(ConnectionResetError):
            await way[0].read()
        with pytest.raises(ConnectionRefusedError):
            await self.through(door)
        way[1].close()
        await door.open()
        way = await self.through(door)
        assert await self.asked(way, b"again") == b"again"
        way[1].close()

    async def test_stalled_it_takes_and_passes_nothing_until_it_is_open(self, door: Door) -> None:
        way = await self.through(door)
        door.stall()
        later = await self.through(door)
        for each in (way, later):
            each[1].write(b"hello")
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(each[0].read(1000), 0.05)
        await door.open()
        for each in (way, later):
            assert await asyncio.wait_for(each[0].read(1000), 5) == b"hello"
            each[1].close()

    async def test_cut_after_some_bytes_it_gives_those_and_ends_in_order(self, door: Door) -> None:
        way = await self.through(door)
        await door.cut(after=3)
        way[1].write(b"hello")
        assert await asyncio.wait_for(way[0].read(), 5) == b"hel"
        way[1].close()
        way = await self.through(door)
        assert await self.asked(way, b"whole") == b"whole"
        way[1].close()

    async def test_to_nobody_it_is_a_reset(self) -> None:
        async with Door(f"127.0.0.1:{free_port()}") as door:
            way = await self.through(door)
            with pytest.raises(ConnectionResetError):
                await asyncio.wait_for(way[0].read(), 5)
            way[1].close()

    async def test_closing_it_ends_at_once_what_is_under_way(self, door: Door) -> None:
        way = await self.through(door)
        door.stall()
        began = time.monotonic()
        await door.close()
        assert time.monotonic() - began < 5
        way[1].close()
