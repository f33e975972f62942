"""What a broker's driver provides: publish, and subscribe with queues. At most once. No I/O here."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager

from msgspec import Struct, field

from micro.plugin.driver import Driver


class Message(Struct):
    """What travels: headers with title-case names (`Content-Type`), and bytes."""

    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


class Gap(Struct):
    """Messages were lost here, because the subscriber was slow or away; `lost` is how many, None when unknown."""

    lost: int | None = None


class BrokerDriver(Driver, defines=1):
    """Carries messages to those who listen now.

    Arguments were validated. Order is kept per publisher, topic and subscriber. Capabilities: `queues` (competing
    consumers; without it only `queue=""` comes here), `gaps` (losses are told).
    """

    @abstractmethod
    async def publish(self, namespace: str, topic: str, message: Message) -> None:
        """Hand a message to the subscribers there are; nobody listening is fine."""

    @abstractmethod
    def subscribe(
        self, namespace: str, topic: str, *, queue: str = ""
    ) -> AbstractAsyncContextManager[AsyncIterator[Message | Gap]]:
        """Listen. Once entered, what is published from then on is seen; leaving ends it.

        Members of one `queue` share its messages, one member each; with an empty one everybody gets all. A slow
        subscriber never holds a publisher back: it loses messages, and is told by a `Gap`.
        """
