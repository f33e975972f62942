"""A disk that is full: writes are refused as that, reads go on, and writing goes on once there is room. On a real one."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

PROGRAM = """
    import asyncio
    import os
    import sys
    from pathlib import Path

    from micro.errors import ResourceExhausted
    from micro.events.api import Events
    from micro.events.sqlite import SqliteEvents
    from micro.store.api import Store
    from micro.store.sqlite import SqliteStore

    disk = Path(sys.argv[1])
    ballast = disk / "ballast"

    async def fill(write):
        '''Write until it is refused; gives how many were taken.'''
        for n in range(1000):
            try:
                await write(n)
            except ResourceExhausted:
                return n
        raise AssertionError("the disk was never full")

    async def main():
        (disk / "data" / "events").mkdir(parents=True)
        async with (
            Store(SqliteStore(data=disk / "data"), plugin="sqlite") as store,
            Events(SqliteEvents(data=disk / "data"), plugin="sqlite") as events,
        ):
            await store.write("first", b"1")
            await events.publish("t", b"first")
            ballast.write_bytes(bytes(8 << 20))
            value = os.urandom(100_000)
            taken = await fill(lambda n: store.write(f"n{n:04}", value))
            published = await fill(lambda n: events.publish("t", value))
            for _ in range(3):  # and it stays so, for as long as it is full
                for write in (store.write("more", value), events.publish("t", value)):
                    try:
                        await write
                    except ResourceExhausted:
                        continue
                    raise AssertionError("written to a full disk")
            assert (await store.read("first")).value == b"1"
            assert len(await store.list()) == taken + 1
            assert len(await events.read("t")) == published + 1
            ballast.unlink()
            await store.write("after", value)
            await events.publish("t", b"after")
            assert len(await store.list()) == taken + 2
            assert [each.payload for each in await events.read("t", bytes)][-1] == b"after"
            # full when it is stopped, and when it is started again
            free = os.statvfs(disk)
            ballast.write_bytes(bytes(free.f_bavail * free.f_bsize // 2))
            await fill(lambda n: store.write(f"m{n:04}", value))
            kept = await store.list()
        async with Store(SqliteStore(data=disk / "data"), plugin="sqlite") as store:
            assert await store.list() == kept
            assert (await store.read("after")).value == value
            await fill(lambda n: store.write(f"o{n:04}", value))
            ballast.unlink()
            await store.write("last", value)
            assert (await store.read("last")).value == value

    asyncio.run(main())
"""
MOUNT = 'mount -t tmpfs -o size=24m tmpfs "$1" && exec "$2" -c "$3" "$1"'  # in a namespace of its own: gone with the process


def test_writes_are_refused_reads_go_on_and_it_recovers(tmp_path: Path) -> None:
    ran = subprocess.run(
        ["unshare", "--mount", "sh", "-c", MOUNT, "sh", tmp_path, sys.executable, textwrap.dedent(PROGRAM)],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    if ran.returncode and "Operation not permitted" in ran.stderr and os.environ.get("MICRO_REQUIRE_SERVERS") != "1":
        pytest.skip("only root may mount a small disk")
    assert ran.returncode == 0, ran.stderr
