"""`verify` asks auth once, then decides by the rules that it follows."""

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest

from micro.auth import verdicts
from micro.auth.api import Auth
from micro.auth.driver import DENIED, Event, Resource, Rule
from micro.auth.follow import STALE
from micro.auth.store import StoreAuth
from micro.context import Account
from micro.errors import PermissionDenied, Unauthenticated, Unavailable
from micro.store.api import Store

ANN = Account("ann", issuer="shop", scopes=("writer",))
PLACE = "service:orders:Orders.Place"


class Counted(StoreAuth, interface=1):
    """Counts who asks for the rules; its watch can be held up, and cut."""

    def __init__(self, *, store: Store) -> None:
        super().__init__(store=store)
        self.asked = 0
        self.away = False
        self.telling = asyncio.Event()
        self.telling.set()

    async def rules(self, namespace: str) -> list[Rule]:
        self.asked += 1
        if self.away:
            raise Unavailable("away")
        return await super().rules(namespace)

    async def watch(self, namespace: str, *, after: int | None = None) -> AsyncIterator[Event]:
        if self.away:
            raise Unavailable("away")
        async for event in super().watch(namespace, after=after):
            await self.telling.wait()
            if self.away:
                raise Unavailable("away")
            yield event


@pytest.fixture
async def driver(store: Store, driver: StoreAuth) -> AsyncIterator[Counted]:
    made = Counted(store=store)
    made._keyring = driver._keyring
    async with made:
        yield made


@pytest.fixture
async def auth(driver: Counted) -> AsyncIterator[Auth]:
    async with Auth(driver, namespace="shop") as made:
        yield made


async def asks_nobody(auth: Auth, driver: Counted) -> None:
    """Verify until it is decided here; then expect that nothing is asked any more."""
    async with asyncio.timeout(10):
        while True:
            before = driver.asked
            await auth.verify(ANN, PLACE)
            if driver.asked == before:
                return
            await asyncio.sleep(0)


class TestFollowed:
    async def test_it_stops_asking(self, auth: Auth, driver: Counted) -> None:
        await asks_nobody(auth, driver)
        before = driver.asked
        for n in range(100):
            await auth.verify(Account(f"a{n}", issuer="shop"), f"service:s{n}:Any.Thing")
            with pytest.raises(Unauthenticated):
                await auth.verify(None, PLACE)
        assert driver.asked == before

    async def test_what_is_known_of_one_is_not_anothers(self, auth: Auth, driver: Counted) -> None:
        await auth.rules.delete("default")
        await auth.rules.create(Rule("r", "writer", Resource("orders")))
        await asks_nobody(auth, driver)
        for other in (Account("ann", issuer="shop"), Account("ann", issuer="sho", scopes=("writer",))):
            with pytest.raises(PermissionDenied):
                await auth.verify(other, PLACE)
        with pytest.raises(PermissionDenied):
            await auth.at("other").verify(ANN, PLACE)
        with pytest.raises(PermissionDenied):
            await auth.verify(ANN, "service:other:Orders.Place")
        await auth.verify(ANN, PLACE)

    async def test_a_change_by_the_same_auth_counts_at_once_however_late_its_news(
        self, auth: Auth, driver: Counted
    ) -> None:
        await asks_nobody(auth, driver)
        driver.telling.clear()
        await auth.at("shop").rules.create(Rule("no", "*", access=DENIED, priority=1))
        for _ in range(3):
            with pytest.raises(PermissionDenied):
                await auth.verify(ANN, PLACE)
        await auth.rules.delete("no")
        await auth.verify(ANN, PLACE)
        driver.telling.set()
        await asks_nobody(auth, driver)

    async def test_an_answer_from_before_a_change_brings_no_trust_back(self, auth: Auth, driver: Counted) -> None:
        await asks_nobody(auth, driver)
        one = auth._verdicts._followed["shop"]
        old = await driver.rules("shop")

        async def late() -> Sequence[Rule]:
            auth._verdicts.doubt("shop")  # while auth was being asked
            return old

        await one.ask(late())  # type: ignore[arg-type] # a list
        assert not one.stands

    async def test_a_change_elsewhere_is_heard_of(self, auth: Auth, driver: Counted) -> None:
        await asks_nobody(auth, driver)
        await Auth(driver, namespace="shop").rules.create(Rule("no", "*", access=DENIED, priority=1))
        async with asyncio.timeout(10):
            while True:
                before = driver.asked
                try:
                    await auth.verify(ANN, PLACE)
                except PermissionDenied:
                    break
                await asyncio.sleep(0.001)
        assert driver.asked == before


class TestAway:
    async def test_what_was_heard_counts_for_a_minute(
        self, auth: Auth, driver: Counted, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await asks_nobody(auth, driver)
        following = auth._verdicts._followed["shop"].following
        driver.away = True
        await Auth(driver, namespace="shop").rules.create(Rule("later", "nobody"))  # the watch hears it, and breaks
        async with asyncio.timeout(10):
            while following.live.is_set():
                await asyncio.sleep(0.001)
        await auth.verify(ANN, PLACE)
        now = verdicts.time.monotonic()
        monkeypatch.setattr(verdicts.time, "monotonic", lambda: now + STALE)
        with pytest.raises(Unavailable):
            await auth.verify(ANN, PLACE)
        driver.away = False
        await auth.verify(ANN, PLACE)

    async def test_where_nothing_is_followed_each_is_asked(self, auth: Auth, driver: Counted) -> None:
        driver.telling.clear()
        for _ in range(3):
            before = driver.asked
            await auth.verify(ANN, PLACE)
            assert driver.asked == before + 1


class TestItsLife:
    def test_in_another_loop_it_begins_anew(self, store: Store) -> None:
        driver = Counted(store=store)
        driver._keyring.open()
        auth = Auth(driver, namespace="shop")

        async def work() -> None:
            await asks_nobody(auth, driver)
            await driver._mirror.close()  # the driver's own, of the loop, too

        async def end() -> None:
            tasks = asyncio.all_tasks() - {asyncio.current_task()}
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

        loops = [asyncio.new_event_loop() for _ in range(2)]
        asked = []
        for loop in loops:  # what runs in the first stands still while the second is used
            loop.run_until_complete(work())
            asked.append(driver.asked)
        assert asked[1] > asked[0]
        for loop in loops:
            loop.run_until_complete(end())
            loop.close()

    async def test_closed_it_follows_nothing(self, auth: Auth, driver: Counted) -> None:
        await asks_nobody(auth, driver)
        task = auth._verdicts._followed["shop"].following._task
        await auth.close()
        assert task is not None
        assert task.done()

    async def test_the_namespaces_followed_are_bounded(
        self, auth: Auth, driver: Counted, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(verdicts, "NAMESPACES", 3)
        monkeypatch.setattr(verdicts, "REMEMBERED", 5)
        for n in range(9):
            with pytest.raises(PermissionDenied):
                await auth.at(f"ns{n % 5}").verify(ANN, f"service:s{n}")
        assert len(auth._verdicts._followed) == 3
        await asks_nobody(auth, driver)
        for n in range(20):
            await auth.verify(ANN, f"service:s{n}")
        assert 0 < len(auth._verdicts.known) <= 5
