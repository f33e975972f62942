"""What gRPC reflection answers with: files by name and by the symbols they define, over any number of schemas."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from google.protobuf.descriptor_pb2 import DescriptorProto, FileDescriptorProto


class DescriptorFiles:
    """Files, indexed. A file name or a symbol that two of them have belongs to the first; nothing is checked."""

    def __init__(self, files: Iterable[FileDescriptorProto] = ()) -> None:
        self._files: dict[str, FileDescriptorProto] = {}
        self._symbols: dict[str, FileDescriptorProto] = {}
        self._services: list[str] = []
        for file in files:
            self.add(file)

    def add(self, file: FileDescriptorProto) -> None:
        """Add a file, as `ServiceSchema.file_set` and `descriptors.with_dependencies` give them."""
        if file.name in self._files:
            return
        self._files[file.name] = file
        prefix = f"{file.package}." if file.package else ""
        for message in file.message_type:
            self._message(file, prefix, message)
        for enum in file.enum_type:
            self._symbol(file, prefix + enum.name, *(prefix + value.name for value in enum.value))
        for service in file.service:
            full = prefix + service.name
            if full not in self._symbols:
                self._services.append(full)
            self._symbol(file, full, *(f"{full}.{method.name}" for method in service.method))

    def services(self) -> list[str]:
        """Give the full names of all services, in the order they came."""
        return list(self._services)

    def file_by_name(self, name: str) -> bytes | None:
        """Give a serialized FileDescriptorProto."""
        file = self._files.get(name)
        return None if file is None else file.SerializeToString()

    def file_containing_symbol(self, symbol: str) -> bytes | None:
        """Give the file that defines a service, method, message, field, enum or enum value."""
        file = self._symbols.get(symbol.removeprefix("."))
        return None if file is None else file.SerializeToString()

    def _message(self, file: FileDescriptorProto, prefix: str, message: DescriptorProto) -> None:
        full = prefix + message.name
        self._symbol(file, full, *(f"{full}.{field.name}" for field in message.field))
        for nested in message.nested_type:
            self._message(file, f"{full}.", nested)
        for enum in message.enum_type:
            self._symbol(file, f"{full}.{enum.name}", *(f"{full}.{value.name}" for value in enum.value))

    def _symbol(self, file: FileDescriptorProto, *names: str) -> None:
        for name in names:
            self._symbols.setdefault(name, file)
