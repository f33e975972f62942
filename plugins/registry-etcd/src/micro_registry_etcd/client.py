"""etcd's API over grpc.aio: the few calls that a registry makes, with their deadlines, and a log-in."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Sequence
from contextlib import aclosing, suppress
from pathlib import Path
from typing import Any

import grpc
from grpc.aio import AioRpcError

from micro.errors import Code, FailedPrecondition
from micro_registry_etcd import etcd_pb2 as pb
from micro_registry_etcd.settings import EtcdSettings

PAGE = 1000  # keys of one answer
_METHODS: dict[str, tuple[Any, Any]] = {
    "KV/Range": (pb.RangeRequest, pb.RangeResponse),
    "KV/Txn": (pb.TxnRequest, pb.TxnResponse),
    "KV/Compact": (pb.CompactionRequest, pb.CompactionResponse),
    "Lease/LeaseGrant": (pb.LeaseGrantRequest, pb.LeaseGrantResponse),
    "Lease/LeaseRevoke": (pb.LeaseRevokeRequest, pb.LeaseRevokeResponse),
    "Auth/Authenticate": (pb.AuthenticateRequest, pb.AuthenticateResponse),
}
_OPTIONS = [
    ("grpc.keepalive_time_ms", 10_000),  # not more often than etcd allows: it cuts who does
    ("grpc.keepalive_timeout_ms", 3_000),
    ("grpc.http2.ping_timeout_ms", 3_000),  # without it a server that hangs is not noticed by an idle watch
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    ("grpc.enable_retries", 0),
    ("grpc.max_receive_message_length", 64 << 20),
    ("grpc.use_local_subchannel_pool", 1),  # a closed channel closes its connections
]


class EtcdError(Exception):
    """What etcd answered, or the transport: `code` is gRPC's number."""

    def __init__(self, words: str, code: int = Code.INTERNAL) -> None:
        super().__init__(words)
        self.code = code


class CompactedError(Exception):
    """A revision is no longer there; `revision` is the oldest that is."""

    def __init__(self, revision: int) -> None:
        super().__init__(f"etcd has forgotten what was before revision {revision}")
        self.revision = revision


class Client:
    """A connection to a cluster. Belongs to the loop that opened it."""

    def __init__(self, settings: EtcdSettings) -> None:
        self._settings = settings
        self._channel: grpc.aio.Channel | None = None
        self._calls: dict[str, Any] = {}
        self._token = ""
        self._logging_in = asyncio.Lock()

    async def open(self) -> None:
        """Connect, log in, and ask something."""
        self._channel = await self._connected()
        for path, (request, response) in _METHODS.items():
            self._calls[path] = self._channel.unary_unary(
                f"/etcdserverpb.{path}",
                request_serializer=request.SerializeToString,
                response_deserializer=response.FromString,
            )
        if self._settings.user:
            await self._log_in("")
        ours = self._settings.prefix.rstrip("/").encode() + b"/"  # a role may allow no more
        request = pb.RangeRequest(key=ours, range_end=after(ours), count_only=True)
        await self.call("KV/Range", request, self._settings.connect_timeout)

    async def close(self) -> None:
        """Close the connection; what waits for an answer fails."""
        channel, self._channel = self._channel, None
        self._calls = {}
        if channel is not None:
            await channel.close(None)

    async def call(self, path: str, request: Any, timeout: float | None = None) -> Any:
        """Make one call; with a token that has expired, once more with a new one."""
        for again in (True, False):
            method = self._calls.get(path)
            if method is None:
                raise FailedPrecondition("the registry is closed")
            token = self._token
            try:
                return await method(request, timeout=timeout or self._settings.timeout, metadata=self._metadata())
            except asyncio.CancelledError:
                if self._channel is None and not _asked():  # gRPC cancels what is under way when its channel is closed
                    raise FailedPrecondition("the registry was closed") from None
                raise
            except AioRpcError as exc:
                if again and token and "invalid auth token" in (exc.details() or ""):
                    await self._log_in(token)
                    continue
                raise _error(exc) from exc
        raise AssertionError  # the second turn returns or raises

    async def range(self, prefix: bytes, *, revision: int = 0) -> tuple[int, list[Any]]:
        """Give all keys that begin so, as of one revision, and that revision."""
        found: list[Any] = []
        key = prefix
        while True:
            request = pb.RangeRequest(key=key, range_end=after(prefix), limit=PAGE, revision=revision)
            page = await self.call("KV/Range", request)
            revision = revision or page.header.revision
            found += page.kvs
            if not page.more:
                return revision, found
            key = page.kvs[-1].key + b"\0"

    async def ranges(self, prefixes: Sequence[bytes]) -> list[list[Any]]:
        """Give all keys that begin with each of these, as of one moment but for very many; at most 128 prefixes."""
        ops = [pb.RequestOp(range=pb.RangeRequest(key=each, range_end=after(each), limit=PAGE)) for each in prefixes]
        answer = await self.call("KV/Txn", pb.TxnRequest(success=ops))
        found = [each.range for each in answer.responses]
        return [
            (await self.range(prefix))[1] if one.more else list(one.kvs)
            for prefix, one in zip(prefixes, found, strict=True)
        ]

    async def get(self, keys: Sequence[bytes]) -> list[Any]:
        """Give these keys as of one moment, None for those that are not there; at most 128."""
        ops = [pb.RequestOp(range=pb.RangeRequest(key=key)) for key in keys]
        answer = await self.call("KV/Txn", pb.TxnRequest(success=ops))
        return [each.range.kvs[0] if each.range.kvs else None for each in answer.responses]

    async def grant(self, seconds: int) -> int:
        """Make a lease; gives its id."""
        answer = await self.call("Lease/LeaseGrant", pb.LeaseGrantRequest(ttl=seconds))
        return int(answer.id)

    async def revoke(self, lease: int) -> None:
        """End a lease, whatever becomes of it."""
        with suppress(EtcdError, FailedPrecondition):
            await self.call("Lease/LeaseRevoke", pb.LeaseRevokeRequest(id=lease))

    async def keep(self, leases: Iterable[int]) -> set[int]:
        """Give leases their full time again; gives those that are alive."""

        async def requests() -> AsyncIterator[Any]:
            for lease in leases:
                yield pb.LeaseKeepAliveRequest(id=lease)

        if self._channel is None:
            raise FailedPrecondition("the registry is closed")
        method = self._channel.stream_stream(
            "/etcdserverpb.Lease/LeaseKeepAlive",
            request_serializer=pb.LeaseKeepAliveRequest.SerializeToString,
            response_deserializer=pb.LeaseKeepAliveResponse.FromString,
        )
        call = method(requests(), timeout=self._settings.timeout, metadata=self._metadata())
        try:
            return {answer.id async for answer in call if answer.ttl > 0}
        except AioRpcError as exc:
            raise _error(exc) from exc
        finally:
            call.cancel()

    async def watch(self, prefix: bytes, start: int) -> AsyncGenerator[Any, None]:
        """Give what is said of the keys that begin so, from a revision on; CompactedError when that is gone."""
        if self._channel is None:
            raise FailedPrecondition("the registry is closed")
        method = self._channel.stream_stream(
            "/etcdserverpb.Watch/Watch",
            request_serializer=pb.WatchRequest.SerializeToString,
            response_deserializer=pb.WatchResponse.FromString,
        )
        asked = pb.WatchCreateRequest(key=prefix, range_end=after(prefix), start_revision=start, progress_notify=True)
        token = self._token
        call: Any = method(metadata=self._metadata())  # type: ignore[call-arg]  # requests are written one by one
        try:
            await call.write(pb.WatchRequest(create=asked))
            async with aclosing(_answers(call)) as answers:
                async for answer in answers:
                    if answer.compact_revision:
                        raise CompactedError(answer.compact_revision)
                    if answer.canceled:
                        if "invalid auth token" in answer.cancel_reason:
                            await self._log_in(token)
                        raise EtcdError(f"the watch was ended: {answer.cancel_reason}", Code.UNAVAILABLE)
                    yield answer
        except AioRpcError as exc:
            raise _error(exc) from exc
        finally:
            call.cancel()

    async def _log_in(self, before: str) -> None:
        """Get a token, unless somebody did since `before` was in use."""
        async with self._logging_in:
            if self._token != before:
                return
            self._token = ""
            request = pb.AuthenticateRequest(name=self._settings.user, password=self._settings.password.reveal())
            self._token = (await self.call("Auth/Authenticate", request, self._settings.connect_timeout)).token

    def _metadata(self) -> Any:
        return (("token", self._token),) if self._token else None

    async def _connected(self) -> grpc.aio.Channel:
        addresses = self._settings.addresses
        options: list[tuple[str, Any]] = list(_OPTIONS)
        if self._settings.server_name:
            options.append(("grpc.ssl_target_name_override", self._settings.server_name))
        target = addresses[0]
        if len(addresses) > 1:
            target = "ipv4:" + ",".join(await _resolved(addresses))
            options.append(("grpc.default_authority", addresses[0]))
        if not self._settings.secure:
            return grpc.aio.insecure_channel(target, options=options)
        files = (self._settings.ca, self._settings.key, self._settings.certificate)
        parts = await asyncio.to_thread(lambda: [Path(file).read_bytes() if file else None for file in files])
        return grpc.aio.secure_channel(target, grpc.ssl_channel_credentials(*parts), options=options)


async def _answers(call: Any) -> AsyncGenerator[Any, None]:
    async for answer in call:
        yield answer


async def _resolved(addresses: Sequence[str]) -> list[str]:
    """Look all members up: gRPC takes several only as numbers."""
    loop = asyncio.get_running_loop()
    found = []
    for address in addresses:
        host, _, port = address.rpartition(":")
        infos = await loop.getaddrinfo(host.strip("[]"), int(port), family=socket.AF_INET, type=socket.SOCK_STREAM)
        found += [f"{info[4][0]}:{info[4][1]}" for info in infos[:1]]  # type: ignore[str-bytes-safe]  # of IPv4: text
    return found


def after(prefix: bytes) -> bytes:
    """Give the first key after all that begin so."""
    return prefix[:-1] + bytes([prefix[-1] + 1])


def _asked() -> bool:
    """Tell whether somebody asked for the cancellation of this task."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _error(exc: AioRpcError) -> EtcdError:
    code = int(exc.code().value[0])
    words = exc.details() or exc.code().name.lower()
    if "authentication failed" in words or "user name is empty" in words:
        code = Code.UNAUTHENTICATED
    return EtcdError(words, code)
