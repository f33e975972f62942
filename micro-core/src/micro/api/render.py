"""A command's answers as text: JSON, YAML, a table; and the help of services and endpoints."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # a table needs none of it
    from micro.api.command import ServiceInfo
    from micro.schema.info import EndpointInfo, FieldInfo, MessageInfo

OPTIONS_HELP = (
    ("--input JSON|@file|-", "the whole request"),
    ("--metadata k=v", "metadata of the call; repeat or separate by commas"),
    ("--request_timeout 5s", "how long to wait"),
    ("--address host:port", "call this node"),
    ("--output, -o json|yaml|table|raw", "form of the answer"),
)


def request(body: Any) -> bytes:
    """Write a command's request for the wire."""
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


def answer(raw: bytes, output: str) -> str:
    """Give one answer, a JSON text, in the form asked for, without a newline at its end."""
    if output == "raw":
        return raw.decode("utf-8", "replace")
    value = json.loads(raw) if raw else None
    if output == "yaml":
        return "\n".join(yaml(value))
    if output == "table":
        return table(value)
    return json.dumps(value, indent="\t", ensure_ascii=False)


def yaml(value: Any, indent: str = "") -> Iterable[str]:
    """Give the lines of a JSON value as YAML; texts that could be read as something else are quoted."""
    if isinstance(value, Mapping) and value:
        for key, item in value.items():
            yield from _yaml_entry(f"{indent}{_word(str(key))}:", item, indent + "  ")
    elif isinstance(value, list) and value:
        for item in value:
            first, *rest = yaml(item, indent + "  ") if item or not isinstance(item, dict | list) else [_word(item)]
            yield f"{indent}- {first.strip()}"
            yield from rest
    else:
        yield f"{indent}{_word(value)}"


def _yaml_entry(head: str, item: Any, indent: str) -> Iterable[str]:
    if isinstance(item, dict | list) and item:
        yield head
        yield from yaml(item, indent)
    else:
        yield f"{head} {_word(item)}"


def _word(value: Any) -> str:
    if isinstance(value, str):
        safe = value and value.isascii() and value.replace("-", "").replace("_", "").replace(" ", "").isalnum()
        plain = safe and value[0].isalpha() and value.strip() == value
        return (
            value
            if plain and value.lower() not in {"true", "false", "null", "yes", "no", "on", "off"}
            else json.dumps(value, ensure_ascii=False)
        )
    return json.dumps(value, ensure_ascii=False)


def table(value: Any) -> str:
    """Give records as columns: of the one list in an object, of a list, or of the object itself as KEY VALUE."""
    if isinstance(value, Mapping):
        lists = [item for item in value.values() if isinstance(item, list)]
        if len(value) == 1 and lists:
            value = lists[0]
        else:
            return columns(["KEY", "VALUE"], [[str(k), _cell(v)] for k, v in value.items()])
    rows = [
        item if isinstance(item, Mapping) else {"value": item}
        for item in (value if isinstance(value, list) else [value])
    ]
    heads = list(dict.fromkeys(str(key) for row in rows for key in row))
    return columns([h.upper() for h in heads], [[_cell(row.get(h)) for h in heads] for row in rows])


def columns(heads: list[str], rows: Iterable[list[str]]) -> str:
    """Lay out rows under their heads, two blanks apart."""
    lines = [heads, *rows]
    widths = [max(len(line[i]) for line in lines) for i in range(len(heads))]
    return "\n".join("  ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)).rstrip() for line in lines)


def _cell(value: Any) -> str:
    return value if isinstance(value, str) else "" if value is None else json.dumps(value, ensure_ascii=False)


def service_help(service: ServiceInfo) -> str:
    """Give a service's help: its commands, each with the first line of its author's words."""
    lines = [f"micro {service.name} - commands of the service {service.name}", ""]
    handlers: dict[str, list[EndpointInfo]] = {}
    for endpoint in service.endpoints.values():
        handlers.setdefault(endpoint.handler, []).append(endpoint)
    width = max((len(words_of(service, e)) for e in service.endpoints.values()), default=0)
    for handler, endpoints in sorted(handlers.items()):
        doc = _first(service.docs.get(handler, ""))
        lines.append(f"{handler}:  {doc}" if doc else f"{handler}:")
        lines += [f"  {words_of(service, e).ljust(width)}  {_first(e.doc)}".rstrip() for e in endpoints]
        lines.append("")
    shown = next(iter(service.endpoints.values()), None)
    if shown is not None:
        lines += ["Example:", f"  {_example(service, shown)}", ""]
    lines.append(f"Flags of a command: micro {service.name} <command> --help")
    return "\n".join(lines)


def endpoint_help(service: ServiceInfo, endpoint: EndpointInfo) -> str:
    """Give an endpoint's help: its flags with type, default and description."""
    doc = _first(endpoint.doc)
    words = words_of(service, endpoint)
    lines = [f"micro {service.name} {words} - {doc or endpoint.name}".replace("  ", " ")]
    rest = endpoint.doc.strip().partition("\n")[2].strip()
    if rest:
        lines += ["", rest]
    lines += [
        "",
        "Usage:",
        f"  micro {service.name} {words} [--flags]".replace("  ", " ").replace(" micro", "  micro", 1),
    ]
    rows = list(_flags(endpoint.request))
    if rows:
        lines += ["", "Flags:", *_aligned(rows)]
    lines += ["", "Options:", *_aligned(OPTIONS_HELP), "", "Example:", f"  {_example(service, endpoint)}"]
    return "\n".join(lines)


def _aligned(rows: Iterable[tuple[str, str]]) -> list[str]:
    rows = list(rows)
    width = max(len(left) for left, _ in rows)
    return [f"  {left.ljust(width)}  {right}".rstrip() for left, right in rows]


def _flags(message: MessageInfo, prefix: str = "", level: int = 0) -> Iterable[tuple[str, str]]:
    if message.free:
        yield f"--{prefix}<name> JSON|text", "any field"
    for field in message.fields:
        if field.message is not None and not field.repeated and not field.key and level < 5:
            if field.description:
                yield f"--{prefix}{field.name}_…", field.description
            yield from _flags(field.message, f"{prefix}{field.name}_", level + 1)
        else:
            yield f"--{prefix}{field.name} {_type(field)}", _about(field)


def _type(field: FieldInfo) -> str:
    kind = {"enum": "|".join(field.enum) or "name", "message": "JSON", "struct": "JSON", "value": "JSON"}.get(
        field.kind, field.kind
    )
    if field.key:
        return f"{field.key}={kind}"
    return f"{kind},…" if field.repeated else kind


def _about(field: FieldInfo) -> str:
    notes = []
    if field.required:
        notes.append("required")
    elif field.default:
        notes.append(f"default {json.dumps(field.default, ensure_ascii=False)}")
    if field.oneof:
        notes.append(f"one of {field.oneof}")
    return f"{field.description} ({', '.join(notes)})".lstrip() if notes else field.description


def words_of(service: ServiceInfo, endpoint: EndpointInfo) -> str:
    """Give the words that name an endpoint after its service: `say-hello`, or `handler method`."""
    from micro.api.flags import plain

    method = "-".join(_split(endpoint.method))
    if plain(endpoint.handler) == plain(service.name):
        return method
    return f"{'-'.join(_split(endpoint.handler))} {method}"


def _split(name: str) -> list[str]:
    parts: list[str] = []
    for char in name:
        if char.isupper() or not parts:
            parts.append(char.lower())
        else:
            parts[-1] += char
    return parts


def _example(service: ServiceInfo, endpoint: EndpointInfo) -> str:
    words = words_of(service, endpoint)
    values = {
        "string": "x",
        "bool": "true",
        "enum": "",
        "bytes": "@file",
        "timestamp": "2030-01-31T12:00:00Z",
        "duration": "5s",
    }
    shown = ""
    for field in endpoint.request.fields[:2]:
        if field.message is None and not field.key and not field.repeated and field.kind not in {"value", "struct"}:
            value = (field.enum or ("0",))[0] if field.kind == "enum" else values.get(field.kind, "1")
            shown += f" --{field.name}={value}"
    return f"micro {service.name}{'' if words == 'call' else ' ' + words}{shown}"


def _first(doc: str) -> str:
    return doc.strip().partition("\n")[0]
