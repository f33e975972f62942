"""The description of a protobuf message, from its descriptor."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from micro.schema.info import FieldInfo, MessageInfo, default_key
from micro.schema.proto_json import map_entry
from micro.schema.well_known import kind_of

if TYPE_CHECKING:
    from google.protobuf.descriptor import Descriptor, FieldDescriptor

_OWN_KINDS = {
    "google.protobuf.Timestamp": "timestamp", "google.protobuf.Duration": "duration",
    "google.protobuf.Value": "value", "google.protobuf.Struct": "struct",
}  # fmt: skip


def info_of(descriptor: Descriptor, docs: dict[str, str] | None = None) -> MessageInfo:
    """Describe a message and all it holds; `docs` is a schema's, see ServiceSchema."""
    found = _Found(docs or {})
    top = found.message(descriptor)
    for each in found.queue:  # grows while it is walked: a stranger's messages may hold each other however deep
        found.made[each.full_name].fields = tuple(found.field(one, each.name) for one in each.fields)
    return top


class _Found:
    """The messages met so far."""

    def __init__(self, docs: dict[str, str]) -> None:
        self.docs = docs
        self.made: dict[str, MessageInfo] = {}
        self.queue: list[Descriptor] = []

    def message(self, descriptor: Descriptor) -> MessageInfo:
        known = self.made.get(descriptor.full_name)
        if known is None:
            known = self.made[descriptor.full_name] = MessageInfo(
                descriptor.name, doc=self.docs.get(descriptor.name, "")
            )
            known.free = _OWN_KINDS.get(descriptor.full_name) == "struct"
            if not known.free:
                self.queue.append(descriptor)
        return known

    def field(self, one: FieldDescriptor, parent: str) -> FieldInfo:
        info = FieldInfo(one.name, "", one.number, repeated=one.is_repeated)
        value = one
        entry = map_entry(one)
        if entry is not None:
            info.repeated, info.key, value = False, kind_of(entry[0]), entry[1]
        info.kind = kind_of(value)
        if value.enum_type is not None:
            info.type_name, info.enum = value.enum_type.name, tuple(each.name for each in value.enum_type.values)
        if value.message_type is not None:
            own = _OWN_KINDS.get(value.message_type.full_name)
            if own is not None:
                info.kind = own
            else:
                info.type_name, info.message = value.message_type.name, self.message(value.message_type)
        oneof = one.containing_oneof
        if oneof is not None:
            info.optional = len(oneof.fields) == 1 and oneof.name == f"_{one.name}"
            info.oneof = "" if info.optional else oneof.name
        info.description = self.docs.get(f"{parent}.{one.name}", "")
        info.default = _default(self.docs.get(default_key(parent, one.name), "null"))
        return info


def _default(text: str) -> Any:
    """Read a default; None for what is none, for docs may be a stranger's."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None
