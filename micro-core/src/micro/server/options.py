"""What a person may say when starting a server, or one service."""

from __future__ import annotations

from typing import NamedTuple


class Options(NamedTuple):
    """`micro server`'s and `micro service`'s flags; empty means not given.

    `address` is the proxy's for a server, the service's own for a service. `overrides` are `--set` arguments.
    """

    profile: str = ""
    config: str = ""
    data: str = ""
    address: str = ""
    overrides: tuple[str, ...] = ()
    check: bool = False

    def sets(self, service: str) -> tuple[str, ...]:
        """Give the overrides, the address among them as that of `service`."""
        return (*self.overrides, f"{service}.address={self.address}") if self.address else self.overrides
