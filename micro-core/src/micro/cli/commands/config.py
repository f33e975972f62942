"""`micro config`: the namespace's configuration."""

from __future__ import annotations

import json
import sys
from typing import IO, Any

import click

from micro.cli import output
from micro.cli.framework import Command, Group, Whole, session, settings
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


@config.command("watch", cls=Command, example="micro config watch shop.currency")
@click.argument("key")
def watch(key: str) -> None:
    """Print a value as it is, then each it becomes; null when it is deleted; secrets masked"""
    here = session()
    request = pb.WatchRequest(namespace=here.namespace, path=key)
    for answer in here.core_stream("config", "Config.Watch", [request], pb.WatchResponse):
        for change in answer.changes:
            _print(json.loads(change.entry.value.data or "null") if change.kind == pb.EntryChange.PUT else None)
        sys.stdout.flush()


@config.command("history", cls=Command, example="micro config history shop.currency\nmicro config history -n 100 shop")
@click.argument("key")
@click.option("--number", "-n", default=20, type=Whole(1, 1000), help="of versions")
def history(key: str, number: int) -> None:
    """Print what a value was, the newest first, as JSON; null for when it was not there; secrets masked"""
    here = session()
    request = pb.HistoryRequest(namespace=here.namespace, path=key, limit=number)
    found = here.core("config", "Config.History", request, pb.HistoryResponse).entries
    entries = [{"version": entry.version, "value": json.loads(entry.value.data or "null")} for entry in found]
    rows = [[str(entry["version"]), json.dumps(entry["value"], ensure_ascii=False)] for entry in entries]
    output.records(rows, ["VERSION", "VALUE"], settings().output or "", whole=entries)


@config.command("rollback", cls=Command, example="micro config rollback shop.currency 3")
@click.argument("key")
@click.argument("version", type=Whole(1, 2**63 - 1))
def rollback(key: str, version: int) -> None:
    """Make a value, and all below it, what it was at a version, which history tells; secrets too"""
    here = session()
    request = pb.RollbackRequest(namespace=here.namespace, path=key, version=version)
    made = here.core("config", "Config.Rollback", request, pb.RollbackResponse)
    output.note(f"It is version {made.version} now." if made.version else "It was so already.")


@config.command("export", cls=Command, example="micro config export >config.json\nmicro config export --secret")
@click.option("--secret", is_flag=True, help="secrets too, in clear; left out else")
def export(secret: bool) -> None:
    """Print the namespace's configuration, for import"""
    from micro.config import tree

    here = session()
    request = pb.GetRequest(namespace=here.namespace, options=pb.Options(secret=secret))
    try:
        found = here.core("config", "Config.Get", request, pb.GetResponse)
    except NotFound:
        found = pb.GetResponse()
    values = json.loads(found.value.data or "null") or {}
    secrets = {path: _taken(values, tree.parse(path)) for path in found.secret_paths}
    output.value({"values": values, "secrets": secrets if secret else {}}, settings().output or "json")
    if secrets and not secret:
        output.note(f"{len(secrets)} secrets are left out; --secret shows them")


def _taken(values: dict[str, Any], path: tuple[str, ...]) -> Any:
    """Take what is at a path out of a tree, and the objects that are empty without it."""
    key, *rest = path
    found = _taken(values[key], tuple(rest)) if rest else values[key]
    if not rest or not values[key]:
        del values[key]
    return found


@config.command(
    "import", cls=Command, example="micro config import config.json\nmicro config export | micro -e far config import -"
)
@click.argument("file", metavar="FILE|-", type=click.File("rb"))
def import_(file: IO[bytes]) -> None:
    """Merge what export printed into the namespace's configuration; secrets are encrypted again"""
    try:
        found = json.load(file)
    except ValueError as err:
        raise click.UsageError(f"{file.name} is not valid JSON: {err}") from None
    parts = [found.pop(name, {}) for name in ("values", "secrets")] if isinstance(found, dict) else []
    if found or len(parts) != 2 or not all(isinstance(part, dict) for part in parts):
        raise click.UsageError(f'{file.name} is not what export prints: {{"values": {{…}}, "secrets": {{"path": …}}}}')
    here = session()
    for path, value, secret in (("", parts[0], False), *((path, value, True) for path, value in parts[1].items())):
        options, data = pb.Options(secret=secret), pb.Value(data=json.dumps(value))
        request = pb.SetRequest(namespace=here.namespace, path=path, value=data, options=options)
        here.core("config", "Config.Set", request, pb.SetResponse)


COMMANDS = {"config": config}
