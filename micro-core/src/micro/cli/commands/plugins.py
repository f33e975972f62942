"""`micro plugins`, `micro profile`."""

from __future__ import annotations

import os

import click

from micro.cli import output
from micro.cli.framework import Command, Group, command, settings
from micro.plugin import discovery
from micro.plugin import profile as profiles

HEADS = ["KIND", "NAME", "DISTRIBUTION", "VERSION", "CAPABILITIES"]


@command("plugins", example="micro plugins\nmicro plugins -o json")
@click.option("--refresh", is_flag=True, expose_value=False, help="look anew, which is done each time so far")
def plugins() -> None:
    """List the installed plugins"""
    rows = []
    for plugin in discovery.installed():
        about = f"broken: {plugin.problem}" if plugin.problem else ",".join(sorted(plugin.capabilities)) or "-"
        rows.append([plugin.kind, plugin.name, plugin.distribution, plugin.version, about])
    output.records(rows, HEADS, settings().output)


@click.group("profile", cls=Group, example="micro profile list\nmicro profile show local")
def profile() -> None:
    """Look at profiles"""


@profile.command("list", cls=Command, example="micro profile list")
@click.option("--config", "config", default="", help="micro.toml to read (MICRO_CONFIG)")
def list_(config: str) -> None:
    """List the profiles"""
    rows = [list(facts) for facts in profiles.listed(config=config or None)]
    output.records(rows, ["NAME", "FROM", "ABOUT"], settings().output, plain=[0])


@profile.command("show", cls=Command, example="micro profile show local")
@click.argument("name", default="")
@click.option("--config", "config", default="", help="micro.toml to read (MICRO_CONFIG)")
@click.option("--set", "sets", multiple=True, metavar="TABLE.KEY=VALUE", help="override a setting")
def show(name: str, config: str, sets: tuple[str, ...]) -> None:
    """Print a profile merged, secrets masked"""
    output.say(profiles.show(profiles.load(_meant(name), config=config or None, overrides=sets, required=())).rstrip())


@profile.command("check", cls=Command, example="micro profile check staging")
@click.argument("name", default="")
@click.option("--config", "config", default="", help="micro.toml to read (MICRO_CONFIG)")
@click.option("--set", "sets", multiple=True, metavar="TABLE.KEY=VALUE", help="override a setting")
@click.option("--connect", is_flag=True, help="try the backends, too")
def check(name: str, config: str, sets: tuple[str, ...], connect: bool) -> int:
    """Say everything that is wrong with a profile"""
    checked = profiles.check(_meant(name), config=config or None, overrides=sets)
    output.say(f"profile {checked.name} is fine")
    if not connect:
        return 0
    from micro.server.main import reach

    return reach(checked)


def _meant(name: str) -> str:
    """Give the profile that is meant: NAME, else `--profile`, else MICRO_PROFILE; empty for the one that a server runs.

    A flag that names another one than NAME is refused: one of the two is a slip.
    """
    chosen = settings().profile
    if name and chosen not in {"", name, os.environ.get("MICRO_PROFILE", "")}:
        raise click.UsageError(f"Two profiles: {name!r}, and {chosen!r} by --profile. Please name one")
    return name or chosen


COMMANDS = {"plugins": plugins, "profile": profile}
