"""Noise on the wire: bytes, frames, mutated sessions, gRPC framing. A seed repeats what a run has found.

`MICRO_FUZZ_SECONDS` is the time for all of it, ten seconds where it is not set; `MICRO_FUZZ_SEED` the seed.
"""

import asyncio
import os
import random
import socket
import time

import pytest

from micro.testing import attacks as h2
from micro.testing.echo import KINDS, path

SECONDS = float(os.environ.get("MICRO_FUZZ_SECONDS", "10"))
SEED = int(os.environ.get("MICRO_FUZZ_SEED", "0")) or random.SystemRandom().randrange(1, 2**31)
PATHS = [*(path(name) for name in KINDS), b"/x/y", b"bad"]
HELLO = h2.PREFACE + h2.settings()


def some_bytes(chance: random.Random) -> bytes:
    return (HELLO if chance.random() < 0.8 else b"") + chance.randbytes(chance.randint(1, 4000))


def some_frames(chance: random.Random) -> bytes:
    def one() -> bytes:
        kind = chance.choice([*range(11), 255])
        stream = chance.choice([0, 1, 3, 5, 7, 2, 2**31 - 1])
        if kind == h2.HEADERS and chance.random() < 0.7:
            return h2.headers(stream, h2.request(chance.choice(PATHS)), end=chance.random() < 0.3)
        return h2.frame(kind, chance.randrange(256), stream, chance.randbytes(chance.choice([0, 4, 5, 8, 9, 40, 300])))

    return HELLO + b"".join(one() for _ in range(chance.randint(1, 60)))


def a_mutated_session(chance: random.Random) -> bytes:
    calls = range(1, 2 * chance.randint(1, 5), 2)
    raw = bytearray(HELLO + b"".join(h2.call(s, chance.choice(PATHS), b"1 1" * chance.randint(0, 500)) for s in calls))
    for _ in range(chance.randint(1, 6)):
        at = chance.randrange(len(h2.PREFACE), len(raw))
        match chance.randrange(4):
            case 0:
                raw[at] = chance.randrange(256)
            case 1:
                del raw[at : at + chance.randint(1, 20)]
            case 2:
                raw[at:at] = raw[at : at + chance.randint(1, 40)]
            case 3:
                raw[at] ^= 1 << chance.randrange(8)
    return bytes(raw)


def some_grpc(chance: random.Random) -> bytes:
    raw = HELLO
    for stream in (1, 3, 5):
        extra = [(b"grpc-encoding", chance.choice([b"gzip", b"identity", b"br"]))] if chance.random() < 0.3 else []
        raw += h2.headers(stream, h2.request(chance.choice(PATHS), extra))
        body = chance.randbytes(chance.randint(0, 500))
        if chance.random() < 0.5:
            body = h2.message(body, flag=chance.choice([0, 0, 1, 2]), length=chance.choice([None, 0, 3, 2**32 - 1]))
        raw += h2.data(stream, body, end=chance.random() < 0.7)
    return raw[: -chance.randint(1, 40)] if chance.random() < 0.3 else raw


def shout(address: str, make, seconds: float) -> int:
    """Open connection after connection, each with noise of its own; gives how many."""
    chance = random.Random(SEED)
    host, _, port = address.rpartition(":")
    end, count = time.monotonic() + seconds, 0
    while time.monotonic() < end:
        count += 1
        with socket.create_connection((host, int(port)), 3) as peer:
            peer.settimeout(0.05)
            try:
                raw = make(chance)
                cut = chance.randrange(len(raw)) if chance.random() < 0.3 else len(raw)
                peer.sendall(raw[:cut])
                peer.sendall(raw[cut:])
                if chance.random() < 0.2:
                    peer.recv(65536)
            except OSError:
                continue  # it hung up, or had nothing to say: both are its right
    return count


@pytest.mark.timeout(60 + SECONDS)
@pytest.mark.parametrize("make", [some_bytes, some_frames, a_mutated_session, some_grpc])
async def test_noise_harms_nobody_else(public, make):
    print(f"MICRO_FUZZ_SEED={SEED}")
    async with public.unharmed():
        count = await asyncio.to_thread(shout, public.address, make, SECONDS / 4)
    print(f"{count} connections, {public.memory():.1f} MiB")
    assert count > 20
