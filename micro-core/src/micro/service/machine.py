"""What a server on this machine leaves for its clients to find: its data folder, and the file that says where it is."""

from __future__ import annotations

import json
from collections.abc import Mapping
from os.path import abspath, expanduser, join
from typing import Any


def data_folder(environ: Mapping[str, str]) -> str:
    """Give the folder where a server on this machine keeps its data."""
    named = environ.get("MICRO_DATA")
    if named:
        return abspath(expanduser(named))
    return join(abspath(environ.get("XDG_DATA_HOME") or expanduser("~/.local/share")), "micro")


def local_server(data: str) -> dict[str, Any]:
    """Give the state file of the server that runs on this machine; empty when none does."""
    state = read(join(data, "server.json"))
    pid = state.get("pid")
    there = born(pid) if isinstance(pid, int) else 0
    return state if there and state.get("born", there) == there else {}


def born(pid: int) -> int:
    """Give when a process started, in the kernel's ticks, so that a pid used again is another; 0 when it is gone."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
    except (OSError, ValueError):
        return 0
    return 0 if fields[0] in {b"Z", b"X"} else int(fields[19])


def local_proxy(data: str) -> str:
    """Give where the proxy of this machine's server is, as one dials it; empty when none runs."""
    proxy = local_server(data).get("services", {}).get("proxy", {})
    address = str(proxy.get("address", ""))
    return f"https://{address}" if address and proxy.get("tls") else address


def admin(data: str) -> dict[str, Any]:
    """Give the admin account of this machine's server, where it can be read; empty elsewhere."""
    return read(admin_file(data))


def admin_file(data: str) -> str:
    """Give the file that has it."""
    return join(data, "admin.json")


def read(path: str) -> dict[str, Any]:
    """Give the object that a JSON file holds; empty when it cannot be read, or holds none."""
    try:
        with open(path, encoding="utf-8") as file:
            found = json.load(file)
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
