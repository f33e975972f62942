"""The handles of what was started, as the store keeps them, so that a later runtime finds it again."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import NamedTuple

from micro.runtime.driver import Engine, Handle
from micro.store.api import Store

HANDLES = "instance:"

Which = tuple[str, str]  # a service: its namespace, and `name:version`
Place = tuple[int, int]  # an instance of it: its round, and its number


class Left(NamedTuple):
    """What an earlier runtime has left: the instances that run on, and those that have ended since."""

    alive: dict[Which, dict[Place, Handle]]
    ended: dict[Which, set[Place]]

    def rounds(self, which: Which) -> set[int]:
        """Give the rounds that a service had instances of."""
        return {round for round, _ in (*self.alive.get(which, {}), *self.ended.get(which, ()))}

    @property
    def newest(self) -> int:
        """Give the newest round of all."""
        return max((round for which in (*self.alive, *self.ended) for round in self.rounds(which)), default=0)


def key_of(which: Which, place: Place) -> str:
    """Give a record's key."""
    return f"{HANDLES}{which[0]}:{which[1]}:{place[1]}+{place[0]}"


def dump(which: Which, place: Place, handle: Handle) -> bytes:
    """Write a record."""
    (namespace, key), (round, number) = which, place
    facts = {"namespace": namespace, "key": key, "number": number, "round": round}
    return json.dumps(facts | {"id": handle.id, "state": handle.state}).encode()


async def adopt(store: Store, engine: Engine) -> Left:
    """Take over what an earlier process started, and forget what has ended."""
    known: list[tuple[Which, Place, Handle, str]] = []
    async for record in store.scan(HANDLES):
        item = json.loads(record.value)
        handle = Handle(item["id"], item["state"])
        known.append(((item["namespace"], item["key"]), (item["round"], item["number"]), handle, record.key))
    alive = await engine.adopt([handle for _, _, handle, _ in known])
    left = Left({}, {})
    for which, place, handle, key in known:
        if any(handle is one for one in alive):
            left.alive.setdefault(which, {})[place] = handle
        else:
            left.ended.setdefault(which, set()).add(place)
            await store.delete(key)
    return left


def of_round(handles: dict[Place, Handle], round: int) -> dict[int, Handle]:
    """Take the instances of one round out, by their numbers."""
    mine: Iterable[Place] = [place for place in handles if place[0] == round]
    return {place[1]: handles.pop(place) for place in mine}
