"""Dataclass ⇄ protobuf ⇄ JSON: what a Python type is as a message, and what a service is as a schema."""

from micro._lazy import lazy

__getattr__, __dir__, __all__ = lazy(
    "micro.schema",
    {
        "field": "field", "SchemaError": "field",
        "Int32": "field", "Int64": "field", "UInt32": "field", "UInt64": "field", "SInt32": "field", "SInt64": "field",
        "Fixed32": "field", "Fixed64": "field", "SFixed32": "field", "SFixed64": "field",
        "Float32": "field", "Float64": "field",
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
    from micro.schema.field import Fixed32 as Fixed32
    from micro.schema.field import Fixed64 as Fixed64
    from micro.schema.field import Float32 as Float32
    from micro.schema.field import Float64 as Float64
    from micro.schema.field import Int32 as Int32
    from micro.schema.field import Int64 as Int64
    from micro.schema.field import SchemaError as SchemaError
    from micro.schema.field import SFixed32 as SFixed32
    from micro.schema.field import SFixed64 as SFixed64
    from micro.schema.field import SInt32 as SInt32
    from micro.schema.field import SInt64 as SInt64
    from micro.schema.field import UInt32 as UInt32
    from micro.schema.field import UInt64 as UInt64
    from micro.schema.field import field as field
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
