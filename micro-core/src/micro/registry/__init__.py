"""Who serves what, where: leased registrations and the watch on them."""

TYPE_CHECKING = False

if TYPE_CHECKING:
    from micro.registry.api import Registry as Registry
    from micro.registry.cache import Cache as Cache
    from micro.registry.driver import Endpoint as Endpoint
    from micro.registry.driver import Node as Node
    from micro.registry.driver import NodeKey as NodeKey
    from micro.registry.driver import RegistryDriver as RegistryDriver
    from micro.registry.driver import ServiceRecord as ServiceRecord
    from micro.registry.driver import Value as Value
    from micro.registry.face import get as get
    from micro.registry.face import services as services
    from micro.registry.face import watch as watch
    from micro.registry.view import View as View
else:
    from micro._lazy import lazy

    __getattr__, __dir__, __all__ = lazy(
        __name__,
        {
            "Registry": "api",
            "Cache": "cache",
            "Endpoint": "driver",
            "Node": "driver",
            "NodeKey": "driver",
            "RegistryDriver": "driver",
            "ServiceRecord": "driver",
            "Value": "driver",
            "View": "view",
            "get": "face",
            "services": "face",
            "watch": "face",
        },
    )
