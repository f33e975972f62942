"""Micro: write a service, call others, use what is around them. Importing this costs nothing; a name loads what it needs.

from micro import Service, Client, endpoint, store, config, events, broker, auth
"""

from micro._lazy import lazy

__getattr__, __dir__, __all__ = lazy(
    "micro",
    {
        "Account": "context",
        "Client": "service.client",
        "Context": "context",
        "Service": "service.service",
        "__version__": "_version",
        "connect": "service.process",
        "current": "context",
        "endpoint": "rpc.endpoint",
        "field": "schema",
    },
    modules=(
        "auth", "blobs", "blocking", "broker", "config", "errors", "events", "network", "registry", "runtime", "store",
    ),
)  # fmt: skip

TYPE_CHECKING = False
if TYPE_CHECKING:
    from micro import auth as auth
    from micro import blobs as blobs
    from micro import blocking as blocking
    from micro import broker as broker
    from micro import config as config
    from micro import errors as errors
    from micro import events as events
    from micro import network as network
    from micro import registry as registry
    from micro import runtime as runtime
    from micro import store as store
    from micro._version import __version__ as __version__
    from micro.context import Account as Account
    from micro.context import Context as Context
    from micro.context import current as current
    from micro.rpc.endpoint import endpoint as endpoint
    from micro.schema import field as field
    from micro.service.client import Client as Client
    from micro.service.process import connect as connect
    from micro.service.service import Service as Service
