"""A running service as a command, from here: its schema from a node, the platform's own parser, a call by the proxy."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable
from itertools import takewhile
from pathlib import Path
from typing import Any

from micro import names
from micro.api import render
from micro.api.command import Call, ServiceInfo, parse
from micro.api.flags import Flags, UsageError
from micro.cli import streams
from micro.cli.framework import Settings, two_dashes
from micro.cli.launch import ACCEPTED
from micro.cli.session import Session
from micro.context import CORE_NAMESPACE
from micro.errors import InvalidArgument, MicroError, NotFound
from micro.proto import registry_pb2
from micro.schema.dynamic import DynamicSchema, endpoint_of_values

BARE = frozenset({"debug", "report_usage"})  # global flags without a value
# global flags after a service's name, and where they are kept
TAKEN = dict.fromkeys((*BARE, *ACCEPTED), "") | {
    "env": "env", "e": "env", "namespace": "namespace", "config": "config", "c": "config", "profile": "profile",
}  # fmt: skip


def run(settings: Settings, word: str, rest: list[str]) -> int:
    """Run `micro <service> …`; what is no service is no command."""
    for arg in (word, *rest):
        arg.encode()  # what is no UTF-8 has no way into a request
    rest = _without_globals(word, two_dashes(rest), settings)
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
    if settings.output and not any(_flag(arg) in {"o", "output"} for arg in rest):
        call.output = "table" if settings.output == "wide" else settings.output
    _call(session, word, call)
    return 0


def _flag(arg: str) -> str:
    return arg.lstrip("-").partition("=")[0] if arg.startswith("-") else ""


def _without_globals(word: str, args: list[str], settings: Settings) -> list[str]:
    """Take the global flags out of a service's words, but leave what its request has a field for."""
    if not any(_flag(arg) in TAKEN for arg in args):
        return args
    own = _fields(word, args, settings)
    left: list[str] = []
    rest = iter(args)
    for arg in rest:
        flag = _flag(arg)
        if flag not in TAKEN or own(flag):
            left.append(arg)
            continue
        value = arg.partition("=")[2] if "=" in arg or flag in BARE else next(rest, None)
        if value is None:
            raise UsageError(f"Flag {arg} needs a value")
        if flag == "debug":
            settings.debug = True
        elif TAKEN.get(flag):
            setattr(settings, TAKEN[flag], value)
    settings.forget_session()
    return left


def _fields(word: str, args: list[str], settings: Settings) -> Callable[[str], bool]:
    """Give what says whether a flag is a field of the request, as far as the service can be found without the flag."""
    words = list(takewhile(lambda arg: not arg.startswith("-"), args)) or ["call"]
    try:
        records = find(settings.session, word)
        service = describe(settings.session, word, records)
        endpoint = parse(service, [*words, "--help"]).endpoint if records else None
    except (MicroError, UsageError):
        endpoint = None
    return Flags(endpoint.request, _file).knows if endpoint is not None else lambda _: False


def find(session: Session, name: str) -> list[registry_pb2.Service]:
    """Give a service's versions: of the current namespace, else of `micro`."""
    try:
        names.service(name)
    except InvalidArgument:
        return []
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
        found = streams.schema(session, name)
        with contextlib.suppress(InvalidArgument):  # where it is none, the tree will do
            if found is not None:
                return ServiceInfo(name, DynamicSchema(found.files, found.docs).endpoints, dict(found.docs))
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
        raise UsageError(f"Cannot read {name}: {err.strerror}") from None


def _call(session: Session, name: str, call: Call) -> None:
    assert call.endpoint is not None
    body = render.request(call.body)
    options: dict[str, Any] = {"metadata": call.metadata, "timeout": call.timeout, "address": call.address}
    if not (call.endpoint.server_streaming or call.endpoint.client_streaming):
        print(render.answer(session.call(name, call.endpoint.name, body, **options), call.output))
        return
    bodies = streams.Lines() if call.endpoint.client_streaming and not call.given else iter((body,))
    for raw in session.stream(name, call.endpoint.name, bodies, **options):
        print(render.answer(raw, call.output), flush=True)
