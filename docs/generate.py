"""Writes what nobody types: the reference of commands.md from `--help`, the tables of plugins.md from opened drivers.

python docs/generate.py; tests hold the pages to it.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import click

from micro.cli.main import MODULES, built_in

DOCS = Path(__file__).parent
PAGE = DOCS / "commands.md"
MARK = "<!-- reference: written by docs/generate.py -->\n"
PLUGINS = DOCS / "plugins.md"
CLAIMS = "<!-- capabilities: written by docs/generate.py -->\n"
LIVES = "micro-core/tests/lifecycle/test_embedded.py"


def reference() -> str:
    """Give the help of every built-in command."""
    parts = []
    for word in sorted(MODULES):
        command = built_in(word)
        assert command is not None
        parts += _help(command, f"micro {word}", None)
    return MARK + "\n" + "\n".join(parts)


def _help(command: click.Command, path: str, parent: click.Context | None) -> list[str]:
    name = path if parent is None else path.rpartition(" ")[2]
    # the settings a real run has: click keeps the help option that it makes first
    context = click.Context(command, info_name=name, parent=parent, **command.context_settings)
    context.max_content_width = context.terminal_width = 100
    found = [f"### {path}\n\n```text\n{command.get_help(context).rstrip()}\n```\n"]
    if isinstance(command, click.Group):
        for name in sorted(command.commands):
            found += _help(command.commands[name], f"{path} {name}", context)
    return found


def page() -> str:
    """Give the whole page: what is written by hand, then the reference."""
    return PAGE.read_text().partition(MARK)[0] + reference()


def plugins() -> str:
    """Give the page of plugins, with what each driver claims once it is open; runs a test of each one's life for it."""
    suites = [LIVES, *(str(path) for path in (DOCS.parent / "plugins").glob("*/tests/test_lifecycle.py"))]
    with tempfile.TemporaryDirectory() as folder:
        told = Path(folder) / "claims.md"
        how = ("-n0", "-p", "no:cacheprovider", "-k", "capabilities", "--micro-report", str(told))
        command = [sys.executable, "-m", "pytest", "-q", *how, *suites]
        ran = subprocess.run(command, cwd=DOCS.parent, capture_output=True, text=True, check=False, timeout=110)
        if ran.returncode:
            raise RuntimeError(f"the suites failed:\n{ran.stdout}{ran.stderr}")
        return PLUGINS.read_text().partition(CLAIMS)[0] + CLAIMS + "\n" + told.read_text()


if __name__ == "__main__":
    PAGE.write_text(page())
    PLUGINS.write_text(plugins())
    sys.stdout.write(f"{PAGE} and {PLUGINS} are written\n")
