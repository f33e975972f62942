"""`<data>/control.sock`: asking a running server for its state, to stop, or to restart one service.

One JSON line each way: `{"command": "status"}`, `{"command": "stop"}`, `{"command": "restart", "name": "store"}`.
The answer is an object; `{"error": "…"}` when it could not be done. `restart` answers when the service is ready
again; after `stop` the connection stays open until the server has gone.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from micro.errors import Unavailable
from micro.server import folder

if TYPE_CHECKING:
    from micro.server.supervisor import Supervisor

NAME = "control.sock"
LIMIT = 4096  # bytes of a request


class Control:
    """The socket's server side, in the supervisor's loop."""

    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor
        self._path = supervisor.data / NAME
        self._asking: dict[int, tuple[socket.socket, bytearray]] = {}
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        with contextlib.suppress(FileNotFoundError):
            self._path.unlink()  # of a server that was killed: the folder's lock is ours
        with folder.short(self._path) as path:
            self._socket.bind(path)
        self._path.chmod(0o600)
        self._socket.listen(16)
        supervisor.loop.watch(self._socket.fileno(), self._accept)

    def close(self) -> None:
        """Close the socket and all connections, and remove its file."""
        for fd in list(self._asking):
            self._end(fd)
        self._socket.close()
        with contextlib.suppress(FileNotFoundError):
            self._path.unlink()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            asking, _ = self._socket.accept()
            asking.setblocking(False)
            fd = asking.fileno()
            self._asking[fd] = (asking, bytearray())
            self._supervisor.loop.watch(fd, lambda: self._read(fd))

    def _end(self, fd: int) -> None:
        found = self._asking.pop(fd, None)
        if found is not None:
            self._supervisor.loop.unwatch(fd)
            found[0].close()

    def _read(self, fd: int) -> None:
        asking, buffer = self._asking[fd]
        try:
            part = asking.recv(LIMIT)
        except OSError:
            part = b""
        buffer += part
        if not part or len(buffer) > LIMIT:
            self._end(fd)
        elif b"\n" in buffer:
            line, _, _ = bytes(buffer).partition(b"\n")
            buffer.clear()
            self._answer(fd, line)

    def _answer(self, fd: int, line: bytes) -> None:
        try:
            request = json.loads(line)
            command = request["command"]
        except (ValueError, TypeError, KeyError):
            self._say(fd, error='expected one line such as {"command": "status"}')
            return
        if command == "status":
            self._say(fd, **status(self._supervisor))
        elif command == "stop":
            self._say(fd, ok=True)
            self._supervisor.stop("stopping, as asked on the control socket")
        elif command == "restart":
            problem = self._supervisor.restart(str(request.get("name", "")), self._restarted(fd))
            if problem:
                self._say(fd, error=problem)
        else:
            self._say(fd, error=f"unknown command {command!r}: there are status, stop, restart")

    def _restarted(self, fd: int) -> Callable[[bool], None]:
        asking = self._asking[fd][0]

        def heard(ready: bool) -> None:
            if self._asking.get(fd, (None,))[0] is asking:  # not a later connection of the same number
                self._say(fd, ok=True) if ready else self._say(fd, error="the server stops")

        return heard

    def _say(self, fd: int, **answer: Any) -> None:
        try:
            self._asking[fd][0].sendall(json.dumps(answer).encode() + b"\n")
        except OSError:
            self._end(fd)


def status(supervisor: Supervisor) -> dict[str, Any]:
    """Give what `status` answers."""
    services = {
        w.name: {
            "state": w.state,
            "pid": w.pid,
            "address": w.address,
            "restarts": max(0, w.lives - 1),
            "healthy": round(w.healthy(), 3),
            "problem": w.problem,
        }
        for w in supervisor.workers.values()
    }
    state = "stopping" if supervisor.stopping else "ready" if supervisor.ready else "starting"
    return {"pid": os.getpid(), "profile": supervisor.profile.name, "state": state, "services": services}


def ask(data: Path, command: str, *, timeout: float = 60.0, **more: str) -> dict[str, Any]:
    """Ask the server on a data folder one thing; after `stop`, waits until it has gone.

    Raises Unavailable when there is no server, or it does not answer in time.
    """
    path = data / NAME
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock, folder.short(path) as short:
            sock.settimeout(timeout)
            sock.connect(short)
            sock.sendall(json.dumps({"command": command, **more}).encode() + b"\n")
            answer = _line(sock)
            if command == "stop" and "ok" in answer:
                while sock.recv(LIMIT):
                    pass
            return answer
    except TimeoutError:
        raise Unavailable(f"the server on {data} does not answer within {timeout:g} s") from None
    except OSError as err:
        raise Unavailable(f"no micro server on {data}: {os.strerror(err.errno or 0)}") from None


def _line(sock: socket.socket) -> dict[str, Any]:
    raw = b""
    while not raw.endswith(b"\n"):
        part = sock.recv(65536)
        if not part:
            raise ConnectionResetError(104, "Connection reset by peer")
        raw += part
    found: dict[str, Any] = json.loads(raw)
    return found
