"""What of an object can be called: its public methods, read once, with the messages their annotations name.

    class Orders:
        @endpoint(idempotent=True)                       # optional
        async def place(self, order: Order) -> Order:    # Orders.Place

One message parameter or none, or `AsyncIterator[T]` for a stream of requests; a parameter annotated `Context` is given
the call's. A result of `AsyncIterator[T]` is a stream of answers. `async def`, plain `def` (on a thread), generators of
both kinds.
"""

from __future__ import annotations

import collections.abc
import inspect
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any, TypeVar, Union, get_args, get_origin, overload
from weakref import WeakKeyDictionary

from msgspec import Struct, field
from msgspec.structs import replace

from micro.context import Context
from micro.schema import Endpoint as Described
from micro.schema import SchemaError, message_of

F = TypeVar("F", bound=Callable[..., Any])

_OPTIONS = "__micro_endpoint__"
_ASYNC = (collections.abc.AsyncIterator, collections.abc.AsyncGenerator, collections.abc.AsyncIterable)
_BLOCKING = (collections.abc.Iterator, collections.abc.Generator)
_NONE = type(None)


class Endpoint(Described, frozen=True, kw_only=True):
    """One method that can be called.

    `function` is the bound method; `request_name` and `context_name` are its parameters, empty where it has none, and
    `by_keyword` says that it takes them by name alone.
    `idempotent`: callers may repeat it. `public`: it answers anybody, whatever token they bear, and asks no rule.
    `blocking`: it runs on a thread, and so does the iterator it takes or gives. `metadata` goes to the registry.
    `empty_items`: a None in the stream of answers is no answer; it sends the headers, "I have begun".
    """

    function: Callable[..., Any]
    request_name: str = ""
    context_name: str = ""
    by_keyword: bool = False
    idempotent: bool = False
    public: bool = False
    blocking: bool = False
    empty_items: bool = False
    metadata: Mapping[str, str] = field(default_factory=dict)


class _Options(Struct, frozen=True):
    name: str = ""
    idempotent: bool = False
    public: bool = False
    metadata: Mapping[str, str] = field(default_factory=dict)


@overload
def endpoint(function: F, /) -> F: ...
@overload
def endpoint(
    *, name: str = "", idempotent: bool = False, public: bool = False, metadata: Mapping[str, str] | None = None
) -> Callable[[F], F]: ...
def endpoint(
    function: F | None = None,
    /,
    *,
    name: str = "",
    idempotent: bool = False,
    public: bool = False,
    metadata: Mapping[str, str] | None = None,
) -> F | Callable[[F], F]:
    """Say more about a method: see Endpoint. `name` is the method's on the wire, instead of its own in CamelCase."""
    options = _Options(name, idempotent, public, dict(metadata or {}))

    def mark(marked: F) -> F:
        setattr(marked, _OPTIONS, options)
        return marked

    return mark if function is None else mark(function)


def collect(obj: object, handler: str | None = None) -> list[Endpoint]:
    """Read a handler's endpoints, in the order its class has them; `handler` is its name instead of the class's.

    Raises TypeError naming class, method and parameter for what cannot travel.
    """
    if isinstance(obj, type):
        raise TypeError(f"{obj.__name__} is a class: give an instance, {obj.__name__}(…)")
    cls = type(obj)
    handler = handler or cls.__name__
    found = []
    for name, declared in learn(cls).items():
        function = getattr(obj, name)
        if getattr(function, "__func__", function) is declared.function:
            found.append(replace(declared, handler=handler, function=function))
        else:  # this very object has another
            found.append(_read(function, handler, f"{cls.__name__}.{name}"))
    return found


_learned: WeakKeyDictionary[type, dict[str, Endpoint]] = WeakKeyDictionary()


def learn(cls: type) -> dict[str, Endpoint]:
    """Read the endpoints of a handler's class, each under its attribute's name, with the plain function in it; once.

    What a process reads before it forks, its children need not read again.
    """
    known = _learned.get(cls)
    if known is None:
        known = _learned[cls] = _declared(cls)
    return known


def _declared(cls: type) -> dict[str, Endpoint]:
    found: dict[str, Endpoint] = {}
    methods: set[str] = set()
    for name, bound in _method_names(cls).items():
        function = getattr(cls, name)
        one = _read(function, cls.__name__, f"{cls.__name__}.{name}", skip=1 if bound else 0)
        if one.method in methods:
            raise TypeError(f"{cls.__name__}: two methods are both the endpoint {one.name}")
        methods.add(one.method)
        found[name] = replace(one, function=getattr(function, "__func__", function))
    if not found:
        raise TypeError(f"{cls.__name__} has no public methods: a handler's public methods are its endpoints")
    return found


def of_function(function: Callable[..., Any], handler: str) -> Endpoint:
    """Read a bare function as an endpoint."""
    return _read(function, handler, getattr(function, "__qualname__", repr(function)))


def camel(name: str) -> str:
    """Give a name as the wire writes it: `say_hello` is `SayHello`, `foo-bar` is `FooBar`."""
    return "".join(part[:1].upper() + part[1:] for part in name.replace("-", "_").replace(".", "_").split("_"))


def _method_names(cls: type) -> dict[str, bool]:
    """Give the names of the public methods, in order, and of each whether its first parameter is the object."""
    names: dict[str, bool] = {}
    for base in reversed(cls.__mro__[:-1]):
        for name, value in vars(base).items():
            if not name.startswith("_") and isinstance(value, types.FunctionType | staticmethod | classmethod):
                names[name] = isinstance(value, types.FunctionType)
    return {name: bound for name, bound in names.items() if callable(getattr(cls, name, None))}


def _read(function: Callable[..., Any], handler: str, where: str, *, skip: int = 0) -> Endpoint:
    """Read a function; the first `skip` of its parameters are not the caller's."""
    options: _Options = getattr(function, _OPTIONS, None) or _Options()
    hints = _hints(function, where)
    parameters = list(inspect.signature(function).parameters.values())[skip:]
    request_name, context_name = _parameters(parameters, hints, where)
    request, client_streaming = _request(hints, request_name)
    if "return" not in hints:
        raise TypeError(f"{where}: its result has no annotation; write -> None if it gives nothing")
    result, server_streaming = _streamed(hints["return"], _ASYNC + _BLOCKING)
    empty_items = server_streaming and _protobuf_or_none(result) is not None
    if empty_items:
        result = _protobuf_or_none(result)
    return Endpoint(
        handler,
        options.name or camel(function.__name__),
        _message(request, f"{where}: parameter {request_name!r}"),
        _message(result, f"{where}: its result"),
        client_streaming=client_streaming,
        server_streaming=server_streaming,
        doc=inspect.getdoc(function) or "",
        function=function,
        request_name=request_name,
        context_name=context_name,
        by_keyword=any(parameter.kind == parameter.KEYWORD_ONLY for parameter in parameters),
        idempotent=options.idempotent,
        public=options.public,
        blocking=_blocks(function, hints["return"]),
        empty_items=empty_items,
        metadata=options.metadata,
    )


def _hints(function: Callable[..., Any], where: str) -> dict[str, Any]:
    try:
        return typing.get_type_hints(function, include_extras=True)
    except NameError as problem:
        raise TypeError(
            f"{where}: an annotation names {problem.name!r}, which its module does not have"
            " (under `from __future__ import annotations` it must be there at run time, at the module's level)"
        ) from problem


def _parameters(parameters: list[inspect.Parameter], hints: Mapping[str, Any], where: str) -> tuple[str, str]:
    """Give the names of the parameters for the request and for the context."""
    request = context = ""
    for parameter in parameters:
        name = parameter.name
        if parameter.kind in {parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD}:
            raise TypeError(f"{where}: parameter {name!r}: an endpoint takes one message, not any number")
        if name not in hints:
            raise TypeError(f"{where}: parameter {name!r} has no annotation")
        if _is_context(hints[name]):
            context = name
        elif request:
            raise TypeError(f"{where}: takes one message, not both {request!r} and {name!r}; make a dataclass of them")
        elif parameter.kind == parameter.POSITIONAL_ONLY:
            raise TypeError(f"{where}: parameter {name!r} must not be positional-only")
        else:
            request = name
    return request, context


def _request(hints: Mapping[str, Any], name: str) -> tuple[Any, bool]:
    if not name:
        return None, False
    kinds = _ASYNC + _BLOCKING + (collections.abc.Iterable,)
    return _streamed(hints[name], kinds)


def _is_context(hint: Any) -> bool:
    return isinstance(hint, type) and issubclass(hint, Context)


def _streamed(hint: Any, kinds: tuple[Any, ...]) -> tuple[Any, bool]:
    origin = get_origin(hint)
    if origin not in kinds:
        return hint, False
    arguments = get_args(hint)
    return (arguments[0] if arguments else dict), True


def _protobuf_or_none(hint: Any) -> Any:
    """Give M of `M | None` where M is a protobuf class; None for everything else."""
    if get_origin(hint) not in {Union, types.UnionType}:
        return None
    others = [arm for arm in get_args(hint) if arm is not _NONE]
    return others[0] if len(others) == 1 and hasattr(others[0], "DESCRIPTOR") else None


def _message(hint: Any, where: str) -> Any:
    try:
        return message_of(None if hint is _NONE else hint)
    except SchemaError as problem:
        raise SchemaError(f"{where}: {problem}") from problem


def _blocks(function: Callable[..., Any], result: Any) -> bool:
    inner = inspect.unwrap(function)
    if any(
        inspect.iscoroutinefunction(each) or inspect.isasyncgenfunction(each)
        for each in (function, inner, getattr(inner, "__func__", inner))
    ):
        return False
    return get_origin(result) not in _ASYNC
