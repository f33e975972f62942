"""What every portable class shares: it holds a driver, refuses what the driver cannot, and wraps an error once."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable
from typing import Generic, Self, TypeVar

from micro.errors import BY_CODE, LOCAL, ConfigError, ServiceError, Unimplemented, Unknown, clip
from micro.plugin.driver import Driver
from micro.plugin.watch import finish

D = TypeVar("D", bound=Driver)
T = TypeVar("T")


class Portable(Generic[D]):
    """The class users call, over any driver of one primitive.

    `primitive` is its name (`store`), `plugin` the driver's (`redis`), both for error texts. A `ServiceError` passes
    untouched: it was wrapped where it arose, on the far side of the wire perhaps; so does a `ConfigError`. Anything else a driver raises
    becomes the class its `error_code` names, the native exception as `__cause__`.
    """

    primitive = ""

    def __init__(self, driver: D, *, plugin: str = "") -> None:
        self.driver = driver
        self.plugin = plugin or type(driver).__name__

    async def open(self) -> None:
        """Open the driver; a failure leaves it closed."""
        try:
            await self._call("open", self.driver.open())
        except BaseException:
            await self.driver.close()
            raise

    async def close(self) -> None:
        """Close the driver; idempotent."""
        await self.driver.close()

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    def _require(self, capability: str, operation: str) -> None:
        """Refuse before any I/O what the driver does not claim."""
        if capability not in self.driver.capabilities:
            raise Unimplemented(f"{self.primitive}.{operation} [{self.plugin}]: needs the capability {capability!r}")

    async def _call(self, operation: str, work: Awaitable[T]) -> T:
        try:
            return await work
        except ServiceError as err:
            raise self._placed(operation, err) from err.__cause__
        except ConfigError:
            raise  # its words name the setting, or the file, and the fix
        except Exception as exc:
            raise self._wrapped(operation, exc) from exc

    async def _iterate(self, operation: str, items: AsyncIterator[T]) -> AsyncGenerator[T, None]:
        try:
            async for item in items:
                yield item
        except ServiceError as err:
            raise self._placed(operation, err) from err.__cause__
        except Exception as exc:
            raise self._wrapped(operation, exc) from exc
        finally:
            await finish(items)

    def _placed(self, operation: str, err: ServiceError) -> ServiceError:
        """Say what was being done where a call had no answer; what a service answered stays as it is."""
        if err.id != LOCAL:
            return err
        words = _words(type(err).__name__)
        return type(err)(clip(f"{self.primitive}.{operation}: {words}: {err.detail}"), id=self.primitive, http=err.http)

    def _wrapped(self, operation: str, exc: Exception) -> ServiceError:
        cls = BY_CODE.get(self.driver.error_code(exc), Unknown)
        words = _words(cls.__name__)
        return cls(clip(f"{self.primitive}.{operation} [{self.plugin}]: {words}: {str(exc) or type(exc).__name__}"))


def _words(name: str) -> str:
    return "".join(f" {c.lower()}" if c.isupper() and i else c.lower() for i, c in enumerate(name))
