"""Accounts, rules and news as the wire's messages, for the service and for the remote driver alike."""

from __future__ import annotations

from collections.abc import Iterator

from micro.auth.driver import Event, Resource, Revocation, Rule, Token
from micro.context import CORE_NAMESPACE, Account
from micro.plugin.driver import Change, Reset, Synced
from micro.proto import auth_pb2 as pb

# Texts by which peers, and our own remote driver, know one refusal from another; all are 400.
ID_TAKEN = "Account with this ID already exists"
NAME_TAKEN = "Account with this Name already exists"
NO_ACCOUNT = "Account not found with this ID"
WRONG_SECRET = "Secret not correct"  # noqa: S105 - a text, not a secret
RULE_TAKEN = "A rule with this ID already exists"


def options(namespace: str) -> pb.Options:
    """Name a namespace."""
    return pb.Options(namespace=namespace)


def account_out(account: Account, secret: str = "") -> pb.Account:
    """Write an account."""
    return pb.Account(
        id=account.id,
        type=account.type,
        metadata=account.metadata,
        scopes=account.scopes,
        issuer=account.issuer,
        secret=secret,
        name=account.name,
    )


def account_in(account: pb.Account) -> Account:
    """Read an account."""
    return Account(
        account.id,
        issuer=account.issuer or CORE_NAMESPACE,
        type=account.type,
        scopes=tuple(account.scopes),
        metadata=account.metadata,
        name=account.name,
    )


def token_out(token: Token) -> pb.Token:
    """Write a token."""
    return pb.Token(
        access_token=token.access_token,
        refresh_token=token.refresh_token,
        created=token.created,
        expiry=token.expiry,
    )


def token_in(token: pb.Token) -> Token:
    """Read a token."""
    return Token(token.access_token, token.refresh_token, token.created, token.expiry)


def rule_out(rule: Rule) -> pb.Rule:
    """Write a rule."""
    return pb.Rule(
        id=rule.id,
        scope=rule.scope,
        resource=pb.Resource(**rule.resource._asdict()),
        access=rule.access,  # type: ignore[arg-type] # a number of the enum
        priority=rule.priority,
    )


def rule_in(rule: pb.Rule) -> Rule:
    """Read a rule."""
    resource = Resource(rule.resource.name, rule.resource.type, rule.resource.endpoint)
    return Rule(rule.id, rule.scope, resource, int(rule.access), rule.priority)


def event_out(event: Event) -> pb.WatchResponse:
    """Write one piece of news."""
    answer = pb.WatchResponse(version=event.version)
    if isinstance(event, Reset):
        answer.reset = True
    elif isinstance(event, Synced):
        answer.synced = True
    elif isinstance(event.item, Rule):
        answer.rules.add(rule=rule_out(event.item), version=event.version)
    elif isinstance(event.item, Revocation):
        item = event.item
        answer.revoked.add(account=item.account, token_id=item.token, before=item.before)
    elif isinstance(event.item, str):
        answer.keys = event.item
    elif event.key.startswith("rules/"):
        gone = pb.Rule(id=event.key.removeprefix("rules/"), resource=pb.Resource())
        answer.rules.add(kind=pb.RuleChange.DELETE, rule=gone, version=event.version)
    return answer


def events_in(answer: pb.WatchResponse) -> Iterator[Event]:
    """Read what one message tells; nothing, of one that only says that the stream lives."""
    version = answer.version
    if answer.reset:
        yield Reset(version)
    for change in answer.rules:
        key = f"rules/{change.rule.id}"
        if change.kind == pb.RuleChange.DELETE:
            yield Change("delete", key, change.version)
        else:
            yield Change("put", key, change.version, rule_in(change.rule))
    if answer.keys:
        yield Change("put", "keys", version, answer.keys)
    for told in answer.revoked:
        item = Revocation(told.account, told.token_id, told.before)
        yield Change("put", f"revoked/{item.account or item.token}", version, item)
    if answer.synced:
        yield Synced(version)
