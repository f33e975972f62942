"""The first thing a command runs: it knows the words there are, and hands a service's command to the platform.

Nothing here may import more than `sys` and `posix` before it has to: a command is a person's reflex.
"""

import sys

from micro._version import __version__

BUILT_IN = frozenset(
    [
        "auth",
        "broker",
        "call",
        "cli",
        "completion",
        "config",
        "debug",
        "env",
        "events",
        "get",
        "health",
        "help",
        "kill",
        "login",
        "logout",
        "logs",
        "network",
        "new",
        "plugins",
        "profile",
        "run",
        "server",
        "service",
        "services",
        "shutdown",
        "stats",
        "status",
        "store",
        "stream",
        "update",
        "user",
    ]
)


def main(argv: list[str]) -> int:
    """Run one command; gives its exit code."""
    if argv in (["--version"], ["-version"], ["-v"]):
        sys.stdout.write(f"micro version {__version__}\n")
        return 0
    from micro.cli.main import run

    return run(argv)
