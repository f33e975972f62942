"""Calls that are made at once go together, and each has its own answer."""

import asyncio

import pytest

from micro.errors import FailedPrecondition
from micro.plugin import gather
from micro.plugin.gather import Call, Gatherer


class Away(Exception):
    """The server is not there."""


class Server:
    """Answers each group with the group's keys, when it may."""

    def __init__(self, **how):
        self.groups = []
        self.open = asyncio.Event()
        self.open.set()
        self.failure = None
        limits = {"lanes": 1, "most": 4, "heaviest": 100} | how
        self.gatherer = Gatherer(self.run, closed=lambda: FailedPrecondition("closed"), away=(Away,), **limits)

    async def run(self, place: str, calls: list[Call[str]]) -> None:
        self.groups.append((place, [call.asked for call in calls]))
        await self.open.wait()
        if self.failure is not None:
            raise self.failure
        for call in calls:
            if not call.answer.done():
                call.answer.set_result(call.asked.upper())

    def ask(self, word: str, place: str = "p", weight: int = 1):
        return self.gatherer.ask(place, word, [word], weight)


async def test_what_is_asked_at_once_goes_together_and_the_rest_when_it_is_answered():
    server = Server()
    assert await asyncio.gather(*map(server.ask, "abcdef")) == list("ABCDEF")
    assert server.groups == [("p", list("abcd")), ("p", list("ef"))]


async def test_places_do_not_wait_for_one_another():
    server = Server()
    server.open.clear()
    asked = [server.ask("a", "p"), server.ask("b", "q")]
    await asyncio.sleep(0.01)
    assert sorted(server.groups) == [("p", ["a"]), ("q", ["b"])]
    server.open.set()
    assert await asyncio.gather(*asked) == ["A", "B"]


async def test_a_group_is_bounded_by_its_bytes_and_one_call_may_be_more():
    server = Server()
    await asyncio.gather(server.ask("a", weight=60), server.ask("b", weight=60), server.ask("c", weight=600))
    assert [group for _, group in server.groups] == [["a"], ["b"], ["c"]]


async def test_a_key_is_in_a_group_once_where_that_is_wanted():
    server = Server(distinct=True)
    await asyncio.gather(*map(server.ask, "abacb"))
    assert [group for _, group in server.groups] == [["a", "b"], ["a", "c", "b"]]


async def test_so_many_groups_of_a_place_are_at_work_at_once():
    server = Server(lanes=2, most=1)
    server.open.clear()
    asked = [server.ask(word) for word in "abc"]
    await asyncio.sleep(0.01)
    assert [group for _, group in server.groups] == [["a"], ["b"]]
    server.open.set()
    await asyncio.gather(*asked)


async def test_who_is_cancelled_leaves_at_once_and_takes_nobody_along():
    server = Server()
    server.open.clear()
    first, other, waiting = server.ask("a"), server.ask("b"), None
    await asyncio.sleep(0.01)
    waiting = server.ask("c")
    first.cancel()
    waiting.cancel()
    server.open.set()
    assert await other == "B"
    assert await server.ask("d") == "D"
    assert [group for _, group in server.groups] == [["a", "b"], ["d"]]


async def test_a_failure_is_that_of_its_group_alone():
    server = Server(most=1)
    server.failure = ValueError("no")
    first, second = server.ask("a"), server.ask("b")
    with pytest.raises(ValueError, match="no"):
        await first
    server.failure = None
    assert await second == "B"


async def test_behind_a_server_that_is_away_nobody_waits_as_long_once_more():
    server = Server(most=1)
    server.failure = Away("gone")
    first, second = server.ask("a"), server.ask("b")
    with pytest.raises(Away):
        await first
    with pytest.raises(ConnectionError, match="nothing was asked: gone"):
        await second
    server.failure = None
    assert await server.ask("c") == "C"
    assert [group for _, group in server.groups] == [["a"], ["c"]]


async def test_closing_refuses_who_waits_and_who_comes():
    server = Server(most=1)
    server.open.clear()
    asked = [server.ask("a"), server.ask("b")]
    await asyncio.sleep(0.01)
    await server.gatherer.close()
    for each in asked:
        with pytest.raises(FailedPrecondition):
            await each
    with pytest.raises(FailedPrecondition):
        server.ask("c")


async def test_places_that_nobody_asks_any_more_are_forgotten(monkeypatch):
    monkeypatch.setattr(gather, "FEW", 3)
    server = Server()
    for place in range(10):
        assert await server.ask("a", str(place)) == "A"
        await asyncio.sleep(0)
    assert len(server.gatherer._places) <= 3
