"""How a call's path names what is called: `/service.Handler/Method`, and what may be made of other forms."""

from __future__ import annotations

from micro.errors import LOCAL, InvalidArgument

_SHOWN = 200  # characters of a path in an error


def split(path: bytes) -> tuple[str, str] | None:
    """Give handler and method; None when the path has neither form.

    Three parts between slashes, the handler after the last dot of the second, whatever stands before it; or, without
    a leading slash, `Handler.Method`.
    """
    text = path.decode("utf-8", "replace")
    if text.startswith("/"):
        parts = text.split("/")
        if len(parts) != 3 or not parts[1] or not parts[2]:
            return None
        return parts[1].rpartition(".")[2], parts[2]
    handler, dot, method = text.partition(".")
    if not dot or not handler or not method or "." in method or "/" in text:
        return None
    return handler, method


def malformed(path: bytes) -> str:
    """Give the wire's words for a path that names nothing; the original's command line reads them."""
    return f'malformed method name: "{path.decode("utf-8", "replace")[:_SHOWN]}"'


def build(service: str, endpoint: str) -> bytes:
    """Give the path of a registered service's endpoint; one that begins with a slash as it is.

    InvalidArgument for what is no `H.M`: a service would say the same, and not every transport can ask it.
    """
    if endpoint.startswith("/"):
        return endpoint.encode()
    handler, _, method = endpoint.partition(".")
    if not handler or not method or "." in method:
        raise InvalidArgument(malformed(endpoint.encode()), id=LOCAL)
    return f"/{service}.{handler}/{method}".encode() if service else f"/{handler}/{method}".encode()
