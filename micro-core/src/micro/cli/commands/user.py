"""`micro user`: who you are here."""

from __future__ import annotations

from typing import Any

import click

from micro import names
from micro.cli import output
from micro.cli.framework import Command, Group, named, secret, session, settings
from micro.context import CORE_NAMESPACE
from micro.errors import MicroError


class NotLoggedInError(MicroError):
    """Nobody is logged in."""


def _token() -> str:
    found = session().token
    if not found:
        raise NotLoggedInError("You are not logged in")
    return found


def _claims(token: str) -> dict[str, Any]:
    from micro.cli.account import claims

    return claims(token)


@click.group("user", cls=Group, invoke_without_command=True, example="micro user\nmicro user namespace set shop")
@click.pass_context
def user(ctx: click.Context) -> None:
    """Print who you are, and keep your settings"""
    if ctx.invoked_subcommand is None:
        claims = _claims(_token())
        form = settings().output
        if form in {"json", "yaml"}:
            output.value({k: claims.get(k) for k in ("sub", "name", "iss", "type", "scopes")}, form)
        else:
            output.say(claims.get("name") or claims["sub"])


@user.command("token", cls=Command, example='curl -H "Authorization: Bearer $(micro user token)" …')
def token() -> None:
    """Print the access token"""
    output.say(_token())


@user.group("namespace", cls=Group, invoke_without_command=True, example="micro user namespace set shop")
@click.pass_context
def namespace(ctx: click.Context) -> None:
    """Print or set the namespace that commands use"""
    if ctx.invoked_subcommand is None:
        output.say(session().namespace)


@namespace.command("set", cls=Command, example="micro user namespace set shop")
@click.argument("name")
def set_namespace(name: str) -> None:
    """Use a namespace from now on"""
    here = session()
    here.state.change(namespaces=here.state.data.get("namespaces", {}) | {here.env: named(names.namespace, name)})


@user.group("config", cls=Group, example="micro user config set editor vim")
def config() -> None:
    """Keep settings of your own"""


@config.command("get", cls=Command, example="micro user config get editor")
@click.argument("key")
def get(key: str) -> None:
    """Print a setting"""
    found = settings().state.data.get("user", {}).get(key)
    if found is None:
        raise click.ClickException("Not found")
    output.say(found)


@config.command("set", cls=Command, example="micro user config set editor vim")
@click.argument("key")
@click.argument("value")
def set_config(key: str, value: str) -> None:
    """Keep a setting"""
    state = settings().state
    state.change(user=state.data.get("user", {}) | {key: value})


@config.command("delete", cls=Command, example="micro user config delete editor")
@click.argument("key")
def delete(key: str) -> None:
    """Forget a setting"""
    state = settings().state
    state.change(user={k: v for k, v in state.data.get("user", {}).items() if k != key})


@user.group("set", cls=Group, example="micro user set password")
def set_() -> None:
    """Change your password"""


@set_.command("password", cls=Command, example="micro user set password")
@click.option("--email", help="account; yours if not given")
@click.option("--old-password", help="the secret so far; asked for when not given")
@click.option("--new-password", help="the new secret; asked for when not given")
def password(email: str | None, old_password: str | None, new_password: str | None) -> None:
    """Change an account's password"""
    from micro.cli import account

    here = session()
    id = email or _claims(_token())["sub"]
    old = secret(old_password, "Old password", "--old-password and --new-password")
    new = secret(new_password, "New password", "--old-password and --new-password", new=True)
    held = here.state.token(here.env, here.namespace)
    space = held.namespace if held else CORE_NAMESPACE
    account.change_secret(here, id, old, new, space)
    output.note("Password changed.")


COMMANDS = {"user": user}
