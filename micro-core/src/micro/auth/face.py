"""The functions a service calls: who calls it, what they may, and its namespace's accounts and rules."""

from __future__ import annotations

import functools
import inspect
from collections.abc import AsyncIterator, Callable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar, cast

from micro import context
from micro.errors import PermissionDenied, Unauthenticated

if TYPE_CHECKING:
    from micro.auth.api import Accounts, Auth, Rules
    from micro.auth.driver import Resource, Token
    from micro.context import Account
    from micro.durations import Duration

F = TypeVar("F", bound=Callable[..., Any])


def _auth() -> Auth:
    from micro.service.process import current as process

    return process().auth


def current() -> Account | None:
    """Give who makes the call being answered; None for nobody, and outside of a call."""
    return context.current().account


def require(*scopes: str) -> Callable[[F], F]:
    """Let an endpoint answer only accounts that have all of these scopes; without any, every account.

    Others get PermissionDenied, callers without an account Unauthenticated, before the endpoint begins.
    """

    def wrap(function: F) -> F:
        guarded: Any
        if inspect.isasyncgenfunction(function):

            @functools.wraps(function)
            async def guarded(*args: Any, **kwargs: Any) -> AsyncIterator[Any]:
                _demand(scopes)
                async for item in function(*args, **kwargs):
                    yield item

        elif inspect.isgeneratorfunction(function):

            @functools.wraps(function)
            def guarded(*args: Any, **kwargs: Any) -> Iterator[Any]:
                _demand(scopes)
                yield from function(*args, **kwargs)

        elif inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def guarded(*args: Any, **kwargs: Any) -> Any:
                _demand(scopes)
                return await function(*args, **kwargs)

        else:

            @functools.wraps(function)
            def guarded(*args: Any, **kwargs: Any) -> Any:
                _demand(scopes)
                return function(*args, **kwargs)

        return guarded  # type: ignore[no-any-return] # of the same signature

    return wrap


def _demand(scopes: tuple[str, ...]) -> None:
    account = context.current().account
    if account is None:
        raise Unauthenticated("an account is required")
    missing = [scope for scope in scopes if scope not in account.scopes]
    if missing:
        raise PermissionDenied(f"the scope {missing[0]} is required")


async def verify(account: Account | None, resource: Resource | str) -> None:
    """Ask the rules: see Auth.verify."""
    await _auth().verify(account, resource)


async def login(id: str, secret: str, *, ttl: Duration = 900.0) -> Token:
    """Give a token for an account's id and secret: see Auth.login."""
    return await _auth().login(id, secret, ttl=ttl)


class _Part:
    """A part of whichever auth is this process's when it is used."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, name: str) -> Any:
        return getattr(getattr(_auth(), self._name), name)


accounts = cast("Accounts", _Part("accounts"))
rules = cast("Rules", _Part("rules"))
