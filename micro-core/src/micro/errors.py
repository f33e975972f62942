"""The one error tree. A class is a gRPC code; it crosses the wire and comes back the same class.

    MicroError
    ├── ServiceError            one class per code, raised by services, drivers' portable classes and the transport
    │   ├── InvalidArgument     400  fix the call
    │   ├── Unauthenticated     401  log in
    │   ├── PermissionDenied    403  ask for a rule
    │   ├── NotFound            404  absent or expired
    │   ├── DeadlineExceeded    408  it may have happened
    │   ├── AlreadyExists       409  it lost to an earlier create
    │   ├── Aborted             409  read again and redo
    │   ├── FailedPrecondition  412  wrong state
    │   ├── ResourceExhausted   429  too big, too many, full
    │   ├── Cancelled           499  it asked for this
    │   ├── Internal            500  a bug
    │   ├── Unknown             500  a plugin's bug: unclassified
    │   ├── Unimplemented       501  see the capabilities
    │   ├── Unavailable         503  try again
    │   └── OutOfRange, DataLoss     only where a peer sends them
    └── ConfigError             start-up only: fix the profile

Act on the class, never on the text.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import ClassVar

LOCAL = "micro.client"  # the id of errors of a call that nobody answered: they arose in the caller's own process
MAX_DETAIL = 2048  # bytes; beyond about 10 kB of trailers a peer loses the whole status


class Code:
    """gRPC's status codes, as plain ints: `enum` alone would double the start of a command."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


class MicroError(Exception):
    """Anything Micro raises on purpose."""


class ConfigError(MicroError):
    """The profile, a setting or a plugin is wrong; `problems` lists every mistake found, one line each."""

    def __init__(self, problems: Iterable[str] | str) -> None:
        self.problems = [problems] if isinstance(problems, str) else list(problems)
        super().__init__("\n".join(self.problems))


class ServiceError(MicroError):
    """An answer other than OK.

    `detail` is the text for people; `id` names who said it (`store.Store.Read`, or a service's name), empty until
    the edge of a service fills it in; `http` is wire.md's micro code (an HTTP status), normally the class's own, and
    another only when a peer sent one that no class has (405, 502, …).
    """

    code: ClassVar[int] = Code.UNKNOWN
    status: ClassVar[int] = 500

    def __init__(self, detail: str = "", *, id: str = "", http: int = 0) -> None:
        super().__init__(detail)
        self.detail = detail
        self.id = id
        self.http = http or self.status

    def __str__(self) -> str:
        return self.detail

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (type(self), self.detail, self.id, self.http)


def _rebuild(cls: type[ServiceError], detail: str, id: str, http: int) -> ServiceError:
    return cls(detail, id=id, http=http)


class InvalidArgument(ServiceError):
    """The call is wrong whatever the state: fix the call."""

    code = Code.INVALID_ARGUMENT
    status = 400


class Unauthenticated(ServiceError):
    """Nobody, or nobody known, is calling: log in."""

    code = Code.UNAUTHENTICATED
    status = 401


class PermissionDenied(ServiceError):
    """The account may not: ask for a rule."""

    code = Code.PERMISSION_DENIED
    status = 403


class NotFound(ServiceError):
    """Absent or expired."""

    code = Code.NOT_FOUND
    status = 404


class DeadlineExceeded(ServiceError):
    """Time ran out; it may have happened."""

    code = Code.DEADLINE_EXCEEDED
    status = 408


class AlreadyExists(ServiceError):
    """It lost to an earlier create."""

    code = Code.ALREADY_EXISTS
    status = 409


class Aborted(ServiceError):
    """A condition on the version failed: read again and redo."""

    code = Code.ABORTED
    status = 409


class FailedPrecondition(ServiceError):
    """The state is wrong for this call."""

    code = Code.FAILED_PRECONDITION
    status = 412


class ResourceExhausted(ServiceError):
    """Too big, too many, full."""

    code = Code.RESOURCE_EXHAUSTED
    status = 429


class Cancelled(ServiceError):
    """The caller asked for this."""

    code = Code.CANCELLED
    status = 499


class Internal(ServiceError):
    """A bug in the service."""

    code = Code.INTERNAL
    status = 500


class Unknown(ServiceError):
    """Unclassified: a bug in whoever should have classified it."""

    code = Code.UNKNOWN
    status = 500


class Unimplemented(ServiceError):
    """There is no such method here, or the backend has not this capability."""

    code = Code.UNIMPLEMENTED
    status = 501


class Unavailable(ServiceError):
    """Nobody is there now: try again."""

    code = Code.UNAVAILABLE
    status = 503


class OutOfRange(ServiceError):
    """A peer's code for reading past the end."""

    code = Code.OUT_OF_RANGE
    status = 400


class DataLoss(ServiceError):
    """A stored value is damaged."""

    code = Code.DATA_LOSS
    status = 500


_CLASSES: tuple[type[ServiceError], ...] = (
    InvalidArgument,
    Unauthenticated,
    PermissionDenied,
    NotFound,
    DeadlineExceeded,
    AlreadyExists,
    Aborted,
    FailedPrecondition,
    ResourceExhausted,
    Cancelled,
    Internal,
    Unknown,
    Unimplemented,
    Unavailable,
    OutOfRange,
    DataLoss,
)
BY_CODE: dict[int, type[ServiceError]] = {c.code: c for c in _CLASSES}
# 409 and 500 name several classes: the gRPC status picks between them (`from_wire`); these are the plain readings.
BY_STATUS: dict[int, type[ServiceError]] = {c.status: c for c in reversed(_CLASSES)} | {
    400: InvalidArgument,
    409: AlreadyExists,
    500: Internal,
}
# What a Go service sends for a micro code; codes of no class are UNKNOWN.
GRPC_OF_STATUS = {
    200: 0, 400: 3, 401: 16, 403: 7, 404: 5, 408: 4, 409: 6, 412: 9, 429: 8, 499: 1, 500: 13, 501: 12, 503: 14,
}  # fmt: skip
PHRASES = {
    200: "OK", 400: "Bad Request", 401: "Unauthorized", 403: "Forbidden", 404: "Not Found",
    405: "Method Not Allowed", 408: "Request Timeout", 409: "Conflict", 412: "Precondition Failed",
    413: "Request Entity Too Large", 415: "Unsupported Media Type", 429: "Too Many Requests",
    431: "Request Header Fields Too Large", 499: "Client Closed Request", 500: "Internal Server Error",
    501: "Not Implemented", 502: "Bad Gateway", 503: "Service Unavailable", 504: "Gateway Timeout",
}  # fmt: skip


def clip(detail: str) -> str:
    """Cut a detail to what a peer's trailers surely carry, on a character boundary."""
    raw = detail.encode("utf-8", "replace")
    return detail if len(raw) <= MAX_DETAIL else raw[: MAX_DETAIL - 3].decode("utf-8", "ignore") + "…"


def from_grpc(code: int, detail: str, *, id: str = "") -> ServiceError:
    """Make the error of a plain gRPC status, its text unchanged."""
    return BY_CODE.get(code, Unknown)(detail, id=id)


def from_wire(id: str, status: int, detail: str, *, grpc: int = Code.UNKNOWN) -> ServiceError:
    """Make the error of a micro error: the JSON's code decides, the gRPC status picks between classes of one code.

    A status that no class has keeps its number in `http`, so that a gateway passes it on.
    """
    picked = BY_CODE.get(grpc)
    if picked is None or picked.status != status:
        picked = BY_STATUS.get(status, Unknown)
    return picked(detail, id=id, http=status)


def phrase(status: int) -> str:
    """Give the standard HTTP phrase of a status."""
    known = PHRASES.get(status)
    if known is None:
        from http import HTTPStatus

        try:
            return HTTPStatus(status).phrase
        except ValueError:
            return "Unknown"
    return known
