"""The client for each way that Redis runs: one server, a primary that sentinels name, a cluster."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from redis import exceptions as rx
from redis.asyncio import BlockingConnectionPool, Redis, RedisCluster
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel, SentinelConnectionPool
from redis.backoff import NoBackoff
from redis.connection import parse_url
from redis.maint_notifications import MaintNotificationsConfig

from micro.errors import ConfigError

if TYPE_CHECKING:
    from micro_store_redis.store import RedisSettings

SENTINEL_PORT = 26_379
_ONE = frozenset({"host", "port", "path", "connection_class"})  # what a url says of one server alone


class Client:
    """One of them, made of settings; it connects when it is used, and an answer may take `timeout` seconds."""

    def __init__(self, settings: RedisSettings, *, size: int, timeout: float) -> None:
        self._sentinel: Sentinel | None = None
        options = _options(settings, timeout)
        if settings.mode == "single":
            pool = BlockingConnectionPool.from_url(settings.url, max_connections=size, timeout=timeout, **options)
            self.redis: Any = Redis(connection_pool=pool)
            return
        told: dict[str, Any] = dict(parse_url(settings.url))  # type: ignore[no-untyped-call]
        secure = urlsplit(settings.url).scheme == "rediss"
        options |= {name: value for name, value in told.items() if name not in _ONE}
        options |= {"ssl": True} if secure else {}
        nodes = [_place(each) for each in settings.nodes]
        if settings.mode == "cluster":
            if told.get("db"):
                raise ConfigError(f"url: a cluster has database 0 alone, found {told['db']}")
            first = (told.get("host", "127.0.0.1"), told.get("port", 6379))
            places = [ClusterNode(host, port) for host, port in (first, *nodes)]
            self.redis = RedisCluster(startup_nodes=places, **options | {"db": 0})
            return
        if not nodes:
            raise ConfigError("nodes: with mode 'sentinel' they are the sentinels, and there are none")
        # What sentinels are asked with is what makes a connection, less whom they do not know.
        own = {name: value for name, value in options.items() if name not in {"username", "password", "db"}}
        own["socket_timeout"] = settings.connect_timeout
        self._sentinel = Sentinel(nodes, sentinel_kwargs=own)  # type: ignore[no-untyped-call]
        found = SentinelConnectionPool(settings.master, self._sentinel, **options)  # type: ignore[no-untyped-call]
        self.redis = Redis(connection_pool=found)

    async def close(self) -> None:
        """End its connections, whatever the servers say."""
        clients = [self.redis, *(self._sentinel.sentinels if self._sentinel is not None else ())]
        for client in clients:
            with suppress(rx.RedisError, OSError):
                await client.aclose()
                if isinstance(client, Redis):
                    await client.connection_pool.disconnect()


def _options(settings: RedisSettings, timeout: float) -> dict[str, Any]:
    options: dict[str, Any] = {
        "socket_connect_timeout": settings.connect_timeout,
        "socket_timeout": timeout,
        "socket_keepalive": True,
        "protocol": 2,
        # The client's own retries run a command twice whose answer was late.
        "retry": Retry(NoBackoff(), 0),
        # With these on the pool does not notice that the server has closed its connections.
        "maint_notifications_config": MaintNotificationsConfig(enabled=False),
    }
    if settings.password:
        options["password"] = settings.password.reveal()
    if settings.ca:
        options["ssl_ca_certs"] = settings.ca
    return options


def _place(node: str) -> tuple[str, int]:
    host, _, port = node.rpartition(":")
    if not host:
        return node, SENTINEL_PORT
    if not port.isascii() or not port.isdigit():
        raise ConfigError(f"nodes: host:port is wanted, found {node!r}")
    return host.strip("[]"), int(port)
