"""What every configuration does, shown through the portable class."""

from __future__ import annotations

import asyncio
import functools
import uuid
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass, field

import pytest

from micro import limits
from micro.config.api import Config
from micro.config.driver import MASK, ConfigDriver, Entry, Event
from micro.errors import (
    Aborted,
    AlreadyExists,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    ResourceExhausted,
)
from micro.plugin.driver import Change, Reset, Synced
from micro.testing import suite

needs = functools.partial(suite.needs, of="config")


@dataclass
class Limits:
    """What the typed tests keep."""

    rate: int
    burst: float = 1.0
    names: list[str] = field(default_factory=list)


class ConfigSuite(suite.Suite):
    """A configuration's behaviour. A subclass gives the fixture `driver`, opened."""

    @pytest.fixture
    async def driver(self) -> AsyncIterator[ConfigDriver]:
        """Give an open driver."""
        raise NotImplementedError  # a subclass gives it, as its docstring says
        yield

    @pytest.fixture
    async def config(self, driver: ConfigDriver) -> Config:
        """Give the portable class over it, at a namespace of the test's own."""
        return Config(driver, plugin="suite", namespace=f"n{uuid.uuid4().hex}")

    async def stored(self, driver: ConfigDriver) -> bytes | None:
        """Give all that the driver has stored, its history too; None where that cannot be looked at."""
        return None

    # values

    @pytest.mark.parametrize(
        "value", [None, True, 0, -(2**62), 1.5, "", "é😀", [], [1, [None, {"a": "b"}]], {}, {"a": {"b": {}}}], ids=repr
    )
    async def test_what_was_set_is_given(self, config: Config, value: object) -> None:
        version = await config.set("a.b", value)
        entry = await config.entry("a.b")
        assert (entry.value, type(entry.value), entry.version) == (value, type(value), version)
        assert await config.get() == {"a": {"b": value}}

    async def test_nothing_is_null_or_not_found(self, config: Config) -> None:
        with pytest.raises(NotFound):
            await config.entry("a")
        with pytest.raises(NotFound):
            await config.get("a")
        assert await config.get("a", default=5) == 5
        await config.set("b.c", 1)
        for path in ("a", "b.d", "b.c.d"):
            assert await config.entry(path) == Entry(None)
            assert await config.get(path, int, 5) == 5
            with pytest.raises(NotFound):
                await config.get(path)

    async def test_an_object_merges_leaf_by_leaf(self, config: Config) -> None:
        await config.set("a", {"b": 1, "c": {"d": 2}})
        await config.set("a", {"c": {"e": 3}, "f": 4})
        assert await config.get("a") == {"b": 1, "c": {"d": 2, "e": 3}, "f": 4}
        await config.set("", {"x": True})
        assert await config.get() == {"a": {"b": 1, "c": {"d": 2, "e": 3}, "f": 4}, "x": True}

    async def test_anything_else_takes_the_place(self, config: Config) -> None:
        await config.set("a", {"b": 1})
        await config.set("a", [1, 2])
        assert await config.get("a") == [1, 2]
        await config.set("a", [3])
        assert await config.get("a") == [3]
        await config.set("a", {"c": 1})
        assert await config.get("a") == {"c": 1}
        await config.set("a.c.d", 1)
        assert await config.get("a") == {"c": {"d": 1}}
        await config.set("a", {})
        assert await config.get("a") == {"c": {"d": 1}}

    async def test_deleting_removes_all_below(self, config: Config) -> None:
        await config.set("a", {"b": {"c": 1, "d": 2}, "e": 3})
        assert await config.delete("a.b") == 2
        assert await config.get() == {"a": {"e": 3}}
        assert await config.delete("a.b") == 0
        assert await config.delete("x.y") == 0
        assert await config.delete("") == 3
        assert await config.get() == {}

    async def test_deleting_where_nothing_was_ever_written_is_not_found(self, config: Config) -> None:
        with pytest.raises(NotFound):
            await config.delete("a")

    async def test_dots_in_keys_are_escaped(self, config: Config) -> None:
        await config.set(r"hosts.a\.example\.org.port", 1)
        await config.set(r"back\\slash", 2)
        await config.set("", {"a.b": {"c\\d": 3}})
        assert await config.get() == {"hosts": {"a.example.org": {"port": 1}}, "back\\slash": 2, "a.b": {"c\\d": 3}}
        assert await config.get(r"a\.b.c\\d") == 3

    @pytest.mark.parametrize("path", [".", "a.", ".a", "a..b", "a\\", "a\\b", "a\x00", "p" * 1025])
    async def test_a_bad_path_is_refused(self, config: Config, path: str) -> None:
        with pytest.raises(InvalidArgument):
            await config.set(path, 1)
        with pytest.raises(InvalidArgument):
            await config.get(path)
        with pytest.raises(InvalidArgument):
            await config.delete(path)

    @pytest.mark.parametrize(
        "value", [b"bytes", float("nan"), {"": 1}, {"a": {"": 1}}, ["\ud800"], object()], ids=range(6)
    )
    async def test_what_is_no_json_is_refused(self, config: Config, value: object) -> None:
        with pytest.raises(InvalidArgument):
            await config.set("a", value)

    async def test_the_whole_tree_is_an_object(self, config: Config) -> None:
        with pytest.raises(InvalidArgument):
            await config.set("", 5)

    async def test_a_tree_has_its_limits(self, config: Config) -> None:
        deep: object = 1
        for _ in range(limits.CONFIG_DEPTH):
            deep = {"d": deep}
        await config.set("", deep)
        with pytest.raises(ResourceExhausted):
            await config.set("a", deep)
        await config.set("big", "x" * (limits.CONFIG_TREE // 2))
        with pytest.raises(ResourceExhausted):
            await config.set("other", "x" * (limits.CONFIG_TREE // 2))
        with pytest.raises(ResourceExhausted):
            await config.set("other", "x" * limits.CONFIG_TREE)
        assert set(await config.get()) == {"d", "big"}

    async def test_namespaces_stay_apart(self, config: Config) -> None:
        names = [config.namespace, f"{config.namespace}a", f"{config.namespace}.a", config.namespace.upper()]
        for name in names:
            await config.at(name).set("a", name)
        for name in names:
            assert await config.at(name).get() == {"a": name}

    async def test_values_are_given_as_types(self, config: Config) -> None:
        await config.set("limits", Limits(5, names=["a"]))
        assert await config.get("limits", Limits) == Limits(5, 1.0, ["a"])
        assert await config.get("limits.rate", int) == 5
        await config.set("word", "5")
        assert await config.get("word", str) == "5"
        with pytest.raises(InvalidArgument):
            await config.get("limits.rate", str)
        with pytest.raises(InvalidArgument):
            await config.get("word", Limits)

    async def test_sets_at_once_lose_nothing(self, config: Config) -> None:
        await asyncio.gather(*(config.set(f"k{n}", n) for n in range(10)))
        assert await config.get() == {f"k{n}": n for n in range(10)}

    # versions

    async def test_a_paths_version_is_its_last_change(self, config: Config) -> None:
        assert [await config.set("a.b", 1), await config.set("a.c", 2), await config.set("d", 3)] == [1, 2, 3]
        assert [(await config.entry(path)).version for path in ("", "a", "a.b", "a.c", "d")] == [3, 2, 1, 2, 3]
        await config.delete("a.b")
        assert [(await config.entry(path)).version for path in ("", "a", "a.b", "a.c")] == [4, 4, 0, 2]

    @needs("conditions")
    async def test_a_set_at_an_old_version_is_aborted(self, config: Config) -> None:
        old = await config.set("a.b", 1, if_version=0)
        await config.set("other", 1)
        new = await config.set("a.b", 2, if_version=old)
        for path in ("a.b", "a"):
            with pytest.raises(Aborted):
                await config.set(path, {"x": 3}, if_version=old)
            with pytest.raises(Aborted):
                await config.delete(path, if_version=old)
            with pytest.raises(AlreadyExists):
                await config.set(path, 3, if_version=0)
        with pytest.raises(Aborted):
            await config.set("absent", 1, if_version=new)
        assert await config.get("a.b") == 2
        await config.delete("a.b", if_version=new)

    @needs("conditions")
    async def test_of_many_conditional_sets_one_wins(self, config: Config) -> None:
        results = await asyncio.gather(*(config.set("a", n, if_version=0) for n in range(8)), return_exceptions=True)
        assert sorted(type(r).__name__ for r in results) == ["AlreadyExists"] * 7 + ["int"]

    # history

    @needs("history")
    async def test_history_tells_what_a_path_was(self, config: Config) -> None:
        await config.set("a.b", 1)
        await config.set("c", 0)
        await config.set("a.b", 2)
        await config.delete("a")
        await config.set("a.b", 3)
        assert [(e.value, e.version) for e in await config.history("a.b")] == [(3, 5), (None, 4), (2, 3), (1, 1)]
        assert [e.version for e in await config.history("c")] == [2]
        assert [e.version for e in await config.history()] == [5, 4, 3, 2, 1]
        assert [e.value for e in await config.history("a", limit=2)] == [{"b": 3}, None]
        assert await config.history("x") == []
        with pytest.raises(InvalidArgument):
            await config.history("a", limit=0)

    @needs("history")
    async def test_history_goes_back_a_hundred_versions(self, config: Config) -> None:
        for n in range(110):
            await config.set("a", n)
        found = await config.history("a", limit=1000)
        assert [e.value for e in found[:100]] == list(range(109, 9, -1))
        assert len(found) <= 103

    @needs("history")
    async def test_a_rollback_brings_a_version_back(self, config: Config) -> None:
        await config.set("a", {"b": 1, "c": 2})
        await config.set("a", {"b": 5, "d": 4})
        await config.set("x", 1)
        assert await config.rollback("a", 1) == 4
        assert await config.get() == {"a": {"b": 1, "c": 2}, "x": 1}
        assert await config.rollback("x", 2) == 5
        assert await config.rollback("x", 2) == 0
        assert await config.get() == {"a": {"b": 1, "c": 2}}
        assert await config.rollback("", 3) == 6
        assert await config.get() == {"a": {"b": 5, "c": 2, "d": 4}, "x": 1}
        for version in (0, 7):
            with pytest.raises(NotFound):
                await config.rollback("a", version)

    # secrets

    @needs("secrets")
    async def test_a_secret_is_shown_to_whoever_asks_for_it(self, config: Config) -> None:
        await config.set("db", {"user": "u", "auth": {"password": "p", "pins": [1, 2]}}, secret=False)
        await config.set("db.auth", {"password": "s3cret", "pins": [3]}, secret=True)
        assert await config.get("db") == {"user": "u", "auth": {"password": MASK, "pins": MASK}}
        assert await config.get("db.auth.password") == MASK
        assert await config.get("db", secret=True) == {"user": "u", "auth": {"password": "s3cret", "pins": [3]}}
        assert await config.get("db.auth.pins", list[int], secret=True) == [3]
        entry = await config.entry("db")
        assert set(entry.secret_paths) == {("auth", "password"), ("auth", "pins")}
        assert (await config.entry("db.auth.password")).secret_paths == ((),)

    @needs("secrets")
    async def test_a_leaf_set_again_is_no_secret_any_more(self, config: Config) -> None:
        await config.set("a", 1, secret=True)
        await config.set("a", 2)
        entry = await config.entry("a")
        assert (entry.value, tuple(entry.secret_paths)) == (2, ())

    @needs("secrets", "history", "watch")
    async def test_secrets_are_masked_in_histories_and_watches(self, config: Config) -> None:
        await config.set("a", "one", secret=True)
        await config.set("a", "two", secret=True)
        assert [e.value for e in await config.history("a")] == [MASK, MASK]
        async with aclosing(config.watch("")) as values:
            assert await anext(values) == {"a": MASK}
        await config.rollback("a", 1)
        assert await config.get("a", secret=True) == "one"
        assert await config.get("a") == MASK

    @needs("secrets")
    async def test_nothing_stored_shows_a_secret(self, config: Config) -> None:
        await config.set("open", "read-by-anybody")
        await config.set("db", {"password": "hunter2hunter2", "pins": [777123]}, secret=True)
        await config.set("db.password", "second-secret", secret=True)
        stored = await self.stored(config.driver)
        if stored is not None:
            assert b"read-by-anybody" in stored
            for clear in (b"hunter2", b"777123", b"second-secret"):
                assert clear not in stored

    # watching

    @needs("watch")
    async def test_a_watch_gives_the_value_and_what_it_becomes(self, config: Config) -> None:
        async with aclosing(config.watch("limits", Limits, Limits(0))) as values:
            assert await anext(values) == Limits(0)
            await config.set("limits.rate", 1)
            assert await anext(values) == Limits(1)
            await config.set("other", 1)
            await config.set("limits", {"rate": 2, "burst": 3})
            assert await anext(values) == Limits(2, 3)
            await config.delete("limits")
            assert await anext(values) == Limits(0)
        async with aclosing(config.watch("other", int)) as numbers:
            assert await anext(numbers) == 1

    @needs("watch")
    async def test_a_watch_of_changes_keeps_the_order(self, config: Config) -> None:
        await config.set("a.b", 1)
        async with aclosing(config.changes("a")) as events:
            assert shown(await anext(events)) == ("put", "a", {"b": 1}, 1)
            assert isinstance(await anext(events), Synced)
            await config.set("x", 1)
            await config.set("a.c", 2)
            assert shown(await anext(events)) == ("put", "a", {"b": 1, "c": 2}, 3)
            await config.delete("")
            assert shown(await anext(events)) == ("delete", "a", None, 4)
            await config.set("x", 2)
            await config.set("a", 3)
            assert shown(await anext(events)) == ("put", "a", 3, 6)

    @needs("watch")
    async def test_a_watch_resumes_after_a_version(self, config: Config) -> None:
        seen = await config.set("a", 1)
        await config.set("b", 1)
        async with aclosing(config.changes("a", after=seen)) as events:
            assert isinstance(await anext(events), Synced)
        await config.set("a", 2)
        async with aclosing(config.changes("a", after=seen)) as events:
            assert shown(await anext(events)) == ("put", "a", 2, 3)
            assert isinstance(await anext(events), Synced)
        await config.delete("a")
        async with aclosing(config.changes("a", after=3)) as events:
            assert shown(await anext(events)) == ("delete", "a", None, 4)
        async with aclosing(config.changes("b", after=1000)) as events:
            assert isinstance(await anext(events), Reset)
            assert shown(await anext(events)) == ("put", "b", 1, 2)

    @needs("watch")
    async def test_a_namespace_never_written_can_be_watched(self, config: Config) -> None:
        await config.at(f"{config.namespace}x").set("a", "of another")
        async with aclosing(config.changes("a")) as events:
            synced = await anext(events)
            assert isinstance(synced, Synced)
            assert synced.version == 0
            await config.set("a", 1)
            assert shown(await anext(events)) == ("put", "a", 1, 1)

    # its life

    async def test_a_closed_configuration_refuses(self, config: Config) -> None:
        await config.set("a", 1)
        await config.close()
        await config.close()
        with pytest.raises(FailedPrecondition):
            await config.get("a")
        with pytest.raises(FailedPrecondition):
            await config.set("a", 1)


def shown(event: Event) -> tuple[str, str, object, int]:
    """Give a change's kind, path, value and version."""
    assert isinstance(event, Change)
    return event.kind, event.key, event.item.value if event.item else None, event.version
