"""The types of micro.blocking.broker, written by scripts/blocking.py."""

from collections.abc import Iterator
from collections.abc import Mapping
from micro.broker.api import T
from micro.broker.face import P
from typing import Any
from typing import Generic
from typing import Self
from typing import overload
from micro.broker import Broker as Broker
from micro.broker import BrokerDriver as BrokerDriver
from micro.broker import Gap as Gap
from micro.broker import Message as Message
from micro.broker import Received as Received
from micro.broker import Subscription as Subscription

class _Subscription(Generic[T]):

    def __enter__(self) -> Self:
        ...

    def __exit__(self, *exc: object) -> bool | None:
        ...

    def __iter__(self) -> Iterator[Received[T]]:
        ...

def publish(topic: str, message: object, *, headers: Mapping[str, str] | None=None) -> None:
    """Send a message to whoever listens now: see Broker.publish."""
    ...

@overload
def subscribe(topic: str, type_: type[P]=..., *, queue: str=...) -> _Subscription[P]:
    ...

@overload
def subscribe(topic: str, type_: Any, *, queue: str=...) -> _Subscription[Any]:
    ...
