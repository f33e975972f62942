"""The NATS that the tests share."""

from micro.testing.servers.nats import nats_server

__all__ = ["nats_server"]
