"""A service as a schema: its endpoints in one FileDescriptorSet, the digest others cache it by, its author's words.

What clashes is refused when the schema is made, with no protobuf loaded; the descriptors are built when somebody asks.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from micro.schema.extras import SchemaError
from micro.schema.info import MessageInfo, default_key
from micro.schema.message import MessageType

if TYPE_CHECKING:
    from google.protobuf.descriptor_pb2 import FileDescriptorProto
    from google.protobuf.descriptor_pool import DescriptorPool

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)


class Endpoint(Struct, frozen=True):
    """One method of a handler."""

    handler: str
    method: str
    request: MessageType[Any]
    response: MessageType[Any]
    client_streaming: bool = False
    server_streaming: bool = False
    doc: str = ""

    @property
    def name(self) -> str:
        """`Handler.Method`."""
        return f"{self.handler}.{self.method}"


class ServiceSchema:
    """The schema of one service; `handler_docs` has the handlers' own texts.

    `files` is a FileDescriptorSet, each file after what it imports and the service's own, named `micro/<package>.proto`, last.
    `docs` has texts under `Handler`, `Handler.Method`, `Handler.Method.field` (of the request), `Message` and `Message.field`,
    and a field's default, in its JSON form, under `Message.field=`: proto3 has no word for it, and the files stay plain.
    `digest` is the SHA-256 of both, in hex, and the same in every process.
    """

    def __init__(
        self, service: str, endpoints: Iterable[Endpoint], *, handler_docs: Mapping[str, str] | None = None
    ) -> None:
        self.service = service
        self.package = package_of(service)
        self.endpoints = tuple(endpoints)
        self._handler_docs = dict(handler_docs or {})
        self._refuse_clashes()

    @cached_property
    def file_set(self) -> list[FileDescriptorProto]:
        """The files of the set."""
        from micro.schema.descriptors import FileBuilder

        builder = FileBuilder(f"micro/{self.package}.proto", self.package)
        services: dict[str, Any] = {}
        for one in self.endpoints:
            if one.handler not in services:
                services[one.handler] = builder.file.service.add(name=one.handler)
            services[one.handler].method.add(
                name=one.method,
                input_type=one.request.declare(builder),
                output_type=one.response.declare(builder),
                client_streaming=one.client_streaming,
                server_streaming=one.server_streaming,
            )
        for file in builder.dependencies.values():
            # an author's .proto may declare the very service that this schema describes; ours is the one that runs
            for theirs in [each for each in file.service if file.package == self.package and each.name in services]:
                file.service.remove(theirs)
        return [*builder.dependencies.values(), builder.finish()]

    @cached_property
    def pool(self) -> DescriptorPool:
        """A pool that holds this service alone."""
        from micro.schema.descriptors import pool_of

        return pool_of(self.file_set)

    @cached_property
    def files(self) -> bytes:
        """The FileDescriptorSet's bytes."""
        from google.protobuf.descriptor_pb2 import FileDescriptorSet

        self.pool.FindFileByName(self.file_set[-1].name)  # protobuf's own check of the whole
        return FileDescriptorSet(file=self.file_set).SerializeToString(deterministic=True)

    @cached_property
    def docs(self) -> dict[str, str]:
        """What authors wrote, by name; without empty texts."""
        found = dict(self._handler_docs)
        seen: set[int] = set()
        for one in self.endpoints:
            found[one.name] = one.doc
            found |= {f"{one.name}.{field.name}": field.description for field in one.request.fields()}
            for message in (one.request.info, one.response.info):
                _message_docs(message, found, seen)
        return {name: text for name, text in found.items() if text}

    @cached_property
    def digest(self) -> str:
        """The name by which a schema is cached."""
        words = json.dumps(self.docs, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(self.files + b"\0" + words.encode()).hexdigest()

    def _refuse_clashes(self) -> None:
        seen: dict[str, object] = {one.handler: "handler" for one in self.endpoints}
        methods: set[str] = set()
        for one in self.endpoints:
            if not _NAME.fullmatch(one.handler) or not _NAME.fullmatch(one.method):
                raise SchemaError(f"{one.name}: a handler's and a method's name is ASCII letters, digits and _")
            if one.name in methods:
                raise SchemaError(f"{self.service}: two endpoints are named {one.name}")
            methods.add(one.name)
            for name, identity in (*one.request.named(), *one.response.named()):
                known = seen.setdefault(name, identity)
                if known == "handler":
                    raise SchemaError(f"{self.service}: a handler and a message are both named {name}; rename one")
                if known != identity:
                    raise SchemaError(
                        f"{self.service}: two classes are named {name}: {known} and {identity}; rename one"
                    )


def _message_docs(message: MessageInfo, found: dict[str, str], seen: set[int]) -> None:
    if id(message) in seen:
        return
    seen.add(id(message))
    found[message.name] = message.doc
    for one in message.fields:
        found[f"{message.name}.{one.name}"] = one.description
        if one.default is not None:
            found[default_key(message.name, one.name)] = json.dumps(one.default, ensure_ascii=False, default=_plain)
        if one.message is not None:
            _message_docs(one.message, found, seen)


def _plain(default: object) -> str:
    """Give bytes as JSON has them."""
    return base64.b64encode(default).decode() if isinstance(default, bytes) else str(default)


def package_of(service: str) -> str:
    """Make a protobuf package of a service's name: `foo-bar` is `foobar`, `2fa` is `_2fa`, `v1.foo` stays."""
    parts = [re.sub(r"[^A-Za-z0-9_]", "", part) for part in service.split(".")]
    return ".".join(f"_{part}" if part[0].isdigit() else part for part in parts if part) or "_"
