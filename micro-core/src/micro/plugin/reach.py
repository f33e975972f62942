"""Trying backends, in a process of its own: who asks never imports a plugin, and opens nothing."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from micro.plugin import discovery
from micro.plugin.driver import Driver
from micro.plugin.portable import Portable
from micro.plugin.profile import Profile
from micro.plugin.validate import forked

LIMIT = 25.0  # seconds that a backend has; a driver's own connect time is shorter


class Reached(NamedTuple):
    """What came of trying one table's backend: `problem` is empty when it answered, within `took` seconds."""

    table: str
    plugin: str
    problem: str
    took: float


def backends(profile: Profile) -> list[Reached]:
    """Try every backend of a profile, all at once; the embedded drivers have none. Blocks."""
    kinds = [table for table in profile.tables() if _outside(table, profile.plugin(table))]
    if not kinds:
        return []
    answers = forked(lambda tell: asyncio.run(_try_all(profile, kinds, tell)), kinds)
    lost = {"problem": "the plugin ended its process", "took": 0.0}
    found = [(kind, answers.get(kind, lost)) for kind in kinds]
    facts = [(kind, each if isinstance(each, dict) else lost | {"problem": each}) for kind, each in found]
    return [Reached(kind, profile.plugin(kind), each["problem"], each["took"]) for kind, each in facts]


def _outside(table: str, plugin: str) -> bool:
    return table in discovery.BASES and bool(plugin) and not discovery.is_embedded(table, plugin)


async def _try_all(profile: Profile, kinds: list[str], tell: Callable[[str, Any], None]) -> None:
    async def one(kind: str) -> None:
        begun = time.monotonic()
        problem = await _try(profile, kind)
        tell(kind, {"problem": problem, "took": time.monotonic() - begun})

    await asyncio.gather(*map(one, kinds))


async def _try(profile: Profile, kind: str) -> str:
    name = profile.plugin(kind)
    try:
        cls = discovery.load(kind, name)
        probe = _Probe(cls.probe(profile.settings(kind, cls.settings_type)), plugin=name)
        probe.primitive = kind
        async with asyncio.timeout(LIMIT), probe:
            return ""
    except TimeoutError:
        return f"{kind}.open [{name}]: deadline exceeded: no answer in {LIMIT:g} s"
    except Exception as exc:  # a plugin may do anything
        return str(exc) or type(exc).__name__


class _Probe(Portable[Driver]):
    """Opens a driver and words its failure as a service would."""
