"""What messages under way may hold together, and who goes on when one has ended."""

import pytest

from micro.rpc.nghttp2 import budget as module
from micro.rpc.nghttp2.budget import SIZE, Budget

STEP = 65_536


class Arriving:
    """A stream whose message comes for as long as it is let."""

    def __init__(self, budget, stream_id):
        self.budget = budget
        self.id = stream_id
        self.taken = 0

    def release_read(self):
        if self.budget.lend(self, STEP):
            self.taken += STEP

    def take_all(self):
        before = -1
        while before != self.taken and self.taken < 8 * SIZE:
            before = self.taken
            self.release_read()


@pytest.fixture
def budget():
    return Budget()


def test_one_message_gets_all_that_it_needs(budget):
    one = Arriving(budget, 1)
    one.take_all()
    assert one.taken == 8 * SIZE


def test_others_wait_once_the_budget_is_lent(budget):
    streams = [Arriving(budget, index) for index in range(1, 41, 2)]
    for stream in streams:
        stream.take_all()
    assert streams[0].taken == 8 * SIZE
    assert [stream.taken for stream in streams[1:]] == [0] * 19


def test_small_shares_are_lent_side_by_side(budget):
    streams = [Arriving(budget, index) for index in range(1, 2 * SIZE // STEP, 2)]
    for stream in streams:
        stream.release_read()
    assert {stream.taken for stream in streams} == {STEP}


def test_every_message_has_its_turn(budget):
    streams = [Arriving(budget, index) for index in range(1, 21, 2)]
    for stream in streams:
        stream.take_all()
    for stream in streams:
        budget.repay(stream.id)
        for other in streams[streams.index(stream) + 1 :]:
            other.take_all()
    assert [stream.taken for stream in streams] == [8 * SIZE] * 10
    assert budget.lent == 0


def test_who_waits_goes_on_by_itself_when_there_is_room(budget):
    first, second = Arriving(budget, 1), Arriving(budget, 3)
    first.take_all()
    second.release_read()
    assert second.taken == 0
    budget.repay(1)
    assert second.taken == STEP


def test_a_message_that_keeps_others_waiting_must_move_on(budget, monkeypatch):
    now = 1000.0
    monkeypatch.setattr(module.time, "monotonic", lambda: now)
    first, second = Arriving(budget, 1), Arriving(budget, 3)
    first.take_all()
    now += 100
    assert budget.stalled() == 0, "nobody waits"
    second.release_read()
    assert budget.stalled() == 1
    first.release_read()
    assert budget.stalled() == 0
    now += 9
    assert budget.stalled() == 0
    now += 2
    assert budget.stalled() == 1
    budget.repay(1)
    assert budget.stalled() == 0
    assert second.taken == STEP
