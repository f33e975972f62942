"""A blob is there whole or not at all, whenever the process that writes it is killed."""

import hashlib
import random
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

from micro.blobs.api import Blobs
from micro.blobs.file import FileBlobs
from micro.store.api import Store
from micro.store.sqlite import SqliteStore

WRITER = """
    import asyncio, hashlib, os, sys
    from pathlib import Path
    from micro.blobs import Blobs
    from micro.blobs.file import FileBlobs
    from micro.store import Store
    from micro.store.sqlite import SqliteStore

    async def pieces(seed):
        for n in range(40):
            yield hashlib.sha256(f"{seed} {n}".encode()).digest() * 512  # 16 KiB
            await asyncio.sleep(0)

    async def write(blobs, task):
        for n in range(100_000):
            os.write(1, f"begun {task}/{n % 3}\\n".encode())
            blob = await blobs.write(f"{task}/{n % 3}", pieces(f"{task} {n}"), content_type=f"text/{n}")
            os.write(1, f"{blob.key} {n} {blob.sha256}\\n".encode())

    async def main():
        folder = Path(sys.argv[1])
        async with Store(SqliteStore(data=folder)) as store, Blobs(FileBlobs(store=store, data=folder)) as blobs:
            await asyncio.gather(*(write(blobs, task) for task in range(4)))

    asyncio.run(main())
"""


async def test_a_kill_in_the_middle_of_a_write_leaves_whole_blobs_only(tmp_path: Path) -> None:
    dice = random.Random(11)
    cut = 0
    for run in range(6):
        folder = tmp_path / str(run)
        process = subprocess.Popen([sys.executable, "-c", textwrap.dedent(WRITER), folder], stdout=subprocess.PIPE)
        assert process.stdout is not None
        with process.stdout:
            lines = [process.stdout.readline() for _ in range(dice.randint(2, 60))]
            process.send_signal(signal.SIGKILL)
            lines += process.stdout.readlines()
        process.wait()
        told = [line.decode().split() for line in lines]
        acknowledged = {key: (int(n), digest) for key, n, digest in (words for words in told if words[0] != "begun")}
        cut += len([words for words in told if words[0] == "begun"]) - len([w for w in told if w[0] != "begun"])
        async with Store(SqliteStore(data=folder)) as store, Blobs(FileBlobs(store=store, data=folder)) as blobs:
            found = {blob.key: blob for blob in await blobs.list()}
            assert set(acknowledged) <= set(found)
            for key, blob in found.items():
                number = int(blob.content_type.removeprefix("text/"))
                assert number >= acknowledged.get(key, (0, ""))[0]  # the one under way may have made it
                task = key.partition("/")[0]
                wanted = b"".join(hashlib.sha256(f"{task} {number} {n}".encode()).digest() * 512 for n in range(40))
                assert await blobs.read(key) == wanted
    assert cut > 0, "no write was under way"
