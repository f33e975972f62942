"""Micro's broker and events on NATS."""

from micro_broker_nats.broker import NatsBroker
from micro_broker_nats.events import NatsEvents
from micro_broker_nats.settings import NatsEventsSettings, NatsSettings

__all__ = ["NatsBroker", "NatsEvents", "NatsEventsSettings", "NatsSettings"]
