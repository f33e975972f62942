"""Who decides whether a call may pass. The auth folder implements it; servers, the proxy and the gateway ask."""

from __future__ import annotations

from typing import Protocol

from micro.context import Account


class NotReadyError(Exception):
    """The guard must look something up first: await `prepare`, then ask again."""


class Guard(Protocol):
    """Identity and rules, decided in this process. `check` is on every call's path: cached, no I/O."""

    def identify(self, authorization: bytes, *, audience: str = "micro") -> Account:
        """Verify an `Authorization` value (Bearer, or Basic whose password is the token).

        Raises Unauthenticated for a malformed, forged, expired or revoked token, NotReadyError for an unknown key id.
        """

    def check(self, account: Account | None, namespace: str, service: str, endpoint: str) -> None:
        """Raise PermissionDenied, or Unauthenticated without an account, unless the rules let the call pass.

        `endpoint` is `Handler.Method`. Raises NotReadyError while the namespace's rules are not here yet.
        """

    def stands(self, account: Account | None, namespace: str, service: str, endpoint: str) -> None:
        """Judge anew who was let in once, for a stream that is still open; asked every few seconds, no I/O.

        Raises Unauthenticated when the token is revoked by now, or has ended and nobody would tell that the account is
        out; PermissionDenied, or Unauthenticated, when the rules refuse by now. The token's end alone is no reason.
        """

    async def prepare(self, authorization: bytes | None, namespace: str) -> None:
        """Fetch the keys or rules that `identify` or `check` missed; raises Unavailable when that fails."""
