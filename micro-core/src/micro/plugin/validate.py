"""Checking drivers' settings in a short-lived process of its own: the process that asks never imports a plugin."""

from __future__ import annotations

import json
import os
import re
import select
import signal
import sys
import time
from collections.abc import Callable, Iterable
from typing import Any, NoReturn

from micro.errors import ConfigError
from micro.plugin import discovery, tables
from micro.plugin.driver import Driver
from micro.plugin.profile import Profile
from micro.plugin.settings import Secret, nearest

TIMEOUT = 30.0  # seconds for all plugins together to be imported
_PASSWORD = re.compile(r"(?<=://)([^/@\s:]*):[^/@\s]*@")
_SECRET = re.compile(r"secret|password|passwd|token|credential|private", re.IGNORECASE)


def settings(profile: Profile, required: Iterable[str], *, thorough: bool = False) -> list[str]:
    """Give what is wrong with the drivers' settings.

    Unless `thorough`, an embedded driver without settings in the profile is not looked at: its service's process
    makes the same checks a moment later, and a plain start is spared the imports.
    """
    selected = [
        table
        for table in profile.tables()
        if profile.plugin(table) and discovery.point(table, profile.plugin(table)) is not None
    ]
    wanted = set(required) | {"blobs"}
    chosen = [
        table
        for table in selected
        if thorough
        or any(not item.where.built_in for item in profile.driver_values(table).values())
        or (table in wanted and not discovery.is_embedded(table, profile.plugin(table)))
    ]
    there = discovery.point("transport", profile.transport) is not None  # if not, that has been reported
    foreign = not discovery.is_embedded("transport", profile.transport)
    kinds = [*chosen, "transport"] if there and (thorough or foreign) else chosen
    kinds += ["hooks"] if _hooks(profile) else []
    if not kinds:
        return []
    problems: list[str] = []
    lent: dict[str, dict[str, str]] = {}
    for kind, answer in _forked(lambda kind: _examine(profile, kind), kinds).items():
        if isinstance(answer, str):
            place = profile.where(kind, "plugin") if kind in profile.tables() else profile.place(kind)
            problems.append(f"{place}: {answer}")
            continue
        for key, words in answer["problems"]:
            item = profile.driver_values(kind).get(key)
            if item is not None and item.unset and not words.startswith("unknown"):
                continue
            if item is not None and item.backend:
                lent.setdefault(item.where.at(key), {})[kind] = words
            else:
                problems.append(f"{profile.where(kind, key)}: {words}")
    return problems + _lent(profile, lent)


def _hooks(profile: Profile) -> list[str]:
    """Give the enabled hook plugins that are there; the others have been reported."""
    return [name for name in profile.hooks if discovery.point("hooks", name) is not None]


def _lent(profile: Profile, lent: dict[str, dict[str, str]]) -> list[str]:
    """Keep what is wrong about a backend's keys, once; what only some of its drivers do not know is no mistake."""
    kept = []
    for place, by_kind in lent.items():
        kind, words = next(iter(by_kind.items()))
        users = [other for other in profile.tables() if profile.plugin(other) == profile.plugin(kind)]
        if not words.startswith("unknown") or len(by_kind) == len(users):
            kept.append(f"{place}: {words}")
    return kept


def _examine(profile: Profile, kind: str) -> dict[str, Any]:
    """In the process of its own: import one plugin and read its settings."""
    if kind == "transport":
        discovery.load("transport", profile.transport)
        return {"problems": [], "shown": {}}
    if kind == "hooks":
        from micro.plugin import hooks

        hooks.load(_hooks(profile))
        return {"problems": [], "shown": {}}
    cls: type[Driver] = discovery.load(kind, profile.plugin(kind))
    table = {key: item.value for key, item in profile.driver_values(kind).items()}
    own = tables.service_keys(kind)
    table |= {
        key: value for key, value in profile.table(kind).items() if key in own and key in cls.settings_type.__settings__
    }
    found, problems = cls.settings_type.read(table)
    problems = [
        (key, f"unknown setting{nearest(key, (*cls.settings_type.__settings__, *tables.own_keys(kind)))}")
        if words.startswith("unknown setting")
        else (key, words)
        for key, words in problems
    ]
    return {"problems": problems, "shown": {key: masked(key, value) for key, value in found.items()}}


def masked(key: str, value: Any) -> Any:
    """Give what may be shown of a value: no secret, no password within a URL."""
    if isinstance(value, Secret):
        return "***" if value else ""
    if isinstance(value, str):
        if _SECRET.search(key) and value:
            return "***"
        return _PASSWORD.sub(r"\1:***@", value)
    if isinstance(value, list):
        return [masked(key, item) for item in value]
    if isinstance(value, dict):
        return {k: masked(str(k), item) for k, item in value.items()}
    return value


def shown(profile: Profile) -> str:
    """Write a profile as TOML; a plugin that is not there shows its table's own keys alone."""
    here = [kind for kind in profile.tables() if discovery.point(kind, profile.plugin(kind)) is not None]
    answers = _forked(lambda kind: _examine(profile, kind), here) if here else {}
    lines = [f"[profile.{profile.name}]", f"transport = {_toml(profile.transport)}"]
    lines += [f"insecure = {_toml(profile.insecure)}"] if profile.insecure else []
    lines += [f"trusted_addresses = {_toml(profile.trusted_addresses)}"] if profile.trusted_addresses else []
    if profile.hooks:
        lines += ["", f"[profile.{profile.name}.hooks]", f"enabled = {_toml(profile.hooks)}"]
    for kind in profile.tables():
        answer = answers.get(kind)
        table = {key: masked(key, value) for key, value in profile.table(kind).items()}
        table |= {"address": profile.address(kind)} if kind != "blobs" else {}
        table |= answer["shown"] if isinstance(answer, dict) else {}
        lines += ["", f"[profile.{profile.name}.{kind}]", f"plugin = {_toml(table.pop('plugin', ''))}"]
        lines += [f"{key} = {_toml(value)}" for key, value in sorted(table.items()) if value is not None]
    return "\n".join(lines) + "\n"


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return (
            "{ " + ", ".join(f"{json.dumps(str(k))} = {_toml(v)}" for k, v in value.items()) + " }" if value else "{}"
        )
    if isinstance(value, list):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    if isinstance(value, bool | int | float | str):
        return json.dumps(value, ensure_ascii=False)
    return json.dumps(str(value))


def _forked(work: Callable[[str], dict[str, Any]], kinds: list[str]) -> dict[str, Any]:
    """Do work for each kind in a forked process; an answer is a dict, or a text that says why there is none."""

    def each(tell: Callable[[str, Any], None]) -> None:
        for kind in kinds:
            try:
                answer: Any = work(kind)
            except ConfigError as err:
                answer = str(err)
            except Exception as exc:  # a plugin's settings class may do anything
                answer = f"{type(exc).__name__}: {exc}"
            tell(kind, answer)

    return forked(each, kinds)


def forked(work: Callable[[Callable[[str, Any], None]], None], kinds: list[str]) -> dict[str, Any]:
    """Do work in a forked process, which tells an answer for each kind; a text stands for why there is none."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reading)
        _child(work, writing)
    os.close(writing)
    raw, late = _collect(reading, time.monotonic() + TIMEOUT)
    os.close(reading)
    if late:
        os.kill(pid, signal.SIGKILL)
    status = os.waitpid(pid, 0)[1]
    answers: dict[str, Any] = {}
    for line in raw.splitlines():
        kind, answer = json.loads(line)
        answers[kind] = answer
    unanswered = [kind for kind in kinds if kind not in answers]
    if unanswered:  # they are done in order, so the first is the one that took the process down
        how = f"takes longer than {TIMEOUT:g} s to import" if late else _ended(status)
        answers[unanswered[0]] = f"the plugin {how}"
    return answers


def _ended(status: int) -> str:
    code = os.waitstatus_to_exitcode(status)
    return f"ends its process while it is imported ({f'signal {-code}' if code < 0 else f'exit {code}'})"


def _collect(reading: int, until: float) -> tuple[bytes, bool]:
    parts: list[bytes] = []
    while True:
        left = until - time.monotonic()
        if left <= 0 or not select.select([reading], [], [], left)[0]:
            return b"".join(parts), True
        part = os.read(reading, 65536)
        if not part:
            return b"".join(parts), False
        parts.append(part)


def _child(work: Callable[[Callable[[str, Any], None]], None], writing: int) -> NoReturn:
    def tell(kind: str, answer: Any) -> None:
        line = json.dumps([kind, answer], default=str).encode() + b"\n"
        while line:
            line = line[os.write(writing, line) :]

    try:
        null = os.open(os.devnull, os.O_RDWR)
        for fd in (0, 1, 2):  # what a plugin prints while it is imported is not our answer
            os.dup2(null, fd)
        work(tell)
    finally:
        sys.stdout = sys.stderr = None  # nothing of the parent's is flushed twice
        os._exit(0)
