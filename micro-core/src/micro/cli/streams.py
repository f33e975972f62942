"""The client's side of a stream: whether an endpoint takes one, and the lines of standard input that are it."""

from __future__ import annotations

import json
import os
import sys
from collections import deque
from collections.abc import Iterator

from micro.api.flags import UsageError
from micro.cli import output
from micro.cli.session import NoServerError, Session
from micro.errors import ServiceError
from micro.proto import debug_pb2


class Lines:
    """The lines of standard input, each JSON, as they come; of a terminal too. UsageError for one that is none.

    A source that the call waits for beside its peer: see `rpc/nghttp2/slow.py`.
    """

    def __init__(self) -> None:
        self._number = 0
        self._lines: deque[bytes] = deque()
        self._rest = b""
        self._ended = sys.stdin is None
        if sys.stdin is not None and sys.stdin.isatty():
            output.note("One JSON text a line; ctrl-D ends them.")

    def fileno(self) -> int:
        """Give standard input's descriptor."""
        return sys.stdin.fileno()

    def ready(self) -> bool:
        """Tell whether there is a line, or none will come."""
        while self._lines and not self._lines[0].strip():
            self._lines.popleft()
            self._number += 1
        return bool(self._lines) or self._ended

    def take_in(self) -> None:
        """Read what is there; waits where nothing is."""
        part = os.read(self.fileno(), 65536)
        *lines, self._rest = (self._rest + part).split(b"\n")
        self._lines.extend(lines)
        if not part:
            self._ended = True
            self._lines.append(self._rest)

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        while not self.ready():
            self.take_in()
        if not self._lines:
            raise StopIteration
        self._number += 1
        text = self._lines.popleft().strip()
        try:
            json.loads(text)
        except ValueError as err:
            raise UsageError(f"Line {self._number} of standard input is not valid JSON: {err}") from None
        return text


def schema(session: Session, service: str, address: str = "") -> debug_pb2.SchemaResponse | None:
    """Ask a node of a service, or the one at an address, what it serves; None when it does not say."""
    try:
        return session.core(
            service, "Debug.Schema", debug_pb2.SchemaRequest(), debug_pb2.SchemaResponse,
            namespace=session.namespace, address=address,
        )  # fmt: skip
    except NoServerError:
        raise
    except ServiceError:
        return None


def wanted(session: Session, service: str, endpoint: str, address: str = "") -> bool:
    """Whether an endpoint takes a stream; one of a service that does not say takes one message."""
    from google.protobuf.descriptor_pb2 import FileDescriptorSet
    from google.protobuf.message import DecodeError

    found = schema(session, service, address)
    try:
        files = FileDescriptorSet.FromString(found.files if found is not None else b"").file
    except DecodeError:
        return False
    methods = {f"{one.name}.{m.name}": m.client_streaming for file in files for one in file.service for m in one.method}
    return methods.get(endpoint, False)
