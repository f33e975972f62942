"""Where the wire's own descriptors live: apart from the process's default pool, where a user's `auth.proto` may be."""

import sys
from types import ModuleType
from typing import Any

from google.protobuf import message
from google.protobuf.descriptor import Descriptor, FileDescriptor
from google.protobuf.internal import api_implementation
from google.protobuf.internal.enum_type_wrapper import EnumTypeWrapper

_PURE = "google.protobuf.internal.python_message"
_held = api_implementation.Type() == "upb" and _PURE not in sys.modules
if _held:  # what follows imports the pure Python form of messages, for nobody: a tenth of a command's time
    sys.modules[_PURE] = ModuleType(_PURE)
try:
    from google.protobuf import descriptor_pool, reflection
    from google.protobuf.internal import builder as builder
finally:
    if _held:
        del sys.modules[_PURE]

POOL = descriptor_pool.DescriptorPool()


def build(file: FileDescriptor, module_name: str, module: dict[str, Any]) -> None:
    """Put a file's classes and enums into its module.

    protobuf's own builder does the same, and in its pure Python form (musl, for one) enters them into the default pool.
    """
    for name, enum in file.enum_types_by_name.items():
        module[name] = EnumTypeWrapper(enum)
        module.update({value.name: value.number for value in enum.values})
    for name, descriptor in file.message_types_by_name.items():
        module[name] = _message_class(descriptor, module_name, name)
    for name, other in [*file.enum_types_by_name.items(), *file.services_by_name.items()]:
        module[f"_{name.upper()}"] = other


def _message_class(descriptor: Descriptor, module_name: str, qualname: str) -> Any:
    members: dict[str, Any] = {
        name: _message_class(nested, module_name, f"{qualname}.{name}")
        for name, nested in descriptor.nested_types_by_name.items()
    }
    members |= {"DESCRIPTOR": descriptor, "__module__": module_name, "__qualname__": qualname}
    return reflection.GeneratedProtocolMessageType(descriptor.name, (message.Message,), members)
