"""Starts one service's process, outlives the runtime that asked for it, and never the server.

Run as `python -I -S launcher.py ALIVE GRACE LIMITS COMMAND…` with a session of its own. ALIVE is the read end of a pipe
whose write end only the supervisor has: when it closes, the whole session is ended, politely for ORPHANED seconds, since
there is nothing left that it could finish. On SIGTERM for GRACE seconds. LIMITS has a line for each: `join=FILE`, a control
group's, or `RLIMIT_…=NUMBER`. When the process ends, whatever it left behind in the session is killed, and its exit code is
this one's.
"""

import contextlib
import os
import select
import signal
import sys
import time

ORPHANED = 5.0  # seconds to end in, at most, when the platform is gone


def session(leader: int) -> list[int]:
    """Give the living processes of a session, this one left out."""
    found = []
    for name in os.listdir("/proc"):  # noqa: PTH208 - pathlib would double what a launcher costs
        if not name.isdigit() or int(name) == os.getpid():
            continue
        with contextlib.suppress(OSError), open(f"/proc/{name}/stat", "rb") as file:  # noqa: PTH123 - likewise
            fields = file.read().rpartition(b")")[2].split()  # state, ppid, pgrp, session, …
            if int(fields[3]) == leader and fields[0] not in {b"Z", b"X"}:
                found.append(int(name))
    return found


def signal_all(number: int) -> bool:
    """Signal all others of the session; whether there were any alive."""
    others = session(os.getsid(0))
    for pid in others:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
    return bool(others)


def reap(main: int) -> int | None:
    """Collect who has ended; gives the main process's code once it has."""
    code = None
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return code
        if pid == 0:
            return code
        if pid == main:
            code = os.waitstatus_to_exitcode(status)


def spawn(command: list[str], limits: str) -> int:
    """Start the command, within limits if there are any; gives its pid."""
    if not limits:
        return os.posix_spawn(
            command[0], command, os.environ, setsigdef=[signal.SIGTERM, signal.SIGINT, signal.SIGPIPE]
        )
    pid = os.fork()
    if pid:
        return pid
    try:
        limit(limits)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGPIPE):
            signal.signal(number, signal.SIG_DFL)
        os.execv(command[0], command)  # noqa: S606 - a shell is not wanted
    except BaseException as err:
        os.write(2, f"cannot be started: {err}\n".encode())
    os._exit(127)


def limit(limits: str) -> None:
    """Limit this process, and what it will start."""
    import resource

    for line in limits.split("\n"):
        name, _, value = line.partition("=")
        if name == "join":
            with open(value, "w") as file:  # noqa: PTH123 - likewise
                file.write("0")  # who writes
        else:
            resource.setrlimit(getattr(resource, name), (int(value), int(value)))


def main(alive: int, grace: float, limits: str, command: list[str]) -> int:
    """Start the command and see it to its end."""
    import ctypes

    ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER: what the service leaves behind comes here
    wake_read, wake_write = os.pipe()
    os.set_blocking(wake_write, False)
    signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
    for number in (signal.SIGTERM, signal.SIGCHLD, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    if alive >= 0:
        os.set_inheritable(alive, False)  # it is none of the service's business
    pid = spawn(command, limits)
    poll = select.poll()
    poll.register(wake_read, select.POLLIN)
    if alive >= 0:
        poll.register(alive, select.POLLIN | select.POLLHUP)
    deadline: float | None = None
    code: int | None = None
    while code is None:
        wait = None if deadline is None else max(0, int((deadline - time.monotonic()) * 1000))
        events = poll.poll(wait)
        stop = not events
        for fd, _ in events:
            if fd == alive:
                poll.unregister(alive)
                soon = time.monotonic() + min(grace, ORPHANED)
                deadline = soon if deadline is None else min(deadline, soon)
                signal_all(signal.SIGTERM)
            else:
                numbers = os.read(wake_read, 64)
                if signal.SIGTERM in numbers or signal.SIGINT in numbers:
                    deadline = deadline or time.monotonic() + grace
                    signal_all(signal.SIGTERM)
        if stop:
            signal_all(signal.SIGKILL)
            deadline = time.monotonic() + 1
        code = reap(pid)
    while signal_all(signal.SIGKILL):
        time.sleep(0.005)
        reap(pid)
    return code


if __name__ == "__main__":
    result = main(int(sys.argv[1]), float(sys.argv[2]), sys.argv[3], sys.argv[4:])
    if result < 0:
        signal.signal(-result, signal.SIG_DFL) if -result not in {signal.SIGKILL, signal.SIGSTOP} else None
        os.kill(os.getpid(), -result)
    os._exit(result)
