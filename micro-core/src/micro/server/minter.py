"""Core tokens, minted in a process that lives for a moment: no process that serves ever had the key in its memory.

The supervisor forks, so what it holds its children hold. The minter is forked instead: it reads (or makes) the
signing key, writes each child its token into the child's own pipe, and is gone.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from micro.server import keys, process

if TYPE_CHECKING:
    from micro.auth.tokens import SigningKey

LIFE = 600  # seconds that a core token is good
RENEW = 240.0  # seconds between renewals: one may fail, and be tried again, before anything expires


def token(name: str, key: SigningKey) -> str:
    """Make a core service's token."""
    from micro.auth import tokens

    return tokens.sign(tokens.claims(name, type="service", scopes=["service"], ttl=LIFE), key)


def start(data: Path, pipes: Mapping[str, int]) -> tuple[int, int]:
    """Fork a minter that writes a token into each named pipe; gives its pid and where it says what went wrong."""
    reading, writing = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)

    def run() -> int:
        try:
            mint(data, pipes)
        except Exception as exc:  # whatever it is, the supervisor has to say it
            with contextlib.suppress(OSError):
                os.write(writing, f"{type(exc).__name__}: {exc}"[:1000].encode())
            return 1
        return 0

    pid = process.fork(run, keep={writing, *pipes.values()}, title="micro-minter", death=signal.SIGKILL)
    os.close(writing)
    return pid, reading


def mint(data: Path, pipes: Mapping[str, int]) -> None:
    """Write a token into each pipe. A pipe that is full has a reader that hangs; it is left out."""
    key = keys.load_or_make(data)
    for name, pipe in pipes.items():
        with contextlib.suppress(BlockingIOError, BrokenPipeError):
            # under PIPE_BUF, so in one piece
            os.write(pipe, json.dumps({"token": token(name, key)}).encode() + b"\n")


def main(arguments: list[str]) -> int:
    """`python -m micro.server.minter DATA NAME`: print a token for a core service of this data folder."""
    sys.stdout.write(token(arguments[1], keys.load_or_make(Path(arguments[0]))) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
