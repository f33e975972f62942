"""Where this process finds itself: in the platform, on a laptop, on the machine that runs the server.

Inside means that `MICRO_REGISTRY_ADDRESS` is set, as the runtime does: services are then resolved and called directly.
Else everything goes through a proxy: `MICRO_PROXY`, the server that runs on this machine, or 127.0.0.1:8081.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import MutableMapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from micro.context import CORE_NAMESPACE

PROXY = "127.0.0.1:8081"


@dataclass(slots=True, frozen=True)
class Surroundings:
    """What the environment says. `registry` is empty outside; `id` and `secret` are the account's, empty without one.

    `name` and `version` are the service's as whoever started it says, which win over those in its code.
    """

    name: str = ""
    version: str = ""
    address: str = ""
    namespace: str = CORE_NAMESPACE
    registry: str = ""
    proxy: str = PROXY
    id: str = ""
    secret: str = field(default="", repr=False)

    @property
    def hint(self) -> str:
        """What to say when nobody answers."""
        return f"no micro server at {self.proxy}; start one with 'micro server'"

    def named(self, name: str, version: str) -> Surroundings:
        """Give them for a service, unless they name one."""
        return replace(self, name=self.name or name, version=self.version or version)


_read: Surroundings | None = None


def surroundings() -> Surroundings:
    """Give this process's, read once; from then on the environment holds no credentials for children to inherit."""
    global _read  # noqa: PLW0603 - the environment is the process's
    if _read is None:
        _read = read(os.environ)
    return _read


def read(environ: MutableMapping[str, str]) -> Surroundings:
    """Read an environment, and take the credentials out of it."""
    id, secret = environ.pop("MICRO_AUTH_ID", ""), environ.pop("MICRO_AUTH_SECRET", "")
    namespace = environ.get("MICRO_NAMESPACE", "")
    registry = environ.get("MICRO_REGISTRY_ADDRESS", "")
    data = data_folder(environ)
    proxy = environ.get("MICRO_PROXY", "")
    here = not proxy and not registry
    if not id and not registry:
        admin = _json(data / "admin.json") if here or proxy == _local_proxy(data) else {}
        id, secret = admin.get("id", ""), admin.get("secret", "")
        namespace = namespace or admin.get("namespace", "")
    return Surroundings(
        name=environ.get("MICRO_SERVICE_NAME", ""),
        version=environ.get("MICRO_SERVICE_VERSION", ""),
        address=environ.get("MICRO_SERVICE_ADDRESS", ""),
        namespace=namespace or CORE_NAMESPACE,
        registry=registry,
        proxy=proxy or _local_proxy(data) or PROXY,
        id=id,
        secret=secret,
    )


def data_folder(environ: MutableMapping[str, str]) -> Path:
    """Give the folder where a server on this machine keeps its data."""
    named = environ.get("MICRO_DATA")
    if named:
        return Path(named).expanduser().absolute()
    base = environ.get("XDG_DATA_HOME")
    return (Path(base) if base else Path("~/.local/share").expanduser()).absolute() / "micro"


def local_server(data: Path) -> dict[str, Any]:
    """Give the state file of the server that runs on this machine; empty when none does."""
    state = _json(data / "server.json")
    pid = state.get("pid")
    return state if isinstance(pid, int) and Path(f"/proc/{pid}").exists() else {}


def _local_proxy(data: Path) -> str:
    return str(local_server(data).get("services", {}).get("proxy", {}).get("address", ""))


def _json(path: Path) -> dict[str, Any]:
    with contextlib.suppress(OSError, ValueError):
        found = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(found, dict):
            return found
    return {}
