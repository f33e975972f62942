"""The accounts that services run as: one for each instance, made anew when it starts."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod

from micro import names
from micro.errors import NotFound, ServiceError
from micro.proto import auth_pb2 as pb
from micro.rpc.caller import Caller

SERVICE = "auth"


class Accounts(ABC):
    """Who gives services their accounts."""

    @abstractmethod
    async def create(self, namespace: str, id: str) -> str:
        """Make an account anew; gives its secret. An earlier one of this id can no longer log in."""

    @abstractmethod
    async def remove(self, namespace: str, id: str) -> None:
        """Forget an account; one that is not there is fine."""


class RemoteAccounts(Accounts):
    """Accounts of the service `auth`."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    async def create(self, namespace: str, id: str) -> str:
        await self.remove(namespace, id)
        request = pb.GenerateRequest(id=id, type="service", scopes=["service"], options=pb.Options(namespace=namespace))
        answer = await self._caller.call(SERVICE, "Auth.Generate", request, pb.GenerateResponse)
        return answer.account.secret

    async def remove(self, namespace: str, id: str) -> None:
        request = pb.DeleteAccountRequest(id=id, options=pb.Options(namespace=namespace))
        try:
            await self._caller.call(SERVICE, "Accounts.Delete", request, pb.DeleteAccountResponse)
        except NotFound:
            return
        except ServiceError as err:
            if "not found" not in err.detail:
                raise


def account_id(name: str, version: str, number: int, round: int) -> str:
    """Give an instance's account: `<name>-<version>`, told apart for further instances and for rounds of an update."""
    suffix = (f".{number}" if number else "") + (f"+{round}" if round else "")
    id = f"{name}-{version}{suffix}"
    if len(id) <= names.MAX_NAME:
        return id
    short = hashlib.blake2s(id.encode(), digest_size=8).hexdigest()
    return f"{name[:40]}-{short}"
