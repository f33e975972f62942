"""What a person may say when starting a server, or one service, and how they are refused."""

from __future__ import annotations

import sys
from typing import NamedTuple

from micro.server.worker import clean


class Options(NamedTuple):
    """`micro server`'s and `micro service`'s flags; empty means not given.

    `address` is the proxy's for a server, the service's own for a service. `overrides` are `--set` arguments.
    `check` starts nothing; `connect` tries the backends besides.
    """

    profile: str = ""
    config: str = ""
    data: str = ""
    address: str = ""
    overrides: tuple[str, ...] = ()
    check: bool = False
    connect: bool = False

    def sets(self, service: str) -> tuple[str, ...]:
        """Give the overrides, the address among them as that of `service`."""
        return (*self.overrides, f"{service}.address={self.address}") if self.address else self.overrides


def refuse(words: str, code: int) -> int:
    """Say why it is not done, on stderr, and give the exit code back."""
    for line in words.splitlines():
        sys.stderr.write(f"{clean(line)}\n")
    return code
