"""The first thing a command runs: it knows the words there are, and hands a service's command to the platform.

Nothing here may import more than `sys`, `posix`, `time` and `_socket` (all in the interpreter's own binary or a breath
away from it): a command is a person's reflex. docs/cli-protocol.md has the protocol.
"""

from __future__ import annotations

import sys

from micro._version import __version__

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

BUILT_IN = frozenset((
    "auth", "blob", "call", "config", "env", "events", "get", "help", "kill", "login", "logout", "logs", "new", "plugins", "profile",
    "run", "server", "service", "services", "shutdown", "status", "store", "stream", "update", "user",
))  # fmt: skip
# Flags of the original that change nothing here; scripts that give them go on working.
ACCEPTED = (
    "auth_address", "auth_id", "auth_secret", "auth_public_key", "auth_private_key", "registry_address", "broker_address",
    "store_address", "proxy_address", "config_secret_key", "service_name", "service_version", "service_address",
)  # fmt: skip
# flags that the platform does not read for us: the whole command line does
_OURS = frozenset(("e", "c", "env", "namespace", "config", "profile", "debug", "report_usage", *ACCEPTED))
_EARLY = 60  # seconds before its end when a token is not used any more


def command() -> NoReturn:
    """Be the process of one command, from its words to its end."""
    try:
        code = main(sys.argv[1:])
    except KeyboardInterrupt:  # while it was being imported
        code = 130
    end(code)


def end(code: int) -> NoReturn:
    """Leave at once: the interpreter takes itself apart for longer than most commands take. Exit handlers still run."""
    threading = sys.modules.get("threading")
    if threading is not None and threading.active_count() > 1:
        sys.exit(code)
    import atexit
    import posix

    atexit._run_exitfuncs()
    try:
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
    except BrokenPipeError:
        pass  # whoever read us has seen enough
    except OSError as err:
        if code == 0:
            posix.write(2, f"Cannot write the output: {err.strerror}\n".encode())
            code = 128
    posix._exit(code & 0xFF)


def main(argv: list[str]) -> int:
    """Run one command; gives its exit code."""
    if argv in (["--version"], ["-version"], ["-v"]):
        sys.stdout.write(f"micro version {__version__}\n")
        return 0
    if argv and argv[0] not in BUILT_IN and argv[0][:1] not in {"-", ""}:
        try:
            code = _handed_over(argv)
        except KeyboardInterrupt:
            return 130
        except BrokenPipeError:
            return _unread()
        if code is not None:
            return code
    if "site" not in sys.modules:  # the launcher left it out; from here on plugins and `.pth` files count
        import site

        site.main()
    if argv[:1] == ["server"]:
        from micro.cli import quick

        plain = quick.options(argv[1:])
        if plain is not None:
            return quick.run(plain)
    import gc

    gc.disable()  # what is imported stays: looking through it again and again takes as long as a tenth of it
    from micro.cli.main import run

    return run(argv)


def _unread() -> int:
    """End where whoever read us has seen enough: nothing more can be written, not even at exit."""
    import posix

    posix.dup2(posix.open("/dev/null", posix.O_WRONLY), 1)
    return 0


def _handed_over(argv: list[str]) -> int | None:
    """Let the platform on this machine run a service's command; None when it is not for it."""
    import posix

    environ = posix.environ
    home = environ.get(b"HOME", b"")
    namespace = environ.get(b"MICRO_NAMESPACE", b"")
    if environ.get(b"MICRO_ENV", b"local") != b"local" or b"MICRO_CONFIG_FILE" in environ or not _simple(argv):
        return None
    state = _read(home + b"/.micro/config.json")
    if b'"env"' in state or (b'"namespaces"' in state and not namespace) or _on_path(posix, environ, argv[0]):
        return None
    token = _token(home, namespace)
    if not token:
        return None
    data = environ.get(b"MICRO_DATA", b"")
    if not data:
        data = (environ.get(b"XDG_DATA_HOME", b"") or home + b"/.local/share") + b"/micro"
    columns = posix.get_terminal_size(1)[0] if posix.isatty(1) else 0
    body = "\0".join(argv).encode("utf-8", "surrogateescape")
    head = (
        b"POST /cli HTTP/1.0\r\nHost: local\r\nContent-Type: text/plain\r\nAuthorization: Bearer %b\r\n"
        b"X-Micro-Namespace: %b\r\nX-Micro-Columns: %d\r\nContent-Length: %d\r\n\r\n"
    ) % (token, namespace, columns, len(body))
    return _exchange(data + b"/api.sock", head + body)


def _simple(argv: list[str]) -> bool:
    """Whether all of a command is in its words: no files, no standard input, none of our own flags."""
    for arg in argv:
        flag, _, value = arg.lstrip("-").partition("=") if arg.startswith("-") else ("", "", arg)
        if value[:1] == "@" or value == "-" or arg == "-" or flag in _OURS or "\0" in arg:
            return False
        try:
            arg.encode()
        except UnicodeEncodeError:
            return False
    return True


def _on_path(posix: object, environ: dict[bytes, bytes], word: str) -> bool:
    """Whether an executable `micro-<word>` is there, which goes before a service."""
    for folder in environ.get(b"PATH", b"").split(b":"):
        try:
            posix.stat(folder + b"/micro-" + word.encode("utf-8", "surrogateescape"))  # type: ignore[attr-defined]
        except OSError:
            continue
        return True
    return False


def _token(home: bytes, namespace: bytes) -> bytes:
    """Give the access token of the local environment that is good for a while; empty when there is none."""
    import time

    found = b""
    for line in _read(home + b"/.micro/tokens").splitlines():
        parts = line.split(b"\t")
        if len(parts) == 6 and parts[0] == b"local" and parts[1] in {namespace or b"micro", b"micro"}:
            try:
                fresh = float(parts[3]) - _EARLY > time.time()
            except ValueError:
                continue
            if fresh and (not found or parts[1] == namespace):
                found = parts[4]
    return found


def _read(path: bytes) -> bytes:
    try:
        with open(path, "rb") as file:  # noqa: PTH123 - pathlib costs more than all of this
            return file.read()
    except OSError:
        return b""


def _exchange(path: bytes, request: bytes) -> int | None:
    """Send a command and copy back what it prints, as it comes; None when nobody is there or it is no service's."""
    import _socket

    sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    try:
        try:
            sock.connect(path)
            sock.sendall(request)
        except OSError:
            return None
        return _copied(sock)
    finally:
        sock.close()


def _copied(sock: object) -> int | None:
    buffer = b""
    while b"\r\n\r\n" not in buffer:
        part = _received(sock)
        if not part:  # it may have been done: asking again another way could do it twice
            return _cut()
        buffer += part
    head, _, buffer = buffer.partition(b"\r\n\r\n")
    if head.split(b" ", 2)[1] != b"200":
        return None
    streams = {b"1": sys.stdout.buffer, b"2": sys.stderr.buffer}
    while True:
        line, sep, rest = buffer.partition(b"\n")
        kind, _, number = line.partition(b" ")
        if sep and kind == b"0":
            return int(number)
        if sep and len(rest) >= int(number):
            streams[kind].write(rest[: int(number)])
            streams[kind].flush()
            buffer = rest[int(number) :]
            continue
        part = _received(sock)
        if not part:
            return _cut()
        buffer += part


def _received(sock: object) -> bytes:
    try:
        part: bytes = sock.recv(65536)  # type: ignore[attr-defined]
    except OSError:
        return b""
    return part


def _cut() -> int:
    sys.stderr.write("The answer was cut: the platform went away\n")
    return 128
