"""For who writes a driver, conformance suites to inherit; for who writes a service, a platform in memory."""

from micro._lazy import lazy

TYPE_CHECKING = False
if TYPE_CHECKING:
    from micro.testing.auth import AuthSuite as AuthSuite
    from micro.testing.backend import BackendSuite as BackendSuite
    from micro.testing.backend import WatchedBackendSuite as WatchedBackendSuite
    from micro.testing.blobs import BlobsSuite as BlobsSuite
    from micro.testing.broker import BrokerSuite as BrokerSuite
    from micro.testing.config import ConfigSuite as ConfigSuite
    from micro.testing.door import Door as Door
    from micro.testing.engine import EngineSuite as EngineSuite
    from micro.testing.events import EventsSuite as EventsSuite
    from micro.testing.lifecycle import CheckedSuite as CheckedSuite
    from micro.testing.lifecycle import LifecycleSuite as LifecycleSuite
    from micro.testing.memory import MemoryPlatform as MemoryPlatform
    from micro.testing.memory import service as service
    from micro.testing.network import NetworkSuite as NetworkSuite
    from micro.testing.registry import RegistrySuite as RegistrySuite
    from micro.testing.rpc import ForwarderSuite as ForwarderSuite
    from micro.testing.rpc import TransportSuite as TransportSuite
    from micro.testing.runtime import RuntimeSuite as RuntimeSuite
    from micro.testing.store import StoreSuite as StoreSuite
    from micro.testing.suite import Suite as Suite

__getattr__, __dir__, __all__ = lazy(
    __name__,
    {
        "AuthSuite": "auth",
        "BackendSuite": "backend",
        "BlobsSuite": "blobs",
        "BrokerSuite": "broker",
        "CheckedSuite": "lifecycle",
        "ConfigSuite": "config",
        "Door": "door",
        "EngineSuite": "engine",
        "EventsSuite": "events",
        "ForwarderSuite": "rpc",
        "LifecycleSuite": "lifecycle",
        "MemoryPlatform": "memory",
        "NetworkSuite": "network",
        "RegistrySuite": "registry",
        "RuntimeSuite": "runtime",
        "StoreSuite": "store",
        "Suite": "suite",
        "TransportSuite": "rpc",
        "WatchedBackendSuite": "backend",
        "service": "memory",
    },
)
