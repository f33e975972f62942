"""The command socket's requests and answers, as docs/cli-protocol.md has them."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping

import msgspec

from micro.errors import InvalidArgument

TYPE = "application/x-micro-cli"
OUT, ERR = 1, 2


class Request(msgspec.Struct):
    """A command as its client sent it."""

    argv: list[str]
    namespace: str = ""
    token: str = ""
    files: dict[str, bytes] = {}


class _Full(msgspec.Struct):
    argv: list[str] = []
    namespace: str = ""
    token: str = ""
    files: dict[str, str] = {}


_full = msgspec.json.Decoder(_Full).decode


def read(content_type: str, headers: Mapping[str, str], body: bytes) -> Request:
    """Read a request of either form; InvalidArgument for neither."""
    if content_type.partition(";")[0].strip() == "application/json":
        try:
            said = _full(body)
            files = {name: base64.b64decode(data, validate=True) for name, data in said.files.items()}
        except (msgspec.DecodeError, binascii.Error, RecursionError) as problem:
            raise InvalidArgument(f"malformed command: {problem}", id="api") from None
        return Request(said.argv, said.namespace, said.token, files)
    try:
        argv = body.decode().split("\0") if body else []
    except UnicodeDecodeError:
        raise InvalidArgument("malformed command: not UTF-8", id="api") from None
    scheme, _, token = headers.get("Authorization", "").partition(" ")
    return Request(argv, headers.get("X-Micro-Namespace", ""), token if scheme == "Bearer" else "")


def frame(stream: int, text: str) -> bytes:
    """Write text for a stream; a newline is added where its end has none."""
    if not text:
        return b""
    data = (text if text.endswith("\n") else text + "\n").encode("utf-8", "replace")
    return b"%d %d\n" % (stream, len(data)) + data


def end(exit: int) -> bytes:
    """Write the end."""
    return b"0 %d\n" % exit
