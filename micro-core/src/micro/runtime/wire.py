"""Services as the wire has them, both ways; `service.py` and `remote.py` share it."""

from __future__ import annotations

from datetime import UTC, datetime

from micro.errors import InvalidArgument
from micro.proto import runtime_pb2 as pb
from micro.runtime.driver import Limits, LogLine, Spec, Status


def spec_out(spec: Spec) -> tuple[pb.Service, pb.CreateOptions]:
    """Give a wanted service: what it is, and how it is run."""
    service = pb.Service(name=spec.name, version=spec.version, source=spec.source, metadata=spec.metadata)
    options = pb.CreateOptions(
        command=spec.command,
        args=spec.args,
        env=[f"{name}={value}" for name, value in spec.env.items()],
        image=spec.image,
        secrets=spec.secrets,
        entrypoint=spec.entrypoint,
        instances=spec.instances,
    )
    if spec.limits != Limits():
        options.limits.Memory, options.limits.CPU = spec.limits.memory, spec.limits.cpu
        options.limits.EphemeralStorage = spec.limits.disk
        options.limits.files, options.limits.processes = spec.limits.files, spec.limits.processes
    return service, options


def spec_in(service: pb.Service, options: pb.CreateOptions) -> Spec:
    """Read a wanted service."""
    env = {}
    for pair in options.env:
        name, sep, value = pair.partition("=")
        if not sep or not name:
            raise InvalidArgument(f"env {pair!r} is not NAME=value")
        env[name] = value
    found = options.limits
    return Spec(
        service.name,
        service.version or "latest",
        service.source,
        list(options.command),
        list(options.args),
        env,
        options.image,
        options.instances or 1,
        Limits(found.Memory, found.CPU, found.EphemeralStorage, found.files, found.processes),
        dict(service.metadata),
        options.entrypoint,
        dict(options.secrets),
    )


def status_out(status: Status) -> pb.Service:
    """Give a service as it is."""
    spec = status.spec
    return pb.Service(
        name=spec.name, version=spec.version, source=spec.source, metadata=status.metadata, status=status.status
    )


def status_in(service: pb.Service) -> Status:
    """Read a service as it is."""
    metadata = dict(service.metadata)
    spec = Spec(service.name, service.version, service.source, metadata=metadata)
    started = _instant(metadata.get("started", ""))
    updated = _instant(metadata.get("lastStatusUpdate", ""))
    return Status(spec, service.status, metadata.get("error", ""), started, updated, metadata)


def line_out(line: LogLine, service: str, version: str) -> pb.LogRecord:
    """Give a log line; its stream is named like the file that the instance writes to."""
    stream = f"{service}@{version}.{line.instance}"
    record = pb.LogRecord(message=line.message, instance=line.instance, metadata={"stream": stream})
    if line.when is not None:
        record.timestamp_ms = round(line.when.timestamp() * 1000)
        record.timestamp = record.timestamp_ms // 1000
    return record


def line_in(record: pb.LogRecord) -> LogLine:
    """Read a log line."""
    ms = record.timestamp_ms or record.timestamp * 1000
    return LogLine(record.message, datetime.fromtimestamp(ms / 1000, UTC) if ms else None, record.instance)


def _instant(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None
