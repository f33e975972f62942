"""A command's way to a platform: the environment's proxy, whose account, blocking calls."""

from __future__ import annotations

import json
import os
import time
from binascii import a2b_base64
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

from micro.context import CORE_NAMESPACE
from micro.errors import Code, InvalidArgument, MicroError, ServiceError, Unauthenticated, Unavailable
from micro.rpc.status import JSON, PROTO, Status
from micro.service import machine
from micro.service.state import LOCAL, State, Token

if TYPE_CHECKING:
    from micro.rpc.nghttp2.blocking import BlockingChannel

M = TypeVar("M")

LIFE = 900  # seconds of a token that a command asks for
EARLY = 60.0  # seconds before its end when a token is renewed
TIMEOUT = 10.0  # seconds of a call without --request_timeout; the original's


class NoServerError(Unavailable):
    """Nobody answers where the platform should be."""


class StaleAdminError(Unauthenticated):
    """This machine's `admin.json` has a secret that is none any more."""


class NoEnvironmentError(MicroError):
    """The environment named does not exist."""


class Session:
    """One command's calls. `env` and `namespace` are what the flags say, empty for what is remembered."""

    def __init__(self, state: State, *, env: str = "", namespace: str = "", address: str = "") -> None:
        self.state = state
        self.env = env or state.env
        if self.env not in state.envs:
            raise NoEnvironmentError(f'Env "{self.env}" not found. See `micro env` for available environments.')
        self.data = machine.data_folder(os.environ)
        self._here = machine.local_proxy(self.data) if self.env == LOCAL else ""
        self._address = address
        self.namespace = namespace or state.namespace(self.env) or CORE_NAMESPACE

    @property
    def address(self) -> str:
        """The proxy's address: of the server on this machine while it runs, else of the environment."""
        return self._address or self._here or self.state.envs[self.env]

    @cached_property
    def channel(self) -> BlockingChannel:
        """The connection to the proxy, made on first use."""
        return self.channel_to(self.address)

    @staticmethod
    def channel_to(address: str) -> BlockingChannel:
        """Give a connection to an address: without a port, or to 443, by TLS."""
        from micro.rpc.nghttp2.blocking import BlockingChannel

        host, _, port = address.removeprefix("https://").rpartition(":")
        if host and port.isdecimal() and port != "443" and not address.startswith("https://"):
            return BlockingChannel(address)
        from micro.rpc.tls import client_context

        return BlockingChannel(f"{host}:{port}" if host else f"{port}:443", tls=client_context())

    # -- identity

    @cached_property
    def token(self) -> str:
        """The access token to call with; empty for nobody. Logs in or renews when it has to."""
        held = self.state.token(self.env, self.namespace) or self.state.token(self.env, CORE_NAMESPACE)
        if held is not None and not self._signed_here(held.access):
            held = None
        if held is not None and held.expiry - EARLY > time.time():
            return held.access
        if held is not None and held.refresh:
            try:
                return self._token(held.namespace, refresh=held.refresh).access
            except (Unauthenticated, InvalidArgument):
                self.state.forget(self.env, held.namespace)
        admin = self.admin()
        if not admin:
            return ""
        try:
            return self.login(admin["id"], admin["secret"], namespace=admin.get("namespace", CORE_NAMESPACE)).access
        except (Unauthenticated, InvalidArgument) as err:
            raise StaleAdminError(
                f"{self.data}/admin.json is out of date: {err.detail}. The secret of {admin['id']} was changed from elsewhere; "
                f"log in with 'micro login --username {admin['id']}', or write the new secret into that file"
            ) from err

    def _renewed(self) -> bool:
        """Whether the token that a call was refused with is dead, and another one is at hand now."""
        from micro.proto import auth_pb2 as pb

        refused = self.__dict__.get("token", "")
        if not refused:
            return False
        try:
            self.core("auth", "Auth.Inspect", pb.InspectRequest(token=refused), pb.InspectResponse, token="")
        except (Unauthenticated, InvalidArgument):
            for held in self.state.tokens():
                if (held.env, held.access) == (self.env, refused):
                    self.state.keep(held._replace(expiry=0.0))
            del self.__dict__["token"]
            return bool(self.token)
        return False

    def _signed_here(self, token: str) -> bool:
        """Whether this machine's server can have signed a token: one from before its data was removed is nothing."""
        if self.env != LOCAL:
            return True
        try:
            keys = os.listdir(f"{self.data}/keys")  # noqa: PTH208 - pathlib would be a tenth of a command's time
        except OSError:
            return True
        head = token.partition(".")[0].replace("-", "+").replace("_", "/")
        try:
            kid = json.loads(a2b_base64(head + "=" * (-len(head) % 4)))["kid"]
        except (ValueError, KeyError, TypeError):
            return False
        return any(name.rpartition(".")[0] == kid for name in keys)

    def admin(self) -> dict[str, str]:
        """Give this machine's admin account, where the local server's file can be read; empty elsewhere."""
        return machine.admin(self.data) if self.env == LOCAL else {}

    def login(self, id: str, secret: str, *, namespace: str = "") -> Token:
        """Log in and remember it; raises as the service refuses."""
        return self._token(namespace or self.namespace, id=id, secret=secret)

    def _token(self, namespace: str, *, id: str = "", secret: str = "", refresh: str = "") -> Token:
        from micro.proto import auth_pb2 as pb

        request = pb.TokenRequest(
            id=id, secret=secret, refresh_token=refresh, token_expiry=LIFE, options=pb.Options(namespace=namespace)
        )
        answer = self.core("auth", "Auth.Token", request, pb.TokenResponse, token="").token
        token = Token(self.env, namespace, id, float(answer.expiry), answer.access_token, answer.refresh_token)
        if not id:
            before = self.state.token(self.env, namespace)
            token = token._replace(account=before.account if before else "")
        self.state.keep(token)
        self.__dict__["token"] = token.access
        return token

    # -- calls

    def headers(
        self, namespace: str, content: bytes, *, token: str | None = None, metadata: dict[str, str] | None = None
    ) -> list[tuple[bytes, bytes]]:
        """Give a call's metadata."""
        found = [(b"x-content-type", content), (b"micro-namespace", namespace.encode())]
        bearer = self.token if token is None else token
        if bearer:
            found.append((b"authorization", f"Bearer {bearer}".encode()))
        return found + [(name.lower().encode(), text.encode()) for name, text in (metadata or {}).items()]

    def core(
        self,
        service: str,
        endpoint: str,
        request: Any,
        response: type[M],
        *,
        token: str | None = None,
        timeout: float = TIMEOUT,
        namespace: str = CORE_NAMESPACE,
        address: str = "",
    ) -> M:
        """Call a core service, one protobuf message each way; with a `namespace`, what every service has."""
        channel = self.channel_to(address) if address else self.channel
        body = request.SerializeToString()

        def send() -> bytes:
            headers = self.headers(namespace, PROTO, token=token)
            return self._unary(channel, path(service, endpoint), body, headers, PROTO, timeout)

        raw = send() if token is not None else self._sent(send)
        return response.FromString(raw)  # type: ignore[attr-defined,no-any-return]

    def core_stream(self, service: str, endpoint: str, requests: Iterable[Any], response: type[M]) -> Iterator[M]:
        """Call a streaming endpoint of a core service; requests in a list can be sent again with a new token."""
        try:
            yield from self._core_stream(service, endpoint, requests, response)
        except Unauthenticated:  # before anything else was answered
            if not self._renewed() or not isinstance(requests, list):
                raise
            yield from self._core_stream(service, endpoint, requests, response)

    def _core_stream(self, service: str, endpoint: str, requests: Iterable[Any], response: type[M]) -> Iterator[M]:
        bodies = (request.SerializeToString() for request in requests)
        headers = self.headers(CORE_NAMESPACE, PROTO)
        for raw in self._stream(self.channel, path(service, endpoint), bodies, headers, PROTO, None):
            yield response.FromString(raw)  # type: ignore[attr-defined]

    def call(
        self,
        service: str,
        endpoint: str,
        body: bytes,
        *,
        metadata: dict[str, str] | None = None,
        timeout: float | None = None,
        address: str = "",
    ) -> bytes:
        """Call any service with JSON; gives JSON."""
        channel = self.channel_to(address) if address else self.channel

        def send() -> bytes:
            headers = self.headers(self.namespace, b"application/json", metadata=metadata)
            return self._unary(channel, path(service, endpoint), body, headers, JSON, timeout or TIMEOUT)

        return self._sent(send)

    def stream(
        self,
        service: str,
        endpoint: str,
        bodies: Iterable[bytes],
        *,
        metadata: dict[str, str] | None = None,
        timeout: float | None = None,
        address: str = "",
    ) -> Iterator[bytes]:
        """Call any streaming endpoint with JSON; gives JSON texts."""
        channel = self.channel_to(address) if address else self.channel
        headers = self.headers(self.namespace, b"application/json", metadata=metadata)
        return self._stream(channel, path(service, endpoint), bodies, headers, JSON, timeout)

    def _sent(self, send: Callable[[], bytes]) -> bytes:
        """Send a call; again with a new token where it was refused for one that died before its time."""
        try:
            return send()
        except Unauthenticated:
            if not self._renewed():
                raise
            return send()

    @staticmethod
    def _unary(
        channel: BlockingChannel,
        path: bytes,
        body: bytes,
        headers: list[tuple[bytes, bytes]],
        content: bytes,
        timeout: float,
    ) -> bytes:
        try:
            return channel.unary(path, body, headers, content_type=content, timeout=timeout)
        except Status as status:
            raise _error(channel, status) from status

    @staticmethod
    def _stream(
        channel: BlockingChannel,
        path: bytes,
        bodies: Iterable[bytes],
        headers: list[tuple[bytes, bytes]],
        content: bytes,
        timeout: float | None,
    ) -> Iterator[bytes]:
        try:
            yield from channel.stream(path, bodies, headers, content_type=content, timeout=timeout)
        except Status as status:
            raise _error(channel, status) from status


def _error(channel: BlockingChannel, status: Status) -> ServiceError:
    """Make the error of a call's end; one that never left this machine names where it wanted to go."""
    if status.code == Code.UNAVAILABLE and not status.processed:
        why = ""
        if "CERTIFICATE_VERIFY_FAILED" in status.message:
            why = ": its certificate is not trusted; an authority of your own is named by SSL_CERT_FILE"
        return NoServerError(f"failed to connect to micro server at {channel.address}{why}")
    from micro.rpc.errors import from_status

    return from_status(status)


def path(service: str, endpoint: str) -> bytes:
    """Give the path of a call: what is no `Handler.Method` goes as it is, and is refused in the wire's words."""
    if endpoint.count(".") == 1 and not endpoint.startswith("/"):
        handler, _, method = endpoint.partition(".")
        return f"/{service}.{handler}/{method}".encode() if service else f"/{handler}/{method}".encode()
    return endpoint.encode()
