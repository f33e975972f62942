"""Service and Client: declare endpoints, run, drain; call and stream. And what a core service is given."""

from micro._lazy import lazy

__getattr__, __dir__, __all__ = lazy(
    "micro.service", {"Client": "client", "Core": "core", "Host": "core", "Process": "process", "Service": "service"}
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from micro.service.client import Client as Client
    from micro.service.core import Core as Core
    from micro.service.core import Host as Host
    from micro.service.process import Process as Process
    from micro.service.service import Service as Service
