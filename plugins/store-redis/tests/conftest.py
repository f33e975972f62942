"""The Redis that the tests share."""

from micro.testing.servers import redis_server

__all__ = ["redis_server"]
