"""Guards for tests: who says who he is, is."""

from __future__ import annotations

from collections.abc import Callable

from micro.context import Account
from micro.errors import Unauthenticated
from micro.rpc.guard import Guard

Check = Callable[[Account | None, str, str, str], None]


class OpenGuard(Guard):
    """Knows the accounts it was given by their tokens, and lets everybody do everything unless `check` raises."""

    def __init__(self, *accounts: Account, check: Check | None = None) -> None:
        self._accounts = {f"Bearer {account.token or account.id}".encode(): account for account in accounts}
        self._check = check

    def identify(self, authorization: bytes, *, audience: str = "micro") -> Account:
        """Find the account whose token, or without one whose id, is borne."""
        found = self._accounts.get(authorization)
        if found is None:
            raise Unauthenticated("invalid token provided")
        return found

    def check(self, account: Account | None, namespace: str, service: str, endpoint: str) -> None:
        """Ask the test's own rule."""
        if self._check is not None:
            self._check(account, namespace, service, endpoint)

    async def prepare(self, authorization: bytes | None, namespace: str) -> None:
        """Need nothing."""
