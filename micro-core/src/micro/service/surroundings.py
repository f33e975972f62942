"""Where this process finds itself: in the platform, on a laptop, on the machine that runs the server.

Inside means that `MICRO_REGISTRY_ADDRESS` is set, as the runtime does: services are then resolved and called directly.
Else everything goes through a proxy: `MICRO_PROXY`, the server that runs on this machine, or 127.0.0.1:8081.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, MutableMapping
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from micro.context import CORE_NAMESPACE
from micro.service import machine
from micro.service.state import LOCAL, State, StateError, Token

PROXY = "127.0.0.1:8081"


class Surroundings(Struct, frozen=True):
    """What the environment says. `registry` is empty outside; `id` and `secret` are the account's, empty without one.

    `login` is what the command line has kept of this user's, which goes before the account; `file` is where the account was
    read, if it is this machine's administrator's.

    `name` and `version` are the service's as whoever started it says, which win over those in its code.
    """

    name: str = ""
    version: str = ""
    address: str = ""
    namespace: str = CORE_NAMESPACE
    registry: str = ""
    proxy: str = PROXY
    id: str = ""
    secret: str = ""
    login: Token | None = None
    file: str = ""

    def __repr__(self) -> str:  # without what is secret
        return f"Surroundings(name={self.name!r}, namespace={self.namespace!r}, proxy={self.proxy!r})"

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
    found = Surroundings(
        name=environ.get("MICRO_SERVICE_NAME", ""),
        version=environ.get("MICRO_SERVICE_VERSION", ""),
        address=environ.get("MICRO_SERVICE_ADDRESS", ""),
        namespace=environ.get("MICRO_NAMESPACE", ""),
        registry=environ.get("MICRO_REGISTRY_ADDRESS", ""),
        proxy=environ.get("MICRO_PROXY", ""),
        id=id,
        secret=secret,
    )
    if not found.registry:
        found = _outside(found, environ)
    return replace(found, namespace=found.namespace or CORE_NAMESPACE, proxy=found.proxy or PROXY)


def _outside(found: Surroundings, environ: MutableMapping[str, str]) -> Surroundings:
    """Add what this user's command line and this machine's server say, as far as the environment does not."""
    data, known = machine.data_folder(environ), State()
    here = machine.local_proxy(data)
    try:
        env = environ.get("MICRO_ENV") or known.env
        address = here or PROXY if env == LOCAL else known.envs.get(env, "")
        namespace = found.namespace or known.namespace(env)
    except StateError:  # the command line names it; a program goes on without
        env, address, namespace = LOCAL, here or PROXY, found.namespace
    proxy = found.proxy or address
    found = replace(found, proxy=proxy, namespace=namespace)
    if found.id:
        return found
    login = None
    if proxy == address:
        login = known.token(env, namespace or CORE_NAMESPACE) or known.token(env, CORE_NAMESPACE)
    admin = machine.admin(data) if proxy in {here, PROXY} and env == LOCAL else {}
    namespace = namespace or str(admin.get("namespace", "") if login is None else login.namespace)
    return replace(
        found,
        namespace=namespace,
        id=str(admin.get("id", "")),
        secret=str(admin.get("secret", "")),
        login=login,
        file=machine.admin_file(data) if admin else "",
    )


def data_folder(environ: Mapping[str, str]) -> Path:
    """Give the folder where a server on this machine keeps its data."""
    return Path(machine.data_folder(environ))
