"""The client's side of a stream: whether an endpoint takes one, and the lines of standard input that are it."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator

from micro.api.flags import UsageError
from micro.cli import output
from micro.cli.session import NoServerError, Session
from micro.errors import ServiceError
from micro.proto import debug_pb2


def lines() -> Iterator[bytes]:
    """Give the lines of standard input, each JSON, as they come; of a terminal too. UsageError for one that is none."""
    if sys.stdin is None:
        return
    if sys.stdin.isatty():
        output.note("One JSON text a line; ctrl-D ends them.")
    for number, line in enumerate(iter(sys.stdin.buffer.readline, b""), 1):
        text = line.strip()
        if not text:
            continue
        try:
            json.loads(text)
        except ValueError as err:
            raise UsageError(f"Line {number} of standard input is not valid JSON: {err}") from None
        yield text


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
