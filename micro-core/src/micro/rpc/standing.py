"""Open streams whose caller may not go on: they are ended within seconds, however long they stand."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from micro.context import Account
from micro.errors import PermissionDenied, Unauthenticated
from micro.rpc.driver import ServerCall
from micro.rpc.errors import to_wire
from micro.rpc.guard import Guard

if TYPE_CHECKING:
    from micro.rpc.route import Route

EVERY = 2.0  # seconds between looks; revocations are to bite within 5


class Standing:
    """The streams of one server; looks at them while there are any. A stream may outlive its token's end.

    Who follows something for hours would else have to begin anew every few minutes, and learn nothing by it.
    """

    def __init__(self, guard: Guard, *, service: str, namespace: str) -> None:
        self._guard = guard
        self._service = service
        self._namespace = namespace
        self._streams: dict[ServerCall, tuple[Account | None, asyncio.Task[None], Route]] = {}
        self._timer: asyncio.TimerHandle | None = None

    def add(self, call: ServerCall, account: Account | None, route: Route) -> None:
        """Look after a stream that the present task answers."""
        task = asyncio.current_task()
        assert task is not None
        self._streams[call] = account, task, route
        if self._timer is None:
            self._wait()

    def discard(self, call: ServerCall) -> None:
        """Look no more; void for a call that was not added."""
        self._streams.pop(call, None)
        if not self._streams and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _wait(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(EVERY, self._look)

    def _look(self) -> None:
        self._wait()
        for call, (account, task, route) in list(self._streams.items()):
            try:
                self._guard.stands(account, self._namespace, self._service, route.name)
            except (Unauthenticated, PermissionDenied) as err:
                call.finish(*to_wire(err, route.error_id))
                self.discard(call)
                task.cancel()
