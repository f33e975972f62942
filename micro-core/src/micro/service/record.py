"""What a service tells the registry of itself."""

from __future__ import annotations

import ipaddress
import os
import socket
import uuid
from collections.abc import Iterable, Mapping

from micro.registry.driver import Endpoint, Node, ServiceRecord
from micro.rpc.endpoint import Endpoint as Served
from micro.rpc.server import Server

KEEPALIVE = 20  # seconds between pings that our nodes allow their callers
_INTERFACE = "1"  # of what we add to the wire; peers without it get the original's wire and no more


def record_of(
    server: Server, address: str, *, version: str = "latest", metadata: Mapping[str, str] | None = None
) -> ServiceRecord:
    """Describe a server's service as one node at the address it is bound to."""
    node = Node(
        f"{server.name}-{uuid.uuid4()}",
        advertised(address),
        {
            "protocol": "grpc",
            "server": "grpc",
            "transport": "grpc",
            "registry": "service",
            "broker": "service",
            "keepalive": str(KEEPALIVE),
            "interface": _INTERFACE,
            # what the runtime calls this process, so that it takes the node out the moment the process ends
            **({"instance": instance} if (instance := os.environ.get("MICRO_INSTANCE")) else {}),
        },
    )
    said = {**(metadata or {}), "schema": server.schema.digest}
    return ServiceRecord(server.name, version, metadata=said, endpoints=endpoints_of(server.endpoints), nodes=[node])


def endpoints_of(endpoints: Iterable[Served]) -> list[Endpoint]:
    """Describe endpoints: their messages as Value trees, and what callers go by as metadata."""
    return [
        Endpoint(one.name, one.request.value_tree(), one.response.value_tree(), _metadata(one)) for one in endpoints
    ]


def _metadata(one: Served) -> dict[str, str]:
    said = dict(one.metadata)
    if one.client_streaming or one.server_streaming:
        said["stream"] = "true"
    if one.idempotent:
        said["idempotent"] = "true"
    if one.doc:
        said["description"] = one.doc.partition("\n\n")[0].replace("\n", " ")
    return said


def advertised(address: str) -> str:
    """Give the address at which others reach a listener: of one bound to all, this machine's own."""
    host, _, port = address.rpartition(":")
    if host.strip("[]") not in {"", "0.0.0.0", "::"}:  # noqa: S104 - it is looked for, not bound
        return address
    return f"{_own_address()}:{port}"


def _own_address() -> str:
    """Give the first private address of this machine, else a public one, else loopback."""
    try:
        found = {str(info[4][0]) for info in socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET)}
    except OSError:
        found = set()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # nothing is sent; the kernel says by which address it would be
            found.add(probe.getsockname()[0])
        except OSError:
            pass
    outside = sorted(each for each in found if not ipaddress.ip_address(each).is_loopback)
    return next((each for each in outside if ipaddress.ip_address(each).is_private), next(iter(outside), "127.0.0.1"))
