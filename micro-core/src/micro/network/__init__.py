"""Routes between services, and the peers they lead over."""

TYPE_CHECKING = False

if TYPE_CHECKING:
    from micro.network.api import Network as Network
    from micro.network.driver import NetworkDriver as NetworkDriver
    from micro.network.driver import Peer as Peer
    from micro.network.driver import Query as Query
    from micro.network.driver import Route as Route
    from micro.network.face import peers as peers
    from micro.network.face import routes as routes
else:
    from micro._lazy import lazy

    __getattr__, __dir__, __all__ = lazy(
        __name__,
        {
            "Network": "api",
            "NetworkDriver": "driver",
            "Peer": "driver",
            "Query": "driver",
            "Route": "driver",
            "peers": "face",
            "routes": "face",
        },
    )
