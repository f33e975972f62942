"""The PostgreSQL that the tests share."""

from micro.testing.servers.postgres import postgres_server

__all__ = ["postgres_server"]
