"""How a driver lives, whatever it is a driver of: made, opened, used, closed; its settings, capabilities and errors.

    class TestShelfLifecycle(LifecycleSuite):
        @pytest.fixture
        def make(self, tmp_path):
            return lambda: ShelfStore(ShelfSettings(folder=str(tmp_path)))

`CheckedSuite` is for a driver whose opening can fail, `micro.testing.backend.BackendSuite` for one with a server behind it.
"""

from __future__ import annotations

import asyncio
import importlib.util
import inspect
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from typing import Any, ClassVar

import pytest

from micro.errors import BY_CODE, Code, ConfigError, FailedPrecondition, ServiceError, Unimplemented
from micro.plugin import discovery
from micro.plugin.driver import Driver
from micro.plugin.settings import Secret, Setting, typed
from micro.testing import uses
from micro.testing.report import CLAIMS, claim
from micro.testing.suite import Suite
from micro.testing.traces import Traces, touched

Make = Callable[[], Driver]
HURRY = 5.0  # seconds that a busy machine may take longer
TURNS = 60  # of the loop after which an opening is cancelled, at most
_CONFIDENTIAL = ("password", "secret", "token")  # what a setting's name has in it whose value nobody may see


class LifecycleSuite(Suite):
    """A driver's life. A subclass gives the fixture `make`: another driver at each call, not opened, all in one place."""

    library: ClassVar[tuple[type[Exception], ...]] = ()  # what the driver's client library, or its files, can raise
    registered: ClassVar[bool] = True  # False: a part of another driver, which no profile can name
    waits_by_another: ClassVar[bool] = False  # what waits does so by a part that was given, and ends with that
    patience: ClassVar[float] = 5.0  # seconds for what a driver gives back late

    @pytest.fixture
    async def make(self) -> AsyncIterator[Make]:
        """Give what makes a driver as a server would: with settings, and the parts it needs."""
        raise NotImplementedError  # a subclass gives it, as its docstring says
        yield

    def raised(self, cls: type[Exception]) -> Exception:
        """Make an exception of the client library as that would; for a class that wants to be made its own way."""
        try:
            return cls("raised by the suite")
        except Exception:  # whatever a stranger's constructor raises about arguments that it wants
            return cls.__new__(cls)

    # made

    async def test_making_one_touches_nothing(self, make: Make) -> None:
        make()  # what is imported at first use is there then
        before = Traces.now()
        with touched() as events:
            driver = make()
        assert events == []
        assert Traces.now() - before == []
        await driver.close()

    async def test_it_is_made_of_settings_and_of_the_parts_it_needs(self, make: Make) -> None:
        cls = type(make())
        parameters = list(inspect.signature(cls).parameters.values())
        assert parameters[0].name == "settings"
        open_ended = [each for each in parameters if each.kind in {each.VAR_KEYWORD, each.VAR_POSITIONAL}]
        named = [each for each in parameters[1:] if each not in open_ended]
        assert open_ended or cls.needs <= {each.name for each in named}
        assert [each.name for each in named if each.default is each.empty and each.name not in cls.needs] == []

    async def test_it_is_of_this_cores_interface(self, make: Make) -> None:
        cls = type(make())
        assert cls.interface > 0
        cls.check_interface("suite", "the suite")
        assert sorted(getattr(cls, "__abstractmethods__", ())) == []

    async def test_it_is_found_by_its_entry_point(self, make: Make) -> None:
        cls = type(make())
        points = [discovery.point(kind, name) for kind in uses.kinds_of(cls) for name in discovery.names(kind)]
        alike = [each for each in points if each is not None and each.value.endswith(f":{cls.__name__}")]
        found = [each for each in alike if discovery.load(each.group.removeprefix("micro."), each.name) is cls]
        assert len(found) == self.registered, f"{len(found)} entry points lead to {cls.__name__}"

    async def test_what_it_imports_late_is_there(self, make: Make) -> None:
        assert [name for name in type(make()).imports if importlib.util.find_spec(name) is None] == []

    # settings

    async def test_wrong_settings_are_all_told_at_once(self, make: Make) -> None:
        kind = type(make()).settings_type
        knobs = [name for name, knob in kind.__settings__.items() if knob.type is not Any]
        with pytest.raises(ConfigError) as caught:
            kind.decode({"no_such_setting": 1} | dict.fromkeys(knobs, object()))
        problems = caught.value.problems
        assert [name for name in ("no_such_setting", *knobs) if not any(repr(name) in each for each in problems)] == []

    async def test_each_setting_says_what_it_is_for(self, make: Make) -> None:
        assert [name for name, knob in _knobs(make) if not knob.help] == []

    async def test_defaults_are_of_their_settings_type(self, make: Make) -> None:
        optional = [(name, knob) for name, knob in _knobs(make) if repr(knob.default) != "(required)"]
        assert [name for name, knob in optional if typed(knob.default, knob.type) != knob.default] == []

    async def test_what_is_confidential_is_never_shown(self, make: Make) -> None:
        kind = type(make()).settings_type
        named = [name for name in kind.__settings__ if any(part in name for part in _CONFIDENTIAL)]
        assert [name for name in named if "Secret" not in repr(kind.__settings__[name].type)] == []
        secrets = [name for name, knob in kind.__settings__.items() if isinstance(knob.default, Secret)]
        values, _ = kind.read(dict.fromkeys(secrets, Secret("hunter2")))
        assert [name for name in secrets if "hunter2" in f"{values[name]!r}{values[name]}"] == []

    # open and closed

    async def test_capabilities_are_those_of_its_primitive(
        self, make: Make, record_property: Callable[[str, object], None]
    ) -> None:
        kind = uses.primitive_of(type(make()))
        claimed = type(make()).capabilities
        async with self._open(make) as driver:
            assert isinstance(driver.capabilities, frozenset)
            assert driver.capabilities <= uses.ABILITIES[kind]
            assert type(driver).capabilities is claimed  # an instance keeps what it finds to itself
            record_property(CLAIMS, claim(driver))

    async def test_it_is_opened_used_and_closed_again_and_again(self, make: Make) -> None:
        for _ in range(3):
            async with self._open(make) as driver:
                await self._used(driver)

    async def test_closing_what_was_never_opened_is_fine(self, make: Make) -> None:
        driver = make()
        await driver.close()
        await driver.close()

    async def test_closing_twice_is_closing_once(self, make: Make) -> None:
        async with self._open(make) as driver:
            await driver.close()
            await driver.close()
        async with self._open(make) as other:
            await self._used(other)

    async def test_closing_at_once_and_twice_is_closing_once(self, make: Make) -> None:
        async with self._open(make) as driver:
            await asyncio.gather(driver.close(), driver.close())

    async def test_a_closed_one_refuses_everything(self, make: Make) -> None:
        async with self._open(make) as driver:
            await self._used(driver)
        done = [
            method for method in uses.USES[uses.primitive_of(type(driver))] if not await self._refused(driver, method)
        ]
        assert done == []

    async def test_closing_ends_what_waits(self, make: Make) -> None:
        async with self._open(make) as driver:
            waiting = {method: asyncio.ensure_future(uses.wait(driver, method)) for method in uses.waited(driver)}
            for _ in range(TURNS):
                await asyncio.sleep(0)
            await driver.close()
            if self.waits_by_another:
                for each in waiting.values():
                    each.cancel()
                return
            failures = await asyncio.wait_for(asyncio.gather(*waiting.values(), return_exceptions=True), self.patience)
        kept = {Code.FAILED_PRECONDITION, Code.UNAVAILABLE, Code.CANCELLED, Code.UNIMPLEMENTED}
        odd = [each for each in failures if each is not None and _code(driver, each) not in kept]
        assert odd == []

    async def test_closing_leaves_nothing_behind(self, make: Make) -> None:
        async with self._open(make) as driver:  # what it shares with others is there then
            await self._used(driver)
        before = Traces.now()
        async with self._open(make) as driver:
            await self._used(driver)
        await before.gone(self.patience)

    async def test_an_opening_cancelled_at_any_moment_leaves_nothing_behind(self, make: Make) -> None:
        async with self._open(make):
            pass
        before = Traces.now()
        for turns in range(TURNS):
            driver = make()
            opening = asyncio.ensure_future(driver.open())
            for _ in range(turns):
                await asyncio.sleep(0)
            unfinished = opening.cancel()
            with suppress(asyncio.CancelledError):
                await opening
            await driver.close()
            await driver.close()
            if not unfinished:
                break
            assert opening.cancelled(), f"after {turns} turns of the loop it went on"
        await before.gone(self.patience)
        async with self._open(make) as driver:
            await self._used(driver)

    async def test_a_hundred_calls_at_once_are_all_answered(self, make: Make) -> None:
        async with self._open(make) as driver, asyncio.timeout(self.patience + HURRY):
            for method in uses.asked(driver):
                await asyncio.gather(*(self._answered(driver, method) for _ in range(100)))

    async def test_calls_cancelled_at_any_moment_leave_it_whole(self, make: Make) -> None:
        async with self._open(make) as driver:
            for method in uses.asked(driver):
                for turns in range(0, TURNS, 3):
                    call = asyncio.ensure_future(self._answered(driver, method))
                    for _ in range(turns):
                        await asyncio.sleep(0)
                    unfinished = call.cancel()
                    with suppress(asyncio.CancelledError):
                        await call
                    assert call.cancelled() == unfinished, f"{method}, after {turns} turns of the loop, went on"
                    if not unfinished:
                        break
                async with asyncio.timeout(self.patience + HURRY):
                    await self._answered(driver, method)

    # errors

    async def test_every_error_of_its_library_is_classified(self, make: Make) -> None:
        driver = make()
        known = set(BY_CODE) - {Code.UNKNOWN}
        found = [cls for root in self.library for cls in _descendants(root)]
        assert [cls.__name__ for cls in found if driver.error_code(self.raised(cls)) not in known] == []

    async def test_what_nobody_knows_stays_unknown(self, make: Make) -> None:
        driver = make()
        odd = (Odd("odd"), ZeroDivisionError("division by zero"))
        assert [driver.error_code(exc) for exc in odd] == [Code.UNKNOWN, Code.UNKNOWN]

    # what they use

    @asynccontextmanager
    async def _open(self, make: Make) -> AsyncIterator[Driver]:
        """Open one. Its settings may give its server less time than a busy machine takes: then once more."""
        end = time.monotonic() + self.patience
        while True:
            driver = make()
            try:
                await driver.open()
            except Exception as exc:
                await driver.close()
                if driver.error_code(exc) != Code.DEADLINE_EXCEEDED or time.monotonic() > end:
                    raise
            else:
                break
        try:
            yield driver
        finally:
            await driver.close()

    async def _used(self, driver: Driver) -> None:
        """Read, or what comes nearest: an answer is all that is wanted."""
        for method in list(uses.USES[uses.primitive_of(type(driver))])[:1]:
            with suppress(ServiceError):
                await uses.use(driver, method)

    async def _answered(self, driver: Driver, method: str) -> None:
        """Call; what is not there is an answer, what nobody classified is none."""
        try:
            await uses.portable_of(driver)._call(method, uses.use(driver, method))
        except ServiceError as err:
            assert err.code not in {Code.UNKNOWN, Code.INTERNAL, Code.UNAVAILABLE}, repr(err)

    async def _refused(self, driver: Driver, method: str) -> bool:
        try:
            async with asyncio.timeout(self.patience):
                await uses.use(driver, method)
        except (FailedPrecondition, Unimplemented):
            return True
        except Exception as exc:
            return driver.error_code(exc) == Code.FAILED_PRECONDITION
        return False


class CheckedSuite(LifecycleSuite):
    """A driver whose `open` finds out whether it can work. A subclass gives the fixture `unopenable` too."""

    refusal: ClassVar[tuple[type[Exception], ...]] = (ServiceError, ConfigError)  # what an opening fails with

    @pytest.fixture
    async def unopenable(self) -> AsyncIterator[Make]:
        """Give what makes a driver that cannot be opened: nobody listens, the folder is a file, the key is wrong."""
        raise NotImplementedError  # a subclass gives it, as its docstring says
        yield

    async def test_what_cannot_be_opened_says_why(self, unopenable: Make) -> None:
        with pytest.raises(self.refusal) as caught:
            await uses.portable_of(unopenable()).open()
        assert getattr(caught.value, "code", Code.UNAVAILABLE) not in {Code.UNKNOWN, Code.INTERNAL}
        assert str(caught.value)

    async def test_a_failed_opening_leaves_nothing_behind(self, unopenable: Make) -> None:
        before: Traces | None = None
        for _ in range(3):
            driver = unopenable()
            with pytest.raises(Exception):  # noqa: B017 - whichever: what it is, is shown above
                await driver.open()
            await driver.close()
            await driver.close()
            before = before or Traces.now()
        assert before is not None
        await before.gone(self.patience)


class Odd(Exception):
    """An error that no library raises."""


def _descendants(cls: type[Exception]) -> Iterator[type[Exception]]:
    yield cls
    for each in cls.__subclasses__():
        yield from _descendants(each)


def _code(driver: Driver, failure: BaseException) -> int:
    if isinstance(failure, ServiceError):
        return failure.code
    return driver.error_code(failure) if isinstance(failure, Exception) else Code.UNKNOWN


def _knobs(make: Make) -> Iterator[tuple[str, Setting]]:
    yield from type(make()).settings_type.__settings__.items()
