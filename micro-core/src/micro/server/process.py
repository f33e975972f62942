"""From a fork to a process of its own: session, signals, descriptors, the parent's end. Linux only."""

from __future__ import annotations

import _thread
import contextlib
import ctypes
import os
import random
import select
import signal
import sys
import time
from collections.abc import Callable, Iterable
from typing import NoReturn

PR_SET_PDEATHSIG = 1
PR_SET_NAME = 15
OURS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)
ORPHAN_GRACE = 0.5  # seconds that a process may drain for when its supervisor is gone

_libc = ctypes.CDLL(None, use_errno=True)


def supported() -> str:
    """Say why processes cannot be forked here; empty when they can."""
    if sys.platform != "linux":
        return f"micro server runs on Linux so far, not on {sys.platform}: its processes need fork, pidfd and prctl"
    return ""


def threads() -> int:
    """Count this process's threads."""
    return len(os.listdir("/proc/self/task"))  # noqa: PTH208 - a pseudo-folder, read in one step


def fork(
    child: Callable[[], int], *, keep: Iterable[int], log: int = -1, title: str = "", death: int = signal.SIGTERM
) -> int:
    """Fork, and run `child` in a new session, with these descriptors and no others; gives its pid.

    `log` becomes its stdout and stderr (without it, both stay). Its exit code is what `child` returns; nothing of
    the parent's is flushed, closed or run at exit there. This process must have one thread: a lock that another one
    holds would stay locked in the child for ever.
    """
    if threads() != 1:
        raise AssertionError(f"a process with {threads()} threads must not fork")
    for stream in (sys.stdout, sys.stderr):
        stream.flush()  # or the child would write it a second time
    parent = os.getpid()
    old: set[int] = signal.pthread_sigmask(signal.SIG_BLOCK, OURS)  # a signal to the child must not wake the parent
    try:
        pid = os.fork()
        if pid == 0:
            _run(child, lambda: _become({*keep}, log, title, parent=parent, death=death, mask=old))
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, old)
    return pid


def _run(child: Callable[[], int], become: Callable[[], None]) -> NoReturn:
    code = 70
    try:
        become()
        code = child()
    except BaseException:  # nothing may unwind into the parent's frames
        import traceback

        with contextlib.suppress(OSError):
            traceback.print_exc()
    finally:
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def _become(keep: set[int], log: int, title: str, *, parent: int, death: int, mask: set[int]) -> None:
    os.setsid()
    _libc.prctl(PR_SET_PDEATHSIG, death)
    if os.getppid() != parent:  # it died before we asked to hear of it
        os._exit(1)
    if title:
        _libc.prctl(PR_SET_NAME, title.encode()[:15])
    signal.set_wakeup_fd(-1)
    for number in OURS:
        signal.signal(number, signal.SIG_DFL)
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    if log >= 0:
        os.dup2(log, 1)
        os.dup2(log, 2)
    close_all_but(keep | {0, 1, 2})
    random.seed()
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def close_all_but(keep: set[int]) -> None:
    """Close every descriptor that is not to be kept."""
    low = 0
    for fd in sorted(keep):
        if low < fd:
            os.closerange(low, fd)
        low = fd + 1
    os.closerange(low, max((int(fd) for fd in os.listdir("/proc/self/fd")), default=0) + 1)  # noqa: PTH208


def watch_parent(alive: int, grace: float = ORPHAN_GRACE) -> None:
    """End this process when the other end of `alive` closes: first by SIGTERM to itself, then hard.

    From a thread of its own: a process that hangs in its loop ends too. A bare one: `threading` knows nothing of it.
    """

    def wait() -> None:
        poll = select.poll()
        poll.register(alive, 0)  # a hang-up is always told
        while not poll.poll():
            pass
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(grace)
        os._exit(1)

    _thread.start_new_thread(wait, ())
