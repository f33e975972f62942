"""Logs: when a line was written, and several logs as one."""

import time
from datetime import UTC, datetime

from micro import limits
from micro.runtime import logfile
from micro.runtime.driver import LogLine


def test_a_line_has_the_time_of_the_note_that_covers_it(tmp_path, monkeypatch):
    first, second = tmp_path / "a.0.log", tmp_path / "a.1.log"
    clock = logfile.Clock()
    for now, log, text in ((1.0, first, "one"), (2.0, second, "two"), (3.0, first, "three"), (4.0, second, "four")):
        with log.open("a") as file:
            file.write(f"{text}\n")
        monkeypatch.setattr(time, "time", lambda now=now: now)
        clock.note(log)
    found = [
        line
        for log in (first, second)
        for line in logfile.read(log, since=None, count=0, instance="", unended=False)[0]
    ]
    assert [line.message for line in sorted(found, key=lambda line: line.when)] == ["one", "two", "three", "four"]


async def test_lines_of_several_logs_are_put_in_the_order_of_time(tmp_path, monkeypatch):
    now = time.time()
    said = {"0": [now + 0.04, now + 0.05], "1": [now, now + 0.045]}  # as they are read: all of one, then of the other

    async def followed(_log, _begin, instance, *, poll):
        for when in said[instance]:
            yield LogLine(f"{when - now:.3f}", datetime.fromtimestamp(when, UTC), instance)

    monkeypatch.setattr(logfile, "followed", followed)
    seen = []
    async for line in logfile.merged([(tmp_path / "a", 0), (tmp_path / "b", 0)]):
        seen.append((line.message, line.instance))
        if len(seen) == 4:
            break
    assert seen == [("0.000", "1"), ("0.040", "0"), ("0.045", "1"), ("0.050", "0")]


def test_notes_do_not_grow_for_ever_and_the_newest_stay(tmp_path, monkeypatch):
    monkeypatch.setattr(logfile, "NOTES_KEPT", 4 * limits.KIB)
    log, clock = tmp_path / "a.0.log", logfile.Clock()
    for turn in range(2000):
        with log.open("a") as file:
            file.write(f"{turn}\n")
        monkeypatch.setattr(time, "time", lambda turn=turn: float(turn))
        clock.note(log)
    notes = tmp_path / "a.0.log.times"
    assert notes.stat().st_size <= 5 * limits.KIB
    assert notes.stat().st_mode & 0o777 == 0o600
    lines = logfile.read(log, since=None, count=0, instance="", unended=False)[0]
    assert [int(line.when.timestamp()) for line in lines[-50:]] == list(range(1950, 2000))
    old = [line.when.timestamp() for line in lines]
    assert old == sorted(old)
    assert all(when >= turn for turn, when in enumerate(old)), "a line is never said to be older than it is"


async def test_a_count_is_exact_though_a_line_has_no_end_yet_and_more_is_written_meanwhile(tmp_path, monkeypatch):
    logs = [tmp_path / "one.log", tmp_path / "two.log"]
    for log in logs:
        log.write_text("".join(f"{log.stem} {n}\n" for n in range(9)) + "half")
    known = logfile.tail

    def grows(log, count):
        found = known(log, count)
        with log.open("a") as file:
            file.write(" a line\nnext\nnext\n")
        return found

    monkeypatch.setattr(logfile, "tail", grows)
    found = [line.message async for line in logfile.lines(logs, since=None, count=4, follow=False)]
    assert len(found) == 4
    assert found[-1] == "half"
    assert not any("\n" in each for each in found)
    (last,) = [line.message async for line in logfile.lines(logs[:1], since=None, count=1, follow=False)]
    assert last == "next"
