"""grpc's options for our limits; the source of each figure is beside it."""

from __future__ import annotations

from micro.rpc.driver import Limits

Options = list[tuple[str, int]]

PING_INTERVAL = 10_000  # ms; faster pings than this are strikes, of which a peer has two
RECONNECT_FIRST = 100  # ms until a lost connection is dialled anew; grpc's own second is a long time on one host
RECONNECT_MOST = 1_000  # ms
DIAL = 5_000  # ms; the original's dial timeout
MAX_INT = 2**31 - 1  # what grpc takes for an option


def server_options(limits: Limits) -> Options:
    """Give a listener's options."""
    options = [
        *_both(limits),
        ("grpc.so_reuseport", 0),  # a second server on a port must fail, not share it
        ("grpc.max_concurrent_streams", limits.streams),
        ("grpc.http2.min_recv_ping_interval_without_data_ms", PING_INTERVAL),
        ("grpc.http2.max_ping_strikes", 2),
    ]
    if limits.idle:
        options.append(("grpc.max_connection_idle_ms", _ms(limits.idle)))
    if limits.max_age:
        options.append(("grpc.max_connection_age_ms", _ms(limits.max_age)))
        options.append(("grpc.max_connection_age_grace_ms", _ms(limits.max_age_grace)))
    return options


def channel_options(limits: Limits) -> Options:
    """Give a channel's options."""
    return [
        *_both(limits),
        ("grpc.use_local_subchannel_pool", 1),  # or two channels would share one connection, and its stream limit
        ("grpc.enable_http_proxy", 0),  # an address is dialled itself, whatever the environment says
        ("grpc.service_config_disable_resolution", 1),
        ("grpc.initial_reconnect_backoff_ms", RECONNECT_FIRST),
        ("grpc.max_reconnect_backoff_ms", RECONNECT_MOST),
        ("grpc.min_reconnect_backoff_ms", DIAL),
    ]


def _both(limits: Limits) -> Options:
    options = [
        ("grpc.max_receive_message_length", limits.message),
        ("grpc.max_send_message_length", limits.message),
        ("grpc.max_metadata_size", limits.header_bytes),
        ("grpc.absolute_max_metadata_size", limits.header_bytes),
        ("grpc.http2.lookahead_bytes", limits.window),
        ("grpc.http2.bdp_probe", 0),  # it grows windows past the bound that `window` is
    ]
    if limits.keepalive:
        options += [
            ("grpc.keepalive_time_ms", _ms(limits.keepalive)),
            ("grpc.keepalive_timeout_ms", _ms(limits.keepalive_timeout)),
            # without this one a stopped peer is noticed after 70 s, measured at 10 s / 5 s with grpcio 1.85
            ("grpc.http2.ping_timeout_ms", _ms(limits.keepalive_timeout)),
            ("grpc.http2.max_pings_without_data", 0),
        ]
    return options


def _ms(seconds: float) -> int:
    return min(MAX_INT, max(1, int(seconds * 1000)))
