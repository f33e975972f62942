"""How a call's path names what is called: `/service.Handler/Method`, and what may be made of other forms."""

from __future__ import annotations

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
    """Give the path of a registered service's endpoint; one that starts with a slash, or is no `H.M`, as it is."""
    if endpoint.startswith("/") or endpoint.count(".") != 1:
        return endpoint.encode()
    handler, _, method = endpoint.partition(".")
    return f"/{service}.{handler}/{method}".encode() if service else f"/{handler}/{method}".encode()
