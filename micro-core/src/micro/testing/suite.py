"""What every conformance suite is: tests that a subclass inherits, may excuse with a reason, and never replaces."""

from __future__ import annotations

import functools
import types
from collections.abc import Callable
from typing import Any, ClassVar

import pytest

from micro.errors import Unimplemented
from micro.plugin.driver import Driver


class Suite:
    """Base of the suites. A subclass gives fixtures and facts.

    `excused` maps the name of a test to why it fails here; such a test must fail (a strict xfail), so that the
    excuse goes when the reason does.
    """

    excused: ClassVar[dict[str, str]] = {}

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        tests = {name for name in dir(cls) if name.startswith("test_")}
        inherited = {name for base in cls.__mro__[1:] for name in vars(base) if name.startswith("test_")}
        replaced = inherited & set(vars(cls))
        if replaced:
            raise TypeError(f"{cls.__name__} replaces tests of its suite: {', '.join(sorted(replaced))}; excuse them")
        unknown = set(cls.__dict__.get("excused", {})) - tests
        if unknown:
            raise TypeError(f"{cls.__name__} excuses tests that its suite has not: {', '.join(sorted(unknown))}")
        for name, reason in cls.__dict__.get("excused", {}).items():
            setattr(cls, name, pytest.mark.xfail(reason=reason, strict=True)(_copy(getattr(cls, name))))

    async def test_its_calls_are_timed(self, driver: Driver) -> None:
        """With `--micro-bench`, of suites that have the fixture `driver`; else it is not collected."""
        from micro.testing.report import timed

        await timed(driver)


def needs(*capabilities: str, of: str) -> Callable[[Any], Any]:
    """Mark a test of optional abilities: where the fixture `of` does not claim one, it must refuse instead."""

    def mark(test: Any) -> Any:
        @functools.wraps(test)
        async def run(self: Any, **fixtures: Any) -> None:
            if fixtures[of].capabilities.issuperset(capabilities):
                await test(self, **fixtures)
                return
            with pytest.raises(Unimplemented):
                await test(self, **fixtures)

        return run

    return mark


def _copy(test: Any) -> Any:
    """Copy a test, so that a mark on it does not reach the other subclasses."""
    made = types.FunctionType(test.__code__, test.__globals__, test.__name__, test.__defaults__, test.__closure__)
    copied: Any = functools.update_wrapper(made, test)
    copied.__kwdefaults__ = test.__kwdefaults__
    vars(copied).pop("__wrapped__")
    copied.pytestmark = list(getattr(test, "pytestmark", []))
    return copied
