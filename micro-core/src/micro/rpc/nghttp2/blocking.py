"""Calls on a plain socket, without asyncio: what a command makes its one call with, before anything else is imported."""

from __future__ import annotations

import _socket
import time

from micro import limits as sizes
from micro.errors import Code
from micro.rpc.nghttp2 import address as address_of
from micro.rpc.nghttp2 import http2, slow
from micro.rpc.nghttp2 import message as wire
from micro.rpc.nghttp2.answer import Answer
from micro.rpc.nghttp2.http2 import Http2Error
from micro.rpc.status import PROTO, Status

TYPE_CHECKING = False
if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterable, Iterator
    from typing import Any, Self

    from micro.rpc.status import Headers

CONNECT_TIMEOUT = 5.0  # seconds
_CHUNK = 256 * 1024  # bytes read at a time
_HIGH = 256 * 1024  # bytes waiting to be sent before answers are read


class _Limits:
    """What `driver.Limits` says, without its imports."""

    message = sizes.MESSAGE
    header_bytes = sizes.METADATA_INSIDE
    window = 1024 * 1024  # bytes; there is but one call
    reset_burst, reset_rate = 1_000, 33


class BlockingChannel:
    """One connection, dialled on first use; one call at a time, on one thread."""

    scarce = False  # what else a process holds is nothing to a call that is read as it comes

    def __init__(self, address: str, tls: ssl.SSLContext | None = None) -> None:
        self.address = address
        self.limits: Any = _Limits
        self.release_at = _Limits.window // 4
        self._tls = tls
        self._socket: Any = None
        self._http2: Any = None
        self._going = False  # the peer goes away
        self._answer: Answer | None = None  # of the call under way

    def unary(
        self,
        path: bytes,
        body: bytes,
        headers: Headers = (),
        *,
        content_type: bytes = PROTO,
        timeout: float | None = None,
    ) -> bytes:
        """Send one message and give the one that comes back; raises Status. One that was refused unseen goes again, once."""
        try:
            found = list(self.stream(path, (body,), headers, content_type=content_type, timeout=timeout))
        except Status as status:
            if status.code != Code.UNAVAILABLE or status.processed or not status.reached:
                raise
            found = list(self.stream(path, (body,), headers, content_type=content_type, timeout=timeout))
        if len(found) != 1:
            raise Status(Code.INTERNAL, f"{len(found)} messages in the answer to a unary call")
        return found[0]

    def stream(
        self,
        path: bytes,
        bodies: Iterable[bytes],
        headers: Headers = (),
        *,
        content_type: bytes = PROTO,
        timeout: float | None = None,
        half_close: bool = True,
    ) -> Iterator[bytes]:
        """Send messages and iterate over those that come back; raises Status at an end other than OK.

        `bodies` is asked for the next message once the last is sent, and answers that are there by then come first; those
        that come while it waits for one do so where it is a `slow.Source`. A call that must stay open to be answered is
        made with `half_close=False`. Closing the iterator cancels.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        answer = self._begin(path, headers, content_type, timeout, deadline)
        source, following = slow.source_of(bodies), iter(bodies)
        try:
            while True:
                while source is not None and not answer.over and not source.ready():
                    self._wait(source, deadline)
                    yield from answer.ready()
                body = None if answer.over else next(following, None)
                if body is None:
                    break
                self._send(answer, body, deadline)
                yield from answer.ready()
                if answer.over:
                    break
            if half_close and not answer.over:
                self._http2.end_stream(answer.id)
            while not answer.over:
                self._exchange(deadline)
                yield from answer.ready()
            yield from answer.ready()
            if answer.end is not None:
                raise answer.end
        finally:
            self._leave(answer)

    def _begin(
        self, path: bytes, headers: Headers, content_type: bytes, timeout: float | None, deadline: float | None
    ) -> Answer:
        if self._answer is not None:
            raise RuntimeError("one call at a time: finish or close the iterator of the last")
        scheme = b"http" if self._tls is None else b"https"
        request = list(wire.request_head(self.address, scheme, path, content_type))
        if timeout is not None:
            if timeout <= 0:
                raise Status(Code.DEADLINE_EXCEEDED, "deadline exceeded", processed=False)
            request.append((b"grpc-timeout", wire.timeout_header(timeout)))
        request += wire.checked(headers)
        if self._socket is not None:
            self._look()
        if self._socket is None:
            self._connect(deadline)
        try:
            stream_id = self._http2.send_request(request)
        except Http2Error as error:
            self.close()
            raise Status(Code.UNAVAILABLE, f"no stream could be opened: {error}", processed=False) from error
        self._answer = Answer(self, stream_id)
        return self._answer

    def _connect(self, deadline: float | None) -> None:
        host, port = address_of.split(self.address)
        # as bytes: as text it goes through a codec whose import takes longer than the call
        name = host.encode() if host.isascii() else host
        found: OSError | None = None
        try:
            places = _socket.getaddrinfo(name, port, 0, _socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            raise Status(
                Code.UNAVAILABLE, f"cannot connect to {self.address}: {error}", processed=False, reached=False
            ) from error
        for family, kind, protocol, _, where in places:
            plain = self._new_socket(family, kind, protocol)
            try:
                plain.settimeout(self._left(deadline, CONNECT_TIMEOUT))
                plain.connect(where)
                plain.setsockopt(_socket.IPPROTO_TCP, _socket.TCP_NODELAY, 1)
                self._socket = plain if self._tls is None else self._tls.wrap_socket(plain, server_hostname=host)
            except OSError as error:
                found = error
                plain.close()
            else:
                self._http2 = http2.client(self.limits)
                self._going = False
                return
        refused = isinstance(found, ConnectionRefusedError)
        text = f"connection refused: {self.address}" if refused else f"cannot connect to {self.address}: {found}"
        raise Status(Code.UNAVAILABLE, text, processed=False, reached=False) from found

    def _new_socket(self, family: int, kind: int, protocol: int) -> Any:
        if self._tls is None:
            return _socket.socket(family, kind, protocol)
        import socket  # what ssl wraps

        return socket.socket(family, kind, protocol)

    def _left(self, deadline: float | None, most: float | None = None) -> float | None:
        if deadline is None:
            return most
        left = deadline - time.monotonic()
        if left <= 0:
            raise Status(Code.DEADLINE_EXCEEDED, "deadline exceeded")
        return left if most is None else min(left, most)

    def _send(self, answer: Answer, body: bytes, deadline: float | None) -> None:
        if len(body) > self.limits.message:
            raise wire.too_large(len(body), self.limits.message)
        try:
            self._http2.send_data(answer.id, wire.frame(body))
        except Http2Error:
            return  # the stream has gone; its end is there, or comes with what is read next
        self._flush(deadline)
        while not answer.over and self._http2.queued_body_size(answer.id) > _HIGH:
            self._exchange(deadline)
        if not answer.over:
            self._poll()

    def _flush(self, deadline: float | None) -> None:
        data = self._http2.data_to_send()
        if data:
            self._socket.settimeout(self._left(deadline))
            try:
                self._socket.sendall(data)
            except TimeoutError:
                self.close()  # nobody knows how much of it has left
                raise Status(Code.DEADLINE_EXCEEDED, "deadline exceeded") from None
            except OSError as error:
                self._lost(f"the connection was lost: {error}")

    def _exchange(self, deadline: float | None) -> None:
        """Send what is to be sent, wait for something to come."""
        self._flush(deadline)
        if self._socket is None:
            return
        self._socket.settimeout(self._left(deadline))
        try:
            data = self._socket.recv(_CHUNK)
        except TimeoutError:
            raise Status(Code.DEADLINE_EXCEEDED, "deadline exceeded") from None
        except OSError as error:
            self._lost(f"the connection was lost: {error}")
            return
        self._take(data)

    def _wait(self, source: slow.Source, deadline: float | None) -> None:
        """Wait for the source or the peer, and take what one of them has."""
        self._flush(deadline)
        if self._socket is None:
            return
        some, answered = slow.readable(source, self._socket, deadline)
        if some:
            source.take_in()
        if answered:
            self._poll()

    def _poll(self) -> None:
        """Take what has come already."""
        self._socket.settimeout(0.0)
        try:
            data = self._socket.recv(_CHUNK)
        except ConnectionError as error:
            self._lost(f"the connection was lost: {error}")
            return
        except OSError:
            return  # nothing is there
        self._take(data)

    def _look(self) -> None:
        """Find out, before a connection is used again, whether its peer has left it."""
        self._poll()
        if self._going:
            self.close()

    def _take(self, data: bytes) -> None:
        if not data:
            self._lost("the connection was lost")
            return
        try:
            self._http2.receive_data(data)
        except Http2Error as error:
            self._lost(f"the peer broke the protocol: {error}")
            return
        for event in self._http2.events():
            self._on(event)

    def _on(self, event: Any) -> None:
        kind = type(event)
        if kind is http2.GoAwayReceived or kind is http2.ConnectionClosed:
            self._going = True
            return
        answer = self._answer
        mine = answer is not None and getattr(event, "stream_id", 0) == answer.id
        if kind is http2.DataReceived and not mine:
            self.acknowledge(len(event.data), event.stream_id)
        elif answer is None or not mine:
            return
        elif kind is http2.DataReceived:
            answer.on_data(event.data, event.end_stream)
        elif kind is http2.ResponseReceived:
            answer.on_headers(event.headers, event.end_stream)
        elif kind is http2.TrailersReceived:
            answer.on_trailers(event.headers)
        elif kind is http2.StreamReset or kind is http2.StreamClosed:
            answer.closed = True
            answer.finish(wire.reset_status(event.error_code))

    def acknowledge(self, amount: int, stream_id: int) -> None:
        """Say that so many bytes of a stream are done with; what `Stream` asks of its connection."""
        try:
            if amount:
                self._http2.acknowledge_received_data(amount, stream_id)
        except (Http2Error, ValueError):
            return  # the connection is gone, and its windows with it

    def _lost(self, text: str) -> None:
        if self._answer is not None:
            self._answer.finish(Status(Code.UNAVAILABLE, text))
        self.close()

    def _leave(self, answer: Answer) -> None:
        """End the call, however far it came."""
        self._answer = None
        answer.discard()
        if self._socket is None:
            return
        try:
            if not answer.closed:
                self._http2.reset_stream(answer.id)
            self._flush(time.monotonic() + 1.0)
        except (Http2Error, Status):
            self.close()
        if self._going:
            self.close()

    def close(self) -> None:
        """Hang up."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
