"""`micro env`: which platform commands talk to."""

from __future__ import annotations

import click

from micro.cli import output
from micro.cli.framework import Command, Group, settings
from micro.cli.session import NoEnvironmentError, Session
from micro.service.state import BUILT_IN


def _known(name: str) -> str:
    if name not in settings().state.envs:
        raise NoEnvironmentError(f'Env "{name}" not found. See `micro env` for available environments.')
    return name


@click.group(
    "env", cls=Group, invoke_without_command=True, example="micro env add office 10.0.0.4:8081\nmicro env set office"
)
@click.pass_context
def env(ctx: click.Context) -> None:
    """List, choose, add and delete environments"""
    if ctx.invoked_subcommand is None:
        found = settings()
        state = found.state
        current = found.env or state.env
        envs = [(name, Session(state, env=name).address) for name in sorted(state.envs)]
        if found.output in {"json", "yaml"}:
            output.value([{"name": n, "address": a, "current": n == current} for n, a in envs], found.output)
            return
        width = max(len(name) for name, _ in envs)
        for name, address in envs:
            output.say(f"{'*' if name == current else ' '} {name.ljust(width)}  {address}")


@env.command("get", cls=Command, example="micro env get")
def get() -> None:
    """Print the current environment"""
    found = settings()
    output.say(found.env or found.state.env)


@env.command("set", cls=Command, example="micro env set office")
@click.argument("name")
def set_(name: str) -> None:
    """Use an environment from now on"""
    settings().state.change(env=_known(name))


@env.command("add", cls=Command, example="micro env add office 10.0.0.4:8081")
@click.argument("name")
@click.argument("address")
def add(name: str, address: str) -> None:
    """Add an environment; an address without a port means :443 and TLS"""
    state = settings().state
    host = address.removeprefix("https://")
    if ":" not in host:
        address = f"{host}:443"
    if not name or any(c.isspace() for c in name + address) or not _dialled(address):
        raise click.UsageError("An environment has a name and an address, host:port")
    state.change(envs=state.data.get("envs", {}) | {name: address})


@env.command("del", cls=Command, example="micro env del office")
@click.argument("name")
def delete(name: str) -> None:
    """Forget an environment that is not the current one"""
    state = settings().state
    _known(name)
    if name == state.env:
        raise click.UsageError(f'Env "{name}" is the current one; set another first')
    if name in BUILT_IN and name not in state.data.get("envs", {}):
        raise click.UsageError(f'Env "{name}" is built in')
    state.change(envs={n: a for n, a in state.data.get("envs", {}).items() if n != name})


def _dialled(address: str) -> bool:
    """Tell whether something can be at an address."""
    from micro.rpc.nghttp2.address import split

    try:
        host, port = split(address.removeprefix("https://").removeprefix("http://"))
    except ValueError:
        return False
    return bool(host) and "/" not in host and 0 < port < 65536


COMMANDS = {"env": env}
