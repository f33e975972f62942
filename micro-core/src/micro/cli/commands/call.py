"""`micro call`, `micro stream`: any endpoint with JSON."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from micro.api.render import answer
from micro.cli import output
from micro.cli.framework import command, flags, session, settings

_options = flags(
    click.option("--address", default="", help="call this node instead of asking the platform where it is"),
    click.option("--metadata", multiple=True, help="metadata of the call: k=v"),
    click.option("--request_timeout", default="", help="how long to wait: 5s"),
    click.option("--verbose", is_flag=True, help="say what is called"),
)


def _timeout(text: str) -> float | None:
    if not text:
        return None
    from micro.api.flags import seconds

    try:
        return seconds(text)
    except ValueError as err:
        sys.stderr.write(f"Invalid request timeout: {err}\n")
        raise SystemExit(2) from None


def _metadata(pairs: tuple[str, ...]) -> dict[str, str]:
    found = {}
    for pair in pairs:
        for part in output.parts(pair):
            key, sep, text = part.partition("=")
            if not sep or not key:
                raise click.UsageError(f"--metadata {part!r} is not key=value")
            found[key] = text
    return found


def _body(text: str) -> bytes:
    """Give the request: JSON, `@file`, or `-` for standard input."""
    if text == "-":
        raw = sys.stdin.buffer.read()
    elif text.startswith("@"):
        try:
            raw = Path(text[1:]).expanduser().read_bytes()
        except OSError as err:
            raise click.UsageError(f"Cannot read {text[1:]}: {err.strerror}") from None
    else:
        raw = text.encode()
    try:
        json.loads(raw)
    except (ValueError, UnicodeDecodeError) as err:
        raise click.UsageError(f"The request is not valid JSON: {err}") from None
    return raw


def _check(service: str, endpoint: str) -> None:
    if endpoint.count(".") != 1 or not service or not all(endpoint.split(".")):
        sys.stderr.write(f'Method name "{endpoint}" invalid format. Expecting service.endpoint\n')
        raise SystemExit(3)


def _print(raw: bytes) -> None:
    form = settings().output or "json"
    try:
        text = answer(raw, form)
    except ValueError:
        sys.stderr.write("The response cannot be printed: it is not JSON\n")
        raise SystemExit(3) from None
    output.say(text)


@command("call", example='micro call helloworld Helloworld.Call \'{"name": "Alice"}\'')
@click.argument("service")
@click.argument("endpoint", metavar="HANDLER.METHOD")
@click.argument("body", default="{}", metavar="[JSON|@FILE|-]")
@_options
def call(
    service: str, endpoint: str, body: str, address: str, metadata: tuple[str, ...], request_timeout: str, verbose: bool
) -> None:
    """Call an endpoint with JSON"""
    _check(service, endpoint)
    here = session()
    timeout = _timeout(request_timeout)
    request = _body(body)
    if verbose:
        sys.stderr.write(f"{service} {endpoint} at {address or here.address}, namespace {here.namespace}\n")
    _print(here.call(service, endpoint, request, metadata=_metadata(metadata), timeout=timeout, address=address))


@command(
    "stream", example="micro stream guestbook Guestbook.Follow '{}'\nmicro stream orders Orders.PlaceMany <orders.jsonl"
)
@click.argument("service")
@click.argument("endpoint", metavar="HANDLER.METHOD")
@click.argument("body", default="", metavar="[JSON|@FILE|-]")
@_options
def stream(
    service: str, endpoint: str, body: str, address: str, metadata: tuple[str, ...], request_timeout: str, verbose: bool
) -> None:
    """Call a streaming endpoint; without JSON, lines of standard input are the client's side where that streams"""
    _check(service, endpoint)
    here = session()
    timeout = _timeout(request_timeout)
    if verbose:
        sys.stderr.write(f"{service} {endpoint} at {address or here.address}, namespace {here.namespace}\n")
    from micro.cli import streams

    takes_lines = body == "-" or (not body and streams.wanted(here, service, endpoint, address))
    bodies = streams.Lines() if takes_lines else iter((_body(body or "{}"),))
    answers = here.stream(service, endpoint, bodies, metadata=_metadata(metadata), timeout=timeout, address=address)
    for raw in answers:
        _print(raw)
        sys.stdout.flush()


COMMANDS: dict[str, click.Command] = {"call": call, "stream": stream}
