"""The core service `config`: a portable Config behind the wire, with its callers' rights and encrypted secrets."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from micro import limits
from micro.config import tree, wire
from micro.config.api import Config
from micro.config.driver import ConfigDriver
from micro.config.sealed import Sealed, file_key, read_key
from micro.context import CORE_NAMESPACE
from micro.errors import InvalidArgument
from micro.plugin.driver import Reset, Synced
from micro.proto import config_pb2 as pb
from micro.rpc import access
from micro.rpc.endpoint import endpoint
from micro.service.core import Core

if TYPE_CHECKING:
    from micro.service.core import Host

HISTORY = 20  # entries given when their number is not said


async def build(host: Host) -> Core:
    """Open the profile's configuration, sealed with the server's key, and serve it."""
    driver, plugin = host.driver("config")
    assert isinstance(driver, ConfigDriver)
    given = str(host.setting("config", "secret_key", ""))
    key = read_key(given) if given else file_key(host.data / "secret.key")
    config = Config(Sealed(driver, key), plugin=plugin)
    await config.open()
    return Core(
        [("Config", ConfigHandler(config))],
        close=config.close,
        capabilities=lambda: config.capabilities,
        plugin=plugin,
    )


class ConfigHandler:
    """JSON by path. The admins of a namespace may use its tree."""

    def __init__(self, config: Config) -> None:
        self._config = config

    @endpoint(idempotent=True)
    async def get(self, request: pb.GetRequest) -> pb.GetResponse:
        """Give what is at a path, `null` for nothing; the empty path is the whole tree."""
        entry = await self._at(request.namespace).entry(request.path, reveal=request.options.secret)
        return pb.GetResponse(
            value=wire.value_out(entry.value),
            version=entry.version,
            secret_paths=map(tree.show, entry.secret_paths),
        )

    async def set(self, request: pb.SetRequest) -> pb.SetResponse:
        """Merge an object leaf by leaf into what is at a path, or put any other value there."""
        config = self._at(request.namespace)
        if not request.HasField("value"):
            raise InvalidArgument("invalid change")
        value = wire.value_in(request.value)
        return pb.SetResponse(version=await config.set(request.path, value, secret=request.options.secret))

    async def delete(self, request: pb.DeleteRequest) -> pb.DeleteResponse:
        """Remove a path and all below it."""
        return pb.DeleteResponse(version=await self._at(request.namespace).delete(request.path))

    @endpoint(idempotent=True)
    async def read(self, request: pb.ReadRequest) -> pb.ReadResponse:
        """Give what is at a path in the old form, secrets masked."""
        entry = await self._at(request.namespace).entry(request.path)
        change = pb.ChangeSet(data=wire.value_out(entry.value).data, format="json")
        return pb.ReadResponse(
            change=pb.Change(namespace=request.namespace or CORE_NAMESPACE, path=request.path, changeSet=change)
        )

    async def put(self, request: pb.PutRequest) -> pb.PutResponse:
        """Set or remove a path, if it is at a version."""
        config = self._at(request.namespace)
        if_version = request.if_version if request.HasField("if_version") else None
        if request.delete:
            return pb.PutResponse(version=await config.delete(request.path, if_version=if_version))
        if not request.HasField("value"):
            raise InvalidArgument("invalid change")
        value = wire.value_in(request.value)
        version = await config.set(request.path, value, secret=request.options.secret, if_version=if_version)
        return pb.PutResponse(version=version)

    async def watch(self, request: pb.WatchRequest) -> AsyncIterator[pb.WatchResponse]:
        """Follow a path as one item: what is there, `synced`, then what it becomes."""
        config = self._at(request.namespace)
        path = tree.parse(request.path)
        after = request.after if request.HasField("after") else None
        async for event in config.changes(request.path, after=after, resume=False):
            if isinstance(event, Synced):
                yield pb.WatchResponse(synced=True, version=event.version)
            elif isinstance(event, Reset):
                yield pb.WatchResponse(reset=True, version=event.version)
            else:
                yield pb.WatchResponse(changes=[wire.change_out(path, event)])

    @endpoint(idempotent=True)
    async def history(self, request: pb.HistoryRequest) -> pb.HistoryResponse:
        """Give what a path was, the newest first, as many as one message holds."""
        entries = await self._at(request.namespace).history(request.path, limit=request.limit or HISTORY)
        path = tree.parse(request.path)
        answer = pb.HistoryResponse()
        size = 0
        for entry in entries:
            written = wire.entry_out(path, entry)
            size += written.ByteSize() + 8
            if size > limits.MESSAGE - limits.MIB:
                break
            answer.entries.append(written)
        return answer

    async def rollback(self, request: pb.RollbackRequest) -> pb.RollbackResponse:
        """Make a path what it was at a version."""
        return pb.RollbackResponse(version=await self._at(request.namespace).rollback(request.path, request.version))

    def _at(self, namespace: str) -> Config:
        access.admin(namespace or CORE_NAMESPACE)
        return self._config.at(namespace or CORE_NAMESPACE)
