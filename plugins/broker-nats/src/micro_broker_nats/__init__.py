"""Micro's broker on NATS."""

from micro_broker_nats.broker import NatsBroker
from micro_broker_nats.settings import NatsSettings

__all__ = ["NatsBroker", "NatsSettings"]
