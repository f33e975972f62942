"""What every driver is: typed settings, capabilities, a lifecycle, and one place that classifies its errors."""

from __future__ import annotations

from abc import ABC
from typing import Any, ClassVar, Generic, Self, TypeVar

from micro.errors import Code, ConfigError
from micro.plugin.settings import Settings

T = TypeVar("T")


def file_code(exc: Exception) -> int:
    """Classify what a file of this machine raises; UNKNOWN for what is not of files."""
    match exc:
        case OSError(errno=28 | 122):  # ENOSPC, EDQUOT
            return Code.RESOURCE_EXHAUSTED
        case OSError():
            return Code.UNAVAILABLE
    return Code.UNKNOWN


class Driver(ABC):  # noqa: B024 - each primitive's own class adds the abstract methods
    """A provider of one primitive.

    The constructor does no I/O; `open` connects and checks; `close` is idempotent and safe after a failed `open`. A
    driver raises what its client library raises: the portable class asks `error_code` and wraps once. It is made as
    `SomeDriver(settings, **parts)`: `needs` names the parts, each a keyword argument: `data` (the data folder, a
    Path), `store` (a portable Store on the service's own table of database `micro`), `registry` (a portable Registry),
    `caller` (an rpc Caller), `addresses` (of the core services, live), `keys` (the folder of signing keys), `alive` (a
    descriptor, see Host). `imports` names the modules that only `open` or a first call imports, where that takes its
    time: a server imports them while the service waits for its turn. Memory drivers take an optional `clock` (`time.time`-like) so that suites do not sleep.
    """

    interface: ClassVar[int] = 0
    current_interface: ClassVar[int] = 0
    settings_type: ClassVar[type[Settings]] = Settings
    needs: ClassVar[frozenset[str]] = frozenset()
    imports: ClassVar[tuple[str, ...]] = ()
    capabilities: frozenset[str] = frozenset()

    def __init_subclass__(cls, *, interface: int | None = None, defines: int | None = None, **kwargs: Any) -> None:
        """Note which version of the interface a driver was written for.

        A primitive's abstract class says `defines=1`; a driver says `interface=1`, and is refused when the two differ.
        """
        super().__init_subclass__(**kwargs)
        if defines is not None:
            cls.current_interface = defines
        if interface is not None:
            cls.interface = interface

    @classmethod
    def check_interface(cls, name: str, distribution: str) -> None:
        """Refuse a driver of another interface version, naming both and its distribution."""
        if cls.interface != cls.current_interface:
            raise ConfigError(
                f"plugin {name!r} of {distribution} is for interface {cls.interface} of {cls.__mro__[1].__name__}, "
                f"this core has {cls.current_interface}: install a matching version"
            )

    @classmethod
    def probe(cls, settings: Any) -> Driver:
        """Make a driver for no more than to open and close it, to see whether its backend answers.

        `micro server --check --connect` asks. A driver that needs parts gives something that opens without them.
        """
        return cls(settings)  # type: ignore[call-arg]  # how every driver is made

    async def open(self) -> None:  # noqa: B027 - nothing to do is a valid answer
        """Connect and check; may set `capabilities` from what it finds."""

    async def close(self) -> None:  # noqa: B027 - likewise
        """Give everything back."""

    def error_code(self, exc: Exception) -> int:
        """Classify an exception of the client library as a `Code`; UNKNOWN for what it does not know."""
        return Code.UNKNOWN

    async def __aenter__(self) -> Self:
        try:
            await self.open()
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()


class Change(Generic[T]):
    """One change that a watch reports. `kind` is `put`, `delete` or `expire`; `item` what is there now, or None."""

    __slots__ = ("item", "key", "kind", "version")

    def __init__(self, kind: str, key: str, version: int, item: T | None = None) -> None:
        self.kind = kind
        self.key = key
        self.version = version
        self.item = item

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Change) and (self.kind, self.key, self.version, self.item) == (
            other.kind,
            other.key,
            other.version,
            other.item,
        )

    def __hash__(self) -> int:
        return hash((self.kind, self.key, self.version))

    def __repr__(self) -> str:
        return f"Change({self.kind!r}, {self.key!r}, version={self.version})"


class Synced:
    """A watch has reported all that existed; from here on it reports changes after `version`."""

    __slots__ = ("version",)

    def __init__(self, version: int) -> None:
        self.version = version

    def __repr__(self) -> str:
        return f"Synced({self.version})"


class Reset:
    """What was asked to resume from is gone: forget what you know, all that exists follows."""

    __slots__ = ("version",)

    def __init__(self, version: int) -> None:
        self.version = version

    def __repr__(self) -> str:
        return f"Reset({self.version})"
