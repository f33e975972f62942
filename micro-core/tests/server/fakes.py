"""Core services of a few lines: they do what a real one's process does around its service, and misbehave as told.

`MICRO_FAKE` is JSON, `{"store": {"die": "start"}}`; so a test tells the services of a server what to do.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import sys
import time
from pathlib import Path

from micro.errors import ConfigError
from micro.server import layout, link

SPECS = tuple(spec._replace(main="fakes:serve") for spec in layout.CORE)
FEW = tuple(spec for spec in SPECS if spec.name in {"registry", "store", "config", "proxy"})


def note(start: link.Start, what: str) -> None:
    """Add a line to the test's own log: instant, service, what."""
    with (start.data / "notes").open("a") as file:
        file.write(f"{time.monotonic():.6f} {start.name} {what}\n")


def serve(start: link.Start) -> int:
    told = json.loads(os.environ.get("MICRO_FAKE", "{}")).get(start.name, {})
    once = start.data / f"{start.name}.once"
    if told.get("once") and once.exists():
        told = {}
    once.touch()
    lines = link.Lines(start.down)
    note(start, "starts " + json.dumps(go(start, lines)))
    if told.get("print"):
        print(told["print"], flush=True)
    if told.get("config"):
        raise ConfigError([told["config"]])
    if told.get("raise"):
        raise OSError(told["raise"])
    if "exit" in told:
        os._exit(told["exit"])
    if told.get("hang"):
        time.sleep(60)
    listening = socket.socket()
    host, _, port = (start.pinned.get(start.name) or start.profile.address(start.name)).rpartition(":")
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.bind((host, int(port)))
    listening.listen()
    time.sleep(told.get("slow", 0))
    address = "{}:{}".format(*listening.getsockname())
    stopping = []
    signal.signal(
        signal.SIGTERM, (lambda *_: note(start, "ignores")) if told.get("stubborn") else lambda *_: stopping.append(1)
    )
    link.say(start.up, ready=True, addresses={start.name: address})
    if not told.get("unregistered"):
        link.say(start.up, registered=True)
    note(start, f"ready fds={sorted(int(fd.name) for fd in Path('/proc/self/fd').iterdir())}")
    if "dies" in told:
        time.sleep(told["dies"])
        os._exit(9)
    return loop(start, listening, stopping, told, lines)


def go(start: link.Start, lines: link.Lines) -> object:
    """Wait for one's turn; gives the address book."""
    while True:
        select.select([start.down], [], [])
        for message in lines.read():
            if message.get("go"):
                return message["addresses"]


def loop(
    start: link.Start, listening: socket.socket, stopping: list[int], told: dict[str, object], lines: link.Lines
) -> int:
    while not stopping:
        ready, _, _ = select.select([start.down, listening], [], [], 0.02)
        for message in lines.read() if start.down in ready else ():
            note(start, "told " + json.dumps(message))
        if lines.ended and not told.get("stubborn"):
            break
        if listening in ready:
            with listening.accept()[0] as peer:
                peer.sendall(start.name.encode())
        if told.get("blocked"):
            while True:
                time.sleep(1)
    time.sleep(float(str(told.get("drain", 0))))
    note(start, "stops")
    return 0


def main() -> int:
    """python fakes.py few|all DATA JSON-LIMITS [SET …]"""
    from micro.server.main import run_server
    from micro.server.options import Options

    sys.modules["fakes"] = sys.modules["__main__"]
    which, data, limits, *rest = sys.argv[1:]
    options = Options(profile="fake", config=str(Path(data).parent / "micro.toml"), data=data, overrides=tuple(rest))
    keywords = json.loads(limits)
    grace = keywords.pop("grace", 10.0)
    specs = tuple(spec._replace(grace=grace) for spec in (FEW if which == "few" else SPECS))
    return run_server(options, specs=specs, preloaded=False, **keywords)


if __name__ == "__main__":
    sys.exit(main())
