"""`micro server`, `micro service`, `micro shutdown`."""

from __future__ import annotations

import os
from typing import Any

import click

from micro.cli import output
from micro.cli.framework import Command, command, flags, settings, two_dashes
from micro.context import CORE_SERVICES
from micro.errors import Unavailable

_flags = flags(
    click.option("--profile", "profile", default="", help="profile to run (MICRO_PROFILE)"),
    click.option("--config", "config", default="", help="micro.toml to read (MICRO_CONFIG)"),
    click.option("--data", default="", help="data folder (MICRO_DATA)"),
    click.option("--address", default="", help="where to listen: host:port"),
    click.option("--set", "sets", multiple=True, metavar="TABLE.KEY=VALUE", help="override a setting"),
    click.option("--check", is_flag=True, help="check the profile, start nothing"),
    click.option("--connect", is_flag=True, help="with --check: try the backends, too"),
)


def _options(profile: str, config: str, data: str, address: str, **given: Any) -> Any:
    from micro.server.options import Options

    if given["connect"] and not given["check"]:
        raise click.UsageError("--connect belongs to --check: a server that starts connects anyway")
    return Options(
        profile or settings().profile, config, data, address, given["sets"], given["check"], given["connect"]
    )


@command(
    "server",
    example="micro server\nmicro server --profile test --set api.address=127.0.0.1:0\nmicro server --profile cloud --check --connect",
)
@_flags
def server(**given: Any) -> int:
    """Boot the platform; ctrl-C drains and stops it"""
    from micro.server.main import run_server

    return run_server(_options(**given))


class _Service(Command):
    """`micro service`, which knows what a sidecar's command line is."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if {arg.partition("=")[0] for arg in two_dashes(args)} & {"--name", "--endpoint"}:
            raise click.UsageError(
                "A sidecar (micro service --name NAME --endpoint URL) is not there yet; "
                "what is written with the library registers itself"
            )
        return super().parse_args(ctx, args)


@click.command("service", cls=_Service, example="micro service store --data /srv/micro")
@click.argument("name", metavar="NAME", type=click.Choice(sorted(CORE_SERVICES)))
@_flags
def service(name: str, **given: Any) -> int:
    """Run one core service in the foreground"""
    from micro.server.main import run_service

    return run_service(name, _options(**given))


@command("shutdown", example="micro shutdown")
@click.option("--data", default="", help="data folder of the server (MICRO_DATA)")
def shutdown(data: str) -> None:
    """Drain and stop the server on this machine"""
    from micro.server import control
    from micro.service.surroundings import data_folder

    folder = data_folder(dict(os.environ) | ({"MICRO_DATA": data} if data else {}))
    try:
        answer = control.ask(folder, "stop")
    except Unavailable:
        raise click.ClickException(f"No server runs on {folder}") from None
    if answer.get("error"):
        raise click.ClickException(str(answer["error"]))
    output.note("The server has stopped.")


COMMANDS = {"server": server, "service": service, "shutdown": shutdown}
