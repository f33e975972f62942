"""Ends a server's containers when the server is gone: a process of its own, for who is killed can end nothing.

    python -I -S guard.py ALIVE ENGINE LABEL HOST [CA CERTIFICATE KEY]

ALIVE is the descriptor of a pipe that hangs up when the server ends, ENGINE that of one that hangs up with the process that started
this: another one has its own guard soon, so this one stays no longer than that takes. It imports next to nothing until it is needed.
"""

from __future__ import annotations

import os
import select
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from http.client import HTTPConnection

LINGER = 15.0  # seconds until whoever is started again has a guard of its own
GRACE = 3.5  # seconds between asking containers to stop and making them
TRY = 30.0  # seconds for an engine that is away; later the next server finds what was left


def main(alive: int, engine: int, label: str, *where: str) -> None:
    """Wait for one of the ends."""
    poll = select.poll()
    poll.register(alive, 0)  # a hang-up is always told
    poll.register(engine, select.POLLIN)
    limit: float | None = None
    while found := poll.poll(limit):
        for fd, _ in found:
            if fd == alive:
                _end(label, *where)
                return
            if os.read(engine, 1):
                return  # there is nothing left to guard
            poll.unregister(engine)
            limit = LINGER * 1000


def _end(label: str, *where: str) -> None:
    """Ask all containers with a label to stop, make them, and remove them."""
    import time

    asked: set[str] = set()
    begun = time.monotonic()
    while time.monotonic() - begun < TRY:
        try:
            left = {id: state for id, state in _labelled(label, where) if state == "running" or id in asked}
            for id, state in left.items():
                over = state != "running" or time.monotonic() - begun > GRACE
                if over or id not in asked:
                    asked.add(id)
                    _ask(
                        where,
                        *(
                            ("DELETE", f"/containers/{id}?force=1&v=1")
                            if over
                            else ("POST", f"/containers/{id}/kill?signal=TERM")
                        ),
                    )
            if not left:
                return
        except (OSError, ValueError):
            pass
        time.sleep(0.1)


def _labelled(label: str, where: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    import json
    from urllib.parse import quote

    found = json.loads(_ask(where, "GET", f"/containers/json?all=1&filters={quote(json.dumps({'label': [label]}))}"))
    return ((each["Id"], each["State"]) for each in found)


def _ask(where: tuple[str, ...], method: str, path: str) -> bytes:
    connection = _connection(*where)
    try:
        connection.request(method, path)
        return connection.getresponse().read()
    finally:
        connection.close()


def _connection(host: str, ca: str = "", certificate: str = "", key: str = "") -> HTTPConnection:
    import socket
    from http.client import HTTPConnection, HTTPSConnection

    if host.startswith("tcp://"):
        import ssl

        context = ssl.create_default_context(cafile=ca)
        context.load_cert_chain(certificate, key)
        return HTTPSConnection(host.removeprefix("tcp://"), timeout=GRACE, context=context)
    made = HTTPConnection("docker", timeout=GRACE)
    made.sock = socket.socket(socket.AF_UNIX)
    made.sock.settimeout(GRACE)
    try:
        made.sock.connect(host.removeprefix("unix://"))
    except OSError:
        made.close()
        raise
    return made


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), *sys.argv[3:])
