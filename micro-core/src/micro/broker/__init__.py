"""Messages to whoever listens now: at most once, no history."""

TYPE_CHECKING = False

if TYPE_CHECKING:
    from micro.broker.api import Broker as Broker
    from micro.broker.api import Received as Received
    from micro.broker.api import Subscription as Subscription
    from micro.broker.driver import BrokerDriver as BrokerDriver
    from micro.broker.driver import Gap as Gap
    from micro.broker.driver import Message as Message
    from micro.broker.face import publish as publish
    from micro.broker.face import subscribe as subscribe
else:
    from micro._lazy import lazy

    __getattr__, __dir__, __all__ = lazy(
        __name__,
        {
            "Broker": "api",
            "Received": "api",
            "Subscription": "api",
            "BrokerDriver": "driver",
            "Gap": "driver",
            "Message": "driver",
            "publish": "face",
            "subscribe": "face",
        },
    )
