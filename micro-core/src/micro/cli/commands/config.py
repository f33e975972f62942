"""`micro config`: the namespace's configuration."""

from __future__ import annotations

import json
from typing import Any

import click

from micro.cli import output
from micro.cli.framework import Command, Group, session, settings
from micro.errors import NotFound
from micro.proto import config_pb2 as pb


def _value(text: str) -> str:
    """Give a person's word as JSON: what is no JSON is a string."""
    try:
        json.loads(text)
    except ValueError:
        return json.dumps(text)
    return text


def _print(value: Any) -> None:
    if settings().output in {"json", "yaml"}:
        output.value(value, settings().output)
    else:
        output.say(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))


@click.group("config", cls=Group, example="micro config set shop.currency EUR\nmicro config get shop.currency")
def config() -> None:
    """Read and write configuration"""


@config.command("get", cls=Command, example="micro config get shop.currency\nmicro config get --all")
@click.argument("key", required=False, default="")
@click.option("--secret", is_flag=True, help="show secrets in clear")
@click.option("--all", "everything", is_flag=True, help="the whole tree")
def get(key: str, secret: bool, everything: bool) -> None:
    """Print a value; strings without quotes"""
    if not key and not everything:
        raise click.UsageError("Give a key, or --all")
    here = session()
    request = pb.GetRequest(namespace=here.namespace, path=key, options=pb.Options(secret=secret))
    try:
        data = here.core("config", "Config.Get", request, pb.GetResponse).value.data
    except NotFound:
        data = ""
    if data in {"", "null"}:
        raise click.ClickException("Not found")
    _print(json.loads(data))


@config.command(
    "set", cls=Command, example="micro config set shop.currency EUR\nmicro config set mail.password --secret …"
)
@click.argument("key")
@click.argument("value")
@click.option("--secret", is_flag=True, help="encrypt it")
def set_(key: str, value: str, secret: bool) -> None:
    """Write a value: JSON, or else a string"""
    here = session()
    request = pb.SetRequest(
        namespace=here.namespace, path=key, value=pb.Value(data=_value(value)), options=pb.Options(secret=secret)
    )
    here.core("config", "Config.Set", request, pb.SetResponse)


@config.command("del", cls=Command, example="micro config del shop.currency")
@click.argument("key")
def delete(key: str) -> None:
    """Delete a value"""
    here = session()
    here.core("config", "Config.Delete", pb.DeleteRequest(namespace=here.namespace, path=key), pb.DeleteResponse)


COMMANDS = {"config": config}
