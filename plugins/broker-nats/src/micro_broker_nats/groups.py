"""The groups of a topic: a durable consumer each, made anew under the next number when the group is moved."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any, NamedTuple
from uuid import uuid4

from micro.events.driver import Group, Rules, Start
from micro_broker_nats.connection import token
from micro_broker_nats.requests import JetStreamError, NobodyError, Requests
from micro_broker_nats.settings import NatsEventsSettings
from micro_broker_nats.topic import NS, Topic, short

OUT = 65_536  # deliveries of a group that may be unsettled, whoever has them; each member has a window besides
WAITING = 4096  # requests of a group that may wait, one or two of each member
PINNED = 10  # seconds without a sign of the one member of a keyed group that receives, until another does
IDLE = 60  # seconds that a cursor of a stream's own outlives a lost connection
NO_CONSUMER, NO_STREAM = 10014, 10059
THERE = frozenset({10148, 10013, 10105})  # a consumer of this name is there
NOTES = 7 * 86400  # seconds that a note is kept
NOBODYS = Rules(30.0, 5, keyed=False)  # of a group that was moved before anybody consumed it
ORDER = "order"  # the priority group of a keyed group's consumer


class Place(NamedTuple):
    """Where a consumer is: its name, its rules, and how far it was when it was joined."""

    name: str
    rules: Rules
    stream_seq: int  # of the last event delivered
    consumer_seq: int  # deliveries, those that came again included
    lost: int  # events asked for by number that had gone when the group began


class Groups:
    """The groups of one topic."""

    def __init__(self, topic: Topic) -> None:
        self._topic = topic
        self._requests: Requests = topic.requests

    async def join(self, group: str, start: Start, wanted: Rules, *, adopt: bool) -> Place:
        """Find a group's consumer, or make it; raises FailedPrecondition where it has other rules."""
        await self._topic.ensure()
        while True:
            found = await self._find(group)
            if found is None:
                try:
                    return await self._make(f"g~{short(group)}~0", group, await self._begin(start), wanted)
                except JetStreamError as err:
                    if err.err not in THERE:
                        raise
                    continue  # somebody else was faster: it is theirs that counts
            rules = _rules(found)
            if rules is not None:
                rules.agree(wanted, group, adopt=adopt)
                return _place(found, rules)
            # moved before anybody consumed it: the first consumer's rules count
            begin = {"deliver_policy": "by_start_sequence", "opt_start_seq": found["delivered"]["stream_seq"] + 1}
            moved = await self._replace(found, group, (begin, _gone(found)), wanted)
            if moved is not None:
                return moved

    async def private(self, start: Start, wanted: Rules) -> Place:
        """Make a cursor of a stream's own."""
        await self._topic.ensure()
        return await self._make(f"c~{uuid4().hex}", "", await self._begin(start), wanted)

    async def delete(self, name: str) -> None:
        """Remove a consumer; one that has gone is gone."""
        try:
            await self._requests.api(f"CONSUMER.DELETE.{self._topic.stream}.{name}")
        except JetStreamError as err:
            if err.err not in {NO_CONSUMER, NO_STREAM}:
                raise

    async def seek(self, group: str, start: Start | None) -> None:
        """Move a group, or forget it; what is out is of the consumer that has gone."""
        if start is None:
            for each in await self._list():
                if _group(each) == group:
                    await self.delete(each["name"])
            return
        await self._topic.ensure()
        begin = await self._begin(start)
        while True:
            found = await self._find(group)
            rules = _rules(found) if found else None
            try:
                if found is None:
                    await self._make(f"g~{short(group)}~0", group, begin, rules)
                    return
                if await self._replace(found, group, begin, rules) is not None:
                    return
            except JetStreamError as err:
                if err.err not in THERE:
                    raise

    async def describe(self) -> list[Group]:
        """Say how far each is."""
        state = await self._topic.state()
        if state is None:
            return []
        newest: dict[str, dict[str, Any]] = {}
        for each in await self._list():
            group = _group(each)
            if group and (group not in newest or _number(each) > _number(newest[group])):
                newest[group] = each
        return [self._said(name, each, state[0]) for name, each in sorted(newest.items())]

    @staticmethod
    def _said(name: str, info: Mapping[str, Any], first: int) -> Group:
        gone = max(0, first - 1 - info["delivered"]["stream_seq"])
        position = max(info["ack_floor"]["stream_seq"], first - 1 if not info["num_ack_pending"] and gone else 0)
        return Group(name, position, info["num_ack_pending"], info["num_pending"], _gone(info) + gone)

    # -- consumers

    async def _list(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        while True:
            try:
                page = await self._requests.api(f"CONSUMER.LIST.{self._topic.stream}", {"offset": len(found)})
            except JetStreamError as err:
                if err.err == NO_STREAM:
                    return []
                raise
            found += page["consumers"] or []
            if not page["consumers"] or len(found) >= page["total"]:
                return found

    async def _find(self, group: str) -> dict[str, Any] | None:
        """Give what the server says of the newest consumer of a group."""
        prefix, names = f"g~{short(group)}~", list[str]()
        while True:
            page = await self._requests.api(f"CONSUMER.NAMES.{self._topic.stream}", {"offset": len(names)})
            names += page["consumers"] or []
            if not page["consumers"] or len(names) >= page["total"]:
                break
        numbers = [int(name[len(prefix) :]) for name in names if name.startswith(prefix)]
        if not numbers:
            return None
        try:
            return await self._requests.api(f"CONSUMER.INFO.{self._topic.stream}.{prefix}{max(numbers)}")
        except JetStreamError as err:
            if err.err == NO_CONSUMER:
                return None
            raise

    async def _replace(
        self, found: Mapping[str, Any], group: str, begin: tuple[dict[str, Any], int], rules: Rules | None
    ) -> Place | None:
        """Make the next consumer of a group, then remove the one before; None when another did so first."""
        name = f"g~{short(group)}~{_number(found) + 1}"
        try:
            made = await self._make(name, group, begin, rules)
        except JetStreamError as err:
            if err.err not in THERE:
                raise
            return None
        await self.delete(found["name"])
        return made

    async def _make(self, name: str, group: str, begin: tuple[dict[str, Any], int], rules: Rules | None) -> Place:
        where, lost = begin
        known = [rules.ack_wait, rules.max_deliveries, rules.keyed] if rules else None
        config: dict[str, Any] = where | {
            "name": name,
            "ack_policy": "explicit",
            "ack_wait": int((rules.ack_wait if rules else 30.0) * NS),
            "max_deliver": -1,  # counting is ours: what the server gives up it does not bury
            "max_ack_pending": OUT,
            "max_waiting": WAITING,
            "replay_policy": "instant",
            "metadata": {"micro.group": group, "micro.rules": json.dumps(known), "micro.lost": str(lost)},
        }
        if group:
            config["durable_name"] = name
            if rules and rules.keyed:
                config |= {
                    "priority_groups": [ORDER],
                    "priority_policy": "pinned_client",
                    "priority_timeout": PINNED * NS,
                }
        else:
            config |= {"inactive_threshold": IDLE * NS, "mem_storage": True, "num_replicas": 1}
        asked = {"stream_name": self._topic.stream, "action": "create", "config": config}
        made = await self._requests.api(f"CONSUMER.CREATE.{self._topic.stream}.{name}", asked)
        return _place(made, rules or NOBODYS)

    async def _begin(self, start: Start) -> tuple[dict[str, Any], int]:
        """Say where a consumer begins, and how many events that were asked for by number had gone."""
        if start.sequence is None and start.since is None:
            return {"deliver_policy": "new"}, 0
        state = await self._topic.state() or (1, 0)
        if start.sequence is not None:
            if start.sequence <= 0:
                return {"deliver_policy": "all"}, 0
            gone = max(0, min(state[0], state[1] + 1) - start.sequence)
            return {"deliver_policy": "by_start_sequence", "opt_start_seq": start.sequence}, gone
        assert start.since is not None
        first = await self._topic.first_since(start.since)
        return {"deliver_policy": "by_start_sequence", "opt_start_seq": first or state[1] + 1}, 0


class Notes:
    """How many deliveries of an event did not count: it was fetched ahead, and given back before a handler had it.

    They are kept for a while, in the server's memory: what is lost with them is that a delivery counts which should not.
    """

    def __init__(self, requests: Requests, settings: NatsEventsSettings, namespace: str) -> None:
        self._requests = requests
        self._stream = f"micro-n~{short(namespace)}"
        self._prefix = f"micro.n.{token(namespace)}"
        self._replicas = settings.replicas
        self._made = False

    async def read(self, stream: str, consumer: str, sequence: int) -> int:
        """Give how many do not count."""
        body = json.dumps({"last_by_subj": f"{self._prefix}.{stream}.{consumer}.{sequence}"}).encode()
        try:
            found = await (await self._requests.ask(f"$JS.API.DIRECT.GET.{self._stream}", body))
        except NobodyError:
            return 0  # nothing was ever given back
        return int(found.data) if found.data.isdigit() else 0

    async def write(self, stream: str, consumer: str, counts: Mapping[int, int]) -> None:
        """Note of events how many do not count."""
        if not self._made:
            await self._make()
        answers = [
            await self._requests.ask(f"{self._prefix}.{stream}.{consumer}.{sequence}", str(number).encode())
            for sequence, number in counts.items()
        ]
        await asyncio.gather(*answers)

    async def _make(self) -> None:
        config = {
            "name": self._stream,
            "subjects": [f"{self._prefix}.>"],
            "retention": "limits",
            "storage": "memory",
            "num_replicas": self._replicas,
            "max_age": NOTES * NS,
            "max_msgs_per_subject": 1,
            "discard": "old",
            "allow_direct": True,
            "metadata": {"micro": "notes"},
        }
        await self._requests.api(f"STREAM.CREATE.{self._stream}", config)
        self._made = True


def _group(info: Mapping[str, Any]) -> str:
    return str((info["config"].get("metadata") or {}).get("micro.group", ""))


def _number(info: Mapping[str, Any]) -> int:
    return int(info["name"].rpartition("~")[2])


def _rules(info: Mapping[str, Any]) -> Rules | None:
    known = json.loads((info["config"].get("metadata") or {}).get("micro.rules", "null"))
    return Rules(known[0], known[1], known[2]) if known else None


def _gone(info: Mapping[str, Any]) -> int:
    return int((info["config"].get("metadata") or {}).get("micro.lost", 0))


def _place(info: Mapping[str, Any], rules: Rules) -> Place:
    delivered = info["delivered"]
    return Place(info["name"], rules, delivered["stream_seq"], delivered["consumer_seq"], _gone(info))
