"""An ordered durable log of events, with groups of consumers: at least once, order per key when asked."""

TYPE_CHECKING = False

if TYPE_CHECKING:
    from micro.events.api import Events as Events
    from micro.events.consumption import Consumption as Consumption
    from micro.events.consumption import Delivered as Delivered
    from micro.events.driver import Ack as Ack
    from micro.events.driver import Delivery as Delivery
    from micro.events.driver import Event as Event
    from micro.events.driver import EventsDriver as EventsDriver
    from micro.events.driver import Extend as Extend
    from micro.events.driver import Group as Group
    from micro.events.driver import Nack as Nack
    from micro.events.driver import NewEvent as NewEvent
    from micro.events.driver import Receipt as Receipt
    from micro.events.driver import Start as Start
    from micro.events.face import consume as consume
    from micro.events.face import groups as groups
    from micro.events.face import publish as publish
    from micro.events.face import publish_many as publish_many
    from micro.events.face import read as read
    from micro.events.face import replay as replay
    from micro.events.face import seek as seek
else:
    from micro._lazy import lazy

    __getattr__, __dir__, __all__ = lazy(
        __name__,
        {"Events": "api"}
        | dict.fromkeys(("Consumption", "Delivered"), "consumption")
        | dict.fromkeys(
            ("Ack", "Delivery", "Event", "EventsDriver", "Extend", "Group", "Nack", "NewEvent", "Receipt", "Start"),
            "driver",
        )
        | dict.fromkeys(("consume", "groups", "publish", "publish_many", "read", "replay", "seek"), "face"),
    )
