"""Programs that are only played: what an engine in memory starts instead of processes.

`sh -c SCRIPT` is played by these words, parted by `;` or `&`: `echo`, `sleep`, `wait`, `exit`, `trap 'WORDS' TERM`,
`kill -9 $$`, `ulimit -n`, `while :; do WORDS; done`, and `hog MIB`, which takes memory. `$NAME`, `${#NAME}` and `$0` to
`$9` are filled in. Anything else that is started runs, and says nothing, until it is stopped.
"""

from __future__ import annotations

import asyncio
import itertools
import re
import shlex
import signal
from collections.abc import Callable, Mapping

from micro.runtime.driver import Instance

FILES = 1024  # open files of a program without a limit
_FILL = re.compile(r"\$(?:\{#(\w+)\}|(\w+))")
_KILLED, _TERMINATED = -signal.SIGKILL, -signal.SIGTERM

Words = list[list[str]]


class _Ended(Exception):
    def __init__(self, code: int) -> None:
        self.code = code


class Program:
    """One program, playing since it was made. `over` has its exit code in the end, negative for a signal."""

    def __init__(self, instance: Instance, say: Callable[[str], None]) -> None:
        self.over: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._instance = instance
        self._say = say
        self._asked = asyncio.Event()
        self._trap: Words | None = None  # what it does when it is asked to stop; None: it stops
        self._task = asyncio.create_task(self._run())

    def ask(self) -> None:
        """Ask it to stop."""
        self._asked.set()

    def kill(self) -> None:
        """Make it stop."""
        self._end(_KILLED)
        self._task.cancel()

    def _end(self, code: int) -> None:
        if not self.over.done():
            self.over.set_result(code)

    async def _run(self) -> None:
        try:
            first, *rest = self._instance.command
            if first.rpartition("/")[2] == "sh" and rest[:1] == ["-c"]:
                await self._play(_filled(_script(rest[1]), self._instance.env, rest[2:]))
            else:
                await self._pause(None)
        except _Ended as end:
            self._end(end.code)
        else:
            self._end(0)

    async def _play(self, script: Words) -> None:
        for index, words in enumerate(script):
            if words == ["while", ":"]:
                body = list(itertools.takewhile(lambda words: words != ["done"], script[index + 1 :]))
                body[0] = body[0][1:]  # after its `do`
                while True:
                    await self._play(body)
            await self._do(words)

    async def _do(self, words: list[str]) -> None:
        match words:
            case ["echo", *rest]:
                self._say(" ".join(rest))
            case ["sleep", seconds]:
                await self._pause(float(seconds))
            case ["wait"]:
                pass  # what was begun with & is played in its place
            case ["exit", code]:
                raise _Ended(int(code))
            case ["trap", script, "TERM"]:
                self._trap = _script(script)
            case ["kill", "-9", "$$"]:
                raise _Ended(_KILLED)
            case ["ulimit", "-n"]:
                self._say(str(self._instance.limits.files or FILES))
            case ["hog", mib]:
                if 0 < self._instance.limits.memory < int(mib):
                    raise _Ended(_KILLED)
            case _:
                self._say(f"sh: {words[0]}: not found")
                raise _Ended(127)

    async def _pause(self, seconds: float | None) -> None:
        loop = asyncio.get_running_loop()
        until = None if seconds is None else loop.time() + seconds
        while True:
            try:
                async with asyncio.timeout_at(until):
                    await self._asked.wait()
            except TimeoutError:
                return
            self._asked.clear()
            if self._trap is None:
                raise _Ended(_TERMINATED)
            await self._play(self._trap)


def _script(text: str) -> Words:
    parts = shlex.shlex(text, posix=True, punctuation_chars=";&")
    parts.whitespace_split, parts.commenters = True, ""
    script: Words = [[]]
    for part in parts:
        if part and not part.strip(";&"):
            script.append([])
        else:
            script[-1].append(part)
    return [words for words in script if words]


def _filled(script: Words, env: Mapping[str, str], given: list[str]) -> Words:
    known = {**env, **{str(number): word for number, word in enumerate(given)}}

    def fill(found: re.Match[str]) -> str:
        length, name = found.groups()
        return str(len(known.get(length, ""))) if length else known.get(name, "")

    return [[_FILL.sub(fill, word) for word in words] for words in script]
