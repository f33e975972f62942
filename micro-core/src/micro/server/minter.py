"""Core tokens, minted in a process that lives for a moment: no process that serves ever had the key in its memory.

The supervisor forks, so what it holds its children hold. The minter is forked instead: it reads (or makes) the
signing key, writes each child its token into the child's own pipe, and is gone.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from micro.context import CORE_NAMESPACE

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

LIFE = 600  # seconds that a core token is good
RENEW = 240.0  # seconds between renewals: one may fail, and be tried again, before anything expires
SKEW = 5  # seconds before now that a token is good from


def claims(name: str, now: int, life: int = LIFE) -> dict[str, Any]:
    """Give what a core service's token says."""
    return {
        "type": "service",
        "scopes": ["service"],
        "metadata": None,
        "name": name,
        "exp": now + life,
        "nbf": now - SKEW,
        "iat": now,
        "iss": CORE_NAMESPACE,
        "sub": name,
        "aud": "micro",
        "use": "access",
        "jti": secrets.token_hex(16),
    }


def sign(kid: str, key: RSAPrivateKey, payload: Mapping[str, Any]) -> str:
    """Make a JWT, RS256."""
    from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
    from cryptography.hazmat.primitives.hashes import SHA256

    from micro.server.keys import encode

    header = {"alg": "RS256", "typ": "JWT", "kid": kid}
    text = ".".join(encode(json.dumps(part, separators=(",", ":")).encode()) for part in (header, payload))
    return f"{text}.{encode(key.sign(text.encode(), PKCS1v15(), SHA256()))}"


def start(data: Path, pipes: Mapping[str, int]) -> tuple[int, int]:
    """Fork a minter that writes a token into each named pipe; gives its pid and where it says what went wrong."""
    from micro.server import process

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
    from micro.server.keys import load_or_make

    kid, key = load_or_make(data)
    now = int(time.time())
    for name, pipe in pipes.items():
        token = sign(kid, key, claims(name, now))
        with contextlib.suppress(BlockingIOError, BrokenPipeError):
            os.write(pipe, json.dumps({"token": token}).encode() + b"\n")  # under PIPE_BUF, so in one piece
