"""The built-in profiles and the services' default addresses: data, and nothing else knows a profile by its name."""

from __future__ import annotations

from typing import Any

from micro.context import CORE_SERVICES

# Loopback unless told otherwise; port 0 picks a free one.
ADDRESSES = {
    "registry": "127.0.0.1:8000",
    "config": "127.0.0.1:8001",
    "store": "127.0.0.1:8002",
    "broker": "127.0.0.1:8003",
    "events": "127.0.0.1:8004",
    "auth": "127.0.0.1:8010",
    "api": "127.0.0.1:8080",
    "proxy": "127.0.0.1:8081",
    "runtime": "127.0.0.1:8088",
    "network": "127.0.0.1:8443",
}

_LOCAL: dict[str, Any] = {
    "store": {"plugin": "sqlite"},
    "blobs": {"plugin": "file"},
    "config": {"plugin": "store"},
    "auth": {"plugin": "store", "default_rule": "public"},
    "broker": {"plugin": "memory"},
    "events": {"plugin": "sqlite"},
    "registry": {"plugin": "memory"},
    "network": {"plugin": "local"},
    "runtime": {"plugin": "process"},
    "api": {"plugin": "http"},
    "proxy": {"plugin": "grpc"},
}
# Where the backends are, the environment says; the defaults are those of one machine, for a first try.
_NATS = {"plugin": "nats", "url": "${NATS_URL:-nats://127.0.0.1:4222}"}
_CLOUD: dict[str, Any] = {
    "store": {"plugin": "redis", "url": "${REDIS_URL:-redis://127.0.0.1:6379/0}"},
    "blobs": {
        "plugin": "s3",
        "endpoint": "${S3_ENDPOINT:-http://127.0.0.1:9000}",
        "bucket": "${S3_BUCKET:-micro}",
        "region": "${AWS_REGION:-us-east-1}",
        "access_key": "${AWS_ACCESS_KEY_ID:-}",
        "secret_key": "${AWS_SECRET_ACCESS_KEY:-}",
    },
    "config": {"plugin": "store", "secret_key": "${MICRO_CONFIG_SECRET_KEY:-}"},
    "auth": {"plugin": "store"},
    "broker": _NATS,
    "events": _NATS,
    "registry": {"plugin": "etcd", "endpoints": "${ETCD_ENDPOINTS:-http://127.0.0.1:2379}"},
    "network": {"plugin": "local"},
    "runtime": {"plugin": "docker", "host": "${DOCKER_HOST:-unix:///var/run/docker.sock}"},
    "api": {"plugin": "http"},
    "proxy": {"plugin": "grpc"},
}
# Memory everywhere, on free ports: its data goes with its processes, and it runs beside any other server.
_TEST: dict[str, Any] = {
    **{name: {**_LOCAL[name], "address": "127.0.0.1:0"} for name in CORE_SERVICES},
    "store": {"plugin": "memory", "address": "127.0.0.1:0"},
    "blobs": {"plugin": "memory"},
    "events": {"plugin": "memory", "address": "127.0.0.1:0"},
    "registry": {"plugin": "memory", "address": "127.0.0.1:0", "journal": False},
}
_REMOTE: dict[str, Any] = {
    name: {"plugin": "remote"}
    for name in ("store", "blobs", "config", "auth", "broker", "events", "registry", "network", "runtime")
}

PROFILES: dict[str, dict[str, Any]] = {
    "local": _LOCAL,
    "cloud": _CLOUD,
    "test": _TEST,
    "service": _REMOTE,
    "client": _REMOTE,
}
DESCRIPTIONS = {
    "local": "embedded everything, on this machine's disk",
    "cloud": "Redis, S3, NATS, etcd and Docker",
    "test": "memory everywhere, on free ports; nothing survives",
    "service": "what a started service uses: the platform around it",
    "client": "what a program outside uses: a platform elsewhere",
}
DEFAULT = "local"
