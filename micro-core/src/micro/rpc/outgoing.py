"""What a call sends: its path, its messages' forms, its headers. Whatever repeats is made once."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from micro.context import CORE_SERVICES, Context, Trace
from micro.rpc import incoming, paths
from micro.rpc.balance import Target
from micro.rpc.codec import PLAIN, PROTOBUF, Codec, Decode, Encode
from micro.schema import MessageType, message_of

_REMEMBERED = 4096  # plans, and sets of headers

_plans: dict[Any, Plan] = {}


class Plan:
    """How one endpoint is called with one pair of types."""

    __slots__ = ("_free", "_protobuf", "endpoint", "forms", "name", "path", "service", "to_core")

    def __init__(self, service: str, endpoint: str, request: MessageType[Any], response: MessageType[Any]) -> None:
        self.service = service
        self.endpoint = endpoint
        self.name = f"{service}.{endpoint}"
        self.path = paths.build(service, endpoint)
        self.to_core = service in CORE_SERVICES
        self.forms: dict[Codec, tuple[Encode, Decode]] = {
            codec: (codec.pair(request)[1], codec.pair(response)[0]) for codec in (PLAIN, PROTOBUF)
        }
        types = (request.python_type, response.python_type)
        self._free = any(each is dict or getattr(each, "__origin__", None) is dict for each in types)
        self._protobuf = any(hasattr(each, "DESCRIPTOR") for each in types)

    def codec(self, target: Target) -> Codec:
        """Choose: protobuf for its messages and for strangers, JSON among ourselves and where no schema is known."""
        if self._free:
            return PLAIN
        return PROTOBUF if self._protobuf or not target.ours else PLAIN


def plan_of(service: str, endpoint: str, request: Any, response: Any) -> Plan:
    """Give the plan of a call by its types; SchemaError for a type that cannot travel."""
    key = (service, endpoint, request, response)
    try:
        found = _plans.get(key)
    except TypeError:  # a type that cannot be a key
        return _made(key)
    if found is None:
        found = _made(key)
        if len(_plans) < _REMEMBERED:
            _plans[key] = found
    return found


def _made(key: tuple[str, str, Any, Any]) -> Plan:
    service, endpoint, request, response = key
    return Plan(service, endpoint, message_of(list[Any] if request is list else request), message_of(response))


class Outgoing:
    """Makes headers; those that one account sends each time are made once."""

    def __init__(self) -> None:
        self._fixed: dict[tuple[Codec, str, bytes | None], list[tuple[bytes, bytes]]] = {}

    def headers(
        self,
        plan: Plan,
        codec: Codec,
        namespace: str,
        authorization: bytes | None,
        *,
        trace: Trace,
        context: Context,
        metadata: Mapping[str, str] | None,
        timeout: float | None = None,
    ) -> list[tuple[bytes, bytes]]:
        """Give a call's headers; `timeout` in seconds is said in nanoseconds, besides what the transport says."""
        key = (codec, namespace, authorization)
        fixed = self._fixed.get(key) or self._make(key)
        trace_id, span = trace.trace.encode(), trace.span.encode()
        headers = [*fixed, (incoming.TRACE, trace_id), (incoming.SPAN, span)]
        parent = incoming.traceparent(trace_id, span)
        if parent is not None:
            headers.append((incoming.TRACEPARENT, parent))
        if timeout is not None:
            headers.append((incoming.TIMEOUT, b"%d" % (timeout * 1e9)))
        if not plan.to_core:
            first = context.caller or context.account
            if first is not None and first.token and not 0 < first.expires < time.time():
                # a stream or a task may outlive its caller's token, which a service would refuse
                headers.append((incoming.ON_BEHALF_OF, b"Bearer " + first.token.encode()))
        return _with(headers, metadata) if metadata else headers

    def _make(self, key: tuple[Codec, str, bytes | None]) -> list[tuple[bytes, bytes]]:
        codec, namespace, authorization = key
        made = [(incoming.CONTENT_TYPE, codec.asked), (incoming.NAMESPACE, namespace.encode())]
        if authorization is not None:
            made.append((incoming.AUTHORIZATION, authorization))
        if len(self._fixed) >= _REMEMBERED:
            self._fixed.clear()
        self._fixed[key] = made
        return made


def _with(headers: list[tuple[bytes, bytes]], metadata: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    """Add a call's own metadata; another tracer's `traceparent` among it is the one that counts."""
    given = [(name.lower().encode(), str(value).encode()) for name, value in metadata.items()]
    if any(name == incoming.TRACEPARENT for name, _ in given):
        headers = [pair for pair in headers if pair[0] != incoming.TRACEPARENT]
    return headers + given
