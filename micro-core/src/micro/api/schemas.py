"""What services look like, for their commands: asked of a node once per digest, else read from the registry."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from micro.api.call import Call
from micro.api.command import ServiceInfo
from micro.api.gateway import Gateway, RefusedError
from micro.errors import ServiceError
from micro.proto import debug_pb2 as pb
from micro.registry.driver import ServiceRecord, Value
from micro.rpc import paths
from micro.rpc.driver import PROTO
from micro.schema.dynamic import DynamicSchema, endpoint_of_values
from micro.schema.info import EndpointInfo

PATIENCE = 5.0  # seconds to wait for a node's schema
_KEPT = 512  # services

Headers = Callable[[bytes], list[tuple[bytes, bytes]]]  # of a call, by what it asks for as content type


class Schemas:
    """Services' commands, remembered."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._known: dict[tuple[str, ...], ServiceInfo] = {}

    async def of(self, records: Sequence[ServiceRecord], headers: Headers) -> ServiceInfo:
        """Give a service's endpoints; asks a node as whoever calls, with `headers`."""
        record = _newest(records)
        key = _key(record)
        found = self._known.get(key)
        if found is None:
            found = await self._asked(record, headers)
            if found is None:
                return _registered(record)
            if len(self._known) >= _KEPT:
                self._known.clear()
            self._known[key] = found
        return found

    async def _asked(self, record: ServiceRecord, headers: Headers) -> ServiceInfo | None:
        """Ask; None when nobody answers, or nobody of ours is there."""
        if not any("interface" in node.metadata for node in record.nodes):
            return None
        call = Call(
            paths.build(record.name, "Debug.Schema"),
            headers(PROTO),
            content_type=PROTO,
            peer="unix",
            deadline=time.monotonic() + PATIENCE,
        )
        try:
            reply = await self._gateway.unary(call, pb.SchemaRequest().SerializeToString())
            answer = pb.SchemaResponse.FromString(reply.message)
            schema = DynamicSchema(answer.files, dict(answer.docs))
        except (ServiceError, RefusedError):
            return None
        return ServiceInfo(record.name, schema.endpoints, dict(answer.docs)) if schema.endpoints else None


def _newest(records: Sequence[ServiceRecord]) -> ServiceRecord:
    return next((record for record in records if record.version == "latest"), records[-1])


def _key(record: ServiceRecord) -> tuple[str, ...]:
    digest = record.metadata.get("schema")
    if digest:
        return record.name, digest
    return (record.name, record.domain, record.version, *sorted(node.id for node in record.nodes))


def _registered(record: ServiceRecord) -> ServiceInfo:
    """Read the registry's trees, which have neither numbers nor defaults."""
    nothing = Value("", "")
    endpoints: dict[str, EndpointInfo] = {
        one.name: endpoint_of_values(one.name, one.request or nothing, one.response or nothing, one.metadata)
        for one in record.endpoints
    }
    return ServiceInfo(record.name, endpoints)
