"""Finding plugins: entry points by group and name. Only the driver that was asked for is imported.

The embedded drivers stand in the same groups, so the core has no private door. Group `micro.store` holds what can be a
`[profile.X.store] plugin`, and so for every primitive.
"""

from __future__ import annotations

import importlib
from functools import cache
from typing import TYPE_CHECKING, Any, cast

from micro.errors import ConfigError
from micro.plugin.driver import Driver
from micro.plugin.points import Point, points

if TYPE_CHECKING:
    from collections.abc import Iterable

CORE = "micro-core"  # the distribution of the embedded drivers

# Where each primitive says what its drivers are; the class check imports it, and it imports no client library.
BASES = {
    "api": "micro.proxy.driver:DataPlane",
    "auth": "micro.auth.driver:AuthDriver",
    "blobs": "micro.blobs.driver:BlobsDriver",
    "broker": "micro.broker.driver:BrokerDriver",
    "config": "micro.config.driver:ConfigDriver",
    "events": "micro.events.driver:EventsDriver",
    "network": "micro.network.driver:NetworkDriver",
    "proxy": "micro.proxy.driver:DataPlane",
    "registry": "micro.registry.driver:RegistryDriver",
    "runtime": "micro.runtime.driver:RuntimeDriver",
    "store": "micro.store.driver:StoreDriver",
    "transport": "micro.rpc.driver:Transport",
}
PRIMITIVES = tuple(BASES)

# What a package is called that brings a driver besides the one it is named after.
BESIDES = {("events", "nats"): "micro-plugin-broker-nats"}


class Plugin:
    """One installed plugin as `micro plugins` shows it.

    `target` is `module:Class`, `location` the folder it is installed in. `capabilities` are the class's own: an
    opened instance may have fewer. `problem` says why it cannot be used, empty when it can; it is filled, like
    `capabilities`, only when the plugins were imported.
    """

    __slots__ = (
        "capabilities",
        "distribution",
        "interface",
        "kind",
        "location",
        "name",
        "problem",
        "target",
        "version",
    )

    def __init__(self, kind: str, name: str, *, target: str, distribution: str, version: str, location: str) -> None:
        self.kind = kind
        self.name = name
        self.target = target
        self.distribution = distribution
        self.version = version
        self.location = location
        self.capabilities: tuple[str, ...] = ()
        self.interface = 0
        self.problem = ""

    def __repr__(self) -> str:
        return f"Plugin({self.kind}/{self.name}, {self.distribution} {self.version})"


@cache
def _index() -> dict[tuple[str, str], Point]:
    """Read all entry points once; forked children inherit the answer."""
    found: dict[tuple[str, str], Point] = {}
    for point in points():
        if point.group.startswith("micro."):
            found.setdefault((point.group, point.name), point)
    return found


def refresh() -> None:
    """Forget what was found, after an installation."""
    _index.cache_clear()


def names(kind: str) -> list[str]:
    """List the installed names of a primitive's plugins, of `hooks` or of `cli`."""
    return sorted(name for group, name in _index() if group == f"micro.{kind}")


def point(kind: str, name: str) -> Point | None:
    """Find an entry point of group `micro.<kind>`."""
    return _index().get((f"micro.{kind}", name))


def distribution(kind: str, name: str) -> str:
    """Name the distribution that brings a plugin, with its version; empty for an unknown one."""
    found = point(kind, name)
    return "" if found is None else f"{found.distribution} {found.version}"


def is_embedded(kind: str, name: str) -> bool:
    """Tell whether a plugin comes with the core itself."""
    return distribution(kind, name).startswith(f"{CORE} ")


def missing(kind: str, name: str) -> str:
    """Say that a plugin is not installed: which are, and what would probably bring it."""
    if kind not in BASES:
        return f"there are no plugins of kind {kind!r}; kinds: {', '.join(PRIMITIVES)}"
    have = ", ".join(names(kind)) or "none"
    package = BESIDES.get((kind, name), f"micro-plugin-{kind}-{name}")
    return f"no {kind} plugin {name!r} is installed (installed: {have}); try: pip install {package}"


def base(kind: str) -> type[Driver]:
    """Import a primitive's abstract driver class."""
    module, _, name = BASES[kind].partition(":")
    return cast("type[Driver]", getattr(importlib.import_module(module), name))


def load(kind: str, name: str) -> type[Driver]:
    """Import one plugin's class and check that it is what its group promises.

    Raises ConfigError, naming plugin, distribution and cause, when it is not installed, does not import, is not a
    driver of this primitive, or was written for another version of the primitive's interface.
    """
    found = point(kind, name)
    if kind not in BASES or found is None:
        raise ConfigError(missing(kind, name))
    origin = distribution(kind, name)
    try:
        cls = found.load()
    except Exception as exc:  # a plugin's module may raise anything at all while it is imported
        raise ConfigError(
            f"{kind} plugin {name!r} of {origin} does not load ({found.value}): {type(exc).__name__}: {exc}"
        ) from exc
    return _checked(kind, name, origin, cls)


def _checked(kind: str, name: str, origin: str, cls: Any) -> type[Driver]:
    expected = base(kind)
    if not (isinstance(cls, type) and issubclass(cls, expected)):
        raise ConfigError(f"{kind} plugin {name!r} of {origin} is not a {expected.__name__}: it is {cls!r}")
    abstract = sorted(getattr(cls, "__abstractmethods__", ()))
    cls.check_interface(name, origin)
    if abstract:
        raise ConfigError(f"{kind} plugin {name!r} of {origin} lacks {', '.join(abstract)}")
    return cls


def installed(kinds: Iterable[str] = (), *, imported: bool = True) -> list[Plugin]:
    """List the installed plugins, of all kinds or of these, by kind and name.

    With `imported` each one's module is imported, for its capabilities and to find out what is wrong with it; a
    plugin that fails is listed with its `problem`.
    """
    wanted = set(kinds) or {*BASES, "hooks", "cli"}
    found = []
    for (group, name), entry in sorted(_index().items()):
        kind = group.removeprefix("micro.")
        if kind not in wanted:
            continue
        plugin = Plugin(
            kind,
            name,
            target=entry.value,
            distribution=entry.distribution,
            version=entry.version,
            location=entry.location,
        )
        if imported and kind in BASES:
            _describe(plugin)
        found.append(plugin)
    return found


def _describe(plugin: Plugin) -> None:
    try:
        cls = load(plugin.kind, plugin.name)
    except ConfigError as err:
        plugin.problem = str(err)
        return
    plugin.interface = cls.interface
    if isinstance(cls.capabilities, frozenset | set | tuple):  # a property until it is opened
        plugin.capabilities = tuple(sorted(cls.capabilities))
