"""The wire's `Debug`."""

from __future__ import annotations

import gc
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from micro.errors import NotFound
from micro.proto import debug_pb2 as pb
from micro.rpc import access
from micro.rpc.endpoint import endpoint
from micro.rpc.server import Server

if TYPE_CHECKING:
    from micro.debug.logs import LogRing
    from micro.debug.service import Facts

SPANS = 256  # given to who asks for no trace in particular; the original's figure
_PAGE = os.sysconf("SC_PAGE_SIZE")


class DebugHandler:
    """How this process is doing."""

    def __init__(self, server: Server, logs: LogRing, *, version: str, facts: Callable[[str], Facts]) -> None:
        self._server = server
        self._logs = logs
        self._version = version
        self._facts = facts
        self._epoch = time.time_ns()

    @endpoint(public=True)
    async def health(self, request: pb.HealthRequest) -> pb.HealthResponse:
        """Say `ok`."""
        return pb.HealthResponse(status="ok")

    async def stats(self, request: pb.StatsRequest) -> pb.StatsResponse:
        """Count calls, memory, threads."""
        self._member()
        stats, now = self._server.stats, time.time()
        return pb.StatsResponse(
            timestamp=int(now),
            started=int(stats.started),
            uptime=int(now - stats.started),
            memory=_resident(),
            threads=threading.active_count(),
            gc=_collections.nanoseconds(),
            requests=stats.requests,
            errors=stats.errors,
        )

    async def trace(self, request: pb.TraceRequest) -> pb.TraceResponse:
        """Give a trace's spans, or the last of all."""
        self._member()
        spans = list(self._server.stats.spans)
        if request.id:
            wanted = request.id.replace("-", "")
            spans = [span for span in spans if span.trace.replace("-", "") == wanted]
        else:
            spans = spans[-SPANS:]
        return pb.TraceResponse(
            spans=[
                pb.Span(
                    trace=span.trace,
                    id=span.id,
                    parent=span.parent,
                    name=span.name,
                    started=span.started,
                    duration=span.duration,
                    metadata={"code": str(span.code)} if span.code else {},
                    type=pb.OUTBOUND if span.kind else pb.INBOUND,
                )
                for span in spans
            ]
        )

    async def log(self, request: pb.LogRequest) -> pb.LogResponse:
        """Give the last lines logged."""
        self._member()
        return pb.LogResponse(
            records=[
                pb.Record(timestamp=int(at), metadata={"level": level, "logger": logger}, message=text)
                for at, level, logger, text in self._logs.since(request.since, request.count)
            ]
        )

    async def info(self, request: pb.InfoRequest) -> pb.InfoResponse:
        """Say what serves, and what it can."""
        self._account()
        facts = self._facts(request.handler)
        return pb.InfoResponse(
            service=self._server.name,
            version=self._version,
            interface=facts.interface,
            plugin=facts.plugin,
            capabilities=sorted(facts.capabilities),
            limits=dict(facts.limits),
            schema=self._server.schema.digest,
            epoch=self._epoch,
        )

    async def schema(self, request: pb.SchemaRequest) -> pb.SchemaResponse:
        """Give the descriptors of the endpoints, and their authors' words."""
        self._account()
        schema = self._server.schema
        if request.digest and request.digest != schema.digest:
            raise NotFound(f"there is no schema {request.digest[:70]} here")
        return pb.SchemaResponse(digest=schema.digest, files=schema.files, docs=schema.docs)

    def _member(self) -> None:
        if self._server.guard is not None:
            access.member(self._server.namespace)

    def _account(self) -> None:
        """What the platform's services are made of anybody with an account may know: drivers ask for it."""
        if self._server.guard is None:
            return
        if self._server.core:
            access.account()
        else:
            access.member(self._server.namespace)


class _Collections:
    """The time that Python's garbage collector took, from the first time somebody asks."""

    def __init__(self) -> None:
        self._total = 0
        self._began = 0
        self._hooked = False

    def nanoseconds(self) -> int:
        if not self._hooked:
            self._hooked = True
            gc.callbacks.append(self._heard)
        return self._total

    def _heard(self, phase: str, _info: Any) -> None:
        if phase == "start":
            self._began = time.perf_counter_ns()
        elif self._began:
            self._total += time.perf_counter_ns() - self._began


_collections = _Collections()


def _resident() -> int:
    try:
        return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * _PAGE
    except OSError:
        return 0
