"""`micro auth`: accounts, rules, tokens."""

from __future__ import annotations

import json
import time

import click

from micro.cli import output
from micro.cli.framework import Command, Group, Whole, secret, session, settings
from micro.errors import ConfigError
from micro.proto import auth_pb2 as pb

MAX_LIFE = 100 * 365 * 86400  # seconds of a token; beyond any use, and within every clock
ACCESS = {"granted": pb.GRANTED, "denied": pb.DENIED}


@click.group(
    "auth",
    cls=Group,
    example="micro auth create account ann --scopes admin\nmicro auth create rule shop --resource service:shop:* --scope '*'",
)
def auth() -> None:
    """Manage accounts and rules"""


def _options() -> pb.Options:
    return pb.Options(namespace=session().namespace)


@auth.group("list", cls=Group, example="micro auth list accounts")
def list_() -> None:
    """List accounts or rules"""


@list_.command("accounts", cls=Command, example="micro auth list accounts")
def accounts() -> None:
    """List accounts"""
    request = pb.ListAccountsRequest(options=_options())
    found = session().core("auth", "Accounts.List", request, pb.ListAccountsResponse).accounts
    rows = []
    for account in sorted(found, key=lambda a: a.id):
        metadata = ", ".join(f"{k}={v}" for k, v in sorted(account.metadata.items())) or "n/a"
        rows.append([account.id, account.name, ", ".join(account.scopes) or "n/a", metadata])
    output.records(rows, ["ID", "Name", "Scopes", "Metadata"], settings().output or "table")


@list_.command("rules", cls=Command, example="micro auth list rules")
def rules() -> None:
    """List rules"""
    found = session().core("auth", "Rules.List", pb.ListRequest(options=_options()), pb.ListResponse).rules
    rows = []
    for rule in sorted(found, key=lambda r: (-r.priority, r.id)):
        where = f"{rule.resource.type}:{rule.resource.name}:{rule.resource.endpoint}"
        rows.append([rule.id, rule.scope or "<public>", pb.Access.Name(rule.access), where, str(rule.priority)])
    output.records(rows, ["ID", "Scope", "Access", "Resource", "Priority"], settings().output or "table")


@auth.group("create", cls=Group, example="micro auth create account ann")
def create() -> None:
    """Create an account, a rule or a token"""


@create.command("account", cls=Command, example="micro auth create account ann --scopes admin")
@click.argument("id")
@click.option("--secret", default="", help="made if not given")
@click.option("--scopes", default="", help="comma list; admin may administer")
@click.option("--type", "kind", default="user", help="user or service")
@click.option("--name", default="", help="the id if not given")
def account(id: str, secret: str, scopes: str, kind: str, name: str) -> None:
    """Create an account and print it with its secret"""
    request = pb.GenerateRequest(
        id=id, secret=secret, scopes=list(output.parts(scopes)), type=kind, name=name, options=_options()
    )
    made = session().core("auth", "Auth.Generate", request, pb.GenerateResponse).account
    shown = {
        "id": made.id,
        "type": made.type,
        "issuer": made.issuer,
        "metadata": dict(made.metadata),
        "scopes": list(made.scopes),
        "secret": made.secret,
        "name": made.name,
    }
    if settings().output in {"json", "yaml"}:
        output.value(shown, settings().output)
    else:
        output.say(f"Account created: {json.dumps(shown, ensure_ascii=False)}")


@create.command("rule", cls=Command, example="micro auth create rule shop --scope '*' --resource 'service:shop:*'")
@click.argument("id")
@click.option(
    "--scope", default="", help="who: empty is anybody, + any account, * any of the namespace, else who has the scope"
)
@click.option("--resource", default="*:*:*", help="type:name:endpoint")
@click.option("--access", type=click.Choice([*ACCESS]), default="granted", help="what they get")
@click.option("--priority", type=Whole(-(2**31), 2**31 - 1), default=0, help="higher is asked first")
def rule(id: str, scope: str, resource: str, access: str, priority: int) -> None:
    """Create a rule"""
    parts = resource.split(":")
    if len(parts) != 3 or not all(parts):
        raise click.UsageError(f"Invalid resource {resource!r}, must be in the format type:name:endpoint")
    place = pb.Resource(type=parts[0], name=parts[1], endpoint=parts[2])
    made = pb.Rule(id=id, scope=scope, resource=place, access=ACCESS[access], priority=priority)
    session().core("auth", "Rules.Create", pb.CreateRequest(rule=made, options=_options()), pb.CreateResponse)
    output.note("Rule created.")


@create.command("token", cls=Command, example="micro auth create token --id ann --secret …")
@click.option("--id", default="", help="account; you if not given")
@click.option("--secret", default="", help="its secret")
@click.option("--expiry", default=900, type=Whole(1, MAX_LIFE), help="seconds")
def token(id: str, secret: str, expiry: int) -> None:
    """Print an access token"""
    here = session()
    if not id:
        output.say(here.token)
        return
    request = pb.TokenRequest(id=id, secret=secret, token_expiry=expiry, options=_options())
    output.say(here.core("auth", "Auth.Token", request, pb.TokenResponse, token="").token.access_token)


@auth.group("update", cls=Group, example="micro auth update secret ann")
def update() -> None:
    """Change a secret"""


@update.command("secret", cls=Command, example="micro auth update secret ann --new-secret …")
@click.argument("id")
@click.option("--old-secret", default="", help="waived for admins of the platform")
@click.option("--new-secret", help="asked for when not given")
def change_secret(id: str, old_secret: str, new_secret: str | None) -> None:
    """Change an account's secret"""
    new = secret(new_secret, "New secret", "--new-secret", new=True)
    from micro.cli import account

    account.change_secret(session(), id, old_secret, new, session().namespace)


@auth.group("delete", cls=Group, example="micro auth delete account ann")
def delete() -> None:
    """Delete an account or a rule"""


@delete.command("account", cls=Command, example="micro auth delete account ann")
@click.argument("id")
def delete_account(id: str) -> None:
    """Delete an account"""
    request = pb.DeleteAccountRequest(id=id, options=_options())
    session().core("auth", "Accounts.Delete", request, pb.DeleteAccountResponse)


@delete.command("rule", cls=Command, example="micro auth delete rule shop")
@click.argument("id")
def delete_rule(id: str) -> None:
    """Delete a rule"""
    session().core("auth", "Rules.Delete", pb.DeleteRequest(id=id, options=_options()), pb.DeleteResponse)


@auth.command("check", cls=Command, example="micro auth check ann service:shop:Orders.Place")
@click.argument("account_id", metavar="ACCOUNT")
@click.argument("resource")
def check(account_id: str, resource: str) -> None:
    """Say whether an account may, and which rule decides"""
    parts = resource.split(":")
    if len(parts) != 3 or not all(parts):
        raise click.UsageError(f"Invalid resource {resource!r}, must be in the format type:name:endpoint")
    here = session()
    place = pb.Resource(type=parts[0], name=parts[1], endpoint=parts[2])
    request = pb.CheckRequest(account=account_id, resource=place, namespace=here.namespace)
    found = here.core("auth", "Auth.Check", request, pb.CheckResponse)
    output.say(f"{'allowed' if found.allowed else 'refused'} by {'rule ' + found.rule if found.rule else 'no rule'}")
    for line in found.trail:
        output.say(f"  {line}")


@auth.command("revoke", cls=Command, example="micro auth revoke ann\nmicro auth revoke --token 3f9a…")
@click.argument("id", required=False, default="")
@click.option("--token", "token_id", default="", help="the id of one token, its claim jti, in place of an account's")
def revoke(id: str, token_id: str) -> None:
    """Refuse all tokens of an account, or one, everywhere within 5 seconds; open streams end"""
    if bool(id) == bool(token_id):
        raise click.UsageError("Give an account's id, or --token")
    here = session()
    request = pb.RevokeTokenRequest(namespace=here.namespace, id=id, token_id=token_id)
    here.core("auth", "Auth.Revoke", request, pb.RevokeTokenResponse)
    output.note("Revoked.")


@auth.command("rotate", cls=Command, example="micro auth rotate")
@click.option("--data", default="", help="data folder of the server (MICRO_DATA)")
@click.option("--announce", default=30, type=Whole(0, 86_400), help="seconds that the new key is known before it signs")
def rotate(data: str, announce: int) -> None:
    """Put a new signing key in the place of the server's on this machine; nobody is logged out"""
    from micro.server import folder, keys

    place = folder.locate(data)
    if not keys.exist(place):
        raise click.ClickException(f"No signing key in {place}: no server was started there yet")
    try:
        kid = keys.announce(place)
        output.note(f"Key {kid} signs in {announce} s; if this is broken off, run it again.")
        time.sleep(announce)
        keys.promote(place, kid)
    except (OSError, folder.FolderError, ConfigError) as err:
        raise click.ClickException(str(err)) from None
    output.say(kid)


COMMANDS = {"auth": auth}
