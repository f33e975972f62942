"""Writes the reference part of commands.md from what `--help` says; a test holds the page to it.

python docs/generate.py
"""

import sys
from pathlib import Path

import click

from micro.cli.main import MODULES, built_in

PAGE = Path(__file__).with_name("commands.md")
MARK = "<!-- reference: written by docs/generate.py -->\n"


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


if __name__ == "__main__":
    PAGE.write_text(page())
    sys.stdout.write(f"{PAGE} is written\n")
