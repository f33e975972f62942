from micro.proto import router_pb2 as _router_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Query(_message.Message):
    __slots__ = ("service", "address", "gateway", "router", "network")
    SERVICE_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    GATEWAY_FIELD_NUMBER: _ClassVar[int]
    ROUTER_FIELD_NUMBER: _ClassVar[int]
    NETWORK_FIELD_NUMBER: _ClassVar[int]
    service: str
    address: str
    gateway: str
    router: str
    network: str
    def __init__(self, service: _Optional[str] = ..., address: _Optional[str] = ..., gateway: _Optional[str] = ..., router: _Optional[str] = ..., network: _Optional[str] = ...) -> None: ...

class ConnectRequest(_message.Message):
    __slots__ = ("nodes",)
    NODES_FIELD_NUMBER: _ClassVar[int]
    nodes: _containers.RepeatedCompositeFieldContainer[Node]
    def __init__(self, nodes: _Optional[_Iterable[_Union[Node, _Mapping]]] = ...) -> None: ...

class ConnectResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class NodesRequest(_message.Message):
    __slots__ = ("depth",)
    DEPTH_FIELD_NUMBER: _ClassVar[int]
    depth: int
    def __init__(self, depth: _Optional[int] = ...) -> None: ...

class NodesResponse(_message.Message):
    __slots__ = ("nodes",)
    NODES_FIELD_NUMBER: _ClassVar[int]
    nodes: _containers.RepeatedCompositeFieldContainer[Node]
    def __init__(self, nodes: _Optional[_Iterable[_Union[Node, _Mapping]]] = ...) -> None: ...

class GraphRequest(_message.Message):
    __slots__ = ("depth",)
    DEPTH_FIELD_NUMBER: _ClassVar[int]
    depth: int
    def __init__(self, depth: _Optional[int] = ...) -> None: ...

class GraphResponse(_message.Message):
    __slots__ = ("root",)
    ROOT_FIELD_NUMBER: _ClassVar[int]
    root: Peer
    def __init__(self, root: _Optional[_Union[Peer, _Mapping]] = ...) -> None: ...

class RoutesRequest(_message.Message):
    __slots__ = ("query",)
    QUERY_FIELD_NUMBER: _ClassVar[int]
    query: Query
    def __init__(self, query: _Optional[_Union[Query, _Mapping]] = ...) -> None: ...

class RoutesResponse(_message.Message):
    __slots__ = ("routes",)
    ROUTES_FIELD_NUMBER: _ClassVar[int]
    routes: _containers.RepeatedCompositeFieldContainer[_router_pb2.Route]
    def __init__(self, routes: _Optional[_Iterable[_Union[_router_pb2.Route, _Mapping]]] = ...) -> None: ...

class ServicesRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ServicesResponse(_message.Message):
    __slots__ = ("services",)
    SERVICES_FIELD_NUMBER: _ClassVar[int]
    services: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, services: _Optional[_Iterable[str]] = ...) -> None: ...

class StatusRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class StatusResponse(_message.Message):
    __slots__ = ("status",)
    STATUS_FIELD_NUMBER: _ClassVar[int]
    status: Status
    def __init__(self, status: _Optional[_Union[Status, _Mapping]] = ...) -> None: ...

class Error(_message.Message):
    __slots__ = ("count", "msg")
    COUNT_FIELD_NUMBER: _ClassVar[int]
    MSG_FIELD_NUMBER: _ClassVar[int]
    count: int
    msg: str
    def __init__(self, count: _Optional[int] = ..., msg: _Optional[str] = ...) -> None: ...

class Status(_message.Message):
    __slots__ = ("error",)
    ERROR_FIELD_NUMBER: _ClassVar[int]
    error: Error
    def __init__(self, error: _Optional[_Union[Error, _Mapping]] = ...) -> None: ...

class Node(_message.Message):
    __slots__ = ("id", "address", "network", "metadata", "status")
    class MetadataEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    ID_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    NETWORK_FIELD_NUMBER: _ClassVar[int]
    METADATA_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    id: str
    address: str
    network: str
    metadata: _containers.ScalarMap[str, str]
    status: Status
    def __init__(self, id: _Optional[str] = ..., address: _Optional[str] = ..., network: _Optional[str] = ..., metadata: _Optional[_Mapping[str, str]] = ..., status: _Optional[_Union[Status, _Mapping]] = ...) -> None: ...

class Connect(_message.Message):
    __slots__ = ("node",)
    NODE_FIELD_NUMBER: _ClassVar[int]
    node: Node
    def __init__(self, node: _Optional[_Union[Node, _Mapping]] = ...) -> None: ...

class Close(_message.Message):
    __slots__ = ("node",)
    NODE_FIELD_NUMBER: _ClassVar[int]
    node: Node
    def __init__(self, node: _Optional[_Union[Node, _Mapping]] = ...) -> None: ...

class Peer(_message.Message):
    __slots__ = ("node", "peers")
    NODE_FIELD_NUMBER: _ClassVar[int]
    PEERS_FIELD_NUMBER: _ClassVar[int]
    node: Node
    peers: _containers.RepeatedCompositeFieldContainer[Peer]
    def __init__(self, node: _Optional[_Union[Node, _Mapping]] = ..., peers: _Optional[_Iterable[_Union[Peer, _Mapping]]] = ...) -> None: ...

class Sync(_message.Message):
    __slots__ = ("peer", "routes")
    PEER_FIELD_NUMBER: _ClassVar[int]
    ROUTES_FIELD_NUMBER: _ClassVar[int]
    peer: Peer
    routes: _containers.RepeatedCompositeFieldContainer[_router_pb2.Route]
    def __init__(self, peer: _Optional[_Union[Peer, _Mapping]] = ..., routes: _Optional[_Iterable[_Union[_router_pb2.Route, _Mapping]]] = ...) -> None: ...

class AdvertiseRequest(_message.Message):
    __slots__ = ("routes", "ttl_ms")
    ROUTES_FIELD_NUMBER: _ClassVar[int]
    TTL_MS_FIELD_NUMBER: _ClassVar[int]
    routes: _containers.RepeatedCompositeFieldContainer[_router_pb2.Route]
    ttl_ms: int
    def __init__(self, routes: _Optional[_Iterable[_Union[_router_pb2.Route, _Mapping]]] = ..., ttl_ms: _Optional[int] = ...) -> None: ...

class AdvertiseResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class WithdrawRequest(_message.Message):
    __slots__ = ("routes",)
    ROUTES_FIELD_NUMBER: _ClassVar[int]
    routes: _containers.RepeatedCompositeFieldContainer[_router_pb2.Route]
    def __init__(self, routes: _Optional[_Iterable[_Union[_router_pb2.Route, _Mapping]]] = ...) -> None: ...

class WithdrawResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class WatchRequest(_message.Message):
    __slots__ = ("query", "after")
    QUERY_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    query: _router_pb2.LookupRequest
    after: int
    def __init__(self, query: _Optional[_Union[_router_pb2.LookupRequest, _Mapping]] = ..., after: _Optional[int] = ...) -> None: ...

class WatchResponse(_message.Message):
    __slots__ = ("changes", "synced", "reset", "version")
    CHANGES_FIELD_NUMBER: _ClassVar[int]
    SYNCED_FIELD_NUMBER: _ClassVar[int]
    RESET_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    changes: _containers.RepeatedCompositeFieldContainer[Change]
    synced: bool
    reset: bool
    version: int
    def __init__(self, changes: _Optional[_Iterable[_Union[Change, _Mapping]]] = ..., synced: _Optional[bool] = ..., reset: _Optional[bool] = ..., version: _Optional[int] = ...) -> None: ...

class Change(_message.Message):
    __slots__ = ("kind", "route", "version")
    class Kind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        PUT: _ClassVar[Change.Kind]
        DELETE: _ClassVar[Change.Kind]
        EXPIRE: _ClassVar[Change.Kind]
    PUT: Change.Kind
    DELETE: Change.Kind
    EXPIRE: Change.Kind
    KIND_FIELD_NUMBER: _ClassVar[int]
    ROUTE_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    kind: Change.Kind
    route: _router_pb2.Route
    version: int
    def __init__(self, kind: _Optional[_Union[Change.Kind, str]] = ..., route: _Optional[_Union[_router_pb2.Route, _Mapping]] = ..., version: _Optional[int] = ...) -> None: ...
