"""A topic from one platform's events, or driver's, to another's: in order, a page at a time, read back and compared."""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, NamedTuple

from micro import limits
from micro.errors import Aborted, FailedPrecondition
from micro.events.driver import Event, Group, NewEvent, Start

if TYPE_CHECKING:
    from micro.events.api import Events

PAGE = 1000  # events read at once


class Copied(NamedTuple):
    """What was copied: how many events, those that were there already included, the SHA-256 of all that is not where it is, groups begun."""

    events: int
    sha256: str
    groups: int


async def copy(
    source: Events, target: Events, topic: str, *, groups: bool = True, told: Callable[[int], None] = lambda _: None
) -> Copied:
    """Copy a topic's events, with ids, keys, metadata and timestamps, and where its groups are; gives what is there then.

    What comes while it is copied is left. A copy that broke off is gone on with: what is there must be how the source begins,
    or FailedPrecondition is raised. Groups that the target has stay where they are there. `told` is called with how many
    events are copied. Raises Aborted when what is read back is not what was sent.
    """
    newest = await source.read(topic, limit=1, descending=True)
    last = newest[0].event.sequence if newest else 0
    told_of = await source.groups(topic) if groups else []
    digest, sequences = hashlib.sha256(), list[int]()
    there = _pages(target, topic)
    ahead: list[Event] | None = await anext(there, None)
    async for page in _pages(source, topic, last):
        new = page
        while new and ahead:  # what a copy before this one brought
            both = min(len(new), len(ahead))
            for mine, theirs in zip(new[:both], ahead[:both], strict=True):
                if _line(mine) != _line(theirs):
                    raise FailedPrecondition(
                        f"topic {topic!r} has other events already, from sequence {theirs.sequence} on; copy into an empty one"
                    )
            new, ahead = new[both:], ahead[both:]
            if not ahead:
                ahead = await anext(there, None)
        await _publish(target, topic, new)
        for event in page:
            digest.update(_line(event))
            sequences.append(event.sequence)
        told(len(sequences))
    if ahead:
        raise FailedPrecondition(f"topic {topic!r} has more events than its source: it is used already")
    found = await _read_back(target, topic, digest.hexdigest(), sequences)
    return Copied(len(sequences), digest.hexdigest(), await _begin(target, topic, told_of, sequences, found))


async def _pages(events: Events, topic: str, last: int | None = None) -> AsyncIterator[list[Event]]:
    after = 0
    while page := [each.event for each in await events.read(topic, after=after, limit=PAGE)]:
        after = page[-1].sequence
        whole = [event for event in page if last is None or event.sequence <= last]
        if whole:
            yield whole
        if len(whole) < len(page):
            return


async def _publish(target: Events, topic: str, events: list[Event]) -> None:
    """Append events, as many at once as go."""
    batch: list[NewEvent] = []
    size = 0
    for event in events:
        if batch and (len(batch) == limits.BATCH or size + len(event.payload) > limits.BATCH_BYTES):
            await _send(target, topic, batch)
            batch, size = [], 0
        batch.append(NewEvent(event.payload, event.id, event.key, event.metadata, event.timestamp))
        size += len(event.payload)
    if batch:
        await _send(target, topic, batch)


async def _send(target: Events, topic: str, batch: list[NewEvent]) -> None:
    receipts = await target.publish_many(topic, batch)
    twice = next((receipt.id for receipt in receipts if receipt.duplicate), None)
    if twice is not None:
        raise Aborted(
            f"event id {twice!r} came twice in topic {topic!r} within what the target remembers; go on in two minutes"
        )


async def _read_back(target: Events, topic: str, wanted: str, sequences: list[int]) -> list[int]:
    """Compare what is there; gives its sequences."""
    digest, found = hashlib.sha256(), list[int]()
    async for page in _pages(target, topic):
        for event in page[: len(sequences) - len(found)]:
            digest.update(_line(event))
            found.append(event.sequence)
        if len(found) == len(sequences):
            break
    if (len(found), digest.hexdigest()) != (len(sequences), wanted):
        raise Aborted(
            f"topic {topic!r} has {len(found)} of {len(sequences)} events there, or others; perhaps somebody else publishes"
        )
    return found


async def _begin(target: Events, topic: str, groups: list[Group], sequences: list[int], found: list[int]) -> int:
    """Begin the groups that are not there where they are at the source."""
    known = {group.name for group in await target.groups(topic)} if groups else set()
    new = [group for group in groups if group.name not in known]
    for group in new:
        done = bisect_right(sequences, group.position)
        start = Start(sequence=found[done - 1] + 1) if done else Start.OLDEST
        await target.seek(topic, group.name, start)
    return len(new)


def _line(event: Event) -> bytes:
    """Write what an event is, wherever it is: each part with its length."""
    parts = [event.id.encode(), event.key.encode(), str(round(event.timestamp.timestamp() * 1e6)).encode()]
    for name, text in sorted(event.metadata.items()):
        parts += [name.encode(), text.encode()]
    parts.append(event.payload)
    return b"".join(b"%d:" % len(part) + part for part in parts)
