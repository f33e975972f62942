"""`micro <service> [words] [--flags]` as a call: which endpoint, which request, which options.

One parser for both who run it: the platform, for commands on its own machine, and the command line, for the others.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from msgspec import Struct, field

from micro.api.flags import Flags, UsageError, plain, seconds
from micro.names import near
from micro.schema.info import EndpointInfo

OUTPUTS = ("json", "yaml", "table", "raw")
# what every such command understands, unless the request has a field of that name; `--help` is always help
_OPTIONS = frozenset({"input", "metadata", "request_timeout", "address", "output", "o", "verbose", "v", "debug"})
_SHORT = {"o": "output", "v": "verbose", "h": "help"}


class ServiceInfo(Struct):
    """A service as its commands: its endpoints, and what their authors say (keys `Handler`, `Handler.Method`)."""

    name: str
    endpoints: Mapping[str, EndpointInfo]
    docs: Mapping[str, str] = field(default_factory=dict)


class Call(Struct):
    """A parsed command. `endpoint` None asks for the service's help; `help` for the endpoint's. `given` says that words had the body."""

    endpoint: EndpointInfo | None = None
    help: bool = False
    body: Any = field(default_factory=dict)
    given: bool = False
    metadata: dict[str, str] = field(default_factory=dict)
    timeout: float | None = None
    address: str = ""
    output: str = "json"


def options() -> frozenset[str]:
    """Give the flags that every service's command has."""
    return frozenset(name for name in _OPTIONS if len(name) > 1)


def _no_files(name: str) -> bytes:
    raise UsageError(f"Cannot read {name!r}: files are read by the command line")


def parse(service: ServiceInfo, argv: Sequence[str], files: Callable[[str], bytes] = _no_files) -> Call:
    """Read the words and flags after the service's name.

    `files(name)` gives the bytes of `@name`, and of standard input as `-`. Raises UsageError.
    """
    words: list[str] = []
    rest = list(argv)
    while rest and not rest[0].startswith("-"):
        words.append(rest.pop(0))
    if len(words) > 2:
        raise UsageError(f"Unexpected argument: {words[2]}")
    wants_help = any(arg in {"--help", "-help", "-h"} for arg in rest)
    call = Call(help=wants_help, endpoint=_endpoint(service, words, flags=bool(rest), help=wants_help))
    if call.endpoint is None or wants_help:
        return call
    flags = Flags(call.endpoint.request, files)
    whole: Any = None
    for key, value in _pairs(rest, flags):
        if flags.knows(key) or _SHORT.get(key, key.replace("-", "_")) not in _OPTIONS:
            flags.set(key, value)
            call.given = True
        elif _SHORT.get(key, key.replace("-", "_")) == "input":
            whole = _input(value, files)
            call.given = True
        else:
            _option(call, _SHORT.get(key, key.replace("-", "_")), value)
    call.body = flags.body if whole is None else _merged(whole, flags.body)
    return call


def _endpoint(service: ServiceInfo, words: list[str], *, flags: bool, help: bool) -> EndpointInfo | None:
    """Words to endpoint: none or one → `<Service>.Call` or `<Service>.<Method>`, two → `<Handler>.<Method>`."""
    if not words and help:
        return None
    handler = words[0] if len(words) == 2 else service.name
    method = words[-1] if words else "Call"
    found = _matching(service, handler, method)
    if found is None and len(words) < 2:
        # a service need not be named like its handler: a method that only one handler has is meant
        others = [e for e in service.endpoints.values() if plain(e.method) == plain(method)]
        found = others[0] if len(others) == 1 else None
    if found is not None or not (words or flags):
        return found
    wanted = f"{camel(handler)}.{camel(method)}"
    there = sorted(service.endpoints)
    meant = near(wanted, there)
    hint = f". Did you mean {meant[0]}?" if meant else ""
    has = ", ".join(there) or "none"
    raise UsageError(f"Endpoint {wanted} not found for service {service.name}{hint}\nIt has: {has}", exit=5)


def _matching(service: ServiceInfo, handler: str, method: str) -> EndpointInfo | None:
    for endpoint in service.endpoints.values():
        if plain(endpoint.handler) == plain(handler) and plain(endpoint.method) == plain(method):
            return endpoint
    return None


def camel(name: str) -> str:
    """Give a word as an endpoint's: `say-hello` → `SayHello`."""
    return "".join(part[:1].upper() + part[1:] for part in name.replace("_", "-").split("-"))


def _pairs(args: list[str], flags: Flags) -> list[tuple[str, str | None]]:
    """Split flags from values: `--k=v`, `--k v`, `--flag`; one dash is as good as two."""
    pairs: list[tuple[str, str | None]] = []
    at = 0
    while at < len(args):
        arg = args[at]
        at += 1
        if not arg.startswith("-") or arg in {"-", "--"}:
            raise UsageError(f"Unexpected argument: {arg}")
        key, sep, value = arg.lstrip("-").partition("=")
        if not key:
            raise UsageError(f"Unexpected argument: {arg}")
        if sep:
            pairs.append((key, value))
            continue
        option = not flags.knows(key) and _SHORT.get(key, key.replace("-", "_")) in _OPTIONS
        following = args[at] if at < len(args) else ""
        wants = key not in {"verbose", "v", "debug"} if option else flags.wants_value(key, following)
        if wants and at < len(args):
            pairs.append((key, args[at]))
            at += 1
        else:
            pairs.append((key, None))
    return pairs


def _option(call: Call, name: str, value: str | None) -> None:
    if name in {"verbose", "debug"}:
        return
    if value is None:
        raise UsageError(f"Flag --{name} needs a value")
    if name == "metadata":
        for part in value.split(","):
            key, sep, text = part.partition("=")
            if not sep or not key:
                raise UsageError(f"Flag --metadata: expected key=value, got {part!r}")
            call.metadata[key.lower()] = text
    elif name == "request_timeout":
        try:
            call.timeout = seconds(value)
        except ValueError as err:
            raise UsageError(f"Flag --request_timeout: {err}", exit=2) from None
    elif name == "address":
        call.address = value
    elif value not in OUTPUTS:
        raise UsageError(f"Flag --output: expected one of {', '.join(OUTPUTS)}, got {value!r}")
    else:
        call.output = value


def _input(value: str | None, files: Callable[[str], bytes]) -> Any:
    if value is None:
        raise UsageError("Flag --input needs a value")
    text: str | bytes = files(value.removeprefix("@")) if value == "-" or value.startswith("@") else value
    try:
        return json.loads(text)
    except ValueError as err:
        raise UsageError(f"Flag --input: not valid JSON: {err}") from None


def _merged(whole: Any, body: dict[str, Any]) -> Any:
    if not body:
        return whole
    if not isinstance(whole, dict):
        raise UsageError("Flag --input: a value that is no object takes no further flags")
    return whole | body
