"""`micro login`, `micro logout`."""

from __future__ import annotations

import sys

import click

from micro.cli import output
from micro.cli.framework import Command, secret, session


@click.command(
    "login",
    cls=Command,
    example='micro login --username ann\nprintf %s "$SECRET" | micro login --username ann --password-stdin',
)
@click.option("--username", "--email", help="account to log in as")
@click.option(
    "--password", help="its secret; others on this machine may see it, so better --password-stdin or the prompt"
)
@click.option("--password-stdin", is_flag=True, help="read the secret from standard input")
def login(username: str | None, password: str | None, password_stdin: bool) -> None:
    """Log in to the environment and namespace"""
    here = session()
    if not username:
        if not sys.stdin.isatty():
            raise click.UsageError("Give --username; there is no terminal to ask on")
        username = click.prompt("Username", err=True)
    if password_stdin:
        password = sys.stdin.readline().rstrip("\n")
    password = secret(password, "Password", "the secret by --password-stdin")
    if not username:
        raise click.UsageError("An account is needed")
    here.login(username, password)
    output.say("Successfully logged in.")


@click.command("logout", cls=Command, example="micro logout")
def logout() -> None:
    """Forget the login of the environment and namespace"""
    here = session()
    here.state.forget(here.env, here.namespace)


COMMANDS = {"login": login, "logout": logout}
