"""A core service's process: make its loop, build the service, serve it, register it, say so; drain at the end."""

from __future__ import annotations

import asyncio
import faulthandler
import gc
import logging
import signal
import sys
from collections.abc import Coroutine
from typing import Any

from micro.server import light, link
from micro.server.downlink import Downlink
from micro.server.serving import Serving


def serve(start: link.Start) -> int:
    """Be the process of one core service, from its fork on; gives the exit code."""
    gc.disable()  # until it is ready: what is imported and built stays
    faulthandler.enable()
    logs()
    return run(_serve(start))


def logs() -> None:
    """Send the process's log records to stderr, which is its log file. Idempotent, also over a fork."""
    if any(isinstance(one.formatter, Formatter) for one in logging.getLogger().handlers):
        return
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO)


class Formatter(logging.Formatter):
    """One record a line, what others sent made harmless: control characters are escaped, tracebacks indented."""

    def format(self, record: logging.LogRecord) -> str:
        head, *rest = super().format(record).splitlines() or [""]
        lines = [head, *(f"    {line}" for line in rest)]
        return "\n".join(
            "".join(c if c.isprintable() or c in "\t " else c.encode("unicode_escape").decode() for c in line)
            for line in lines
        )


def run(main: Coroutine[Any, Any, int]) -> int:
    """Run a coroutine on the fastest loop there is."""
    try:
        import uvloop
    except ImportError:
        return asyncio.run(main)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        light.unload(runner.get_loop())
        return runner.run(main)


def stop_signal(*numbers: int) -> asyncio.Event:
    """Give an event that these signals set; a second one does no more."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in numbers:
        loop.add_signal_handler(number, stop.set)
    return stop


async def _serve(start: link.Start) -> int:
    stop = stop_signal(signal.SIGTERM)
    downlink = Downlink(start)
    downlink.listen()
    serving = Serving(
        start.name,
        start.profile,
        start.data,
        addresses=downlink.addresses,
        token=downlink.token,
        pinned=start.pinned,
        alive=start.alive,
        leaving=downlink.leaving.is_set,
    )
    work = asyncio.create_task(_until(serving, downlink, start))
    waiting = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({work, waiting}, return_when=asyncio.FIRST_COMPLETED)
        if work.done():
            work.result()  # it only ends by what went wrong
    finally:
        downlink.look()  # what was said before the signal
        waiting.cancel()
        work.cancel()
        await asyncio.gather(work, waiting, return_exceptions=True)
        await serving.stop()
    return 0


async def _until(serving: Serving, downlink: Downlink, start: link.Start) -> None:
    """Start the service, tell the supervisor, and serve until cancelled."""
    serving.imports()
    await downlink.go()
    addresses = await serving.start()
    gc.freeze()
    gc.enable()
    link.say(start.up, ready=True, addresses=addresses)
    serving.register(lambda: link.say(start.up, registered=True))
    await downlink.leaving.wait()
    await serving.unfollow()
    await asyncio.Event().wait()
