"""Which service and endpoint an HTTP path means: `/foo` is Foo.Call, `/foo/bar` Foo.Bar, `/foo/bar/baz` Bar.Baz.

/v1/foo/bar   service v1.foo, endpoint Foo.Bar
/a/b/c/d      service a.b, endpoint C.D
/foo/say-hi   service foo, endpoint Foo.SayHi
"""

from __future__ import annotations

import re
from urllib.parse import unquote_to_bytes

from micro.errors import InvalidArgument, NotFound
from micro.proxy.paths import read
from micro.rpc import paths

_VERSION = re.compile(r"v[0-9]+", re.ASCII)
_KEPT = 4096  # resolved paths; callers choose them


class Resolved:
    """What a path means; `path` is the same for gRPC."""

    __slots__ = ("endpoint", "path", "service")

    def __init__(self, service: str, endpoint: str) -> None:
        self.service = service
        self.endpoint = endpoint
        self.path = paths.build(service, endpoint)


class Resolver:
    """Reads paths, and remembers them."""

    def __init__(self, prefix: str = "") -> None:
        """`prefix` stands before each service's name, parted by a dot."""
        self._prefix = f"{prefix}." if prefix else ""
        self._known: dict[str, Resolved] = {}

    def resolve(self, path: str) -> Resolved:
        """Read a path, percent-encoded as it came, without its query; NotFound for one that names no service."""
        found = self._known.get(path)
        if found is None:
            found = self._read(path)
            if len(self._known) >= _KEPT:
                self._known.clear()
            self._known[path] = found
        return found

    def _read(self, path: str) -> Resolved:
        try:
            parts = cleaned(unquote_to_bytes(path).decode())
        except UnicodeDecodeError:
            parts = []
        if not parts:
            raise unknown_service()
        service, handler, method = _named(parts)
        try:
            found = Resolved(self._prefix + service, f"{handler}.{method}")
        except InvalidArgument:
            raise unknown_service() from None
        if read(found.path, "") is None:
            raise unknown_service()  # nobody is registered, or has methods, by such a name
        return found


def unknown_service() -> NotFound:
    """Give the error of a path that leads nowhere."""
    return NotFound("service not found", id="api")


def cleaned(path: str) -> list[str]:
    """Give a path's parts, without empty ones and `.`; `..` takes back the one before."""
    parts: list[str] = []
    for part in path.split("/"):
        if part == "..":
            del parts[-1:]
        elif part not in {"", "."}:
            parts.append(part)
    return parts


def _named(parts: list[str]) -> tuple[str, str, str]:
    first = parts[0]
    if len(parts) == 1:
        return first, camel(first), "Call"
    if len(parts) == 2:
        return first, camel(first), camel(parts[1])
    if len(parts) == 3 and _VERSION.fullmatch(first):
        return f"{first}.{parts[1]}", camel(parts[1]), camel(parts[2])
    return ".".join(parts[:-2]), camel(parts[-2]), camel(parts[-1])


def camel(part: str) -> str:
    """Give a part as an endpoint's name: `baz-quxQuux` is `BazQuxQuux`."""
    return "".join(titled(word) for word in part.split("-"))


def titled(word: str) -> str:
    """Give a word with capitals at its start and after whatever is no letter, digit or `_`."""
    out, upper = [], True
    for char in word:
        out.append(char.upper() if upper else char)
        upper = not (char.isalnum() or char == "_")
    return "".join(out)
