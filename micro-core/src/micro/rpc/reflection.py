"""gRPC's server reflection: the descriptors of all that a process serves, for grpcurl and the like."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import cached_property
from typing import TYPE_CHECKING, Any

from micro.errors import Code
from micro.proto import debug_pb2, health_pb2
from micro.proto import reflection_pb2 as pb
from micro.rpc import access
from micro.rpc.endpoint import endpoint
from micro.schema import DescriptorFiles

if TYPE_CHECKING:
    from micro.rpc.server import Server

PACKAGES = ("grpc.reflection.v1", "grpc.reflection.v1alpha")  # the older one has the same messages


class ServerReflection:
    """Descriptors by file and by symbol."""

    def __init__(self, server: Server, *, needs_account: bool) -> None:
        self._server = server
        self._needs_account = needs_account

    @endpoint(name="ServerReflectionInfo")
    async def info(
        self, requests: AsyncIterator[pb.ServerReflectionRequest]
    ) -> AsyncIterator[pb.ServerReflectionResponse]:
        """Answer one request after the other."""
        if self._needs_account:
            access.account()
        async for request in requests:
            yield self._answer(request)

    @cached_property
    def _files(self) -> DescriptorFiles:
        from micro.schema.descriptors import file_of

        files = DescriptorFiles(self._server.schema.file_set)
        for module in (health_pb2, debug_pb2, pb):
            files.add(file_of(module.DESCRIPTOR))
        files.add(_renamed(file_of(pb.DESCRIPTOR), *PACKAGES))
        return files

    def _answer(self, request: pb.ServerReflectionRequest) -> pb.ServerReflectionResponse:
        answer = pb.ServerReflectionResponse(valid_host=request.host, original_request=request)
        files, found, wanted = self._files, None, ""
        match request.WhichOneof("message_request"):
            case "list_services":
                names = [pb.ServiceResponse(name=name) for name in sorted(files.services())]
                answer.list_services_response.service.extend(names)
                return answer
            case "file_by_filename":
                wanted = request.file_by_filename
                found = files.file_by_name(wanted)
            case "file_containing_symbol":
                wanted = request.file_containing_symbol
                found = files.file_containing_symbol(wanted)
            case "all_extension_numbers_of_type":
                wanted = request.all_extension_numbers_of_type
                if files.file_containing_symbol(wanted) is not None:  # proto3 has no extensions
                    answer.all_extension_numbers_response.base_type_name = wanted
                    return answer
        if found is None:
            answer.error_response.error_code = Code.NOT_FOUND
            answer.error_response.error_message = f"not found: {wanted[:200]}"
        else:
            answer.file_descriptor_response.file_descriptor_proto.append(found)
        return answer


def _renamed(file: Any, old: str, new: str) -> Any:
    """Give a file under another package, with all that refers to it."""
    file.name = f"{new.replace('.', '/')}.proto"
    file.package = new
    for message in file.message_type:
        for field in message.field:
            field.type_name = field.type_name.replace(f".{old}.", f".{new}.")
    for service in file.service:
        for method in service.method:
            method.input_type = method.input_type.replace(f".{old}.", f".{new}.")
            method.output_type = method.output_type.replace(f".{old}.", f".{new}.")
    return file
