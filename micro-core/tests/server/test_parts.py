"""The supervisor's parts, each alone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from micro.server import layout, process, restarts, worker
from micro.server.link import Lines, say
from micro.server.loop import Loop
from micro.server.report import Report
from micro.server.worker import clean, how


def test_the_first_restart_is_at_once_and_the_next_ones_wait_longer() -> None:
    record = restarts.Restarts()
    delays = [record.died("store", now, None) for now in (0.0, 10.0, 20.0, 35.0, 45.0, 55.0)]
    assert delays[0] == 0.0
    assert all(d is not None and 0.0 <= d <= 0.1 * 2.0**n for n, d in enumerate(delays[1:], 1))


def test_a_minute_of_health_forgets_the_past() -> None:
    record = restarts.Restarts()
    record.died("store", 0.0, None)
    record.died("store", 1.0, None)
    assert record.died("store", 100.0, 30.0) == 0.0


def test_the_sixth_exit_of_one_within_half_a_minute_is_enough() -> None:
    record = restarts.Restarts()
    assert all(record.died("store", n, None) is not None for n in range(5))
    assert record.died("store", 6.0, None) is None


def test_the_twenty_first_exit_of_all_within_a_minute_is_enough() -> None:
    record = restarts.Restarts()
    assert all(record.died(f"s{n % 5}", n * 2.9, None) is not None for n in range(20))
    assert record.died("other", 59.0, None) is None


def test_the_longest_wait_is_ten_seconds() -> None:
    record = restarts.Restarts()
    delays = [record.died("store", n * 100.0, None) for n in range(100)]
    assert max(d for d in delays if d is not None) <= 10.0


def test_a_process_with_threads_must_not_fork() -> None:
    code = """
import threading, time
from micro.server import process
threading.Thread(target=time.sleep, args=(5,), daemon=True).start()
try:
    process.fork(lambda: 0, keep=())
except AssertionError as err:
    print(err, flush=True)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout == "a process with 2 threads must not fork\n"


def test_closing_all_but_some_leaves_just_those() -> None:
    code = """
import os
from micro.server import process
kept = os.open("/", os.O_RDONLY)
for _ in range(100):
    os.dup(kept)
high = os.dup2(kept, 900)
process.close_all_but({0, 1, 2, kept})
print(len(os.listdir("/proc/self/fd")) - 1, flush=True)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout == "4\n"


def test_lines_come_whole_and_rubbish_is_left_out() -> None:
    reading, writing = os.pipe2(os.O_NONBLOCK)
    lines = Lines(reading)
    os.write(writing, b'{"ready": tr')
    assert lines.read() == []
    os.write(writing, b'ue}\nrubbish\n[1]\n{"a": 1}\n')
    assert lines.read() == [{"ready": True}, {"a": 1}]
    assert say(writing, b=2)
    os.close(writing)
    assert lines.read() == [{"b": 2}]
    assert lines.ended
    os.close(reading)
    assert not say(-1, c=3)


def test_the_loop_calls_timers_in_order_and_forgets_what_is_unwatched() -> None:
    loop = Loop()
    heard: list[str] = []
    one, two = os.pipe(), os.pipe()

    def first() -> None:
        heard.append("one")
        for fd in (one[0], two[0]):
            loop.unwatch(fd)

    loop.watch(one[0], first)
    loop.watch(two[0], first)
    os.write(one[1], b"x")
    os.write(two[1], b"x")
    loop.later(0.02, lambda: heard.append("late"))
    loop.later(0.01, lambda: heard.append("soon"))
    while "late" not in heard:
        loop.turn()
    assert heard == ["one", "soon", "late"]
    loop.close()
    loop.unwatch(one[0])
    for fd in (*one, *two):
        os.close(fd)


def test_a_log_that_grew_too_big_begins_anew_and_its_end_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "LOG_LIMIT", 100)
    one = worker.Worker(layout.CORE[0], tmp_path / "registry.log")
    one.trim_log()  # nothing is there yet
    with one.log.open("ab") as log:
        log.write(b"x" * 500 + b"the end\n")
        log.flush()
        one.trim_log()
        log.write(b"and on\n")
    assert one.log.read_bytes() == b"and on\n"
    kept = tmp_path / "registry.log.1"
    assert kept.read_bytes() == b"x" * 92 + b"the end\n"
    assert kept.stat().st_mode & 0o077 == 0
    assert one.last_lines() == ["and on"]


def test_control_characters_are_shown_and_not_sent() -> None:
    assert clean("a\x1b[2Jb\x00\u202e\tü") == "a\\x1b[2Jb\\x00\\u202e\tü"
    assert how(-9) == "signal SIGKILL"
    assert how(3) == "exit 3"


def kept(**plugins: str) -> str:
    profile = SimpleNamespace(plugin=lambda name: plugins.get(name, ""))
    return Report(profile, Path("/data"))._kept()  # type: ignore[arg-type]


def test_the_banner_says_where_data_is_and_whether_it_survives() -> None:
    assert kept(store="memory", blobs="memory", events="memory") == "in memory: it is lost when the server stops"
    assert kept(store="sqlite", blobs="file", events="sqlite") == "in /data: it survives restarts"
    assert kept(store="redis", blobs="s3", events="nats").startswith(
        "store in redis, blobs in s3, events in nats: it surv"
    )
    assert kept(store="sqlite", blobs="file", events="memory") == (
        "store and blobs in /data: it survives restarts; events in memory: lost when the server stops"
    )


def test_where_processes_cannot_be_forked_the_server_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process.sys, "platform", "darwin")
    assert "runs on Linux so far, not on darwin" in process.supported()
