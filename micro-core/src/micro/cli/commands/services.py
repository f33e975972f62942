"""`micro services`, `micro get service`."""

from __future__ import annotations

import sys
import time
from typing import Any

import click

from micro.cli import output
from micro.cli.framework import Command, Group, command, session, settings
from micro.cli.session import Session
from micro.errors import NotFound
from micro.proto import registry_pb2 as pb


def _listed(here: Session) -> list[pb.Service]:
    request = pb.ListRequest(options=pb.Options(domain=here.namespace))
    return list(here.core("registry", "Registry.ListServices", request, pb.ListResponse).services)


def names_of(here: Session) -> list[str]:
    """Give the names of the services, sorted."""
    return sorted({service.name for service in _listed(here)})


@command("services", example="micro services\nmicro services -o wide")
@click.option("--watch", is_flag=True, help="look again every second")
def services(watch: bool) -> None:
    """List the registered services"""
    here = session()
    while True:
        found = sorted(_listed(here), key=lambda s: (s.name, s.version))
        form = settings().output
        if watch and output.on_terminal():
            click.clear()
        if form in {"", "wide"} and not (form == "wide" or output.on_terminal()):
            for name in sorted({service.name for service in found}):
                output.say(name)
        else:
            rows = [[s.name, s.version, str(len(s.nodes)), ", ".join(n.address for n in s.nodes)] for s in found]
            output.records(rows, ["NAME", "VERSION", "NODES", "ADDRESSES"], form, plain=[0])
        if not watch:
            return
        sys.stdout.flush()
        time.sleep(1)


@click.group("get", cls=Group, example="micro get service helloworld")
def get() -> None:
    """Show one thing"""


@get.command("service", cls=Command, example="micro get service helloworld")
@click.argument("name")
def service(name: str) -> None:
    """Show a service: versions, nodes, endpoints with their messages"""
    here = session()
    request = pb.GetRequest(service=name, options=pb.Options(domain=here.namespace))
    try:
        found = here.core("registry", "Registry.GetService", request, pb.GetResponse).services
    except NotFound:
        raise click.ClickException(f'Service "{name}" not found') from None
    if settings().output in {"json", "yaml"}:
        output.value([_whole(each) for each in found], settings().output)
        return
    output.say(f"service  {name}")
    for each in found:
        _print(each)


def _print(service: pb.Service) -> None:
    output.say(f"\nversion {service.version}\n")
    rows = [[n.id, n.address, ",".join(f"{k}={v}" for k, v in sorted(n.metadata.items()))] for n in service.nodes]
    output.records(rows, ["ID", "ADDRESS", "METADATA"], "table")
    for endpoint in service.endpoints:
        output.say(f"\nEndpoint: {endpoint.name}\n")
        if endpoint.metadata:
            shown = ", ".join(f"{k}={v}" for k, v in sorted(endpoint.metadata.items()))
            output.say(f"Metadata: {shown}\n")
        for title, value in (("Request", endpoint.request), ("Response", endpoint.response)):
            output.say(f"{title}: {{")
            for line in _tree(value.values, 1):
                output.say(line)
            output.say("}\n")


def _tree(values: Any, level: int) -> list[str]:
    lines = []
    for value in values:
        pad = "\t" * level
        if value.values:
            lines += [f"{pad}{value.name} {value.type} {{", *_tree(value.values, level + 1), f"{pad}}}"]
        else:
            lines.append(f"{pad}{value.name} {value.type}")
    return lines


def _whole(service: pb.Service) -> dict[str, Any]:
    return {
        "name": service.name,
        "version": service.version,
        "metadata": dict(service.metadata),
        "endpoints": [
            {
                "name": e.name,
                "request": _value(e.request),
                "response": _value(e.response),
                "metadata": dict(e.metadata),
            }
            for e in service.endpoints
        ],
        "nodes": [{"id": n.id, "address": n.address, "metadata": dict(n.metadata)} for n in service.nodes],
    }


def _value(value: pb.Value) -> dict[str, Any]:
    return {"name": value.name, "type": value.type, "values": [_value(each) for each in value.values]}


COMMANDS: dict[str, click.Command] = {"services": services, "get": get}
