"""Secrets of accounts, as they are kept: never in the clear, each in a form that says how it was made.

$argon2id$…     of people: slow to guess, and slow to check (about 19 ms), so on two threads with a short queue
sha256$<hex>    of services: 128 random bits and more need no slowness
$2a$…           bcrypt, of the original: checked, and written anew at the next login
"""

from __future__ import annotations

import asyncio
import ctypes
import hashlib
import hmac
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import TypeVar

from micro.errors import FailedPrecondition, ResourceExhausted

T = TypeVar("T")

THREADS = 2
QUEUE = 20  # that wait for a thread; at about 80 a second on two cores the last waits a quarter of a second
MEMORY = 19 * 1024  # KiB; with 2 passes and 1 lane, OWASP's least for argon2id
PASSES, LANES = 2, 1
RANDOM = 32  # characters from which on a service's secret counts as random
MAX_SECRET = 8192  # bytes: a token may be one
_PLAIN = "sha256$"


class Secrets:
    """Makes and checks stored secrets. Threads start with the first secret of a person."""

    def __init__(self) -> None:
        self._pool: ThreadPoolExecutor | None = None
        self._waiting = 0

    async def store(self, secret: str, *, service: bool) -> str:
        """Give the form to keep; ResourceExhausted when too many secrets are being made and checked."""
        if service and len(secret) >= RANDOM:
            return _plain(secret)
        return await self._on_thread(lambda: _argon2(secret))

    async def matches(self, secret: str, stored: str) -> bool:
        """Check a secret; against no stored one (an unknown account) it takes as long as against a person's."""
        if stored.startswith(_PLAIN):
            return hmac.compare_digest(_plain(secret), stored)
        if stored.startswith("$2"):
            return await self._on_thread(lambda: _matches_bcrypt(secret, stored))
        return await self._on_thread(lambda: _matches_argon2(secret, stored or _dummy()) and bool(stored))

    @staticmethod
    def outdated(stored: str) -> bool:
        """Tell whether a form should be written anew now that the secret is at hand."""
        if stored.startswith(_PLAIN):
            return False
        from argon2 import extract_parameters

        if not stored.startswith("$argon2id$"):
            return True
        found = extract_parameters(stored)
        return (found.memory_cost, found.time_cost, found.parallelism) != (MEMORY, PASSES, LANES)

    def close(self) -> None:
        """End the threads; idempotent."""
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
            self._pool = None

    async def _on_thread(self, work: Callable[[], T]) -> T:
        if self._waiting >= QUEUE + THREADS:
            raise ResourceExhausted("too many logins at once: try again in a second")
        if self._pool is None:
            self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="auth-secrets")
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, work)
        finally:
            self._waiting -= 1


def _plain(secret: str) -> str:
    return _PLAIN + hashlib.sha256(secret.encode()).hexdigest()


def _argon2(secret: str) -> str:
    import os

    from argon2.low_level import Type, hash_secret

    made = hash_secret(secret.encode(), os.urandom(16), PASSES, MEMORY, LANES, 32, Type.ID)
    return made.decode("ascii")


@cache
def _dummy() -> str:
    return _argon2("nobody's")


def _matches_argon2(secret: str, stored: str) -> bool:
    from argon2.exceptions import VerificationError
    from argon2.low_level import Type, verify_secret

    try:
        return verify_secret(stored.encode("ascii"), secret.encode(), Type.ID)
    except VerificationError:
        return False


def _matches_bcrypt(secret: str, stored: str) -> bool:
    """Ask the system's libcrypt: nothing else of ours needs bcrypt, and only moved accounts do."""
    buffer = ctypes.create_string_buffer(32_768)  # sizeof(struct crypt_data)
    made = _libcrypt()(secret.encode()[:72], stored.encode(), buffer, len(buffer))
    return made is not None and hmac.compare_digest(made, stored.encode())


@cache
def _libcrypt() -> Callable[..., bytes | None]:
    try:
        function = ctypes.CDLL("libcrypt.so.1").crypt_rn
    except (OSError, AttributeError):
        raise FailedPrecondition(
            "this secret is bcrypt's, and this system's libcrypt cannot check it: set a new secret"
        ) from None
    function.restype = ctypes.c_char_p
    function.argtypes = [ctypes.c_char_p, ctypes.c_char_p, ctypes.c_void_p, ctypes.c_int]
    return function
