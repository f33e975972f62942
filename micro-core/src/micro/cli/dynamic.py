"""A running service as a command, from here: its schema from a node, the platform's own parser, a call by the proxy."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from micro.api import render
from micro.api.command import Call, ServiceInfo, parse
from micro.api.flags import UsageError
from micro.cli.framework import Settings, two_dashes
from micro.cli.session import Session
from micro.context import CORE_NAMESPACE
from micro.errors import NotFound, ServiceError
from micro.proto import debug_pb2, registry_pb2
from micro.schema.dynamic import DynamicSchema, endpoint_of_values


def run(settings: Settings, word: str, rest: list[str]) -> int:
    """Run `micro <service> …`; what is no service is no command."""
    rest = two_dashes(_without_globals(rest, settings))
    session = settings.session
    records = find(session, word)
    if not records:
        from micro.cli.commands.services import names_of
        from micro.cli.main import unrecognized

        raise unrecognized(word, names_of(session))
    service = describe(session, word, records)
    call = parse(service, rest, _file)
    if call.endpoint is None:
        print(render.service_help(service))
        return 0
    if call.help:
        print(render.endpoint_help(service, call.endpoint))
        return 0
    if settings.output:
        call.output = settings.output
    _call(session, word, call)
    return 0


def _without_globals(args: list[str], settings: Settings) -> list[str]:
    """Take the global flags that no service's command has for itself."""
    left: list[str] = []
    at = 0
    while at < len(args):
        key, sep, value = args[at].lstrip("-").partition("=")
        at += 1
        if (args[at - 1].startswith("--") and key in {"env", "namespace"}) or args[at - 1] == "-e":
            if not sep and at < len(args):
                value = args[at]
                at += 1
            setattr(settings, "env" if key in {"env", "e"} else "namespace", value)
            settings._session = None
        else:
            left.append(args[at - 1])
    return left


def find(session: Session, name: str) -> list[registry_pb2.Service]:
    """Give a service's versions: of the current namespace, else of `micro`."""
    for namespace in dict.fromkeys((session.namespace, CORE_NAMESPACE)):
        request = registry_pb2.GetRequest(service=name, options=registry_pb2.Options(domain=namespace))
        try:
            found = session.core("registry", "Registry.GetService", request, registry_pb2.GetResponse).services
        except NotFound:
            continue
        if found:
            session.namespace = namespace
            return list(found)
    return []


def describe(session: Session, name: str, records: list[registry_pb2.Service]) -> ServiceInfo:
    """Give a service's endpoints: from its own schema, else from what the registry has."""
    if any(record.metadata.get("schema") for record in records):
        request = debug_pb2.SchemaRequest()
        try:
            found = session.core(name, "Debug.Schema", request, debug_pb2.SchemaResponse)
            return ServiceInfo(name, DynamicSchema(found.files, found.docs).endpoints, dict(found.docs))
        except ServiceError:
            pass  # the tree will do
    endpoints = {}
    for record in records:
        for e in record.endpoints:
            endpoints[e.name] = endpoint_of_values(e.name, e.request, e.response, dict(e.metadata))
    return ServiceInfo(name, endpoints)


def _file(name: str) -> bytes:
    if name == "-":
        return sys.stdin.buffer.read()
    try:
        return Path(name).expanduser().read_bytes()
    except OSError as err:
        raise UsageError(f"{name} cannot be read: {err.strerror}") from None


def _call(session: Session, name: str, call: Call) -> None:
    assert call.endpoint is not None
    body = json.dumps(call.body).encode()
    options: dict[str, Any] = {"metadata": call.metadata, "timeout": call.timeout, "address": call.address}
    if not (call.endpoint.server_streaming or call.endpoint.client_streaming):
        print(render.answer(session.call(name, call.endpoint.name, body, **options), call.output))
        return
    for raw in session.stream(name, call.endpoint.name, _bodies(call, body), **options):
        print(render.answer(raw, call.output), flush=True)


def _bodies(call: Call, body: bytes) -> Iterator[bytes]:
    """Give the client's side of a stream: lines of standard input where it streams and nothing else was given."""
    assert call.endpoint is not None
    if call.endpoint.client_streaming and not call.body and not sys.stdin.isatty():
        yield from (line.strip() for line in sys.stdin.buffer if line.strip())
    else:
        yield body
