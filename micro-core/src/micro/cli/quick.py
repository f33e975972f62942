"""`micro server`, typed plainly, without what reads command lines: a tenth of the platform's start would go there."""

from __future__ import annotations

import gc

from micro.server import order

gc.disable()  # nothing that is imported is garbage, and looking for some takes its time
order.names()  # before anything uses them

from micro.server import light  # noqa: E402

light.msgspec()  # before anything imports it

from micro.server.main import run_server  # noqa: E402
from micro.server.options import Options  # noqa: E402

_VALUED = {"--profile": "profile", "--config": "config", "--data": "data", "--address": "address", "--set": "overrides"}


def options(args: list[str]) -> Options | None:
    """Read `micro server`'s arguments; None for anything but its own flags with their values, such as `--help`."""
    found: dict[str, str] = {}
    sets: list[str] = []
    bare = {"--check": False, "--connect": False}
    words = iter(args)
    for word in words:
        flag, sep, value = word.partition("=")
        if word in bare:
            bare[word] = True
            continue
        if flag not in _VALUED:
            return None
        if not sep:
            value = next(words, "-")
        if value.startswith("-"):
            return None
        if flag == "--set":
            sets.append(value)
        else:
            found[_VALUED[flag]] = value
    check, connect = bare.values()
    if connect and not check:
        return None  # the long way says why not
    return Options(**found, overrides=tuple(sets), check=check, connect=connect)


def run(plain: Options) -> int:
    """Boot the platform and stay; gives the exit code."""
    try:
        return run_server(plain)
    except KeyboardInterrupt:
        return 130
    except Exception as exc:
        from micro.cli.main import fail

        return fail(exc)
