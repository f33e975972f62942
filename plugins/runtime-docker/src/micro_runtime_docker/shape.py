"""What a container is given: names, labels, limits, and as few rights as it needs. No I/O here."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

from micro.limits import MIB
from micro.runtime.driver import Instance
from micro_runtime_docker.settings import DockerSettings

SERVER, LIFE = "micro.server", "micro.life"  # labels: whose a container is, and under which of its supervisors
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"  # Docker's own default
PERIOD = 100_000  # microseconds, in which a share of a core is given; the kernel's default
SHORTEST = 1_000  # microseconds of a share, the least that Docker takes


def name_of(instance: Instance) -> str:
    """Name a container for people; no two alike, whatever the parts are."""
    readable = f"micro-{instance.namespace}-{instance.name}-{instance.number}"
    return f"{readable[:60]}-{os.urandom(6).hex()}"


def labels(instance: Instance, owner: str, life: str) -> dict[str, str]:
    """Give what a container says of itself; names are never read out of its name."""
    return {
        SERVER: owner,
        LIFE: life,
        "micro.namespace": instance.namespace,
        "micro.service": instance.name,
        "micro.version": instance.version,
        "micro.instance": str(instance.number),
        "micro.round": str(instance.round),
    }


def filters(label: str, value: str = "") -> str:
    """Write a filter of containers or images by a label."""
    return json.dumps({"label": [f"{label}={value}" if value else label]})


def container(instance: Instance, image: str, settings: DockerSettings, labels: Mapping[str, str]) -> dict[str, Any]:
    """Describe a container for the engine."""
    made: dict[str, Any] = {
        "Image": image,
        "Env": [f"{name}={value}" for name, value in instance.env.items()],
        "Labels": dict(labels),
        "StopSignal": "SIGTERM",
        "HostConfig": _host(instance, settings),
    }
    if instance.command:
        made |= {"Entrypoint": instance.command[:1], "Cmd": instance.command[1:]}
    if instance.folder:
        made["WorkingDir"] = instance.folder
    if settings.user:
        made["User"] = settings.user
    return made


def _host(instance: Instance, settings: DockerSettings) -> dict[str, Any]:
    limits = instance.limits
    room = limits.disk * MIB or int(settings.tmp)
    host: dict[str, Any] = {
        "CapDrop": ["ALL"],
        "SecurityOpt": ["no-new-privileges"],
        "ReadonlyRootfs": True,
        "Tmpfs": {"/tmp": f"rw,nosuid,nodev,mode=1777,size={room}"},  # noqa: S108 - the container's own
        "Init": True,  # reaps what it leaves, and passes signals on that a first process would not get
        "RestartPolicy": {"Name": "no"},  # who starts it again, and when, is the reconciler's business
        "LogConfig": {"Type": "json-file", "Config": {"max-size": "10m", "max-file": "3"}},
        "NetworkMode": settings.network,
    }
    if limits.memory:
        host |= {"Memory": limits.memory * MIB, "MemorySwap": limits.memory * MIB}
    if limits.cpu:
        host |= {"CpuPeriod": PERIOD, "CpuQuota": max(SHORTEST, limits.cpu * PERIOD // 1000)}
    if limits.processes:
        host["PidsLimit"] = limits.processes + 1  # the init is not the instance's
    if limits.files:
        host["Ulimits"] = [{"Name": "nofile", "Soft": limits.files, "Hard": limits.files}]
    return host


def absent(detail: str, image: str) -> str:
    """Say what is not there that a container needs."""
    if "image" in detail.lower():
        return f"there is no image {image!r} on the engine: docker pull {image}, or docker import"
    return detail
