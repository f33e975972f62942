"""Hooks: what many plugins may hear of, or add to, in every core service's process.

    # pyproject.toml of a plugin:  [project.entry-points."micro.hooks"]  tracer = "my_tracer:Tracer"
    from micro.plugin.hooks import hookimpl

    class Tracer:
        @hookimpl
        def service_ready(self, name, address): ...

An entry point names a class, which is made without arguments, or a module. Only those that the profile enables are
imported (`[profile.X.hooks] enabled = ["tracer"]`), in the services' processes, never in the supervisor. This module
imports pluggy: import it when hooks are enabled.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import pluggy

from micro.errors import ConfigError
from micro.plugin import discovery
from micro.plugin.driver import Driver

PROJECT = "micro"
hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)
_log = logging.getLogger("micro.hooks")


class Specs:
    """Every hook there is. A hook may leave out parameters that it does not need."""

    @hookspec
    def service_starting(self, name: str) -> None:
        """A core service's process has begun; nothing is open. Raising keeps the service from starting."""

    @hookspec
    def service_ready(self, name: str, address: str) -> None:
        """A core service answers calls at `address`."""

    @hookspec
    def service_stopping(self, name: str) -> None:
        """A core service begins to drain."""

    @hookspec
    def driver_opened(self, primitive: str, plugin: str, driver: Driver) -> None:
        """A driver that the profile selects has been opened."""

    @hookspec
    def call_interceptor(self, name: str) -> Any:
        """Give an interceptor of the calls that service `name` answers, or None.

        It is `interceptor(endpoint, proceed)`, asked once per endpoint at the start, and gives what is called
        instead of `proceed(request, context)`: a coroutine function, or an async generator where the endpoint
        streams its answers.
        """

    @hookspec
    def gateway_middleware(self) -> Any:
        """Give a middleware of the HTTP gateway, `async middleware(request, handler)` as aiohttp has it, or None."""

    @hookspec
    def readiness_check(self, name: str) -> Awaitable[None] | None:
        """Give something to await before service `name` says that it is ready, or None; raising says it is not."""


class Hooks:
    """The enabled hook plugins of one process. What one of them raises is logged under its name, and stops nobody."""

    def __init__(self, manager: pluggy.PluginManager) -> None:
        self._manager = manager

    def starting(self, name: str) -> None:
        """Tell that a service starts; the one hook whose error counts."""
        self._manager.hook.service_starting(name=name)

    def tell(self, hook: str, **facts: Any) -> None:
        """Tell all plugins one thing."""
        for implementation in getattr(self._manager.hook, hook).get_hookimpls():
            try:
                self._ask(implementation, facts)
            except Exception:  # a plugin may raise anything; the service goes on
                _log.exception("hook %s of plugin %s failed", hook, implementation.plugin_name)

    def gather(self, hook: str, **facts: Any) -> list[Any]:
        """Collect what all plugins give, in the order they were enabled, without Nones; an error passes."""
        found = [self._ask(one, facts) for one in getattr(self._manager.hook, hook).get_hookimpls()]
        return [item for item in found if item is not None]

    @staticmethod
    def _ask(implementation: Any, facts: dict[str, Any]) -> Any:
        function: Callable[..., Any] = implementation.function
        return function(*(facts[name] for name in implementation.argnames))


def load(enabled: Iterable[str]) -> Hooks:
    """Import the enabled plugins; ConfigError lists those that are not there, do not load, or hook what is no hook."""
    manager = pluggy.PluginManager(PROJECT)
    manager.add_hookspecs(Specs)
    problems: list[str] = []
    for name in enabled:
        point = discovery.point("hooks", name)
        if point is None:
            have = ", ".join(discovery.names("hooks")) or "none"
            problems.append(f"no hook plugin {name!r} is installed (installed: {have})")
            continue
        origin = discovery.distribution("hooks", name)
        try:
            found = point.load()
            manager.register(found() if isinstance(found, type) else found, name=name)
            manager.check_pending()
        except Exception as exc:  # a plugin's module may raise anything while it is imported
            problems.append(f"hook plugin {name!r} of {origin} does not load: {type(exc).__name__}: {exc}")
            manager.unregister(name=name) if manager.has_plugin(name) else None
    if problems:
        raise ConfigError(problems)
    return Hooks(manager)
