"""How a call's error ends a command: what is printed, and the exit code. The command line and the platform share it."""

from __future__ import annotations

from micro.errors import Code, ServiceError

GENERAL, UNAUTHORIZED, UNPRINTABLE, UNREACHED, UNKNOWN, SERVICE, OTHER, INTERRUPTED = 1, 2, 3, 4, 5, 127, 128, 130
MALFORMED = 3


def outcome(error: BaseException, address: str = "") -> tuple[str, int]:
    """Give an error's text for people, without a newline, and the exit code; `address` is the node asked for by name."""
    if not isinstance(error, ServiceError):
        return sentence(str(error) or type(error).__name__), OTHER
    detail = error.detail
    name = _between(detail, 'malformed method name: "', '"').lstrip("/")
    if name:
        return f'Method name "{name}" invalid format. Expecting service.endpoint', MALFORMED
    name = _between(detail, "service ", ": route not found")
    if name and " " not in name:
        return f'Service "{name}" not found', UNREACHED
    if detail.startswith("unknown service "):
        name = detail.removeprefix("unknown service ")
        return (f'Service method "{name}" not found' if "." in name else f'Service "{name}" not found'), UNKNOWN
    if error.code == Code.UNAVAILABLE and "no micro server at " in detail:
        return sentence(detail), UNREACHED
    unreached = (f"connection refused: {address}", f"cannot connect to {address}")
    if error.code == Code.UNAVAILABLE and address and detail.startswith(unreached):
        return f"Failed to connect to micro server at {address if ':' in address else f'{address}:443'}", UNREACHED
    if error.http in {408, 504}:
        return "Request timed out", GENERAL
    if error.http == 401:
        return "Not authorized to perform this request", UNAUTHORIZED
    return sentence(detail or error.__class__.__name__), SERVICE


def sentence(text: str) -> str:
    """Give a text with its first letter upper case."""
    return text[:1].upper() + text[1:]


def _between(text: str, start: str, end: str) -> str:
    _, found, rest = text.partition(start)
    name, closed, _ = rest.partition(end)
    return name if found and closed else ""
