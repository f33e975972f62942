"""Drivers whose lives are each wrong in one way: the suite must tell every one of them. Run by test_suite_bites.py."""

import asyncio
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar

import apsw
import pytest

from micro.errors import Code
from micro.plugin.driver import file_code
from micro.plugin.settings import Seconds, Secret, Settings, setting
from micro.store.driver import Record, Table
from micro.store.sqlite import SqliteSettings, SqliteStore
from micro.testing.bites import suites
from micro.testing.lifecycle import CheckedSuite, Make


class RightSettings(SqliteSettings):
    """Those of the driver below."""

    patience: Seconds = setting(Seconds(1.0), "to wait for nothing")
    password: Secret[str] = setting(Secret(""), "of nobody")


class Right(SqliteStore, interface=1):
    settings_type = RightSettings


class OpensWhenMade(Right, interface=1):
    def __init__(self, settings: Any = None, **parts: Any) -> None:
        super().__init__(settings, **parts)
        self._file = open(self._path, "ab")  # noqa: PTH123, SIM115

    async def close(self) -> None:
        self._file.close()
        await super().close()


class BeginsAThreadWhenMade(Right, interface=1):
    def __init__(self, settings: Any = None, **parts: Any) -> None:
        super().__init__(settings, **parts)
        self._over = threading.Event()
        threading.Thread(target=self._over.wait).start()

    async def close(self) -> None:
        self._over.set()
        await super().close()


class TakesNoSettings(Right, interface=1):
    def __init__(self, options: Any = None, *, data: Any = None) -> None:
        super().__init__(options, data=data)


class NeedsWhatItDoesNotTake(Right, interface=1):
    needs = frozenset({"data", "caller"})


class TakesWhatItDoesNotNeed(Right, interface=1):
    needs: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, settings: Any = None, *, data: Path) -> None:
        super().__init__(settings, data=data)


class OfAnOlderInterface(Right, interface=0):
    pass


class ImportsWhatIsNotThere(Right, interface=1):
    imports = ("micro.store.nothing",)


class KnobWithoutWords(Right, interface=1):
    class settings_type(RightSettings):
        """One more."""

        more: int = setting(1)


class DefaultOfAnotherType(Right, interface=1):
    class settings_type(RightSettings):
        """One more."""

        more: int = setting("1", "text where a number is meant")


class PasswordInTheOpen(Right, interface=1):
    class settings_type(RightSettings):
        """One more."""

        api_token: str = setting("", "whoever logs it shows it")


class OneMistakeAtATime(Right, interface=1):
    class settings_type(RightSettings):
        """Stops at the first mistake."""

        @classmethod
        def read(cls, table: Any) -> Any:
            found, problems = super().read(table)
            return found, problems[:1]


class SettingsUnchecked(Right, interface=1):
    class settings_type(Settings):
        """Takes whatever comes."""

        def __init__(self, **values: Any) -> None:
            vars(self).update({"path": "", "readers": 2} | values)


class ClaimsWhatNobodyKnows(Right, interface=1):
    capabilities = frozenset({"condition"})


class ClaimsAList(Right, interface=1):
    capabilities = ["conditions", "batch"]  # type: ignore[assignment]  # noqa: RUF012


class TellsItsClassWhatItFound(Right, interface=1):
    async def open(self) -> None:
        await super().open()
        type(self).capabilities = frozenset([*self.capabilities, "durable"])


class OpensOnceForAll(Right, interface=1):
    """The second one finds the first one's mark."""

    async def open(self) -> None:
        mark = self._path.with_suffix(".lock")
        await super().open()
        if mark.exists():
            raise OSError("it is in use")
        mark.touch()


class CannotBeClosedUnopened(Right, interface=1):
    async def close(self) -> None:
        assert self._pool is not None or self._closed_once
        self._closed_once = True
        await super().close()

    _closed_once = False


class ClosesOnce(Right, interface=1):
    _ended = False

    async def close(self) -> None:
        if self._ended:
            raise OSError("closed already")
        self._ended = True
        await super().close()


class ClosesOnceAtATime(Right, interface=1):
    _ending = False

    async def close(self) -> None:
        if self._ending:
            raise OSError("being closed already")
        self._ending = True
        try:
            await asyncio.sleep(0)
            await super().close()
        finally:
            self._ending = False


class ReadsWhenClosed(Right, interface=1):
    async def read(self, table: Table, keys: Any) -> list[Record | None]:
        return [None for _ in keys]


class HangsWhenClosed(Right, interface=1):
    async def databases(self) -> list[str]:
        if self._pool is None:
            await asyncio.Event().wait()
        return await super().databases()


class LetsWatchersWait(Right, interface=1):
    async def close(self) -> None:
        self._feeds = {}
        await super().close()


class LeavesATask(Right, interface=1):
    async def open(self) -> None:
        await super().open()
        self._task = asyncio.create_task(asyncio.Event().wait())


class LeavesAThread(Right, interface=1):
    async def open(self) -> None:
        await super().open()
        threading.Thread(target=threading.Event().wait, daemon=True).start()


class LeavesADescriptor(Right, interface=1):
    async def open(self) -> None:
        await super().open()
        _left.append(open(self._path, "rb"))  # noqa: PTH123, SIM115


_left: list[Any] = []


class LeavesWhatItOpenedWhenItFails(Right, interface=1):
    async def open(self) -> None:
        file = open("/dev/null", "rb")  # noqa: PTH123, SIM115
        try:
            await super().open()
        except Exception:
            _left.append(file)
            raise
        file.close()


class OpensOnWhenCancelled(Right, interface=1):
    async def open(self) -> None:
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(0)
        await super().open()


class LeavesTheHalfOpened(Right, interface=1):
    """What is open when a cancellation comes stays open."""

    async def open(self) -> None:
        file = open("/dev/null", "rb")  # noqa: PTH123, SIM115
        try:
            await asyncio.sleep(0)
            await super().open()
        except asyncio.CancelledError:
            _left.append(file)
            raise
        file.close()


class FindsOutLater(Right, interface=1):
    """Opens whatever it is given."""

    async def open(self) -> None:
        with suppress(OSError):
            await super().open()


class AnswersFiftyAtOnce(Right, interface=1):
    _asking = 0

    async def read(self, table: Table, keys: Any) -> list[Record | None]:
        if self._asking == 50:
            raise OSError("too many")
        self._asking += 1
        try:
            return await super().read(table, keys)
        finally:
            self._asking -= 1


class KeepsTheTurnOfWhoWasCancelled(Right, interface=1):
    def __init__(self, settings: Any = None, **parts: Any) -> None:
        super().__init__(settings, **parts)
        self._turn = asyncio.Lock()

    async def read(self, table: Table, keys: Any) -> list[Record | None]:
        await self._turn.acquire()
        found = await super().read(table, keys)
        self._turn.release()
        return found


class AnswersWhoWasCancelled(Right, interface=1):
    async def read(self, table: Table, keys: Any) -> list[Record | None]:
        work = asyncio.ensure_future(super().read(table, keys))
        try:
            return await asyncio.shield(work)
        except asyncio.CancelledError:
            return await work


class ClassifiesNothing(Right, interface=1):
    def error_code(self, exc: Exception) -> int:
        return Code.UNKNOWN


class ForgetsAKind(Right, interface=1):
    def error_code(self, exc: Exception) -> int:
        return file_code(exc) if not isinstance(exc, apsw.BusyError) else Code.UNKNOWN


class KnowsEverything(Right, interface=1):
    def error_code(self, exc: Exception) -> int:
        return (
            super().error_code(exc) or Code.UNAVAILABLE if isinstance(exc, OSError | apsw.Error) else Code.UNAVAILABLE
        )


class GivesNoCode(Right, interface=1):
    def error_code(self, exc: Exception) -> int:
        return 503 if isinstance(exc, OSError) else super().error_code(exc)


class Mutant(CheckedSuite):
    """Made by `suites` for each of the above."""

    __test__ = False
    made: ClassVar[type[SqliteStore]]
    registered = False
    library = (OSError, apsw.Error)
    patience = 0.3

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.__test__ = True

    @pytest.fixture
    def make(self, tmp_path: Path) -> Make:
        return lambda: self.made(self._settings(), data=tmp_path)

    @pytest.fixture
    def unopenable(self, tmp_path: Path) -> Make:
        (tmp_path / "file").touch()
        return lambda: self.made(self._settings(), data=tmp_path / "file" / "data")

    def _settings(self) -> Any:
        return self.made.settings_type(readers=2)


globals().update(suites(Mutant, Right))
