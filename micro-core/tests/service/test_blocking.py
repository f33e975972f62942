"""The building blocks without await."""

import asyncio
import importlib
import inspect
import os
import subprocess
import sys
from collections.abc import AsyncIterable, Awaitable
from dataclasses import dataclass
from typing import Any

import pytest

import micro.auth.api
from micro import blocking
from micro.auth import Resource, Rule
from micro.blocking import Client, events, store
from micro.errors import NotFound, ServiceError


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


# what to give for an argument that must be given, by its name
GIVEN: dict[str, Any] = {
    "account": None,
    "function": lambda value: value,
    "ids": ["1"],
    "name": "one",
    "payloads": [1],
    "resource": "store",
    "rule": Rule("one", Resource("service", "orders")),
    "service": "one",
    "start": None,
    "T": Note,
    "type_": Note,
    "version": 1,
}  # fmt: skip
CLASSES = {"accounts": micro.auth.api.Accounts, "rules": micro.auth.api.Rules}


def _functions(module: str):
    """Give the public functions of a blocking module and of its parts, each with the one it was made from."""
    made, origin = getattr(blocking, module), importlib.import_module(f"micro.{module}")
    for name in origin.__all__:
        value = getattr(origin, name)
        if inspect.isfunction(value):
            yield f"{module}.{name}", getattr(made, name), value
        elif name in CLASSES:
            for method, function in inspect.getmembers(CLASSES[name], inspect.isfunction):
                if not method.startswith("_"):
                    yield f"{module}.{name}.{method}", getattr(getattr(made, name), method), function
        else:
            assert inspect.isclass(value), f"{module}.{name} is a part that nobody looks at here"


def _try(name: str, function: Any, origin: Any) -> None:
    wanted = inspect.signature(origin).parameters.values()
    must = [each for each in wanted if each.default is each.empty and each.kind is each.POSITIONAL_OR_KEYWORD]
    try:
        result = function(*(GIVEN.get(each.name, "x") for each in must if each.name != "self"))
    except ServiceError:
        return  # it was waited for
    assert not isinstance(result, Awaitable | AsyncIterable), f"{name} gives {result!r}"


@pytest.mark.parametrize("module", blocking.MODULES)
async def test_no_function_gives_what_must_be_awaited(micro, module, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # some write a file of the name that they are given
    async with micro.service(Notes()):
        names = []

        def walk() -> None:
            for name, function, origin in _functions(module):
                names.append(name)
                _try(name, function, origin)

        await asyncio.wait_for(asyncio.to_thread(walk), 20)
        assert names


class Rooms:
    @blocking.auth.require("guest")
    def enter(self) -> str:
        """Write down who has come, the blocking way, which a function called within a loop could not."""
        store.write("guest", blocking.auth.current().id)
        return store.get("guest", str)


async def test_what_decorates_an_endpoint_leaves_it_a_plain_function(micro):
    async with micro.service(Rooms()) as rooms:
        with micro.account("ann", scopes=["guest"]):
            assert await rooms.enter() == "ann"
