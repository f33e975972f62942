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


class Kept(NamedTuple):
    """A handle, and what was known of its instance: when its service began, and when it was last told to be running."""

    handle: Handle
    began: float  # seconds since 1970
    ran: float = 0.0  # likewise; 0 while it was not known to run


class Left(NamedTuple):
    """What an earlier runtime has left: the instances that run on, and those that have ended since."""

    alive: dict[Which, dict[Place, Kept]]
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


def dump(which: Which, place: Place, kept: Kept) -> bytes:
    """Write a record."""
    (namespace, key), (round, number) = which, place
    facts = {"namespace": namespace, "key": key, "number": number, "round": round}
    known = {"id": kept.handle.id, "state": kept.handle.state, "began": kept.began, "ran": kept.ran}
    return json.dumps(facts | known).encode()


async def adopt(store: Store, engine: Engine) -> Left:
    """Take over what an earlier process started, and forget what has ended."""
    known: list[tuple[Which, Place, Kept, str]] = []
    async for record in store.scan(HANDLES):
        item = json.loads(record.value)
        kept = Kept(Handle(item["id"], item["state"]), item.get("began", 0.0), item.get("ran", 0.0))
        known.append(((item["namespace"], item["key"]), (item["round"], item["number"]), kept, record.key))
    alive = await engine.adopt([kept.handle for _, _, kept, _ in known])
    left = Left({}, {})
    for which, place, kept, key in known:
        if any(kept.handle is one for one in alive):
            left.alive.setdefault(which, {})[place] = kept
        else:
            left.ended.setdefault(which, set()).add(place)
            await store.delete(key)
    return left


def of_round(handles: dict[Place, Kept], round: int) -> dict[int, Kept]:
    """Take the instances of one round out, by their numbers."""
    mine: Iterable[Place] = [place for place in handles if place[0] == round]
    return {place[1]: handles.pop(place) for place in mine}
