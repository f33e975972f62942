"""What a caller shows to say who it is."""

from __future__ import annotations

from typing import Protocol

from micro.context import CORE_NAMESPACE


class TokenSource(Protocol):
    """Gives the `Authorization` value of calls. The auth folder implements one that logs in and renews.

    `header` is on every call's path: no I/O; None when there is no token, or none that is still good, and `prepare`
    is to be awaited. `namespace` is the account's, where that is known: the default for calls.
    """

    namespace: str

    def header(self) -> bytes | None:
        """Give `Bearer <token>`, or None."""

    async def prepare(self) -> None:
        """Fetch a token; raises what logging in raises. Does nothing for who has no account."""

    def refused(self, header: bytes) -> bool:
        """Hear that a service refused this value as unauthenticated; True when another one can be had by `prepare`."""

    async def close(self) -> None:
        """Stop renewing."""


class FixedToken:
    """A token that somebody else keeps fresh, by `set`; or nobody: empty is no account."""

    def __init__(self, token: str = "", *, namespace: str = CORE_NAMESPACE) -> None:
        self.namespace = namespace
        self._header: bytes | None = None
        self.set(token)

    def set(self, token: str) -> None:
        """Use this token from now on."""
        self._header = f"Bearer {token}".encode() if token else None

    def header(self) -> bytes | None:
        return self._header

    async def prepare(self) -> None:
        pass

    def refused(self, header: bytes) -> bool:
        return self._header is not None and header != self._header

    async def close(self) -> None:
        pass
