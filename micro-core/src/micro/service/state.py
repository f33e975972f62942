"""What this user's command line remembers between commands: environments, namespaces, tokens. In `~/.micro`, 0600.

`config.json` (or `--config`): `{"env": "local", "envs": {"name": "host:port"}, "namespaces": {"env": "shop"}, "user": {…}}`.
`tokens`: a line for each login: environment, namespace, account, expiry in unix seconds, access token, refresh token,
parted by tabs, so that the launcher reads it without a parser.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from os.path import basename, dirname, expanduser, join
from typing import Any, NamedTuple

from micro.errors import MicroError

LOCAL = "local"
BUILT_IN = {LOCAL: "127.0.0.1:8081"}


class StateError(MicroError):
    """The state file cannot be used; it is named and left as it is."""


class Token(NamedTuple):
    """A login."""

    env: str
    namespace: str
    account: str
    expiry: float
    access: str
    refresh: str


class State:
    """The state file of this user, read once, changed under a lock and replaced whole."""

    def __init__(self, path: str = "") -> None:
        self.folder = join(expanduser(os.environ.get("HOME", "~")), ".micro")
        self.path = expanduser(path) if path else join(self.folder, "config.json")
        self._data: dict[str, Any] | None = None

    @property
    def data(self) -> dict[str, Any]:
        """The whole state; empty when there is none yet."""
        if self._data is None:
            self._data = self._read()
        return self._data

    def _read(self) -> dict[str, Any]:
        try:
            text = _read(self.path)
        except FileNotFoundError:
            return {}
        except (OSError, UnicodeDecodeError) as err:
            raise StateError(f"{self.path} cannot be read: {err}") from err
        try:
            found = json.loads(text)
        except ValueError as err:
            raise StateError(f"{self.path} is not valid JSON ({err}); mend it or move it away") from err
        if not isinstance(found, dict):
            raise StateError(f"{self.path} does not hold a JSON object; mend it or move it away")
        return found

    def change(self, **values: Any) -> None:
        """Set keys of the state; None removes one."""
        with self._locked():
            data = self._read()
            for key, value in values.items():
                if value is None:
                    data.pop(key, None)
                else:
                    data[key] = value
            _replace(self.path, json.dumps(data, indent=2, ensure_ascii=False) + "\n")
            self._data = data

    # -- environments

    @property
    def env(self) -> str:
        """The current environment's name."""
        return str(self.data.get("env", LOCAL))

    @property
    def envs(self) -> dict[str, str]:
        """All environments with their proxies' addresses."""
        own = self.data.get("envs", {})
        return BUILT_IN | {str(name): str(address) for name, address in own.items()}

    def namespace(self, env: str) -> str:
        """The current namespace of an environment; empty for its default."""
        return str(self.data.get("namespaces", {}).get(env, ""))

    # -- tokens

    def token(self, env: str, namespace: str) -> Token | None:
        """Give the login of an environment and namespace."""
        found = [token for token in self.tokens() if (token.env, token.namespace) == (env, namespace)]
        return found[-1] if found else None

    def tokens(self) -> list[Token]:
        """Give all logins; lines that are none are passed over."""
        try:
            lines = _read(join(self.folder, "tokens")).splitlines()
        except (OSError, UnicodeDecodeError):
            return []
        found = []
        for line in lines:
            parts = line.split("\t")
            if len(parts) == 6 and parts[3].replace(".", "", 1).isdigit():
                found.append(Token(parts[0], parts[1], parts[2], float(parts[3]), parts[4], parts[5]))
        return found

    def keep(self, token: Token) -> None:
        """Remember a login."""
        self._change_tokens(token.env, token.namespace, token)

    def forget(self, env: str, namespace: str) -> None:
        """Forget a login."""
        self._change_tokens(env, namespace, None)

    def _change_tokens(self, env: str, namespace: str, token: Token | None) -> None:
        with self._locked():
            kept = [t for t in self.tokens() if (t.env, t.namespace) != (env, namespace)]
            kept += [token] if token is not None else []
            lines = ["\t".join(str(part) for part in t) for t in kept]
            _replace(join(self.folder, "tokens"), "\n".join(lines) + "\n" if lines else "")

    @contextmanager
    def _locked(self) -> Iterator[None]:
        for folder in (self.folder, dirname(self.path)):
            if folder:
                os.makedirs(folder, mode=0o700, exist_ok=True)
        fd = os.open(join(self.folder, "lock"), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            yield
        finally:
            os.close(fd)


def _read(path: str) -> str:
    with open(path, encoding="utf-8") as file:
        return file.read()


def _replace(path: str, text: str) -> None:
    fresh = join(dirname(path), f".{basename(path)}.{os.getpid()}.{time.monotonic_ns()}")
    try:
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(fresh, path)
    finally:
        with suppress(FileNotFoundError):
            os.unlink(fresh)
