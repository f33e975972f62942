"""Every size we refuse beyond: number, unit, who imposes it. Too big a value is ResourceExhausted."""

from __future__ import annotations

KIB = 1024
MIB = 1024 * 1024

MESSAGE = 32 * MIB  # bytes of one gRPC message, both ways; the original's figure
HTTP_BODY = 32 * MIB  # bytes; the gateway answers 413 beyond
VALUE = 1 * MIB  # bytes of a store value, an event, a broker message; nats-server's default max_payload
RECORD_METADATA_ENTRIES = 64
RECORD_METADATA = 8 * KIB  # bytes, names and values together
CONFIG_TREE = 1 * MIB  # bytes of a namespace's JSON
CONFIG_DEPTH = 32  # levels
BATCH = 100  # operations of one atomic batch, one table, each key once
BATCH_BYTES = 4 * MIB
PAGE = 500  # records of one page of a scan
PAGE_BYTES = 1 * MIB
REGISTRY_RECORD = 256 * KIB  # bytes of one registration
BLOB = 5 * 1024**4  # bytes of one blob; S3's
UPLOAD = 256 * MIB  # bytes of an unpacked source
UPLOAD_MEMBERS = 10_000
LOG_LINE = 16 * KIB  # bytes; longer lines are cut
METADATA_INSIDE = 64 * KIB  # bytes of a call's headers between services
METADATA_EDGE = 16 * KIB  # bytes of a call's headers at the proxy
GATEWAY_HEADERS = 24 * KIB  # bytes of HTTP headers the gateway passes on
STREAMS_EDGE = 100  # concurrent streams of a connection at the proxy
STREAMS_INSIDE = 10_000
STREAM_WINDOW = 256 * KIB  # bytes in flight to one slow reader
CONNECTION_BUFFER = 4 * MIB  # bytes held for one connection
PROCESS_BUFFER = 256 * MIB  # bytes that came and were not read, on all of a process's connections
