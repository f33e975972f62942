"""Calls passed on without decoding: path, identity, rules, route, and the door for strangers."""

TYPE_CHECKING = False

if TYPE_CHECKING:
    from micro.proxy.dispatch import ForwardingDispatcher as ForwardingDispatcher
    from micro.proxy.driver import DataPlane as DataPlane
    from micro.proxy.driver import Listen as Listen
    from micro.proxy.exchange import Exchange as Exchange
    from micro.proxy.routes import RegistryRoutes as RegistryRoutes
    from micro.proxy.routes import Routes as Routes
else:
    from micro._lazy import lazy

    __getattr__, __dir__, __all__ = lazy(
        __name__,
        {
            "DataPlane": "driver",
            "Exchange": "exchange",
            "ForwardingDispatcher": "dispatch",
            "Listen": "driver",
            "RegistryRoutes": "routes",
            "Routes": "routes",
        },
    )
