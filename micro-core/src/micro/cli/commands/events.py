"""`micro events`: topics."""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from micro.cli import output
from micro.cli.framework import COUNT, Command, Group, session, settings
from micro.cli.session import Session
from micro.proto import events_pb2 as pb

if TYPE_CHECKING:
    from micro.events.api import Events
    from micro.events.driver import Event, Start
    from micro.events.moving import Copied


@click.group("events", cls=Group, example="micro events publish orders '{\"id\": 1}'\nmicro events read orders")
def events() -> None:
    """Publish and consume events"""


@events.command(
    "publish",
    cls=Command,
    example="micro events publish orders '{\"id\": 1}' --id order-1\ncat order.json | micro events publish orders -",
)
@click.argument("topic")
@click.argument("payload", metavar="JSON")
@click.option("--id", default="", help="publishing it again within two minutes publishes nothing")
@click.option("--key", default="", help="what keyed groups keep in order")
def publish(topic: str, payload: str, id: str, key: str) -> None:
    """Publish an event: JSON, or any other text as it is; - reads it from standard input"""
    data = sys.stdin.buffer.read() if payload == "-" else payload.encode()
    request = pb.PublishRequest(topic=topic, payload=data, id=id, key=key)
    receipt = session().core("events", "Stream.Publish", request, pb.PublishResponse)
    if settings().output:
        row = [receipt.id, str(receipt.sequence), str(receipt.duplicate).lower()]
        output.records([row], ["ID", "SEQUENCE", "DUPLICATE"], settings().output)


@events.command("read", cls=Command, example="micro events read orders\nmicro events read orders --since 1h --verbose")
@click.argument("topic")
@click.option("--after", type=COUNT, default=0, help="only above this sequence")
@click.option("--since", default="", help="of or after an instant (ISO 8601), or so long ago: 15m")
@click.option("--limit", "-l", type=COUNT, default=0, help="at most so many; all if not given")
@click.option("--newest", is_flag=True, help="newest first")
@click.option("--verbose", "-v", is_flag=True, help="with sequence, id and time")
def read(topic: str, after: int, since: str, limit: int, newest: bool, verbose: bool) -> None:
    """Print a topic's events, oldest first, one payload a line"""
    request = pb.HistoryRequest(topic=topic, after=after, limit=limit or 2**31 - 1, descending=newest)
    if since:
        request.since = _millis(since)
    rows: list[list[str]] = []
    form = settings().output or ("table" if verbose and output.on_terminal() else "")
    for page in session().core_stream("events", "Store.History", [request], pb.HistoryPage):
        for event in page.events:
            row = [str(event.sequence), event.id, event.key, _when(event.timestamp_ms), _text(event.payload)]
            if form:
                rows.append(row)
            else:
                output.say("\t".join(row) if verbose else row[-1])
    if form:
        output.records(rows, ["SEQUENCE", "ID", "KEY", "TIME", "PAYLOAD"], form)


@events.command(
    "consume", cls=Command, example="micro events consume orders\nmicro events consume orders --group audit -n 10"
)
@click.argument("topic")
@click.option("--group", "-g", default="", help="share its events with the group's other members; else all come here")
@click.option(
    "--offset", default="", help="where a new group begins: oldest, new, a sequence, an instant, or so long ago: 15m"
)
@click.option("-n", "count", type=COUNT, default=0, help="end after so many")
def consume(topic: str, group: str, offset: str, count: int) -> None:
    """Print events as they come, one payload a line; a printed event is done with"""
    import asyncio

    start, here = _start(offset), session()
    _reached(here, topic)

    async def follow() -> None:
        taken = 0
        async with _events(here) as there, there.consume(topic, group=group, start=start) as deliveries:
            async for delivery in deliveries:
                _print(delivery.event)
                taken += 1
                if taken == count:
                    return

    asyncio.run(follow())


@events.command("dead", cls=Command, example="micro events dead orders\nmicro events dead orders --replay")
@click.argument("topic")
@click.argument("ids", metavar="[ID]...", nargs=-1)
@click.option("--replay", is_flag=True, help="publish them again, or those with the ids given")
def dead(topic: str, ids: tuple[str, ...], replay: bool) -> None:
    """List a topic's dead letters: what was delivered too often without being settled"""
    here = session()
    request = pb.HistoryRequest(topic=f"{topic}.dlq", limit=2**31 - 1)
    pages = here.core_stream("events", "Store.History", [request], pb.HistoryPage)
    found = [event for page in pages for event in page.events]
    if not replay:
        rows = [
            [e.metadata["dead-id"], e.metadata["dead-group"], e.metadata["dead-deliveries"], e.metadata["dead-cause"],
             _text(e.payload)]
            for e in found if not ids or e.metadata["dead-id"] in ids or e.id in ids
        ]  # fmt: skip
        output.records(rows, ["ID", "GROUP", "DELIVERIES", "CAUSE", "PAYLOAD"], settings().output)
        return
    wanted = ids or tuple(event.id for event in found)
    if wanted:
        here.core("events", "Stream.Replay", pb.ReplayRequest(topic=topic, ids=wanted), pb.ReplayResponse)
    output.note(f"Published {len(wanted)} again.")


@events.command(
    "copy", cls=Command, example="micro events copy orders --to cloud\nmicro events copy orders orders.dlq --to cloud"
)
@click.argument("topics", metavar="TOPIC...", nargs=-1, required=True)
@click.option("--to", required=True, metavar="ENV", help="the environment to copy to; micro env lists them")
@click.option("--groups/--no-groups", default=True, help="begin there, where they are here, groups that are new there")
def copy(topics: tuple[str, ...], to: str, groups: bool) -> None:
    """Copy topics to another environment, read them back and compare; asked again it goes on where it broke off"""
    import asyncio

    from micro.events.moving import copy as copied

    here = session()
    there = Session(here.state, env=to, namespace=settings().namespace)
    rows = []
    for topic in topics:
        _reached(here, topic)
        _reached(there, topic)
        turning = output.Spinner(f"Copying {topic}")

        async def move(topic: str = topic, turning: output.Spinner = turning) -> Copied:
            async with _events(here) as source, _events(there) as target:
                told = lambda count: turning.turn(f"Copying {topic}: {count} events")  # noqa: E731 -- one expression
                return await copied(source, target, topic, groups=groups, told=told)

        try:
            found = asyncio.run(move())
        finally:
            turning.done()
        rows.append([topic, str(found.events), str(found.groups), found.sha256])
    output.records(rows, ["TOPIC", "EVENTS", "GROUPS", "SHA256"], settings().output)


@asynccontextmanager
async def _events(here: Session) -> AsyncIterator[Events]:
    """Give a platform's events."""
    from micro.events.api import Events
    from micro.events.remote import RemoteEvents
    from micro.service.process import connect

    async with connect(here.address, token=here.token, namespace=here.namespace) as process:
        events = Events(RemoteEvents(caller=process.caller), plugin="remote")
        async with events:
            yield events


def _reached(here: Session, topic: str) -> None:
    """See that the platform answers: refused and unreachable are told as every command tells them."""
    here.core("events", "Stream.Groups", pb.GroupsRequest(topic=topic), pb.GroupsResponse)


def _print(event: Event) -> None:
    if settings().output == "json":
        shown: dict[str, Any] = {"sequence": event.sequence, "id": event.id, "key": event.key}
        shown |= {
            "metadata": dict(event.metadata),
            "time": event.timestamp.isoformat(),
            "payload": _text(event.payload),
        }
        output.say(json.dumps(shown, ensure_ascii=False))
    else:
        output.say(_text(event.payload))
    sys.stdout.flush()


def _text(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return repr(data)


def _when(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _millis(text: str) -> int:
    from micro.events.wire import millis

    return max(1, millis(_instant(text, "--since")))


def _instant(text: str, flag: str) -> datetime:
    """Read an instant, or how long ago it was."""
    from micro.api.flags import seconds

    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        try:
            return datetime.fromtimestamp(datetime.now(UTC).timestamp() - seconds(text), UTC)
        except (ValueError, OverflowError, OSError):
            raise click.UsageError(
                f"{flag}: {text!r} is no instant (2030-01-31T12:00:00Z) and no time ago (15m)"
            ) from None
    return when if when.tzinfo else when.astimezone()


def _start(offset: str) -> Start:
    from micro.events.driver import Start

    if offset in {"", "new"}:
        return Start.NEW
    if offset == "oldest":
        return Start.OLDEST
    if offset.isdecimal():
        return Start(sequence=int(offset))
    return Start(since=_instant(offset, "--offset"))


COMMANDS = {"events": events}
