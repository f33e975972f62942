"""What a failed call is to a person at a command line: a text, and an exit code."""

from __future__ import annotations

import re

from micro.errors import ServiceError

MALFORMED = re.compile(r'malformed method name: "([^"]*)"')
NO_ROUTE = re.compile(r"service ([\w.@+-]+): route not found")
UNKNOWN = re.compile(r"unknown service ([\w.-]+)")
NO_SERVER = re.compile(r"[Ff]ailed to connect to micro server at (\S+)")


def outcome(error: ServiceError) -> tuple[str, int]:
    """Give the text and the exit code; the text's own words decide before the error's class does."""
    detail = error.detail
    if found := MALFORMED.search(detail):
        return f'Method name "{found[1].lstrip("/")}" invalid format. Expecting service.endpoint', 3
    if found := NO_ROUTE.search(detail):
        return f'Service "{found[1]}" not found', 4
    if found := UNKNOWN.search(detail):
        return (f'Service method "{found[1]}" not found' if "." in found[1] else f'Service "{found[1]}" not found'), 5
    if found := NO_SERVER.search(detail):
        return f"Failed to connect to micro server at {found[1]}", 4
    if error.http == 408:
        return "Request timed out", 1
    if error.http == 401:
        return "Not authorized to perform this request", 2
    return capital(detail) or capital(type(error).__name__), 127


def capital(text: str) -> str:
    """Give a text with its first letter upper case."""
    return text[:1].upper() + text[1:]
