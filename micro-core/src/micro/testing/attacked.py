"""A listener in a process of its own, so that its memory can be watched: `python -m micro.testing.attacked nghttp2 edge`.

Prints its address; ends when its input does, so that it never outlives a test.
"""

from __future__ import annotations

import asyncio
import importlib
import sys

from micro.rpc.driver import Limits, edge
from micro.testing.echo import Echo


async def main(name: str, door: str) -> None:
    """Serve the test service until the input ends."""
    transport = getattr(importlib.import_module(f"micro.rpc.{name}"), f"{name.capitalize()}Transport")()
    limits = edge() if door == "edge" else Limits()
    limits.preface_timeout = 0.5
    limits.idle = 2.0
    limits.max_age_grace = 1.0
    listener = transport.listener(Echo(), limits=limits)
    sys.stdout.write(await listener.start("127.0.0.1:0") + "\n")
    sys.stdout.flush()
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    await listener.close()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
