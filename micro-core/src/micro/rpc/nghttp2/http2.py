"""The port to nghttp2: one connection's protocol, bytes in, events out. Nothing else imports the binding.

An `Http2` is driven from one thread; every method that sends raises `Http2Error` when its stream or connection is gone
meanwhile. `events()` has news after `receive_data` and after `data_to_send` too.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ngh2 import Configuration, Connection, NGH2Error, Role
    from ngh2.events import (
        ConnectionClosed,
        DataReceived,
        GoAwayReceived,
        PingAcknowledged,
        RequestReceived,
        ResponseReceived,
        SettingsReceived,
        StreamClosed,
        StreamReset,
        TrailersReceived,
    )

    from micro.rpc.driver import Limits
else:

    def _stand_ins() -> None:
        """Load the binding's C parts without its `dataclasses`, `enum` and `typing`: a third of a command's start.

        What it checks its arguments by is here in plain classes, which a later `import ngh2` gets as well.
        """
        from _frozen_importlib_external import PathFinder

        spec = PathFinder.find_spec("ngh2")
        module = type(sys)
        package, config, types = module("ngh2"), module("ngh2.config"), module("ngh2.types")
        package.__path__ = spec.submodule_search_locations

        class Role:
            pass

        class Configuration:
            auto_window_update = True
            peer_max_concurrent_streams = 100
            max_reserved_remote_streams = 200
            max_send_header_block_length = 65_536
            max_deflate_dynamic_table_size = 4_096
            max_outbound_ack = 1_000
            max_settings = 32
            stream_reset_rate_limit = (1_000, 33)
            max_continuations = 8
            glitch_rate_limit = (10_000, 330)
            max_inbound_header_list_size = 65_536
            max_inbound_header_count = 1_024

            def __init__(self, **changes: object) -> None:
                self.__dict__.update(changes)

        class NeverIndexedHeader(tuple):
            __slots__ = ()

            def __new__(cls, name: bytes, value: bytes) -> NeverIndexedHeader:  # noqa: PYI034 - typing is what is spared
                return tuple.__new__(cls, (name, value))

        class Priority:
            pass

        Role.CLIENT, Role.SERVER = Role(), Role()
        config.Role, config.Configuration = Role, Configuration
        types.NeverIndexedHeader, types.Priority, types.Header = NeverIndexedHeader, Priority, tuple
        sys.modules.update({"ngh2": package, "ngh2.config": config, "ngh2.types": types})
        try:
            __import__("ngh2._core")
        except BaseException:
            for name in ("ngh2.config", "ngh2.types"):
                del sys.modules[name]
            raise
        finally:
            del sys.modules["ngh2"]

    if "ngh2" not in sys.modules:
        _stand_ins()
    _core, _events = sys.modules["ngh2._core"], sys.modules["ngh2.events"]
    Connection, NGH2Error = _core.Connection, _core.NGH2Error
    Role, Configuration = sys.modules["ngh2.config"].Role, sys.modules["ngh2.config"].Configuration
    ConnectionClosed, DataReceived = _events.ConnectionClosed, _events.DataReceived
    GoAwayReceived, PingAcknowledged = _events.GoAwayReceived, _events.PingAcknowledged
    RequestReceived, ResponseReceived = _events.RequestReceived, _events.ResponseReceived
    SettingsReceived, TrailersReceived = _events.SettingsReceived, _events.TrailersReceived
    StreamClosed, StreamReset = _events.StreamClosed, _events.StreamReset

__all__ = [
    "ConnectionClosed",
    "DataReceived",
    "GoAwayReceived",
    "Http2",
    "Http2Error",
    "PingAcknowledged",
    "RequestReceived",
    "ResponseReceived",
    "SettingsReceived",
    "StreamClosed",
    "StreamReset",
    "TrailersReceived",
    "client",
    "goaway",
    "server",
]

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
MAX_WINDOW = 2**31 - 1  # bytes; RFC 9113
MAX_CONCURRENT_STREAMS = 0x3  # the setting's number, as in the events
MAX_HEADER_LIST_SIZE = 0x6
CLEAN = 0x4D69  # a setting of our own, which others ignore: this client's headers need no scrubbing
NO_ERROR, PROTOCOL_ERROR, INTERNAL_ERROR = 0x0, 0x1, 0x2
REFUSED_STREAM, CANCEL, ENHANCE_YOUR_CALM, INADEQUATE_SECURITY = 0x7, 0x8, 0xB, 0xC
_ENABLE_PUSH, _INITIAL_WINDOW_SIZE = 0x2, 0x4
_SEND_HEADERS = 1024 * 1024  # bytes; the peer's own limit is what binds, and is asked before sending
_GLITCHES = 10  # odd frames for each reset that is allowed: who cancels gets answers for streams that are gone

Http2Error = NGH2Error


class Http2(Connection):
    """One end of a connection.

    The binding consumes stream and connection windows in one call, so that a stream nobody reads would stop its whole
    connection: the connection's window is as wide as it can be, and memory is bounded by the streams' windows.
    """

    def __init__(self, role: Any, config: Configuration, settings: dict[int, int]) -> None:
        super().__init__(role, config)
        self.initiate_connection(settings)
        self.set_local_window_size(MAX_WINDOW)


def server(limits: Limits) -> Http2:
    """Make the server's end."""
    settings = {
        _INITIAL_WINDOW_SIZE: limits.window,
        MAX_CONCURRENT_STREAMS: limits.streams,
        MAX_HEADER_LIST_SIZE: limits.header_bytes,
    }
    return Http2(Role.SERVER, _configuration(limits), settings)


def client(limits: Limits) -> Http2:
    """Make the client's end."""
    settings = {
        _INITIAL_WINDOW_SIZE: limits.window,
        _ENABLE_PUSH: 0,
        MAX_HEADER_LIST_SIZE: limits.header_bytes,
        CLEAN: 1,
    }
    return Http2(Role.CLIENT, _configuration(limits), settings)


def _configuration(limits: Limits) -> Configuration:
    return Configuration(
        auto_window_update=False,
        peer_max_concurrent_streams=100,
        max_send_header_block_length=_SEND_HEADERS,
        stream_reset_rate_limit=(limits.reset_burst, limits.reset_rate),
        glitch_rate_limit=(_GLITCHES * limits.reset_burst, _GLITCHES * limits.reset_rate),
        max_inbound_header_list_size=limits.header_bytes,
    )


def goaway(last: int, code: int) -> bytes:
    """Give a GOAWAY frame for a connection whose protocol state is lost already."""
    return b"\0\0\x08\x07\0\0\0\0\0" + last.to_bytes(4, "big") + code.to_bytes(4, "big")
