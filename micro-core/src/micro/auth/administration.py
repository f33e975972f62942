"""The handlers by which a namespace is administered: its accounts and its rules, in the original's words."""

from __future__ import annotations

import logging

from micro.auth import wire
from micro.auth.api import Auth
from micro.context import CORE_NAMESPACE, current
from micro.errors import AlreadyExists, InvalidArgument, NotFound
from micro.proto import auth_pb2 as pb
from micro.rpc import access

_log = logging.getLogger("micro.auth.changes")


def note(change: str) -> None:
    """Keep in the log who changed what, before it is answered."""
    context = current()
    who = f"{context.account.id} of {context.account.issuer}" if context.account is not None else "nobody"
    _log.info("%s, by %s from %s", change, who, context.metadata.get("remote") or context.peer)


class AccountsHandler:
    """The accounts of a namespace, for its admins."""

    def __init__(self, auth: Auth) -> None:
        self._auth = auth

    async def list(self, request: pb.ListAccountsRequest) -> pb.ListAccountsResponse:
        """Give all accounts, without secrets."""
        auth = self._auth.at(_namespace(request.options))
        access.admin(auth.namespace)
        return pb.ListAccountsResponse(accounts=[wire.account_out(one) for one in await auth.accounts.list()])

    async def delete(self, request: pb.DeleteAccountRequest) -> pb.DeleteAccountResponse:
        """Remove an account, by its id or name."""
        auth = self._auth.at(_namespace(request.options))
        if not request.id:
            raise InvalidArgument("Missing ID")
        who = access.admin(auth.namespace)
        account = await auth.accounts.get(request.id)
        if account is None:
            raise InvalidArgument(wire.NO_ACCOUNT)
        if account == who:
            raise InvalidArgument("Can't delete your own account")
        try:
            await auth.accounts.delete(account.id)
        except NotFound as err:
            raise InvalidArgument(wire.NO_ACCOUNT) from err
        note(f"account {account.id} of {auth.namespace} deleted")
        return pb.DeleteAccountResponse()

    async def change_secret(self, request: pb.ChangeSecretRequest) -> pb.ChangeSecretResponse:
        """Change an account's secret; the old one is not asked of the platform's admins and of services."""
        auth = self._auth.at(_namespace(request.options))
        who = access.member(auth.namespace)
        if not request.new_secret:
            raise InvalidArgument("New secret should not be blank")
        here = who.issuer == auth.namespace
        waived = (who.is_service and here) or (who.is_platform and "admin" in who.scopes) or who.is_core
        try:
            await auth.accounts.change_secret(
                request.id, request.new_secret, old=None if waived else request.old_secret
            )
        except NotFound as err:
            raise InvalidArgument(wire.NO_ACCOUNT) from err
        note(f"secret of account {request.id} of {auth.namespace} changed")
        return pb.ChangeSecretResponse()


class RulesHandler:
    """The rules of a namespace: its members read, its admins write."""

    def __init__(self, auth: Auth) -> None:
        self._auth = auth

    async def create(self, request: pb.CreateRequest) -> pb.CreateResponse:
        """Add a rule."""
        auth = self._auth.at(_namespace(request.options))
        access.admin(auth.namespace)
        if not request.HasField("rule"):
            raise InvalidArgument("Rule missing")
        if not request.rule.id:
            raise InvalidArgument("ID missing")
        if not request.rule.HasField("resource"):
            raise InvalidArgument("Resource missing")
        if request.rule.access == pb.UNKNOWN:
            raise InvalidArgument("Access missing")
        try:
            await auth.rules.create(wire.rule_in(request.rule))
        except AlreadyExists as err:
            raise InvalidArgument(wire.RULE_TAKEN) from err
        note(f"rule {request.rule.id} of {auth.namespace} created")
        return pb.CreateResponse()

    async def delete(self, request: pb.DeleteRequest) -> pb.DeleteResponse:
        """Delete a rule; a missing one is fine."""
        auth = self._auth.at(_namespace(request.options))
        access.admin(auth.namespace)
        if not request.id:
            raise InvalidArgument("ID missing")
        await auth.rules.delete(request.id)
        note(f"rule {request.id} of {auth.namespace} deleted")
        return pb.DeleteResponse()

    async def list(self, request: pb.ListRequest) -> pb.ListResponse:
        """Give all rules."""
        auth = self._auth.at(_namespace(request.options))
        access.member(auth.namespace)
        return pb.ListResponse(rules=[wire.rule_out(rule) for rule in await auth.rules.list()])


def _namespace(options: pb.Options) -> str:
    return options.namespace or CORE_NAMESPACE
