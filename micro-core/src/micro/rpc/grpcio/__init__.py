"""The transport over grpc.aio: the official stack, for those who want it or have no wheel of the other."""

from micro._lazy import lazy

TYPE_CHECKING = False
if TYPE_CHECKING:
    from micro.rpc.grpcio.transport import GrpcioTransport as GrpcioTransport

__getattr__, __dir__, __all__ = lazy(__name__, {"GrpcioTransport": "transport"})
