"""The transport over nghttp2: gRPC of our own, on asyncio or on a plain socket."""

from micro._lazy import lazy

TYPE_CHECKING = False
if TYPE_CHECKING:
    from micro.rpc.nghttp2.blocking import BlockingChannel as BlockingChannel
    from micro.rpc.nghttp2.transport import Nghttp2Transport as Nghttp2Transport

__getattr__, __dir__, __all__ = lazy(__name__, {"BlockingChannel": "blocking", "Nghttp2Transport": "transport"})
