"""gRPC's standard health check: whether a server takes calls."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

from micro.errors import NotFound
from micro.proto import health_pb2 as pb
from micro.rpc.endpoint import endpoint

if TYPE_CHECKING:
    from micro.rpc.server import Server


class Health:
    """Whether this process takes calls; a service's name and its handlers' full names are known, `""` is the process."""

    def __init__(self, server: Server) -> None:
        self._server = server

    @endpoint(public=True)
    async def check(self, request: pb.HealthCheckRequest) -> pb.HealthCheckResponse:
        """Say whether a service takes calls; NotFound for an unknown one."""
        if request.service not in self._names():
            raise NotFound("unknown service")
        return pb.HealthCheckResponse(status=self._status())

    @endpoint(public=True)
    async def list(self, request: pb.HealthListRequest) -> pb.HealthListResponse:
        """Say it of all services."""
        status = pb.HealthCheckResponse(status=self._status())
        return pb.HealthListResponse(statuses=dict.fromkeys(self._names(), status))

    @endpoint(public=True)
    async def watch(self, request: pb.HealthCheckRequest) -> AsyncIterator[pb.HealthCheckResponse]:
        """Say it now and whenever it changes."""
        server, last = self._server, None
        while True:
            serving = server.serving  # before it is looked at, so that no change falls between
            known = request.service in self._names()
            status = self._status() if known else pb.HealthCheckResponse.SERVICE_UNKNOWN
            if status != last:
                yield pb.HealthCheckResponse(status=status)
                last = status
            while server.serving == serving:
                await server.changed.wait()

    def _names(self) -> set[str]:
        server = self._server
        return {"", server.name, *(f"{server.schema.package}.{one.handler}" for one in server.endpoints)}

    def _status(self) -> Any:
        answers = pb.HealthCheckResponse
        return answers.SERVING if self._server.serving else answers.NOT_SERVING
