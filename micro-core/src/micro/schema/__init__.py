"""Dataclass ⇄ protobuf ⇄ JSON: what a Python type is as a message, and what a service is as a schema."""

from micro._lazy import lazy

__getattr__, __dir__, __all__ = lazy(
    "micro.schema",
    {
        "field": "extras", "SchemaError": "extras",
        "Int32": "extras", "Int64": "extras", "UInt32": "extras", "UInt64": "extras", "SInt32": "extras", "SInt64": "extras",
        "Fixed32": "extras", "Fixed64": "extras", "SFixed32": "extras", "SFixed64": "extras",
        "Float32": "extras", "Float64": "extras",
        "MessageType": "message", "message_of": "message",
        "EndpointInfo": "info", "FieldInfo": "info", "MessageInfo": "info", "Value": "info",
        "Endpoint": "service", "ServiceSchema": "service",
        "DynamicSchema": "dynamic", "endpoint_of_values": "dynamic", "message_of_values": "dynamic",
        "DescriptorFiles": "files",
        "decode_as": "typed", "encode_value": "typed",
    },
)  # fmt: skip

TYPE_CHECKING = False
if TYPE_CHECKING:
    from micro.schema.dynamic import DynamicSchema as DynamicSchema
    from micro.schema.dynamic import endpoint_of_values as endpoint_of_values
    from micro.schema.dynamic import message_of_values as message_of_values
    from micro.schema.extras import Fixed32 as Fixed32
    from micro.schema.extras import Fixed64 as Fixed64
    from micro.schema.extras import Float32 as Float32
    from micro.schema.extras import Float64 as Float64
    from micro.schema.extras import Int32 as Int32
    from micro.schema.extras import Int64 as Int64
    from micro.schema.extras import SchemaError as SchemaError
    from micro.schema.extras import SFixed32 as SFixed32
    from micro.schema.extras import SFixed64 as SFixed64
    from micro.schema.extras import SInt32 as SInt32
    from micro.schema.extras import SInt64 as SInt64
    from micro.schema.extras import UInt32 as UInt32
    from micro.schema.extras import UInt64 as UInt64
    from micro.schema.extras import field as field
    from micro.schema.files import DescriptorFiles as DescriptorFiles
    from micro.schema.info import EndpointInfo as EndpointInfo
    from micro.schema.info import FieldInfo as FieldInfo
    from micro.schema.info import MessageInfo as MessageInfo
    from micro.schema.info import Value as Value
    from micro.schema.message import MessageType as MessageType
    from micro.schema.message import message_of as message_of
    from micro.schema.service import Endpoint as Endpoint
    from micro.schema.service import ServiceSchema as ServiceSchema
    from micro.schema.typed import decode_as as decode_as
    from micro.schema.typed import encode_value as encode_value
