"""`micro run`, `update`, `kill`, `status`, `logs`."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime

import click

from micro import names
from micro.cli import output
from micro.cli.framework import Command, Group, Whole, command, named, session, settings
from micro.cli.session import Session
from micro.errors import NotFound
from micro.proto import runtime_pb2 as pb
from micro.runtime.states import ERROR, RUNNING, WORDS

WAIT = 60.0  # seconds that `run` waits on a terminal
LIMITS = {"memory": "Memory", "cpu": "CPU", "files": "files", "processes": "processes"}
CONFIRM = 120.0  # seconds a call may take that stops or replaces instances


def _split(target: str) -> tuple[str, str]:
    """Give name and version of `name@version`; `.` is this folder's name."""
    name, _, version = target.partition("@")
    if name in {".", "./"} or "/" in name:
        from pathlib import Path

        name = Path(name).resolve().name
    return named(names.service, name), named(names.version, version or "latest")


def _pairs(values: tuple[str, ...], what: str) -> dict[str, str]:
    found = {}
    for value in values:
        for part in output.parts(value):
            name, sep, text = part.partition("=")
            if not sep or not name:
                raise click.UsageError(f"--{what} {part!r} is not NAME=value")
            found[name] = text
    return found


def _limits(values: tuple[str, ...]) -> pb.Resources | None:
    found = {}
    for name, text in _pairs(values, "limits").items():
        if name not in LIMITS:
            raise click.UsageError(f"--limits {name!r} is none of {', '.join(LIMITS)}")
        if not text.isdecimal() or int(text) >= 2**31:
            raise click.UsageError(f"--limits {name}={text!r} is not a number from 0 to {2**31 - 1}")
        found[LIMITS[name]] = int(text)
    return pb.Resources(**found) if found else None


def _read(here: Session, name: str, version: str = "latest") -> pb.Service | None:
    request = pb.ReadRequest(options=pb.ReadOptions(service=name, version=version, namespace=here.namespace))
    found = here.core("runtime", "Runtime.Read", request, pb.ReadResponse).services
    return found[0] if found else None


def _wait(here: Session, name: str, version: str) -> None:
    """Wait on a terminal until a service runs; raises with its last log lines when it dies."""
    spinner = output.Spinner(f"Starting {name}")
    until = time.monotonic() + WAIT
    try:
        while time.monotonic() < until:
            found = _read(here, name, version)
            if found is not None and found.status == RUNNING:
                spinner.done()
                output.note(f"{name} is running{_where(here, name)}. Try: micro {name} --help")
                return
            if found is not None and found.status == ERROR:
                spinner.done()
                for record in _log_records(here, name, version, count=10):
                    sys.stderr.write(f"  {record.message}\n")
                raise click.ClickException(f"Service {name} does not start: {found.metadata.get('error', '')}")
            spinner.turn(f"{WORDS[found.status] if found else 'waiting'} {name}")
            time.sleep(0.05)
    finally:
        spinner.done()
    raise click.ClickException(f"Service {name} was not running after {WAIT:g} s; see: micro logs {name}")


def _where(here: Session, name: str) -> str:
    from micro.proto import registry_pb2 as registry

    request = registry.GetRequest(service=name, options=registry.Options(domain=here.namespace))
    try:
        found = here.core("registry", "Registry.GetService", request, registry.GetResponse)
    except NotFound:
        return ""
    nodes = [node.address for service in found.services for node in service.nodes]
    return f" at {', '.join(nodes)}" if nodes else ""


@command(
    "run",
    example="micro run ./helloworld\nmicro run helloworld.tar.gz\nmicro run . --name shop --env_vars CURRENCY=EUR,DEBUG=1",
)
@click.argument("source", default="")
@click.option("--name", default="", help="its name; the folder's or archive's if not given")
@click.option("--source", "source_flag", default="", hidden=True)
@click.option("--image", default="", help="container image, where the runtime has them")
@click.option("--command", "start", default="", help="what to start instead of main.py; split at blanks")
@click.option("--args", default="", help="arguments for it; split at blanks")
@click.option("--env_vars", multiple=True, help="variables: A=b,C=d")
@click.option("--instances", "-i", type=click.IntRange(1, 100), default=1, help="how many")
@click.option("--metadata", multiple=True, help="shown by status: k=v")
@click.option("--limits", multiple=True, help="of each instance: memory=MiB,cpu=thousandths,files=n,processes=n")
@click.option("--force", is_flag=True, help="replace one that runs already")
@click.option("--version", default="latest", help="its version")
def run(
    source: str,
    name: str,
    source_flag: str,
    image: str,
    start: str,
    args: str,
    env_vars: tuple[str, ...],
    instances: int,
    metadata: tuple[str, ...],
    limits: tuple[str, ...],
    force: bool,
    version: str,
) -> None:
    """Run a service from a folder or an archive"""
    from micro.cli.source import name_for, path_of, upload

    here = session()
    target = source or source_flag
    if not target:
        raise click.UsageError("Give a folder to run, such as `.`")
    within = _limits(limits)
    path = path_of(target.partition("@")[0] or target)
    name = name_for(path, name)
    version = named(names.version, target.partition("@")[2] or version)
    known = _read(here, name, version)
    if known is not None and not force and known.status != ERROR:
        output.note(f"{name} runs already; --force replaces it")
        return
    service = pb.Service(name=name, version=version, source=upload(here, path, name, version))
    service.metadata.update(_pairs(metadata, "metadata") | {"source": str(path)})
    options = pb.CreateOptions(
        namespace=here.namespace,
        command=start.split(),
        args=args.split(),
        env=[f"{k}={v}" for k, v in _pairs(env_vars, "env_vars").items()],
        image=image,
        instances=instances,
        force=force or known is not None,
        limits=within,
    )
    request = pb.CreateRequest(resource=pb.Resource(service=service), options=options)
    here.core("runtime", "Runtime.Create", request, pb.CreateResponse, timeout=CONFIRM)
    if sys.stderr.isatty():
        _wait(here, name, version)


@command("update", example="micro update ./helloworld")
@click.argument("source")
@click.option("--name", default="", help="its name; the folder's or archive's if not given")
@click.option("--instances", "-i", type=click.IntRange(1, 100), default=None, help="how many")
def update(source: str, name: str, instances: int | None) -> None:
    """Replace a running service; a failed start leaves the old one serving"""
    from micro.cli.source import name_for, path_of, upload

    here = session()
    path = path_of(source.partition("@")[0])
    name, version = name_for(path, name), named(names.version, source.partition("@")[2] or "latest")
    not_running = click.ClickException(
        f'Service "{name}" is not running; start it with: micro run {source} --name {name}'
    )
    if _read(here, name, version) is None:
        raise not_running
    service = pb.Service(name=name, version=version, source=upload(here, path, name, version))
    service.metadata["source"] = str(path)
    options = pb.UpdateOptions(namespace=here.namespace, instances=instances or 0)
    request = pb.UpdateRequest(resource=pb.Resource(service=service), options=options)
    try:
        here.core("runtime", "Runtime.Update", request, pb.UpdateResponse, timeout=CONFIRM)
    except NotFound:
        raise not_running from None
    output.note(f"{name} is updated.")


@command("kill", example="micro kill helloworld")
@click.argument("services", nargs=-1, metavar="NAME[@VERSION] …", required=True)
def kill(services: tuple[str, ...]) -> None:
    """Stop services and forget them"""
    here = session()
    unknown = []
    for target in services:
        name, version = _split(target)
        resource = pb.Resource(service=pb.Service(name=name, version=version))
        request = pb.DeleteRequest(resource=resource, options=pb.DeleteOptions(namespace=here.namespace))
        try:
            here.core("runtime", "Runtime.Delete", request, pb.DeleteResponse, timeout=CONFIRM)
        except NotFound:
            unknown.append(f'Service "{target}" is not running')
    if unknown:
        raise click.ClickException("\n".join(unknown))


def _status_row(service: pb.Service) -> list[str]:
    metadata = dict(service.metadata)
    try:
        since = datetime.now(UTC) - datetime.fromisoformat(metadata.get("started", ""))
        updated = output.age(since.total_seconds())
    except ValueError:
        updated = "n/a"
    shown = {"owner": metadata.get("owner"), "group": metadata.get("group"), "error": metadata.get("error")}
    return [
        service.name,
        service.version,
        metadata.get("source") or service.source or "n/a",
        WORDS[service.status] if 0 <= service.status < len(WORDS) else "unknown",
        metadata.get("build", "")[:7] or "n/a",
        updated,
        ", ".join(f"{key}={text}" for key, text in shown.items() if text),
    ]


STATUS = ["NAME", "VERSION", "SOURCE", "STATUS", "BUILD", "UPDATED", "METADATA"]


@command("status", example="micro status\nmicro status helloworld --watch")
@click.argument("name", default="")
@click.option("--watch", is_flag=True, help="look again every second")
def status(name: str, watch: bool) -> None:
    """Say what the services are doing"""
    here = session()
    name, version = _split(name) if name else ("", "")
    options = pb.ReadOptions(service=name, version=version, namespace=here.namespace)
    while True:
        found = here.core("runtime", "Runtime.Read", pb.ReadRequest(options=options), pb.ReadResponse).services
        rows = [_status_row(service) for service in found]
        if watch and output.on_terminal():
            click.clear()
        form = settings().output
        if rows or form in {"json", "yaml"}:
            output.records(rows, STATUS, form or "table")
        if not watch:
            return
        sys.stdout.flush()
        time.sleep(1)


def _log_records(
    here: Session, name: str, version: str, *, count: int = 0, follow: bool = False, since: float = 0.0
) -> Iterator[pb.LogRecord]:
    request = pb.LogsRequest(service=name, version=version, stream=follow, count=count)
    request.options.namespace = here.namespace
    if since:
        request.since_ms = round((time.time() - since) * 1000)
        request.since = request.since_ms // 1000
    return here.core_stream("runtime", "Runtime.Logs", [request], pb.LogRecord)


@command("logs", example="micro logs helloworld\nmicro logs -f helloworld --since 5m")
@click.argument("name")
@click.option("--follow", "-f", is_flag=True, help="go on with what is written from now on")
@click.option("--lines", "-n", type=Whole(0, 2**31 - 1), default=15, help="the last so many; 0 is all")
@click.option("--since", default="", help="no older than: 5m, 2h")
def logs(name: str, follow: bool, lines: int, since: str) -> None:
    """Print a service's log"""
    from micro.plugin.settings import duration

    service, version = _split(name)
    try:
        seconds = duration(since) if since else 0.0
    except ValueError as err:
        raise click.UsageError(f"--since: {err}") from None
    try:
        for record in _log_records(session(), service, version, count=lines, follow=follow, since=seconds):
            if settings().output == "json":
                output.say(
                    json.dumps({"Message": record.message, "Metadata": dict(record.metadata)}, ensure_ascii=False)
                )
            else:
                output.say(record.message)
            if follow:
                sys.stdout.flush()
    except NotFound:
        raise click.ClickException("Service not found") from None


COMMANDS: dict[str, Command | Group] = {"run": run, "update": update, "kill": kill, "status": status, "logs": logs}
