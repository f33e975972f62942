"""The two pipes between a core service's process and its supervisor; one JSON object a line.

Up:   `{"ready": true, "addresses": {…}}`, `{"registered": true}`, `{"problem": "…", "config": true}`
Down: `{"token": "…"}`, `{"go": true, "addresses": {…}}`, `{"addresses": {…}}`, `{"leaving": true}`

`alive` is the read end of a pipe whose write end only the supervisor has: it closes when the supervisor is gone.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from micro.plugin.profile import Profile

_encode, _decode = msgspec.json.Encoder().encode, msgspec.json.Decoder().decode


class Start(NamedTuple):
    """What a core service's process is told by its fork.

    `pinned` are this service's own addresses of its last life, so that a port chosen by 0 is kept; `up`, `down` and
    `alive` are descriptors. It may import at once, and opens things when it is told to go.
    """

    name: str
    profile: Profile
    data: Path
    pinned: Mapping[str, str]
    up: int
    down: int
    alive: int
    grace: float


class Lines:
    """JSON lines of a descriptor that does not block, as they come."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.ended = False
        self._rest = b""

    def read(self) -> list[dict[str, Any]]:
        """Give the whole lines that are there now; lines that are no JSON object are left out."""
        found: list[dict[str, Any]] = []
        while not self.ended:
            try:
                part = os.read(self.fd, 65536)
            except BlockingIOError:
                break
            if not part:
                self.ended = True
                break
            *lines, self._rest = (self._rest + part).split(b"\n")
            for line in lines:
                try:
                    message = _decode(line)
                except (msgspec.DecodeError, UnicodeDecodeError):
                    continue
                if isinstance(message, dict):
                    found.append(message)
        return found


def say(fd: int, **message: Any) -> bool:
    """Write one line; False when the other side reads no more, or not now."""
    if fd < 0:
        return False
    try:
        os.write(fd, _encode(message) + b"\n")
    except (BlockingIOError, BrokenPipeError):
        return False
    return True
