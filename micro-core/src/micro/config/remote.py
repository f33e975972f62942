"""The driver over gRPC: the configuration of the platform around this process."""

from __future__ import annotations

from collections.abc import AsyncIterator

from micro.config import tree, wire
from micro.config.driver import JSON, ConfigDriver, Entry, Event, Path
from micro.errors import FailedPrecondition
from micro.plugin.driver import Reset, Synced
from micro.plugin.settings import Settings
from micro.proto import config_pb2 as pb
from micro.proto import debug_pb2
from micro.rpc.caller import Caller

SERVICE = "config"


class RemoteConfig(ConfigDriver, interface=1):
    """Calls the service `config` as the caller's account.

    Works without `open`, which only asks the service what its driver can: until then everything is claimed and the
    service refuses what it cannot.
    """

    settings_type = Settings
    needs = frozenset({"caller"})
    capabilities = frozenset({"conditions", "watch", "history", "secrets"})

    def __init__(self, settings: Settings | None = None, *, caller: Caller) -> None:
        self._caller = caller
        self._closed = False

    async def open(self) -> None:
        info = await self._caller.call(
            SERVICE, "Debug.Info", debug_pb2.InfoRequest(), debug_pb2.InfoResponse, idempotent=True
        )
        self.capabilities = frozenset(info.capabilities)

    async def close(self) -> None:
        self._closed = True  # the caller is whose it was

    async def get(self, namespace: str, path: Path, *, reveal: bool = False) -> Entry:
        self._check()
        request = pb.GetRequest(namespace=namespace, path=tree.show(path), options=pb.Options(secret=reveal))
        answer = await self._caller.call(SERVICE, "Config.Get", request, pb.GetResponse, idempotent=True)
        return wire.entry_in(answer.value, answer.version, answer.secret_paths)

    async def set(
        self, namespace: str, path: Path, value: JSON, *, secret: bool = False, if_version: int | None = None
    ) -> int:
        self._check()
        data = wire.value_out(value)
        options = pb.Options(secret=secret)
        if if_version is None:
            plain = pb.SetRequest(namespace=namespace, path=tree.show(path), value=data, options=options)
            return (await self._caller.call(SERVICE, "Config.Set", plain, pb.SetResponse)).version
        request = pb.PutRequest(
            namespace=namespace, path=tree.show(path), value=data, options=options, if_version=if_version
        )
        return (await self._caller.call(SERVICE, "Config.Put", request, pb.PutResponse)).version

    async def delete(self, namespace: str, path: Path, *, if_version: int | None = None) -> int:
        self._check()
        if if_version is None:
            plain = pb.DeleteRequest(namespace=namespace, path=tree.show(path))
            return (await self._caller.call(SERVICE, "Config.Delete", plain, pb.DeleteResponse)).version
        request = pb.PutRequest(namespace=namespace, path=tree.show(path), delete=True, if_version=if_version)
        return (await self._caller.call(SERVICE, "Config.Put", request, pb.PutResponse)).version

    async def watch(self, namespace: str, path: Path, *, after: int | None = None) -> AsyncIterator[Event]:
        self._check()
        request = pb.WatchRequest(namespace=namespace, path=tree.show(path), after=after)
        async for answer in self._caller.serve_stream(SERVICE, "Config.Watch", request, pb.WatchResponse):
            if answer.reset:
                yield Reset(answer.version)
            for change in answer.changes:
                yield wire.change_in(change)
            if answer.synced:
                yield Synced(answer.version)

    async def history(self, namespace: str, path: Path, *, limit: int = 20) -> list[Entry]:
        self._check()
        request = pb.HistoryRequest(namespace=namespace, path=tree.show(path), limit=limit)
        answer = await self._caller.call(SERVICE, "Config.History", request, pb.HistoryResponse, idempotent=True)
        return [wire.entry_in(entry.value, entry.version, entry.secret_paths) for entry in answer.entries]

    async def rollback(self, namespace: str, path: Path, version: int) -> int:
        self._check()
        request = pb.RollbackRequest(namespace=namespace, path=tree.show(path), version=version)
        return (await self._caller.call(SERVICE, "Config.Rollback", request, pb.RollbackResponse)).version

    def _check(self) -> None:
        if self._closed:
            raise FailedPrecondition("the configuration is closed")
