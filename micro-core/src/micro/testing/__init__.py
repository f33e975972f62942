"""For who writes a driver, conformance suites to inherit; for who writes a service, a platform in memory."""

from micro._lazy import lazy

TYPE_CHECKING = False
if TYPE_CHECKING:
    from micro.testing.blobs import BlobsSuite as BlobsSuite
    from micro.testing.config import ConfigSuite as ConfigSuite
    from micro.testing.memory import MemoryPlatform as MemoryPlatform
    from micro.testing.memory import service as service
    from micro.testing.rpc import ForwarderSuite as ForwarderSuite
    from micro.testing.rpc import TransportSuite as TransportSuite
    from micro.testing.store import StoreSuite as StoreSuite
    from micro.testing.suite import Suite as Suite

__getattr__, __dir__, __all__ = lazy(
    __name__,
    {
        "BlobsSuite": "blobs",
        "ConfigSuite": "config",
        "ForwarderSuite": "rpc",
        "MemoryPlatform": "memory",
        "StoreSuite": "store",
        "Suite": "suite",
        "TransportSuite": "rpc",
        "service": "memory",
    },
)
