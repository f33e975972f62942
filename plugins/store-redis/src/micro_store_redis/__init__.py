"""Micro's store on Redis."""

from micro_store_redis.store import RedisSettings, RedisStore

__all__ = ["RedisSettings", "RedisStore"]
