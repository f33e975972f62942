"""What may be a name. One page of rules for services, namespaces, accounts, tables, topics, keys.

Drivers may trust what passed here; escaping for their backend stays their duty.
"""

from __future__ import annotations

from collections.abc import Iterable

from micro.errors import InvalidArgument

MAX_NAME = 63  # characters; so that a name fits a DNS label and every backend's identifiers
MAX_TOPIC = 255  # bytes; tables, topics, groups
MAX_KEY = 1024  # bytes; keys and paths

_ALNUM = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789")
_NAME = _ALNUM | frozenset("._-")
_ACCOUNT = _NAME | frozenset("@+")


def _identifier(value: str, what: str, allowed: frozenset[str]) -> str:
    if not value:
        raise InvalidArgument(f"{what} is empty")
    if len(value) > MAX_NAME:
        raise InvalidArgument(f"{what} is longer than {MAX_NAME} characters")
    if value[0] not in _ALNUM or not allowed.issuperset(value) or ".." in value:
        extra = "._-@+" if allowed is _ACCOUNT else "._-"
        raise InvalidArgument(
            f"{what} {_shown(value)} is not a name: letters, digits and {extra}, a letter or digit first, no '..'"
        )
    return value


def _shown(value: str) -> str:
    return ascii(value if len(value) <= 40 else value[:37] + "...")


def _text(value: str, what: str, limit: int) -> str:
    if not value:
        raise InvalidArgument(f"{what} is empty")
    try:
        size = len(value.encode())
    except UnicodeEncodeError:
        raise InvalidArgument(f"{what} {_shown(value)} is not valid UTF-8") from None
    if size > limit:
        raise InvalidArgument(f"{what} is longer than {limit} bytes")
    if not value.isprintable() and any(ord(c) < 0x20 or 0x7F <= ord(c) < 0xA0 for c in value):
        raise InvalidArgument(f"{what} {_shown(value)} has control characters")
    return value


def service(value: str) -> str:
    """Check a service's name."""
    return _identifier(value, "service name", _NAME)


def namespace(value: str) -> str:
    """Check a namespace (tenant): also a store's database, a registry's domain, an account's issuer."""
    return _identifier(value, "namespace", _NAME)


def version(value: str) -> str:
    """Check a service's version."""
    return _identifier(value, "version", _NAME)


def account(value: str) -> str:
    """Check an account's id."""
    return _identifier(value, "account id", _ACCOUNT)


def table(value: str) -> str:
    """Check a store's table."""
    return _text(value, "table", MAX_TOPIC)


def topic(value: str) -> str:
    """Check a topic."""
    return _text(value, "topic", MAX_TOPIC)


def group(value: str) -> str:
    """Check a consumer group or queue; empty is refused here, ask before calling."""
    return _text(value, "group", MAX_TOPIC)


def key(value: str) -> str:
    """Check a store's or blob's key."""
    return _text(value, "key", MAX_KEY)


def path(value: str) -> str:
    """Check a config path's text."""
    return _text(value, "path", MAX_KEY)


def near(word: str, known: Iterable[str], *, most: int = 1, cutoff: float = 0.6) -> list[str]:
    """Give the names that somebody may have meant, the nearest first; for the words of an error."""
    from difflib import get_close_matches  # larger than what asks for it

    return get_close_matches(word, list(known), most, cutoff)
