"""The building blocks without await."""

import asyncio
import os
import subprocess
import sys
from dataclasses import dataclass

import pytest

from micro.blocking import Client, events, store
from micro.errors import NotFound


@dataclass
class Note:
    text: str


class Notes:
    def keep(self, note: Note) -> list[str]:
        """Keep a note, the blocking way, on the handler's thread."""
        store.write("a", note)
        with store.batch() as batch:
            batch.write("b", note)
        events.publish("notes", note)
        assert store.get("a", Note) == note
        assert store.table("other").list() == []
        with pytest.raises(NotFound):
            store.read("missing")
        assert [record.key for record in store.scan()] == ["a", "b"]
        return store.list()

    def twice(self, note: Note) -> list[str]:
        return Client("notes").call("Notes.Keep", note, list[str])


async def test_a_plain_function_uses_them_on_its_thread(micro):
    async with micro.service(Notes()) as notes:
        assert await notes.keep(Note("x")) == ["a", "b"]
        assert [note.text for note in await micro.published("notes", Note)] == ["x"]
        assert await notes.twice(Note("y")) == ["a", "b"]


async def test_they_refuse_inside_a_running_loop():
    with pytest.raises(RuntimeError, match="use the async functions"):
        store.read("a")


async def test_a_script_is_told_at_once_that_there_is_no_server(tmp_path):
    script = "from micro.blocking import store\ntry: store.write('a', 1)\nexcept Exception as err: print(err)"
    env = {"PATH": os.defpath, "MICRO_DATA": str(tmp_path), "MICRO_PROXY": "127.0.0.1:9"}
    done = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", script], env=env, capture_output=True, text=True, timeout=30, check=True
    )
    assert done.stdout.strip() == (
        "store.write: unavailable: no micro server at 127.0.0.1:9; start one with 'micro server'"
    )
    assert done.stderr == ""
