"""The functions a service calls: this process's broker."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, overload

if TYPE_CHECKING:
    from typing_extensions import TypeVar

    from micro.broker.api import Broker, Subscription

    P = TypeVar("P", default=bytes)  # what a payload is: as it came, where no type is asked for


def _broker() -> Broker:
    from micro.service.process import current

    return current().broker


async def publish(topic: str, message: object, *, headers: Mapping[str, str] | None = None) -> None:
    """Send a message to whoever listens now: see Broker.publish."""
    await _broker().publish(topic, message, headers=headers)


@overload
def subscribe(topic: str, type_: type[P] = ..., *, queue: str = ...) -> Subscription[P]: ...
@overload
def subscribe(topic: str, type_: Any, *, queue: str = ...) -> Subscription[Any]: ...
def subscribe(topic: str, type_: Any = None, *, queue: str = "") -> Subscription[Any]:
    """Listen to a topic: see Broker.subscribe."""
    return _broker().subscribe(topic, type_, queue=queue)
