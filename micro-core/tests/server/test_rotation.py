"""Signing keys are rotated without a gap: a new one is known before it signs, an old one after it has signed."""

import asyncio
import os
import stat
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import jwt
import pytest

from micro.auth import store as auth_store
from micro.auth.driver import AuthDriver, Credentials
from micro.auth.guard import AuthGuard
from micro.auth.store import StoreAuth
from micro.auth.tokens import LIFE, SECRET, load_keys, load_public
from micro.context import Account
from micro.server import folder, keys
from micro.store.api import Store
from micro.store.memory import MemoryStore


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder.prepare(tmp_path / "data")
    keys.load_or_make(tmp_path / "data")
    return tmp_path / "data"


def kid_of(token: str) -> str:
    return str(jwt.get_unverified_header(token)["kid"])


def signing(data: Path) -> list[str]:
    return [key.kid for key in load_keys(data / "keys")]


def known(data: Path) -> set[str]:
    return {path.stem for path in (data / "keys").glob("*.pub")}


class TestFiles:
    def test_a_key_is_announced_then_signs_and_the_old_one_is_forgotten(self, data: Path) -> None:
        (old,) = signing(data)
        new = keys.announce(data)
        assert signing(data) == [old]
        assert known(data) == {old, new}
        assert stat.S_IMODE((data / "keys" / f"{new}.next").stat().st_mode) == 0o600
        keys.promote(data, new)
        assert signing(data) == [new]
        assert known(data) == {old, new}
        assert not list((data / "keys").glob("*.next"))
        assert keys.load_or_make(data).kid == new

    def test_the_new_key_signs_even_if_the_clock_went_back(self, data: Path) -> None:
        (old,) = signing(data)
        ahead = time.time() + 86_400
        os.utime(data / "keys" / f"{old}.pem", (ahead, ahead))
        new = keys.announce(data)
        stamp = (data / "keys" / f"{old}.pem").stat().st_mtime_ns
        keys.promote(data, new)
        assert (data / "keys" / f"{new}.pem").stat().st_mtime_ns > stamp

    def test_what_was_broken_off_goes_on(self, data: Path) -> None:
        new = keys.announce(data)
        (data / "keys" / f"{new}.pub").unlink()  # as if broken off between the two files
        assert keys.announce(data) == new
        assert new in known(data)
        keys.promote(data, new)
        with pytest.raises(folder.FolderError, match="another command"):
            keys.promote(data, new)

    def test_an_announced_key_that_others_may_read_refuses_the_start(self, data: Path) -> None:
        new = keys.announce(data)
        (data / "keys" / f"{new}.next").chmod(0o644)
        with pytest.raises(folder.FolderError, match="chmod 600"):
            keys.check(data)

    def test_a_public_key_goes_when_the_last_token_it_verifies_has_ended(self, data: Path) -> None:
        (first,) = signing(data)
        second = keys.announce(data)
        keys.promote(data, second)
        third = keys.announce(data)
        long_ago = time.time() - LIFE[SECRET]
        os.utime(data / "keys" / f"{first}.pub", (long_ago, long_ago))
        os.utime(data / "keys" / f"{second}.pub", (0, 0))  # it signs: no matter how old the file is
        os.utime(data / "keys" / f"{third}.pub", (0, 0))
        keys.promote(data, third)
        assert known(data) == {first, second, third}
        ended = time.time() - LIFE[SECRET] - 3 * keys.DAY
        os.utime(data / "keys" / f"{first}.pub", (ended, ended))
        keys.promote(data, keys.announce(data))
        assert first not in known(data)
        assert {second, third} <= known(data)


class Counting(StoreAuth, interface=1):
    """Counts who asks for the keys."""

    asked = 0

    async def keys(self) -> str:
        self.asked += 1
        return await super().keys()


@pytest.fixture
async def auth(data: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Counting]:
    monkeypatch.setattr(auth_store, "ANNOUNCE_EVERY", 0.01)
    async with Counting(store=Store(MemoryStore(), plugin="memory"), keys=data / "keys") as made:
        await made.create(Account("ann", issuer="shop"), "hunter2")
        yield made


@pytest.fixture
async def guard(data: Path, auth: AuthDriver) -> AsyncIterator[AuthGuard]:
    made = AuthGuard("orders", "shop", lambda: load_public(data / "keys"), driver=auth)
    await made.start()
    await made.prepare(None, "shop")
    yield made
    await made.close()


async def until(what: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not what():
            await asyncio.sleep(0.005)


class TestWhoFollows:
    async def test_it_knows_a_key_before_it_signs_and_after(self, data: Path, auth: Counting, guard: AuthGuard) -> None:
        async def borne() -> bytes:
            token = await auth.token("shop", Credentials("ann", "hunter2"), ttl=900)
            return f"Bearer {token.access_token}".encode()

        before = await borne()
        await until(lambda: signing(data)[0] in guard._keys)
        new = await asyncio.to_thread(keys.announce, data)
        await until(lambda: new in guard._keys)
        between = await borne()
        await asyncio.to_thread(keys.promote, data, new)
        after = await borne()
        assert [kid_of(one.decode()[7:]) == new for one in (before, between, after)] == [False, False, True]
        for one in (before, between, after):
            assert guard.identify(one).id == "ann"
            assert (await auth.inspect(one.decode()[7:])).id == "ann"
        assert auth.asked == 0
        assert new in await auth.keys()

    async def test_a_key_that_was_thrown_away_is_known_no_more(
        self, data: Path, auth: Counting, guard: AuthGuard
    ) -> None:
        (old,) = signing(data)
        new = await asyncio.to_thread(keys.announce, data)
        await until(lambda: old in guard._keys and new in guard._keys)
        await asyncio.to_thread(keys.promote, data, new)
        (data / "keys" / f"{old}.pub").unlink()
        await until(lambda: old not in guard._keys)
        assert old not in load_public(data / "keys")
